#!/usr/bin/env python3
"""Files for the command line's tests. Python's standard library alone.

    make.py lora UNET OUT                 a LoRA of rank 2 on every to_q of a UNet, and one tensor that fits nothing
    make.py torch FOLDER COUNT            a model's UNet as torch.save writes it, in so many files, in its place
    make.py map INFO OUT                  a steering of one map, at the first site of `info --sites --json`, with the
                                          figures of other weights than the model's
    make.py state INFO TYPE LOW HIGH OUT  what AcT saves: a linear map in this type, with this support in F32
    make.py metadata FILE KEY VALUE OUT   a copy whose metadata says this; VALUE may have Python's escapes
    make.py nan FILE TENSOR               writes two values that are no numbers over the first ones of an fp16 tensor
"""
import collections
import json
import os
import pickle
import random
import struct
import sys
import types
import zipfile


def read(path):
    """(header, bytes of the tensors) of a safetensors file."""
    data = open(path, "rb").read()
    start = 8 + int.from_bytes(data[:8], "little")
    header = json.loads(data[8:start])
    header.pop("__metadata__", None)
    return header, data[start:]


def write(path, tensors, metadata=None):
    """`tensors`: {name: (type, shape, values)}."""
    codes = {"F32": "f", "F64": "d", "I64": "q"}
    header, data = {"__metadata__": metadata} if metadata else {}, b""
    for name, (kind, shape, values) in tensors.items():
        block = struct.pack(f"<{len(values)}{codes[kind]}", *values)
        header[name] = {"dtype": kind, "shape": shape, "data_offsets": [len(data), len(data) + len(block)]}
        data += block
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    open(path, "wb").write(struct.pack("<Q", len(text)) + text + data)


def lora(unet, out):
    random.seed(1)
    tensors = {}

    def put(name, *shape):
        tensors[name] = ("F32", shape, [random.uniform(-0.5, 0.5) for _ in range(shape[0] * shape[1])])

    for name, entry in read(unet)[0].items():
        if name.endswith("to_q.weight"):
            rows, columns = entry["shape"]
            stem = "lora_unet_" + name.removesuffix(".weight").replace(".", "_")
            put(stem + ".lora_down.weight", 2, columns)
            put(stem + ".lora_up.weight", rows, 2)
    put("lora_te2_x.lora_up.weight", 1, 1)
    write(out, tensors)


class Storage:
    pass


class Pickler(pickle.Pickler):
    def persistent_id(self, value):
        return value.id if isinstance(value, Storage) else None


def _rebuild_tensor_v2(*parts):
    pass


def torch_modules():
    """Stand-ins whose names the pickle has; the storage class of each type."""
    modules = {"torch": types.ModuleType("torch"), "torch._utils": types.ModuleType("torch._utils")}
    sys.modules.update(modules)
    modules["torch._utils"]._rebuild_tensor_v2 = _rebuild_tensor_v2
    _rebuild_tensor_v2.__module__ = "torch._utils"
    kinds = {}
    for kind, name in (("F16", "HalfStorage"), ("F32", "FloatStorage")):
        kinds[kind] = type(name, (), {"__module__": "torch"})
        setattr(modules["torch"], name, kinds[kind])
    return kinds


class Tensor:
    def __init__(self, key, kind, shape):
        strides = [1]
        for extent in shape[:0:-1]:
            strides.insert(0, strides[0] * extent)
        self.storage, self.shape, self.strides = Storage(), tuple(shape), tuple(strides)
        self.storage.id = ("storage", kind, key, "cpu", strides[0] * shape[0])

    def __reduce__(self):
        return _rebuild_tensor_v2, (self.storage, 0, self.shape, self.strides, False, collections.OrderedDict())


def torch(folder, count):
    stem = os.path.join(folder, "unet", "diffusion_pytorch_model")
    header, data = read(stem + ".safetensors")
    kinds, names, where = torch_modules(), sorted(header), {}
    for n in range(int(count)):
        part = {name: header[name] for name in (names[n::int(count)] if int(count) > 1 else header)}
        path = f"{stem}-{n + 1:05}-of-{int(count):05}.bin" if int(count) > 1 else stem + ".bin"
        where.update((name, os.path.basename(path)) for name in part)
        with zipfile.ZipFile(path, "w") as archive:
            for i, entry in enumerate(part.values()):
                begin, end = entry["data_offsets"]
                archive.writestr(f"x/data/{i}", data[begin:end])
            with archive.open("x/data.pkl", "w") as out:
                weights = {f"module.{name}": Tensor(str(i), kinds[entry["dtype"]], entry["shape"])
                           for i, (name, entry) in enumerate(part.items())}
                Pickler(out, 2).dump({"state_dict": weights, "epoch": 3})
    if int(count) > 1:
        json.dump({"metadata": {}, "weight_map": where}, open(stem + ".bin.index.json", "w"))
    os.remove(stem + ".safetensors")


def site_of(info):
    info = json.load(open(info))
    return info["architecture"], info["sites"][0]["name"], info["sites"][0]["channels"]


def one_map(info, out):
    architecture, site, channels = site_of(info)
    write(out, {f"{site}.{kind}": ("F32", [channels], [value] * channels)
                for kind, value in (("weight", 1.2), ("bias", 0.1))},
          {"format": "vksteer-1", "model": architecture, "position": "all", "fingerprint": "norms 5 mean 1 rms 1"})


def metadata(path, key, value, out):
    data = open(path, "rb").read()
    start = 8 + int.from_bytes(data[:8], "little")
    header = json.loads(data[8:start])
    header["__metadata__"][key] = value.encode().decode("unicode_escape")
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    open(out, "wb").write(struct.pack("<Q", len(text)) + text + data[start:])


def state(info, kind, low, high, out):
    channels = site_of(info)[2]
    number = int if kind == "I64" else float
    tensors = {f"net.{name}": (kind, [channels], [number(value)] * channels)
               for name, value in (("w1", 1), ("b1", 0))}
    for end, value in enumerate((low, high)):
        tensors[f"quantiles_dict_src.q_0_100.{end}"] = ("F32", [channels], [float(value)] * channels)
    write(out, tensors)


def nan(path, tensor):
    with open(path, "r+b") as file:
        size = struct.unpack("<Q", file.read(8))[0]
        at = json.loads(file.read(size))[tensor]["data_offsets"][0]
        file.seek(8 + size + at)
        file.write(struct.pack("<2H", 0x7e00, 0x7e00))


if __name__ == "__main__":
    {"lora": lora, "torch": torch, "map": one_map, "state": state, "metadata": metadata,
     "nan": nan}[sys.argv[1]](*sys.argv[2:])
