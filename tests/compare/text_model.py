"""Language models in PyTorch for the comparisons: a model from its GGUF file or folder in single precision, the maps
of vksteer's steering files as hooks, pooled activations, perplexity, generation. An independent reading of those
files."""
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


def halve(net):
    """Matrix products of bfloat16, four times as fast where the processor has them; all else stays in fp32."""
    def use(module, weight, bias):
        def forward(x):
            out = torch.nn.functional.linear(x.bfloat16(), weight).float()
            return out if bias is None else out + bias
        module.forward = forward
    for module in net.modules():
        if isinstance(module, torch.nn.Linear):
            use(module, module.weight.bfloat16(), module.bias)


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
        if unknown or self.metadata.get("position", "all") not in ("all", "pixels-avg"):
            raise NotImplementedError(f"{path}: tensors {unknown[:3]}, position {self.metadata.get('position')}")
        sites = sorted({key.rsplit(".", 1)[0] for key in tensors})
        self.maps = {s: (1 + strength * (tensors[f"{s}.weight"] - 1), strength * tensors[f"{s}.bias"]) for s in sites}


class Text:
    """A model with its tokenizer; `maps` (site: gain, offset) act while they are set, `pooled` is what sites
    showed."""

    def __init__(self, path, half=False):
        self.net, self.tokenizer = load(path)
        if half:
            halve(self.net)
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

    def cut(self, texts, length):
        """Texts of at most so many tokens, for programs that do not cut."""
        return [self.tokenizer.decode(row) for row in self.encode(texts, length)]

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
    def nll(self, rows, starts=None, size=8):
        """Negative log-likelihood and count of the tokens of each row from starts (default 1) on."""
        order, out = sorted(range(len(rows)), key=lambda i: len(rows[i])), [None] * len(rows)
        for i in range(0, len(order), size):
            part = order[i:i + size]
            ids, mask = self.batch([rows[j] for j in part], left=True)
            counts = [max(0, len(rows[j]) - max(1, starts[j] if starts else 1)) for j in part]
            keep = max(counts)
            if keep == 0:
                logs = torch.zeros(len(part), 1)
            else:
                logits = self.net(ids, attention_mask=mask, position_ids=(mask.cumsum(1) - 1).clamp(min=0),
                                  use_cache=False, logits_to_keep=keep + 1).logits[:, :-1]
                logs = logits.gather(2, ids[:, -keep:, None])[..., 0] - logits.logsumexp(2)
            for j, n, row in zip(part, counts, logs):
                out[j] = (-row[len(row) - n:].sum().item(), n)
        return out

    def perplexity(self, rows, starts=None):
        return perplexity(self.nll(rows, starts))

    @torch.no_grad()
    def generate(self, texts, tokens, seed=None, top_p=0.9, size=32):
        """Continuations alone, as ids; greedy without a seed. The random numbers belong to the seed and the text's
        place, so that all steerings draw with the same ones."""
        rows, found, draws = self.encode(texts), [None] * len(texts), None
        order = sorted(range(len(rows)), key=lambda i: len(rows[i]))
        if seed is not None:
            draws = torch.rand(len(rows), tokens, generator=torch.Generator().manual_seed(seed))
        for i in range(0, len(order), size):
            part = order[i:i + size]
            made = self.go_on([rows[j] for j in part], tokens, None if draws is None else draws[part], top_p)
            for j, row in zip(part, made.tolist()):
                found[j] = row[:row.index(self.end)] if self.end in row else row
        return found

    def go_on(self, rows, tokens, draws, top_p):
        step, mask = self.batch(rows, left=True)
        places, cache, made = (mask.cumsum(1) - 1).clamp(min=0), None, []
        for n in range(tokens):
            out = self.net(step, attention_mask=mask, position_ids=places, past_key_values=cache, use_cache=True,
                           logits_to_keep=1)
            logits, cache = out.logits[:, -1], out.past_key_values
            made.append(logits.argmax(1) if draws is None else nucleus(logits, top_p, draws[:, n]))
            step, places = made[-1][:, None], places[:, -1:] + 1
            mask = torch.cat([mask, torch.ones_like(step)], 1)
        return torch.stack(made, 1)


def nucleus(logits, top_p, draws, likely=128):
    """A token of each row (B, V), at temperature 1, from the fewest tokens that have top_p of the probability; draws
    (B) are uniform. Sorts the `likely` first ones, and more where these have less."""
    values, ids = logits.topk(min(likely, logits.shape[1]))
    p = (values - logits.logsumexp(1, keepdim=True)).exp()
    after = p.cumsum(1)
    kept = p * (after - p < top_p)
    at = (kept.cumsum(1) < draws[:, None] * kept.sum(1, keepdim=True)).sum(1).clamp(max=p.shape[1] - 1)
    out = ids.gather(1, at[:, None])[:, 0]
    few = (after[:, -1] < top_p).nonzero()[:, 0]
    if len(few) and likely < logits.shape[1]:
        out[few] = nucleus(logits[few], top_p, draws[few], 16 * likely)
    return out


def perplexity(costs):
    """Of all tokens together: exp of their mean cost, from (cost, tokens) of each text."""
    return math.exp(sum(c for c, _ in costs) / max(1, sum(n for _, n in costs)))


def distinct(texts, n=2):
    """Share of different word n-grams."""
    grams = [tuple(w[i:i + n]) for w in (t.split() for t in texts) for i in range(len(w) - n + 1)]
    return len(set(grams)) / max(1, len(grams))
