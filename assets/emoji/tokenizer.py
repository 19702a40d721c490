"""The model's own CLIP-format tokenizer: byte-level BPE with `</w>`, lower case, trained on every phrase of its
captions.

Greedy pair merging (Sennrich et al. 2016) until every caption word is one token or the vocabulary is full.
vocab.json order is CLIP's: 256 bytes, 256 bytes with </w>, merges in order, <|startoftext|>, <|endoftext|>.
"""
import collections
import json
import os
import re

WORD = re.compile(r"[a-z]+|[0-9]|[^\sa-z0-9]+")


def byte_letters():
    """Byte -> printable letter, as in GPT-2 and CLIP."""
    keep = list(range(33, 127)) + list(range(161, 173)) + list(range(174, 256))
    table, extra = {b: chr(b) for b in keep}, 0
    for b in range(256):
        if b not in table:
            table[b] = chr(256 + extra)
            extra += 1
    return {b: table[b] for b in keep + [b for b in range(256) if b not in keep]}


def train(texts, size=2048):
    """(vocabulary, merges) of at most `size` entries."""
    words = collections.Counter(w for t in texts for w in WORD.findall(t.lower()))
    split = {w: tuple(w[:-1]) + (w[-1] + "</w>",) for w in words}
    letters = list(byte_letters().values())
    merges = []
    while len(merges) < size - 2 * len(letters) - 2:
        pairs = collections.Counter()
        for w, parts in split.items():
            for pair in zip(parts, parts[1:]):
                pairs[pair] += words[w]
        if not pairs:
            break
        best = max(pairs, key=lambda p: (pairs[p], p))
        merges.append(best)
        for w, parts in split.items():
            out, i = [], 0
            while i < len(parts):
                if parts[i:i + 2] == best:
                    out.append("".join(best))
                    i += 2
                else:
                    out.append(parts[i])
                    i += 1
            split[w] = tuple(out)
    entries = letters + [c + "</w>" for c in letters] + ["".join(m) for m in merges]
    entries += ["<|startoftext|>", "<|endoftext|>"]
    vocabulary = {}
    for e in entries:
        vocabulary.setdefault(e, len(vocabulary))
    return vocabulary, merges


def save(folder, texts, length=32):
    os.makedirs(folder, exist_ok=True)
    vocabulary, merges = train(texts)
    with open(f"{folder}/vocab.json", "w", encoding="utf-8") as f:
        json.dump(vocabulary, f, ensure_ascii=False)
    with open(f"{folder}/merges.txt", "w", encoding="utf-8") as f:
        f.write("#version: 0.2\n" + "".join(f"{a} {b}\n" for a, b in merges))
    special = {"bos_token": "<|startoftext|>", "eos_token": "<|endoftext|>", "unk_token": "<|endoftext|>",
               "pad_token": "<|endoftext|>"}
    with open(f"{folder}/special_tokens_map.json", "w") as f:
        json.dump(special, f, indent=2)
    with open(f"{folder}/tokenizer_config.json", "w") as f:
        json.dump({**special, "add_prefix_space": False, "do_lower_case": True, "errors": "replace",
                   "model_max_length": length, "tokenizer_class": "CLIPTokenizer"}, f, indent=2)
    return len(vocabulary)
