"""The same picture from diffusers and from vksteer: same folder, same prompts, same latents.

    python tests/compare/diffusers_picture.py assets/emoji --vksteer build/cli/vksteer

Exits non-zero unless every picture agrees to 8/255 anywhere and to 40 dB. Needs tests/golden/requirements.txt.
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

PROMPTS = ["a heart", "ink drawing of a light bulb", "a moon with a pizza",
           "3d render of sunglasses on a blue background"]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("--vksteer", default="build/cli/vksteer")
    args = parser.parse_args()
    pipe = StableDiffusionPipeline.from_pretrained(args.model, torch_dtype=torch.float32, safety_checker=None)
    pipe.set_progress_bar_config(disable=True)
    size, channels = pipe.unet.config.sample_size, pipe.unet.config.in_channels
    good = True
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        for i, prompt in enumerate(PROMPTS):
            latents = torch.randn(1, channels, size, size, generator=torch.Generator().manual_seed(i))
            save_file({"latents": latents}, folder / "latents.safetensors")
            theirs = pipe(prompt, latents=latents, num_inference_steps=1, guidance_scale=0.0,
                          output_type="np").images[0]
            theirs = np.round(theirs * 255)
            subprocess.run([args.vksteer, "apply", "-q", "-m", args.model, "-p", prompt, "--latents",
                            folder / "latents.safetensors",
                            "-o", folder / "picture.png"], check=True, stdout=subprocess.DEVNULL)
            ours = np.asarray(Image.open(folder / "picture.png").convert("RGB")).astype(float)
            worst, mse = np.abs(ours - theirs).max(), np.mean((ours - theirs) ** 2)
            decibel = 10 * np.log10(255 ** 2 / max(mse, 1e-9))
            print(f"{prompt:50} off by at most {worst:.0f}/255, {decibel:.1f} dB")
            good &= worst <= 8 and decibel >= 40 and theirs.std() > 5
    sys.exit(0 if good else 1)


if __name__ == "__main__":
    main()
