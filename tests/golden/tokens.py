"""A small CLIP tokenizer in files: bytes, bytes at the end of a word, a few merges, two special tokens."""

import json


def byte_alphabet():
    """The printable stand-ins of the 256 bytes, as GPT-2's and CLIP's tokenizers write them."""
    keep = [*range(ord("!"), ord("~") + 1), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    extra = [b for b in range(256) if b not in keep]
    return [chr(b) for b in keep] + [chr(256 + i) for i in range(len(extra))]


def write(folder, length, pad="<|endoftext|>"):
    folder.mkdir(parents=True, exist_ok=True)
    letters = byte_alphabet()
    merges = [("a", "p"), ("r", "e"), ("re", "d</w>"), ("l", "e</w>"), ("ap", "p"), ("app", "le</w>")]
    words = letters + [x + "</w>" for x in letters] + [a + b for a, b in merges]
    words += ["<|startoftext|>", "<|endoftext|>"]
    (folder / "vocab.json").write_text(json.dumps({w: i for i, w in enumerate(words)}, ensure_ascii=False))
    (folder / "merges.txt").write_text("#version: 0.2\n" + "".join(f"{a} {b}\n" for a, b in merges))
    special = dict(bos_token="<|startoftext|>", eos_token="<|endoftext|>", unk_token="<|endoftext|>",
                   pad_token=pad)
    (folder / "special_tokens_map.json").write_text(json.dumps(special))
    (folder / "tokenizer_config.json").write_text(json.dumps(
        dict(special, add_prefix_space=False, do_lower_case=True, errors="replace", model_max_length=length,
             tokenizer_class="CLIPTokenizer")))
    return len(words)
