"""Forced alignment: against every path of tiny lattices, against ctc_loss, and what must hold for any path."""

import itertools

import numpy as np
import pytest

from pyasr.decode import Span, ctc_align
from pyasr.ops import rows, why_not
from pyasr.ops._op import backend, has

COLUMNS = [c for c in ("numpy", "cpp") if why_not(c) is None and has(rows()["ctc_align"], c)]


def collapsed(path, blank):
    merged = [s for s, _ in itertools.groupby(path)]
    return [s for s in merged if s != blank]


def log_softmax(x):
    x = x.astype(np.float64)
    x = x - x.max(-1, keepdims=True)
    return x - np.log(np.exp(x).sum(-1, keepdims=True))


def arguments(logits, labels, lengths=None):
    frames, batch, _ = logits.shape
    counts = np.array([len(row) for row in labels], np.int32)
    table = np.full((batch, max(counts, default=0)), -1, np.int32)
    for b, row in enumerate(labels):
        table[b, : len(row)] = row
    return logits, np.full(batch, frames, np.int32) if lengths is None else np.array(lengths, np.int32), table, counts


@pytest.mark.parametrize("column", COLUMNS)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_best_of_all_paths(column, dtype):
    rng = np.random.default_rng(0)
    for _ in range(60):
        frames, symbols, blank = int(rng.integers(1, 6)), 3, int(rng.integers(3))
        labels = [int(s) for s in rng.choice([k for k in range(symbols) if k != blank], rng.integers(0, 4))]
        logits = (3 * rng.standard_normal((frames, 1, symbols))).astype(dtype)
        log_y = log_softmax(logits[:, 0])
        paths = [p for p in itertools.product(range(symbols), repeat=frames) if collapsed(p, blank) == labels]
        positions, scores, log_p = backend(column).ctc_align(*arguments(logits, [labels]), blank=blank)
        if not paths:
            assert log_p[0] == -np.inf
            assert (positions == -1).all()
            assert (scores == 0).all()
            continue
        values = [log_y[np.arange(frames), p].sum() for p in map(list, paths)]
        best = list(paths[int(np.argmax(values))])
        assert log_p[0] == pytest.approx(max(values), rel=1e-5)
        found = [blank if u < 0 else labels[u] for u in positions[:, 0]]
        assert found == best
        np.testing.assert_allclose(scores[:, 0], log_y[np.arange(frames), best], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("column", COLUMNS)
def test_long_paths_spell_their_labels_and_are_below_the_loss(column):
    rng = np.random.default_rng(1)
    logits = (2 * rng.standard_normal((200, 6, 9))).astype(np.float32)
    labels = [rng.integers(1, 9, n).tolist() for n in (0, 1, 40, 70, 99, 150)]
    lengths = [200, 3, 90, 200, 199, 200]
    args = arguments(logits, labels, lengths)
    positions, scores, log_p = backend(column).ctc_align(*args)
    loss = backend(column).ctc_loss(*args)[0]
    for b, (row, n) in enumerate(zip(labels, lengths, strict=True)):
        assert (positions[n:, b] == -1).all()
        assert (scores[n:, b] == 0).all()
        if not np.isfinite(loss[b]):
            assert log_p[b] == -np.inf
            continue
        path = [0 if u < 0 else row[u] for u in positions[:n, b]]
        assert collapsed(path, 0) == row
        assert log_p[b] <= -loss[b] + 1e-3
        assert log_p[b] == pytest.approx(scores[:, b].sum(dtype=float), rel=1e-5)
        alone = backend(column).ctc_align(*arguments(logits[:n, b : b + 1].copy(), [row]))
        np.testing.assert_array_equal(alone[0][:, 0], positions[:n, b])
        np.testing.assert_array_equal(alone[1][:, 0], scores[:n, b])


@pytest.mark.parametrize("column", COLUMNS)
def test_lost_frames_and_impossible_labels(column):
    logits = np.zeros((6, 4, 3), np.float32)
    logits[2, 0, 1] = np.nan
    logits[:, 1, 2] = -np.inf
    logits[3, 2] = 1e30
    logits[5, 3] = np.inf  # not looked at
    positions, scores, log_p = backend(column).ctc_align(*arguments(logits, [[1], [2], [1, 2], [1]], [6, 6, 6, 5]))
    assert np.isnan(log_p[0])
    assert np.isnan(scores[:, 0]).all()
    assert log_p[1] == -np.inf
    np.testing.assert_allclose(scores[:, 2], -np.log(3), rtol=1e-6)
    assert np.isfinite(log_p[3])
    assert (positions[:, :2] == -1).all()
    with pytest.raises(
        ValueError, match=r"^ctc_align: logits must have a softmax in every frame, got NaN in utterance 0"
    ):
        ctc_align(*arguments(logits, [[1], [2], [1, 2], [1]], [6, 6, 6, 5]))


@pytest.mark.skipif(why_not("cpp") is not None, reason="no native code in this install")
def test_columns_take_the_same_path_among_equals():
    """All paths are equal, or nearly all: the same ties, the same sums in float64."""
    rng = np.random.default_rng(2)
    for logits in (np.zeros((40, 3, 4)), rng.integers(0, 2, (40, 3, 4)).astype(float)):
        for dtype in ("float32", "float64"):
            args = arguments(logits.astype(dtype), [[1, 1, 2], [3], [2, 1, 2, 1, 3, 3]], [40, 17, 33])
            want, got = (backend(c).ctc_align(*args) for c in ("numpy", "cpp"))
            np.testing.assert_array_equal(got[0], want[0])
            for threads in (2, 5):
                again = backend("cpp").ctc_align(*args, threads=threads)
                for a, b in zip(again, got, strict=True):
                    np.testing.assert_array_equal(a, b)


def test_spans_have_times_and_scores():
    said = np.array([0, 3, 3, 0, 3, 1, 1, 0])
    logits = 9 * np.eye(4, dtype="f4")[said][:, None].repeat(2, axis=1)
    spans = ctc_align(*arguments(logits, [[3, 3, 1], [3, 3, 1]], [8, 3]))
    assert [s[:3] for s in spans[0]] == [(3, 1, 3), (3, 4, 5), (1, 5, 7)]
    assert isinstance(spans[0][0], Span)
    assert spans[0][0].score == pytest.approx(log_softmax(logits)[1, 0, 3], abs=1e-6)
    assert spans[1] is None
