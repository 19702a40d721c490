"""Writes tests/golden/data/perplexity: what transformers makes of texts on the tiny Llama, in windows, steered and
not.

    python perplexity.py
    python perplexity.py --model FOLDER_OR_GGUF TEXT [CONTEXT STRIDE]

`cases.jsonl` holds texts, windows and the mean surprise of a token; `steering.safetensors` the maps of the steered
cases. The second form measures a whole model (float32, a GGUF file is unpacked first), to compare with
`vksteer eval --text`.
"""

import json
import math
import pathlib
import sys

import torch
from safetensors.torch import save_file
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedTokenizerFast

HERE = pathlib.Path(__file__).parent
DATA = HERE / "data/perplexity"
LLAMA = HERE / "data/language/llama"
SITES = [f"model.layers.{i}.post_attention_layernorm" for i in range(2)]
TEXTS = [
    "the cat and the dog in the sun on and on, and the other one too; a thing that nobody had seen",
    "zebra quiz jazz",
    "a",
    "in the end there is one more sentence, a little longer than the first one, with 123 numbers and h\u00e9 for a "
    "change",
]


def windows(count, context, stride, prefix):
    """(first, end, first that counts) of tokens behind the prefix, as transformers' guide to perplexity cuts them."""
    most, previous = context - prefix, 0
    stride = min(stride, most)
    for begin in range(0, max(count, 1), stride):
        end = min(begin + most, count)
        yield begin, end, max(previous, 0 if prefix else 1)
        previous = end
        if end == count:
            return


def measure(model, encode, texts, context, stride, prompts=None):
    begins = encode("")
    prefix = next((i for i, (x, y) in enumerate(zip(begins, encode("a"))) if x != y), len(begins))
    total, tokens, runs = 0.0, 0, 0
    for i, text in enumerate(texts):
        prompt = prompts[i] if prompts else ""
        ids = encode(prompt + text)
        shared = [x == y for x, y in zip(encode(prompt), ids)] + [False]
        first = shared.index(False) - prefix if prompt else 0
        for begin, end, start in windows(len(ids) - prefix, context, stride, prefix):
            start = max(start, first)
            if start >= end:
                continue
            cells = torch.tensor([ids[:prefix] + ids[prefix + begin:prefix + end]])
            with torch.no_grad():
                logits = model(cells, use_cache=False).logits[0].double()
            at = torch.arange(start, end) - begin + prefix
            total -= logits.log_softmax(-1)[at - 1, cells[0, at]].sum().item()
            tokens += end - start
            runs += 1
    return {"nll": total / tokens, "tokens": tokens, "windows": runs}


def steer(model, maps, strength):
    def hook(w, b):
        return lambda module, inputs, output: output + strength * ((w - 1) * output + b)
    return [model.get_submodule(site).register_forward_hook(hook(*maps[site])) for site in SITES]


def golden():
    model = AutoModelForCausalLM.from_pretrained(LLAMA, dtype=torch.float32)
    tokenizer = PreTrainedTokenizerFast(tokenizer_file=str(LLAMA / "tokenizer.json"))
    generator = torch.Generator().manual_seed(7)
    width = model.config.hidden_size
    maps = {site: (1 + 0.5 * torch.randn(width, generator=generator), torch.randn(width, generator=generator))
            for site in SITES}
    DATA.mkdir(exist_ok=True)
    save_file({f"{s}.{part}": x for s, pair in maps.items() for part, x in zip(("weight", "bias"), pair)},
              DATA / "steering.safetensors", {"format": "vksteer-1", "model": "LlamaForCausalLM", "position": "all"})
    rows = []
    for context, stride, strength, prompts in ((64, 32, 0, None), (16, 8, 0, None), (16, 15, 0, None),
                                               (16, 3, 0, None),
                                               (2, 1, 0, None), (64, 32, 1, None), (24, 12, -0.5, None),
                                               (64, 32, 0, ["so ", "in the ", "on", ""]),
                                               (16, 8, 0.7, ["so ", "in the ", "on", ""])):
        hooks = steer(model, maps, strength)
        made = measure(model, tokenizer.encode, TEXTS, context, stride, prompts)
        for hook in hooks:
            hook.remove()
        rows.append({"context": context, "stride": stride, "strength": strength, "prompts": prompts, **made})
        print(rows[-1])
    assert max(r["nll"] for r in rows) - min(r["nll"] for r in rows) > 0.1
    (DATA / "cases.jsonl").write_text("".join(json.dumps(r) + "\n" for r in [{"texts": TEXTS}, *rows]))


def whole(path, text, context=512, stride=None):
    torch.set_num_threads(1)
    path = pathlib.Path(path)
    where = (str(path.parent), {"gguf_file": path.name}) if path.suffix == ".gguf" else (str(path), {})
    tokenizer = AutoTokenizer.from_pretrained(where[0], **where[1])
    model = AutoModelForCausalLM.from_pretrained(where[0], dtype=torch.float32, **where[1])
    made = measure(model, tokenizer.encode, [pathlib.Path(text).read_text()], int(context),
                   int(stride or context // 2))
    print(json.dumps({"perplexity": math.exp(made["nll"]), **made}))


if len(sys.argv) > 1:
    whole(*sys.argv[2:4], *map(int, sys.argv[4:]))
else:
    golden()
