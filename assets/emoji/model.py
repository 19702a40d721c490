"""The networks of the `emoji` model, in diffusers and transformers classes, and their folder.

    caption (B, 32) --CLIPTextModel--> states (B, 32, 192)
    noise (B, 8, 16, 16) --UNet, one step at t = 999--> latents (B, 8, 16, 16)
        --AutoencoderTiny--> picture (B, 3, 64, 64)

The one step is the step of StableDiffusionPipeline with EulerDiscreteScheduler: see `one_step`.
"""
import json
import os
import shutil

import torch
from diffusers import AutoencoderTiny, EulerDiscreteScheduler, UNet2DConditionModel
from safetensors.torch import save_file
from transformers import CLIPTextConfig, CLIPTextModel

LENGTH = 32                 # tokens of a caption, padded with <|endoftext|>
LATENT = (8, 16, 16)        # channels, height, width


def make_text(vocabulary, eos):
    """CLIP text encoder; `eos` is the id of <|endoftext|>, the last of the vocabulary."""
    return CLIPTextModel(CLIPTextConfig(
        vocab_size=vocabulary, hidden_size=192, intermediate_size=384, num_hidden_layers=4, num_attention_heads=6,
        max_position_embeddings=LENGTH, hidden_act="quick_gelu", projection_dim=192,
        bos_token_id=eos - 1, eos_token_id=eos, pad_token_id=eos, initializer_factor=1.0))


def make_unet(channels=(32, 64, 128)):
    return UNet2DConditionModel(
        sample_size=LATENT[1], in_channels=LATENT[0], out_channels=LATENT[0], block_out_channels=channels,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        mid_block_type="UNetMidBlock2DCrossAttn", layers_per_block=1, norm_num_groups=8,
        cross_attention_dim=192, attention_head_dim=4, use_linear_projection=True)


def make_autoencoder():
    """64x64x3 -> 16x16x8; blocks stand at the lower resolutions, where they are cheap."""
    return AutoencoderTiny(
        latent_channels=LATENT[0], encoder_block_out_channels=(32, 32, 32), decoder_block_out_channels=(32, 32, 32),
        num_encoder_blocks=(0, 1, 3), num_decoder_blocks=(3, 1, 0), scaling_factor=1.0, latent_magnitude=3,
        latent_shift=0.5, force_upcast=False)


def make_scheduler():
    return EulerDiscreteScheduler(
        num_train_timesteps=1000, beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear",
        prediction_type="v_prediction", timestep_spacing="trailing", steps_offset=1)


def step_constants():
    """(sigma, timestep) of the one step, from the scheduler itself."""
    scheduler = make_scheduler()
    scheduler.set_timesteps(1)
    return float(scheduler.sigmas[0]), float(scheduler.timesteps[0]), float(scheduler.init_noise_sigma)


def one_step(unet, noise, states):
    """Latents (B, 8, 16, 16) from unit noise: what the pipeline computes with num_inference_steps=1,
    guidance_scale=0.

    x = sigma_init n;  v = unet(x / sqrt(sigma^2 + 1));  latents = x / (sigma^2 + 1) - v sigma / sqrt(sigma^2 + 1)
    (EulerDiscreteScheduler.scale_model_input and .step with v_prediction; the step to sigma 0 lands on that
    prediction.)
    """
    sigma, timestep, init = step_constants()
    x = noise * init
    root = (sigma * sigma + 1) ** .5
    v = unet(x / root, torch.tensor(timestep), states, return_dict=False)[0]
    return x / (sigma * sigma + 1) - v * (sigma / root)


def count_macs(module, *inputs, **named):
    """Multiply-adds of one forward pass in convolutions, linear layers and attention products."""
    total = [0]

    def conv(m, i, o):
        total[0] += o[0].numel() * m.weight[0].numel() * o.shape[0]

    def linear(m, i, o):
        total[0] += o.numel() * m.in_features
    handles = [m.register_forward_hook(conv if isinstance(m, torch.nn.Conv2d) else linear)
               for m in module.modules() if isinstance(m, (torch.nn.Conv2d, torch.nn.Linear))]
    with torch.no_grad():
        module(*inputs, **named)
    for h in handles:
        h.remove()
    return total[0]


def save_folder(path, text, unet, autoencoder, tokenizer_folder):
    """Writes the diffusers folder in fp16, beside `path` first, then part by part in its place."""
    part = path.rstrip("/") + ".part"
    shutil.rmtree(part, ignore_errors=True)
    os.makedirs(part)
    for name, module in (("text_encoder", text), ("unet", unet), ("vae", autoencoder)):
        dtype = next(module.parameters()).dtype
        half = type(module).from_config(module.config) if name != "text_encoder" else CLIPTextModel(module.config)
        half.load_state_dict(module.state_dict())
        half.half()
        assert all(torch.isfinite(p).all() for p in half.parameters()), name
        half.save_pretrained(os.path.join(part, name), safe_serialization=True)
        if name == "text_encoder":              # the tensor names of published checkpoints; transformers reads both
            file = os.path.join(part, name, "model.safetensors")
            save_file({"text_model." + k: v for k, v in half.state_dict().items()}, file, metadata={"format": "pt"})
        assert next(module.parameters()).dtype == dtype
    make_scheduler().save_pretrained(os.path.join(part, "scheduler"))
    shutil.copytree(tokenizer_folder, os.path.join(part, "tokenizer"))
    with open(os.path.join(part, "model_index.json"), "w") as f:
        json.dump({"_class_name": "StableDiffusionPipeline", "_diffusers_version": "0.42.1",
                   "feature_extractor": [None, None],
                   "image_encoder": [None, None], "requires_safety_checker": False, "safety_checker": [None, None],
                   "scheduler": ["diffusers", "EulerDiscreteScheduler"],
                   "text_encoder": ["transformers", "CLIPTextModel"],
                   "tokenizer": ["transformers", "CLIPTokenizer"], "unet": ["diffusers", "UNet2DConditionModel"],
                   "vae": ["diffusers", "AutoencoderTiny"]}, f, indent=2)
        f.write("\n")
    os.makedirs(path, exist_ok=True)
    for name in sorted(os.listdir(part)):
        old, new = os.path.join(path, name), os.path.join(part, name)
        if os.path.isdir(new):
            os.makedirs(old, exist_ok=True)
            for leaf in os.listdir(new):
                os.replace(os.path.join(new, leaf), os.path.join(old, leaf))
        else:
            os.replace(new, old)
    shutil.rmtree(part)
