"""spd_solve on the emulated device, beyond its cases: systems that have no solution, and the shape of a launch."""

import numpy as np
import pytest

from pyasr.ops import backend


def systems(batch, n, dtype):
    rng = np.random.default_rng(n)
    G = rng.standard_normal((batch, n, n)) / np.sqrt(n)
    return (G @ np.swapaxes(G, 1, 2) + np.eye(n)).astype(dtype), rng.standard_normal((batch, n)).astype(dtype)


def broken(A, b):
    """Copies with systems that fail, and system -> the order of the minor that is to blame, None where b is."""
    A, b = A.copy(), b.copy()
    n = A.shape[1]
    A[0, n - 1, n - 1] = 0  # the last pivot
    A[2, n // 2, n // 2] = -1
    A[3, n - 1, 0] = np.nan
    A[5, 0, 0] = np.inf
    A[6] = 1  # singular: rank one
    b[8, 0] = np.inf
    return A, b, {0: n, 2: n // 2 + 1, 3: n, 5: 1, 6: 2, 8: None}


# A block each in shared memory, one panel and several; in memory; all blocks together.
PLACES = [(9, 7, "float32"), (9, 33, "float64"), (9, 70, "float32"), (10, 97, "float64"), (9, 70, "float64")]


@pytest.mark.parametrize(("batch", "n", "dtype"), PLACES)
@pytest.mark.parametrize("resident", [3, 12])
def test_systems_that_fail_are_nan_and_the_others_keep_their_bits(emulated, batch, n, dtype, resident):
    emulated.resident(resident)
    A, b = systems(batch, n, dtype)
    want = emulated.spd_solve(A, b)
    assert np.isfinite(want).all()
    bad_A, bad_b, failing = broken(A, b)
    others = [i for i in range(batch) if i not in failing]
    for order in ("fair", "block", "warp"):
        emulated.schedule(order, 1)
        x = emulated.spd_solve(bad_A, bad_b)
        for i, order_of_minor in failing.items():
            assert np.isnan(x[i]).all() if order_of_minor else not np.isfinite(x[i]).all(), i
        assert x[others].tobytes() == want[others].tobytes()


@pytest.mark.parametrize(("batch", "n", "dtype"), PLACES)
def test_cholesky_waits_and_names_system_and_minor(emulated, batch, n, dtype):
    A, b = systems(batch, n, dtype)
    bad_A, bad_b, failing = broken(A, b)
    for i, order in failing.items():
        if order is None:
            continue
        one_bad = A.copy()
        one_bad[i] = bad_A[i]
        text = rf"spd_solve: A must be positive definite, got a leading minor of order {order} that is not positive and finite"
        with pytest.raises(ValueError, match=f"{text} in system {i}$"):
            emulated.spd_solve(one_bad, b, method="cholesky")
        with pytest.raises(ValueError, match=f"{text}$"):
            emulated.spd_solve(bad_A[i], b[i], method="cholesky")
        with pytest.raises(ValueError, match=f"{text} in system {i}$"):
            backend("numpy").spd_solve(one_bad, b, method="cholesky")
    with pytest.raises(ValueError, match=f"order {n} .* in system 0$"):  # the first of many
        emulated.spd_solve(bad_A, bad_b, method="cholesky")
    np.testing.assert_array_equal(emulated.spd_solve(A, b, method="cholesky"), emulated.spd_solve(A, b))


def test_only_cholesky_and_cg_look(emulated, monkeypatch):
    looks = []
    host = emulated.device.host
    monkeypatch.setattr(emulated.device, "host", lambda *args: looks.append(args) or host(*args))
    A, b = systems(2, 7, "float32")
    emulated.spd_solve(A, b)
    assert not looks
    emulated.spd_solve(A, b, method="cholesky")
    assert len(looks) == 1


def test_by_iteration_raises_as_the_reference_does(emulated):
    A = np.array([[[1.0, 0], [0, 1]], [[1, 0], [0, -1]]])
    with pytest.raises(ValueError, match=r"spd_solve: A must be positive definite, got one .* in system 1"):
        emulated.spd_solve(A, np.ones((2, 2)), method="cg")


def test_plans(emulated):
    plan = emulated.device.native.spd_plan
    assert plan(224, False, 1, 132, 227 << 10)["on_chip"]
    assert not plan(225, False, 1, 132, 227 << 10)["on_chip"]
    assert plan(300, False, 200, 132, 227 << 10)["blocks"] == 1
    assert plan(2048, False, 1, 132, 227 << 10)["blocks"] == 528
    assert plan(2048, True, 1, 132, 227 << 10)["blocks"] == 264
