#!/usr/bin/env python3
"""Writes the seed corpora of the fuzz targets: python3 tests/fuzz/seeds.py FOLDER makes FOLDER/NAME/ for each."""

import json
import pathlib
import struct
import sys
import zipfile


def entry(dtype, shape, begin, end):
    return {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}


def text(string):
    return struct.pack("<Q", len(string)) + string


def gguf_seeds():
    """Every kind of value and every type of tensor; the first byte as fuzz_gguf.c reads it."""
    scalars = {0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}
    values = [(kind, bytes([1]) * size) for kind, size in scalars.items()] + [(8, text(b"value"))]
    pairs = [text(b"k%d" % kind) + struct.pack("<I", kind) + value for kind, value in values]
    arrays = [text(b"a%d" % kind) + struct.pack("<IIQ", 9, kind, 2) + value * 2 for kind, value in values]
    nested = text(b"n") + struct.pack("<IIQ", 9, 9, 1) + struct.pack("<IQ", 9, 1)
    nested += struct.pack("<IQ", 8, 1) + text(b"x")
    align = text(b"general.alignment") + struct.pack("<II", 4, 8)
    arch = text(b"general.architecture") + struct.pack("<I", 8) + text(b"llama")
    heads = text(b"llama.attention.head_count") + struct.pack("<IIQ2I", 9, 4, 2, 3, 4)
    width = text(b"llama.embedding_length") + struct.pack("<II", 4, 64)
    for some in ([], pairs, arrays, [nested, align], [arch, heads, width]):
        yield b"\0GGUF" + struct.pack("<IQQ", 3, 0, len(some)) + b"".join(some)
        yield bytes([1 + 3 * len(some)]) + b"".join(some)
    for kind, (elements, size) in {0: (1, 4), 1: (1, 2), 30: (1, 2), 2: (32, 18), 3: (32, 20), 6: (32, 22),
                                   7: (32, 24),
                                   8: (32, 34), 10: (256, 84), 11: (256, 110), 12: (256, 144), 13: (256, 176),
                                   14: (256, 210)}.items():
        table = b"".join(text(name) + struct.pack("<IQQIQ", 2, elements, 1, kind, at)
                         for name, at in ((b"x.weight", 0), (b"y", -(-size // 32) * 32)))
        head = b"GGUF" + struct.pack("<IQQ", 2, 2, 0) + table
        values = bytes(range(size)).ljust(-(-size // 32) * 32, b"\0")
        yield b"\0" + head + bytes(-len(head) % 32) + values + bytes(size)
        yield bytes([2 + 3 * 2]) + table


def language_tokenizer_seeds():
    """Of the golden files the parts of every tokenizer, their expressions, and small whole files."""
    golden = pathlib.Path(__file__).resolve().parent.parent / "golden/data/tokenizers"
    for line in (golden / "parts.jsonl").read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        text = bytes.fromhex(row["cases"][-1][0])
        yield b"\1" + json.dumps(row["parts"]).encode()[1:] + b"\0" + text
        pattern = (row["parts"].get("pre_tokenizer") or {}).get("pattern", {})
        if "Regex" in pattern:
            yield b"\2" + pattern["Regex"].encode() + b"\0" + text
    vocab = {"<unk>": 0, "a": 1, "b": 2, "ab": 3, "<0x61>": 4}
    for model in ({"type": "BPE", "unk_token": "<unk>", "fuse_unk": True, "vocab": vocab,
                   "merges": ["a b", ["ab", "a"]][:1]},
                  {"type": "Unigram", "unk_id": 0, "byte_fallback": True,
                   "vocab": [[t, -float(i)] for t, i in vocab.items()]}):
        whole = {"model": model, "added_tokens": [{"id": 9, "content": "<a>", "lstrip": True}]}
        yield b"\0" + json.dumps(whole).encode() + b"\0aabc"
    yield b"\3 the aaaa \xc3\xa9\xff"
    for name in ("smollm.gguf", "pieces.gguf"):
        yield b"\4" + (golden / name).read_bytes()


def decoder_seed(architecture):
    """Enough for the configuration of a model."""
    def pair(key, kind, value):
        return text(f"{architecture}.{key}".encode()) + struct.pack("<I", kind) + value
    pairs = [text(b"general.architecture") + struct.pack("<I", 8) + text(architecture.encode())]
    pairs += [pair(key, 4, struct.pack("<I", value)) for key, value in (
        ("context_length", 32), ("embedding_length", 8), ("feed_forward_length", 8), ("block_count", 2),
        ("attention.head_count", 4), ("attention.head_count_kv", 2), ("attention.key_length", 4),
        ("attention.sliding_window", 3))]
    pairs += [pair(key, 6, struct.pack("<f", 2)) for key in ("rope.freq_base", "rope.scaling.factor",
                                                             "final_logit_softcapping")]
    pairs += [pair("rope.scaling.type", 8, text(b"linear")), pair("attention.sliding_window_pattern", 4,
                                                                  struct.pack("<I", 2))]
    table = b"".join(text(name) + struct.pack("<IQQIQ", 2, 8, 2, 0, at)
                     for name, at in ((b"token_embd.weight", 0), (b"blk.0.attn_q.bias", 64)))
    head = b"GGUF" + struct.pack("<IQQ", 3, 2, len(pairs)) + b"".join(pairs) + table
    return b"\0" + head + bytes(-len(head) % 32) + bytes(128)


def torch_seeds():
    """Files of PyTorch, and the pickles in them; the first byte as fuzz_torch_zip.c reads it."""
    golden = pathlib.Path(__file__).resolve().parent.parent / "golden/data/torch"
    for path in sorted(golden.glob("*.bin")):
        yield b"\0" + path.read_bytes()
        yield b"\1" + zipfile.ZipFile(path).read(f"{path.stem}/data.pkl")


def seeds():
    for seed in torch_seeds():
        yield "torch_zip", seed
    for architecture in ("llama", "gemma3", "gpt2"):
        yield "gguf", decoder_seed(architecture)
    for seed in gguf_seeds():
        yield "gguf", seed
    for seed in language_tokenizer_seeds():
        yield "language_tokenizer", seed
    header = json.dumps({"__metadata__": {"format": "pt", "k": "v"}, "a": entry("F32", [2, 1], 0, 8),
                         "b": entry("F16", [3], 8, 14), "c": entry("BF16", [1], 14, 16)}).encode()
    yield "safetensors", b"\0" + len(header).to_bytes(8, "little") + header + bytes(16)
    yield "safetensors", b"\1" + header + bytes(16)
    for dtype, size in (("BOOL", 1), ("U8", 1), ("I8", 1), ("F8_E4M3", 1), ("F8_E5M2", 1), ("U16", 2), ("I16", 2),
                        ("U32", 4),
                        ("I32", 4), ("U64", 8), ("I64", 8), ("F64", 8)):
        tensors = {"x": entry(dtype, [16 // size], 0, 16), "e": entry(dtype, [0, 3], 16, 16)}
        yield "safetensors", b"\1" + json.dumps(tensors).encode() + bytes(16)
    index = {"metadata": {"total_size": 4}, "weight_map": {"a": "s.safetensors"}}
    yield "safetensors", b"\2" + json.dumps(index).encode()
    document = json.dumps({"a": {"a": 5}, "model_max_length": 77, "block_out_channels": [1, 2, 3],
                           "b": [True, None, -1.5e3],
                           "s": "\u00e9\U0001f600\n\"\\"}).encode()
    yield "json", b"\4" + document
    yield "json", b"\5\xef\xbb\xbf" + json.dumps([[], {}, [[{"a": [{}]}]]]).encode()
    yield "json", b"\0one\ntwo\r\n\n three"
    yield "json", b"\1" + b'{"prompt":"x"}\n"y"\r\n{"text":"z"}'
    yield "json", b"\2" + b'["x",{"caption":"y"},{"text":"z"}]'
    yield "json", b"\3" + b'id,prompt\r\n1,"a, ""b""\nc"\r\n2,d\n'
    yield "json", b"\x13" + b"a\nx\ny\n"
    for text in ("a photo of the cat", "aaaaaaaa THE <l> x  <R>  w w1!", "<|startoftext|><|ENDOFTEXT|>",
                 "e\u0301 \u0130 \u1100\u1161 \u200d",
                 "it's 're 123 \u3000\u2003\t\n", "\U0001f469\u200d\U0001f4bb \u4f60\u597d"):
        yield "tokenizer", b"\x0f" + text.encode()
    special = {"content": "<x>", "lstrip": True, "normalized": True, "rstrip": True, "single_word": True,
               "special": True}
    vocab = {"a": 0, "b</w>": 1, "ab</w>": 2, "<|startoftext|>": 3, "<|endoftext|>": 4}
    yield "tokenizer", b"\0" + json.dumps(vocab).encode()
    yield "tokenizer", b"\1" + b"#version: 0.2\na a\nt h\nth e</w>\n"
    yield "tokenizer", b"\2" + json.dumps({"added_tokens_decoder": {"7": special}, "bos_token": special,
                                           "pad_token": "!",
                                           "model_max_length": 1e30}).encode()
    others = {"eos_token": special, "pad_token": "w", "additional_special_tokens": ["q", special]}
    yield "tokenizer", b"\3" + json.dumps(others).encode()
    yield "tokenizer", b"\4" + json.dumps({"added_tokens": [{"id": 3, **special}],
                                           "model": {"vocab": vocab, "merges": ["a b</w>", ["a", "b</w>"]]}}).encode()
    yield "tokenizer", b"\5" + json.dumps({"<y>": 200, "w": 5}).encode()


def main(folder):
    for number, (target, data) in enumerate(seeds()):
        path = pathlib.Path(folder, target, f"seed-{number:02}")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "corpus")
