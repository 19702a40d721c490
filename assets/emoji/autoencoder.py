"""Trains the AutoencoderTiny: 64x64x3 pictures <-> 16x16x8 latents of about unit scale.

Loss: L1 of pixels + L1 of their differences (edges) + a pull of every latent channel to mean 0, variance 1.
The decoder sees latents with a little noise, so that small errors of the UNet do little harm.
"""
import argparse
import math
import os
import time

import numpy as np
import torch

import art as A
from model import make_autoencoder


def edges(x):
    return x[:, :, 1:, :] - x[:, :, :-1, :], x[:, :, :, 1:] - x[:, :, :, :-1]


def picture_loss(x, y):
    """L1 of pixels plus L1 of edges of pictures (B, 3, 64, 64)."""
    return (x - y).abs().mean() + sum((a - b).abs().mean() for a, b in zip(edges(x), edges(y)))


def psnr(x, y):
    return -10 * torch.log10(((x.clamp(-1, 1) - y) ** 2).mean() / 4)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--art", required=True)
    parser.add_argument("--out", required=True)
    parser.add_argument("--concepts", type=int)
    parser.add_argument("--styles")
    parser.add_argument("--minutes", type=float, default=12)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--lr", type=float, default=2e-3)
    parser.add_argument("--start", help="weights to go on from")
    parser.add_argument("--bf16", action="store_true")
    o = parser.parse_args()
    torch.manual_seed(1)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    if device == "cpu":
        torch.set_num_threads(min(2, os.cpu_count()))
    art = A.Art(o.art, o.concepts, o.styles and o.styles.split(","))
    art.sprites = art.sprites.to(device)
    net = make_autoencoder()
    if o.start:
        net.load_state_dict(torch.load(o.start))
    net = net.to(device, memory_format=torch.channels_last)
    optimiser = torch.optim.AdamW(net.parameters(), lr=o.lr, betas=(.9, .98), weight_decay=1e-4)
    rng = np.random.default_rng(2)
    start, step = time.time(), 0
    while (done := (time.time() - start) / (60 * o.minutes)) < 1:
        for group in optimiser.param_groups:
            group["lr"] = o.lr * min(1, (step + 1) / 100) * (.01 + .99 * (1 + math.cos(math.pi * done)) / 2)
        pictures = [art.draw(rng) for _ in range(o.batch)]
        x = art.render(pictures, A.geometry_of(torch.randn(o.batch, 8, 16, 16)))
        x = x.contiguous(memory_format=torch.channels_last)
        with torch.autocast(device, torch.bfloat16, enabled=o.bf16):
            z = net.encoder(x)
            y = net.decoder(z + .1 * torch.randn_like(z))
        z = z.float()
        mean, var = z.mean((0, 2, 3)), z.var((0, 2, 3))
        loss = (picture_loss(y.float(), x) + .02 * (mean ** 2 + (var - 1) ** 2).mean()
                + 1e-3 * torch.relu(z.abs() - 4).mean())
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(net.parameters(), 1.)
        optimiser.step()
        step += 1
        if step % 100 == 0:
            print(f"{step} {done:.3f} loss {loss.item():.4f} psnr {psnr(y.float(), x).item():.2f} "
                  f"latent mean {mean.abs().max():.2f} "
                  f"var {var.min():.2f}..{var.max():.2f} max {z.abs().max():.1f} "
                  f"{step * o.batch / (time.time() - start):.0f}/s", flush=True)
        if step % 500 == 0:
            torch.save(net.state_dict(), o.out + ".part")
            os.replace(o.out + ".part", o.out)
    torch.save(net.state_dict(), o.out + ".part")
    os.replace(o.out + ".part", o.out)


if __name__ == "__main__":
    main()
