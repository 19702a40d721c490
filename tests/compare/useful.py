"""What LinEAS is worth on the built-in model, beside the closed forms and prompting: the tables of the README.

    python tests/compare/useful.py --vksteer build/cli/vksteer --out /tmp/useful
        [--task style|pizza|support|controls|sweep] [--limit N]

Trains every method on the 32 + 32 prompts of assets/prompts, chooses its strength on validation prompts, and measures
on test prompts whose concepts are in no training list, two seeds each. The judge (assets/emoji/judge) was trained on
real pictures only. Intervals: 95 %, paired bootstrap over prompts. The sweep, from which the model's own defaults
come, runs only if asked for. Needs the packages of tests/golden/requirements.txt.
"""
import argparse
import json
import pathlib
import subprocess
import sys

import numpy as np
import torch
from PIL import Image

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "assets" / "emoji"))
import judge  # noqa: E402  (assets/emoji)

PROMPTS = ROOT / "assets" / "prompts"
INK = "ink drawing of "
METHODS = ["lineas", "linear-act", "gaussian-act", "mean-act"]
STRENGTHS = [0.6, 0.8, 1.0, 1.2, 1.5]
GAMMAS = [0.0, 0.6, 0.8, 0.9, 0.95, 0.97]
STEPS, REFIT = 80, 50  # of the trainings whose channels are taken away; with gamma 0 all of them are one training
OWN = "norm.*|attn2.to_out.0|ff.net.2"  # the model's own sites, behind unet.
SITES = ["norm.*|ff.net.2", "attn2.to_out.0", "norm.*|attn2.to_out.0", "norm.*|attn2.to_(v|out.0)",
         "norm.*|attn[12].to_out.0", OWN, "norm.*|attn2.to_(v|out.0)|ff.net.2", "norm.*|attn[12].to_out.0|ff.net.2",
         f"{OWN}|proj_out", f"{OWN}|conv2"]
RATES = [(16, 0.1, 80, 50), (16, 0.12, 80, 50), (16, 0.12, 80, 40), (16, 0.08, 100, 60)]
# Sites; sources a step, rate, steps, steps of the refit.
SWEEP = [(sites, 16, 0.1, 100, 60) for sites in SITES] + [(OWN, *rates) for rates in RATES]
SEEDS, SWEEP_SEEDS = 2, 6


class Bench:
    def __init__(self, args):
        self.args, self.out = args, pathlib.Path(args.out)
        self.out.mkdir(parents=True, exist_ok=True)
        self.net, self.styles, self.phrases = judge.load("cpu")
        self.index = {phrase: i for i, phrase in enumerate(self.phrases)}

    def run(self, *words):
        subprocess.run([self.args.vksteer, *map(str, words), "-m", self.args.model, "-q"], check=True,
                       stdout=subprocess.DEVNULL)

    def train(self, name, task, *options):
        path = self.out / f"{name}.safetensors"
        if not path.exists():
            self.run("train", "--source", PROMPTS / f"{task}.source.txt", "--target", PROMPTS / f"{task}.target.txt",
                     "-o", path, *options)
        return path

    def lines(self, name):
        """Prompts of a file that name a single concept of the judge."""
        rows = [line.strip() for line in open(PROMPTS / name) if line.strip()]
        return [row for row in rows if self.concept(row) is not None][: self.args.limit]

    def concept(self, prompt):
        """The concept that a prompt names, or None for pairs and the like."""
        text = prompt.removeprefix(INK).removesuffix(" with a pizza")
        return self.index.get(text.split(" on a ")[0])

    def paint(self, name, prompts, steer=None, seeds=SEEDS):
        """Verdicts over (prompt, seed): dict of boolean arrays (prompts, seeds)."""
        folder = self.out / name
        folder.mkdir(exist_ok=True)
        listing = folder / "prompts.txt"
        listing.write_text("".join(p + "\n" for p in prompts))
        self.run("apply", "--prompts", listing, "-s", 1000, "-b", seeds, "-o", folder / "%04d.png",
                 *(["--steer", steer] if steer else []))
        files = sorted(folder.glob("*.png"))
        assert len(files) == len(prompts) * seeds, (len(files), len(prompts))
        return self.verdicts(np.stack([np.asarray(Image.open(f).convert("RGB")) for f in files]), prompts, seeds)

    @torch.no_grad()
    def verdicts(self, pixels, prompts, seeds=SEEDS):
        x = torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 127.5 - 1
        style, concept, pizza = (torch.cat(rows)
                                 for rows in zip(*(self.net(x[i:i + 100]) for i in range(0, len(x), 100))))
        names = [*self.styles, "other"]
        ink = np.array([names[i] == "ink" for i in style.argmax(1)]).reshape(-1, seeds)
        wanted = np.array([self.concept(p) for p in prompts])[:, None]
        right = concept.argmax(1).numpy().reshape(-1, seeds) == wanted
        return {"ink": ink, "concept": right, "both": ink & right, "pizza": (pizza > 0).numpy().reshape(-1, seeds),
                "pixels": pixels}


def share(flags):
    return 100 * float(np.mean(flags))


def interval(values, draws=2000):
    """95 % bootstrap interval of the mean over prompts of values (prompts, seeds), in percent."""
    rows = np.asarray(values, float).mean(1)
    rng = np.random.default_rng(1)
    means = rows[rng.integers(len(rows), size=(draws, len(rows)))].mean(1)
    low, high = np.percentile(means, [2.5, 97.5])
    return f"[{100 * low:.0f}, {100 * high:.0f}]"


def style(bench):
    test, validation = bench.lines("test.txt"), bench.lines("validation.txt")
    plain = bench.paint("style-plain", test)
    prompted = bench.paint("style-prompted", [INK + p for p in test])
    rows = {"none": (plain, 0.0), "prompting": (prompted, None)}
    for method in METHODS:
        path = bench.train(f"style-{method}", "style", "--method", method)
        tried = {s: bench.paint(f"style-{method}-val-{s}", validation, f"{path}:{s}") for s in STRENGTHS}
        best = max(STRENGTHS, key=lambda s: share(tried[s]["both"]))
        rows[method] = (bench.paint(f"style-{method}-test", test, f"{path}:{best}"), best)
        if best != 1:
            rows[f"{method}, strength 1"] = (bench.paint(f"style-{method}-test-1", test, f"{path}:1"), 1.0)
    print(f"\nStyle: plain -> ink, {len(test)} test prompts x {SEEDS} seeds\n")
    print("| method | strength | ink | concept | both | both, 95 % | both, against LinEAS |\n"
          "|---|---|---|---|---|---|---|")
    for name, (v, strength) in rows.items():
        delta = v["both"].astype(float) - rows["lineas"][0]["both"]
        print(f"| {name} | {'' if strength is None else strength} | {share(v['ink']):.0f} % | "
              f"{share(v['concept']):.0f} % | "
              f"{share(v['both']):.0f} % | {interval(v['both'])} | {interval(delta)} |")
    path = bench.out / "style-lineas.safetensors"
    print("\nstrength   " + "  ".join(f"{s:5.2f}" for s in (0, 0.25, 0.5, 0.75, 1)))
    curve = [bench.paint(f"style-curve-{s}", test[:40], f"{path}:{s}") for s in (0, 0.25, 0.5, 0.75, 1)]
    print("ink        " + "  ".join(f"{share(v['ink']):4.0f}%" for v in curve))


def pizza(bench):
    test, others = bench.lines("pizza.test.txt"), bench.lines("test.txt")
    validation = bench.lines("pizza.validation.txt")
    before, clean = bench.paint("pizza-plain", test), bench.paint("pizza-others", others)
    print(f"\nRemoval: \"X with a pizza\" -> \"X\", {len(test)} prompts x {SEEDS} seeds; "
          f"{len(others)} prompts without pizza\n")
    print("| method | strength | pizza seen | X kept | X without pizza in the prompt |\n|---|---|---|---|---|")
    print(f"| none | 0 | {share(before['pizza']):.0f} % | {share(before['concept']):.0f} % | "
          f"{share(clean['concept']):.0f} % |")
    for method in METHODS:
        path = bench.train(f"pizza-{method}", "pizza", "--method", method)

        def score(s):
            v = bench.paint(f"pizza-{method}-val-{s}", validation, f"{path}:{s}")
            return share(~v["pizza"] & v["concept"])
        best = max(STRENGTHS, key=score)
        v = bench.paint(f"pizza-{method}-test", test, f"{path}:{best}")
        o = bench.paint(f"pizza-{method}-others", others, f"{path}:{best}")
        print(f"| {method} | {best} | {share(v['pizza']):.0f} % {interval(v['pizza'])} | "
              f"{share(v['concept']):.0f} % {interval(v['concept'])} | "
              f"{share(o['concept']):.0f} % |")


def support(bench):
    """The effect that is left when gamma takes channels away, before and after the others are fitted again."""
    test = bench.lines("test.txt")
    print(f"\nSparsity: the style steering at strength 1, {len(test)} test prompts x {SEEDS} seeds\n\n"
          f"| gamma | support | ink and concept | of gamma 0 | with --refit {REFIT} | of gamma 0 |\n"
          "|---|---|---|---|---|---|")
    first = None
    for gamma in GAMMAS:
        cells = []
        for refit in (0, REFIT) if gamma else (0,):
            steps = STEPS if gamma else STEPS + REFIT
            name = f"style-gamma-{gamma}-{steps}-{refit}"
            path = bench.train(name, "style", "--gamma", gamma, "--refit", refit, "--steps", steps)
            both = share(bench.paint(name, test, f"{path}:1")["both"])
            first = both if first is None else first
            cells += [f"{both:.0f} %", f"{100 * both / max(first, 1e-9):.0f} %"]
        said = subprocess.run([bench.args.vksteer, "inspect", path, "--json"], check=True, capture_output=True,
                              text=True)
        figures = json.loads(said.stdout)
        print(f"| {gamma} | {100 * figures['support'] / figures['channels']:.0f} % | {' | '.join(cells)} |",
              flush=True)


def controls(bench):
    """Cheats that the judge must not take for ink, and a training that must do nothing."""
    test = bench.lines("test.txt")
    plain = bench.paint("style-plain", test)
    pixels = plain["pixels"].astype(np.float32)
    grey = np.repeat(pixels.mean(3, keepdims=True), 3, 3)
    other = bench.paint("controls-ink", [INK + p for p in test])["pixels"]
    cheats = {"greyscale": grey, "threshold": np.where(grey < 128, 0.0, 255.0),
              "fade to white": 255 - 0.4 * (255 - pixels),
              "ink picture of another concept": np.roll(other, SEEDS, 0)}
    print("\n| control | ink | ink and concept |\n|---|---|---|")
    for name, cheat in cheats.items():
        v = bench.verdicts(np.ascontiguousarray(cheat.clip(0, 255).astype(np.uint8)), test)
        print(f"| {name} | {share(v['ink']):.0f} % | {share(v['both']):.0f} % |")
    path = bench.out / "control-same.safetensors"
    source = PROMPTS / "style.source.txt"
    if not path.exists():
        bench.run("train", "--source", source, "--target", source, "--batch", len(open(source).readlines()), "-o",
                  path)
    from safetensors.numpy import load_file
    w = np.concatenate([v for k, v in load_file(path).items() if k.endswith(".weight")])
    v = bench.paint("control-same", test[:40], f"{path}:1")
    error = v["pixels"].astype(float) - bench.paint("control-plain", test[:40])["pixels"]
    print(f"\ntarget = source: mean w - 1 = {np.mean(w - 1):+.4f}; "
          f"pictures differ by {10 * np.log10(255 ** 2 / np.mean(error ** 2)):.1f} dB")


def sweep(bench):
    """What LinEAS's defaults of the model are chosen from: on validation prompts, at strength 1."""
    validation = bench.lines("validation.txt")
    prompted = bench.paint("sweep-prompted", [INK + p for p in validation], seeds=SWEEP_SEEDS)["pixels"]
    light = prompted.mean((1, 2, 3))
    print(f"\n{len(validation)} validation prompts x {SWEEP_SEEDS} seeds; off: of the mean of a picture's "
          "pixels from the prompted one's\n\n"
          "| sites | sources a step | rate | steps | ink | concept | both | off |\n"
          "|---|---|---|---|---|---|---|---|")
    for sites, batch, rate, steps, refit in SWEEP:
        name = "sweep-" + "-".join(map(str, (sites.replace("|", "+").replace("*", ""), batch, rate, steps, refit)))
        path = bench.train(name, "style", "--sites", f"unet.*({sites})", "--batch", batch, "--lr", rate, "--steps",
                           steps, "--refit", refit)
        v = bench.paint(name, validation, f"{path}:1", SWEEP_SEEDS)
        shades = v["pixels"].mean((1, 2, 3))
        sites = sites.replace("|", "\\|")
        print(f"| `{sites}` | {batch} | {rate} | {steps} + {refit} | {share(v['ink']):.0f} % | "
              f"{share(v['concept']):.0f} % | {share(v['both']):.0f} % | "
              f"{np.abs(shades - light).mean():.1f} |", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--vksteer", default="build/cli/vksteer")
    parser.add_argument("--model", default=str(ROOT / "assets" / "emoji"))
    parser.add_argument("--out", required=True,
                        help="folder for steerings and pictures; existing steerings are used again")
    parser.add_argument("--task", choices=["style", "pizza", "support", "controls", "sweep"], action="append")
    parser.add_argument("--limit", type=int, help="use so many prompts of each list")
    args = parser.parse_args()
    bench = Bench(args)
    tasks = {"style": style, "pizza": pizza, "support": support, "controls": controls, "sweep": sweep}
    for task in args.task or [name for name in tasks if name != "sweep"]:
        tasks[task](bench)


if __name__ == "__main__":
    main()
