"""Prefix beam search."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from pyasr.ops import backend, host
from pyasr.ops._door import Door


class Hypothesis(NamedTuple):
    """Labels [U], and natural logarithms: score = log_p + lm_weight * lm_log_p + length_bonus * tokens, where log_p is that of
    the labels under CTC, as far as the beam has seen their paths, and lm_log_p that of tokens and end."""

    labels: list[int]
    score: float
    log_p: float
    lm_log_p: float


def ctc_beam(
    logits: Any,
    lengths: Any,
    *,
    width: int = 16,
    blank: int = 0,
    lm: Any = None,
    lm_weight: float = 0.5,
    length_bonus: float = 0.0,
    delimiter: int | None = None,
    n_best: int = 1,
    min_log_p: float | None = None,
    threads: int | None = None,
) -> list[list[Hypothesis]]:
    """The most probable labels of each utterance, best first, where the probability of labels is that of all paths to them;
    `ctc_greedy` looks at one path.

    logits [T, B, V] float32 or float64 (the softmax is taken here), lengths [B] int32; frames from lengths[b] on are not read.
    `width` prefixes go on from every frame. A label whose log probability is below `min_log_p` begins nowhere in that frame; by
    default none is left out. The result has up to `n_best` (at most `width`) hypotheses per utterance; those of probability 0
    are left out.

    A language model adds `lm_weight` times the log probability of every token, and of the end. Tokens are labels; with
    `delimiter`, the label between words, they are words, scored when they end. `length_bonus` is added per token, without a
    model per label.
    `lm` is what `Ngram.over` or `Ngram.over_words` made, or any object with

        start() -> state, once per utterance
        score(state, token) -> (natural log probability, state), once per prefix and token: a label, or the labels of a word
        end(state) -> natural log probability of the end, which it may lack

    Such an object is called on the calling thread, and what it raises passes through.

    Scores are compared after rounding to 2⁻³⁰. Of equal prefixes one that was in the beam wins over a new one, then the better of
    the frame before, then the lower label. An utterance's result depends neither on its neighbors nor on threads.

    Raises TypeError and ValueError naming the argument, and ValueError for a softmax that is NaN.

    Source: Graves, "Sequence transduction with recurrent neural networks" (2012); Hannun et al., "First-pass large vocabulary
    continuous speech recognition using bi-directional recurrent DNNs" (2014).

    >>> from pyasr.decode import ctc_beam, ctc_greedy
    >>> logits = np.log(np.array([[[0.4, 0.35, 0.25]], [[0.4, 0.35, 0.25]]]))  # the best path is blank, blank: 0.16
    >>> lengths = np.array([2], "i4")
    >>> ctc_greedy(logits, lengths)
    [[]]
    >>> [(h.labels, round(float(np.exp(h.log_p)), 4)) for h in ctc_beam(logits, lengths, n_best=3)[0]]
    [([1], 0.4025), ([2], 0.2625), ([], 0.16)]
    >>> class Likes2:
    ...     def start(self):
    ...         return None
    ...     def score(self, state, token):
    ...         return np.log(0.8 if token == 2 else 0.2), state
    >>> ctc_beam(logits, lengths, lm=Likes2(), lm_weight=1.0)[0][0].labels
    [2]
    """
    lengths = host(lengths)
    results = backend().ctc_beam(
        host(logits), lengths, width=width, blank=blank, lm=lm, lm_weight=lm_weight, length_bonus=length_bonus,
        delimiter=delimiter, n_best=n_best, min_log_p=min_log_p, threads=threads,
    )  # fmt: skip
    bad = np.flatnonzero(np.isnan(results[2]).any(axis=1))
    if bad.size:
        Door("ctc_beam").value_error(f"logits must have a softmax in every frame, got NaN in utterance {bad[0]}")
    return [
        [
            Hypothesis(labels[:n].tolist(), *map(float, numbers))
            for labels, n, *numbers in zip(*utterance, strict=True)
            if n >= 0
        ]
        for utterance in zip(*results, strict=True)
    ]
