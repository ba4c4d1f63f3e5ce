"""hmm_forward_backward and viterbi: a hidden Markov model over a batch of sequences, in the log domain.

The notation is that of Rabiner, "A tutorial on hidden Markov models" (Proc. IEEE 1989): alpha and beta, with final
probabilities beside the initial ones. The path is Viterbi's ("Error bounds for convolutional codes", IEEE Trans. Information
Theory 1967).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from pyasr.ops._door import FLOATS, INT32, Door
from pyasr.ops._op import Row


def check(
    op: str, log_emissions: Any, lengths: Any, log_initial: Any, log_transitions: Any, log_final: Any, threads: Any
) -> None:
    """Raise for bad arguments."""
    door = Door(op)
    dtype = door.array("log_emissions", log_emissions, FLOATS).dtype
    door.read("log_emissions", log_emissions, "T B N", dtype)
    door.read("lengths", lengths, "B", INT32)
    door.read("log_initial", log_initial, "N", dtype)
    door.read("log_transitions", log_transitions, "N N", dtype)
    door.read("log_final", log_final, "N", dtype, optional=True)
    door.threads(threads)
    if door["N"] == 0:
        door.value_error("log_emissions must have at least one state, got N = 0")
    door.lengths_within("lengths", lengths, door["T"], "T")


def log_sum(x: np.ndarray, axis: int) -> np.ndarray:
    """log Σ exp x; -inf of nothing but -inf."""
    most = x.max(axis, keepdims=True)
    most = np.where(most > -np.inf, most, 0.0)
    return np.log(np.exp(x - most).sum(axis)) + most.squeeze(axis)


def below_maximum(x: np.ndarray, axis: int | None = None) -> tuple[np.ndarray, float]:
    """x less its maxima along the axis, and their sum: so that a large entry does not swallow the others' digits."""
    most = x.max(axis, keepdims=True)
    most = np.where(most > -np.inf, most, 0.0)
    return x - most, float(most.sum())


def forward_backward(
    emissions: np.ndarray, initial: np.ndarray, transitions: np.ndarray, final: np.ndarray
) -> tuple[float, np.ndarray, np.ndarray]:
    """log p, the posteriors [T,N] and the expected transitions [N,N] of one sequence of T ≥ 1 frames; zeros where p is 0."""
    frames, states = emissions.shape
    (emissions, of_frames), (transitions, of_step) = below_maximum(emissions, 1), below_maximum(transitions)
    (initial, of_initial), (final, of_final) = below_maximum(initial), below_maximum(final)
    alpha, beta = np.empty((2, frames, states))
    alpha[0] = initial + emissions[0]
    for t in range(1, frames):
        alpha[t] = log_sum(alpha[t - 1][:, None] + transitions, 0) + emissions[t]
    beta[-1] = final
    for t in range(frames - 2, -1, -1):
        beta[t] = log_sum(transitions + (emissions[t + 1] + beta[t + 1]), 1)
    log_p = float(log_sum(alpha[-1] + beta[-1], 0))
    counts = np.zeros((states, states))
    if log_p == -np.inf:
        return log_p, np.zeros((frames, states)), counts
    posteriors = np.exp(alpha + beta - log_p)
    mass = posteriors.sum(1, keepdims=True)  # one, up to rounding: every path is somewhere
    for t in range(1, frames):
        counts += np.exp(alpha[t - 1][:, None] + transitions + (emissions[t] + beta[t] - log_p)) / mass[t]
    return log_p + of_frames + of_initial + (frames - 1) * of_step + of_final, posteriors / mass, counts


def best_path(
    emissions: np.ndarray, initial: np.ndarray, transitions: np.ndarray, final: np.ndarray
) -> tuple[np.ndarray | None, float]:
    """The path [T] with the largest log p, of T ≥ 1 frames, and that log p; None where it is -inf.

    Of equal paths the one with the lowest state, seen from the end.
    """
    frames, states = emissions.shape
    value = initial + emissions[0]
    back = np.zeros((frames, states), np.int32)
    for t in range(1, frames):
        ways = value[:, None] + transitions
        back[t] = ways.argmax(0)
        value = ways.max(0) + emissions[t]
    value = value + final
    state = int(value.argmax())
    if value[state] == -np.inf:
        return None, -np.inf
    path = np.empty(frames, np.int32)
    for t in range(frames - 1, -1, -1):
        path[t] = state
        state = int(back[t, state])
    return path, float(value[path[-1]])


def doubles(
    log_emissions: np.ndarray, log_initial: np.ndarray, log_transitions: np.ndarray, log_final: np.ndarray | None
) -> tuple[np.ndarray, tuple[np.ndarray, np.ndarray, np.ndarray], bool]:
    """The arrays in float64, with zeros for no log_final, and whether the model holds NaN or +inf."""
    final = np.zeros(len(log_initial)) if log_final is None else log_final
    model = log_initial.astype(float), log_transitions.astype(float), final.astype(float)
    return log_emissions.astype(float), model, not all((x < np.inf).all() for x in model)


def hmm_forward_backward(
    log_emissions: np.ndarray,
    lengths: np.ndarray,
    log_initial: np.ndarray,
    log_transitions: np.ndarray,
    log_final: np.ndarray | None = None,
    *,
    threads: int | None = None,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    check("hmm_forward_backward", log_emissions, lengths, log_initial, log_transitions, log_final, threads)
    emissions, model, lost = doubles(log_emissions, log_initial, log_transitions, log_final)
    log_p, posteriors, counts = np.zeros(len(lengths)), np.zeros(emissions.shape), np.zeros(log_transitions.shape)
    with np.errstate(all="ignore"):
        for b, frames in enumerate(lengths):
            x = emissions[:frames, b]
            if frames == 0:
                continue
            if lost or not (x < np.inf).all():
                log_p[b] = posteriors[:frames, b] = np.nan
                continue
            log_p[b], posteriors[:frames, b], own = forward_backward(x, *model)
            counts += own
        dtype = log_emissions.dtype
        return log_p.astype(dtype), posteriors.astype(dtype), counts.astype(dtype)


def viterbi(
    log_emissions: np.ndarray,
    lengths: np.ndarray,
    log_initial: np.ndarray,
    log_transitions: np.ndarray,
    log_final: np.ndarray | None = None,
    *,
    threads: int | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    check("viterbi", log_emissions, lengths, log_initial, log_transitions, log_final, threads)
    emissions, model, lost = doubles(log_emissions, log_initial, log_transitions, log_final)
    path, log_p = np.full(emissions.shape[:2], -1, np.int32), np.zeros(len(lengths))
    with np.errstate(all="ignore"):
        for b, frames in enumerate(lengths):
            x = emissions[:frames, b]
            if frames == 0:
                continue
            if lost or not (x < np.inf).all():
                log_p[b] = np.nan
                continue
            found, log_p[b] = best_path(x, *model)
            if found is not None:
                path[:frames, b] = found
        return path, log_p.astype(log_emissions.dtype)


def example(rng: np.random.Generator, size: tuple[int, int, int, str], dtype: np.dtype) -> tuple[tuple, dict]:
    """Models of every kind: "dense", "chain" (left to right with skips, ending in the last state), "holes" (half the arcs)."""
    frames, batch, states, kind = size
    emissions = 3 * rng.standard_normal((frames, batch, states))
    lengths = rng.integers(frames // 2, frames, batch, np.int32, endpoint=True)
    lengths[:1] = frames
    lengths[1:2] = 0
    transitions, initial = rng.standard_normal((states, states)), rng.standard_normal(states)
    final = None
    if kind == "chain":
        ahead = np.arange(states) - np.arange(states)[:, None]
        transitions[(ahead < 0) | (ahead > 2)] = -np.inf
        initial[1:] = -np.inf
        final = np.where(np.arange(states) == states - 1, 0.0, -np.inf)
    if kind == "holes":
        transitions[rng.random(transitions.shape) < 0.5] = -np.inf
        final = rng.standard_normal(states)
    arrays = (emissions.astype(dtype), lengths, initial.astype(dtype), transitions.astype(dtype))
    return (arrays if final is None else (*arrays, final.astype(dtype))), {}


def hmm_bytes(log_emissions: np.ndarray, *_: Any, **__: Any) -> float:
    return 2.0 * log_emissions.nbytes


def hmm_flops(_: Any, lengths: np.ndarray, __: Any, log_transitions: np.ndarray, *___: Any, **____: Any) -> float:
    """Of three products of a row with the arcs that there are."""
    return 6.0 * float(lengths.sum()) * float(np.count_nonzero(log_transitions > -np.inf))


# Frames, utterances, states, kind.
SIZES = (
    (3, 0, 2, "dense"),
    (0, 3, 2, "chain"),
    (1, 1, 1, "dense"),
    (1, 2, 3, "chain"),  # one frame does not reach the end
    (2, 5, 17, "chain"),  # nor do two
    (4, 2, 2, "holes"),
    (7, 3, 5, "dense"),
    (13, 5, 7, "chain"),
    (19, 9, 33, "dense"),
    (40, 7, 23, "holes"),
    (67, 3, 65, "chain"),
    (150, 8, 29, "dense"),
    (211, 5, 100, "holes"),
)
BENCHMARK_SIZE = (500, 16, 100, "dense")


ROWS = (
    Row(
        reference=hmm_forward_backward,
        example=example,
        sizes=SIZES,
        benchmark_size=BENCHMARK_SIZE,
        tolerance={"float32": 5e-6, "float64": 1e-12},
        reason="relative rounding of a cell grows with the square root of the frames",
        bytes=hmm_bytes,
        flops=hmm_flops,
    ),
    Row(
        reference=viterbi,
        example=example,
        sizes=SIZES,
        benchmark_size=BENCHMARK_SIZE,
        tolerance={"float32": 1e-7, "float64": 1e-15},
        reason="the same sums in float64, one rounding at the end",
        bytes=lambda log_emissions, *_, **__: 1.0 * log_emissions.nbytes,
        flops=lambda *args, **kwargs: hmm_flops(*args, **kwargs) / 3,
    ),
)
