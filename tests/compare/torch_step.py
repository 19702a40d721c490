"""One LinEAS training step of a diffusers UNet: PyTorch on the CPU beside `vksteer bench train` on the same cores.

    python tests/compare/torch_step.py assets/emoji --vksteer build/cli/vksteer [--rounds 5]

Both do the same work: forward with maps at the sites of the model's vksteer.json, at its batch, pooled rows, sort,
W_2^2, gradient of every w and b, Adam. Prints medians and their ratio; run it on a quiet machine, twice.
"""
import argparse
import json
import re
import statistics
import subprocess
import time

import torch
from diffusers import UNet2DConditionModel


def attach(unet, pattern, run):
    """Maps at the sites, found by one `run`; returns (parameters, list that each forward pass fills with pooled
    rows)."""
    params, pooled, widths = [], [], {}
    modules = {"unet." + name: module
               for name, module in unet.named_modules() if re.fullmatch(pattern, "unet." + name)}
    probes = [module.register_forward_hook(
                  lambda _m, _a, out, name=name: widths.update({name: out.shape[1 if out.dim() == 4 else -1]}))
              for name, module in modules.items()]
    with torch.no_grad():
        run()
    for probe in probes:
        probe.remove()

    def hook_for(w, b):
        def hook(_module, _args, out):
            if out.dim() == 4:
                z = out * w[None, :, None, None] + b[None, :, None, None]
                pooled.append(z.mean((2, 3)))
            else:
                z = out * w + b
                pooled.append(z.mean(1))
            return z
        return hook

    for name, width in widths.items():
        w, b = torch.ones(width, requires_grad=True), torch.zeros(width, requires_grad=True)
        params += [w, b]
        modules[name].register_forward_hook(hook_for(w, b))
    return params, pooled


def torch_step_seconds(folder, sites, batch, repeat):
    unet = UNet2DConditionModel.from_pretrained(folder, subfolder="unet", torch_dtype=torch.float32)
    unet.requires_grad_(False)
    size, width = unet.config.sample_size, unet.config.cross_attention_dim
    x = torch.randn(batch, unet.config.in_channels, size, size)
    text = torch.randn(batch, 32, width)
    params, pooled = attach(unet, sites, lambda: unet(x, 999, text))
    optimizer = torch.optim.Adam(params, lr=1e-2, betas=(0.9, 0.9))
    targets = None
    times = []
    for _ in range(repeat + 2):
        start = time.perf_counter()
        pooled.clear()
        optimizer.zero_grad()
        unet(x, 999, text)
        if targets is None:
            targets = [torch.randn_like(rows).sort(0).values for rows in pooled]
        loss = sum(((rows.sort(0).values - target) ** 2).mean(0).sum() for rows, target in zip(pooled, targets))
        loss = loss / len(pooled)
        loss.backward()
        optimizer.step()
        times.append(time.perf_counter() - start)
    return statistics.median(times[2:])


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("--vksteer", default="build/cli/vksteer")
    parser.add_argument("--repeat", type=int, default=9, help="PyTorch's steps a round, of which the median counts")
    parser.add_argument("--rounds", type=int, default=5,
                        help="the two take turns so often, since machines have moods")
    parser.add_argument("--threads", type=int, default=0, help="0: PyTorch's choice")
    args = parser.parse_args()
    if args.threads:
        torch.set_num_threads(args.threads)
    with open(f"{args.model}/vksteer.json") as file:
        defaults = json.load(file)["train"]
    rounds = []
    for _ in range(args.rounds):
        theirs = torch_step_seconds(args.model, defaults["sites"], defaults["batch"], args.repeat)
        out = subprocess.run([args.vksteer, "bench", "train", "--json", "-m", args.model], check=True,
                             capture_output=True, text=True)
        bench = json.loads(out.stdout)
        ours = next(row["ms"] for row in bench["results"] if row["name"] == "train") / 1000
        rounds.append((theirs, ours))
        print(f"PyTorch {1000 * theirs:7.1f} ms a step, vksteer {1000 * ours:7.1f}, ratio {theirs / ours:.2f}",
              flush=True)
    print(f"device  {bench['device']}; PyTorch with {torch.get_num_threads()} threads, batch {defaults['batch']}")
    print(f"median  {statistics.median(theirs / ours for theirs, ours in rounds):.2f} of PyTorch's speed")


if __name__ == "__main__":
    main()
