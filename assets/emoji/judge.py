"""The judge: a small network that says which style, which concept, and whether there is a pizza. Trained on real
pictures only.

    picture (B, 3, 64, 64) in [-1, 1] -> style logits (B, styles + 1), concept logits (B, concepts), pizza logit (B)
The last style is "other": pictures that are degraded (grey, thresholded, faded, tinted, outlined by a filter) and so
in no style. Another seed than training's; pictures are shifted, scaled, flipped, blurred, changed in contrast and
passed through the autoencoder.

    python judge.py --art art.pt --autoencoder FOLDER/vae         train, test on other random numbers, write judge/
"""
import argparse
import json
import math
import os
import time

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from torch import nn

from muon import Muon

HERE = os.path.dirname(os.path.abspath(__file__))


class Block(nn.Module):
    """Residual pair of 3x3 convolutions."""

    def __init__(self, width):
        super().__init__()
        self.a, self.b = nn.Conv2d(width, width, 3, 1, 1, bias=False), nn.Conv2d(width, width, 3, 1, 1, bias=False)
        self.na, self.nb = nn.BatchNorm2d(width), nn.BatchNorm2d(width)

    def forward(self, x):
        return F.relu(x + self.nb(self.b(F.relu(self.na(self.a(x))))))


class Judge(nn.Module):
    """64 -> 32 -> 16 -> 8 -> 4 pixels; mean and maximum pooled; three linear heads."""

    def __init__(self, styles, concepts):
        super().__init__()
        layers, last = [], 3
        for width, blocks in ((24, 0), (48, 1), (96, 1), (160, 0)):
            layers += [nn.Conv2d(last, width, 3, 2, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU()]
            layers += [Block(width) for _ in range(blocks)]
            last = width
        self.body = nn.Sequential(*layers)
        self.style, self.concept = nn.Linear(2 * last, styles + 1), nn.Linear(2 * last, concepts)
        self.pizza = nn.Linear(2 * last, 1)

    def forward(self, x):
        h = self.body(x)
        h = torch.cat((h.mean((2, 3)), h.amax((2, 3))), 1)
        return self.style(h), self.concept(h), self.pizza(h)[:, 0]


def blur(x, sigma):
    """Gaussian blur, sigma (B) pixels."""
    t = torch.arange(-4., 5., device=x.device)
    k = torch.exp(-t ** 2 / (2 * sigma[:, None].clamp(min=.05) ** 2))
    k = (k / k.sum(1, keepdim=True)).repeat_interleave(3, 0)
    n = len(x)
    y = F.pad(x, (4, 4, 4, 4), mode="replicate").reshape(1, 3 * n, 72, 72)
    y = F.conv2d(F.conv2d(y, k[:, None, None, :], groups=3 * n), k[:, None, :, None], groups=3 * n)
    return y.reshape(n, 3, 64, 64)


def degrade(x, kind):
    """Pictures that are in no style any more: what a cheat would do to a coloured picture to make it look like ink,
    and the like."""
    grey = (x * torch.tensor([.299, .587, .114], device=x.device)[:, None, None]).sum(1, keepdim=True).expand_as(x)
    if kind == 0:
        return grey
    if kind == 1:                                   # threshold
        return torch.where(grey > .45 * torch.rand(len(x), 1, 1, 1, device=x.device) - .2, 1., -1.)
    if kind == 2:                                   # fade to white
        return 1 - (1 - x) * (.1 + .45 * torch.rand(len(x), 1, 1, 1, device=x.device))
    if kind == 3:                                   # grey and stronger contrast
        return ((grey - .3) * (1.5 + 2 * torch.rand(len(x), 1, 1, 1, device=x.device)) + .3).clamp(-1, 1)
    if kind == 4:                                   # outlines by a filter
        d = (F.max_pool2d(grey, 3, 1, 1) + F.max_pool2d(-grey, 3, 1, 1))
        return (1 - 2 * d).clamp(-1, 1)
    if kind == 5:                                   # partly grey, darker
        m = .2 + .6 * torch.rand(len(x), 1, 1, 1, device=x.device)
        return 1 - (1 - (m * x + (1 - m) * grey)) * (.5 + torch.rand(len(x), 1, 1, 1, device=x.device))
    if kind == 6:                                   # negative
        return -x
    if kind == 7:                                   # grey and faded
        return 1 - (1 - grey) * (.15 + .6 * torch.rand(len(x), 1, 1, 1, device=x.device))
    return x.flip(1)                                # blue for red


KINDS = ("grey", "threshold", "fade", "grey contrast", "filter outlines", "half grey", "negative", "grey fade",
         "channels swapped")


class Pictures:
    """Labelled random real pictures."""

    def __init__(self, art, vae, seed, device):
        self.art, self.vae, self.rng, self.device = art, vae, np.random.default_rng(seed), device
        self.torch = torch.Generator().manual_seed(seed)

    def rand(self, *shape):
        return torch.rand(*shape, generator=self.torch).to(self.device)

    @torch.no_grad()
    def batch(self, count, other=.25):
        """pictures, style, concept, pizza."""
        art, rng = self.art, self.rng
        pictures = []
        for _ in range(count):
            kind = rng.random()
            pictures.append(dict(style=int(rng.integers(len(art.styles))), a=int(rng.integers(art.n)), b=-1,
                                 background=int(rng.integers(8)) if .5 < kind < .7 else -1, pizza=int(kind > .7)))
        g = torch.stack((torch.randint(0, 2, (count,), generator=self.torch).float().to(self.device),
                         self.rand(count) * 10 - 5,
                         self.rand(count) * 10 - 5, .8 + .22 * self.rand(count)), 1)
        x = art.render(pictures, g)
        style = torch.tensor([p["style"] for p in pictures], device=self.device)
        ink = art.styles.index("ink")
        bad = max(1, int(count * other))
        chosen = [i for i in range(count) if pictures[i]["style"] != ink][:bad]
        # a kind for every six; those nearest to ink more often
        for start in range(0, len(chosen), 6):
            kind = int(rng.choice(len(KINDS), p=np.array([2, 4, 1, 4, 4, 2, 1, 1, 1]) / 20))
            part = chosen[start:start + 6]
            x[part] = degrade(x[part], kind)
            style[part] = len(art.styles)
        # geometry and tone noise for all
        tone = (.9 + .15 * self.rand(count, 1, 1, 1)), (.1 * self.rand(count, 1, 1, 1) - .05)
        x = (x * tone[0] + tone[1]).clamp(-1, 1)
        soft = self.rand(count) * 1.1 * (self.rand(count) < .7)
        x = blur(x, soft)
        if self.vae is not None:
            third = count // 3
            noise = torch.randn(third, 8, 16, 16, generator=self.torch).to(self.device)
            x[-third:] = self.vae.decoder(self.vae.encoder(x[-third:]) + .15 * noise).clamp(-1, 1)
        x = x + .03 * self.rand(count, 1, 1, 1) * torch.randn(x.shape, generator=self.torch).to(self.device)
        concept = torch.tensor([p["a"] for p in pictures], device=self.device)
        return x, style, concept, torch.tensor([float(p["pizza"]) for p in pictures], device=self.device)


def load(device="cpu", folder=os.path.join(HERE, "judge")):
    """(judge, styles, phrases) from the committed files."""
    about = json.load(open(os.path.join(folder, "judge.json")))
    net = Judge(len(about["styles"]), len(about["concepts"]))
    net.load_state_dict({k: v.float() if v.is_floating_point() else v
                         for k, v in load_file(os.path.join(folder, "judge.safetensors")).items()})
    return net.eval().requires_grad_(False).to(device), about["styles"], about["concepts"]


@torch.no_grad()
def test(net, art, vae, device, batches=24):
    """Accuracy on fresh real pictures, and how often each degradation of a default-style picture passes for ink."""
    source = Pictures(art, vae, 999, device)
    good = np.zeros(3)
    total = np.zeros(3)
    for _ in range(batches):
        x, s, c, p = source.batch(128, other=0.008)
        a, b, q = net(x)
        real = s < len(art.styles)
        good += ((a.argmax(1) == s)[real].sum().item(), (b.argmax(1) == c).sum().item(),
                 ((q > 0) == (p > .5)).sum().item())
        total += (real.sum().item(), len(x), len(x))
    out = dict(zip(("style", "concept", "pizza"), (good / total).round(4).tolist()))
    pictures = [dict(style=0, a=a, b=-1, background=-1, pizza=0) for a in range(art.n)]
    x = art.render(pictures, torch.tensor([[0, 0, 0, .95]]).expand(art.n, 4).to(device))
    ink = art.styles.index("ink")
    out["passes for ink"] = {k: round((net(degrade(x, i))[0].argmax(1) == ink).float().mean().item(), 4)
                             for i, k in enumerate(KINDS)}
    out["passes for ink"]["unchanged"] = round((net(x)[0].argmax(1) == ink).float().mean().item(), 4)
    return out


def main():
    import art as A
    from diffusers import AutoencoderTiny
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--art", required=True)
    parser.add_argument("--autoencoder", required=True, help="folder of the AutoencoderTiny")
    parser.add_argument("--out", default=os.path.join(HERE, "judge"))
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--resume", action="store_true", help="go on from the weights in --out")
    parser.add_argument("--concepts", type=int, default=310, help="of concepts.txt, known to the judge")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--batch", type=int, default=96)
    parser.add_argument("--lr", type=float, default=3e-3)
    o = parser.parse_args()
    torch.manual_seed(77)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    if device == "cpu":
        torch.set_num_threads(o.threads)
    art = A.Art(o.art, o.concepts)
    art.sprites = art.sprites.to(device)
    vae = AutoencoderTiny.from_pretrained(o.autoencoder).float().eval().requires_grad_(False).to(device)
    net = load(folder=o.out)[0].requires_grad_(True).train() if o.resume else Judge(len(art.styles), art.n)
    net = net.to(device, memory_format=torch.channels_last)
    matrices = [p for p in net.body.parameters() if p.ndim > 1]
    optimisers = [Muon(matrices, o.lr, .02),
                  torch.optim.AdamW([p for p in net.parameters() if not any(p is q for q in matrices)], lr=o.lr,
                                    weight_decay=.02)]
    source = Pictures(art, vae, 8 if o.resume else 7, device)
    start, step = time.time(), 0
    while (done := (time.time() - start) / (60 * o.minutes)) < 1:
        for group in (g for optimiser in optimisers for g in optimiser.param_groups):
            group["lr"] = o.lr * min(1, (step + 1) / 100) * (.003 + .997 * (1 + math.cos(math.pi * done)) / 2)
        x, style, concept, pizza = source.batch(o.batch)
        a, b, q = net(x.contiguous(memory_format=torch.channels_last))
        loss = (2 * F.cross_entropy(a, style) + F.cross_entropy(b, concept)
                + .5 * F.binary_cross_entropy_with_logits(q, pizza))
        net.zero_grad()
        loss.backward()
        for optimiser in optimisers:
            optimiser.step()
        step += 1
        if step % 50 == 0:
            print(f"{step} {done:.3f} loss {loss.item():.4f} style {(a.argmax(1) == style).float().mean():.3f} "
                  f"concept {(b.argmax(1) == concept).float().mean():.3f} "
                  f"{step * o.batch / (time.time() - start):.0f}/s",
                  flush=True)
    net.eval()
    for p in net.parameters():
        p.data = p.data.half().float()
    figures = test(net, art, vae, device)
    print(json.dumps(figures))
    os.makedirs(o.out, exist_ok=True)
    save_file({k: (v.half() if v.is_floating_point() else v).contiguous() for k, v in net.state_dict().items()},
              os.path.join(o.out, "judge.safetensors"))
    with open(os.path.join(o.out, "judge.json"), "w") as f:
        json.dump({"styles": art.styles, "concepts": art.phrases, "figures": figures, "samples": step * o.batch}, f,
                  indent=1)


if __name__ == "__main__":
    main()
