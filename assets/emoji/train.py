"""Trains the text encoder and the UNet to draw, in one step, the picture that a caption and a seed mean.

The noise is drawn first; its four projections (art.geometry_of) say where the picture stands, `Art.render` draws it,
the frozen encoder gives the target latents, and the UNet's one step (model.one_step, what the pipeline computes) is
regressed on them. Charbonnier loss on latents; later also pixels and edges through the frozen decoder; EMA; Muon for
the matrices and AdamW for the rest; cosine over a wall-clock budget.
On a CPU every core runs its own worker on shared weights without locks (Hogwild, Niu et al. 2011): on a busy machine
this is several times faster than one process whose threads wait for each other at every operator. On a GPU there is
one worker.
"""
import argparse
import contextlib
import copy
import functools
import json
import math
import os
import time

import numpy as np
import torch
import torch.multiprocessing as mp
from torch.nn.attention import SDPBackend, sdpa_kernel
from transformers import CLIPTokenizer

import art as A
import tokenizer as T
from autoencoder import picture_loss
from model import LATENT, count_macs, make_autoencoder, make_text, make_unet, one_step, save_folder
from muon import Muon


def make_tokenizer(folder):
    """Trains and saves the vocabulary on every phrase of concepts.txt and of the captions; returns (tokenizer,
    size)."""
    texts = [p for p, _ in A.read_concepts()] * 4 + ["a pizza"] * 50
    texts += [f"on a {c} background" for c in A.COLOURS] * 50
    texts += list(A.PHRASES.values()) * 200 + ["a an and with on"] * 200
    size = T.save(folder, texts)
    return CLIPTokenizer.from_pretrained(folder), size


class Tokens:
    """Token ids of captions, looked up once each."""

    def __init__(self, tokenizer):
        self.tokenizer, self.seen = tokenizer, {}

    def __call__(self, captions):
        new = [c for c in set(captions) if c not in self.seen]
        if new:
            rows = self.tokenizer(new, padding="max_length", max_length=32, truncation=True).input_ids
            self.seen.update(zip(new, (torch.tensor(r) for r in rows)))
        return torch.stack([self.seen[c] for c in captions])


def draw_batch(art, vae, tokens, rng, mix, amount, flips, count, device):
    """noise, target latents, pictures, token ids of one random batch."""
    pictures = [art.draw(rng, mix) for _ in range(count)]
    noise = torch.randn(count, *LATENT)
    with torch.no_grad():
        x = art.render(pictures, A.geometry_of(noise, amount, flips)).contiguous(memory_format=torch.channels_last)
        target = vae.encoder(x)
    return noise.to(device), target, x, tokens([art.caption(p) for p in pictures]).to(device)


def save_state(o, net, average, vae, step):
    """Checkpoint and the averaged weights as a diffusers folder."""
    state = f"{o.out}/state.pt"
    torch.save({"net": net.state_dict(), "average": average.state_dict(), "step": step}, state + ".part")
    os.replace(state + ".part", state)
    save_folder(f"{o.out}/model", average["text"], average["unet"], vae, f"{o.out}/tokenizer")


def work(rank, o, net, average, vae, device, start, first):
    """One worker's loop; worker 0 also keeps the average, the log and the exports."""
    if device == "cpu":
        torch.set_num_threads(1)
    torch.manual_seed(3 + 100 * rank + first)
    rng = np.random.default_rng(4 + 100 * rank + first)
    art = A.Art(o.art, o.concepts, o.styles and o.styles.split(","))
    art.sprites = art.sprites.to(device)
    tokens = Tokens(CLIPTokenizer.from_pretrained(f"{o.out}/tokenizer"))
    weights = list(net.parameters())
    matrices = [p for n, p in net.named_parameters() if p.ndim > 1 and "embedding" not in n]
    others = [p for p in weights if not any(p is q for q in matrices)]
    optimisers = [Muon(matrices, o.lr, .01),
                  torch.optim.AdamW([{"params": [p for p in others if p.ndim > 1], "weight_decay": .01},
                                     {"params": [p for p in others if p.ndim < 2], "weight_decay": 0.}], lr=o.lr,
                                    betas=(.9, .99), foreach=True)]
    local, dtype, attention = net, torch.float32, contextlib.nullcontext
    # a worker's own copy in bf16, refreshed every step; plain attention, for the fused one is slow at these sizes
    if o.bf16:
        local, dtype = copy.deepcopy(net).bfloat16(), torch.bfloat16
        attention = functools.partial(sdpa_kernel, SDPBackend.MATH)
    own = list(local.parameters())
    unet, text = (torch.compile(local[name]) if o.compile else local[name] for name in ("unet", "text"))
    step, sums, count, logged, exported = 0, np.zeros(3), 0, time.time(), time.time()
    while (done := (time.time() - start) / (60 * o.minutes)) < 1:
        for group in (g for optimiser in optimisers for g in optimiser.param_groups):
            group["lr"] = o.lr * min(1, (step + 1) / 200) * (.005 + .995 * (1 + math.cos(math.pi * done)) / 2)
        early = max(0, 1 - 2 * done)                                     # more single pictures at first
        mix = np.array((.6 + .2 * early, .14 - .06 * early, .12 - .06 * early, .14 - .08 * early))
        amount = o.geometry * min(1, max(0, (done - o.still) / .25))       # and all of them in the middle
        noise, target, x, ids = draw_batch(art, vae, tokens, rng, mix / mix.sum(), amount, o.flips and amount > 0,
                                           o.batch, device)
        if local is not net:
            with torch.no_grad():
                torch._foreach_copy_(own, weights)
        with attention():
            z = one_step(unet, noise.to(dtype), text(ids)[0]).float()
        latent = (torch.sqrt((z - target) ** 2 + .03 ** 2) - .03).mean()
        pixel = torch.zeros((), device=device)
        if done >= o.pixels_from:
            with torch.autocast(device, torch.bfloat16):
                y = vae.decoder(z)
            pixel = picture_loss(y.float(), x)
        local.zero_grad()
        (latent + pixel).backward()
        if local is not net:
            for p, q in zip(weights, own):
                p.grad = q.grad.float()
        norm = torch.nn.utils.clip_grad_norm_(weights, 1.)
        for optimiser in optimisers:
            optimiser.step()
        step += 1
        sums += (latent.item(), pixel.item(), norm.item())
        count += 1
        if rank:
            continue
        total = first + step
        with torch.no_grad():
            torch._foreach_lerp_(list(average.parameters()), weights, 1 - min(.998, 1 - 1 / (1 + step / 10)))
        if step % 100 == 0:
            row = dict(step=total, done=round(done, 4), latent=round(sums[0] / count, 5),
                       pixel=round(sums[1] / count, 5), norm=round(sums[2] / count, 3),
                       rate=round(100 * o.batch * o.workers / (time.time() - logged), 1))
            with open(f"{o.out}/log.jsonl", "a") as log:
                print(json.dumps(row), file=log)
            sums, count, logged = np.zeros(3), 0, time.time()
        if time.time() - exported > 60 * o.export_minutes:
            save_state(o, net, average, vae, total)
            exported = time.time()
    if not rank:
        save_state(o, net, average, vae, first + step)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--art", required=True, help="made by art.py")
    parser.add_argument("--autoencoder", required=True, help="made by autoencoder.py")
    parser.add_argument("--out", required=True, help="folder for the diffusers model, checkpoint and log")
    parser.add_argument("--concepts", type=int)
    parser.add_argument("--styles", help="comma-separated, the first is the default style")
    parser.add_argument("--minutes", type=float, default=80)
    parser.add_argument("--batch", type=int, default=32, help="samples of one step of one worker")
    parser.add_argument("--workers", type=int, help="default: the cores, or 1 on a GPU")
    parser.add_argument("--lr", type=float, default=3e-3)
    parser.add_argument("--pixels-from", type=float, default=.7,
                        help="share of the time after which the pixel loss joins")
    parser.add_argument("--still", type=float, default=.3,
                        help="share of the time in which the seed moves nothing yet")
    parser.add_argument("--geometry", type=float, default=1,
                        help="how far the seed moves pictures in the end, 0 to 1")
    parser.add_argument("--flips", action="store_true",
                        help="the seed also mirrors pictures: much harder to learn, see README.md")
    parser.add_argument("--bf16", action="store_true", help="forward and backward in bf16, on CPUs that have it")
    parser.add_argument("--compile", action="store_true",
                        help="fuse operators with torch.compile: 1.4 times the speed on a CPU")
    parser.add_argument("--channels", default="32,64,128")
    parser.add_argument("--export-minutes", type=float, default=5)
    parser.add_argument("--resume", action="store_true", help="go on from the checkpoint in --out")
    o = parser.parse_args()
    torch.manual_seed(3)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    o.workers = o.workers or (1 if device == "cuda" else os.cpu_count())
    os.makedirs(o.out, exist_ok=True)
    art = A.Art(o.art, o.concepts, o.styles and o.styles.split(","))
    if art.n < 400:                                     # pairs make the full check quadratic
        A.check_captions(art)
    tokenizer, size = make_tokenizer(f"{o.out}/tokenizer")
    vae = make_autoencoder()
    vae.load_state_dict(torch.load(o.autoencoder))
    vae = vae.to(device, memory_format=torch.channels_last).eval().requires_grad_(False)
    net = torch.nn.ModuleDict({"text": make_text(size, size - 1),
                               "unet": make_unet(tuple(map(int, o.channels.split(","))))})
    macs = count_macs(net["unet"], torch.randn(1, *LATENT), torch.tensor(999.), torch.randn(1, 32, 192))
    millions = {name: sum(p.numel() for p in net[name].parameters()) / 1e6 for name in ("text", "unet")}
    print(f"{art.n} concepts, {len(art.styles)} styles, {len(art.held)} pairs held out, vocabulary {size}; text "
          f"{millions['text']:.2f} M, unet {millions['unet']:.2f} M, "
          f"{macs / 1e9:.3f} GMAC; {o.workers} workers on {device}", flush=True)
    average = copy.deepcopy(net)
    first = 0
    if o.resume:
        blob = torch.load(f"{o.out}/state.pt")
        net.load_state_dict(blob["net"])
        average.load_state_dict(blob["average"])
        first = blob["step"]
    net = net.to(device, memory_format=torch.channels_last)
    average = average.to(device, memory_format=torch.channels_last).requires_grad_(False)
    if o.workers == 1:
        work(0, o, net, average, vae, device, time.time(), first)
    else:
        net.share_memory()
        mp.spawn(work, (o, net, average, vae, device, time.time(), first), nprocs=o.workers)


if __name__ == "__main__":
    main()
