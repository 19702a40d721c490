"""Writes data/lineas/*.safetensors: LinEAS on the tiny UNets of make_models.py and the tiny language models of
make_language_models.py, by an independent PyTorch program.

    python lineas.py [case ...]

Everything runs in double from the single-precision inputs that are stored, so that what is compared is the method and
not PyTorch's rounding; every case is run in single precision and from nudged inputs as well, and must agree to a
quarter of the tolerance: what sorting and Adam blow up beyond that would test nothing. And every case is run with one
thing wrong at a time, which must move what is compared by 20 times the tolerance: what does not would go unnoticed.

A case `MODEL-NAME.safetensors` uses the UNet of data/MODEL, or the model of data/language/MODEL, and holds
(channels-last, fp32)

    source.sample, source.context, target.sample, target.context, timestep     inputs of the UNet; B and N prompts
    source.text, target.text                           pooled text, of SDXL
    source.ids, source.mask, target.ids, target.mask     in their place, of a language model; padded on either side
    source.pooled.SITE (B, D), target.pooled.SITE (N, D)     pooled activations: under the maps at step 0; unmapped
    gradient.weight.SITE, gradient.bias.SITE (D)             at step 0
    step1.weight.SITE, step1.bias.SITE, step10.*             parameters after one and after all ten steps
    loss (11)                                                before each step, and after the last

and as metadata the settings: model, sites (regular expression, whole name), order (comma-separated sites in the order
in which they run), p, optimizer, lr, beta1, beta2, eps, gamma, lambda1, lambda_group, steps. The same sources serve
every step. Loss: mean over the sites of the sum over channels of W_p^p; tau = rate * gamma; cosine schedule.
"""

import math
import pathlib
import re
import sys
from fractions import Fraction

import diffusers
import numpy as np
import ot
import torch
import transformers
from safetensors.torch import save_file

DATA = pathlib.Path(__file__).parent / "data"
SITES = r"unet.*norm.*"
LAYER_NORMS = r".*post.*layernorm"  # the paper's sites of language models
LENGTH = 9                          # tokens of a text, padding included
STEPS = 10
FACTOR = 2                          # pixels a latent stands for, of the tiny SDXL
TOLERANCE = 1e-3

ADAM = dict(optimizer="adam", lr=0.05, beta1=0.9, beta2=0.9, eps=1e-8)
SGD = dict(optimizer="sgd", lr=0.1, beta1=0.0, beta2=0.0, eps=0.0)
PLAIN = dict(p=2, gamma=0.0, lambda1=1.0, lambda_group=0.0)

# Rates and seeds at which the loss falls by 30 % and rounding stays small: Adam's first steps have the sign of
# gradients that are nearly zero, and p = 1 jumps where values cross.
CASES = {
    "sd1-equal": PLAIN | ADAM | dict(lr=0.03, seed=31, sources=6, targets=6),
    "sd2-unequal": PLAIN | ADAM | dict(lr=0.03, seed=22, sources=6, targets=9),
    "half-fewer": PLAIN | SGD | dict(seed=3, sources=9, targets=4),
    "sd1-ties": PLAIN | ADAM | dict(seed=14, sources=8, targets=8, ties=True),
    "half-ties-p1": PLAIN | SGD | dict(p=1, seed=5, sources=8, targets=8, ties=True),
    "half-p1": PLAIN | SGD | dict(p=1, seed=36, sources=5, targets=7),
    "sd1-sparse": PLAIN | ADAM | dict(gamma=0.3, seed=7, sources=6, targets=6),
    "half-sparse-group": PLAIN | SGD | dict(lr=0.05, gamma=0.02, lambda_group=1.0, seed=18, sources=6,
                                              targets=8),
    "xl-unequal": PLAIN | SGD | dict(seed=61, sources=5, targets=7),
    "llama-unequal": PLAIN | SGD | dict(lr=0.3, seed=51, sources=6, targets=8, sites=LAYER_NORMS),
    "gemma2-sparse": PLAIN | ADAM | dict(lr=0.03, gamma=0.4, seed=52, sources=6, targets=6, sites=LAYER_NORMS),
    "gpt2-equal": PLAIN | SGD | dict(lr=0.1, seed=53, sources=5, targets=5, sites=r"transformer\.h\.\d\.attn:0"),
}


def wasserstein(u, v, p, wrong=None):
    """W_p^p of every column of u (B, D) and v (N, D): the integral of |F^-1 - G^-1|^p over the exact breakpoints."""
    if wrong == "targets left out":
        v = v[:len(u)]
    b, n = len(u), len(v)
    if wrong != "no sort":
        u, v = torch.sort(u, dim=0, stable=True).values, torch.sort(v, dim=0, stable=True).values
    cuts = sorted({Fraction(i, b) for i in range(b + 1)} | {Fraction(j, n) for j in range(n + 1)})
    total = 0
    for low, high in zip(cuts, cuts[1:]):
        i, j = math.floor(low * b), math.floor(low * n)
        total = total + float(high - low) * (u[i] - v[j]).abs() ** p
    return total


# transformers asks for single precision here, in which the mask's lowest double is infinite.
torch.nn.functional.softmax = lambda x, dim, dtype=None: x.softmax(dim)


def is_language(model):
    return (DATA / "language" / model).is_dir()


def rounding_errors(tensors):
    """Moves values as much as rounding does."""
    generator = torch.Generator().manual_seed(99)
    with torch.no_grad():
        for x in tensors:
            x.mul_(1 + 1e-6 * torch.randn(x.shape, generator=generator).to(x.dtype))


class Map(torch.nn.Module):
    def __init__(self, channels, dtype):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.ones(channels, dtype=dtype))
        self.bias = torch.nn.Parameter(torch.zeros(channels, dtype=dtype))


class Steered:
    """A model whose sites are observed, and mapped where there are maps."""

    def __init__(self, case, model, dtype, nudge):
        self.dtype, self.maps, self.pooled, self.mask, self.language = dtype, None, {}, None, is_language(model)
        self.wrong = case.get("wrong")
        if self.language:
            self.net = transformers.AutoModelForCausalLM.from_pretrained(
                DATA / "language" / model, attn_implementation="eager", dtype=torch.float32)
            if nudge:
                rounding_errors(self.net.parameters())
        else:
            self.net = diffusers.UNet2DConditionModel.from_pretrained(DATA / model / "unet")
        self.net = self.net.to(dtype).eval().requires_grad_(False)
        prefix, sites = "" if self.language else "unet.", case.get("sites", SITES)
        for name, module in self.net.named_modules():
            for site in (prefix + name, f"{prefix}{name}:0") if name else ():
                if (":" in sites) == (":" in site) and re.fullmatch(sites, site):
                    module.register_forward_hook(self.hook(site))

    def act(self, site, z):
        axis = 1 if z.ndim == 4 else -1
        if self.maps is not None:
            if site not in self.maps:
                self.maps[site] = Map(z.shape[axis], self.dtype)
            shape = [1] * z.ndim
            shape[axis] = -1
            weight, bias = self.maps[site].weight.view(shape), self.maps[site].bias.view(shape)
            if self.wrong == "gradients end at sites":
                z = z.detach()
            z = weight * (z + bias) if self.wrong == "the bias first" else weight * z + bias
        rest = [i for i in range(1, z.ndim) if i != axis % z.ndim]
        if self.mask is not None and self.wrong != "padding counted":
            self.pooled[site] = (z * self.mask[..., None]).sum(1) / self.mask.sum(1, keepdim=True)
        else:
            self.pooled[site] = z.mean(rest) if rest else z
        return z

    def hook(self, site):
        def run(_module, _inputs, z):
            return (self.act(site, z[0]), *z[1:]) if site.endswith(":0") else self.act(site, z)
        return run

    def run(self, inputs, kind):
        self.pooled = {}
        if self.language:
            mask = inputs[f"{kind}.mask"].long()
            self.mask = mask.to(self.dtype)
            self.net(inputs[f"{kind}.ids"].long(), attention_mask=mask, use_cache=False,
                     position_ids=(mask.cumsum(-1) - 1).clamp(min=0))
        else:
            self.net(inputs[f"{kind}.sample"].permute(0, 3, 1, 2).to(self.dtype), inputs["timestep"].to(self.dtype),
                     inputs[f"{kind}.context"].to(self.dtype), added_cond_kwargs=self.added(inputs, kind))
        return self.pooled

    def added(self, inputs, kind):
        """Pooled text and the picture's sizes: original, corner of the crop, target."""
        if f"{kind}.text" not in inputs:
            return None
        size = [FACTOR * n for n in inputs[f"{kind}.sample"].shape[1:3]]
        sizes = torch.tensor([size + [0, 0] + size], dtype=self.dtype)
        text = inputs[f"{kind}.text"].to(self.dtype)
        return {"text_embeds": text, "time_ids": sizes.expand(len(text), -1)}


def shrink(x, threshold, group_threshold):
    x = x.sign() * (x.abs() - threshold).clamp(min=0)
    norm = x.norm()
    return x * (1 - group_threshold * math.sqrt(x.numel()) / norm).clamp(min=0) if norm > 0 else x


def train(case, model, inputs, dtype, nudge=False):
    steered = Steered(case, model, dtype, nudge)
    with torch.no_grad():
        targets = steered.run(inputs, "target")
    steered.maps = {}
    out = {f"target.pooled.{site}": v for site, v in targets.items()}
    order = list(targets)
    optimizer, losses, wrong = None, [], case.get("wrong")

    def loss_of():
        pooled = steered.run(inputs, "source")
        sites = order[:-1] if wrong == "a site less" else order
        costs = [wasserstein(pooled[s], targets[s], case["p"], wrong) for s in sites]
        return pooled, sum(w.mean() if wrong == "mean over channels" else w.sum() for w in costs) / len(sites)

    for step in range(STEPS):
        falling = 0 if wrong == "constant rate" else step
        rate = case["lr"] * (1e-3 + (1 - 1e-3) * (1 + math.cos(math.pi * falling / STEPS)) / 2)
        pooled, loss = loss_of()
        maps = steered.maps
        if step == 0:
            parameters = [p for m in maps.values() for p in m.parameters()]
            if case["optimizer"] == "adam":
                optimizer = torch.optim.Adam(parameters, rate, (case["beta1"], case["beta2"]), case["eps"])
            else:
                optimizer = torch.optim.SGD(parameters, rate)
        optimizer.zero_grad()
        loss.backward()
        losses.append(loss.item())
        if step == 0:
            out |= {f"source.pooled.{s}": v.detach().clone() for s, v in pooled.items()}
            for site, m in maps.items():  # no gradient: zeros, of what a mutation cuts off
                out[f"gradient.weight.{site}"], out[f"gradient.bias.{site}"] = (
                    torch.zeros_like(x) if x.grad is None else x.grad.clone() for x in (m.weight, m.bias))
        optimizer.param_groups[0]["lr"] = rate
        optimizer.step()
        with torch.no_grad():
            tau = rate * case["gamma"]
            for m in maps.values() if tau > 0 else ():
                m.weight.copy_(1 + shrink(m.weight - 1, tau * case["lambda1"], tau * case["lambda_group"]))
                m.bias.copy_(shrink(m.bias, tau * case["lambda1"], tau * case["lambda_group"]))
        if step + 1 in (1, STEPS):
            for site, m in maps.items():
                out[f"step{step + 1}.weight.{site}"] = m.weight.detach().clone()
                out[f"step{step + 1}.bias.{site}"] = m.bias.detach().clone()
    with torch.no_grad():
        losses.append(loss_of()[1].item())
    out["loss"] = torch.tensor(losses, dtype=dtype)
    return order, out


def make_texts(case, vocabulary):
    """Texts of two kinds: the sources' words are of the lower half of the vocabulary, mostly. Padded on either
    side."""
    generator = torch.Generator().manual_seed(case["seed"])
    out = {}
    for kind, count in (("source", case["sources"]), ("target", case["targets"])):
        ids = torch.randint(3, vocabulary * 2 // 3, (count, LENGTH), generator=generator)
        mask = torch.ones(count, LENGTH)
        for b in range(count):
            padding = b % 4
            mask[b, :padding] = 0
            if b % 2:
                mask[b] = mask[b].flip(0)
        ids = ids if kind == "source" else vocabulary + 2 - ids
        out[f"{kind}.ids"], out[f"{kind}.mask"] = ids.masked_fill(mask == 0, 2).int(), mask
    return out


def make_inputs(case, model):
    if is_language(model):
        return make_texts(case, transformers.AutoConfig.from_pretrained(DATA / "language" / model).vocab_size)
    config = diffusers.UNet2DConditionModel.load_config(DATA / model / "unet")
    return make_noise(case, diffusers.configuration_utils.FrozenDict(config))


def make_noise(case, config):
    """Prompts of two kinds: the targets' text states are shifted and the noise has another mean."""
    generator = torch.Generator().manual_seed(case["seed"])

    def normal(*shape):
        return torch.randn(*shape, generator=generator)

    height, width, tokens = 4, 6, 5
    shift = normal(config.cross_attention_dim)
    out = {"timestep": torch.tensor([float([999, 600, 250][case["seed"] % 3])])}
    for kind, count, move in (("source", case["sources"], 0.0), ("target", case["targets"], 1.0)):
        out[f"{kind}.sample"] = normal(count, height, width, config.in_channels) + 0.4 * move
        out[f"{kind}.context"] = normal(count, tokens, config.cross_attention_dim) + move * shift
        if config.addition_embed_type:
            pooled = config.projection_class_embeddings_input_dim - 6 * config.addition_time_embed_dim
            out[f"{kind}.text"] = normal(count, pooled) + 0.4 * move
    if case.get("ties"):  # the same prompt twice and thrice: equal values in every column
        for kind in ("source", "target"):
            for key in ("sample", "context"):
                x = out[f"{kind}.{key}"]
                x[1], x[4], x[5] = x[0], x[2], x[2]
    if case.get("ties") and case["p"] == 2:  # and one that both have; p = 1 has no gradient there
        for key in ("sample", "context"):
            out[f"source.{key}"][7] = out[f"target.{key}"][7]
    return out


def disagreement(got, wanted):
    """max|a - b| / max|b - start| of every tensor, as the test compares them."""
    for key, value in wanted.items():
        start = 1.0 if key.startswith("step") and ".weight." in key else 0.0
        yield ((value - got[key]).abs().max() / (value - start).abs().max().clamp(min=1e-30)).item()


def sensitivity(case, model, inputs, exact):
    """How far single precision, and inputs that are off by rounding errors, move what is compared."""
    _, single = train(case, model, inputs, torch.float32)
    nudged = {k: v.double() for k, v in inputs.items()}
    if not is_language(model):
        rounding_errors(v for k, v in nudged.items() if k != "timestep")
    _, moved = train(case, model, nudged, torch.float64, is_language(model))
    return max(*disagreement(single, exact), *disagreement(moved, exact))


def mutations(case, order, equal):
    """Cases with one thing wrong, by what it is. Values that tie may be sorted in any order: they belong to equal
    prompts, whose gradients are equal too."""
    wrong = ["constant rate", "mean over channels", "the bias first"]
    wrong += ["a site less", "gradients end at sites"] if len(order) > 1 else []
    wrong += ["no sort" if equal else "targets left out"] if case["sources"] <= case["targets"] else []
    wrong += ["padding counted"] if "sites" in case else []
    changed = {name: case | {"wrong": name} for name in wrong}
    changed["the other p"] = case | {"p": 3 - case["p"]}
    if case["optimizer"] == "adam":
        changed["SGD for Adam"] = case | {"optimizer": "sgd"}
        changed["another beta"] = case | {"beta2": 0.99}
    else:
        changed["Adam for SGD"] = case | ADAM | {"lr": case["lr"]}
    if case["gamma"] > 0:
        changed["no proximal step"] = case | {"gamma": 0.0}
        changed["no soft threshold"] = case | {"lambda1": 0.0}
    if case["gamma"] * case["lambda_group"] > 0:
        changed["no group threshold"] = case | {"lambda_group": 0.0}
    return changed


def noticed(case, model, inputs, order, exact):
    """By how many tolerances every mutation moves the quantity that it moves most, and the least of these with its
    name. The test compares the losses before each step alone."""
    def compared(out):
        return {k: v[:STEPS] if k == "loss" else v for k, v in out.items() if ".pooled." not in k}

    factors = {}
    for name, changed in mutations(case, order, case["sources"] == case["targets"]).items():
        _, out = train(changed, model, inputs, torch.float64)
        factors[name] = max(disagreement(compared(out), compared(exact))) / TOLERANCE
    name, factor = min(factors.items(), key=lambda item: item[1])
    assert factor >= 20, f"{name} moves what is compared by {factor:.1f} tolerances only"
    return len(factors), factor, name


def make(name, case):
    model = name.split("-")[0]
    inputs = make_inputs(case, model)
    order, exact = train(case, model, inputs, torch.float64)
    worst = sensitivity(case, model, inputs, exact)
    count, factor, least = noticed(case, model, inputs, order, exact)
    loss = exact["loss"]
    fall = 1 - (loss[-1] / loss[0]).item()
    channels = sum(exact[f"step10.weight.{s}"].numel() for s in order)
    support = sum(((exact[f"step10.weight.{s}"] - 1).abs() > 1e-5).logical_or(exact[f"step10.bias.{s}"].abs() > 1e-5)
                  .sum().item() for s in order) / channels
    site = order[len(order) // 2]
    u, v = exact[f"source.pooled.{site}"].numpy(), exact[f"target.pooled.{site}"].numpy()
    pot = np.array([ot.wasserstein_1d(u[:, [d]], v[:, [d]], p=case["p"])[0] for d in range(u.shape[1])])
    ours = wasserstein(torch.tensor(u), torch.tensor(v), case["p"]).numpy()
    assert np.abs(pot - ours).max() < 1e-9 * max(1, pot.max())
    print(f"{name}: {len(order)} sites, {channels} channels, loss {loss[0]:.4f} to {loss[-1]:.4f} "
          f"(-{100 * fall:.0f} %), "
          f"support {100 * support:.0f} %, sensitivity {worst:.1e}, {count} mutations move it by {factor:.0f} "
          f"tolerances or more ({least})", flush=True)
    assert fall >= 0.3, "the loss falls too little"
    assert worst < TOLERANCE / 4, "the case is too sensitive"
    settings = {k: str(case[k]) for k in ("p", "optimizer", "lr", "beta1", "beta2", "eps", "gamma", "lambda1",
                                          "lambda_group")}
    settings |= {"model": f"language/{model}" if is_language(model) else model, "sites": case.get("sites", SITES),
                 "order": ",".join(order), "steps": str(STEPS)}
    folder = DATA / "lineas"
    folder.mkdir(exist_ok=True)
    tensors = {k: v if v.dtype == torch.int32 else v.float().contiguous() for k, v in {**inputs, **exact}.items()}
    save_file(tensors, folder / f"{name}.safetensors", metadata=settings)
    (folder / f"{name}.safetensors").chmod(0o644)


if __name__ == "__main__":
    torch.set_num_threads(1)
    for name in sys.argv[1:] or CASES:
        make(name, CASES[name])
