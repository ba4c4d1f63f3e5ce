"""Hidden Markov models: against every path of tiny models, by finite differences, as CTC, and at the edges."""

import itertools
import os
import subprocess
import sys

import numpy as np
import pytest

from pyasr.ops import rows, why_not
from pyasr.ops._op import backend, has

COLUMNS = [c for c in ("numpy", "cpp") if why_not(c) is None and has(rows()["viterbi"], c)]
needs_cpp = pytest.mark.skipif("cpp" not in COLUMNS, reason="no native code in this install")
KINDS = ("dense", "steep", "chain", "holes", "dead ends")


def model(rng, kind, states):
    """log_initial, log_transitions and log_final or None."""
    transitions, initial = rng.standard_normal((states, states)), rng.standard_normal(states)
    final = rng.standard_normal(states)
    if kind == "dense":
        final = None
    if kind == "steep":  # all arcs are there, but with probabilities that no scale per frame holds
        transitions *= 60
    if kind == "chain":
        ahead = np.arange(states) - np.arange(states)[:, None]
        transitions[(ahead < 0) | (ahead > 1)] = -np.inf
        initial[1:], final[:-1] = -np.inf, -np.inf
    if kind == "holes":
        transitions[rng.random(transitions.shape) < 0.5] = -np.inf
    if kind == "dead ends":
        transitions[0], transitions[:, -1], initial[0] = -np.inf, -np.inf, -np.inf
    return initial, transitions, final


def batch(x, *lengths):
    """x [T,N] repeated for each of the lengths."""
    return np.ascontiguousarray(np.repeat(x[:, None], len(lengths), 1)), np.array(lengths, np.int32)


def by_enumeration(x, initial, transitions, final):
    """log p, posteriors, counts, and the best path with its log p: all N^T paths in float64."""
    frames, states = x.shape
    paths = np.array(list(itertools.product(range(states), repeat=frames)))
    log_p = initial[paths[:, 0]] + x[np.arange(frames), paths].sum(1) + transitions[paths[:, :-1], paths[:, 1:]].sum(1)
    log_p = log_p if final is None else log_p + final[paths[:, -1]]
    best = int(log_p.argmax())
    if log_p[best] == -np.inf:
        return -np.inf, np.zeros((frames, states)), np.zeros((states, states)), None, -np.inf
    p = np.exp(log_p - log_p[best])
    posteriors, counts = np.zeros((frames, states)), np.zeros((states, states))
    for path, share in zip(paths, p / p.sum(), strict=True):
        posteriors[np.arange(frames), path] += share
        np.add.at(counts, (path[:-1], path[1:]), share)
    return np.log(p.sum()) + log_p[best], posteriors, counts, paths[best], log_p[best]


@pytest.mark.parametrize("column", COLUMNS)
@pytest.mark.parametrize("kind", KINDS)
def test_is_the_sum_and_the_best_of_all_paths(column, kind):
    ops, possible = backend(column), 0
    for seed in range(25):
        rng = np.random.default_rng(seed)
        frames, states = int(rng.integers(1, 6)), int(rng.integers(1, 5))
        x, parts = 4 * rng.standard_normal((frames, states)), model(rng, kind, states)
        log_p, posteriors, counts, path, best = by_enumeration(x, *parts)
        possible += path is not None
        got = ops.hmm_forward_backward(*batch(x, frames), *parts)
        for a, b in zip((got[0][0], got[1][:, 0], got[2]), (log_p, posteriors, counts), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-12)
        got = ops.viterbi(*batch(x, frames), *parts)
        np.testing.assert_array_equal(got[0][:, 0], -1 if path is None else path)
        np.testing.assert_allclose(got[1][0], best, rtol=1e-13)
    assert possible > 10


@pytest.mark.parametrize("column", COLUMNS)
@pytest.mark.parametrize("kind", KINDS)
def test_posteriors_and_counts_are_gradients(column, kind):
    rng, h = np.random.default_rng(1), 1e-5
    x, (initial, transitions, final) = rng.standard_normal((9, 3, 5)), model(rng, kind, 5)
    lengths = np.array([9, 6, 8], np.int32)
    final = np.zeros(5) if final is None else final

    def log_p(*arguments):
        return backend(column).hmm_forward_backward(arguments[0], lengths, *arguments[1:])[0].sum()

    arguments = [x, initial, transitions, final]
    _, posteriors, counts = backend(column).hmm_forward_backward(x, lengths, initial, transitions, final)
    ends = sum(posteriors[n - 1, b] for b, n in enumerate(lengths))
    for i, gradient in enumerate([posteriors, posteriors[0].sum(0), counts, ends]):
        direction = rng.standard_normal(gradient.shape)
        up, down = (
            log_p(*(a + sign * h * direction if i == k else a for k, a in enumerate(arguments))) for sign in (1, -1)
        )
        want = (gradient * direction).sum()
        assert want != 0
        np.testing.assert_allclose((up - down) / (2 * h), want, rtol=1e-7, atol=1e-8)


def ctc_model(labels, blank, y):
    """The lattice of labels as a model, and the emissions of its states: log y [T,V] of their symbols."""
    symbols = np.full(2 * len(labels) + 1, blank)
    symbols[1::2] = labels
    states = np.arange(len(symbols))
    ahead = states - states[:, None]
    arcs = (ahead == 0) | (ahead == 1)
    arcs |= (ahead == 2) & (symbols != blank) & (symbols != np.roll(symbols, 2))
    initial, final = np.where(states < 2, 0, -np.inf), np.where(states >= len(states) - 2, 0, -np.inf)
    return np.ascontiguousarray(y[:, symbols]), initial, np.where(arcs, 0, -np.inf), final


@pytest.mark.parametrize("column", COLUMNS)
def test_ctc_is_a_special_case(column):
    rng, ops = np.random.default_rng(2), backend(column)
    for labels in ([], [1], [2, 2], [1, 2, 2, 3, 1], [3, 1] * 9):
        logits = 3 * rng.standard_normal((40, 1, 5))
        y = logits[:, 0] - np.log(np.exp(logits[:, 0]).sum(1, keepdims=True))
        table, n, count = np.array([labels], np.int32).reshape(1, -1), np.array([40], np.int32), [len(labels)]
        count = np.array(count, np.int32)
        x, *parts = ctc_model(labels, 0, y)
        log_p, posteriors, _ = ops.hmm_forward_backward(*batch(x, 40), *parts)
        loss, gradient = ops.ctc_loss(logits, n, table, count)
        np.testing.assert_allclose(log_p, -loss, rtol=1e-12)
        blanks = posteriors[:, 0, ::2].sum(1)
        np.testing.assert_allclose(np.exp(y[:, 0]) - blanks, gradient[:, 0, 0], atol=1e-12)
        path, best = ops.viterbi(*batch(x, 40), *parts)
        positions, _, want = ops.ctc_align(logits, n, table, count)
        np.testing.assert_allclose(best, want, rtol=1e-12)
        np.testing.assert_array_equal(np.where(path[:, 0] % 2, path[:, 0] // 2, -1), positions[:, 0])


@pytest.mark.parametrize("column", COLUMNS)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("kind", KINDS)
def test_a_sequence_does_not_know_its_neighbors(column, dtype, kind):
    rng, ops = np.random.default_rng(3), backend(column)
    x = (3 * rng.standard_normal((50, 11, 19))).astype(dtype)
    parts = [p if p is None else p.astype(dtype) for p in model(rng, kind, 19)]
    lengths = np.array([50, 0, 19, 30, 1, 50, 49, 22, 2, 35, 30], np.int32)
    log_p, posteriors, counts = ops.hmm_forward_backward(x, lengths, *parts)
    path, best = ops.viterbi(x, lengths, *parts)
    total = np.zeros_like(counts, float)
    for b, n in enumerate(lengths):
        alone = x[:n, b : b + 1].copy(), lengths[b : b + 1], *parts
        one = ops.hmm_forward_backward(*alone)
        np.testing.assert_array_equal(one[0], log_p[b : b + 1])
        np.testing.assert_array_equal(one[1][:, 0], posteriors[:n, b])
        assert not posteriors[n:, b].any()
        assert (path[n:, b] == -1).all()
        np.testing.assert_allclose(posteriors[:n, b].sum(1), float(log_p[b] > -np.inf), atol=1e-5)
        one, total = ops.viterbi(*alone), total + one[2]
        np.testing.assert_array_equal(one[0][:, 0], path[:n, b])
        np.testing.assert_array_equal(one[1], best[b : b + 1])
    np.testing.assert_allclose(counts, total, rtol=1e-4 if dtype == "float32" else 1e-12, atol=1e-30)
    steps = sum(max(n - 1, 0) for n, p in zip(lengths, log_p, strict=True) if p > -np.inf)
    np.testing.assert_allclose(counts.sum(dtype=float), steps, rtol=1e-5)


@pytest.mark.parametrize("column", COLUMNS)
@pytest.mark.parametrize("kind", ["dense", "holes"])
def test_lost_and_impossible_sequences_leave_the_others_alone(column, kind):
    rng, ops = np.random.default_rng(4), backend(column)
    x, (initial, transitions, final) = rng.standard_normal((7, 6, 4)), model(rng, kind, 4)
    transitions[np.arange(4), np.arange(4)] = 0
    x[3, 0, 2], x[6, 1, 0], x[2, 2], x[0, 4, 1] = np.nan, np.inf, -np.inf, np.inf
    x[5, 3] = np.nan  # not looked at
    lengths = np.array([7, 7, 7, 5, 0, 7], np.int32)
    log_p, posteriors, counts = ops.hmm_forward_backward(x, lengths, initial, transitions, final)
    path, best = ops.viterbi(x, lengths, initial, transitions, final)
    for value in (log_p, best):
        np.testing.assert_array_equal(np.isnan(value), [True, True, False, False, False, False])
        assert value[2] == -np.inf
        assert value[4] == 0
        assert np.isfinite(value[[3, 5]]).all()
    assert np.isnan(posteriors[:, :2]).all()
    assert not posteriors[:, 2].any()
    assert not posteriors[:, 4].any()
    assert (path[:, [0, 1, 2, 4]] == -1).all()
    assert (path[:, 5] >= 0).all()
    own = ops.hmm_forward_backward(np.ascontiguousarray(x[:, [3, 5]]), lengths[[3, 5]], initial, transitions, final)
    np.testing.assert_allclose(counts, own[2], rtol=1e-14)
    for spoiled in range(3):
        for value in (np.nan, np.inf):
            parts = [p.copy() for p in (initial, transitions, np.zeros(4))]
            parts[spoiled].flat[1] = value
            log_p, posteriors, counts = ops.hmm_forward_backward(x, lengths, *parts)
            path, best = ops.viterbi(x, lengths, *parts)
            np.testing.assert_array_equal(np.isnan(log_p), lengths > 0)
            np.testing.assert_array_equal(np.isnan(best), lengths > 0)
            np.testing.assert_array_equal(np.isnan(posteriors[0, :, 0]), lengths > 0)
            assert not counts.any()
            assert (path == -1).all()


@pytest.mark.parametrize("column", COLUMNS)
def test_of_equal_paths_the_lowest_seen_from_the_end(column):
    ops, zeros = backend(column), np.zeros((20, 3))
    path, log_p = ops.viterbi(*batch(zeros, 20), np.zeros(3), np.zeros((3, 3)))
    assert not path.any()
    assert log_p == 0
    cycle = np.where(np.roll(np.eye(3), 1, 0) + np.eye(3) > 0, 0, -np.inf)  # from i to i and i - 1
    path, _ = ops.viterbi(*batch(zeros, 20), np.zeros(3), cycle, np.array([-1.0, 0.0, 0.0]))
    assert path[-1, 0] == 1
    assert path[-2, 0] == 1
    rng = np.random.default_rng(5)
    for kind in KINDS:
        x, parts = rng.integers(0, 2, (60, 11)).astype(float), model(rng, kind, 11)
        parts = [p if p is None else np.round(p) for p in parts]
        paths = [backend(c).viterbi(*batch(x, 60, 31), *parts)[0] for c in COLUMNS]
        for other in paths[1:]:
            np.testing.assert_array_equal(other, paths[0])


@needs_cpp
@pytest.mark.parametrize("kind", ["dense", "steep", "chain", "holes"])
def test_float32_keeps_its_posteriors_over_long_sequences(kind):
    """Relative to float64 logarithms; the chain's path runs hundreds of nats below its frames' best states."""
    rng, frames, states = np.random.default_rng(6), 3000, 40
    x = (25 * rng.standard_normal((frames, states))).astype("f4")
    parts = [p if p is None else p.astype("f4") for p in model(rng, kind, states)]
    log_p, posteriors, counts = backend("cpp").hmm_forward_backward(*batch(x, frames), *parts)
    doubles = (p if p is None else p.astype(float) for p in parts)
    want = backend("numpy").hmm_forward_backward(*batch(x.astype(float), frames), *doubles)
    np.testing.assert_allclose(log_p, want[0], rtol=1e-6)
    for got, exact in zip((posteriors, counts), want[1:], strict=True):
        assert np.linalg.norm(got - exact) <= 2e-5 * np.linalg.norm(exact)
        seen = exact > 1e-6
        assert np.abs(got[seen] / exact[seen] - 1).max() <= 1e-4


ISA_PROGRAM = """
import sys
from pyasr import _cpu
from pyasr.ops import rows
from pyasr.ops._compare import worst_error
assert _cpu.isa() == sys.argv[1], _cpu.isa()
for name in ("hmm_forward_backward", "viterbi"):
    row = rows()[name]
    for size in row.sizes:
        for dtype in row.dtypes:
            assert worst_error(row, "cpp", size, dtype) <= row.tolerance[dtype], (name, size, dtype)
print("right")
"""


def supported_isas():
    if "cpp" not in COLUMNS:
        return []
    from pyasr import _cpu

    return [isa for isa, supported in _cpu.isas().items() if supported]


@pytest.mark.parametrize("isa", supported_isas())
def test_every_instruction_set_is_right(isa):
    done = subprocess.run(
        [sys.executable, "-c", ISA_PROGRAM, isa],
        cwd="/",  # not in the checkout, whose pyasr is not the installed one
        env={**os.environ, "PYASR_ISA": isa}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.stdout == "right\n", done.stderr
