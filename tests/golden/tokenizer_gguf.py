"""The metadata of a GGUF file from a tokenizer.json, as converters write them."""

import json
import pathlib


def around(made):
    """The first id that the post-processor puts in front of a text and the last one behind it, or None."""
    post = made.get("post_processor") or {}
    for one in post.get("processors", [post]):
        if one.get("type") == "TemplateProcessing":
            single = one["single"]
            ends = [piece.get("SpecialToken", {}).get("id") for piece in (single[0], single[-1])]
            return [one["special_tokens"][name]["ids"][0] if name else None for name in ends]
    return [None, None]


def write(path, source, pre):
    """pre: tokenizer.ggml.pre, or "llama" for a SentencePiece vocabulary."""
    from gguf import GGUFWriter
    made = json.loads(pathlib.Path(source).read_text(encoding="utf-8"))
    model, added = made["model"], {t["id"]: t for t in made["added_tokens"]}
    by_id = {i: t for t, i in model["vocab"].items()} | {i: t["content"] for i, t in added.items()}
    tokens = [by_id.get(i, f"[PAD{i}]") for i in range(max(by_id) + 1)]
    kinds = [1 if i in by_id else 5 for i in range(len(tokens))]
    merges = [m.split(" ") if isinstance(m, str) else m for m in model["merges"]]
    for i, token in added.items():
        kinds[i] = 3 if token["special"] else 4
    writer = GGUFWriter(path, "llama")
    if pre == "llama":
        scores = {}
        for rank, (a, b) in enumerate(merges):
            scores.setdefault(a + b, -float(rank))
        scores = [scores.get(t, -1e7) for t in tokens]
        for i, token in enumerate(tokens):
            if len(token) == 6 and token.startswith("<0x"):
                kinds[i] = 6
            if kinds[i] == 4:
                tokens[i] = token.replace("\u2581", " ")
        writer.add_tokenizer_model("llama")
        writer.add_token_scores(scores)
        writer.add_add_space_prefix("Prepend" in json.dumps(made["normalizer"]))
        writer.add_unk_token_id(model["vocab"][model["unk_token"]])
    else:
        writer.add_tokenizer_model("gpt2")
        writer.add_tokenizer_pre(pre)
        writer.add_token_merges([" ".join(m) for m in merges])
    writer.add_token_list(tokens)
    writer.add_token_types(kinds)
    bos, eos = around(made)
    if bos is not None:
        writer.add_bos_token_id(bos)
    if eos is not None:
        writer.add_eos_token_id(eos)
    writer.add_add_bos_token(bos is not None)
    writer.add_add_eos_token(eos is not None)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
