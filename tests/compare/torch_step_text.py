"""One LinEAS training step of a language model: PyTorch on the CPU beside `vksteer bench train` on the same cores.

    python tests/compare/torch_step_text.py MODEL.gguf --vksteer build/cli/vksteer [--threads 2] [--repeat 5]

Both do the same work: 8 texts of 64 tokens forward without the head, maps at the sites, pooled rows, sort, W_2^2,
gradient of every w and b, SGD. PyTorch has the weights dequantised in fp32, vksteer leaves them in their blocks.
Prints medians and their ratio; run it on a quiet machine, twice. `--torch` stops after PyTorch's.
"""
import argparse
import json
import os
import re
import statistics
import subprocess
import time

import torch
from transformers import AutoModel

BATCH, LENGTH = 8, 64


def attach(model, pattern):
    """Maps at the sites: (parameters, list that each forward pass fills with pooled rows)."""
    params, pooled = [], []

    def hook_for(w, b):
        def hook(_module, _args, out):
            z = out * w + b
            pooled.append(z.mean(1))
            return z
        return hook

    for name, module in model.named_modules():
        if re.fullmatch(pattern, "model." + name):
            w = torch.ones_like(module.weight, requires_grad=True)
            b = torch.zeros_like(module.weight, requires_grad=True)
            params += [w, b]
            module.register_forward_hook(hook_for(w, b))
    return params, pooled


def torch_step_seconds(path, sites, repeat):
    """Medians of wall and processor time of a step."""
    model = AutoModel.from_pretrained(os.path.dirname(path) or ".", gguf_file=os.path.basename(path),
                                      dtype=torch.float32).requires_grad_(False)
    ids = torch.randint(0, model.config.vocab_size, (BATCH, LENGTH))
    params, pooled = attach(model, sites)
    assert params, f"no module of the model is called {sites}"
    optimizer = torch.optim.SGD(params, lr=0.1)
    targets, times = None, []
    for _ in range(repeat + 1):
        start, cpu = time.perf_counter(), time.process_time()
        pooled.clear()
        optimizer.zero_grad()
        model(ids, use_cache=False)
        if targets is None:
            targets = [torch.randn_like(rows).sort(0).values for rows in pooled]
        loss = sum(((rows.sort(0).values - target) ** 2).mean(0).sum() for rows, target in zip(pooled, targets))
        loss.backward()
        optimizer.step()
        times.append((time.perf_counter() - start, time.process_time() - cpu))
    return [statistics.median(column) for column in zip(*times[1:])]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", help="a GGUF file that transformers can read")
    parser.add_argument("--vksteer", default="build/cli/vksteer")
    parser.add_argument("--sites", default=r".*post_attention_layernorm", help="vksteer's default for the Llama kind")
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("--threads", type=int, default=0, help="0: PyTorch's choice")
    parser.add_argument("--torch", action="store_true", help="PyTorch alone")
    args = parser.parse_args()
    if args.threads:
        torch.set_num_threads(args.threads)
    theirs, cpu = torch_step_seconds(args.model, args.sites, args.repeat)
    print(f"PyTorch  {1000 * theirs:8.1f} ms a step, {torch.get_num_threads()} threads, "
          f"{1000 * cpu:.1f} ms of processor time")
    if args.torch:
        return
    command = [args.vksteer, "bench", "train", "--json", "-m", args.model]
    out = subprocess.run(command, check=True, capture_output=True, text=True)
    bench = json.loads(out.stdout)
    row = next(row for row in bench["results"] if row["name"] == "train")
    print(f"vksteer  {row['ms']:8.1f} ms a step of {row['m']} x {row['n']} tokens, {bench['device']}")
    print(f"ratio    {1000 * theirs / row['ms']:8.2f} of PyTorch's speed")


if __name__ == "__main__":
    main()
