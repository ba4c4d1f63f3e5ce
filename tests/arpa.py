"""Small n-gram models for the tests: random ARPA files, and their probabilities from the text alone."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np

from pyasr.counter import stream


def random_ngrams(words, order, key, density=0.5):
    """{n-gram: (log10 p, log10 back-off)}, closed under contexts, unnormalized."""
    rng = stream("arpa", key)
    number = lambda: -round(float(rng.uniform(0.05, 2)), 6)  # noqa: E731
    grams = {(w,): (number(), number()) for w in ("<s>", "</s>", "<unk>", *words)}
    grams["<s>",] = (-99.0, number())
    longer = [("<s>",), ("<unk>",), *((w,) for w in words)]
    for _ in range(order - 1):
        here = [(*c, w) for c, w in itertools.product(longer, (*words, "</s>", "<unk>")) if rng.random() < density]
        grams |= {g: (number(), number()) for g in here}
        longer = [g for g in here if g[-1] != "</s>"]
    return grams


def write(path, grams):
    """An ARPA file of them."""
    order = max(map(len, grams))
    by_order = [[g for g in grams if len(g) == n] for n in range(1, order + 1)]
    lines = ["", "\\data\\", *(f"ngram {n}={len(one)}" for n, one in enumerate(by_order, 1)), ""]
    for n, one in enumerate(by_order, 1):
        lines.append(f"\\{n}-grams:")
        lines += ["\t".join([str(grams[g][0]), " ".join(g), *([str(grams[g][1])] if n < order else [])]) for g in one]
        lines.append("")
    Path(path).write_text("\n".join([*lines, "\\end\\", ""]), encoding="utf-8")
    return path


def log10_p(grams, context, word):
    """Katz's back-off as it is defined."""
    order = max(map(len, grams))
    context = tuple(context)[-(order - 1) :] if order > 1 else ()
    if (*context, word) in grams:
        return grams[(*context, word)][0]
    if not context:
        return -np.inf
    return (grams[context][1] if context in grams else 0.0) + log10_p(grams, context[1:], word)


def sentence(grams, words):
    """The natural log probability of words and the end."""
    context, total = ["<s>"], 0.0
    for word in (*words, "</s>"):
        word = word if (word,) in grams else "<unk>"
        total += log10_p(grams, context, word)
        context.append(word)
    return total * np.log(10)
