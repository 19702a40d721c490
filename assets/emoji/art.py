"""Emoji art, captions, and the picture that a caption and a seed mean.

Art (npm packages, unpacked under --npm DIR/node_modules; MODEL CARD has the licences):
    flat     @iconify-json/fluent-emoji-flat 1.2.6           plain captions: "a red apple"
    ink      @iconify-json/fluent-emoji-high-contrast 1.2.6  "ink drawing of a red apple"
    3d       @lobehub/fluent-emoji-3d 1.1.0                  "3d render of a red apple"
    cartoon  emoji-datasource-google 16.0.0 (Noto)           "cartoon of a red apple"
Names: emojibase-data 17.0.0.   npm install those five packages, then  python art.py --npm DIR --out art.pt

A caption is a function: caption and seed fix the picture. `Art.render` draws it from sprites (RGBA, premultiplied).
"""
import argparse
import io
import json
import os
import re
import subprocess

import numpy as np
import torch
from PIL import Image

STYLES = ("flat", "ink", "3d", "cartoon")
PHRASES = {"flat": "", "ink": "ink drawing of ", "3d": "3d render of ", "cartoon": "cartoon of "}
COLOURS = {"red": (235, 64, 52), "orange": (250, 152, 40), "yellow": (252, 214, 54), "green": (72, 176, 88),
           "blue": (62, 126, 222), "purple": (146, 88, 200), "pink": (248, 158, 196), "grey": (158, 160, 166)}
CONCEPTS = 300              # of concepts.txt, drawn by the default model
SPRITE = 96                 # pixels of a stored sprite; pictures are 64
HERE = os.path.dirname(os.path.abspath(__file__))


# ---- fetch and render -------------------------------------------------------------------------------------------

def read_concepts(limit=None):
    """[(phrase, unicode name)], e.g. ("a dog", "dog face")."""
    rows = []
    for line in open(os.path.join(HERE, "concepts.txt")):
        line = line.strip()
        if line and not line.startswith("#"):
            phrase, _, name = (part.strip() for part in line.partition("|"))
            rows.append((phrase, name or re.sub(r"^an? ", "", phrase)))
    assert len({p for p, _ in rows}) == len(rows) and len({n for _, n in rows}) == len(rows)
    return rows[:limit]


def rasterise(svg, size):
    try:
        import resvg_py
        data = bytes(resvg_py.svg_to_bytes(svg_string=svg, width=size, height=size))
    except ImportError:
        data = subprocess.run(["rsvg-convert", "-w", str(size), "-h", str(size)], input=svg.encode(),
                              stdout=subprocess.PIPE, check=True).stdout
    return Image.open(io.BytesIO(data)).convert("RGBA")


def load_sprites(modules, concepts, styles=STYLES):
    """uint8 (concepts, styles, SPRITE, SPRITE, 4), straight alpha."""
    table = {e["label"].lower(): e["hexcode"].lower()
             for e in json.load(open(f"{modules}/emojibase-data/en/data.json"))}
    icons = {s: json.load(open(f"{modules}/@iconify-json/{p}/icons.json"))["icons"] for s, p in
             (("flat", "fluent-emoji-flat"), ("ink", "fluent-emoji-high-contrast"))}
    out = np.zeros((len(concepts), len(styles), SPRITE, SPRITE, 4), np.uint8)
    for i, (phrase, name) in enumerate(concepts):
        code = table[name.lower()]
        slug = re.sub(r"[^a-z0-9]+", "-", name.lower().replace("’", "")).strip("-")
        for j, style in enumerate(styles):
            if style in icons:
                body = icons[style][slug]["body"].replace("currentColor", "#000")
                image = rasterise(f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 32 32">{body}</svg>', SPRITE)
            else:
                folder, end = (("@lobehub/fluent-emoji-3d/assets", ".webp") if style == "3d" else
                               ("emoji-datasource-google/img/google/64", ".png"))
                path = next(p for c in (code, code.replace("-fe0f", ""), code + "-fe0f")
                            if os.path.exists(p := f"{modules}/{folder}/{c}{end}"))
                image = Image.open(path).convert("RGBA").convert("RGBa")
                image = image.resize((SPRITE, SPRITE), Image.LANCZOS).convert("RGBA")
            out[i, j] = np.asarray(image)
    return out


# ---- captions ---------------------------------------------------------------------------------------------------

def caption(style, concept, background=None, second=None, pizza=False):
    """The caption of a picture; concept and second are phrases such as "a red apple"."""
    text = PHRASES[style] + concept
    if second:
        text += " and " + second
    if pizza:
        text += " with a pizza"
    if background:
        text += f" on a {background} background" if background != "orange" else " on an orange background"
    return text


def held_out(concepts, styles, share=0.1, seed=11):
    """Set of (concept index, style index) pairs, none in the default style, never drawn in training."""
    rng = np.random.default_rng(seed)
    pairs = set()
    for j in range(1, len(styles)):
        pairs |= {(int(i), j) for i in rng.choice(len(concepts), round(share * len(concepts)), replace=False)}
    return pairs


class Picture(dict):
    """style, a, b (concept indices, b = -1: none), background (-1: white), pizza (0/1): all that a caption says."""


class Art:
    """Sprites and captions. `draw` picks what to show, `render` makes pictures (B, 3, 64, 64) in [-1, 1]."""

    def __init__(self, path, limit=None, styles=None):
        blob = torch.load(path, weights_only=False)
        self.styles = list(styles or blob["styles"])
        keep = [blob["styles"].index(s) for s in self.styles]
        phrases = blob["phrases"]
        pizza = blob["sprites"][-1:, keep]                     # the last concept is the pizza
        n = min(limit or CONCEPTS, len(phrases) - 1)
        sprites = torch.cat((blob["sprites"][:n, keep], pizza)).permute(0, 1, 4, 2, 3).float() / 255
        self.phrases = phrases[:n]
        self.n = n
        # premultiplied
        self.sprites = torch.cat((sprites[:, :, :3] * sprites[:, :, 3:], sprites[:, :, 3:]), 2).half()
        self.held = held_out(self.phrases, self.styles)
        self.colours = torch.tensor(list(COLOURS.values())) / 255.
        self.names = list(COLOURS)
        self.weights = np.array([.34, .24, .21, .21][:len(self.styles)] + [.15] * max(0, len(self.styles) - 4))
        self.weights /= self.weights.sum()

    def caption(self, p):
        return caption(self.styles[p["style"]], self.phrases[p["a"]],
                       self.names[p["background"]] if p["background"] >= 0 else None,
                       self.phrases[p["b"]] if p["b"] >= 0 else None, p["pizza"])

    def draw(self, rng, mix=(.5, .2, .2, .1)):
        """One random Picture of the training mix, held-out pairs excluded."""
        kind = rng.choice(4, p=mix)
        while True:
            style = int(rng.choice(len(self.styles), p=self.weights))
            a, b = (int(x) for x in rng.integers(0, self.n, 2))
            if kind != 2:
                b = -1
            if (a, style) in self.held or (b, style) in self.held or a == b:
                continue
            return Picture(style=style, a=a, b=b, background=int(rng.integers(8)) if kind == 1 else -1,
                           pizza=int(kind == 3))

    def render(self, pictures, geometry):
        """pictures: list of Picture; geometry (B, 4): flip (0/1), dx, dy (pixels), scale -> (B, 3, 64, 64) in
        [-1, 1]."""
        device = self.sprites.device
        g = geometry.to(device)
        get = lambda key: torch.tensor([p[key] for p in pictures], device=device)
        style, a, b, background, pizza = (get(k) for k in ("style", "a", "b", "background", "pizza"))
        ground = torch.where((background >= 0)[:, None], self.colours.to(device)[background.clamp(min=0)],
                             torch.ones(3, device=device))
        canvas = ground[:, :, None, None].expand(-1, 3, 64, 64).clone()
        pair, one = (b >= 0).float(), torch.ones_like(g[:, 3])
        flip = 1 - 2 * g[:, 0]
        # layers: (sprite, centre x, centre y, size in pixels, mirror); the main one, its partner, the pizza
        size = torch.where(b >= 0, 32 * one, torch.where(pizza > 0, 48 * one, 60 * one)) * g[:, 3]
        cx, cy = 32 + g[:, 1], 32 + g[:, 2]
        x1 = torch.where(b >= 0, 16 + g[:, 1] * .5, torch.where(pizza > 0, 25 + g[:, 1] * .5, cx))
        y1 = torch.where(pizza > 0, 25 + g[:, 2] * .5, cy)
        canvas = self._over(canvas, self.sprites[a, style], x1, y1, size, flip, one)
        if (b >= 0).any():
            canvas = self._over(canvas, self.sprites[b.clamp(min=0), style], 48 + g[:, 1] * .5, cy, size, flip, pair)
        if (pizza > 0).any():
            canvas = self._over(canvas, self.sprites[-1, style], 48 + 0 * cx, 48 + 0 * cx, 30 * one, one,
                                pizza.float())
        return canvas * 2 - 1

    @staticmethod
    def _over(canvas, sprite, x, y, size, mirror, shown):
        """Draws sprites (B, 4, S, S) centred at (x, y), `size` pixels wide, over canvas (B, 3, 64, 64)."""
        # Flip, scale and shift act on rows and columns apart, so drawing is two small products with triangle filters.
        S = sprite.shape[-1]
        radius = (S / size).clamp(min=1)

        def filters(centre, direction):
            """(B, 64, S): weight of sprite pixel j in picture pixel i."""
            i = torch.arange(64, device=canvas.device) + .5
            # a rim beyond the sprite, so that each row sums to 1
            j = torch.arange(-8, S + 8, device=canvas.device) + .5
            u = ((i[None] - centre[:, None]) / size[:, None] * direction[:, None] + .5) * S
            f = (1 - (u[:, :, None] - j).abs() / radius[:, None, None]).clamp(min=0)
            return (f / f.sum(2, keepdim=True).clamp(min=.5))[:, :, 8:-8]
        rows, columns = filters(y, torch.ones_like(mirror)), filters(x, mirror)
        layer = (rows[:, None] @ sprite.float() @ columns[:, None].transpose(2, 3)).clamp(0, 1)
        layer = layer * shown[:, None, None, None]
        return layer[:, :3] + canvas * (1 - layer[:, 3:])


# ---- the seed shows ---------------------------------------------------------------------------------------------

def noise_basis():
    """(4, 2048) orthonormal low-frequency patterns of the initial noise (8, 16, 16): fixed, from cosines alone."""
    y, x = torch.meshgrid(torch.arange(16.), torch.arange(16.), indexing="ij")
    wave = lambda n, t: torch.cos(torch.pi * n * (t + .5) / 16)
    rows = []
    for k, (c, ny, nx) in enumerate(((0, 0, 1), (2, 0, 1), (4, 1, 0), (6, 1, 1))):
        p = torch.zeros(8, 16, 16)
        p[c:c + 2] = wave(ny, y) * wave(nx, x)
        rows.append(p.flatten() / p.norm())
    return torch.stack(rows)


def geometry_of(noise, amount=1., flips=True):
    """(B, 4) flip, dx, dy, scale from noise (B, 8, 16, 16): four projections, each N(0, 1), through the normal CDF.

    amount: 0 = all in the middle at one size, 1 = shifts of up to 4 pixels and scales of .85 to 1 (training begins
    with little).
    """
    z = noise.flatten(1).float().cpu() @ noise_basis().T
    u = .5 * (1 + torch.erf(z / 2 ** .5)) - .5
    return torch.stack(((z[:, 0] > 0).float() * flips, u[:, 1] * 8 * amount, u[:, 2] * 8 * amount,
                        .925 + .15 * u[:, 3] * amount), 1)


def check_captions(art):
    """No caption has two meanings: phrases differ, none contains the words that join captions, all forms differ."""
    joins = (" and ", " with a pizza", " background", *(p for p in PHRASES.values() if p))
    for phrase in art.phrases:
        assert not any(j in phrase for j in joins), phrase
    seen = {}
    for style in range(len(art.styles)):
        for a in range(art.n):
            kinds = [(-1, -1, 0), (-1, -1, 1)] + [(-1, k, 0) for k in range(8)]
            for b, background, pizza in kinds + [(b, -1, 0) for b in range(art.n) if b != a]:
                p = Picture(style=style, a=a, b=b, background=background, pizza=pizza)
                text = art.caption(p)
                assert seen.setdefault(text, p) == p, text
    return len(seen)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--npm", required=True)
    parser.add_argument("--out", required=True)
    parser.add_argument("--styles", default=",".join(STYLES))
    o = parser.parse_args()
    rows = read_concepts() + [("a pizza", "pizza")]
    styles = o.styles.split(",")
    sprites = load_sprites(os.path.join(o.npm, "node_modules"), rows, styles)
    torch.save({"sprites": torch.from_numpy(sprites), "phrases": [p for p, _ in rows], "styles": styles}, o.out)
    art = Art(o.out)
    print(len(rows) - 1, "concepts; of the default", art.n, "concepts", check_captions(art),
          "captions, each with one meaning")
