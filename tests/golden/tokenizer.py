#!/usr/bin/env python3
"""Golden token ids for tests/test_clip_tokenizer.c, made by transformers' CLIPTokenizer (5.x, fast).

Trains a small CLIP vocabulary on text made here, writes it with four configurations, and encodes strings of many
kinds with each. Run from anywhere (made with transformers 5.23):

    python3 tests/golden/tokenizer.py

Everything is seeded: the same versions give the same files. Files, all in tests/golden/tokenizer/:
    base/              vocab.json and merges.txt shared by sd1, sd2 and flags
    NAME/              the configuration files of one tokenizer (json: a whole tokenizer.json that lacks most bytes)
    NAME.jsonl         a line a string: ["text", [ids with start and end, neither cut nor padded]]
                       (U+E0FF stands for NUL, which the program's JSON reader refuses)
"""

import collections
import json
import pathlib
import random
import shutil
import sys
import tempfile
import unicodedata

from transformers import CLIPTokenizer

HERE = pathlib.Path(__file__).resolve().parent / "tokenizer"
ROOT = HERE.parent.parent.parent
START, END = "<|startoftext|>", "<|endoftext|>"
WORDS = """a an the of on in at by with and or to from under over red blue green yellow small large old new photo
painting drawing sketch portrait landscape city mountain river forest tree flower cat dog bird horse fish apple pizza
house window door table chair light dark bright night morning evening winter summer rain snow cloud sky sea ocean
beach island boat train car street people woman man child children running standing sitting flying holding wearing
beautiful detailed realistic cinematic watercolor ink oil digital illustration style artist trending quality high
resolution sharp focus depth field background foreground colorful monochrome vintage modern abstract geometric pattern
texture surface metal wood stone glass paper cloth wearing astronaut robot dragon castle knight wizard magic fantasy
don't can't it's they're we've I'm you'll he'd image picture render camera lens film grain soft warm cold""".split()
FOREIGN = """naïve café über straße Ελλάδα κόσμος ΣΊΣΥΦΟΣ Привет мир Ёлка 你好 世界 こんにちは カタカナ 안녕하세요 한국어 שלום
عالم مرحبا नमस्ते दुनिया สวัสดี ภาษาไทย Việt Nam Đà Nẵng İstanbul ısı Ångström ﬁancé ﬂow ½ ² Ⅳ ① Ⓐ ǅ ß ẞ ŉ ΐ""".split()
EMOJI = "😀 😂 ❤️ 👍🏽 👨‍👩‍👧‍👦 🏳️‍🌈 🇩🇪 🇯🇵 ☕ ✈️ 1️⃣ #️⃣ ♥ ★ ☃ 🍕 🐈‍⬛ 🫠 © ™ →".split()
CODE = ["for (int i = 0; i < n; i++) { a[i] += b[i] * 2.5e-3f; }", "print(f\"{x!r:>10}\")",
        "<html><body>&nbsp;</body>",
        "SELECT * FROM t WHERE id != 'x' -- comment", "a=b&&c||!d", "C:\\path\\file.txt",
        "https://example.org/?q=1&r=a%20b",
        "x86_64-linux-gnu", "#include <stdio.h>", "((masterpiece)), [lowres:0.8], (best quality:1.2)"]
SPACES = [" ", "  ", "\t", "\n", "\r\n", "\u00a0", "\u2003", "\u3000", "\u2028", "\u0085", "\u1680", "\v", "\f",
          "     "]
ODD = ["\u200b", "\u200d", "\ufeff", "\u00ad", "\u180e", "\u2060", "\u0000", "\u0001", "\u001f", "\u007f", "\ufffd",
       "\uffff",
       "\U0010ffff", "\ue000", "\u0301", "\u0345", "\u0308\u0301", "e\u0301", "A\u030a", "\u1100\u1161\u11a8",
       "\uac00",
       "\u2126", "\u212b", "\uf900", "\u0958", "\u0130", "\u0131", "q\u0323\u0307", "q\u0307\u0323", "\u0f71\u0f72"]


def byte_characters():
    """CLIP's map from bytes to printable characters."""
    kept = [*range(33, 127), *range(161, 173), *range(174, 256)]
    table, extra = {b: chr(b) for b in kept}, 0
    for b in range(256):
        if b not in table:
            table[b] = chr(256 + extra)
            extra += 1
    return table


def train(merge_count, rng):
    """Merges learned from sentences of WORDS; the first pair in sorted order wins ties."""
    table = byte_characters()
    corpus = collections.Counter()
    for i in range(20000):
        corpus[WORDS[min(int(rng.expovariate(1 / 40)), len(WORDS) - 1)].lower().split("'")[0]] += 1
    for word in WORDS + FOREIGN + EMOJI:
        corpus[unicodedata.normalize("NFC", word).lower()] += 3
    words = {tuple([table[b] for b in w.encode()][:-1] + [table[w.encode()[-1]] + "</w>"]): n
             for w, n in corpus.items()}
    merges = []
    while len(merges) < merge_count:
        pairs = collections.Counter()
        for word, n in words.items():
            for pair in zip(word, word[1:]):
                pairs[pair] += n
        if not pairs:
            break
        best = min(pairs, key=lambda p: (-pairs[p], p))
        merges.append(best)
        joined = {}
        for word, n in words.items():
            out, i = [], 0
            while i < len(word):
                if word[i:i + 2] == best:
                    out.append(word[i] + word[i + 1])
                    i += 2
                else:
                    out.append(word[i])
                    i += 1
            joined[tuple(out)] = joined.get(tuple(out), 0) + n
        words = joined
    characters = [table[b] for b in [*range(33, 127), *range(161, 173), *range(174, 256),
                                     *(b for b in range(256) if b < 33 or 127 <= b <= 160 or b == 173)]]
    tokens = characters + [c + "</w>" for c in characters] + [a + b for a, b in merges] + [START, END]
    return {t: i for i, t in enumerate(dict.fromkeys(tokens))}, merges


def added(content, **flags):
    return {"__type": "AddedToken", "content": content, "lstrip": False, "normalized": True, "rstrip": False,
            "single_word": False, **flags}


def plain(content, **flags):
    token = added(content, **flags)
    token.pop("__type")
    return token


def dump(path, value):
    path.write_text(json.dumps(value, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")


def write_configurations(vocab, merges):
    """sd1 and sd2 as the published Stable Diffusion repositories have them; flags and json are there to be odd."""
    for name in ("base", "sd1", "sd2", "flags", "json"):
        (HERE / name).mkdir(parents=True, exist_ok=True)
    (HERE / "base/vocab.json").write_text(json.dumps(vocab, ensure_ascii=False), encoding="utf-8")
    (HERE / "base/merges.txt").write_text("#version: 0.2\n" + "".join(f"{a} {b}\n" for a, b in merges),
                                          encoding="utf-8")
    config = {"add_prefix_space": False, "bos_token": added(START), "do_lower_case": True, "eos_token": added(END),
              "errors": "replace", "model_max_length": 77, "pad_token": END, "tokenizer_class": "CLIPTokenizer",
              "unk_token": added(END)}
    dump(HERE / "sd1/tokenizer_config.json", config)
    dump(HERE / "sd1/special_tokens_map.json", {"bos_token": plain(START), "eos_token": plain(END), "pad_token": END,
                                               "unk_token": plain(END)})
    dump(HERE / "sd2/tokenizer_config.json", {**config, "model_max_length": 20})
    dump(HERE / "sd2/special_tokens_map.json", {"bos_token": plain(START), "eos_token": plain(END), "pad_token": "!",
                                               "unk_token": plain(END)})
    flags = {str(vocab[START]): plain(START, normalized=False, special=True),
             str(vocab[END]): plain(END, normalized=False, special=True),
             str(len(vocab)): plain("<left>", lstrip=True, special=True, normalized=False),
             str(len(vocab) + 1): plain("<Right>", rstrip=True, special=False, normalized=True),
             str(len(vocab) + 2): plain("word", single_word=True, special=False, normalized=False),
             str(len(vocab) + 3): plain("<left><left>", special=True, normalized=False),
             str(len(vocab) + 4): plain("É", special=False, normalized=True)}
    dump(HERE / "flags/tokenizer_config.json", {"added_tokens_decoder": flags, "bos_token": START, "eos_token": END,
                                                "pad_token": "<left>", "unk_token": END,
                                                "model_max_length": 10**30, "tokenizer_class": "CLIPTokenizer"})
    # A vocabulary without most bytes, in one file: what is missing becomes the unknown token.
    kept = [t for t in vocab if t in (START, END) or all("a" <= c <= "z" for c in t.removesuffix("</w>"))]
    small = {t: i for i, t in enumerate(kept)}
    few = [(a, b) for a, b in merges if a in small and b in small and a + b in small]
    dump(HERE / "json/tokenizer.json", {
        "version": "1.0", "truncation": None, "padding": None,
        "added_tokens": [{"id": small[t], **plain(t, normalized=False, special=True)} for t in (START, END)],
        "normalizer": None, "pre_tokenizer": None, "post_processor": None, "decoder": None,
        "model": {"type": "BPE", "dropout": None, "unk_token": END, "continuing_subword_prefix": "",
                  "end_of_word_suffix": "</w>", "fuse_unk": False, "byte_fallback": False, "ignore_merges": False,
                  "vocab": small, "merges": [f"{a} {b}" for a, b in few]}})
    dump(HERE / "json/tokenizer_config.json", {"bos_token": START, "eos_token": END, "unk_token": END,
                                               "pad_token": END, "model_max_length": 16,
                                               "tokenizer_class": "CLIPTokenizer"})


def known(text):
    """Only characters that every Unicode version of the last years agrees on."""
    return all(unicodedata.category(c) != "Cn" or c in "\uffff\U0010ffff" for c in text)


def random_character(rng):
    low, high = rng.choice([(0x20, 0x7f), (0x20, 0x7f), (0xa0, 0x250), (0x250, 0x530), (0x590, 0x700), (0x900, 0xe80),
                            (0x1e00, 0x2000), (0x2000, 0x2c00), (0x3000, 0x3200), (0x4e00, 0x9fa0), (0xac00, 0xd7a4),
                            (0xf900, 0xffe0), (0x10300, 0x10400), (0x1d400, 0x1d800), (0x1f300, 0x1f650)])
    while True:
        c = chr(rng.randrange(low, high))
        if known(c) and not 0xd800 <= ord(c) < 0xe000:
            return c


def strings(count, rng):
    """Fixed ones first, then random ones of ten kinds."""
    yield from ["", " ", "   ", "a", "A photo of a cat", "it's they're we've I'm you'll he'd don't",
                "IT'S 'S 's'T 'REAL 'llama",
                "don''t ''s '", "1234567890 3.14 1,000 v2.0b", "a" * 300, "!" * 100, "hello!!! world!?!", "!", "! !",
                "a!b",
                START, END, f"{START} a cat {END}", f"a{END}b", f"{START}{START}", "<|STARTOFTEXT|>",
                "x<|EndOfText|>y",
                "<|startoftext", "startoftext|>", "!<|startoftext|>!", "<|endoftext|>!!", "!!<|ENDOFTEXT|>!!",
                "<|<|endoftext|>|>",
                "<left>", "  a  <left>  b ", "<right>  b", "a <RIGHT>   b", "<left><left>", "<left><left><left>",
                "word",
                "sword words word, word", "_word_ word1 a-word", "é É e\u0301 E\u0301 caf\u00c9", "ΑΣ ΣΑΣ ΟΔΟΣ Σ",
                " ".join(WORDS)]
    yield from FOREIGN + EMOJI + CODE + ODD
    yield from (f"a{o}b {o} c" for o in ODD)
    yield from (f"x{s}y{s}" for s in SPACES)
    pieces = [lambda: rng.choice(WORDS), lambda: rng.choice(FOREIGN), lambda: rng.choice(EMOJI),
              lambda: rng.choice(ODD),
              lambda: rng.choice(SPACES) * rng.randrange(1, 5), lambda: random_character(rng),
              lambda: str(rng.randrange(10**rng.randrange(1, 9))),
              lambda: rng.choice("'s 't 're 've 'm 'll 'd".split()),
              lambda: "".join(rng.choice("!?.,;:-_()[]{}<>|/\\'\"@#$%^&*~`+=") for _ in range(rng.randrange(1, 6))),
              lambda: rng.choice([START, END, "<|", "|>", "!", "<left>", "<Right>", "word"])]
    while True:
        kind, n = rng.randrange(12), rng.randrange(1, 9)
        if kind < 3:
            text = " ".join(rng.choice(WORDS) for _ in range(n))
            text = rng.choice([str, str.upper, str.title])(text)
        elif kind < 6:
            text = "".join(rng.choice(pieces)() for _ in range(n))
        elif kind < 9:
            text = " ".join(rng.choice(pieces)() for _ in range(n))
        elif kind < 11:
            text = "".join(random_character(rng) for _ in range(n))
        else:
            text = "".join(rng.choice("aeiounrstl' ") for _ in range(n * 4))
        yield text


def write_cases(name, folder, count, seed):
    tokenizer = CLIPTokenizer.from_pretrained(folder)
    rng, lines = random.Random(seed), []
    made = strings(count, rng)
    while len(lines) < count:
        text = next(made)
        ids = tokenizer(text)["input_ids"]
        length = min(tokenizer.model_max_length, 77)
        cut = tokenizer(text, padding="max_length", truncation=True, max_length=length)["input_ids"]
        rule = [ids[0], *ids[1:-1][:length - 2], ids[-1]]
        assert cut == rule + [tokenizer.pad_token_id] * (length - len(rule)), text
        lines.append(json.dumps([text, ids], ensure_ascii=False, separators=(",", ":")).replace("\\u0000", "\ue0ff"))
    (HERE / f"{name}.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    print(f"{name}: {count} strings, pad {tokenizer.pad_token_id}, {len(tokenizer)} tokens")


def main():
    rng = random.Random(1)
    shutil.rmtree(HERE, ignore_errors=True)
    vocab, merges = train(800, rng)
    write_configurations(vocab, merges)
    with tempfile.TemporaryDirectory() as temporary:
        for name, count in (("sd1", 1900), ("sd2", 300), ("flags", 300), ("json", 200)):
            folder = pathlib.Path(temporary) / name
            shutil.copytree(HERE / name, folder)
            if name != "json":
                for file in ("vocab.json", "merges.txt"):
                    shutil.copy(HERE / "base" / file, folder)
            write_cases(name, folder, count, name)
        emoji = ROOT / "assets/emoji/tokenizer"
        if (emoji / "vocab.json").exists():
            write_cases("emoji", emoji, 300, "emoji")
            # The test skips these when the vocabulary has been trained anew since.
            marks = {f: [(emoji / f).stat().st_size, sum((emoji / f).read_bytes())]
                     for f in ("vocab.json", "merges.txt")}
            dump(HERE / "emoji.json", marks)
    print(sum(f.stat().st_size for f in HERE.rglob("*") if f.is_file()), "bytes")
    return 0


if __name__ == "__main__":
    sys.exit(main())
