"""Contact sheets: pictures (N, 3, 64, 64) in [-1, 1] in rows, and the model run over prompts."""
import argparse
import os

import numpy as np
import torch
from PIL import Image, ImageDraw


def grid(pictures, columns, labels=None, zoom=1):
    """One PIL image; labels (N) are written under the cells."""
    foot = 11 if labels else 0
    cell = 64 * zoom
    rows = -(-len(pictures) // columns)
    out = Image.new("RGB", (columns * (cell + 2), rows * (cell + 2 + foot)), (200, 200, 200))
    pen = ImageDraw.Draw(out)
    for i, p in enumerate(pictures):
        x, y = i % columns * (cell + 2), i // columns * (cell + 2 + foot)
        data = ((p.float().clamp(-1, 1) + 1) * 127.5).round().byte().permute(1, 2, 0).cpu().numpy()
        out.paste(Image.fromarray(data).resize((cell, cell), Image.NEAREST if zoom > 1 else Image.BOX), (x, y))
        if labels:
            pen.text((x, y + cell), labels[i][:cell // 5], fill=(0, 0, 0), font_size=8)
    return out


class Model:
    """The saved folder as plain modules: prompts and noise in, pictures out."""

    def __init__(self, folder, device="cpu"):
        from diffusers import AutoencoderTiny, UNet2DConditionModel
        from transformers import CLIPTextModel, CLIPTokenizer
        self.tokenizer = CLIPTokenizer.from_pretrained(os.path.join(folder, "tokenizer"))

        def load(kind, name):
            return kind.from_pretrained(os.path.join(folder, name)).float().eval().requires_grad_(False).to(device)

        self.text, self.unet = load(CLIPTextModel, "text_encoder"), load(UNet2DConditionModel, "unet")
        self.vae = load(AutoencoderTiny, "vae")
        self.device = device

    def states(self, prompts):
        tokens = self.tokenizer(prompts, padding="max_length", max_length=32, truncation=True, return_tensors="pt")
        return self.text(tokens.input_ids.to(self.device))[0]

    @torch.no_grad()
    def pictures(self, prompts, noise, batch=64):
        from model import one_step
        out = []
        for i in range(0, len(prompts), batch):
            z = one_step(self.unet, noise[i:i + batch].to(self.device), self.states(prompts[i:i + batch]))
            out.append(self.vae.decode(z).sample)
        return torch.cat(out)


def seeded_noise(count, seed=0):
    return torch.randn(count, 8, 16, 16, generator=torch.Generator().manual_seed(seed))


if __name__ == "__main__":
    here = os.path.dirname(os.path.abspath(__file__))
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("prompts", help="text file, one prompt a line")
    parser.add_argument("--model", default=here)
    parser.add_argument("--out", default="sheet.png")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--zoom", type=int, default=2)
    o = parser.parse_args()
    lines = [x.strip() for x in open(o.prompts) if x.strip()]
    grid(Model(o.model).pictures(lines, seeded_noise(len(lines), o.seed)), 10, lines, o.zoom).save(o.out)
