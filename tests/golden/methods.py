"""Writes data/methods/*.safetensors: the methods without gradients by independent programs, NumPy and scikit-learn on
random numbers, PyTorch hooks on the tiny language models of make_language_models.py.

    python methods.py [case ...]

`laws-NAME.safetensors` holds random activations and what is to come of each column, or of all of them (fp32):

    source (A, D), target (B, D)             rounded so that values tie; some columns constant, one of them in both
    auroc, average_precision (D)             sklearn; source rows are the positives
    direction (D)                            numpy's SVD: the first right singular vector of source[:n] - target[:n]
    probe (D + 1)                            sklearn's logistic regression (C = 1) of target rows against source rows

`MODEL-METHOD...safetensors` holds texts (ids and masks as in lineas.py) and the maps of a steering:

    weight.SITE, bias.SITE (D)               of every site in the file
    low.SITE, high.SITE (D)                  with a support mask: between which values it acts
    steered.pooled.SITE (A, D)               what the source texts pool to under these maps; with a support mask

and as metadata model, method, sites, pool (the method's own), and options where it has them. What the maps follow
from runs in double; every case runs in single precision as well, and must agree to a quarter of the tolerance. And it
runs with one thing wrong at a time, which must move what is compared by 20 times the tolerance.
"""

import math
import pathlib
import re
import sys
from fractions import Fraction

import numpy as np
import torch
import transformers
from safetensors.torch import save_file
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import average_precision_score, roc_auc_score

DATA = pathlib.Path(__file__).parent / "data"
LENGTH = 9           # tokens of a text, padding included
TOLERANCE = 1e-3

LAWS = {"few": (6, 5, 3, 1), "ties": (32, 32, 40, 2), "long": (50, 20, 7, 3), "wide": (9, 9, 130, 4)}
MIDDLE = r"model\.layers\.1"
CASES = {
    "llama-caa": dict(method="caa", sites=MIDDLE, pool="last", sources=7, targets=7, seed=1),
    "gemma2-actadd": dict(method="actadd", sites=MIDDLE, pool="last", sources=1, targets=1, seed=2),
    "gpt2-repe": dict(method="repe", sites=r"transformer\.h\.\d", pool="last", sources=8, targets=8, seed=3),
    "llama-iti": dict(method="iti", sites=".*o_proj", pool="last", sources=10, targets=12, alpha=4.0, top_heads=3,
                      seed=4),
    "gpt2-iti": dict(method="iti", sites=r".*attn\.c_proj", pool="last", sources=11, targets=10, alpha=15.0,
                     top_heads=1, seed=5),
    "llama-aura": dict(method="aura", sites=r".*mlp\.(gate|up|down)_proj", pool="max", sources=9, targets=7, seed=6),
    "gemma3-detzero": dict(method="detzero", sites=r".*mlp\.(gate|up|down)_proj", pool="mean", sources=8, targets=8,
                           threshold=0.8, seed=7),
    "qwen2-support": dict(method="linear-act", sites=".*post.*layernorm|.*down_proj", pool="mean", sources=9,
                          targets=6,
                          low=0.0, high=100.0, seed=8),
    "llama-quantiles": dict(method="linear-act-at-once", sites=r"model\.layers\.\d", pool="mean", sources=8,
                            targets=8,
                            low=12.5, high=80.0, seed=9),
}

# transformers asks for single precision here, in which the mask's lowest double is infinite.
torch.nn.functional.softmax = lambda x, dim, dtype=None: x.softmax(dim)


# ---- numbers -------------------------------------------------------------------------------------------------------

def first_direction(differences):
    direction = np.linalg.svd(differences, full_matrices=False)[2][0]
    return direction * np.sign((differences @ direction).mean())


def probe(rows, labels, c=1.0):
    """The weights and the intercept."""
    model = LogisticRegression(C=c, solver="newton-cholesky", tol=1e-12, max_iter=1000).fit(rows, labels)
    return np.concatenate([model.coef_[0], model.intercept_])


def laws(a, b, channels, seed):
    random = np.random.default_rng(seed)
    source = random.normal(size=(a, channels)) + random.normal(size=channels)
    target = random.normal(size=(b, channels)) + 0.7 * random.normal(size=channels)
    source[:, ::3], target[:, ::3] = source[:, ::3].round(1), target[:, ::3].round(1)
    source[:, 1::5], target[:, 1::5] = source[:, 1::5].round(), target[:, 1::5].round()
    source[:, 2], target[:, 2] = 0.25, 0.25
    source[:, channels // 2] = 1.5
    source, target = source.astype(np.float32), target.astype(np.float32)
    x, y = source.astype(float), target.astype(float)
    labels = np.array([1] * a + [0] * b)
    both = np.concatenate([x, y])
    count, name = min(a, b), next(k for k, v in LAWS.items() if v[3] == seed)
    differences, apart = x[:count] - y[:count], both + 1e-9 * labels[:, None]
    out, *wrong = (dict(
        auroc=np.array([roc_auc_score(labels, column) for column in columns.T]),
        average_precision=np.array([average_precision_score(labels, column) for column in columns.T]),
        direction=first_direction(pairs),
        probe=probe(both, 1 - labels, c)) for columns, pairs, c in (
            (both, differences, 1.0), (apart, differences - differences.mean(0), 0.5)))
    # Ties broken in favour of the sources, centred differences, another penalty.
    factors = {k: np.abs(wrong[0][k] - v).max() / np.abs(v).max() / TOLERANCE for k, v in out.items()}
    report(f"laws-{name}", factors)
    save(f"laws-{name}", dict(source=source, target=target) | out, {})


def report(name, factors):
    """By how many tolerances each mutation moves what is compared; 20 at least."""
    least, factor = min(factors.items(), key=lambda item: item[1])
    print(f"{name}: {len(factors)} mutations move it by {factor:.0f} tolerances or more ({least})", flush=True)
    assert factor >= 20, f"{name}: {least} moves what is compared by {factor:.1f} tolerances only"


# ---- models --------------------------------------------------------------------------------------------------------

class Steered:
    """A model whose sites are observed, and mapped by `maps`, {site: (weight, bias)}."""

    def __init__(self, case, model, dtype):
        self.net = transformers.AutoModelForCausalLM.from_pretrained(
            DATA / "language" / model, attn_implementation="eager", dtype=torch.float32)
        self.net = self.net.to(dtype).eval().requires_grad_(False)
        self.wrong = case.get("wrong")
        self.dtype, self.pool, self.maps, self.pushed, self.seen, self.read = dtype, case["pool"], {}, {}, {}, {}
        self.sites = []
        for name, module in self.net.named_modules():
            if re.fullmatch(case["sites"], name):
                self.sites.append(name)
                module.register_forward_pre_hook(self.before(name))
                module.register_forward_hook(self.after(name))
        assert self.sites

    def before(self, name):
        def run(_module, inputs):
            x = inputs[0] + self.pushed.get(name, 0)
            self.read[name] = self.pooled(x)
            return (x, *inputs[1:])
        return run

    def after(self, name):
        def run(_module, _inputs, output):
            z = output[0] if isinstance(output, tuple) else output
            if name in self.maps:
                z = self.act(z, *self.maps[name])
            self.seen[name] = self.pooled(z)
            return (z, *output[1:]) if isinstance(output, tuple) else z
        return run

    def act(self, z, weight, bias, low=None, high=None):
        mapped = weight * z + bias
        return mapped if low is None else torch.where((z >= low) & (z <= high), mapped, z)

    def put(self, maps):
        self.maps = {s: tuple(torch.tensor(x).to(self.dtype) for x in m) for s, m in maps.items()}

    def pooled(self, z):
        counted = torch.ones_like(self.mask) if self.wrong == "padding counted" else self.mask
        mask = counted[..., None].to(z.dtype)
        if self.pool == "mean":
            return (z * mask).sum(1) / mask.sum(1)
        if self.pool == "max":
            return z.masked_fill(mask == 0, -torch.inf).amax(1)
        last = self.mask.shape[1] - 1 - counted.flip(1).argmax(1)
        return z[torch.arange(len(z)), last]

    def run(self, texts, kind):
        """Pooled outputs of the sites, and what their modules read, as numpy arrays."""
        mask = self.mask = texts[f"{kind}.mask"].long()
        self.hidden = self.net(texts[f"{kind}.ids"].long(), attention_mask=mask, use_cache=False,
                               output_hidden_states=True,
                               position_ids=(mask.cumsum(-1) - 1).clamp(min=0)).hidden_states[-1]
        return tuple({k: v.double().numpy() for k, v in d.items()} for d in (self.seen, self.read))


def make_texts(case, vocabulary):
    """Sources' words are of the lower part of the vocabulary, mostly, targets' of the upper; padded on either
    side."""
    generator = torch.Generator().manual_seed(case["seed"])
    out = {}
    for kind, count in (("source", case["sources"]), ("target", case["targets"])):
        ids = torch.randint(3, vocabulary * 3 // 4, (count, LENGTH), generator=generator)
        mask = torch.ones(count, LENGTH)
        for b in range(count):
            mask[b, :b % 4] = 0
            if b % 2:
                mask[b] = mask[b].flip(0)
        ids = ids if kind == "source" else vocabulary + 2 - ids
        out[f"{kind}.ids"], out[f"{kind}.mask"] = ids.masked_fill(mask == 0, 2).int(), mask
    return out


def vector(case, source, target):
    differences = target - source
    mean = differences.mean(0)
    if case["method"] == "repe":
        direction = first_direction(differences)
        mean = (differences @ direction).mean() * direction
    return np.ones_like(mean), mean


def transport(case, source, target):
    """Linear-AcT on its support: least squares between the quantile functions, over their exact breakpoints."""
    a, b = np.sort(source, 0) - source.mean(0), np.sort(target, 0) - target.mean(0)
    cuts = sorted({Fraction(i, len(a)) for i in range(len(a) + 1)} | {Fraction(j, len(b)) for j in range(len(b) + 1)})
    ab = aa = 0
    for low, high in zip(cuts, cuts[1:]):
        x, y = a[math.floor(low * len(a))], b[math.floor(low * len(b))]
        ab, aa = ab + float(high - low) * x * y, aa + float(high - low) * x * x
    assert np.sqrt(aa).min() > 1e-4
    if case.get("wrong") == "spreads alone":
        ab = np.sqrt(aa) * b.std(0)
    return (ab / aa, target.mean(0) - ab / aa * source.mean(0),
            np.percentile(source, case["low"], 0), np.percentile(source, case["high"], 0))


def layer_by_layer(case, steered, target, texts):
    maps = {}
    for site in steered.order:
        steered.put(maps)
        source, _ = steered.run(texts, "source")
        maps[site] = transport(case, source[site], target[site])
    return maps


def experts(case, source, target):
    labels = np.array([1] * len(source) + [0] * len(target))
    weight, bias = np.ones(source.shape[1]), np.zeros(source.shape[1])
    for c, column in enumerate(np.concatenate([source, target]).T):
        if case["method"] == "aura":
            gini = 2 * (roc_auc_score(labels, column) - 0.5)
            weight[c] = 1 - (abs(gini) if case.get("wrong") == "experts of both sets" else max(0, gini))
        elif average_precision_score(labels, column) > case["threshold"]:
            weight[c], bias[c] = 0, (source if case.get("wrong") == "the sources' means" else target)[:, c].mean()
    return weight, bias


def iti(case, steered, source, target, texts):
    """Probes of all heads; the best are pushed before the layer that joins them, which must be what the bias does."""
    count = steered.net.config.num_attention_heads
    ranking = []
    for site in steered.sites:
        for h, (a, b) in enumerate(zip(np.split(source[site], count, 1), np.split(target[site], count, 1))):
            rows, labels = np.concatenate([a, b]), np.array([0] * len(a) + [1] * len(b))
            held = np.concatenate([np.arange(len(a)), np.arange(len(b))]) % 5 == 4
            w = probe(rows[~held], labels[~held])
            margins = rows[held] @ w[:-1] + w[-1]
            right = ((margins > 0) == labels[held]).sum()
            loss = np.logaddexp(0, np.where(labels[held], -margins, margins)).sum()
            theta = w[:-1] / np.linalg.norm(w[:-1])
            deviation = 1 if case.get("wrong") == "no deviation" else (rows @ theta).std()
            ranking.append((-right, loss, site, h, deviation * theta))
    ranking.sort(key=lambda head: head[:2])
    for right, loss, site, h, _ in ranking[:0 if "wrong" in case else case["top_heads"] + 1]:
        print(f"    {site}/{h} {-right} right, loss {loss:.4f}")
    maps = {}
    for _, _, site, h, shift in ranking[:case["top_heads"]]:
        module = steered.net.get_submodule(site)
        matrix = module.weight.double().numpy()
        matrix = matrix if isinstance(module, torch.nn.Linear) else matrix.T  # GPT-2's Conv1D
        width = matrix.shape[1] // count
        push = np.zeros(matrix.shape[1])
        push[h * width:(h + 1) * width] = case["alpha"] * shift
        weight, bias = maps.get(site, (np.ones(len(matrix)), np.zeros(len(matrix))))
        maps[site] = (weight, bias + matrix @ push)
        steered.pushed[site] = steered.pushed.get(site, 0) + torch.tensor(push).to(steered.dtype)
    steered.run(texts, "source")
    pushed, steered.pushed = steered.hidden, {}
    steered.put(maps)
    steered.run(texts, "source")
    mask = texts["source.mask"][..., None]
    assert ((pushed - steered.hidden) * mask).abs().max() < 1e-4 * pushed.abs().max(), "a bias is not the same"
    return maps


def train(case, model, texts, dtype):
    steered = Steered(case, model, dtype)
    target, target_read = steered.run(texts, "target")
    steered.order = list(target)
    source, source_read = steered.run(texts, "source")
    if case["method"] == "iti":
        maps = iti(case, steered, source_read, target_read, texts)
    elif case["method"] == "linear-act":
        maps = layer_by_layer(case, steered, target, texts)
    else:
        one = {"aura": experts, "detzero": experts, "linear-act-at-once": transport}.get(case["method"], vector)
        maps = {site: one(case, source[site], target[site]) for site in steered.sites}
    out = {}
    for site, values in maps.items():
        out |= {f"{half}.{site}": value for half, value in zip(("weight", "bias", "low", "high"), values)}
    if "low" in case:
        steered.put(maps)
        pooled, _ = steered.run(texts, "source")
        out |= {f"steered.pooled.{site}": value for site, value in pooled.items()}
        steered.put({s: m[:2] for s, m in maps.items()})
        free, _ = steered.run(texts, "source")
        change = max(np.abs(free[s] - pooled[s]).max() / np.abs(pooled[s]).max() for s in maps)
        assert change > 0.05 or "wrong" in case, "the mask masks nothing"
    return out


def disagreement(got, wanted):
    for key, value in wanted.items():
        start = 1.0 if key.startswith("weight") else 0.0
        error, scale = np.abs(value - got[key]).max(), np.abs(value - start).max()
        yield error / scale if scale else error


def mutations(case, sites):
    """Cases with one thing wrong, by what it is."""
    other = {"last": "mean", "mean": "max", "max": "mean"}
    changed = {"another pooling": dict(pool=other[case["pool"]])}
    changed |= {"padding counted": {}} if case["sources"] > 1 else {}  # the first text has none
    changed |= {
        "repe": {"the mean difference": dict(method="caa")},
        "iti": {"no deviation": {}, "a head more": dict(top_heads=case.get("top_heads", 0) + 1)},
        "aura": {"experts of both sets": {}},
        "detzero": {"the sources' means": {}, "another threshold": dict(threshold=0.7)},
    }.get(case["method"], {})
    if "low" in case:
        changed |= {"spreads alone": {}, "another support": dict(low=case["low"] + 5, high=case["high"] - 5)}
    if "low" in case and sites > 1:
        at_once = "linear-act" if case["method"].endswith("at-once") else "linear-act-at-once"
        changed["the other order"] = dict(method=at_once)
    return {name: case | {"wrong": name} | change for name, change in changed.items()}


def moved(out, exact):
    """In tolerances. Maps at other sites than those of the file are a failure of their own."""
    return max(disagreement(out, exact)) / TOLERANCE if out.keys() == exact.keys() else math.inf


def noticed(name, case, model, texts, exact):
    factors = {}
    for what, changed in mutations(case, sum(k.startswith("weight.") for k in exact)).items():
        factors[what] = moved(train(changed, model, texts, torch.float64), exact)
    if case["sources"] == case["targets"] or "low" not in case:  # pooled rows are of the sources
        other = {"source": "target", "target": "source"}
        swapped = {f"{other[k.split('.')[0]]}.{k.split('.')[1]}": v for k, v in texts.items()}
        factors["sets swapped"] = moved(train(case | {"wrong": "sets swapped"}, model, swapped, torch.float64), exact)
    report(name, factors)


def make(name, case):
    model = name.split("-")[0]
    texts = make_texts(case, transformers.AutoConfig.from_pretrained(DATA / "language" / model).vocab_size)
    exact, single = (train(case, model, texts, dtype) for dtype in (torch.float64, torch.float32))
    assert exact.keys() == single.keys()
    worst = max(disagreement(single, exact))
    moved = sum((np.abs(v - k.startswith("weight")) > 1e-5).sum() for k, v in exact.items())
    print(f"{name}: {len(exact)} arrays, {moved} values off the identity, sensitivity {worst:.1e}", flush=True)
    assert worst < TOLERANCE / 4, "the case is too sensitive"
    assert moved, "the case tests nothing"
    noticed(name, case, model, texts, exact)
    options = {k: str(case[k])
               for k in ("method", "sites", "alpha", "top_heads", "threshold", "low", "high") if k in case}
    save(name, texts | exact, options | {"model": f"language/{model}"})


def save(name, arrays, settings):
    folder = DATA / "methods"
    folder.mkdir(exist_ok=True)
    tensors = {k: torch.as_tensor(v) for k, v in arrays.items()}
    tensors = {k: (v if v.dtype == torch.int32 else v.float()).contiguous() for k, v in tensors.items()}
    save_file(tensors, folder / f"{name}.safetensors", metadata=settings)
    (folder / f"{name}.safetensors").chmod(0o644)


if __name__ == "__main__":
    torch.set_num_threads(1)
    for name in sys.argv[1:] or [*CASES, *(f"laws-{law}" for law in LAWS)]:
        if name.startswith("laws-"):
            laws(*LAWS[name.removeprefix("laws-")])
        else:
            make(name, CASES[name])
