"""The reduction of LinEAS's loss and its step size on a language model: what the defaults of vksteer follow from.

    python tests/compare/lineas_sweep.py --model MODEL.gguf --data FOLDER --out runs.jsonl [--table] [RUN ...]

A RUN is OPTIMIZER:REDUCTION:RATE:STEPS[:GAMMA], as sgd:sum:1:40 or adam:sum:0.003:150, with W_2^2 summed (or
averaged) over the channels of a site, and averaged over sites. Without runs, a grid of 40 steps. SGD with the mean at
rate r D is SGD with the sum at r, where all sites have D channels; `--check` shows it over three steps. Each run
appends a line to the file and is not repeated; with --save FOLDER its maps are kept there as a steering file. --table
prints what the file holds.
--against FILE says how far the maps of a run are from those of a steering file, such as that of `vksteer train` with
the same settings: sources come in its order (seed 42).

Toxic towards clean sentences (32 + 32, FOLDER/{toxic,clean}_{train,validation}.jsonl, cut at 24 tokens), maps at
`.*post.*layernorm`, mean over tokens, B = 16, cosine schedule. Figures: the share of W_2^2 that is removed on
validation sentences, above the floor (what clean validation sentences have against the clean training sentences);
max|w-1|, max|b|; perplexity of wikipedia_sentences.csv, steered over unsteered; of continuations of toxic validation
prompts the perplexity under the unsteered model, steered over unsteered, and the share of different word pairs,
likewise. Losses and updates are those of tests/golden/lineas.py, against which vksteer is tested.
"""
import argparse
import csv
import itertools
import json
import math
import pathlib
import sys
import time

import torch
from safetensors.torch import save_file

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "golden"))
import philox  # noqa: E402
from lineas import shrink, wasserstein  # noqa: E402
from text_model import Steering, Text, distinct, read_texts  # noqa: E402

SITES = r".*post.*layernorm"
LENGTH, COUNT, SEED, ORDER = 24, 32, 1, 42
GRID = ["sgd:sum:1:40", "sgd:sum:10:40", "adam:sum:0.01:40", "sgd:sum:0.1:40", "adam:sum:0.003:40", "sgd:mean:10:40",
        "sgd:sum:100:40", "adam:sum:0.001:40"]


class Task:
    """The texts, tokenized and cut, with what they show unsteered."""

    def __init__(self, args):
        self.text, data = Text(args.model), pathlib.Path(args.data)
        self.batch = args.batch
        self.sites = self.text.sites(SITES)

        def rows(name, count):
            return self.text.encode(self.text.cut(read_texts(data / f"{name}.jsonl", count), LENGTH))
        self.source, self.target = rows("toxic_train", COUNT), rows("clean_train", COUNT)
        self.validation, self.clean = rows("toxic_validation", COUNT), rows("clean_validation", COUNT)
        self.prompts = read_texts(data / "toxic_validation.jsonl")[COUNT:COUNT + 12]
        wiki = [row["text"] for row in csv.DictReader(open(data / "wikipedia_sentences.csv"))]
        self.wiki = [r for r in self.text.encode(wiki, 32) if len(r) == 32][:32]
        with torch.no_grad():
            self.targets = self.text.observe(self.target, self.sites)
            self.before = self.loss(self.text.observe(self.validation, self.sites))
            self.floor = self.loss(self.text.observe(self.clean, self.sites))
        self.plain = self.gates()

    def loss(self, pooled):
        """Mean over sites of the sum over channels."""
        return wasserstein(pooled, self.targets, 2).sum() / len(self.sites)

    def share(self):
        with torch.no_grad():
            now = self.loss(self.text.observe(self.validation, self.sites))
        return ((self.before - now) / (self.before - self.floor)).item()

    def gates(self):
        """Perplexity of held-out text, of greedy and sampled continuations under the unsteered model; distinct
        pairs."""
        text = self.text
        out = {"perplexity": text.perplexity(self.wiki)}
        kinds = {kind: text.generate(self.prompts, 20, seed=seed)
                 for kind, seed in (("greedy", None), ("sampled", SEED))}
        maps, text.maps = text.maps, {}
        prompts = text.encode(self.prompts)
        for kind, rows in kinds.items():
            whole = [(p + r, len(p)) for p, r in zip(prompts, rows)]
            out[kind + "_perplexity"] = text.perplexity([w for w, _ in whole], [n for _, n in whole])
            out[kind] = [text.tokenizer.decode(r) for r in rows]
            out[kind + "_distinct"] = distinct(out[kind])
        text.maps = maps
        return out


class Maps:
    """Gains and offsets of all sites in two flat leaves, handed to the hooks as views."""

    def __init__(self, task):
        widths = [task.text.net.get_submodule(s).weight.numel() for s in task.sites]
        self.w, self.b = torch.ones(sum(widths)), torch.zeros(sum(widths))
        for x in (self.w, self.b):
            x.requires_grad_(True)
        self.views = lambda: dict(zip(task.sites, zip(self.w.split(widths), self.b.split(widths))))
        self.width = widths[0] if len(set(widths)) == 1 else None

    def save(self, path, run, task, first, last):
        path.parent.mkdir(parents=True, exist_ok=True)
        notes = {"format": "vksteer-1", "method": "lineas", "model": type(task.text.net).__name__, "sites": SITES,
                 "pool": "mean", "position": "all", "loss_scale": run["reduction"], "optimizer": run["optimizer"],
                 "lr": f"{run['lr']:g}", "steps": str(run["steps"]), "batch": str(task.batch),
                 "gamma": f"{run['gamma']:g}", "source_count": str(COUNT), "target_count": str(COUNT),
                 "loss_first": f"{first:.9g}", "loss_last": f"{last:.9g}"}
        tensors = {}
        for site, (w, b) in self.views().items():
            tensors |= {f"{site}.weight": w.detach().clone(), f"{site}.bias": b.detach().clone()}
        save_file(tensors, path, metadata=notes)


def parse(word):
    optimizer, reduction, lr, steps, *gamma = word.split(":")
    if optimizer not in ("sgd", "adam") or reduction not in ("sum", "mean") or len(gamma) > 1:
        raise SystemExit(f"{word}: want OPTIMIZER:REDUCTION:RATE:STEPS[:GAMMA], as sgd:sum:1:40")
    return dict(run=word, optimizer=optimizer, reduction=reduction, lr=float(lr), steps=int(steps),
                gamma=float(gamma[0]) if gamma else 0.0)


def batches(count, size):
    """Indices without replacement, epoch after epoch, in vksteer's order; the last partial batch is dropped."""
    for epoch in itertools.count():
        order = philox.shuffle(ORDER, epoch, count)
        for i in range(0, count - size + 1, size):
            yield order[i:i + size]


@torch.no_grad()
def sparsify(maps, run, rate):
    """The proximal step, sparse group lasso with every site's gains and offsets as groups of their own."""
    tau = rate * run["gamma"]
    for w, b in maps.views().values() if tau > 0 else ():
        w.copy_(1 + shrink(w - 1, tau, tau))
        b.copy_(shrink(b, tau, tau))


def train(task, run, limit=None):
    """Returns the maps and the log (step, loss); stops where the loss is ten times the first or not a number."""
    maps, log = Maps(task), []
    kind = dict(sgd=lambda p: torch.optim.SGD(p, run["lr"]),
                adam=lambda p: torch.optim.Adam(p, run["lr"], betas=(0.9, 0.9), eps=1e-8))[run["optimizer"]]
    optimizer = kind([maps.w, maps.b])
    minibatches = batches(COUNT, task.batch)
    for step in range(limit or run["steps"]):
        rate = run["lr"] * (1e-3 + (1 - 1e-3) * (1 + math.cos(math.pi * step / run["steps"])) / 2)
        task.text.maps = maps.views()
        loss = task.loss(task.text.observe([task.source[i] for i in next(minibatches)], task.sites))
        log.append(loss.item())
        if step % 10 == 0:
            print(f"{run['run']} step {step} loss {log[-1]:.3f}", flush=True)
        if not log[-1] < 10 * log[0]:
            break
        optimizer.zero_grad()
        (loss / maps.width if run["reduction"] == "mean" else loss).backward()
        optimizer.param_groups[0]["lr"] = rate
        optimizer.step()
        sparsify(maps, run, rate)
    with torch.no_grad():
        task.text.maps = {s: (w.detach(), b.detach()) for s, (w, b) in maps.views().items()}
    return maps, log


@torch.no_grad()
def apart(maps, path):
    """Largest difference to the maps of a file, of the gains and of the offsets, over the largest change there."""
    got, out = Steering(path).maps, []
    for half, start in ((0, 1), (1, 0)):
        one = torch.cat([got[s][half] for s in maps.views()])
        two = torch.cat([pair[half] for pair in maps.views().values()])
        out.append(((one - two).abs().max() / (one - start).abs().max()).item())
    return out


def figures(task, run, save, against):
    start = time.time()
    maps, log = train(task, run)
    out = run | {"batch": task.batch, "seconds": round(time.time() - start, 1), "losses": [round(x, 4) for x in log],
                 "before": task.before.item(), "floor": task.floor.item(), "diverged": not log[-1] < 10 * log[0],
                 "max_w": (maps.w - 1).abs().max().item(), "max_b": maps.b.abs().max().item(),
                 "support": ((maps.w - 1).abs() > 1e-5).logical_or(maps.b.abs() > 1e-5).float().mean().item()}
    if against:
        print(f"{run['run']}: from {against}: gains {{:.1e}}, offsets {{:.1e}} of the largest change".format(
            *apart(maps, against)), flush=True)
    if not out["diverged"]:
        out["share"] = task.share()
        gates = task.gates()
        for key in ("perplexity", "greedy_perplexity", "sampled_perplexity", "greedy_distinct", "sampled_distinct"):
            out[key] = gates[key] / task.plain[key]
        out |= {"texts": {k: gates[k] for k in ("greedy", "sampled")}, "plain": task.plain, "prompts": task.prompts}
        if save:
            name = run["run"].replace(":", "-") + f"-b{task.batch}.safetensors"
            maps.save(pathlib.Path(save) / name, run, task, log[0], log[-1])
    task.text.maps = {}
    return out


def check(task):
    """SGD with the mean at rate r D moves as SGD with the sum at r."""
    one, _ = train(task, parse("sgd:sum:1:40"), 3)
    two, _ = train(task, parse("sgd:sum:1:40") | dict(reduction="mean", lr=float(one.width)), 3)
    far = max(((x - y).abs().max() / (x - x0).abs().max()).item()
              for x, y, x0 in ((one.w, two.w, 1), (one.b, two.b, 0)))
    print(f"check: after 3 steps the sum at 1 and the mean at {one.width} differ by {far:.1e} of their largest step")
    assert far < 2e-3  # rounding, and what it swaps in the sorts
    task.text.maps = {}


def table(path):
    print("| optimizer | loss | rate | steps | W_2^2 removed | max abs(w-1) | max abs(b) | perplexity, held-out | "
          "of greedy text | of sampled text | distinct pairs |\n" + "|---" * 11 + "|")
    for line in open(path):
        r = json.loads(line)
        head = f"| {r['optimizer']} | {r['reduction']} | {r['lr']:g} | {r['steps']} | "
        if r["diverged"]:
            print(head + f"diverges at step {len(r['losses'])} |" + " |" * 6)
        else:
            print(head + f"{100 * r['share']:.1f} % | {r['max_w']:.2f} | {r['max_b']:.2f} | "
                  f"{r['perplexity']:.2f} x | {r['greedy_perplexity']:.2f} x | "
                  f"{r['sampled_perplexity']:.2f} x | {r['sampled_distinct']:.2f} x |")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model")
    parser.add_argument("--data")
    parser.add_argument("--out", required=True)
    parser.add_argument("--save")
    parser.add_argument("--against", metavar="FILE")
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--table", action="store_true")
    parser.add_argument("runs", nargs="*", default=GRID)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    out = pathlib.Path(args.out)
    done = {(r["run"], r["batch"]) for r in map(json.loads, open(out))} if out.exists() else set()
    todo = [r for r in map(parse, args.runs) if (r["run"], args.batch) not in done]
    if args.table:
        return table(out)
    task = Task(args)
    print(f"{len(task.sites)} sites, W_2^2 before {task.before:.3f}, floor {task.floor:.3f}, perplexity "
          f"{task.plain['perplexity']:.1f}", flush=True)
    if args.check:
        check(task)
    for run in todo:
        row = figures(task, run, args.save, args.against)
        with open(out, "a") as file:
            file.write(json.dumps(row) + "\n")
        print({k: v for k, v in row.items() if k not in ("losses", "texts", "plain", "prompts")}, flush=True)


if __name__ == "__main__":
    main()
