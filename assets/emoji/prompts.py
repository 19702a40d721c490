"""Writes the example prompt sets of assets/prompts: two steering tasks, validation and test on concepts of no
training list.

    style: plain prompts -> "ink drawing of ..." of other concepts
    pizza: "X with a pizza" -> plain prompts of other concepts
"""
import argparse
import os

import numpy as np

import art as A

HERE = os.path.dirname(os.path.abspath(__file__))


def splits(phrases, styles, seed=21):
    """Disjoint lists of phrases: style.source, style.target (no held-out ink pair), validation, test; pizza uses the
    same lists."""
    held = A.held_out(phrases, styles)
    ink = list(styles).index("ink")
    order = [int(i) for i in np.random.default_rng(seed).permutation(len(phrases))]
    target = [i for i in order if (i, ink) not in held][:32]
    rest = [i for i in order if i not in target]
    parts = {"style.target": target, "style.source": rest[:32], "validation": rest[32:64], "test": rest[64:]}
    return {k: [phrases[i] for i in v] for k, v in parts.items()}


def files(parts, seed=22):
    """{file name: lines}."""
    rng = np.random.default_rng(seed)
    test = list(parts["test"])
    pick = lambda n: [test[i] for i in rng.permutation(len(test))[:n]]
    colours = list(A.COLOURS)
    grounds = [A.caption("flat", c, background=colours[i % 8]) for i, c in enumerate(pick(32))]
    pairs = [A.caption("flat", a, second=b) for a, b in zip(pick(28), pick(28)) if a != b]
    return {
        "style.source.txt": parts["style.source"],
        "style.target.txt": [A.caption("ink", c) for c in parts["style.target"]],
        "pizza.source.txt": [A.caption("flat", c, pizza=True) for c in parts["style.target"]],
        "pizza.target.txt": parts["style.source"],
        "validation.txt": parts["validation"], "test.txt": test + grounds + pairs,
        "pizza.validation.txt": [A.caption("flat", c, pizza=True) for c in parts["validation"]],
        "pizza.test.txt": [A.caption("flat", c, pizza=True) for c in test],
    }


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", default=os.path.join(HERE, "..", "prompts"))
    o = parser.parse_args()
    os.makedirs(o.out, exist_ok=True)
    for name, lines in files(splits([p for p, _ in A.read_concepts(A.CONCEPTS)], A.STYLES)).items():
        with open(os.path.join(o.out, name), "w") as f:
            f.write("".join(line + "\n" for line in lines))
        print(name, len(lines))
