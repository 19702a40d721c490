"""Steering methods without gradients on a real language model: the maps of `vksteer train` against PyTorch hooks,
NumPy and scikit-learn on transformers' dequantised weights.

    python tests/compare/text_maps.py VKSTEER MODEL.gguf SOURCE.jsonl TARGET.jsonl [COUNT] [METHOD ...]

The files hold a field `text`; the first COUNT (32) texts of each are taken. Prints for each method the largest
difference over the largest change of any map, over all maps. AUROCs of channels whose values nearly tie may differ by
a rank.
"""

import json
import os
import pathlib
import re
import subprocess
import sys
import tempfile

import numpy as np
import torch
import transformers
from safetensors.numpy import load_file

sys.path.insert(0, str(pathlib.Path(__file__).parents[1] / "golden"))
import methods as golden  # noqa: E402


class Steered(golden.Steered):
    """The hooks of the golden files on a model that is loaded already."""

    def __init__(self, net, sites, pool):
        self.net, self.dtype, self.pool = net, torch.float32, pool
        self.maps, self.pushed, self.seen, self.read, self.sites, self.handles = {}, {}, {}, {}, [], []
        for name, module in net.named_modules():
            if re.fullmatch(sites, name):
                self.sites.append(name)
                self.handles += [module.register_forward_pre_hook(self.before(name)),
                                 module.register_forward_hook(self.after(name))]

    def close(self):
        for handle in self.handles:
            handle.remove()


def read_texts(tokenizer, path, count):
    with open(path) as lines:
        rows = [tokenizer(json.loads(line)["text"])["input_ids"] for line in lines][:count]
    longest = max(map(len, rows))
    return (torch.tensor([row + [0] * (longest - len(row)) for row in rows]),
            torch.tensor([[1] * len(row) + [0] * (longest - len(row)) for row in rows]))


def expected(net, texts, method, metadata):
    pool = metadata["pool"]
    steered = Steered(net, metadata["sites"], pool)
    (target, target_read), (source, source_read) = steered.run(texts, "target"), steered.run(texts, "source")
    case = dict(method=method, threshold=float(metadata.get("threshold", 0)), alpha=float(metadata.get("alpha", 0)),
                top_heads=int(metadata.get("top_heads", 0)))
    if method == "iti":
        maps = golden.iti(case, steered, source_read, target_read, texts)
    else:
        one = golden.experts if method in ("aura", "detzero") else golden.vector
        maps = {site: one(case, source[site], target[site]) for site in steered.sites}
    steered.close()
    return maps


def main():
    vksteer, model, source, target = sys.argv[1:5]
    count = int(sys.argv[5]) if len(sys.argv) > 5 else 32
    folder, name = os.path.split(model)
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder, gguf_file=name)
    net = transformers.AutoModelForCausalLM.from_pretrained(folder, gguf_file=name, attn_implementation="eager",
                                                            dtype=torch.float32).eval().requires_grad_(False)
    texts = {}
    for kind, path in (("source", source), ("target", target)):
        texts[f"{kind}.ids"], texts[f"{kind}.mask"] = read_texts(tokenizer, path, count)
    with tempfile.TemporaryDirectory() as work:
        for kind, path in (("source", source), ("target", target)):
            pathlib.Path(work, f"{kind}.jsonl").write_text("\n".join(open(path).read().splitlines()[:count]) + "\n")
        for method in sys.argv[6:] or ("caa", "repe", "iti", "aura", "detzero"):
            out = f"{work}/{method}.safetensors"
            subprocess.run([vksteer, "train", "-q", "-m", model, "--source", f"{work}/source.jsonl", "--target",
                            f"{work}/target.jsonl", "--method", method, "-o", out], check=True,
                           stdout=subprocess.DEVNULL)
            said = subprocess.run([vksteer, "inspect", "--json", out], check=True, capture_output=True)
            said = json.loads(said.stdout)
            maps, got, worst = expected(net, texts, method, said["metadata"]), load_file(out), 0
            assert {k.removesuffix(".weight") for k in got if k.endswith(".weight")} == set(maps)
            for site, halves in maps.items():
                for half, value, start in zip(("weight", "bias"), halves, (1, 0)):
                    change = np.abs(value - start).max()
                    worst = max(worst, np.abs(got[f"{site}.{half}"] - value).max() / (change or 1))
            print(f"{method}: {len(maps)} maps, worst difference {worst:.1e}", flush=True)


if __name__ == "__main__":
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "2")))
    main()
