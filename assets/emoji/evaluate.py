"""What the model draws, in the judge's words: style and concept by style, held-out pairs apart, backgrounds, pairs,
pizza.

    python evaluate.py [--model FOLDER] [--sheet PREFIX]     figures on standard output, contact sheets beside PREFIX
"""
import argparse
import json
import os

import numpy as np
import torch

import art as A
import judge as J
import sheet as S

HERE = os.path.dirname(os.path.abspath(__file__))


class Scores:
    """Judge and its vocabulary; everything returns boolean arrays."""

    def __init__(self, device="cpu", folder=os.path.join(HERE, "judge")):
        self.net, self.styles, self.phrases = J.load(device, folder)
        self.index = {p: i for i, p in enumerate(self.phrases)}
        self.device = device

    @torch.no_grad()
    def __call__(self, pictures):
        """(style names, concept indices, pizza flags)."""
        out = [self.net(pictures[i:i + 128].to(self.device)) for i in range(0, len(pictures), 128)]
        style, concept, pizza = (torch.cat([o[k] for o in out]) for k in range(3))
        names = self.styles + ["other"]
        return (np.array([names[i] for i in style.argmax(1).tolist()]), concept.argmax(1).cpu().numpy(),
                (pizza > 0).cpu().numpy())


def background_right(pictures, names):
    """Whether the four corners are within 40 grey levels of the named colour."""
    corners = torch.stack([pictures[:, :, y, x] for y in (1, 62) for x in (1, 62)], 1).cpu()
    want = torch.tensor([A.COLOURS[n] if n else (255, 255, 255) for n in names])[:, None]
    return (((corners + 1) * 127.5 - want).abs().amax(2) < 40).all(1).numpy()


def evaluate(model, scores, seed=5):
    phrases, styles = [p for p, _ in A.read_concepts(A.CONCEPTS)], scores.styles
    held = A.held_out(phrases, styles)
    want = np.array([scores.index[p] for p in phrases])
    out = {}
    for j, style in enumerate(styles):
        noise = S.seeded_noise(len(phrases), seed + j)
        pictures = model.pictures([A.caption(style, p) for p in phrases], noise)
        s, c, pizza = scores(pictures)
        known = np.array([(i, j) not in held for i in range(len(phrases))])
        rows = {"style": s == style, "concept": c == want, "both": (s == style) & (c == want)}
        out[style] = {k: round(float(v[known].mean()), 4) for k, v in rows.items()}
        out[style]["false pizza"] = round(float(pizza.mean()), 4)
        if not known.all():
            out[style]["held out"] = {k: round(float(v[~known].mean()), 4) for k, v in rows.items()}
    rng = np.random.default_rng(seed)
    for style in (styles[0], "ink"):
        colours = [list(A.COLOURS)[i] for i in rng.integers(8, size=len(phrases))]
        pictures = model.pictures([A.caption(style, p, background=c) for p, c in zip(phrases, colours)],
                                  S.seeded_noise(len(phrases), seed + 9))
        s, c, _ = scores(pictures)
        out[style + " on a background"] = {"style": round(float((s == style).mean()), 4),
                                           "concept": round(float((c == want).mean()), 4),
                                           "background": round(float(background_right(pictures, colours).mean()), 4)}
        pictures = model.pictures([A.caption(style, p, pizza=True) for p in phrases],
                                  S.seeded_noise(len(phrases), seed + 10))
        s, c, pizza = scores(pictures)
        out[style + " with a pizza"] = {"style": round(float((s == style).mean()), 4),
                                        "concept": round(float((c == want).mean()), 4),
                                        "pizza": round(float(pizza.mean()), 4)}
    return out


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default=HERE)
    parser.add_argument("--judge", default=os.path.join(HERE, "judge"))
    parser.add_argument("--sheet")
    parser.add_argument("--threads", type=int, default=2)
    o = parser.parse_args()
    torch.set_num_threads(o.threads)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    model = S.Model(o.model, device)
    if o.sheet:
        phrases = [p for p, _ in A.read_concepts(A.CONCEPTS)]
        pick = np.random.default_rng(1).permutation(len(phrases))[:30]
        lines = [A.caption(style, phrases[i]) for i in pick for style in A.STYLES]
        noise = S.seeded_noise(30, 3).repeat_interleave(len(A.STYLES), 0)
        S.grid(model.pictures(lines, noise), 20, zoom=1).resize((20 * 66, 6 * 66)).save(o.sheet + "-styles.png")
        mixed = [A.caption("flat", phrases[i], background=list(A.COLOURS)[n % 8]) for n, i in enumerate(pick[:10])]
        mixed += [A.caption(A.STYLES[n % 4], phrases[i], second=phrases[j])
                  for n, (i, j) in enumerate(zip(pick[:10], pick[10:20]))]
        mixed += [A.caption(A.STYLES[n % 4], phrases[i], pizza=True) for n, i in enumerate(pick[20:30])]
        S.grid(model.pictures(mixed, S.seeded_noise(30, 4)), 10, mixed, 2).save(o.sheet + "-mixed.png")
    if os.path.exists(os.path.join(o.judge, "judge.json")):
        print(json.dumps(evaluate(model, Scores(device, o.judge)), indent=1))


if __name__ == "__main__":
    main()
