"""Writes data/sampler.txt: what transformers' logits processors leave of random logits, two lines a case:

    temperature top_k top_p min_p repeat_penalty repeat_last vocabulary history kept
    logits[vocabulary] history[history] ids[kept] probabilities[kept]

In generate's order: repeat penalty, temperature, top-k, top-p, min-p; kept tokens from the most probable on. 0
switches a filter off. The penalty sees the last repeat_last tokens.
"""

from pathlib import Path

import torch
from transformers import (MinPLogitsWarper, RepetitionPenaltyLogitsProcessor, TemperatureLogitsWarper,
                          TopKLogitsWarper,
                          TopPLogitsWarper)

torch.set_num_threads(1)
generator = torch.Generator().manual_seed(2026)
lines = []


def add(temperature, top_k=0, top_p=0.0, min_p=0.0, penalty=0.0, last=64, vocabulary=40, history=12, spread=3.0):
    logits = (spread * torch.randn(1, vocabulary, generator=generator)).float()
    ids = torch.randint(0, vocabulary, (1, history), generator=generator)
    scores = logits.clone()
    if penalty:
        scores = RepetitionPenaltyLogitsProcessor(penalty)(ids[:, -last:], scores)
    scores = TemperatureLogitsWarper(temperature)(ids, scores)
    for value, warper in ((top_k, TopKLogitsWarper), (top_p, TopPLogitsWarper), (min_p, MinPLogitsWarper)):
        if value:
            scores = warper(value)(ids, scores)
    p = torch.softmax(scores.double(), -1)[0]
    order = torch.argsort(p, descending=True, stable=True)[:int((p > 0).sum())]
    lines.append(f"{temperature} {top_k} {top_p} {min_p} {penalty} {last} {vocabulary} {history} {len(order)}\n")
    values = [str(x) for x in logits[0].numpy()] + [str(int(i)) for i in ids[0]]
    values += [str(int(i)) for i in order] + [f"{float(p[i]):.12g}" for i in order]
    lines.append(" ".join(values) + "\n")


for temperature in (0.3, 1.0, 1.7):
    add(temperature)
    add(temperature, top_k=5)
    add(temperature, top_k=100)
    add(temperature, top_p=0.9)
    add(temperature, top_p=0.05)
    add(temperature, top_p=0.999, spread=1.0)
    add(temperature, min_p=0.1)
    add(temperature, penalty=1.3)
    add(temperature, penalty=0.8, history=30, last=9)
    add(temperature, top_k=9, top_p=0.8, min_p=0.05, penalty=1.2)
    add(temperature, top_p=0.95, min_p=0.02, vocabulary=500, history=90)
    add(temperature, top_k=40, top_p=0.95, min_p=0.05, penalty=1.1, vocabulary=300, history=100)
add(1.0, top_k=1)
add(5.0, min_p=1.0)

(Path(__file__).parent / "data" / "sampler.txt").write_text("".join(lines))
