#!/usr/bin/env python3
"""Compares the tokenizer with Hugging Face `tokenizers` on many texts: ids, decoded text, text token by token.

    python3 tests/compare/tokenizer_ids.py BUILD/tests/tokenize FILE... [--count 20000] [--seed 1]
        [--golden OUT.jsonl]

FILE is a tokenizer.json; PRE=tokenizer.json is read by us from a GGUF file made of it, whose tokenizer.ggml.pre is
PRE ("llama" for a SentencePiece vocabulary); FILE.gguf is a GGUF file of a byte-level tokenizer of a kind that
`reference` knows, and FILE.gguf=tokenizer.json any GGUF file with what it was made from. Prints one line a file and
the first differences; ends with status 1 when there is one. --golden writes the texts and what `tokenizers` makes of
them, a line a text: [hex of the text, ids, decoded text]. Needs tokenizers, and gguf for what it reads and makes of
that kind.
"""

import argparse
import itertools
import json
import pathlib
import struct
import subprocess
import sys
import tempfile
import time
import unicodedata

import tokenizers

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "golden"))
import texts  # noqa: E402
import tokenizer_gguf  # noqa: E402


FORMS = [("NFC", tokenizers.normalizers.NFC()), ("NFKC", tokenizers.normalizers.NFKC())]


def reference(path):
    """The tokenizer, without what cuts or pads."""
    made = from_gguf(path) if path.endswith(".gguf") else tokenizers.Tokenizer.from_file(path)
    made.no_truncation()
    made.no_padding()
    return made


def from_gguf(path):
    """A byte-level tokenizer from metadata."""
    from gguf import GGUFReader
    from tokenizers import AddedToken, Regex, decoders, models, pre_tokenizers
    fields = {k: f.contents() for k, f in GGUFReader(path).fields.items() if k.startswith("tokenizer.ggml")}
    tokens, kinds = fields["tokenizer.ggml.tokens"], fields["tokenizer.ggml.token_type"]
    merges = [tuple(m.split(" ")) for m in fields["tokenizer.ggml.merges"]]
    made = tokenizers.Tokenizer(models.BPE(vocab={t: i for i, t in enumerate(tokens)}, merges=merges))
    before = {"smollm": [pre_tokenizers.Digits(individual_digits=True)], "gpt-2": []}[fields["tokenizer.ggml.pre"]]
    made.pre_tokenizer = pre_tokenizers.Sequence(before + [pre_tokenizers.ByteLevel(add_prefix_space=False)])
    made.decoder = decoders.ByteLevel()
    for kind, special in ((3, True), (4, False)):
        made.add_tokens([AddedToken(t, special=special, normalized=False)
                         for t, k in zip(tokens, kinds) if k == kind])
    return made


def ours(program, path, raws, *words):
    """[(ids, decoded text, whether token by token gives the same)]"""
    framed = b"".join(struct.pack("<I", len(raw)) + raw for raw in raws)
    run = subprocess.run([program, path, *words], input=framed, stdout=subprocess.PIPE, check=True)
    rows = []
    for line in run.stdout.decode().splitlines():
        ids, text, same = line.split("\t")
        rows.append(([int(i) for i in ids.split()], bytes.fromhex(text).decode(), same == "same"))
    return rows


def make_texts(made, count, seed):
    added = [t.content for t in made.get_added_tokens_decoder().values()]
    vocabulary = sorted(made.get_vocab(with_added_tokens=False).items(), key=lambda pair: pair[1])
    step = max(1, len(vocabulary) // 4000)
    tokens = [t for t in (made.decode([i], skip_special_tokens=False) for _, i in vocabulary[::step]) if t]
    some = (raw for raw in texts.texts(2 * count, seed, added[:500], tokens) if settled(raw))
    return list(itertools.islice(some, count))


def settled(raw):
    """Not a text whose normal form the tables of `tokenizers`, which are those of Unicode 9, have otherwise than
    Unicode's now."""
    text = raw.decode("utf-8", "replace")
    return all(form.normalize_str(text) == unicodedata.normalize(name, text) for name, form in FORMS)


def compare(program, path, count, seed, golden, folder):
    path, _, model = path.partition("=")
    made = reference(model or path)
    name = path
    if model and not path.endswith(".gguf"):
        name = f"{model} by {path}"
        tokenizer_gguf.write(str(folder / "made.gguf"), model, path)
        path = str(folder / "made.gguf")
    raws = make_texts(made, count, seed)
    strings = [raw.decode("utf-8", "replace") for raw in raws]
    wrong, other, shown = 0, 0, 0
    # What is special in a GGUF file may be otherwise in the other: then nothing is skipped.
    skipping = (["bare"], False, False) if model and path == name else (["bare", "skip"], False, True)
    for words, special, skip in (([], True, False), skipping):
        start = time.monotonic()
        want = [e.ids for e in made.encode_batch(strings, add_special_tokens=special)]
        middle = time.monotonic()
        got = ours(program, path, raws, *words)
        seconds = time.monotonic() - middle
        if len(got) != len(raws):
            print(f"{name}: {len(got)} answers to {len(raws)} texts")
            return 1
        decoded = [made.decode(ids, skip_special_tokens=skip) for ids in want]
        for raw, ids, text, (my_ids, my_text, same) in zip(raws, want, decoded, got):
            other += not same
            if ids != my_ids or text != my_text:
                wrong += 1
                if shown < 5:
                    shown += 1
                    print(f"  {raw!r}\n    want {ids} {text!r}\n    got  {my_ids} {my_text!r}")
        if golden and not words:
            with open(golden, "w", encoding="utf-8") as file:
                for raw, ids, text in zip(raws, want, decoded):
                    file.write(json.dumps([raw.hex(), ids, text], separators=(",", ":")) + "\n")
    print(f"{name}: {count} texts, {wrong} differences, {other} otherwise token by token "
          f"({middle - start:.1f} s and {seconds:.1f} s)", flush=True)
    return wrong


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("program")
    parser.add_argument("files", nargs="+")
    parser.add_argument("--count", type=int, default=20000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--golden")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        wrong = sum(compare(options.program, path, options.count, options.seed, options.golden, pathlib.Path(folder))
                    for path in options.files)
    return wrong > 0


if __name__ == "__main__":
    sys.exit(main())
