"""Writes data/emoji: what diffusers paints with assets/emoji, one step without guidance, from given noise.

    python emoji.py

`I.latents.safetensors` holds the noise of picture I as `vksteer apply --latents` reads it, (1, C, H, W) of fp32;
`pictures.safetensors` the pictures by their numbers, (H, W, 3) bytes, and the prompts as metadata. Unlike the models
of make_models.py this one is trained: its values are of the sizes that people meet.
"""

import pathlib

import diffusers
import torch
from safetensors.torch import save_file

import philox
from pictures import SEED, psnr

ROOT = pathlib.Path(__file__).parents[2]
DATA = pathlib.Path(__file__).parent / "data" / "emoji"
PROMPTS = ["ink drawing of a light bulb", "3d render of sunglasses on a blue background"]


def main():
    torch.set_num_threads(1)
    diffusers.logging.set_verbosity_error()
    DATA.mkdir(exist_ok=True)
    pipeline = diffusers.StableDiffusionPipeline.from_pretrained(ROOT / "assets" / "emoji", torch_dtype=torch.float32,
                                                                 safety_checker=None)
    pipeline.set_progress_bar_config(disable=True)
    size, channels = pipeline.unet.config.sample_size, pipeline.unet.config.in_channels
    images, others = [], []
    for i, prompt in enumerate(PROMPTS):
        latents = philox.normal(SEED, i, (1, channels, size, size))
        save_file({"latents": latents}, DATA / f"{i}.latents.safetensors")
        for kept, words in ((images, prompt), (others, PROMPTS[1 - i])):
            image = pipeline(words, latents=latents, num_inference_steps=1, guidance_scale=0.0,
                             output_type="pt").images[0]
            kept.append(image.permute(1, 2, 0).mul(255).round().byte().contiguous())
    alike = max(psnr(images[0], images[1]), *(psnr(a, b) for a, b in zip(images, others)))
    spread = min(image.float().std().item() for image in images)
    print(f"{len(images)} pictures, spread {spread:.0f}, at most {alike:.1f} dB from that of another prompt or noise")
    assert alike < 30 and spread > 20, "pictures that prove nothing"
    save_file({str(i): image for i, image in enumerate(images)}, DATA / "pictures.safetensors",
              {str(i): prompt for i, prompt in enumerate(PROMPTS)})
    for path in DATA.iterdir():
        path.chmod(0o644)


if __name__ == "__main__":
    main()
