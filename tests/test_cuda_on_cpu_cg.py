"""cg on the emulated device, beyond its cases: what is refused, what stays on the device, vectors that do not fit on the chip."""

import numpy as np
import pytest

from pyasr.ops import backend


def spd(n, dtype="float64"):
    rng = np.random.default_rng(n)
    G = rng.standard_normal((n, n)) / np.sqrt(n)
    A = (G @ G.T + np.eye(n)).astype(dtype)
    return (A + A.T) / 2, rng.standard_normal(n).astype(dtype)


def test_vectors_in_memory(emulated):
    """A device with so little shared memory that nothing but the scalars is on the chip."""
    A, b = spd(150)
    native = emulated.device.native
    tiny = native.describe(
        processors=4, threads_per_processor=2048, shared_per_block=2048, shared_per_processor=2048, l2=1 << 20, major=7, minor=5
    )  # fmt: skip
    native.select(tiny)
    x, info = emulated.cg(A, b, rtol=1e-12)
    assert info == 0
    np.testing.assert_allclose(A @ x, b, atol=1e-11)


@pytest.mark.parametrize("n", [3, 150, 231])
def test_the_two_triangles_are_compared(emulated, n):
    A, b = spd(n, "float32")
    A[0, 1] += 0.1
    _, info = emulated.cg(A, b)  # nothing has been looked at
    with pytest.raises(
        ValueError, match='cg: A must be symmetric, or symmetric="upper" or "lower" be chosen, got a matrix'
    ):
        info.get()
    _, info = emulated.cg(np.stack([A.T @ A, A]), np.stack([b, b]))
    with pytest.raises(ValueError, match=r"triangles disagree in system 1$"):
        int(info.iterations[0])


def test_the_outcome_stays_on_the_device(emulated):
    A, b = spd(7)
    _, info = emulated.cg(A, b)
    assert int(info.on_device[0]) == info.get() == int(info) == 0
    assert not info
    assert 0 < info.iterations <= 7
    assert repr(info) == "DeviceCgInfo(0)"
    _, info = emulated.cg(np.stack([A, A]), np.stack([b, 0 * b]))
    np.testing.assert_array_equal(info.get(), [0, 0])
    assert info.iterations[1] == 0


def test_raise_waits(emulated):
    with pytest.raises(ValueError, match=r"cg: A must be positive definite, got p.Ap < 0$"):
        emulated.cg(np.diag([1.0, -1.0, 2.0]), np.array([1.0, 2.0, 1.0]), on_indefinite="raise")


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"callback": print}, "callback must be None on a CUDA device, got builtin_function_or_method"),
        ({"M": abs}, "M must be None or a CUDA array on a CUDA device, got builtin_function_or_method"),
    ],
)
def test_what_the_device_does_not_take_is_named(emulated, options, text):
    A, b = spd(3)
    with pytest.raises(TypeError, match=text):
        emulated.cg(A, b, **options)


def test_mixed_dtypes(emulated):
    A, b = spd(37)
    for a_type, b_type in (("float32", "float64"), ("float64", "float32")):
        x, info = emulated.cg(A.astype(a_type), b.astype(b_type), rtol=1e-5)
        assert (x.dtype, info) == (np.dtype("float64"), 0)
        np.testing.assert_allclose(A @ x, b, atol=1e-4)


def test_ill_conditioned_float32_is_verified(emulated):
    """At condition 1e4 the recursion alone would end at 3e-4."""
    rng = np.random.default_rng(0)
    n = 150
    Q = np.linalg.qr(rng.standard_normal((n, n)))[0]
    A = ((Q * np.logspace(0, 4, n)) @ Q.T).astype("f4")
    A, b = (A + A.T) / 2, rng.standard_normal(n).astype("f4")
    x, info = emulated.cg(A, b, rtol=1e-4)
    assert info == 0
    assert np.linalg.norm(A.astype("f8") @ x - b) <= 1e-4 * np.linalg.norm(b)


def test_products_without_a_look(emulated, monkeypatch):
    """The host asks the device once in 16 products, and what the caller does to the vector it gets is its own business."""
    A, b = spd(33)
    looks, products = [], []
    host = emulated.device.host
    monkeypatch.setattr(emulated.device, "host", lambda *args: looks.append(args) or host(*args))

    def product(v):
        y = A @ v
        v[:] = np.nan
        products.append(v)
        return y

    x, info = emulated.cg(product, b, b.astype("f4"), rtol=1e-10)
    assert len(looks) == len(products) // 16
    assert info == 0
    np.testing.assert_allclose(A @ x, b, atol=1e-9)
    before = len(looks)
    x, info = emulated.cg(product, b, maxiter=5, verify=False)
    assert len(looks) == before
    assert info.get() == info.iterations == 5
    want, _ = backend("numpy").cg(A, b, maxiter=5, verify=False)
    np.testing.assert_allclose(x, want, rtol=1e-9)


@pytest.mark.parametrize(
    ("product", "error", "text"),
    [
        (lambda v: [1, 2, 3], TypeError, "A must return a CUDA array of float32 or float64, got list"),
        (lambda v: v.astype("i4"), TypeError, "A must return a CUDA array of float32 or float64, got int32"),
        (lambda v: v[:2], ValueError, r"A must return shape \(3,\), got \(2,\)"),
        (int, TypeError, "A must be a CUDA array, a callable or an object with matvec or @, got type"),
    ],
)
def test_bad_products_are_named(emulated, product, error, text):
    with pytest.raises(error, match=text):
        emulated.cg(product, np.ones(3))


def test_matrix_free_outcomes(emulated):
    _, info = emulated.cg(lambda v: -v, np.ones(3))
    assert info == -2
    _, info = emulated.cg(lambda v: v * np.nan, np.ones(3))
    assert info == -3
    x, info = emulated.cg(lambda v: v, np.zeros(3))
    assert info == 0
    assert (x == 0).all()


def test_plans(emulated):
    native = emulated.device.native
    options = native.CgOptions(
        rtol=1e-5, atol=0.0, damping=0.0, martens_eps=0.0, maxiter=10, stored=0, martens=False, scale_by_k=True,
        flexible=False, verify=True,
    )  # fmt: skip

    def plan(n, systems=1, blocks=132, shared=227 << 10):
        return native.cg_plan(n, False, options, systems, blocks, shared)

    # n: blocks, the rows of each, and how many of these it keeps; 0 where a triangle is read instead
    for device, wanted in {
        (132, 227 << 10): {  # sm_90
            236: (1, 236, 236),
            237: (60, 4, 4),
            1024: (128, 8, 8),
            2508: (132, 19, 19),
            2509: (126, 20, 19),
            2700: (129, 21, 18),
            3432: (132, 26, 13),
            3433: (132, 27, 0),
            8192: (132, 63, 0),
        },
        (108, 163 << 10): {  # sm_80
            1024: (103, 10, 10),
            1944: (108, 18, 18),
            2592: (108, 24, 12),
            2593: (108, 25, 0),
        },
    }.items():
        for n, (blocks, rows, kept) in wanted.items():
            p = plan(n, 1, *device)
            assert (p["blocks"], p["rows"], p["kept"], p["resident"]) == (blocks, rows, kept, kept > 0), n
            assert p["on_chip"]
            assert p["blocks"] * p["rows"] >= n
            assert p["shared_bytes"] <= device[1]
    assert plan(1000, systems=200)["blocks"] == 1
    assert not plan(40000)["on_chip"]
