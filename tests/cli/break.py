"""A copy of a diffusers folder with one thing wrong: break.py FOLDER OUT HOW, for models.sh."""

import json
import math
import pathlib
import shutil
import struct
import sys

folder, out, how = sys.argv[1:]
out = pathlib.Path(out)
shutil.copytree(folder, out)
unet = out / "unet" / "diffusion_pytorch_model.safetensors"


def edit(path, change):
    value = json.loads((out / path).read_text())
    change(value)
    (out / path).write_text(json.dumps(value))


def retype(choose):
    """Writes the UNet's F32 tensors anew: choose(name, values, shape) gives (type, struct letter, values, shape)."""
    data = unet.read_bytes()
    start = 8 + int.from_bytes(data[:8], "little")
    header, body, new = json.loads(data[8:start]), b"", {}
    for name, entry in sorted(header.items()):
        if name == "__metadata__":
            continue
        begin, end = entry["data_offsets"]
        values = struct.unpack(f"<{(end - begin) // 4}f", data[start + begin:start + end])
        kind, letter, values, shape = choose(name, values, entry["shape"])
        packed = struct.pack(f"<{len(values)}{letter}", *values)
        new[name] = {"dtype": kind, "shape": shape, "data_offsets": [len(body), len(body) + len(packed)]}
        body += packed
    text = json.dumps(new).encode()
    text += b" " * (-len(text) % 8)
    unet.write_bytes(len(text).to_bytes(8, "little") + text + body)


def bf16(values):
    return [struct.unpack("<I", struct.pack("<f", v))[0] >> 16 for v in values]


def mixed(name, values, shape):
    """Half of the tensors in one half precision, a quarter in the other."""
    n = sum(name.encode()) % 4
    if n < 2:
        return "F16", "e", values, shape
    return ("BF16", "H", bf16(values), shape) if n == 2 else ("F32", "f", values, shape)


def one(name, change):
    retype(lambda n, values, shape: change(values, shape) if n == name else ("F32", "f", values, shape))


WAYS = {
    "no-unet-entry": lambda: edit("model_index.json", lambda v: v.pop("unet")),
    "no-text-encoder": lambda: shutil.rmtree(out / "text_encoder"),
    "no-tokenizer": lambda: (out / "tokenizer" / "vocab.json").unlink(),
    "no-scheduler": lambda: shutil.rmtree(out / "scheduler"),
    "no-vae": lambda: shutil.rmtree(out / "vae"),
    "no-config": lambda: (out / "unet" / "config.json").unlink(),
    "no-tensor": lambda: unet.write_bytes(unet.read_bytes().replace(b'"conv_out.bias"', b'"conv_out.bios"')),
    "class-pipeline": lambda: edit("model_index.json", lambda v: v.update(_class_name="FluxPipeline")),
    "class-unet": lambda: edit("model_index.json", lambda v: v.update(unet=["diffusers", "UNet3DConditionModel"])),
    "class-text": lambda: edit("model_index.json",
                               lambda v: v.update(text_encoder=["transformers", "T5EncoderModel"])),
    "class-vae": lambda: edit("model_index.json", lambda v: v.update(vae=["diffusers", "VQModel"])),
    "class-block": lambda: edit("unet/config.json",
                                lambda v: v["down_block_types"].__setitem__(0, "MagicDownBlock2D")),
    "shape-config": lambda: edit("unet/config.json", lambda v: v["block_out_channels"].__setitem__(0, 16)),
    "shape-tensor": lambda: one("conv_in.weight", lambda v, s: ("F32", "f", v, [s[0], s[1] * s[2], s[3]])),
    "shape-text": lambda: edit("unet/config.json", lambda v: v.update(cross_attention_dim=28)),
    "type-double": lambda: one("conv_norm_out.weight", lambda v, s: ("F64", "d", v, s)),
    "type-mixed": lambda: retype(mixed),
    "nan": lambda: one("conv_norm_out.bias", lambda v, s: ("F32", "f", [math.nan, *v[1:]], s)),
    "infinite": lambda: one("conv_in.weight", lambda v, s: ("F32", "f", [*v[1:], math.inf], s)),
}


WAYS[how]()
