"""Writes tests/golden/data/act: steerings of the tiny Llama and SD 1 models in the form in which the reference
implementation of AcT saves its own (a dictionary a module), and what they do to values: expected.json.

    python act_files.py
"""

import collections
import json
import pathlib
import shutil

import torch

DATA = pathlib.Path(__file__).parent / "data" / "act"
WHERE = {"llama": [("model.layers.0.self_attn.o_proj", 20), ("model.layers.1.self_attn.o_proj", 20)],
         "sd1": [("unet.conv_norm_out", 8)]}


def quantiles(z):
    return {f"q_{low:g}_{high:g}": [torch.quantile(z, low / 100, dim=0), torch.quantile(z, high / 100, dim=0)]
            for low, high in ((0, 100), (1, 99), (0.5, 99.5))}


def main():
    shutil.rmtree(DATA, ignore_errors=True)
    generator, expected = torch.Generator().manual_seed(5), {}
    for model, sites in WHERE.items():
        for name, width in sites:
            a = torch.randn(16, width, generator=generator) * 2 + 1
            b = torch.randn(16, width, generator=generator) - 1
            w, shift = torch.rand(1, width, generator=generator) + 0.5, torch.randn(1, width, generator=generator)
            auroc = torch.rand(width, generator=generator)
            std = a.std(0)
            std[1] = 1e-5  # a channel that is left alone
            shared = {"quantiles_dict_src": quantiles(a), "quantiles_src": "q_0_100"}
            gaussian = dict(mu1=a.mean(0), mu2=b.mean(0), std1=std, std2=b.std(0))
            states = {"linear": {"net.w1": w, "net.b1": shift} | shared, "gaussian": gaussian | shared,
                      "aura": {"auroc": auroc}}
            gain = b.std(0) / std
            gain[1] = 1
            moved = b.mean(0) - gain * a.mean(0)
            moved[1] = 0
            only = b.mean(0) - a.mean(0)
            only[1] = 0
            maps = {"linear": (w[0], shift[0]), "gaussian": (gain, moved), "mean": (torch.ones(width), only),
                    "aura": (torch.where(auroc > 0.5, 1 - 2 * (auroc - 0.5), 1.0), torch.zeros(width))}
            for kind, state in states.items():
                folder = DATA / model / kind
                folder.mkdir(parents=True, exist_ok=True)
                ordered = collections.OrderedDict(state)
                ordered._metadata = collections.OrderedDict({"": {"version": 1}})
                torch.save(ordered, folder / f"{name}.statedict")
            for kind, (gains, offsets) in maps.items():
                expected[f"{model}/{kind}/{name}"] = [gains.tolist(), offsets.tolist()]
    (DATA / "expected.json").write_text(json.dumps(expected) + "\n")
    for path in DATA.rglob("*"):
        path.chmod(0o755 if path.is_dir() else 0o644)


if __name__ == "__main__":
    main()
