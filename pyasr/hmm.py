"""Hidden Markov models: the probability of sequences, what Baum-Welch needs, and the best path."""

from __future__ import annotations

import numpy as np

from pyasr.ops import backend


def hmm_forward_backward(
    log_emissions: np.ndarray,
    lengths: np.ndarray,
    log_initial: np.ndarray,
    log_transitions: np.ndarray,
    log_final: np.ndarray | None = None,
    *,
    threads: int | None = None,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Log probabilities, state posteriors and expected transitions of sequences under a hidden Markov model.

    log_emissions [T,B,N] holds log p(frame | state), log_initial [N], log_transitions [N,N] from row to column, log_final [N]
    the log probability to end after a state (None: zeros); all natural logarithms of one dtype, float32 or float64, C-contiguous.
    They need not be normalized, and -inf says never. lengths [B] int32: frames from lengths[b] on are padding and not read.

    Returns (log_p [B], posteriors [T,B,N], transition_counts [N,N]) of that dtype: posteriors[t,b] is the distribution of the
    state at a frame and sums to one, zeros in the padding; transition_counts[i,j] is the expected number of steps from i to j,
    summed over the batch in a fixed order, which is what Baum-Welch divides by its row sums. They are the gradients of
    log_p.sum() for log_emissions and log_transitions; the posteriors of first and last frames, summed, those for log_initial and
    log_final.

    A sequence without frames has log_p 0. One without a path of probability above zero has log_p -inf and posteriors 0; one
    with NaN or +inf in a valid frame, log_p and posteriors NaN, and if the model holds NaN or +inf all sequences do. Neither
    adds to transition_counts, and others are not affected.

    Only arcs above -inf cost time. Float32 keeps posteriors to 1e-4 over 10000 frames, long chains included, whose cells get a
    scale each. Same bits for any number of threads; log_p and posteriors also for any composition of the batch.

    Raises TypeError and ValueError naming the argument for a wrong dtype, shape or layout, and for lengths outside [0, T].

    Source: Rabiner, "A tutorial on hidden Markov models and selected applications in speech recognition", Proc. IEEE 1989.

    >>> rainy, said = np.log([[0.7, 0.3], [0.3, 0.7]]), np.log([[0.9, 0.2], [0.1, 0.8]])  # umbrella or not, given rain or not
    >>> seen = said[[0, 0, 1, 0, 0]][:, None]
    >>> log_p, posteriors, counts = pyasr.hmm_forward_backward(seen, np.array([5], "i4"), np.log([0.5, 0.5]), rainy)
    >>> log_p.round(4), posteriors[:, 0, 0].round(3)
    (array([-3.3725]), array([0.867, 0.82 , 0.307, 0.82 , 0.867]))
    >>> counts.round(2)
    array([[2.08, 0.74],
           [0.74, 0.45]])
    """
    return backend().hmm_forward_backward(
        log_emissions, lengths, log_initial, log_transitions, log_final, threads=threads
    )


def viterbi(
    log_emissions: np.ndarray,
    lengths: np.ndarray,
    log_initial: np.ndarray,
    log_transitions: np.ndarray,
    log_final: np.ndarray | None = None,
    *,
    threads: int | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """The most probable states of sequences under a hidden Markov model.

    The arguments are those of `pyasr.hmm_forward_backward`. Returns (path [T,B] int32, log_p [B]): the state of every frame, −1
    in the padding, and the log probability of that path in the dtype of log_emissions, found in float64. Of equally probable
    paths it is the one with the lowest state, seen from the end.

    A sequence without frames has log_p 0; one without a path of probability above zero has log_p -inf and path −1; NaN or +inf
    in a valid frame gives log_p NaN and path −1, in the model for all sequences.

    Same bits for any number of threads and for any composition of the batch. Raises as `pyasr.hmm_forward_backward`.

    Source: Viterbi, "Error bounds for convolutional codes and an asymptotically optimum decoding algorithm", IEEE Trans.
    Information Theory 1967; Rabiner, Proc. IEEE 1989.

    >>> rainy, said = np.log([[0.7, 0.3], [0.3, 0.7]]), np.log([[0.9, 0.2], [0.1, 0.8]])
    >>> path, log_p = pyasr.viterbi(said[[0, 0, 1, 0, 0]][:, None], np.array([5], "i4"), np.log([0.5, 0.5]), rainy)
    >>> path[:, 0].tolist(), round(float(np.exp(log_p[0])), 5)
    ([0, 0, 1, 0, 0], 0.01157)
    """
    return backend().viterbi(log_emissions, lengths, log_initial, log_transitions, log_final, threads=threads)
