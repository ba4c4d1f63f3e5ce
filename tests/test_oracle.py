"""Numbers that others computed: torch, kaldi-native-fbank and SciPy, frozen in tests/oracle by the scripts beside them.

Parity among our own backends cannot see a mistake that all of them share. Neither peer is needed to run this.
"""

import json
import runpy
from pathlib import Path

import numpy as np
import pytest

from pyasr.ops import rows, why_not
from pyasr.ops._op import backend, has
from pyasr.ops._options import MfccOptions
from pyasr.ops._plan import make_plan

HERE = Path(__file__).parent / "oracle"
COLUMNS = [c for c in ("numpy", "numba", "cpp") if why_not(c) is None]


def columns_of(name):
    return [c for c in COLUMNS if has(rows()[name], c)]


def script(name):
    return runpy.run_path(str(HERE / f"make_{name}.py"))


def relative(got, want):
    return np.linalg.norm(np.asarray(got, np.float64) - want) / np.linalg.norm(want)


# kaldi-native-fbank

KNF = np.load(HERE / "mfcc_knf.npz")
FEATURES = json.loads(KNF["cases"].tobytes())


# 5e-4: kaldi-native-fbank's own float32 error; with an offset or a narrow filter it is larger than ours.
@pytest.mark.parametrize(("case", "column"), [(c, b) for c in FEATURES for b in columns_of(FEATURES[c]["kind"])])
def test_features_agree_with_kaldi_native_fbank(case, column):
    kind, options = FEATURES[case]["kind"], FEATURES[case]["options"]
    plan = make_plan(MfccOptions(**options, **({} if kind == "mfcc" else {"num_ceps": 0})))
    got = getattr(backend(column), kind)(KNF[f"wave_{FEATURES[case]['wave']}"], plan)
    np.testing.assert_allclose(got, KNF[f"features_{case}"], rtol=0, atol=5e-4)


# torch: LSTM, GRU and RNN

RECURRENT = np.load(HERE / "lstm_torch.npz")
LAYERS = sorted({name.partition("_")[0] for name in RECURRENT.files})
STATES = {"lstm": ("h", "c"), "gru": ("h",), "rnn": ("h",)}
LACKING = {("lstmprojected2", "numba")}  # the option is not there


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(
    ("case", "family", "column"),
    [
        (c, f, b)
        for f in STATES
        for b in columns_of(f"{f}_forward")
        for c in LAYERS
        if c.startswith(f) and (c, b) not in LACKING
    ],
)
def test_recurrent_layers_and_their_gradients_agree_with_torch(case, family, column, dtype):
    forward, backward = (getattr(backend(column), f"{family}_{verb}") for verb in ("forward", "backward"))
    letters = STATES[family]

    def given(*names):
        arrays = [RECURRENT[f"{case}_{n}"] for n in names]
        return [a if n == "lengths" else a.astype(dtype) for n, a in zip(names, arrays, strict=True)]

    options = ["projection"] if f"{case}_projection" in RECURRENT else []
    arguments = given("x", "lengths", "w_ih", "w_hh", "bias", *(f"{s}0" for s in letters))
    *out, saved = forward(*arguments, **dict(zip(options, given(*options), strict=True)))
    names = ["w_ih", "w_hh", "bias", *options]
    written = {f"d{n}": np.zeros_like(w) for n, w in zip(names, given(*names), strict=True)}
    back = backward(saved, *given("dy", *(f"d{s}n" for s in letters)), **written)
    got = dict(zip(["y", *(f"{s}n" for s in letters)], out, strict=True))
    got |= dict(zip(["dx", *(f"d{s}0" for s in letters)], back, strict=True)) | written
    for name, array in got.items():
        error = relative(array, RECURRENT[f"{case}_{name}"])
        assert error <= rows()[f"{family}_backward"].tolerance[dtype], f"{name} differs by {error:.1e}"


# torch: CTC

CTC, CTC_NUMBERS = script("ctc"), np.load(HERE / "ctc_torch.npz")


@pytest.mark.parametrize("column", columns_of("ctc_loss"))
@pytest.mark.parametrize(("dtype", "tolerance"), [("float64", 1e-13), ("float32", 1e-6)])
def test_ctc_agrees_with_torch(column, dtype, tolerance):
    logits, *rest = CTC["small_case"]()
    loss, grad = backend(column).ctc_loss(logits.astype(dtype), *rest)
    assert relative(loss, CTC_NUMBERS["small_loss"]) <= tolerance
    assert relative(grad, CTC_NUMBERS["small_grad"]) <= tolerance


# Every cell has its own exponent, so float32 loses no more than its rounding; 1e-4 is the promise, 2e-6 what guards it.
@pytest.mark.parametrize("column", columns_of("ctc_loss"))
@pytest.mark.parametrize(("dtype", "tolerance"), [("float32", 2e-6), ("float64", 1e-9)])
@pytest.mark.parametrize("index", range(5), ids=lambda i: "T{}-U{}-V{}-x{}".format(*CTC["LARGE"][i]))
def test_ctc_of_long_and_sharp_utterances_keeps_its_gradient(column, index, dtype, tolerance):
    logits, labels, probes = CTC["large_case"](index)
    sizes = (np.array([len(logits)], np.int32), labels, np.array([labels.shape[1]], np.int32))
    loss, grad = backend(column).ctc_loss(logits.astype(dtype), *sizes)
    np.testing.assert_allclose(loss[0], CTC_NUMBERS[f"loss_{index}"], rtol=tolerance)
    products = np.einsum("ptv,tv->p", probes.astype(np.float64), grad[:, 0].astype(np.float64))
    error = np.sqrt(np.mean((products - CTC_NUMBERS[f"products_{index}"]) ** 2))  # estimates the norm of the error
    assert error <= tolerance * CTC_NUMBERS[f"norm_{index}"]


# torch: clip_grad_norm_, clip_grad_value_ and SGD

SGD, SGD_NUMBERS = script("sgd"), np.load(HERE / "sgd_torch.npz")
STEPS = SGD["cases"]()


@pytest.mark.parametrize("column", columns_of("clip_sgd"))
@pytest.mark.parametrize(("dtype", "tolerance"), [("float32", 1e-6), ("float64", 1e-12)])
@pytest.mark.parametrize("index", range(len(STEPS)), ids=lambda i: "-".join(str(v) for v in STEPS[i].values()))
def test_five_clipped_steps_agree_with_torch(column, dtype, tolerance, index):
    case = STEPS[index]
    value, grads = (a.astype(dtype) for a in SGD["data"]())
    buffer = np.full_like(value, np.nan) if case["momentum"] else None
    steps = [
        backend(column).clip_sgd(value, grad, buffer=buffer, step=step, eps=1e-6, **case)
        for step, grad in enumerate(grads)
    ]
    np.testing.assert_allclose([s.norm for s in steps], SGD_NUMBERS[f"norms_{index}"], rtol=tolerance)
    np.testing.assert_allclose(value, SGD_NUMBERS[f"value_{index}"], rtol=tolerance, atol=tolerance)


# SciPy: CG

CG, CG_NUMBERS = script("cg"), np.load(HERE / "cg_scipy.npz")


@pytest.mark.parametrize("column", columns_of("cg"))
@pytest.mark.parametrize("index", range(len(CG["CASES"])))
def test_cg_agrees_with_scipy(column, index):
    n, _, rtol, atol, maxiter, _, _ = CG["CASES"][index]
    A, b, x0, M = CG["system"](index)
    x, info = backend(column).cg(A, b, x0, rtol=rtol, atol=atol, maxiter=maxiter, M=M)
    assert info == CG_NUMBERS[f"info_{index}"]
    # Both as near to the solution as asked; the same iterate where maxiter cuts them short.
    limit = 1e-8 if maxiter else 2.1 * max(rtol, atol / np.linalg.norm(b)) * np.linalg.cond(A)
    assert relative(x, CG_NUMBERS[f"x_{index}"]) <= limit
    assert x.shape == (n,)


def test_every_file_of_numbers_has_its_script():
    named = {path.name for path in HERE.glob("*.npz")}
    written = {name for name in named for make in HERE.glob("make_*.py") if name in make.read_text("utf-8")}
    assert written == named
    assert len(named) == len(list(HERE.glob("make_*.py")))
