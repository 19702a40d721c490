"""Writes tests/golden/data/language: tiny Hugging Face folders, the GGUF files made from them, and what transformers
computes with them.

    python make_language_models.py [name ...]
    python make_language_models.py --folder FOLDER OUT.safetensors

Each folder is a model of random weights (language_configs.py), and model.gguf the same (language_gguf.py).
`expected.safetensors` holds the inputs, the output of every module that can be hooked (record.py), thinned to every
stride-th value after rows of padding are set to zero, the logits, and the distances by which mutations move the
outputs (`mutation.*`). The batch has three texts: one padded on the left, one on the right, one whole.
No sites are the tables of angles (`rotary_emb`) and the attention weights (`self_attn:1`, which PyTorch's own
attention does not give either); outputs of norms of single heads are (B, T, heads * D) here, whatever their order in
PyTorch. The second form records any folder, for `test_golden_language --folder FOLDER OUT.safetensors`.
"""

import copy
import json
import math
import shutil
import sys

import tokenizers
import torch
import transformers
from safetensors.torch import save_file

import language_configs
import language_gguf
from language_configs import LENGTH, MODELS, VOCABULARY
from make_models import DATA, TOLERANCE, moved
from randomise import randomise_language
from record import Recorder, thin

BATCH = 3
NO_SITE = ("rotary_emb",)


def heads_last(name, x, config):
    """(B, heads, T, D) or (B, T, heads, D) -> (B, T, heads * D)"""
    if x.ndim < 4:
        return x
    if x.shape[2] == LENGTH and config.model_type == "gemma3_text":
        x = x.transpose(1, 2)
    return x.reshape(x.shape[0], x.shape[1], -1)


def run(model, inputs):
    """Logits and the outputs of all modules, rows of padding set to zero."""
    recorder = Recorder("", model, BATCH)
    with torch.no_grad():
        logits = model(**inputs, use_cache=False).logits
    values = {k.removeprefix("."): v for k, v in recorder.finish().items()}
    rows = inputs["attention_mask"].bool()[..., None]
    values = {k: heads_last(k, v, model.config).masked_fill(~rows, 0) for k, v in values.items()
              if not k.split(":")[0].endswith(NO_SITE) and not k.endswith(":1")}
    return logits.masked_fill(~rows, 0), values


def make_inputs(generator, vocabulary):
    ids = torch.randint(3, vocabulary, (BATCH, LENGTH), generator=generator)
    mask = torch.ones(BATCH, LENGTH, dtype=torch.long)
    mask[0, :3] = 0
    mask[1, LENGTH - 4:] = 0
    ids[mask == 0] = 2
    return dict(input_ids=ids, attention_mask=mask, position_ids=(mask.cumsum(-1) - 1).clamp(min=0))


def entropy(model, values, inputs):
    """The lowest and highest share of its maximum that the mean entropy of a layer's attention has."""
    with torch.no_grad():
        layers = model(**inputs, use_cache=False, output_attentions=True).attentions
    shares = []
    for p in layers:
        h = -(p * (p + 1e-30).log()).sum(-1)
        seen = (p > 0).sum(-1)
        rows = (seen >= 4) & inputs["attention_mask"].bool()[:, None]
        shares.append((h[rows] / seen[rows].float().log()).mean().item())
    assert 0.3 < min(shares) and max(shares) < 0.97, f"attention entropy {min(shares):.3f} to {max(shares):.3f}"
    return min(shares), max(shares)


def altered(model, **changes):
    """The same parameters under another configuration."""
    config = copy.deepcopy(model.config)
    for key, value in changes.items():
        setattr(config, key, value)
    other = type(model)._from_config(config, attn_implementation="eager").eval()
    other.load_state_dict(model.state_dict())
    return other


def plain_rope(rope):
    if "rope_type" not in rope:
        return {key: plain_rope(value) for key, value in rope.items()}
    return {"rope_type": "default", "rope_theta": rope["rope_theta"]}


def mutations(model, inputs):
    """What must show: inputs and other models."""
    config = model.config
    yield "positions", model, inputs | {"position_ids": torch.zeros_like(inputs["position_ids"])}
    yield "mask", model, inputs | {"attention_mask": torch.ones_like(inputs["attention_mask"])}
    if getattr(config, "rope_parameters", None):
        rope = config.rope_parameters
        if plain_rope(rope) != rope:
            yield "rope_scaling", altered(model, rope_parameters=plain_rope(rope)), inputs
        if "sliding_attention" in rope:
            swapped = {"sliding_attention": rope["full_attention"], "full_attention": rope["sliding_attention"]}
            yield "rope_kinds", altered(model, rope_parameters=swapped), inputs
    if getattr(config, "sliding_window", None) and "sliding_attention" in config.layer_types:
        yield "window", altered(model, sliding_window=LENGTH), inputs
        yield "window_off_by_one", altered(model, sliding_window=config.sliding_window + 1), inputs
    if config.model_type == "gemma2":
        yield "attn_softcap", altered(model, attn_logit_softcapping=None), inputs
        yield "final_softcap", altered(model, final_logit_softcapping=None), inputs
    if hasattr(config, "query_pre_attn_scalar"):
        yield "scale", altered(model, query_pre_attn_scalar=2 * config.query_pre_attn_scalar), inputs


def expected(model, inputs, check):
    logits, values = run(model, inputs)
    values["output.logits"] = logits
    out = {k: thin(v) for k, v in values.items()}
    rows = inputs["attention_mask"].bool()[..., None]
    for name, other, changed in mutations(model, inputs) if check else ():
        changed_logits, changed_values = run(other, changed)
        changed_values["output.logits"] = changed_logits
        # Rows that the mask of the unaltered inputs leaves out prove nothing.
        distance = moved(values, {k: v.masked_fill(~rows, 0) for k, v in changed_values.items()})
        assert distance > 20 * TOLERANCE, f"{name} moves the outputs by {distance:.4f} only"
        out[f"mutation.{name}"] = torch.tensor([distance])
    out["input.ids"] = inputs["input_ids"].int()
    out["input.mask"] = inputs["attention_mask"].float()
    out["input.positions"] = inputs["position_ids"].int()
    return {k: v.contiguous() for k, v in out.items()}


def old_rope(folder):
    """The spelling of configurations before transformers 5."""
    path = folder / "config.json"
    config = json.loads(path.read_text())
    rope = config.pop("rope_parameters")
    config["rope_theta"] = rope["rope_theta"]
    config["rope_scaling"] = {"type": rope["rope_type"], "factor": rope["factor"]}
    path.write_text(json.dumps(config, indent=2) + "\n")


def write_tokenizer(path):
    """Letters, a few merges, and a token that begins each text, so that a folder can be trained on."""
    words, merges = language_gguf.WORDS, language_gguf.MERGES
    model = tokenizers.models.BPE({w: i for i, w in enumerate(words)}, merges, unk_token="<unk>")
    tokenizer = tokenizers.Tokenizer(model)
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.post_processor = tokenizers.processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 0)])
    tokenizer.add_special_tokens(["<s>", "</s>", "<pad>"])
    tokenizer.save(str(path))


def make(name, fixture):
    folder = DATA / "language" / name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    config = transformers.AutoConfig.for_model(fixture["kind"], **fixture["config"])
    model = transformers.AutoModelForCausalLM.from_config(config, attn_implementation="eager").eval()
    randomise_language(model, fixture["seed"], fixture.get("sharpness", 1.6))
    if fixture.get("half"):  # the parameters alone: frequencies stay as they are
        with torch.no_grad():
            for p in model.parameters():
                p.copy_(p.bfloat16())
    if fixture.get("quantised"):
        language_gguf.quantise(model, fixture["kind"])
    inputs = make_inputs(torch.Generator().manual_seed(fixture["seed"]), VOCABULARY)
    low, high = entropy(model, None, inputs)
    out = expected(model, inputs, True)
    save_file(out, folder / "expected.safetensors")
    stored = copy.deepcopy(model).bfloat16() if fixture.get("half") else model
    stored.save_pretrained(folder, max_shard_size=fixture.get("shards", "1GB"))
    (folder / "generation_config.json").unlink(missing_ok=True)
    if fixture.get("old_rope"):
        old_rope(folder)
    if fixture.get("tokenizer"):
        write_tokenizer(folder / "tokenizer.json")
    if not fixture.get("no_gguf"):
        language_gguf.write(stored, fixture["kind"], folder / "model.gguf", fixture.get("quantised"),
                            fixture.get("tokenizer"))
    for path in folder.rglob("*"):
        path.chmod(0o644)
    size = sum(f.stat().st_size for f in folder.iterdir())
    moves = [v.item() for k, v in out.items() if k.startswith("mutation.")]
    print(f"{name}: {len(out)} tensors, {size / 1024:.0f} KiB, entropy {low:.2f} to {high:.2f}, "
          f"mutations move {min(moves):.2f} or more")


def record_folder(folder, path):
    """The same for any folder, with fp32 arithmetic on its weights as they are."""
    model = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32,
                                                              attn_implementation="eager").eval()
    inputs = make_inputs(torch.Generator().manual_seed(0), model.config.vocab_size)
    save_file(expected(model, inputs, False), path)


def main():
    if sys.argv[1:2] == ["--folder"]:
        return record_folder(*sys.argv[2:])
    for name in sys.argv[1:] or MODELS:
        make(name, MODELS[name])
    total = sum(f.stat().st_size for f in (DATA / "language").rglob("*") if f.is_file())
    print(f"language: {total / 1024:.0f} KiB")


if __name__ == "__main__":
    main()
