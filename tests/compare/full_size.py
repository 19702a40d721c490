#!/usr/bin/env python3
"""Writes the layout of a published image model at full size, with weights that mean nothing.

    python3 full_size.py sd-turbo|sdxl FOLDER [--random SEED] [--check]

A whole diffusers folder: configurations as published, a small tokenizer, fp16 safetensors. Without --random the files
are sparse (zeros that take no room on most file systems): enough for `vksteer info --sites` and `--plan`. With it the
weights are random, of the size that keeps activations finite, from a repeated block of normal numbers: enough for
speed and memory. --check (needs diffusers and transformers) compares every name and shape with those of the classes.
Python's standard library alone, but for --check.
"""

import argparse
import json
import math
import pathlib
import random
import struct
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "golden"))
import tokens

TOKENS = 520  # of tokens.py

COMMON_UNET = dict(
    _class_name="UNet2DConditionModel", act_fn="silu", center_input_sample=False, downsample_padding=1,
    flip_sin_to_cos=True, freq_shift=0, in_channels=4, layers_per_block=2, mid_block_scale_factor=1, norm_eps=1e-05,
    norm_num_groups=32, out_channels=4, use_linear_projection=True)
SCHEDULER = dict(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", num_train_timesteps=1000,
                 prediction_type="epsilon", interpolation_type="linear", steps_offset=1)


def text(**config):
    return dict(dict(architectures=["CLIPTextModel"], vocab_size=49408, max_position_embeddings=77,
                     layer_norm_eps=1e-05, bos_token_id=TOKENS - 2, eos_token_id=TOKENS - 1, pad_token_id=1,
                     model_type="clip_text_model"), **config)


def vae(scaling, sample):
    return dict(_class_name="AutoencoderKL", act_fn="silu", block_out_channels=[128, 256, 512, 512],
                down_block_types=["DownEncoderBlock2D"] * 4, up_block_types=["UpDecoderBlock2D"] * 4, in_channels=3,
                out_channels=3, latent_channels=4, layers_per_block=2, norm_num_groups=32, sample_size=sample,
                scaling_factor=scaling, force_upcast=True)


MODELS = {
    "sd-turbo": dict(
        pipeline="StableDiffusionPipeline",
        scheduler=dict(SCHEDULER, _class_name="EulerDiscreteScheduler", timestep_spacing="trailing"),
        text_encoder=text(hidden_size=1024, intermediate_size=4096, num_attention_heads=16, num_hidden_layers=23,
                          projection_dim=512, hidden_act="gelu"),
        unet=dict(COMMON_UNET, sample_size=64, block_out_channels=[320, 640, 1280, 1280], cross_attention_dim=1024,
                  attention_head_dim=[5, 10, 20, 20],
                  down_block_types=["CrossAttnDownBlock2D"] * 3 + ["DownBlock2D"],
                  up_block_types=["UpBlock2D"] + ["CrossAttnUpBlock2D"] * 3),
        vae=vae(0.18215, 768)),
    "sdxl": dict(
        pipeline="StableDiffusionXLPipeline",
        scheduler=dict(SCHEDULER, _class_name="EulerDiscreteScheduler", timestep_spacing="leading"),
        text_encoder=text(hidden_size=768, intermediate_size=3072, num_attention_heads=12, num_hidden_layers=12,
                          projection_dim=768, hidden_act="quick_gelu"),
        text_encoder_2=text(architectures=["CLIPTextModelWithProjection"], hidden_size=1280, intermediate_size=5120,
                            num_attention_heads=20, num_hidden_layers=32, projection_dim=1280, hidden_act="gelu"),
        unet=dict(COMMON_UNET, sample_size=128, block_out_channels=[320, 640, 1280], cross_attention_dim=2048,
                  attention_head_dim=[5, 10, 20], transformer_layers_per_block=[1, 2, 10],
                  addition_embed_type="text_time", addition_time_embed_dim=256,
                  projection_class_embeddings_input_dim=2816,
                  down_block_types=["DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"],
                  up_block_types=["CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"]),
        vae=vae(0.13025, 1024)),
}


# ---- names and shapes ----------------------------------------------------------------------------------------------

def linear(name, width_in, width_out, bias=True):
    yield f"{name}.weight", (width_out, width_in)
    if bias:
        yield f"{name}.bias", (width_out,)


def conv(name, width_in, width_out, kernel=3):
    yield f"{name}.weight", (width_out, width_in, kernel, kernel)
    yield f"{name}.bias", (width_out,)


def norm(name, width):
    yield f"{name}.weight", (width,)
    yield f"{name}.bias", (width,)


def resnet(name, width_in, width_out, time=0):
    yield from norm(f"{name}.norm1", width_in)
    yield from conv(f"{name}.conv1", width_in, width_out)
    if time:
        yield from linear(f"{name}.time_emb_proj", time, width_out)
    yield from norm(f"{name}.norm2", width_out)
    yield from conv(f"{name}.conv2", width_out, width_out)
    if width_in != width_out:
        yield from conv(f"{name}.conv_shortcut", width_in, width_out, 1)


def attention(name, width, context, bias=False):
    for part, width_in in (("to_q", width), ("to_k", context), ("to_v", context)):
        yield from linear(f"{name}.{part}", width_in, width, bias)
    yield from linear(f"{name}.to_out.0", width, width)


def transformer(name, width, context, blocks):
    yield from norm(f"{name}.norm", width)
    yield from linear(f"{name}.proj_in", width, width)
    for i in range(blocks):
        block = f"{name}.transformer_blocks.{i}"
        for j, keys in ((1, width), (2, context)):
            yield from norm(f"{block}.norm{j}", width)
            yield from attention(f"{block}.attn{j}", width, keys)
        yield from norm(f"{block}.norm3", width)
        yield from linear(f"{block}.ff.net.0.proj", width, 8 * width)
        yield from linear(f"{block}.ff.net.2", 4 * width, width)
    yield from linear(f"{name}.proj_out", width, width)


def unet_parameters(c):
    widths, layers, context = c["block_out_channels"], c["layers_per_block"], c["cross_attention_dim"]
    time, last = 4 * widths[0], len(widths) - 1
    depth = c.get("transformer_layers_per_block", [1] * len(widths))
    yield from conv("conv_in", c["in_channels"], widths[0])
    added = c.get("projection_class_embeddings_input_dim")
    for name, width in (("time_embedding", widths[0]), ("add_embedding", added)):
        if width:
            yield from linear(f"{name}.linear_1", width, time)
            yield from linear(f"{name}.linear_2", time, time)
    x, skips = widths[0], [widths[0]]
    for i, width in enumerate(widths):
        block = f"down_blocks.{i}"
        for j in range(layers):
            yield from resnet(f"{block}.resnets.{j}", x, width, time)
            x = width
            if c["down_block_types"][i].startswith("CrossAttn"):
                yield from transformer(f"{block}.attentions.{j}", width, context, depth[i])
            skips.append(x)
        if i < last:
            yield from conv(f"{block}.downsamplers.0.conv", x, x)
            skips.append(x)
    yield from resnet("mid_block.resnets.0", x, x, time)
    yield from transformer("mid_block.attentions.0", x, context, depth[last])
    yield from resnet("mid_block.resnets.1", x, x, time)
    for i, width in enumerate(reversed(widths)):
        block = f"up_blocks.{i}"
        for j in range(layers + 1):
            yield from resnet(f"{block}.resnets.{j}", x + skips.pop(), width, time)
            x = width
            if c["up_block_types"][i].startswith("CrossAttn"):
                yield from transformer(f"{block}.attentions.{j}", width, context, depth[last - i])
        if i < last:
            yield from conv(f"{block}.upsamplers.0.conv", x, x)
    yield from norm("conv_norm_out", x)
    yield from conv("conv_out", x, c["out_channels"])


def vae_middle(name, width):
    yield from resnet(f"{name}.resnets.0", width, width)
    yield from norm(f"{name}.attentions.0.group_norm", width)
    yield from attention(f"{name}.attentions.0", width, width, True)
    yield from resnet(f"{name}.resnets.1", width, width)


def vae_parameters(c):
    widths, layers, latents = c["block_out_channels"], c["layers_per_block"], c["latent_channels"]
    for half, kind, order, more, ends, count in (
            ("encoder", "down", widths, "downsamplers", (c["in_channels"], 2 * latents), layers),
            ("decoder", "up", widths[::-1], "upsamplers", (latents, c["out_channels"]), layers + 1)):
        x = order[0]
        yield from conv(f"{half}.conv_in", ends[0], x)
        for i, width in enumerate(order):
            for j in range(count):
                yield from resnet(f"{half}.{kind}_blocks.{i}.resnets.{j}", x, width)
                x = width
            if i < len(order) - 1:
                yield from conv(f"{half}.{kind}_blocks.{i}.{more}.0.conv", x, x)
        yield from vae_middle(f"{half}.mid_block", widths[-1])
        yield from norm(f"{half}.conv_norm_out", x)
        yield from conv(f"{half}.conv_out", x, ends[1])
    yield from conv("quant_conv", 2 * latents, 2 * latents, 1)
    yield from conv("post_quant_conv", latents, latents, 1)


def text_parameters(c):
    width, inner = c["hidden_size"], c["intermediate_size"]
    yield "text_model.embeddings.token_embedding.weight", (c["vocab_size"], width)
    yield "text_model.embeddings.position_embedding.weight", (c["max_position_embeddings"], width)
    for i in range(c["num_hidden_layers"]):
        layer = f"text_model.encoder.layers.{i}"
        for part in ("q_proj", "k_proj", "v_proj", "out_proj"):
            yield from linear(f"{layer}.self_attn.{part}", width, width)
        for j in (1, 2):
            yield from norm(f"{layer}.layer_norm{j}", width)
        yield from linear(f"{layer}.mlp.fc1", width, inner)
        yield from linear(f"{layer}.mlp.fc2", inner, width)
    yield from norm("text_model.final_layer_norm", width)
    if c["architectures"] == ["CLIPTextModelWithProjection"]:
        yield from linear("text_projection", width, c["projection_dim"], False)


# ---- files ---------------------------------------------------------------------------------------------------------

class Weights:
    """fp16 bytes: zeros, or N(0, 1 / fan in), norms' gains 1, biases N(0, .02)."""

    def __init__(self, seed):
        draw = random.Random(seed)
        self.normal = [draw.gauss(0, 1) for _ in range(65537)]
        self.blocks = {}

    def block(self, name, shape):
        if len(shape) == 1:
            gain, offset = 0.02, 1 if "norm" in name and name.endswith("weight") else 0
        else:
            gain, offset = 1 / math.sqrt(math.prod(shape[1:])), 0
        if (gain, offset) not in self.blocks:
            values = (offset + gain * x for x in self.normal)
            self.blocks[gain, offset] = struct.pack(f"<{len(self.normal)}e", *values)
        return self.blocks[gain, offset]

    def write(self, out, name, shape):
        block, left = self.block(name, shape), 2 * math.prod(shape)
        while left > 0:
            out.write(block[:left])
            left -= len(block)


def write_weights(path, parameters, weights):
    at, header = 0, {}
    rows = sorted(parameters)
    for name, shape in rows:
        size = 2 * math.prod(shape)
        header[name] = {"dtype": "F16", "shape": list(shape), "data_offsets": [at, at + size]}
        at += size
    text_bytes = json.dumps(header, separators=(",", ":")).encode()
    text_bytes += b" " * (-len(text_bytes) % 8)
    with open(path, "wb") as out:
        out.write(struct.pack("<Q", len(text_bytes)) + text_bytes)
        if weights:
            for name, shape in rows:
                weights.write(out, name, shape)
        else:
            out.truncate(8 + len(text_bytes) + at)
    return at // 2


def parts(model):
    """Folder, class, parameters, name of the file."""
    for name, config in MODELS[model].items():
        if name.startswith("text"):
            yield name, config, config["architectures"][0], dict(text_parameters(config)), "model.fp16"
        elif name == "unet":
            yield name, config, config["_class_name"], dict(unet_parameters(config)), "diffusion_pytorch_model.fp16"
        elif name == "vae":
            yield name, config, config["_class_name"], dict(vae_parameters(config)), "diffusion_pytorch_model.fp16"


def write(model, folder, weights):
    scheduler = MODELS[model]["scheduler"]
    index = {"_class_name": MODELS[model]["pipeline"], "scheduler": ["diffusers", scheduler["_class_name"]]}
    (folder / "scheduler").mkdir(parents=True, exist_ok=True)
    (folder / "scheduler" / "scheduler_config.json").write_text(json.dumps(scheduler, indent=1))
    for name, config, kind, parameters, file in parts(model):
        (folder / name).mkdir(exist_ok=True)
        (folder / name / "config.json").write_text(json.dumps(config, indent=1))
        count = write_weights(folder / name / f"{file}.safetensors", parameters.items(), weights)
        index[name] = ["transformers" if name.startswith("text") else "diffusers", kind]
        if name.startswith("text"):
            tokenizer = name.replace("text_encoder", "tokenizer")
            assert tokens.write(folder / tokenizer, config["max_position_embeddings"]) == TOKENS
            index[tokenizer] = ["transformers", "CLIPTokenizer"]
        print(f"{folder / name}: {count / 1e6:.1f} M parameters")
    (folder / "model_index.json").write_text(json.dumps(index, indent=1))


def check(model):
    import diffusers
    import torch
    import transformers
    for name, config, kind, parameters, _file in parts(model):
        with torch.device("meta"):
            if name.startswith("text"):
                module = getattr(transformers, kind)(transformers.CLIPTextConfig(**config))
            else:
                module = getattr(diffusers, kind).from_config(config)
        want = {k: tuple(v.shape) for k, v in module.named_parameters()}
        if kind == "CLIPTextModel":  # whose parameters had this prefix before transformers 5, as they have in files
            want = {f"text_model.{k}": v for k, v in want.items()}
        assert parameters == want, f"{name}: {sorted(set(parameters.items()) ^ set(want.items()))[:6]}"
        print(f"{model}/{name}: {len(want)} parameters as in {kind}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", choices=MODELS)
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("--random", type=int, metavar="SEED")
    parser.add_argument("--check", action="store_true")
    options = parser.parse_args()
    if options.check:
        check(options.model)
    write(options.model, options.folder, None if options.random is None else Weights(options.random))


if __name__ == "__main__":
    main()
