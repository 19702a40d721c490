"""Steerings of language models by methods without gradients, in PyTorch: what vksteer computes, written a second
time.

Formulas: the papers that runtime/steer names. AcT (arXiv 2410.23054) behind the heads, layer by layer, every map
seeing the ones before it; CAA (2312.06681), ActAdd (2308.10248) and RepE (2310.01405) at the output of one block of
the middle, pooled at the last token; AurA (2407.12824) at the linear layers of the feed-forward parts, pooled by
maximum.
"""
import numpy as np
import torch
from safetensors.torch import save_file

TRANSPORT = ("mean-act", "gaussian-act", "linear-act")
VECTORS = ("caa", "actadd", "repe")
POOLS = {"aura": "max"} | {method: "last" for method in VECTORS}
LEAST = 1e-4  # of a standard deviation


def sites_of(text, method):
    layers = text.net.config.num_hidden_layers  # CAA: 13 of 32
    if method in VECTORS:
        return [f"model.layers.{layers * 13 // 32}"]
    return text.sites(r".*mlp\..*_proj" if method == "aura" else r".*o_proj")


def transport(method, a, b):
    """The map of one site from pooled a and b (n, D) each, in double."""
    mean_a, mean_b, sd_a, sd_b = a.mean(0), b.mean(0), a.std(0), b.std(0)
    w = np.ones(a.shape[1])
    if method == "gaussian-act":
        w = np.where(sd_a > LEAST, sd_b / np.maximum(sd_a, LEAST), 1)
    if method == "linear-act":
        u, v = np.sort(a, 0) - mean_a, np.sort(b, 0) - mean_b
        w = (u * v).sum(0) / np.maximum((u * u).sum(0), 1e-30)
    offset = mean_b - w * mean_a
    if method != "mean-act":
        w, offset = np.where(sd_a > LEAST, w, 1), np.where(sd_a > LEAST, offset, 0)
    return w, offset


def vector(method, a, b):
    d = b - a
    v = d.mean(0)
    if method == "repe":
        u = np.linalg.svd(d, full_matrices=False)[2][0]
        v = v @ u * u
    return np.ones(a.shape[1]), v


def aura(a, b):
    """1 - 2 (AUROC - 1/2) where a's values are the larger ones."""
    above = (a[:, None] > b[None]).mean((0, 1)) + 0.5 * (a[:, None] == b[None]).mean((0, 1))
    return np.where(above > 0.5, 1 - 2 * (above - 0.5), 1.0), np.zeros(a.shape[1])


@torch.no_grad()
def train(text, method, source, target, path):
    """Writes the steering file of a method from tokenized texts."""
    sites, pool = sites_of(text, method), POOLS.get(method, "mean")
    targets = text.observe(target, sites, pool)
    widths = [text.widths[s] for s in sites]
    targets = {s: x.double().numpy() for s, x in zip(sites, targets.split(widths, 1))}
    maps = {}

    def estimate(site, pooled):
        a, b = pooled.double().numpy(), targets[site]
        if method in TRANSPORT:
            w, offset = transport(method, a, b)
        else:
            w, offset = vector(method, a, b) if method in VECTORS else aura(a, b)
        maps[site] = tuple(torch.from_numpy(x).float() for x in (w, offset))
        return maps[site] if method in TRANSPORT else None
    text.observe(source, sites, pool, estimate)
    text.maps = {}
    tensors = {f"{s}.{k}": x for s, pair in maps.items() for k, x in zip(("weight", "bias"), pair)}
    save_file(tensors, path, metadata={"format": "vksteer-1", "method": method, "position": "all", "pool": pool,
                                       "model": type(text.net).__name__})
