"""ctc_beam: CTC prefix beam search.

Source: Graves, "Sequence transduction with recurrent neural networks" (2012), and Hannun et al., "First-pass large vocabulary
continuous speech recognition using bi-directional recurrent DNNs" (2014), Algorithm 1.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from pyasr.ops._door import Door
from pyasr.ops._fusion import Fusion, check_model
from pyasr.ops._op import Row
from pyasr.ops.ctc import log_softmax
from pyasr.ops.greedy import check_frames

WIDEST = 4096
MOST_PREFIXES = 2**30  # of one utterance
Prefix = tuple[int, ...]


class Cell(NamedTuple):
    """A prefix and the log probabilities of its paths that end in a blank and in its last label, with its weights."""

    prefix: Prefix
    blank: float
    label: float

    @property
    def total(self) -> float:
        return float(np.logaddexp(self.blank, self.label))


def rounded(x: float) -> float:
    """x to 2⁻³⁰: prefixes are compared by that, so that rounding does not decide between equal ones."""
    return (x + 1.5 * 2**22) - 1.5 * 2**22


def best_first(cells: list[Cell]) -> list[Cell]:
    """Without those of probability 0; of equal ones, the first stays first."""
    return sorted((c for c in cells if c.total > -np.inf), key=lambda c: -rounded(c.total))


def search(log_y: np.ndarray, width: int, blank: int, fusion: Fusion, min_log_p: float) -> tuple[list[Cell], float]:
    """The beam after the frames log_y [T,V], best first, and what its log probabilities are less."""
    beam, shift = [Cell((), 0.0, -np.inf)], 0.0
    for y in log_y.tolist():
        may_begin = [v for v, p in enumerate(y) if v != blank and p >= min_log_p and p > -np.inf]
        known = {cell.prefix for cell in beam}
        extended = {
            (*cell.prefix, v): (cell.blank if cell.prefix[-1:] == (v,) else cell.total)
            + y[v]
            + fusion.step(cell.prefix, v)
            for cell in beam
            for v in may_begin
        }
        stays = []
        for cell in beam:
            again = cell.label + y[cell.prefix[-1]] if cell.prefix else -np.inf
            label = np.logaddexp(again, extended.get(cell.prefix, -np.inf))
            stays.append(Cell(cell.prefix, cell.total + y[blank], float(label)))
        new = [Cell(prefix, -np.inf, p) for prefix, p in extended.items() if prefix not in known]
        beam = best_first(stays + new)[:width]
        if not beam:
            break
        best = beam[0].total
        beam = [Cell(c.prefix, c.blank - best, c.label - best) for c in beam]
        shift += best
    return beam, shift


def ctc_beam(
    logits: np.ndarray,
    lengths: np.ndarray,
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
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    door = Door("ctc_beam")
    blank = check_frames(door, logits, lengths, blank)
    width = door.integer("width", width, 1, WIDEST)
    mark = check_model(door, lm, delimiter, blank)
    weight = door.real("lm_weight", lm_weight, 0.0, 1e6)
    bonus = door.real("length_bonus", length_bonus, -1e6, 1e6)
    n_best = door.integer("n_best", n_best, 1, width)
    lowest = -np.inf if min_log_p is None else door.real("min_log_p", min_log_p)
    door.threads(threads)
    door.lengths_within("lengths", lengths, door["T"], "T")
    if (longest := int(lengths.max(initial=0))) > MOST_PREFIXES // width:
        door.value_error(f"lengths must be at most {MOST_PREFIXES // width} with width = {width}, got {longest}")

    frames, batch, _ = logits.shape
    labels = np.full((batch, n_best, frames), -1, np.int32)
    counts = np.full((batch, n_best), -1, np.int32)
    scores, log_p, lm_log_p = (np.full((batch, n_best), -np.inf) for _ in range(3))
    with np.errstate(all="ignore"):
        for b, n in enumerate(lengths):
            log_y = log_softmax(logits[:n, b].astype(np.float64))
            if np.isnan(log_y).any():
                scores[b] = log_p[b] = lm_log_p[b] = np.nan
                continue
            fusion = Fusion(door, lm, weight, bonus, mark)
            beam, shift = search(log_y, width, blank, fusion, lowest)
            ends = {cell.prefix: fusion.finish(cell.prefix) for cell in beam}
            beam = [Cell(c.prefix, c.blank + ends[c.prefix][0], c.label + ends[c.prefix][0]) for c in beam]
            for k, cell in enumerate(best_first(beam)[:n_best]):
                counts[b, k] = len(cell.prefix)
                labels[b, k, : len(cell.prefix)] = cell.prefix
                scores[b, k] = cell.total + shift
                log_p[b, k] = scores[b, k] - ends[cell.prefix][1]
                lm_log_p[b, k] = ends[cell.prefix][2]
        scores, log_p, lm_log_p = (x.astype(logits.dtype) for x in (scores, log_p, lm_log_p))
    return labels, counts, scores, log_p, lm_log_p


def example(rng: np.random.Generator, size: tuple[int, int, int, int], dtype: np.dtype) -> tuple[tuple, dict]:
    frames, batch, symbols, width = size
    sharpness = rng.choice([0.3, 2.0, 6.0], (1, batch, 1))  # from untrained to sure
    logits = (sharpness * rng.standard_normal((frames, batch, symbols))).astype(dtype)
    lengths = rng.integers(frames // 2, frames, batch, np.int32, endpoint=True)
    if batch > 1:
        lengths[0], lengths[-1] = frames, min(frames, 1)
    return (logits, lengths), {
        "width": width, "blank": symbols // 3, "n_best": (width + 1) // 2, "length_bonus": 0.25,
    }  # fmt: skip


def beam_bytes(logits: np.ndarray, lengths: np.ndarray, **_: Any) -> float:
    return 1.0 * float(lengths.sum()) * logits.shape[2] * logits.itemsize


def beam_flops(logits: np.ndarray, lengths: np.ndarray, *, width: int = 16, **_: Any) -> float:
    return float(lengths.sum()) * (logits.shape[2] * (40.0 + 4.0 * width) + 200.0 * width)


ROWS = (
    Row(
        reference=ctc_beam,
        example=example,
        sizes=(
            (1, 1, 1, 1),
            (3, 0, 4, 2),
            (0, 3, 5, 3),
            (4, 2, 2, 30),  # wider than there are prefixes
            (7, 2, 3, 1),
            (13, 3, 29, 7),
            (40, 3, 17, 16),
            (31, 3, 65, 33),
            (5, 2, 700, 5),
        ),
        benchmark_size=(500, 4, 32, 16),
        tolerance={"float32": 2e-7, "float64": 1e-12},
        reason="the search is in float64; a score is rounded to the dtype",
        bytes=beam_bytes,
        flops=beam_flops,
    ),
)
