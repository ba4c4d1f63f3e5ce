"""Every way back is right: finite differences in float64, and ⟨Ju, v⟩ = ⟨u, Jᵀv⟩, for every row of the table.

Parity between backends proves nothing about gradients: all of them may be wrong, or zero. A recurrent family is recognized by its
three verbs and needs nothing here; a loss row needs one entry in LOSSES; any other row needs its reason in NO_GRADIENT.
"""

import inspect
import itertools

import numpy as np
import pytest

from pyasr.losses import Ctc, SoftmaxCrossEntropy
from pyasr.ops import _recurrent, rows, why_not
from pyasr.ops._op import backend, has

NO_GRADIENT = {
    "mfcc": "features: nothing is trained below them",
    "fbank": "features: nothing is trained below them",
    "spectrogram": "features: nothing is trained below them",
    "ctc_beam": "labels are a choice; the gradient of their probability is that of ctc_loss",
    "ctc_greedy": "labels are a choice",
    "ctc_align": "the best path is a choice, not a number that moves with the logits",
    "hmm_forward_backward": "its gradients are posteriors and counts: tests/test_hmm.py",
    "viterbi": "the best path is a choice, not a number that moves with the emissions",
    "dropout": "a factor per entry, which it returns: tests/test_dropout.py",
    "clip_sgd": "the update itself",
    "adam": "the update itself",
    "rmsprop": "the update itself",
    "cg": "a solver; its answer is checked by A·x = b",
    "spd_solve": "a solver; its answer is checked by A·x = b",
}


def ctc_case(rng):
    labels = np.array([[1, 2, 2, 4], [3, 3, 1, 0], [2, 0, 0, 0]], np.int32)
    lengths, label_lengths = np.array([9, 7, 4], np.int32), np.array([4, 3, 1], np.int32)
    return rng.standard_normal((9, 3, 5)), (lengths, labels, label_lengths)


def cross_entropy_case(rng):
    return 3 * rng.standard_normal((7, 6)), (np.array([0, 5, -1, 2, 2, -1, 3], np.int32),)


# row -> (rng) -> (logits, the other arguments); the row returns (loss, gradient of the summed loss)
LOSSES = {"ctc_loss": ctc_case, "softmax_cross_entropy": cross_entropy_case}

RECURRENT = [n.removesuffix("_forward") for n in rows() if n.endswith("_forward")]
COLUMNS = [c for c in ("numpy", "cpp", "numba") if why_not(c) is None]
STEP = 1e-5


def test_every_row_is_checked_or_says_why_not():
    checked = set(LOSSES) | {f"{family}_{verb}" for family in RECURRENT for verb in ("forward", "backward", "jvp")}
    missing = set(rows()) - checked - set(NO_GRADIENT)
    assert not missing, f"no gradient check for {sorted(missing)}"
    assert not checked & set(NO_GRADIENT)
    assert (checked | set(NO_GRADIENT)) - set(rows()) == set(), "these rows do not exist"


def columns_of(name):
    row = rows().get(name)
    return [c for c in COLUMNS if row is not None and has(row, c) and "float64" in row.dtypes]


@pytest.mark.parametrize(("name", "column"), [pytest.param(n, c, id=f"{n}-{c}") for n in LOSSES for c in columns_of(n)])
def test_gradient_of_a_loss_is_its_finite_difference(name, column):
    op = getattr(backend(column), name)
    logits, rest = LOSSES[name](np.random.default_rng(0))
    loss, gradient = op(logits, *rest)
    assert np.isfinite(loss).all() and np.linalg.norm(gradient) > 0
    want = np.zeros_like(logits)
    for i in np.ndindex(*logits.shape):
        up, down = logits.copy(), logits.copy()
        up[i] += STEP
        down[i] -= STEP
        want[i] = (op(up, *rest)[0].sum() - op(down, *rest)[0].sum()) / (2 * STEP)
    assert np.linalg.norm(gradient - want) <= 1e-8 * np.linalg.norm(want)


def cross_entropy_of_rows(ops, logits):
    return SoftmaxCrossEntropy(ops)(logits[0], None, np.array([0, -1, 4], np.int32)), np.array([1, 0, 1], bool)


def cross_entropy_of_frames(ops, logits):
    labels, lengths = np.full(logits.shape[:2], 2, np.int32), np.array([5, 0, 3], np.int32)
    labels[1, 0] = -1
    used = np.arange(logits.shape[0])[:, None] < lengths
    used[1, 0] = False
    return SoftmaxCrossEntropy(ops)(logits, lengths, labels), used


def ctc(ops, logits):
    lengths = np.array([6, 1, 3], np.int32)  # the second cannot be aligned
    labels = np.array([[1, 2, -1], [1, 1, 2], [3, -1, -1]], np.int32)
    return Ctc(ops)(logits, lengths, labels), (np.arange(logits.shape[0])[:, None] < lengths) & [True, False, True]


@pytest.mark.parametrize("case", [cross_entropy_of_rows, cross_entropy_of_frames, ctc])
def test_curvature_is_symmetric_positive_semidefinite_and_zero_where_masked(case):
    rng = np.random.default_rng(0)
    loss, used = case(backend("numpy"), 2 * rng.standard_normal((6, 3, 5)))
    n = loss.grad.size
    matrix = np.stack([loss.curvature(e.reshape(loss.grad.shape)).ravel() for e in np.eye(n)])
    np.testing.assert_allclose(matrix, matrix.T, rtol=0, atol=1e-15)
    values = np.linalg.eigvalsh(matrix)
    assert values.min() >= -1e-15 and values.max() > 1e-3
    assert np.linalg.matrix_rank(matrix) == used.sum() * 4  # a constant added to a row changes nothing
    masked = ~np.broadcast_to(used[..., None], loss.grad.shape).ravel()
    assert masked.any() and not matrix[masked].any() and not matrix[:, masked].any()
    assert not loss.grad.ravel()[masked].any()


def by_all_paths(logits, blank):
    """(probability [L], score [L, T·V]) of every labeling of logits [T,V], by all V^T paths; a score is the gradient of log p."""
    T, V = logits.shape
    paths = np.array(list(itertools.product(range(V), repeat=T)), int).reshape(V**T, T)
    y = np.exp(logits - np.logaddexp.reduce(logits, axis=1, keepdims=True))
    chance = y[np.arange(T), paths].prod(1)
    spelled = {}
    for i, path in enumerate(paths):
        spelled.setdefault(tuple(k for k, _ in itertools.groupby(path) if k != blank), []).append(i)
    p = np.array([chance[i].sum() for i in spelled.values()])
    occupied = [np.einsum("p,ptv->tv", chance[i], np.eye(V)[paths[i]]) for i in spelled.values()]
    return p, np.stack([(o / q - y).ravel() for o, q in zip(occupied, p, strict=True)])


@pytest.mark.parametrize("column", [c for c in ("numpy", "cpp") if c in COLUMNS])
@pytest.mark.parametrize(("frames", "symbols", "blank", "factor"), [
    (1, 4, 0, 1), (2, 3, 1, 1), (4, 3, 0, 1), (4, 3, 2, 4), (5, 2, 0, 1), (3, 4, 3, 2),
])  # fmt: skip
@pytest.mark.parametrize("reduction", ["sum", "mean"])
def test_curvature_of_ctc_is_above_its_fisher_matrix(column, frames, symbols, blank, factor, reduction):
    """F = E[s sᵀ] over all labelings l ~ p(l|x), s = ∇ log p(l|x): the part of the paths' covariance that the labels show."""
    logits = factor * np.random.default_rng(frames + symbols).standard_normal((frames + 2, 3, symbols))
    lengths = np.array([frames, 0, max(frames - 1, 1)], np.int32)
    logits[np.arange(frames + 2)[:, None] >= lengths] = np.nan  # padding
    labels = np.full((3, 1), -1, np.int32)
    loss = Ctc(backend(column), blank, reduction=reduction)(logits, lengths, labels)
    G = np.stack([loss.curvature(e.reshape(logits.shape)).ravel() for e in np.eye(logits.size)])
    F = np.zeros((*logits.shape, *logits.shape))
    for b in (0, 2):
        t = lengths[b]
        p, s = by_all_paths(logits[:t, b], blank)
        assert abs(p.sum() - 1) <= 1e-13 and np.abs(p @ s).max() <= 1e-13
        F[:t, b, :, :t, b] = ((s.T * p) @ s).reshape(t, symbols, t, symbols)
    F = F.reshape(G.shape) / (3 if reduction == "mean" else 1)
    np.testing.assert_array_equal(G, G.T)
    assert np.linalg.eigvalsh(G).min() >= -1e-15
    assert np.linalg.eigvalsh(G - F).min() >= -1e-12
    masked = ~np.broadcast_to((np.arange(frames + 2)[:, None] < lengths)[..., None], logits.shape).ravel()
    assert not G[masked].any() and not F[masked].any()
    if frames == 1:  # a path is a labeling: nothing is hidden
        np.testing.assert_allclose(G, F, rtol=0, atol=1e-15)
    else:
        assert 0.1 < np.trace(F) / np.trace(G) < 0.99


@pytest.mark.parametrize("column", [c for c in ("numpy", "cpp") if c in COLUMNS])
@pytest.mark.parametrize("zero_infinity", [False, True])
def test_curvature_of_ctc_is_zero_without_an_alignment(column, zero_infinity):
    logits = np.random.default_rng(3).standard_normal((4, 4, 3))
    logits[:, 1, 2] = -np.inf  # needed there, and not needed by the last
    logits[:, 3, 2] = -np.inf
    lengths, labels = (
        np.array([4, 4, 2, 4], np.int32),
        np.array([[1, 1, 1], [2, -1, -1], [1, 1, -1], [1, 1, -1]], np.int32),
    )
    loss = Ctc(backend(column), zero_infinity=zero_infinity)(logits, lengths, labels)
    Gv = loss.curvature(np.random.default_rng(4).standard_normal(logits.shape))
    assert not loss.grad[:, :3].any() and not Gv[:, :3].any()
    assert np.isfinite(Gv).all() and Gv[:, 3, :2].all() and not Gv[:, 3, 2].any()


def test_curvature_of_cross_entropy_is_the_finite_difference_of_its_gradient():
    rng = np.random.default_rng(1)
    logits, v = rng.standard_normal((2, 6, 3, 5))
    for case in (cross_entropy_of_rows, cross_entropy_of_frames):
        got = case(backend("numpy"), logits)[0].curvature(v[0] if case is cross_entropy_of_rows else v)
        up, down = (case(backend("numpy"), logits + sign * STEP * v)[0].grad for sign in (1, -1))
        want = (up - down) / (2 * STEP)
        assert np.linalg.norm(got - want) <= 1e-8 * np.linalg.norm(want)


class Recurrent:
    """One column of a recurrent family as a function of named inputs: outputs(), and the products with its Jacobian."""

    def __init__(self, family, column, directions, reverse, batch, hidden, words="", seed=0):
        self.family, self.ops, self.reverse = family, backend(column), reverse
        rng = np.random.default_rng(seed)
        forward = inspect.signature(rows()[f"{family}_forward"].reference).parameters
        jvp = inspect.signature(rows()[f"{family}_jvp"].reference).parameters
        self.states = [n for n in ("h0", "c0") if n in forward]
        (t, d), kind = (6, 3), {"lstm": _recurrent.LSTM, "gru": _recurrent.GRU, "rnn": _recurrent.RNN}[family]
        weights = _recurrent.weight_shapes(kind, d, hidden, directions, words)
        self.weights, out = list(weights), weights["w_hh"][2]
        states = {"h0": (directions, batch, out), "c0": (directions, batch, hidden)}
        shapes = {"x": (t, batch, d)} | weights | {n: states[n] for n in self.states}
        assert {f"d{n}" for n in shapes} <= set(jvp)
        self.inputs = {n: rng.standard_normal(shape) for n, shape in shapes.items()}
        self.inputs["w_ih"] /= d**0.5
        self.inputs["w_hh"] /= hidden**0.5
        self.lengths = np.array([6, 4, 1, 0, 5, 6, 2, 3, 6][:batch], np.int32)
        for b, n in enumerate(self.lengths):
            self.inputs["x"][n:, b] = 0  # padding
        self.output_shapes = [(t, batch, directions * out)] + [states[n] for n in self.states]
        self.options = {}
        if "clip" in words:
            self.options["cell_clip"] = 0.7
        if "mask" in words:
            self.options["state_mask"] = 2.0 * rng.integers(0, 2, states["h0"])
        if "zoneout" in words:
            self.options["keep_h"] = rng.random((t, batch, directions * out))
            self.options["keep_c"] = rng.random((t, batch, directions * hidden))

    def random(self, seed):
        rng = np.random.default_rng(seed)
        u = {n: rng.standard_normal(x.shape) for n, x in self.inputs.items()}
        u = {n: x / np.linalg.norm(x) for n, x in u.items()}
        return u, [rng.standard_normal(s) for s in self.output_shapes]

    def op(self, verb):
        return getattr(self.ops, f"{self.family}_{verb}")

    def forward(self, inputs):
        *outputs, saved = self.op("forward")(lengths=self.lengths, reverse=self.reverse, **inputs, **self.options)
        return outputs, saved

    def backward(self, saved, v, into=0.0):
        """The gradient of ⟨v, outputs⟩ for every input; weights' are added to `into`."""
        weights = {n: np.full_like(self.inputs[n], into) for n in self.weights}
        states = dict(zip((f"d{n[0]}n" for n in self.states), v[1:], strict=True))
        dx, *dstates = self.op("backward")(saved, v[0], **states, **{f"d{n}": w for n, w in weights.items()})
        return {"x": dx} | weights | dict(zip(self.states, dstates, strict=True))

    def jvp(self, saved, u):
        return list(self.op("jvp")(saved, **{f"d{n}": x for n, x in u.items()}))


def dot(a, b):
    return sum(float(np.vdot(x, y)) for x, y in zip(a, b, strict=True))


def norm(a):
    a = list(a)
    return dot(a, a) ** 0.5


PLAIN = [(1, False, 4, 3, ""), (1, True, 4, 3, ""), (2, False, 4, 3, ""), (2, False, 1, 1, ""), (1, False, 9, 17, "")]
OPTIONS = [
    (1, False, 4, 3, "peephole"),
    (2, False, 4, 5, "projection"),
    (1, True, 4, 3, "clip"),
    (2, False, 4, 3, "mask"),
    (1, False, 4, 3, "zoneout"),
    (2, False, 9, 17, "peephole projection clip mask zoneout"),
]


@pytest.fixture(
    params=[
        pytest.param((f, c, *case), id=f"{f}-{c}-{'-'.join(map(str, case))}")
        for f in RECURRENT
        for c in COLUMNS
        if all(has(rows()[f"{f}_{verb}"], c) for verb in ("forward", "backward", "jvp"))
        for case in (PLAIN + OPTIONS if f == "lstm" else PLAIN)
    ]
)
def recurrent(request):
    return Recurrent(*request.param)


def difference(recurrent, u):
    """The change of the outputs in the direction u, by central differences."""
    up, down = (
        recurrent.forward({n: x + sign * STEP * u.get(n, 0) for n, x in recurrent.inputs.items()})[0]
        for sign in (1, -1)
    )
    return [(a - b) / (2 * STEP) for a, b in zip(up, down, strict=True)]


def test_jvp_is_the_finite_difference_of_forward(recurrent):
    u, _ = recurrent.random(1)
    _, saved = recurrent.forward(recurrent.inputs)
    for direction in (*({n: x} for n, x in u.items()), u):  # each input alone, then all together
        got, want = recurrent.jvp(saved, direction), difference(recurrent, direction)
        assert norm(got) > 0
        assert norm([g - w for g, w in zip(got, want, strict=True)]) <= 1e-8 * norm(want), list(direction)


def test_backward_is_the_finite_difference_of_forward(recurrent):
    _, v = recurrent.random(1)
    gradient = recurrent.backward(recurrent.forward(recurrent.inputs)[1], v)
    for name, x in recurrent.inputs.items():
        entries = np.random.default_rng(7).choice(x.size, min(x.size, 12), replace=False)
        got, want = gradient[name].ravel()[entries], []
        for i in entries:
            u = np.zeros_like(x)
            u.flat[i] = 1
            if name == "x" and np.unravel_index(i, x.shape)[0] >= recurrent.lengths[np.unravel_index(i, x.shape)[1]]:
                want.append(0.0)  # padding
            else:
                want.append(dot(difference(recurrent, {name: u}), v))
        assert norm([got]) > 0
        assert norm([got - want]) <= 1e-8 * norm(gradient.values()), name


def test_backward_is_the_adjoint_of_jvp(recurrent):
    u, v = recurrent.random(2)
    _, saved = recurrent.forward(recurrent.inputs)
    for i in range(len(v)):  # each output alone, with every input
        only = [x if i == j else np.zeros_like(x) for j, x in enumerate(v)]
        transposed = recurrent.backward(saved, only)
        for name in u:
            ju = recurrent.jvp(saved, {name: u[name]})
            assert norm(ju) > 0
            gap = abs(dot(ju, only) - dot([u[name]], [transposed[name]]))
            assert gap <= 1e-10 * norm(ju) * norm(only), f"input {name}, output {i}"
    ju, transposed = recurrent.jvp(saved, u), recurrent.backward(saved, v)
    assert abs(dot(ju, v) - dot(u.values(), [transposed[n] for n in u])) <= 1e-10 * norm(ju) * norm(v)


def test_backward_adds_weights_and_leaves_the_saved_state_as_it_was(recurrent):
    _, v = recurrent.random(3)
    before, saved = recurrent.forward(recurrent.inputs)
    first = recurrent.backward(saved, v)
    recurrent.jvp(saved, recurrent.random(4)[0])
    again, added = recurrent.backward(saved, v), recurrent.backward(saved, v, into=2.5)
    for n in first:
        np.testing.assert_array_equal(again[n], first[n])
        shift = 2.5 if n in recurrent.weights else 0.0
        np.testing.assert_allclose(added[n], first[n] + shift, rtol=0, atol=1e-13 * np.abs(first[n]).max() + 1e-14)
    after, _ = recurrent.forward(recurrent.inputs)
    for a, b in zip(after, before, strict=True):
        np.testing.assert_array_equal(a, b)


def test_the_saved_state_is_its_own(recurrent):
    """Neither the outputs nor the weights that the caller goes on to change are part of it."""
    _, v = recurrent.random(8)
    want = recurrent.backward(recurrent.forward(recurrent.inputs)[1], v)
    inputs = {n: x.copy() for n, x in recurrent.inputs.items()}
    lengths = recurrent.lengths
    recurrent.lengths = lengths.copy()
    outputs, saved = recurrent.forward(inputs)
    for a in (*outputs, *(x for n, x in inputs.items() if n != "x")):
        a[:] = np.nan
    recurrent.lengths[:] = 0
    got = recurrent.backward(saved, v)
    recurrent.lengths = lengths
    for n in want:
        np.testing.assert_array_equal(got[n], want[n])


def test_padding_moves_nothing_and_gets_no_gradient(recurrent):
    u, v = recurrent.random(5)
    outputs, saved = recurrent.forward(recurrent.inputs)
    gradient, ju = recurrent.backward(saved, v), recurrent.jvp(saved, u)
    for b, n in enumerate(recurrent.lengths):
        for padded in (outputs[0], gradient["x"], ju[0]):
            assert not padded[n:, b].any()


def test_without_dx_the_rest_is_the_same(recurrent):
    _, v = recurrent.random(6)
    _, saved = recurrent.forward(recurrent.inputs)
    want = recurrent.backward(saved, v)
    weights = {f"d{n}": np.zeros_like(recurrent.inputs[n]) for n in recurrent.weights}
    states = dict(zip((f"d{n[0]}n" for n in recurrent.states), v[1:], strict=True))
    dx, *_ = recurrent.op("backward")(saved, v[0], **states, **weights, need_dx=False)
    assert dx is None
    for n, got in weights.items():
        np.testing.assert_array_equal(got, want[n[1:]])
