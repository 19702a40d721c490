"""Language models in PyTorch for the comparisons: a model from its GGUF file or folder in single precision, the maps of
vksteer's steering files as hooks, pooled activations, perplexity, generation. An independent reading of those files."""
import json
import math
import pathlib
import re

import torch
import transformers
from safetensors import safe_open

transformers.logging.set_verbosity_error()
transformers.utils.logging.disable_progress_bar()


def load(path):
    """Model and tokenizer of a GGUF file (dequantised) or a Hugging Face folder."""
    path = pathlib.Path(path)
    words = dict(gguf_file=path.name) if path.suffix == ".gguf" else {}
    folder = path.parent if words else path
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder, **words)
    net = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, **words)
    return net.eval().requires_grad_(False), tokenizer


def read_texts(path, count=None, field="text"):
    rows = [json.loads(line)[field] for line in open(path)]
    return rows[:count]


class Steering:
    """Affine maps z + strength ((w - 1) z + b) at the outputs of modules, from a file of vksteer."""

    def __init__(self, path, strength=1.0):
        with safe_open(path, "pt") as file:
            self.metadata = file.metadata()
            tensors = {key: file.get_tensor(key).float() for key in file.keys()}
        unknown = [k for k in tensors if not k.endswith((".weight", ".bias"))]
        if unknown or self.metadata.get("position", "all") != "all":
            raise NotImplementedError(f"{path}: tensors {unknown[:3]}, position {self.metadata.get('position')}")
        sites = sorted({key.rsplit(".", 1)[0] for key in tensors})
        self.maps = {s: (1 + strength * (tensors[f"{s}.weight"] - 1), strength * tensors[f"{s}.bias"]) for s in sites}


class Text:
    """A model with its tokenizer; `maps` (site: gain, offset) act while they are set, `pooled` is what sites showed."""

    def __init__(self, path):
        self.net, self.tokenizer = load(path)
        self.maps, self.pooled, self.watched, self.mask = {}, {}, None, None
        self.pool, self.estimate, self.widths = "mean", None, {}
        self.end = self.tokenizer.eos_token_id
        for name, module in self.net.named_modules():
            module.register_forward_hook(self.hook(name))

    def sites(self, expression):
        return [name for name, _ in self.net.named_modules() if re.fullmatch(expression, name)]

    def hook(self, name):
        def run(_module, _inputs, out):
            watched = self.watched is not None and name in self.watched
            if name not in self.maps and not watched:
                return None
            first = isinstance(out, tuple)
            z = out[0] if first else out
            if watched and self.estimate:
                made = self.estimate(name, self.pooled_of(z))
                if made:
                    self.maps[name] = made
            if name in self.maps:
                gain, offset = self.maps[name]
                z = gain * z + offset
            if watched:
                self.pooled[name] = self.pooled_of(z)
            return (z, *out[1:]) if first else z
        return run

    def pooled_of(self, z):
        mask = self.mask[..., None]
        if self.pool == "max":
            return z.masked_fill(mask == 0, -1e30).amax(1)
        if self.pool == "last":
            return z[torch.arange(len(z)), self.mask.sum(1).long() - 1]
        return (z * mask).sum(1) / mask.sum(1)

    def encode(self, texts, length=None):
        return [self.tokenizer.encode(t)[:length] for t in texts]

    def batch(self, rows, left=False):
        longest = max(map(len, rows))
        ids = torch.full((len(rows), longest), self.end)
        mask = torch.zeros(len(rows), longest, dtype=torch.long)
        for i, row in enumerate(rows):
            part = slice(longest - len(row), longest) if left else slice(0, len(row))
            ids[i, part], mask[i, part] = torch.tensor(row), 1
        return ids, mask

    def observe(self, rows, sites, pool="mean", estimate=None):
        """Pooled activations of tokenized texts at sites, under the maps that are set: (texts, all channels).
        `estimate(site, pooled)` is asked for a site's map before the site passes anything on."""
        order, parts = list(range(len(rows))), []
        if not estimate:
            order.sort(key=lambda i: len(rows[i]))
        half = (len(rows) + 1) // 2  # short and long texts apart: less padding
        for part in (order,) if estimate or len(rows) < 5 else (order[:half], order[half:]):
            ids, mask = self.batch([rows[i] for i in part])
            self.watched, self.mask, self.pooled = set(sites), mask.float(), {}
            self.pool, self.estimate = pool, estimate
            self.net.base_model(ids, attention_mask=mask, use_cache=False)
            self.watched = self.estimate = None
            parts.append(torch.cat([self.pooled[s] for s in sites], 1))
        self.widths = {s: x.shape[1] for s, x in self.pooled.items()}
        return torch.cat(parts)[torch.tensor(order).argsort()]

    @torch.no_grad()
    def nll(self, rows, starts=None, size=16):
        """Negative log-likelihood and count of the tokens of each row from starts (default 1) on."""
        out = []
        for i in range(0, len(rows), size):
            part = rows[i:i + size]
            ids, mask = self.batch(part)
            logits = self.net(ids, attention_mask=mask, use_cache=False).logits[:, :-1]
            cost = torch.nn.functional.cross_entropy(logits.transpose(1, 2), ids[:, 1:], reduction="none")
            for j, row in enumerate(part):
                start = max(1, starts[i + j] if starts else 1)
                out.append((cost[j, start - 1:len(row) - 1].sum().item(), max(0, len(row) - start)))
        return out

    def perplexity(self, rows, starts=None):
        costs = self.nll(rows, starts)
        return math.exp(sum(c for c, _ in costs) / max(1, sum(n for _, n in costs)))

    @torch.no_grad()
    def generate(self, texts, tokens, seed=None, top_p=0.9, size=32):
        """Continuations alone, as ids; greedy without a seed."""
        rows, found = self.encode(texts), {}
        order = sorted(range(len(rows)), key=lambda i: len(rows[i]))
        for i in range(0, len(order), size):
            part = order[i:i + size]
            ids, mask = self.batch([rows[j] for j in part], left=True)
            words = dict(do_sample=False)
            if seed is not None:
                torch.manual_seed(seed)
                words = dict(do_sample=True, temperature=1.0, top_p=top_p, top_k=0)
            made = self.net.generate(ids, attention_mask=mask, max_new_tokens=tokens, pad_token_id=self.end, **words)
            for j, row in zip(part, made[:, ids.shape[1]:].tolist()):
                found[j] = row[:row.index(self.end)] if self.end in row else row
        return [found[i] for i in range(len(rows))]


def distinct(texts, n=2):
    """Share of different word n-grams."""
    grams = [tuple(w[i:i + n]) for w in (t.split() for t in texts) for i in range(len(w) - n + 1)]
    return len(set(grams)) / max(1, len(grams))
