"""Writes tests/golden/data/checkpoints: two of the tiny models as single files in the layout in which Stable
Diffusion was published, with every value twice the folder's, in fp16.

    python checkpoints.py

sd1.ckpt is what torch.save makes of a training program's state; xl.safetensors has the second text encoder in
OpenCLIP's layout, and an AutoencoderKL.
"""

import pathlib
import shutil

import torch
from safetensors.torch import load_file, save_file

ROOT = pathlib.Path(__file__).parent / "data"
DATA = ROOT / "checkpoints"

FIXED = {"conv_in": "input_blocks.0.0", "conv_norm_out": "out.0", "conv_out": "out.2",
         "time_embedding.linear_1": "time_embed.0", "time_embedding.linear_2": "time_embed.2",
         "add_embedding.linear_1": "label_emb.0.0", "add_embedding.linear_2": "label_emb.0.2"}
RESNET = {"norm1": "in_layers.0", "conv1": "in_layers.2", "time_emb_proj": "emb_layers.1", "norm2": "out_layers.0",
          "conv2": "out_layers.3", "conv_shortcut": "skip_connection"}


def original(module, layers, modules):
    """diffusers' name of a UNet module as it was published first."""
    if module in FIXED:
        return FIXED[module]
    kind, *rest = module.split(".")
    if kind == "mid_block":
        layer, index, *rest = rest
        block = "middle_block." + ("1" if layer == "attentions" else "2" if index == "1" else "0")
    else:
        b, layer, index, *rest = rest
        up = kind == "up_blocks"
        number = int(b) * (layers + 1) + (layers if "samplers" in layer else int(index)) + (not up)
        block = f"{'output' if up else 'input'}_blocks.{number}."
        if layer == "downsamplers":
            return block + "0.op"
        if layer == "upsamplers":
            attends = any(m.startswith(f"up_blocks.{b}.attentions") for m in modules)
            return block + ("2" if attends else "1") + ".conv"
        block += "1" if layer == "attentions" else "0"
    return ".".join([block, *(RESNET.get(r, r) if layer == "resnets" else r for r in rest)])


def unet(folder, layers):
    state = load_file(folder / "unet" / "diffusion_pytorch_model.safetensors")
    modules = {k.rpartition(".")[0] for k in state}
    return {"model.diffusion_model." + original(m, layers, modules) + "." + p: v
            for k, v in state.items() for m, _, p in [k.rpartition(".")]}


def clip(folder, prefix):
    state = load_file(folder / "model.safetensors")
    return {f"{prefix}text_model.{k.removeprefix('text_model.')}": v for k, v in state.items()}


def open_clip(folder, prefix):
    state, out = load_file(folder / "model.safetensors"), {}
    state = {k.removeprefix("text_model."): v for k, v in state.items()}
    names = {"embeddings.token_embedding.weight": "token_embedding.weight",
             "embeddings.position_embedding.weight": "positional_embedding"}
    inner = {"layer_norm1": "ln_1", "layer_norm2": "ln_2", "mlp.fc1": "mlp.c_fc", "mlp.fc2": "mlp.c_proj",
             "self_attn.out_proj": "attn.out_proj"}
    for k, v in state.items():
        if k == "text_projection.weight":
            out[prefix + "text_projection"] = v.t().contiguous()
        elif k.startswith("final_layer_norm"):
            out[prefix + k.replace("final_layer_norm", "ln_final")] = v
        elif k in names:
            out[prefix + names[k]] = v
        else:
            _, _, layer, rest = k.split(".", 3)
            module, _, kind = rest.rpartition(".")
            block = f"{prefix}transformer.resblocks.{layer}."
            if module in inner:
                out[f"{block}{inner[module]}.{kind}"] = v
            elif module == "self_attn.q_proj":
                three = [state[k.replace("q_proj", f"{x}_proj")] for x in "qkv"]
                out[f"{block}attn.in_proj_{kind}"] = torch.cat(three)
    out[prefix + "logit_scale"] = torch.tensor(4.6)
    return out


def vae(folder, levels):
    out = {}
    attention = {"group_norm": "norm", "to_q": "q", "to_k": "k", "to_v": "v", "to_out.0": "proj_out"}
    for k, v in load_file(folder / "vae" / "diffusion_pytorch_model.safetensors").items():
        half, _, rest = k.partition(".")
        module, _, kind = rest.rpartition(".")
        part = module.split(".")
        if module.startswith("mid_block.attentions.0."):
            module = "mid.attn_1." + attention[module.removeprefix("mid_block.attentions.0.")]
            v = v[:, :, None, None] if v.dim() == 2 else v
        elif part[0] == "mid_block":
            module = ".".join(["mid", f"block_{int(part[2]) + 1}", *part[3:]])
        elif part[0] in ("down_blocks", "up_blocks"):
            level = levels - 1 - int(part[1]) if part[0] == "up_blocks" else int(part[1])
            way = part[0].removesuffix("_blocks")
            module = f"{way}.{level}." + (f"{way}sample.conv" if "samplers" in part[2]
                                          else ".".join(["block", *part[3:]]))
        module = module.replace("conv_shortcut", "nin_shortcut").replace("conv_norm_out", "norm_out")
        out["first_stage_model." + ".".join(filter(None, [half, module, kind]))] = v
    return out


def main():
    shutil.rmtree(DATA, ignore_errors=True)
    DATA.mkdir(parents=True)
    sd1 = unet(ROOT / "sd1", 2) | clip(ROOT / "sd1" / "text_encoder", "cond_stage_model.transformer.")
    sd1 = {k: (2 * v).half() for k, v in sd1.items()}
    sd1["betas"] = torch.zeros(4)
    torch.save({"state_dict": sd1, "global_step": 7}, DATA / "sd1.ckpt")
    xl = unet(ROOT / "xl", 1) | clip(ROOT / "xl" / "text_encoder", "conditioner.embedders.0.transformer.")
    xl |= open_clip(ROOT / "xl" / "text_encoder_2", "conditioner.embedders.1.model.")
    xl |= vae(ROOT / "xl", 2)
    save_file({k: (2 * v).half() for k, v in xl.items()}, DATA / "xl.safetensors")
    for path in DATA.iterdir():
        path.chmod(0o644)


if __name__ == "__main__":
    main()
