"""Prefix beam search: against every path of tiny lattices, against ctc_loss, and what must hold for any search."""

import itertools

import numpy as np
import pytest

from pyasr.counter import stream
from pyasr.decode import ctc_beam, ctc_greedy
from pyasr.ops import rows, why_not
from pyasr.ops._op import backend, has
from pyasr.ops.ctc import log_softmax

COLUMNS = [c for c in ("numpy", "cpp") if why_not(c) is None and has(rows()["ctc_beam"], c)]
every_column = pytest.mark.parametrize("column", COLUMNS)


def collapsed(path, blank):
    return tuple(s for s, _ in itertools.groupby(path) if s != blank)


def enumerated(logits, blank):
    """{labels: log probability} over all paths; logits [T,V]."""
    log_y, found = log_softmax(logits.astype(np.float64)), {}
    for path in itertools.product(range(log_y.shape[1]), repeat=len(log_y)):
        labels = collapsed(path, blank)
        found[labels] = np.logaddexp(found.get(labels, -np.inf), log_y[np.arange(len(log_y)), list(path)].sum())
    return found


def hypotheses(result, b):
    """[(labels, score, log_p, lm_log_p)] of utterance b."""
    labels, counts, *numbers = (r[b] for r in result)
    return [(tuple(labels[k, :n].tolist()), *(x[k] for x in numbers)) for k, n in enumerate(counts) if n >= 0]


@every_column
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_wide_beam_is_the_sum_over_all_paths(column, dtype):
    for case in range(25):
        rng = stream("paths", case)
        frames, symbols = int(rng.integers(1, 6)), int(rng.integers(1, 5))
        blank, bonus = int(rng.integers(symbols)), float(rng.normal())
        logits = (2 * rng.standard_normal((frames, 1, symbols))).astype(dtype)
        want = {s: p + bonus * len(s) for s, p in enumerated(logits[:, 0], blank).items()}
        result = backend(column).ctc_beam(
            logits, np.array([frames], np.int32), width=400, n_best=400, blank=blank, length_bonus=bonus
        )
        got = hypotheses(result, 0)
        assert [g[0] for g in got] == sorted(want, key=want.get, reverse=True)
        np.testing.assert_allclose([g[1] for g in got], sorted(want.values(), reverse=True), rtol=1e-6)
        np.testing.assert_allclose([g[2] + bonus * len(g[0]) for g in got], [g[1] for g in got], rtol=1e-5, atol=1e-6)


@every_column
def test_what_lies_below_min_log_p_begins_nowhere(column):
    for case in range(15):
        logits = 2 * stream("pruned", case).standard_normal((4, 1, 3))
        log_y, floor, want = log_softmax(logits[:, 0]), -1.5, {}
        for path in itertools.product(range(3), repeat=4):
            begins = [t for t in range(4) if path[t] != 0 and (t == 0 or path[t] != path[t - 1])]
            if all(log_y[t, path[t]] >= floor for t in begins):
                labels, p = collapsed(path, 0), log_y[np.arange(4), list(path)].sum()
                want[labels] = np.logaddexp(want.get(labels, -np.inf), p)
        result = backend(column).ctc_beam(logits, np.array([4], np.int32), width=99, n_best=99, min_log_p=floor)
        got = {labels: p for labels, _, p, _ in hypotheses(result, 0)}
        assert got.keys() == want.keys()
        np.testing.assert_allclose([got[s] for s in want], list(want.values()), rtol=1e-9)


@every_column
def test_one_frame_has_the_probabilities_of_its_symbols(column):
    logits = np.array([[[0.0, 1.0, -np.inf, 3.0]]])
    result = backend(column).ctc_beam(logits, np.array([1], np.int32), width=9, n_best=9)
    assert [h[0] for h in hypotheses(result, 0)] == [(3,), (1,), ()]  # what has probability 0 is no hypothesis


def loss_of(logits, labels):
    """-log p(labels | logits [T,V]) over all paths."""
    label = np.array([labels], np.int32).reshape(1, -1)
    whole = np.ascontiguousarray(logits[:, None])
    return backend().ctc_loss(whole, np.array([len(logits)], np.int32), label, np.array([label.size], np.int32))[0][0]


def test_the_probability_of_a_hypothesis_is_at_most_that_of_its_labels():
    logits, lengths = stream("loss").standard_normal((30, 3, 7)), np.array([30, 21, 9], np.int32)
    for scale, lost in ((1.0, 3.0), (5.0, 0.3)):  # nats of paths that a beam may have missed
        for b, found in enumerate(ctc_beam(scale * logits, lengths, width=50, n_best=20)):
            losses = [loss_of(scale * logits[: lengths[b], b], h.labels) for h in found]
            assert all(h.log_p <= 1e-9 - loss for h, loss in zip(found, losses, strict=True))
            assert found[0].log_p > -lost - losses[0]


@pytest.mark.skipif("cpp" not in COLUMNS, reason="no native code in this install")
@pytest.mark.parametrize("width", [1, 2, 7, 16, 40])
def test_native_search_is_the_reference_search(width):
    for case, scale in enumerate((0.0, 0.01, 0.3, 2.0, 20.0, 500.0)):
        rng = stream("columns", width, case)
        logits = scale * rng.standard_normal((60, 2, 11))
        kwargs = {"width": width, "n_best": width, "blank": 3, "length_bonus": float(rng.normal())}
        want, got = (backend(c).ctc_beam(logits, np.array([60, 37], np.int32), **kwargs) for c in ("numpy", "cpp"))
        assert np.array_equal(got[0], want[0])
        assert np.array_equal(got[1], want[1])
        for g, w in zip(got[2:], want[2:], strict=True):
            np.testing.assert_allclose(g, w, rtol=1e-11, atol=1e-10)


@every_column
def test_ties_go_by_the_rule(column):
    """All symbols alike: first what was there, then by the parent's rank, then by the label."""
    result = backend(column).ctc_beam(np.zeros((1, 1, 4)), np.array([1], np.int32), width=3, n_best=3, blank=1)
    assert [h[0] for h in hypotheses(result, 0)] == [(), (0,), (2,)]
    result = backend(column).ctc_beam(np.zeros((2, 1, 3)), np.array([2], np.int32), width=9, n_best=9)
    assert [h[0] for h in hypotheses(result, 0)] == [(1,), (2,), (), (1, 2), (2, 1)]  # 3, 3, 1, 1, 1 paths of 9


def test_an_utterance_does_not_depend_on_its_neighbors():
    logits = stream("neighbors").standard_normal((40, 5, 9)).astype(np.float32)
    lengths = np.array([40, 0, 13, 39, 1], np.int32)
    together = backend().ctc_beam(logits, lengths, width=8, n_best=4, threads=3)
    for b, n in enumerate(lengths):
        alone = backend().ctc_beam(
            np.ascontiguousarray(logits[:n, b : b + 1]), lengths[b : b + 1], width=8, n_best=4, threads=1
        )
        assert np.array_equal(alone[0][0], together[0][b, :, :n])
        assert all(np.array_equal(a[0], t[b]) for a, t in zip(alone[1:], together[1:], strict=True))


def test_the_first_hypotheses_do_not_depend_on_how_many_are_asked_for():
    logits, lengths = stream("n_best").standard_normal((25, 2, 6)), np.array([25, 20], np.int32)
    many = ctc_beam(logits, lengths, width=12, n_best=12)
    assert [h[:3] for h in many] == ctc_beam(logits, lengths, width=12, n_best=3)
    for found in many:
        assert len({tuple(h.labels) for h in found}) == len(found) == 12
        assert all(a.score >= b.score for a, b in itertools.pairwise(found))


@every_column
def test_no_frames_no_utterances_and_one_symbol(column):
    ops = backend(column)
    labels, counts, scores, *_ = ops.ctc_beam(np.zeros((0, 2, 4)), np.zeros(2, np.int32), n_best=2)
    assert labels.shape == (2, 2, 0)
    assert counts.tolist() == [[0, -1], [0, -1]]
    assert scores.tolist() == [[0, -np.inf], [0, -np.inf]]
    assert [x.shape[0] for x in ops.ctc_beam(np.zeros((3, 0, 4)), np.zeros(0, np.int32))] == [0] * 5
    assert hypotheses(ops.ctc_beam(np.zeros((9, 1, 1)), np.array([9], np.int32)), 0) == [((), 0, 0, 0)]


@every_column
@pytest.mark.parametrize("bad", [np.nan, np.inf, "all -inf"])
def test_a_frame_without_a_softmax_loses_its_utterance_alone(column, bad):
    logits = stream("lost").standard_normal((9, 3, 4))
    if bad == "all -inf":
        logits[5, 1] = -np.inf
    else:
        logits[5, 1, 2] = bad
    lengths = np.array([9, 6, 9], np.int32)
    _, counts, *numbers = backend(column).ctc_beam(logits, lengths, n_best=2)
    assert (counts[1] == -1).all()
    assert all(np.isnan(x[1]).all() and np.isfinite(x[[0, 2]]).all() for x in numbers)
    with pytest.raises(ValueError, match="ctc_beam: logits must have a softmax in every frame, got NaN in utterance 1"):
        ctc_beam(logits, lengths)
    lengths[1] = 5  # padding is not read
    assert len(ctc_beam(logits, lengths)[1]) == 1


def test_long_utterances_keep_their_digits():
    frames = 5_000
    said = np.arange(frames) // 10 % 4
    logits = 9 * np.eye(4)[said][:, None] + 0.1 * stream("long").standard_normal((frames, 1, 4))
    lengths = np.array([frames], np.int32)
    best = ctc_beam(logits, lengths, width=3)[0][0]
    assert best.labels == ctc_greedy(logits, lengths)[0]
    assert -1.0 < best.log_p + loss_of(logits[:, 0], best.labels) <= 1e-9
    _, _, _, log_p, _ = backend("numpy").ctc_beam(logits, lengths, width=3)
    assert best.log_p == pytest.approx(log_p[0, 0], rel=1e-11)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"width": 0}, r"width must lie in \[1, 4096\], got 0"),
        ({"width": 4, "n_best": 5}, r"n_best must lie in \[1, 4\], got 5"),
        ({"blank": 4}, r"blank must lie in \[0, 3\], got 4"),
        ({"length_bonus": np.nan}, "length_bonus must lie in"),
        ({"min_log_p": np.inf}, "min_log_p must be finite, got inf"),
        ({"lengths": np.array([9], np.int32)}, r"lengths must lie in \[0, T = 3\], got 9 at 0"),
    ],
)
def test_bad_arguments_are_named(change, message):
    with pytest.raises(ValueError, match=f"ctc_beam: {message}"):
        ctc_beam(**{"logits": np.zeros((3, 1, 4)), "lengths": np.array([3], np.int32), **change})
