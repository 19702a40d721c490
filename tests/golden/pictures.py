"""What diffusers' pipelines paint with a folder, on vksteer's noise: pictures.json says how, pictures.safetensors
what.
"""

import itertools
import json
import sys

import diffusers
import torch
from safetensors.torch import save_file

import philox

PROMPT = "a red apple"
SEED = 11
WIDTH, HEIGHT = 32, 16


def psnr(a, b):
    return -10 * torch.log10(((a.double() - b.double()) / 255).square().mean()).item()


CLASSES = {"euler": "EulerDiscreteScheduler", "euler-a": "EulerAncestralDiscreteScheduler", "lcm": "LCMScheduler",
           "ddim": "DDIMScheduler", "pndm": "PNDMScheduler"}


def paint(pipeline, steps, guidance, negative, scheduler=None, timesteps=None):
    """(H, W, 3) bytes. Draw 0 of the seed is the initial noise, draw s the noise after step s."""
    own = pipeline.scheduler
    if scheduler:
        # As pipelines of Stable Diffusion make them when they find them in a folder.
        more = {"pndm": dict(skip_prk_steps=True), "ddim": dict(clip_sample=False)}.get(scheduler, {})
        pipeline.scheduler = getattr(diffusers, CLASSES[scheduler]).from_config(own.config, **more)
    factor = 2 ** (len(pipeline.vae.config.block_out_channels) - 1)
    shape = (1, pipeline.unet.config.in_channels, HEIGHT // factor, WIDTH // factor)
    draws = itertools.count(1)

    def noise(_shape, **_kwargs):
        return philox.normal(SEED, next(draws), shape)

    modules = [m for name, m in list(sys.modules.items())
               if name.startswith("diffusers.schedulers.") and "randn_tensor" in vars(m)]
    kept = [(m, m.randn_tensor) for m in modules]
    for m in modules:
        m.randn_tensor = noise
    try:
        latents = pipeline(PROMPT, negative_prompt=negative, width=WIDTH, height=HEIGHT, num_inference_steps=steps,
                           guidance_scale=guidance, latents=philox.normal(SEED, 0, shape), timesteps=timesteps,
                           output_type="latent").images
    finally:
        pipeline.scheduler = own
        for m, original in kept:
            m.randn_tensor = original
    config = pipeline.vae.config
    with torch.no_grad():
        # The shift is that of FLUX; the pipelines of UNets would leave it out.
        image = pipeline.vae.decode(latents / config.scaling_factor + (config.get("shift_factor") or 0)).sample
    clipped = (image.abs() > 1).float().mean()
    assert clipped < 0.75, f"{clipped:.0%} of the picture is clipped: it would hide differences"
    return (image[0].permute(1, 2, 0) / 2 + 0.5).clamp(0, 1).mul(255).round().byte()


def record(folder, fixture):
    diffusers.logging.set_verbosity_error()
    pipeline = diffusers.DiffusionPipeline.from_pretrained(folder, torch_dtype=torch.float32)
    pipeline.set_progress_bar_config(disable=True)
    keys = ("steps", "cfg_scale", "negative", "scheduler", "timesteps")
    cases = [{k: v for k, v in zip(keys, case) if v is not None} for case in fixture["pictures"]]
    images = [paint(pipeline, *case).contiguous() for case in fixture["pictures"]]
    for a, b in itertools.combinations(images, 2):
        assert psnr(a, b) < 30, "two of the pictures are alike: they would prove nothing about steps and guidance"
    (folder / "pictures.json").write_text(json.dumps(
        dict(prompt=PROMPT, seed=SEED, width=WIDTH, height=HEIGHT, cases=cases), indent=1) + "\n")
    save_file({str(i): image for i, image in enumerate(images)}, folder / "pictures.safetensors")
