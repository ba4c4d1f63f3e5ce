"""cg: where the matrix lies (a block's shared memory, that of a grid, memory), how it is stored, every outcome and option.

The emulated device has three blocks of 64 KB: float32 systems up to about 120 have a block of their own, up to about 200 lie on
the chip of the whole grid, up to about 290 more than half of them does, and larger ones are read from memory.
"""

import numpy as np


def spd(n, dtype, seed=0, batch=()):
    rng = np.random.default_rng(1000 * n + seed)
    G = rng.standard_normal((*batch, n, n)) / np.sqrt(max(n, 1))
    A = (G @ np.swapaxes(G, -1, -2) + np.eye(n)).astype(dtype)
    return (A + np.swapaxes(A, -1, -2)) / 2, rng.standard_normal((*batch, n)).astype(dtype)


def stored(A, form):
    """A in that form, NaN where it is not read."""
    n = A.shape[-1]
    if form == "full":
        return A
    if form == "packed":
        return np.ascontiguousarray(A[..., *np.triu_indices(n)])
    keep = np.triu(np.ones((n, n), bool)) if form == "upper" else np.tril(np.ones((n, n), bool))
    return np.where(keep, A, np.nan).astype(A.dtype)


def case(n, dtype, batch=(), form="full", guess=False, precondition=False, more=None, **fields):
    def make(ops):
        A, b = spd(n, dtype, 0, batch)
        options = {"rtol": 1e-6 if dtype == "float32" else 1e-12, "symmetric": form, **(more or {})}
        if precondition:
            D = 1 / np.diagonal(A, axis1=-2, axis2=-1)
            options["M"] = ops.xp.asarray((D[..., None] * np.eye(n)).astype(dtype))
        if guess:
            options["x0"] = ops.xp.asarray(spd(n, "float64", 1, batch)[1])
        return (ops.xp.asarray(stored(A, form)), ops.xp.asarray(b)), options

    return {"row": "cg", "make": make, **fields}


def given(A, b, **options):
    return {"row": "cg", "make": lambda ops: ((ops.xp.asarray(A, "f8"), ops.xp.asarray(b, "f8")), options)}


def operator(n, dtype, options=None, **fields):
    """A known by its products alone: four eigenvalues, so that as many iterations are enough."""

    def make(ops):
        d = ops.xp.asarray(np.resize(np.array([1, 1.5, 2.5, 4], dtype), n))
        b = ops.xp.asarray(np.random.default_rng(n).standard_normal(n).astype(dtype))
        return (lambda v: d * v, b), {"rtol": 1e-6 if dtype == "float32" else 1e-12, **(options or {})}

    return {"row": "cg", "make": make, **fields}


def singular(n, dtype, precondition=False, **options):
    """Eigenvalues 1, 2 and 3, a null vector, and a right-hand side of which 0.9 is left."""

    def make(ops):
        rng = np.random.default_rng(n)
        Q = np.linalg.qr(rng.standard_normal((n, n)))[0]
        A = (Q * np.r_[np.resize([1.0, 2.0, 3.0], n - 1), 0]) @ Q.T
        A, b = ((A + A.T) / 2).astype(dtype), (Q[:, :3].sum(1) + 4 * Q[:, -1]).astype(dtype)
        M = {"M": ops.xp.asarray(np.diag(1 / np.diag(A)))} if precondition else {}
        return (ops.xp.asarray(A), ops.xp.asarray(b)), {**M, **options}

    return {"row": "cg", "make": make}


SMALL = {"mutate": False}
CASES = {f"{n}, {dtype}": case(n, dtype, **SMALL) for n in (1, 2, 7, 33) for dtype in ("float32", "float64")}
CASES |= {
    f"{where}, {form}, {dtype}": case(
        n, dtype, form=form, mutate=form in ("full", "lower") and dtype == "float32" and where != "mostly on chip"
    )
    for where, sizes in {
        "alone": (37, 21),
        "on chip": (150, 109),
        "mostly on chip": (231, 152),
        "from memory": (302, 217),
    }.items()
    for form in ("full", "lower", "upper", "packed")
    for dtype, n in zip(("float32", "float64"), sizes, strict=True)
}
CASES |= {
    "a batch": case(19, "float32", batch=(7,)),
    "a batch from memory": case(151, "float64", batch=(4,)),
    "a batch, one after the other": case(150, "float32", batch=(2,), **SMALL),
    "from memory, a last block of two parts per row": case(257, "float64", resident=4),
    "guess": case(150, "float32", guess=True, **SMALL),
    "damping": case(302, "float32", more={"damping": 0.7}, **SMALL),
    "preconditioned": case(150, "float32", precondition=True),
    "preconditioned, alone": case(21, "float64", precondition=True, **SMALL),
    "flexible": case(37, "float64", precondition=True, more={"flexible": True}),
    "martens": case(150, "float64", more={"stop": "martens", "martens_eps": 1e-6}),
    "unverified": case(21, "float64", more={"verify": False}),
    "two iterations": case(150, "float64", more={"maxiter": 2}, **SMALL),
    "products": operator(2100, "float32"),
    "products, damping and flexible": operator(1030, "float64", {"damping": 0.5, "flexible": True}, **SMALL),
    "products, martens": operator(1030, "float64", {"stop": "martens", "maxiter": 30}, **SMALL),
    "products, two iterations": operator(7, "float64", {"maxiter": 2}, **SMALL),
    "negative curvature": given(np.diag([1.0, -1.0, 2.0]), [1.0, 2.0, 1.0]),
    "a breakdown": given([[1, 1], [1, 1]], [1.0, -1.0]),
    "singular": singular(19, "float64"),
    "singular, on chip": singular(109, "float64", maxiter=6),
    "singular, from memory": singular(217, "float64"),
    "singular, float32": singular(37, "float32"),
    "singular, preconditioned": singular(19, "float64", precondition=True),
    "NaN": given([[1, 0], [0, np.nan]], [1.0, 1.0]),
    "b = 0": given(np.eye(3), np.zeros(3)),
    "b overflows when squared": given(np.eye(3) * 1e100, [1e200, 2e200, -1e200]),
}
ENDS = "it is between addresses and their use: without it the process ends, not the test"
REASONS = {1523: ENDS, 1532: ENDS}
