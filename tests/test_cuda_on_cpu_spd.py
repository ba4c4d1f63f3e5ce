"""spd_solve on the emulated device, beyond its cases: systems that have no solution, and the shape of a launch."""

import numpy as np
import pytest


@pytest.mark.parametrize(("n", "dtype"), [(7, "float32"), (97, "float64")])
def test_a_system_that_is_not_positive_definite_is_nan_and_no_other(emulated, n, dtype):
    A = np.repeat(2 * np.eye(n, dtype=dtype)[None], 9, axis=0)
    A[1, 5, 5] = -1
    A[4, n - 1, 0] = np.nan
    b = np.ones((9, n), dtype)
    for order in ("fair", "block", "warp"):
        emulated.schedule(order, 1)
        x = emulated.spd_solve(A, b)
        bad = np.isnan(x).all(axis=1)
        np.testing.assert_array_equal(np.flatnonzero(bad), [1, 4])
        np.testing.assert_allclose(x[~bad], 0.5, rtol=1e-6)


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
