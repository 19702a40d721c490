"""A baked model in diffusers against the steering in vksteer: same prompts, same latents.

    python tests/compare/baked.py --steer ink.safetensors:0.8 [--model assets/emoji] --vksteer build/cli/vksteer

Bakes the steering into a copy of the model, paints with diffusers from the copy and with `vksteer apply --steer` from
the original. Exits non-zero unless every picture agrees to 8/255 anywhere and to 40 dB, and the steering itself moves
pictures by more. Needs tests/golden/requirements.txt.
"""
import argparse
import pathlib
import subprocess
import sys
import tempfile

import numpy as np
import torch
from diffusers import StableDiffusionPipeline
from PIL import Image
from safetensors.torch import save_file

PROMPTS = ["a heart", "a light bulb", "a moon with a pizza"]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steer", action="append", required=True)
    parser.add_argument("--model", default="assets/emoji")
    parser.add_argument("--vksteer", default="build/cli/vksteer")
    args = parser.parse_args()
    steer = [word for use in args.steer for word in ("--steer", use)]
    good, moved = True, 0.0
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        subprocess.run([args.vksteer, "bake", "-q", "-m", args.model, *steer, "-o", folder / "baked"], check=True)
        pipes = [StableDiffusionPipeline.from_pretrained(at, torch_dtype=torch.float32, safety_checker=None)
                 for at in (folder / "baked", args.model)]
        size, channels = pipes[0].unet.config.sample_size, pipes[0].unet.config.in_channels
        for i, prompt in enumerate(PROMPTS):
            latents = torch.randn(1, channels, size, size, generator=torch.Generator().manual_seed(i))
            save_file({"latents": latents}, folder / "latents.safetensors")
            baked, plain = (np.round(255 * pipe(prompt, latents=latents, num_inference_steps=1, guidance_scale=0.0,
                                                output_type="np").images[0]) for pipe in pipes)
            subprocess.run([args.vksteer, "apply", "-q", "-m", args.model, "-p", prompt, *steer, "--latents",
                            folder / "latents.safetensors", "-o", folder / "picture.png"], check=True,
                           stdout=subprocess.DEVNULL)
            ours = np.asarray(Image.open(folder / "picture.png").convert("RGB")).astype(float)
            worst, mse = np.abs(ours - baked).max(), np.mean((ours - baked) ** 2)
            decibel = 10 * np.log10(255 ** 2 / max(mse, 1e-9))
            print(f"{prompt:30} off by at most {worst:.0f}/255, {decibel:.1f} dB; the steering moves it by "
                  f"{np.abs(plain - baked).max():.0f}/255")
            good &= worst <= 8 and decibel >= 40
            moved = max(moved, np.abs(plain - baked).max())
    sys.exit(0 if good and moved > 16 else 1)


if __name__ == "__main__":
    main()
