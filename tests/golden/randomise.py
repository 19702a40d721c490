"""Random parameters that leave nothing at a value which would hide a mistake, and the proof that attention works."""

import math

import torch

QUERY_KEY = ("to_q", "to_k", "q_proj", "k_proj")


def randomise(module, seed, sharpness):
    """Norm weights U(.5, 1.5), biases N(0, .3), matrices N(0, 1/fan in), queries and keys `sharpness` times that."""
    generator = torch.Generator().manual_seed(seed)

    def normal(p, std):
        p.copy_(torch.randn(p.shape, generator=generator) * std)

    with torch.no_grad():
        for name, p in module.named_parameters():
            owner = name.split(".")[-2]
            if name.endswith("bias"):
                normal(p, 0.3)
            elif p.ndim == 1:
                p.copy_(torch.rand(p.shape, generator=generator) + 0.5)
            elif "embedding" in owner and p.ndim == 2 and "token" in owner:
                normal(p, 1.0)
            elif "position_embedding" in owner:
                normal(p, 0.7)
            else:
                normal(p, (sharpness if owner in QUERY_KEY else 1.0) / math.sqrt(p[0].numel()))


def randomise_language(model, seed, sharpness):
    """The same for decoders: embeddings N(0, 1) where the residual stream reads them, and Gemma's norms, which hold
    weight - 1, in U(-.5, .5)."""
    generator = torch.Generator().manual_seed(seed)
    plus_one = model.config.model_type.startswith("gemma")

    def normal(p, std):
        p.copy_(torch.randn(p.shape, generator=generator) * std)

    with torch.no_grad():
        for name, p in model.named_parameters():
            owner = name.split(".")[-2]
            if name.endswith("bias"):
                normal(p, 0.3)
            elif p.ndim == 1:
                p.copy_(torch.rand(p.shape, generator=generator) + (-0.5 if plus_one else 0.5))
            elif owner in ("embed_tokens", "wte"):  # Gemma multiplies by the root of the width
                normal(p, 1 / math.sqrt(p.shape[1]) if plus_one else 1.0)
            elif owner == "wpe":
                normal(p, 0.7)
            elif owner == "c_attn":  # Conv1D (in, out): queries, keys, values
                normal(p, 1 / math.sqrt(p.shape[0]))
                p[:, :2 * p.shape[0]] *= sharpness
            else:
                fan_in = p.shape[0] if owner in ("c_proj", "c_fc") else p.shape[1]
                normal(p, (sharpness if owner in QUERY_KEY else 1.0) / math.sqrt(fan_in))
    model.tie_weights()


def entropy(q, k, heads, causal):
    """Mean entropy of the attention rows that see four keys or more, over the logarithm of what they see."""
    b, tq, c = q.shape
    split = lambda x: x.view(b, -1, heads, c // heads).transpose(1, 2)
    scores = split(q) @ split(k).transpose(2, 3) / math.sqrt(c // heads)
    seen = torch.full((tq,), float(k.shape[1]))
    if causal:
        scores = scores + torch.full(scores.shape[-2:], -1e9).triu(1)
        seen = torch.arange(1, tq + 1).float()
    p = scores.softmax(-1)
    h = -(p * (p + 1e-30).log()).sum(-1) / seen.clamp(min=2).log()
    return h[..., seen >= 4].mean().item()


def assert_attention(values, heads_of, causal):
    """Neither flat (1) nor one-hot (0): otherwise queries and keys could be wrong and nobody would see."""
    shares = []
    for name in values:
        if name.endswith((".to_q", ".q_proj")):
            key = name.replace("to_q", "to_k").replace("q_proj", "k_proj")
            share = entropy(values[name], values[key], heads_of(name), causal)
            assert 0.3 < share < 0.97, f"{name}: attention entropy {share:.3f} of its maximum"
            shares.append(share)
    return shares
