"""Writes tests/golden/data/torch: files of torch.save, and what must be read from each as safetensors.

    python torch_files.py

`module` is a module's state_dict as it is; `wrapped` what a training program leaves (weights in "state_dict", each
name with "module." before it, beside an optimiser that is not read); `kinds` has every type, a parameter, scalars,
empty tensors, views (transposed, channels last, cut out, shared) and nested containers. `vae` is the tiny SD 1
model's autoencoder as a .bin file.
"""

import pathlib
import shutil
import sys

import torch
from safetensors.torch import load_file, save_file

DATA = pathlib.Path(__file__).parent / "data" / "torch"


def flat(value, name=""):
    """Names with points between, as torch_zip.h says."""
    if isinstance(value, torch.Tensor):
        return {name: value.detach().clone(memory_format=torch.contiguous_format)}
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, (list, tuple)) else ()
    return {k: v for key, item in items for k, v in flat(item, f"{name}.{key}" if name else str(key)).items()}


def write(name, value, expected=None):
    torch.save(value, DATA / f"{name}.bin")
    save_file(flat(value if expected is None else expected), DATA / f"{name}.safetensors")
    for path in DATA.glob(f"{name}.*"):
        path.chmod(0o644)


def main():
    shutil.rmtree(DATA, ignore_errors=True)
    DATA.mkdir(parents=True)
    torch.manual_seed(11)
    module = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4), torch.nn.Linear(5, 2))
    write("module", module.state_dict())

    optimizer = torch.optim.Adam(module.parameters())
    sum(p.square().sum() for p in module.parameters()).backward()
    optimizer.step()
    inside = {f"module.{k}": v for k, v in module.state_dict().items()}
    write("wrapped", {"epoch": 3, "loss": 0.25, "note": "x", "optimizer": optimizer.state_dict(),
                      "state_dict": inside},
          module.state_dict())

    base = torch.randn(6, 8)
    kinds = {str(t).split(".")[1]: (torch.randn(3, 2) * 20).abs().to(t) for t in (
        torch.float32, torch.float16, torch.bfloat16, torch.float64, torch.int32, torch.int64, torch.int16,
        torch.int8,
        torch.uint8, torch.bool)}
    kinds |= {"parameter": torch.nn.Parameter(torch.randn(2, 2)), "scalar": torch.tensor(3.5),
              "empty": torch.empty(0, 3),
              "base": base, "tied": base, "transposed": base.t(), "rows": base[2:4], "columns": base[1:5, 2:7:2],
              "flipped": base.reshape(2, 3, 8).permute(2, 0, 1), "one": base[:, 3:4],
              "last": torch.randn(2, 3, 4, 5).to(memory_format=torch.channels_last),
              "nested": {"list": [torch.ones(1), (torch.zeros(2), 5)], 7: torch.arange(3), "none": None,
                         "big": 1 << 40,
                         "minus": -7, "large": 70000, "yes": True}}
    write("kinds", kinds)

    tiny = DATA.parent / "sd1" / "vae"
    (DATA / "vae").mkdir()
    shutil.copyfile(tiny / "config.json", DATA / "vae" / "config.json")
    torch.save(load_file(tiny / "diffusion_pytorch_model.safetensors"), DATA / "vae" / "diffusion_pytorch_model.bin")
    for path in (DATA / "vae").iterdir():
        path.chmod(0o644)


if __name__ == "__main__":
    sys.exit(main())
