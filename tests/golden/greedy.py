"""Writes data/greedy_smollm2.json: what transformers goes on with, always the most probable token, from five prompts
by SmolLM2-135M-Instruct, in fp32 on the weights that its GGUF file holds.

    python greedy.py SmolLM2-135M-Instruct.Q4_1.gguf
    python greedy.py MODEL.gguf OUT.json                 of any other, for `test_greedy MODEL.gguf OUT.json`

data/greedy_gemma3.json is of Gemma 3 270M in Q4_K_M, whose terms leave it to you to fetch it.

For each prompt its ids, TOKENS ids that follow, and at each of them how far the two largest logits are apart: where
that is next to nothing, another order of sums may take the other way.
"""

import json
import sys
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

TOKENS = 64
PROMPTS = [
    "The capital of France is",
    "Once upon a time, in a village by the sea, there lived",
    "def fibonacci(n):\n    \"\"\"Returns the n-th Fibonacci number.\"\"\"\n",
    "<|im_start|>user\nWhy is the sky blue?<|im_end|>\n<|im_start|>assistant\n",
    "Zürich, 東京 and São Paulo are",
]

torch.set_num_threads(1)
folder, name = str(Path(sys.argv[1]).parent), Path(sys.argv[1]).name
tokenizer = AutoTokenizer.from_pretrained(folder, gguf_file=name)
model = AutoModelForCausalLM.from_pretrained(folder, gguf_file=name, dtype=torch.float32).eval()
texts = []
for prompt in PROMPTS:
    ids = tokenizer(prompt)["input_ids"]
    step, cache, made, gaps = torch.tensor([ids]), None, [], []
    with torch.no_grad():
        for _ in range(TOKENS):
            out = model(step, past_key_values=cache, use_cache=True)
            top, at = out.logits[0, -1].topk(2)
            made.append(int(at[0]))
            gaps.append(round(float(top[0] - top[1]), 5))
            cache, step = out.past_key_values, at[None, :1]
    texts.append({"prompt": prompt, "prompt_ids": ids, "ids": made, "gaps": gaps})
    print(repr(tokenizer.decode(made)), min(gaps))
lines = ",\n".join(json.dumps(text, ensure_ascii=False) for text in texts)
out = Path(sys.argv[2]) if len(sys.argv) > 2 else Path(__file__).parent / "data" / "greedy_smollm2.json"
size = Path(sys.argv[1]).stat().st_size
out.write_text(f'{{"model": {json.dumps(name)}, "bytes": {size}, "texts": [\n{lines}\n]}}\n')
