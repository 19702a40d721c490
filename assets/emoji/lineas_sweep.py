"""LinEAS in PyTorch, independent of the C program, and the sweep that finds the model's steering defaults.

LinEAS (Rodriguez et al., arXiv 2503.10679): one affine map z -> w z + b per channel on the output of every site, all
learned together so that the pooled activations of steered source prompts have the distribution of the target prompts'
activations:

    loss = mean over sites of the sum over channels of W2^2(pooled source, pooled target)

    python lineas_sweep.py --task style --lr 0.01,0.03 --steps 50,100 --batch 16
"""
import argparse
import itertools
import json
import math
import os
import re
import time

import numpy as np
import torch

import art as A
import evaluate as E
import sheet as S
from model import one_step

HERE = os.path.dirname(os.path.abspath(__file__))
PROMPTS = os.path.join(HERE, "..", "prompts")


def lines(name):
    return [x.strip() for x in open(os.path.join(PROMPTS, name)) if x.strip()]


def wasserstein2(u, v):
    """Squared 2-Wasserstein distance per channel between samples u (B, D) and v (N, D), equal weights.

    Both quantile functions are steps; on the merged breakpoints i/B, j/N they are constant, so the integral is a sum.
    """
    u, v = u.sort(0).values, v.sort(0).values
    if len(u) == len(v):
        return ((u - v) ** 2).mean(0)
    B, N = len(u), len(v)
    # in units of 1 / (B N)
    cuts = torch.tensor(sorted({i * N for i in range(B + 1)} | {j * B for j in range(N + 1)}))
    width = (cuts[1:] - cuts[:-1]).to(u) / (B * N)
    return (width[:, None] * (u[cuts[:-1] // N] - v[cuts[:-1] // B]) ** 2).sum(0)


class Steering:
    """Maps on the sites of a UNet and its text encoder: forward hooks that pool the steered output and pass it on."""

    def __init__(self, model, sites="unet.*norm.*"):
        modules = {f"{part}.{n}": m for part, net in (("text_encoder", model.text), ("unet", model.unet))
                   for n, m in net.named_modules() if n}
        self.names = [n for n in modules if re.fullmatch(sites, n)]
        self.text = any(n.startswith("text_encoder") for n in self.names)
        self.pooled, self.maps, self.strength = {}, {}, 1.
        self.sizes = {}
        self.handles = [modules[n].register_forward_hook(self._hook(n)) for n in self.names]

    def _hook(self, name):
        def hook(module, inputs, out):
            if not torch.is_tensor(out):
                return out
            pixels = out.ndim == 4
            self.sizes[name] = out.shape[1] if pixels else out.shape[-1]
            if name in self.maps and self.strength:
                w, b = self.maps[name]
                gain, offset = 1 + self.strength * (w - 1), self.strength * b
                out = out * (gain[:, None, None] if pixels else gain) + (offset[:, None, None] if pixels else offset)
            self.pooled[name] = out.mean((2, 3)) if pixels else out.mean(1)
            return out
        return hook

    def remove(self):
        for h in self.handles:
            h.remove()


def train(model, source, target, lr, steps, batch, seed=0, sites="unet.*norm.*", quiet=True):
    """Steering with learned maps, and the first and last loss."""
    device = model.device
    steering = Steering(model, sites)
    generator = torch.Generator().manual_seed(1000 + seed)
    with torch.no_grad():
        states, goal = None if steering.text else model.states(source), model.states(target)
        one_step(model.unet, torch.randn(len(target), 8, 16, 16, generator=generator).to(device), goal)
        steering.names = [n for n in steering.names if n in steering.pooled]     # containers are never called
        wanted = dict(steering.pooled)
    steering.maps = {n: (torch.ones(steering.sizes[n], device=device, requires_grad=True),
                         torch.zeros(steering.sizes[n], device=device, requires_grad=True)) for n in steering.names}
    optimiser = torch.optim.Adam([p for pair in steering.maps.values() for p in pair], lr=lr, betas=(.9, .9),
                                 eps=1e-8)
    order, losses = [], []
    for step in range(steps):
        for group in optimiser.param_groups:
            group["lr"] = lr * (1e-3 + (1 - 1e-3) * (1 + math.cos(math.pi * step / steps)) / 2)
        if len(order) < batch:
            order = torch.randperm(len(source), generator=generator).tolist()
        rows, order = order[:batch], order[batch:]
        context = model.states([source[i] for i in rows]) if steering.text else states[rows]
        one_step(model.unet, torch.randn(batch, 8, 16, 16, generator=generator).to(device), context)
        loss = torch.stack([wasserstein2(steering.pooled[n], wanted[n]).sum() for n in steering.names]).mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
        if not quiet and step % 20 == 0:
            print(step, losses[-1], flush=True)
    for pair in steering.maps.values():
        for p in pair:
            p.requires_grad_(False)
    return steering, losses[0], losses[-1]


def subject(prompt):
    """The phrase a prompt's concept score is about, or None where there are two of them."""
    for joint in A.PHRASES.values():
        prompt = prompt.removeprefix(joint)
    prompt = prompt.removesuffix(" with a pizza")
    prompt = re.sub(r" on an? \w+ background$", "", prompt)
    return None if " and " in prompt else prompt


def measure(model, scores, prompts, seed=40):
    """Shares of ink, of the right concept, of both, of pizza, of pizza-free pictures with the right concept."""
    pictures = model.pictures(prompts, S.seeded_noise(len(prompts), seed))
    style, concept, pizza = scores(pictures)
    want = np.array([scores.index.get(subject(p), -1) if subject(p) else -1 for p in prompts])
    one = want >= 0
    share = lambda x: round(float(np.mean(x)), 3)
    return {"ink": share(style == "ink"), "concept": share((concept == want)[one]),
            "ink and concept": share(((style == "ink") & (concept == want))[one]),
            "pizza": share(pizza), "no pizza and concept": share((~pizza & (concept == want))[one])}, pictures


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default=HERE)
    parser.add_argument("--task", choices=("style", "pizza"), default="style")
    parser.add_argument("--lr", default="0.01,0.03")
    parser.add_argument("--steps", default="100")
    parser.add_argument("--batch", default="16")
    parser.add_argument("--sites", default="unet.*norm.*",
                        help="expressions of the intervened sites, separated by spaces; each is tried")
    parser.add_argument("--strengths", default="0.5,1")
    parser.add_argument("--prompts", help="default: the validation prompts of the task")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--sheet", help="PNG: rows of prompts, columns of strengths, for the last setting")
    o = parser.parse_args()
    torch.set_num_threads(o.threads)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    model, scores = S.Model(o.model, device), E.Scores(device)
    prompts = lines(o.prompts or ("validation.txt" if o.task == "style" else "pizza.validation.txt"))
    print("unsteered", json.dumps(measure(model, scores, prompts)[0]), flush=True)
    if o.task == "style":
        print("by prompting", json.dumps(measure(model, scores, ["ink drawing of " + p for p in prompts])[0]),
              flush=True)
    else:
        without = [p.removesuffix(" with a pizza") for p in prompts]
        print("by prompting", json.dumps(measure(model, scores, without)[0]), flush=True)
    settings = itertools.product(o.sites.split(), map(int, o.batch.split(",")), map(int, o.steps.split(",")),
                                 map(float, o.lr.split(",")))
    for sites, batch, steps, lr in settings:
        start = time.time()
        steering, first, last = train(model, lines(o.task + ".source.txt"), lines(o.task + ".target.txt"), lr, steps,
                                      batch, o.seed, sites)
        for strength in map(float, o.strengths.split(",")):
            steering.strength = strength
            print(json.dumps(dict(sites=sites, lr=lr, steps=steps, batch=batch, strength=strength,
                                  first=round(first, 3), last=round(last, 3),
                                  seconds=round(time.time() - start, 1)) | measure(model, scores, prompts)[0]),
                  flush=True)
        if o.sheet:
            shown, rows = prompts[:12], []
            for strength in (0, .25, .5, .75, 1, 1.25):
                steering.strength = strength
                rows.append(model.pictures(shown, S.seeded_noise(len(shown), 41)))
            S.grid(torch.stack(rows, 1).flatten(0, 1), 12, zoom=2).save(o.sheet)
        steering.remove()


if __name__ == "__main__":
    main()
