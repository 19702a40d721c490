"""What diffusers' schedulers do: whole trajectories under a model that anybody can compute.

Each folder of data/schedulers is a configuration and expected.safetensors. For each number of steps N: `N.timesteps`,
`N.init_noise_sigma`, and `N.steps` (N, 3, SIZE): what the model reads, what it says of the picture, and the next
sample. The first sample is draw 0 of the seed times init_noise_sigma, fresh noise
after step s is draw s (philox.py), and the model answers tanh(0.9 x + 0.7 sin(t / 120)).
"""

import itertools
import math
import shutil
import sys

import diffusers
import torch
from safetensors.torch import save_file

import philox

STEPS = (1, 2, 4, 7, 50)
SIZE = 4
SEED = 3

SD = dict(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear")
PREDICTIONS = {"eps": "epsilon", "v": "v_prediction", "x0": "sample"}


def configurations():
    """Every spacing with every prediction, then what else the files of these families say."""
    classes = {"euler": "EulerDiscreteScheduler", "ancestral": "EulerAncestralDiscreteScheduler",
               "ddim": "DDIMScheduler"}
    for (short, kind), spacing, (name, prediction) in itertools.product(
            classes.items(), ("leading", "linspace", "trailing"), PREDICTIONS.items()):
        more = {"clip_sample": False} if short == "ddim" else {}
        offset = {"steps_offset": 1} if spacing == "leading" else {}
        if (short, name) != ("ancestral", "x0"):  # which diffusers does not have
            yield f"{short}-{spacing}-{name}", kind, dict(SD, timestep_spacing=spacing, prediction_type=prediction,
                                                          **offset, **more)
    for short, kind in classes.items():
        more = dict(clip_sample=False, set_alpha_to_one=False) if short == "ddim" else {}
        yield f"{short}-zero-snr", kind, dict(SD, timestep_spacing="trailing", prediction_type="v_prediction",
                                              rescale_betas_zero_snr=True, **more)
        yield f"{short}-linear", kind, dict(beta_schedule="linear", num_train_timesteps=600, steps_offset=3,
                                            timestep_spacing="leading", **more)
    yield "euler-sigma-min", "EulerDiscreteScheduler", dict(SD, final_sigmas_type="sigma_min")
    euler = "EulerDiscreteScheduler"
    for spacing in ("leading", "linspace", "trailing"):
        offset = {"steps_offset": 1} if spacing == "leading" else {}
        yield f"euler-karras-{spacing}", euler, dict(SD, timestep_spacing=spacing, use_karras_sigmas=True, **offset)
    yield "euler-karras-v-zero-snr", euler, dict(SD, timestep_spacing="trailing", prediction_type="v_prediction",
                                                 use_karras_sigmas=True, rescale_betas_zero_snr=True)
    yield "euler-karras-ends", euler, dict(SD, use_karras_sigmas=True, sigma_min=0.1, sigma_max=10.0,
                                           final_sigmas_type="sigma_min")
    yield "euler-exponential", euler, dict(SD, timestep_spacing="leading", steps_offset=1,
                                           use_exponential_sigmas=True)
    for spacing in ("leading", "linspace", "trailing"):
        for name in ("eps", "v"):
            offset = {"steps_offset": 1} if spacing == "leading" else {}
            yield f"pndm-{spacing}-{name}", "PNDMScheduler", dict(SD, timestep_spacing=spacing, skip_prk_steps=True,
                                                                  prediction_type=PREDICTIONS[name], **offset)
    yield "pndm-linear", "PNDMScheduler", dict(num_train_timesteps=600, skip_prk_steps=True, set_alpha_to_one=True)
    for name, prediction in PREDICTIONS.items():
        yield f"lcm-{name}", "LCMScheduler", dict(prediction_type=prediction)
    yield "lcm-40", "LCMScheduler", dict(prediction_type="v_prediction", original_inference_steps=40,
                                         timestep_scaling=8.0, rescale_betas_zero_snr=False)
    yield "lcm-linear", "LCMScheduler", dict(prediction_type="sample", num_train_timesteps=500,
                                             beta_schedule="linear")


def model(x, t):
    return torch.tanh(0.9 * x + 0.7 * math.sin(float(t) / 120))


def run(scheduler, steps, out):
    scheduler.set_timesteps(steps)
    pndm = isinstance(scheduler, diffusers.PNDMScheduler)
    assert len(scheduler.timesteps) == steps + (pndm and steps > 1)
    draws = itertools.count(1)
    module = sys.modules[type(scheduler).__module__]
    kept = vars(module).get("randn_tensor")  # PNDM draws nothing
    module.randn_tensor = lambda shape, **_: philox.normal(SEED, next(draws), shape)
    sample = philox.normal(SEED, 0, (1, 1, 1, SIZE)) * float(scheduler.init_noise_sigma)
    rows = []
    for t in scheduler.timesteps:
        x = scheduler.scale_model_input(sample, t)
        output = model(x, t)
        result = scheduler.step(output, t, sample)
        if pndm:  # which does not say it
            bar = scheduler.alphas_cumprod[int(t)]
            v = scheduler.config.prediction_type == "v_prediction"
            x0 = bar ** 0.5 * x - (1 - bar) ** 0.5 * output if v else (x - (1 - bar) ** 0.5 * output) / bar ** 0.5
        else:
            x0 = result.denoised if "denoised" in result else result.pred_original_sample
        sample = result.prev_sample
        rows.append(torch.stack([x.flatten(), x0.flatten(), sample.flatten()]))
    module.randn_tensor = kept
    out[f"{steps}.timesteps"] = scheduler.timesteps.float()
    out[f"{steps}.init_noise_sigma"] = torch.tensor([float(scheduler.init_noise_sigma)])
    out[f"{steps}.steps"] = torch.stack(rows)


def make(folder):
    shutil.rmtree(folder, ignore_errors=True)
    for name, kind, config in configurations():
        out = {}
        for steps in STEPS:
            scheduler = getattr(diffusers, kind)(**config)
            if steps <= scheduler.config.get("original_inference_steps", 1000):
                run(scheduler, steps, out)
        assert all(v.isfinite().all() for v in out.values()), name
        scheduler.save_pretrained(folder / name)
        save_file({k: v.contiguous() for k, v in out.items()}, folder / name / "expected.safetensors")
