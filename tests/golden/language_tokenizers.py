#!/usr/bin/env python3
"""Golden ids and texts for tests/test_tokenizer.c, made by Hugging Face `tokenizers` (0.23).

    python3 tests/golden/language_tokenizers.py [FOLDER]

Everything is seeded and trained on what texts.py makes: the same versions give the same files. In FOLDER, which is
tests/golden/data/tokenizers unless given:
    bytes.json, pieces.json, unigram.json   small tokenizers: byte-level BPE, SentencePiece's BPE with byte fallback,
                                            and Unigram
    smollm.gguf, pieces.gguf   the metadata of a byte-level one (whose cases are smollm.jsonl) and of pieces.json
    NAME.jsonl   a line a text: [hex of the text, ids with special tokens, decoded text, that without special tokens]
    parts.jsonl  a line a tokenizer of bytes alone: {"parts": what tokenizer.json has beside "model", "cases": such
                 lines}. Its model marks all but the first character of a piece, so that ids show the cuts.
With a second argument all tokenizers of parts.jsonl are written there, for tests/compare/tokenizer_ids.py.
"""

import collections
import json
import math
import pathlib
import random
import shutil
import sys
import unicodedata

import tokenizers
from tokenizers import decoders, models, normalizers, pre_tokenizers, processors, trainers

import texts
import tokenizer_gguf

HERE = pathlib.Path(__file__).resolve().parent
GPT4 = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|"
        r"\s*[\r\n]+|\s+(?!\S)|\s+")


def digits():
    """bytes.json cut as the pre-tokenizer of the name "smollm" cuts, with the added tokens that a GGUF file can
    have."""
    made = json.loads(train_bytes().to_str())
    kept = {"normalizer": None, "added_tokens": [t for t in made["added_tokens"] if t["special"]]}
    kept["pre_tokenizer"] = {"type": "Sequence", "pretokenizers": [{"type": "Digits", "individual_digits": True}, {
        "type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}]}
    return tokenizers.Tokenizer.from_str(json.dumps({**made, **kept}))


def corpus(seed, count):
    rng, words = random.Random(seed), texts.WORDS + texts.FOREIGN[:20]
    for _ in range(count):
        yield " ".join(words[min(int(rng.expovariate(1 / 15)), len(words) - 1)] for _ in range(rng.randrange(2, 12)))
    yield from texts.CODE


def save(made, folder, name):
    text = json.loads(made.to_str())
    (folder / f"{name}.json").write_text(json.dumps(text, ensure_ascii=False, separators=(",", ":")) + "\n",
                                         encoding="utf-8")
    return tokenizers.Tokenizer.from_file(str(folder / f"{name}.json"))


def train_bytes():
    made = tokenizers.Tokenizer(models.BPE())
    made.normalizer = normalizers.NFC()
    made.pre_tokenizer = pre_tokenizers.Sequence([
        pre_tokenizers.Split(tokenizers.Regex(GPT4), "isolated"),
        pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
    made.decoder = decoders.ByteLevel()
    made.train_from_iterator(corpus(1, 2000), trainers.BpeTrainer(
        vocab_size=700, special_tokens=["<|begin|>", "<|end|>"], initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False))
    made.add_tokens([tokenizers.AddedToken("<tool>", normalized=False), tokenizers.AddedToken("<left>", lstrip=True),
                     tokenizers.AddedToken("<right>", rstrip=True), tokenizers.AddedToken("word", single_word=True),
                     tokenizers.AddedToken("<tool><tool>", normalized=False),
                     tokenizers.AddedToken("Ἄ", normalized=True)])
    begin = made.token_to_id("<|begin|>")
    made.post_processor = processors.Sequence([
        processors.ByteLevel(trim_offsets=False),
        processors.TemplateProcessing(single="<|begin|> $A", pair="<|begin|> $A $B",
                                      special_tokens=[("<|begin|>", begin)])])
    return made


def train_pieces():
    """As Llama 2 has it: fallback to bytes, all spaces marked, one in front."""
    trained = tokenizers.Tokenizer(models.BPE(unk_token="<unk>"))
    trained.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="always")
    trained.train_from_iterator(corpus(2, 2000),
                                trainers.BpeTrainer(vocab_size=500, special_tokens=["<unk>", "<s>", "</s>"],
                                                                     show_progress=False))
    model = json.loads(trained.to_str())["model"]
    own = [t for t, _ in sorted(model["vocab"].items(), key=lambda pair: pair[1])]
    all_tokens = own[:3] + [f"<0x{b:02X}>" for b in range(256)] + own[3:]
    made = tokenizers.Tokenizer(models.BPE(vocab={t: i for i, t in enumerate(all_tokens)},
                                           merges=[tuple(m) for m in model["merges"]],
                                           unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    made.add_special_tokens(["<unk>", "<s>", "</s>"])
    made.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    made.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(),
                                      decoders.Strip(" ", 1, 0)])
    made.post_processor = processors.TemplateProcessing(single="<s> $A </s>", pair="<s> $A <s> $B",
                                                        special_tokens=[("<s>", 1), ("</s>", 2)])
    return made


def make_unigram():
    """The most frequent parts of words, for training in threads gives other scores each time. Of the bytes some, so
    that there are unknown characters too."""
    counts = collections.Counter()
    for text in corpus(3, 2000):
        for word in text.split():
            for at in range(len(word) + 1):
                for to in range(at + 1, min(at + 7, len(word) + 2)):
                    counts[("▁" + word)[at:to]] += 1
    kept = [t for t in sorted(counts, key=lambda t: (-counts[t] * len(t), t)) if len(t) > 1][:400]
    kept += sorted(t for t in counts if len(t) == 1)
    total = sum(counts[t] for t in kept)
    vocabulary = [["<unk>", 0.0], ["</s>", 0.0]] + [[t, round(math.log(counts[t] / total), 6)] for t in kept]
    vocabulary += [[f"<0x{b:02X}>", -20.0] for b in [*range(0x80, 0xc0), *range(0xd0, 0xe8)]]
    made = tokenizers.Tokenizer(models.Unigram([tuple(pair) for pair in vocabulary], unk_id=0, byte_fallback=True))
    made.add_special_tokens(["<unk>", "</s>"])
    made.normalizer = normalizers.Sequence([normalizers.Nmt(), normalizers.NFKC(),
                                            normalizers.Replace(tokenizers.Regex(" {2,}"), " ")])
    made.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first")
    made.decoder = decoders.Sequence([decoders.ByteFallback(), decoders.Metaspace(prepend_scheme="first")])
    made.post_processor = processors.TemplateProcessing(single="$A </s>", pair="$A </s> $B",
                                                        special_tokens=[("</s>", 1)])
    return made


# ---- parts

BYTES = [f"<0x{b:02X}>" for b in range(256)]
EXPRESSIONS = [
    GPT4, r"\s+", r"\S+", r"\w+", r"\W", r"\d", r"\D+", r"\h+", r"[\s\d]+", r"[^\s\w]", r"[^\S ]+", r"[\W_]",
    r"[^\W\d_]+",
    r"\bo|e\b", r"\B\w\B", r"[a-fx-z]+", r"[\-\]\[^]", r"[]a]", r"(a|e)(?=\w)", r"(?<=a).", r"(?<!\w)\p{L}",
    r"(?=\p{Lu})", r"x*",
    r"\p{Han}|\p{Hiragana}+|\p{Katakana}", r"\p{^L}+", r"\P{L}", r"\p{Letter}+|\p{Number}", r"\p{Uppercase_Letter}+",
    r"\p{M}", r"\p{P}|\p{S}",
    r"\p{N}{2,3}+", r"\p{N}{2}?", r"\p{N}{,2}", r"a{1,2}?", r"\p{L}++ ?", r"[^\r\n]?+\n", r"^.", r".$", r"\A.|.\z",
    r"(?m:a.)|b.",
    r"(?i)'re|s|k|ll", r"x(?i:[ae]|t|o)+x?|E", r"(?>a+)b|a", r"\u3000|\x20|\x{1F600}|\u00e9",
    r"[\u4e00-\u9fa5\u3040-\u309f\u30a0-\u30ff]+",
    r"[!\"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+", r"[^[a-z]\s]+", r" ?[^(\s|[.,!?…。，、।۔،])]+",
    r"\t\n|\v|\f|\r\n", r"}|]|{|{a", r"é+|[éü]",
    r"(\w)\1", r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+",
]


def split(pattern, behavior="Isolated", invert=False, kind="Regex"):
    return {"type": "Split", "pattern": {kind: pattern}, "behavior": behavior, "invert": invert}


def metaspace(scheme, cut, mark="▁"):
    return {"type": "Metaspace", "replacement": mark, "prepend_scheme": scheme, "split": cut}


def replace(pattern, content, kind="String"):
    return {"type": "Replace", "pattern": {kind: pattern}, "content": content}


def token(content, at, **flags):
    return {"id": at, "content": content, "single_word": False, "lstrip": False, "rstrip": False, "normalized": True,
            "special": False,
            **flags}


def parts():
    """What tokenizers have beside their model."""
    for expression in EXPRESSIONS:
        yield {"pre_tokenizer": split(expression)}
    for behavior in ("Removed", "Contiguous", "MergedWithPrevious", "MergedWithNext"):
        for invert in (False, True):
            yield {"pre_tokenizer": split(r"[aeiou\s]", behavior, invert)}
        yield {"pre_tokenizer": split(" ", behavior, False, "String")}
        yield {"pre_tokenizer": split(r"x*", behavior)}
        yield {"pre_tokenizer": {"type": "Punctuation", "behavior": behavior}}
    yield {"pre_tokenizer": split("a b", kind="String")}
    yield {"pre_tokenizer": split("", kind="String")}
    for scheme in ("always", "never", "first"):
        for cut in (True, False):
            yield {"pre_tokenizer": metaspace(scheme, cut)}
        yield {"pre_tokenizer": {"type": "Sequence",
                                 "pretokenizers": [{"type": "WhitespaceSplit"}, metaspace(scheme, True)]},
               "decoder": metaspace(scheme, True)}
        yield {"normalizer": {"type": "Strip", "strip_left": True, "strip_right": False},
               "pre_tokenizer": metaspace(scheme, True),
               "added_tokens": [token("the", 256), token("c", 257, normalized=False)]}
    for space in (True, False):
        for regex in (True, False):
            yield {"pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": space, "trim_offsets": True,
                                     "use_regex": regex},
                   "decoder": {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True,
                               "use_regex": True}}
    for one in ({"type": "Digits", "individual_digits": True}, {"type": "Digits", "individual_digits": False},
                {"type": "Whitespace"},
                {"type": "WhitespaceSplit"}, {"type": "CharDelimiterSplit", "delimiter": "e"},
                {"type": "FixedLength", "length": 3}):
        yield {"pre_tokenizer": one}
        yield {"pre_tokenizer": {"type": "Sequence", "pretokenizers": [one, split(r"\s")]}}
    for one in ("NFC", "NFD", "NFKC", "NFKD", "Lowercase", "StripAccents", "Nmt", "ByteLevel"):
        yield {"normalizer": {"type": one}}
    yield {"normalizer": {"type": "Sequence",
                          "normalizers": [{"type": "NFKD"}, {"type": "StripAccents"}, {"type": "Lowercase"}]}}
    for left, right in ((True, True), (True, False), (False, True)):
        yield {"normalizer": {"type": "Strip", "strip_left": left, "strip_right": right}}
    for one in (replace(" ", "▁"), replace("a", ""), replace("", "-"), replace(r"\s+", " ", "Regex"),
                replace(r"\b", "|", "Regex"),
                {"type": "Prepend", "prepend": "▁ "}):
        yield {"normalizer": one, "pre_tokenizer": metaspace("first", True)}
    flags = [token("<a>", 256, special=True, normalized=False), token("<L>", 257, lstrip=True),
             token("<R>", 258, rstrip=True, special=True),
             token("word", 259, single_word=True, normalized=False), token("É", 260),
             token(" x", 261, normalized=False),
             token("<a><a>", 262, normalized=False), token("e\u0301", 263, normalized=False)]
    for normalizer in (None, {"type": "Lowercase"}, {"type": "NFC"}, {"type": "Prepend", "prepend": "▁"}):
        yield {"normalizer": normalizer, "added_tokens": flags}
    for decoder in ([{"type": "ByteFallback"}, {"type": "Fuse"}], [{"type": "Fuse"}], [],
                    [{"type": "ByteFallback"}, replace("a", "b"), {"type": "Fuse"},
                     {"type": "Strip", "content": " ", "start": 2, "stop": 0}],
                    [{"type": "ByteFallback"}, {"type": "Fuse"}, replace("[0-9a-f]+", "#", "Regex")],
                    [replace("<0x", "<1x"), {"type": "BPEDecoder", "suffix": "1>"}]):
        yield {"decoder": {"type": "Sequence", "decoders": decoder}}
    yield {"decoder": {"type": "BPEDecoder", "suffix": "1>"}}
    yield {"post_processor": {"type": "RobertaProcessing", "sep": ["<0x02>", 2], "cls": ["<0x01>", 1],
                              "trim_offsets": True,
                              "add_prefix_space": True}}
    yield {"post_processor": {"type": "BertProcessing", "sep": ["<0x02>", 2], "cls": ["<0x01>", 1]}}
    single = [{"SpecialToken": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}},
              {"SpecialToken": {"id": "B", "type_id": 0}}]
    template = {"type": "TemplateProcessing", "single": single,
                "pair": single[:2] + [{"Sequence": {"id": "B", "type_id": 1}}],
                "special_tokens": {"A": {"id": "A", "ids": [7, 8], "tokens": ["x", "y"]},
                                   "B": {"id": "B", "ids": [9], "tokens": ["z"]}}}
    yield {"post_processor": template}
    yield {"post_processor": {"type": "Sequence",
                              "processors": [template, {"type": "ByteLevel", "add_prefix_space": True,
                                                        "trim_offsets": True, "use_regex": True}]}}


def bpe(vocab, merges, **settings):
    return {"type": "BPE", "vocab": {t: i for i, t in enumerate(vocab)}, "merges": merges, **settings}


def own_models():
    """Models of other settings; few characters, so that many are unknown."""
    vocab = ["<unk>", "a", "b", "c", "ab", "abc", "#b", "#c", "b</w>", "c</w>", "bc</w>", "<0xC3>", "<0xA9>", " ",
             "d", "cd", "abcd"]
    merges = [["a", "b"], ["ab", "c"], ["b", "c</w>"]]
    for settings in ({}, {"unk_token": "<unk>"}, {"unk_token": "<unk>", "fuse_unk": True},
                     {"unk_token": "<unk>", "byte_fallback": True},
                     {"unk_token": "<unk>", "fuse_unk": True, "byte_fallback": True},
                     {"ignore_merges": True, "unk_token": "<unk>"},
                     {"end_of_word_suffix": "</w>", "unk_token": "<unk>"}):
        yield {"model": bpe(vocab, merges, **settings), "pre_tokenizer": split("x")}
    yield {"model": bpe(vocab[:8], [["a", "#b"], ["ab", "#c"]], continuing_subword_prefix="#", unk_token="<unk>")}
    scores = {"<unk>": 0, "a": 5, "b": -1, "ab": -20, "ac": -20, "bab": -3.5, "<0xC3>": -4, "<0xA9>": -4, " ": -2}
    for fallback in (True, False):
        yield {"model": {"type": "Unigram", "vocab": [[t, float(x)] for t, x in scores.items()], "unk_id": 0,
                         "byte_fallback": fallback}}


def whole(some):
    if "model" in some:
        return {"version": "1.0", "added_tokens": [], "normalizer": None, "pre_tokenizer": None,
                "post_processor": None, "decoder": None,
                **some}
    made = {"version": "1.0", "truncation": None, "padding": None, "added_tokens": [], "normalizer": None,
            "pre_tokenizer": None,
            "post_processor": None, "decoder": None, **some}
    made["model"] = {"type": "BPE", "dropout": None, "unk_token": None, "continuing_subword_prefix": "\x01",
                     "end_of_word_suffix": None,
                     "fuse_unk": False, "byte_fallback": True, "ignore_merges": False,
                     "vocab": {t: i for i, t in enumerate(BYTES)},
                     "merges": []}
    return made


# ---- cases

def settled(raw):
    """No U+180E, which Unicode has moved between classes, nor characters that are too young for some library."""
    text = raw.decode("utf-8", "replace")
    return not set(text) & set("\u180e\u061d\u09fe\ua8ff") and all(unicodedata.category(c) != "Cn"
                                                                   or c in "\uffff\U0010ffff" for c in text)


def case(made, raw, decodes=True):
    text = raw.decode("utf-8", "replace")
    ids = made.encode(text).ids
    if not decodes:
        return [raw.hex(), ids]
    return [raw.hex(), ids, made.decode(ids, skip_special_tokens=False), made.decode(ids)]


def write_cases(made, folder, name, count):
    special = [t.content for t in made.get_added_tokens_decoder().values()]
    raws = [raw for raw in texts.texts(count, name, special) if settled(raw)]
    with open(folder / f"{name}.jsonl", "w", encoding="utf-8") as file:
        for raw in raws:
            file.write(json.dumps(case(made, raw), separators=(",", ":")).replace("\\u0000", "\\ue0ff") + "\n")
    print(f"{name}: {made.get_vocab_size()} tokens, {len(raws)} texts")


PLAIN = ["  The quick brown fox_jumps\tover 12345 lazy dogs.  \n", "a", " ",
         "aeb a b\r\n\n word sword <a><a> <L>  <R>  word, É x é e\u0301xx",
         "ab123aa\u00a0\u3000ñ I'm don'T 'LL ß STRASSE \ufb01 \u212a", "日本語テキスト。です。カタカナ 中文,123 4567 ٣٤",
         "athe thebthe cthe", "[{a}]-^_~!\"#$x \\ée ü\u0085\u2028end"]


MODELS = ["abc", "abcabcd cd", "xabcxbc cab", "éé ü cü", "ééü", "a??bé?", "acac", "babab a", "abcd", "ü", "  ",
          "aéüb"]


def write_parts(folder, elsewhere):
    count = 0
    some = texts.texts(2000, "parts", ["<a>", "<L>", "<R>", "word", "É", "the"])
    some = [raw for raw in some if settled(raw)][330:]
    with open(folder / "parts.jsonl", "w", encoding="utf-8") as file:
        for at, one in enumerate([*parts(), *own_models()]):
            made = tokenizers.Tokenizer.from_str(json.dumps(whole(one)))
            raws = [text.encode() for text in (MODELS if "model" in one else PLAIN)]
            raws += [raw for raw in some[at * 5:] if len(raw) < 40][:3]
            decodes = bool(one.get("decoder") or one.get("added_tokens"))
            row = {"parts": one, "cases": [case(made, raw, decodes) for raw in raws]}
            file.write(json.dumps(row, separators=(",", ":")).replace("\\u0000", "\\ue0ff") + "\n")
            count += 1
            if elsewhere:
                pathlib.Path(elsewhere, f"{at:03}.json").write_text(json.dumps(whole(one)))
    print(f"parts: {count} tokenizers")


def main():
    folder = pathlib.Path(sys.argv[1]) if len(sys.argv) > 1 else HERE / "data/tokenizers"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for name, make, count in (("bytes", train_bytes, 500), ("pieces", train_pieces, 450),
                              ("unigram", make_unigram, 450)):
        write_cases(save(make(), folder, name), folder, name, count)
    write_cases(save(digits(), folder, "smollm"), folder, "smollm", 400)
    tokenizer_gguf.write(str(folder / "smollm.gguf"), folder / "smollm.json", "smollm")
    (folder / "smollm.json").unlink()
    tokenizer_gguf.write(str(folder / "pieces.gguf"), folder / "pieces.json", "llama")
    write_parts(folder, sys.argv[2] if len(sys.argv) > 2 else None)
    return 0


if __name__ == "__main__":
    sys.exit(main())
