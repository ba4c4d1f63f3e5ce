"""The linear solvers beside SciPy's and NumPy's, interleaved in one process.

    python benchmarks/rivals/solvers.py [--threads N] [--rounds N] [--only cg,solution,batch,system] [--json FILE]

cg: an iteration of conjugate gradients on a dense matrix, 30 at a time from the same start. solution: until a residual of 1e-5,
ours verified. batch: 256 systems in one call. system: one system by factorization. Answers are compared with those of
numpy.linalg.solve in float64, or with each other, before anything is timed. The ratio of a round is their time over ours.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from dataclasses import asdict
from typing import Any

import _report
from _report import Race, close

PARSER = _report.parser("the linear solvers beside SciPy's and NumPy's", threads=1, rounds=15)
PARSER.add_argument("--only", default="cg,solution,batch,system")
OPTIONS = PARSER.parse_args()
_report.pin(OPTIONS.threads)

import numpy as np  # noqa: E402
import probe  # noqa: E402

import pyasr  # noqa: E402
from pyasr.counter import stream  # noqa: E402

OPS = pyasr.backend("cpp")
THREADS = OPTIONS.threads
MARKS = {64: 4.0, 256: 2.5, 1024: 1.4, 2048: 1.4, 4096: 1.4}
ITERATIONS = 30
COMPARED = 8  # answers after so many, before the roundings of float32 grow apart


def ill_conditioned(n: int) -> tuple[np.ndarray, np.ndarray]:
    """A [n,n] of condition about 1e4 and b [n], float32: 30 iterations are far from the end."""
    random = stream("solvers", n)
    G = random.standard_normal((n, n), np.float32) / np.float32(n)
    diagonal = np.logspace(0, 4, n).astype(np.float32)
    return G + G.T + np.diag(diagonal), random.standard_normal(n).astype(np.float32)


def well_conditioned(systems: int, n: int, dtype: str) -> tuple[np.ndarray, np.ndarray]:
    """A [systems,n,n] of condition below 6 and b [systems,n]."""
    random = stream("solvers", systems, n)
    G = random.standard_normal((systems, n, n)) / np.sqrt(n)
    A = G @ G.transpose(0, 2, 1) + np.eye(n)
    return ((A + A.transpose(0, 2, 1)) / 2).astype(dtype), random.standard_normal((systems, n)).astype(dtype)


def cg() -> Iterator[Race]:
    from scipy.linalg.blas import ssymv
    from scipy.sparse.linalg import LinearOperator
    from scipy.sparse.linalg import cg as scipy_cg

    for n in MARKS:
        A, b = ill_conditioned(n)
        stored = {"full": A, "lower": A, "packed": A[np.triu_indices(n)]}
        run = {"rtol": 1e-12, "maxiter": ITERATIONS}
        half = LinearOperator((n, n), matvec=functools.partial(ssymv, 1.0, A.T), dtype=np.float32)
        theirs = functools.partial(scipy_cg, A, b, **run)
        by_ssymv = functools.partial(scipy_cg, half, b, **run)
        want, info = theirs(maxiter=COMPARED)[0], theirs()[1]
        for name, matrix in stored.items():
            ours = functools.partial(OPS.cg, matrix, b, symmetric=name, threads=THREADS, **run)
            got, our_info = ours(maxiter=COMPARED)[0], ours()[1]
            if info != ITERATIONS or our_info != ITERATIONS:
                raise SystemExit(f"cg: {our_info} and {info} iterations instead of {ITERATIONS}")
            close(f"cg, {name}", got, want, 1e-3)
            mark = MARKS[n] if name == "full" else None
            yield Race(f"cg, n = {n}, float32, {name}", "scipy", ours, {"cg": theirs}, mark, ITERATIONS, "iteration")
            if name == "full":
                close("cg over ssymv", by_ssymv(maxiter=COMPARED)[0], want, 1e-3)
                title = f"cg, n = {n}, float32, full, against half a matrix"
                yield Race(title, "scipy", ours, {"cg over ssymv": by_ssymv}, None, ITERATIONS, "iteration")


def solution() -> Iterator[Race]:
    from scipy.sparse.linalg import cg as scipy_cg

    for n in (64, 256, 1024, 2048):
        systems, rights = well_conditioned(1, n, "float32")
        A, b = systems[0], rights[0]
        ours = functools.partial(OPS.cg, A, b, threads=THREADS)
        theirs = functools.partial(scipy_cg, A, b)
        (got, info), (want, their_info) = ours(), theirs()
        residual = np.linalg.norm(b - A.astype("f8") @ got.astype("f8")) / np.linalg.norm(b.astype("f8"))
        if info != 0 or their_info != 0 or not residual <= 1e-5:
            raise SystemExit(f"cg: ended with {info} and {their_info}, residual {residual:.1e}: nothing was timed")
        close("cg", got, want, 1e-4)
        yield Race(f"cg to a residual of 1e-5, n = {n}, float32", "scipy", ours, {"cg": theirs})


def factorizations(A: np.ndarray, b: np.ndarray) -> dict[str, Callable[[], Any]]:
    """How NumPy and SciPy solve the systems A [B,n,n] x = b [B,n]."""
    from scipy.linalg import cho_factor, cho_solve

    def by_cholesky() -> np.ndarray:
        factors = (cho_factor(one, lower=True, check_finite=False) for one in A)
        return np.array([cho_solve(f, right, check_finite=False) for f, right in zip(factors, b, strict=True)])

    return {"numpy.linalg.solve": lambda: np.linalg.solve(A, b[..., None])[..., 0], "cho_solve": by_cholesky}


def races(systems: int, n: int, dtype: str, mark: float | None) -> Iterator[Race]:
    """spd_solve, and for a batch cg, against both of theirs."""
    A, b = well_conditioned(systems, n, dtype)
    want = np.linalg.solve(A.astype("f8"), b.astype("f8")[..., None])[..., 0]
    tolerance = 1e-5 if dtype == "float32" else 1e-12
    theirs = factorizations(A, b)
    for name, solve in theirs.items():
        close(name, solve(), want, tolerance)
    one = systems == 1
    ours = functools.partial(OPS.spd_solve, A[0] if one else A, b[0] if one else b, method="cholesky", threads=THREADS)
    close("spd_solve", ours(), want[0] if one else want, tolerance)
    title = f"one system of n = {n}, {dtype}" if one else f"{systems} systems of n = {n}, {dtype}"
    yield Race(f"spd_solve, {title}", "numpy and scipy", ours, theirs, mark)
    if not one:
        batched = functools.partial(OPS.cg, A, b, threads=THREADS)
        x, info = batched()
        close("batched cg", x, want, 1e-4)
        if info.any():
            raise SystemExit(f"cg: {np.count_nonzero(info)} systems did not converge: nothing was timed")
        yield Race(f"cg to 1e-5, {title}", "numpy and scipy", batched, theirs)


def batch() -> Iterator[Race]:
    for n in (16, 64, 128):
        for dtype in ("float32", "float64"):
            yield from races(256, n, dtype, 1.0 if n <= 64 else None)


def system() -> Iterator[Race]:
    for n in (64, 256, 1024, 2048):
        for dtype in ("float32", "float64"):
            yield from races(1, n, dtype, None)


KINDS: dict[str, Callable[[], Iterator[Race]]] = {"cg": cg, "solution": solution, "batch": batch, "system": system}


def main() -> None:
    where = _report.machine(("numpy", "scipy"))
    print(", ".join(f"{k} {v}" for k, v in where.items()))
    if where["peers"]["scipy"] == "not installed":
        raise SystemExit("scipy is not installed")
    limits = probe.measure(THREADS)
    print("\n".join(limits.verdict()))
    print(
        f"{THREADS} thread(s), {OPTIONS.clock} clock, median of {OPTIONS.rounds} rounds [quartiles], mark in brackets\n"
    )
    results = []
    for name in OPTIONS.only.split(","):
        for race in KINDS[name]():
            results.append(_report.result(race, OPTIONS))
            print(_report.line(results[-1]), flush=True)
    _report.save(OPTIONS, where, limits=asdict(limits), results=results)


if __name__ == "__main__":
    main()
