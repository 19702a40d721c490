"""Writes data/tiles.safetensors: a picture that diffusers' AutoencoderKL decodes in one piece, and in vksteer's
tiles.

    python tiles.py

data/turbo paints it, with the autoencoder of data/kl; of its bytes every STRIDE-th is kept. `whole`: in one piece;
`tiles`: the tiles of runtime/api/tiles.c, each decoded by diffusers, by their shares. The metadata `psnr` is how near
diffusers' own tiling (enable_tiling) comes to the one piece: the norms of a tile see less than those of the picture.
"""

import pathlib

import diffusers
import torch
from safetensors.torch import save_file

import philox
from pictures import PROMPT, SEED, psnr

DATA = pathlib.Path(__file__).parent / "data"
SIZE, TILE, STRIDE = 384, 256, 13


def shares(extent, size, factor):
    """The first row of each tile, and how much of every pixel comes from it (count, pixels)."""
    step = size - size // 4
    count = -(-(extent - size) // step) + 1
    first = [i * (extent - size) // (count - 1) for i in range(count)]
    rows = torch.zeros(count, extent * factor)
    for i, start in enumerate(first):
        at = torch.arange(start * factor, (start + size) * factor)
        rows[i, at] = 1
        if i > 0:
            end = (first[i - 1] + size) * factor
            rows[i, at] *= ((at - at[0] + 0.5) / (end - at[0])).clamp(max=1)
        if i + 1 < count:
            begin = first[i + 1] * factor
            rows[i, at] *= ((at[-1] + 1 - at - 0.5) / (at[-1] + 1 - begin)).clamp(max=1)
    return first, rows / rows.sum(0)


def in_tiles(vae, latents, size, factor):
    first, share = shares(latents.shape[-1], size, factor)
    image = torch.zeros(1, 3, share.shape[1], share.shape[1])
    for i, top in enumerate(first):
        for j, left in enumerate(first):
            tile = vae.decode(latents[:, :, top:top + size, left:left + size]).sample
            y, x = (slice(at * factor, (at + size) * factor) for at in (top, left))
            image[:, :, y, x] += share[i, y, None] * share[j, x] * tile
    return image


def thin(image):
    """(H, W, 3) bytes, every STRIDE-th."""
    return (image[0].permute(1, 2, 0) / 2 + 0.5).clamp(0, 1).mul(255).round().byte().flatten()[::STRIDE].clone()


def main():
    diffusers.logging.set_verbosity_error()
    vae = diffusers.AutoencoderKL.from_pretrained(DATA / "kl" / "vae")
    pipeline = diffusers.DiffusionPipeline.from_pretrained(DATA / "turbo", vae=vae)
    pipeline.set_progress_bar_config(disable=True)
    factor = 2 ** (len(vae.config.block_out_channels) - 1)
    size, shape = TILE // factor, (1, pipeline.unet.config.in_channels, SIZE // factor, SIZE // factor)
    latents = pipeline(PROMPT, width=SIZE, height=SIZE, num_inference_steps=1, guidance_scale=2.5,
                       latents=philox.normal(SEED, 0, shape), output_type="latent").images
    latents = latents / vae.config.scaling_factor + vae.config.shift_factor
    with torch.no_grad():
        whole, tiles = thin(vae.decode(latents).sample), thin(in_tiles(vae, latents, size, factor))
        vae.enable_tiling()
        vae.tile_latent_min_size, vae.tile_sample_min_size = size, TILE
        theirs = psnr(thin(vae.decode(latents).sample), whole)
    print(f"from one piece: diffusers' tiles {theirs:.2f} dB, vksteer's {psnr(tiles, whole):.2f} dB")
    assert theirs < psnr(tiles, whole) and whole.float().std() > 40, "a picture that proves nothing"
    save_file({"whole": whole, "tiles": tiles}, DATA / "tiles.safetensors", {"psnr": f"{theirs:.3f}"})
    (DATA / "tiles.safetensors").chmod(0o644)


if __name__ == "__main__":
    main()
