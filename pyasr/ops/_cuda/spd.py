"""spd_solve on a device: one launch, which leaves NaN where a system is not positive definite and the order of its minor."""

from __future__ import annotations

from typing import Any

import numpy as np

from pyasr.ops._cg_problem import NOT_FINITE
from pyasr.ops._cuda._device import Device
from pyasr.ops._cuda._door import CudaDoor, DeviceArray
from pyasr.ops._cuda.cg import cg
from pyasr.ops._door import FLOATS


def spd_solve(
    device: Device, A: Any, b: Any, *, method: str = "auto", rtol: float | None = None, threads: int | None = None
) -> Any:
    """x [B,P] or [P]. Both "auto" and "cholesky" factorize. "auto" waits for nothing: x is NaN in the systems that are not
    positive definite, and in no other. "cholesky" and "cg" wait for their outcome and raise as the other columns do."""
    door = CudaDoor(device, "spd_solve")
    A, b = door.view("A", A), door.view("b", b)
    batched = isinstance(A, DeviceArray) and A.ndim == 3
    A = door.read("A", A, "B P P" if batched else "P P", door.array("b", b, FLOATS).dtype)
    b = door.read("b", b, "B P" if batched else "P", A.dtype)
    method = door.choice("method", method, ("auto", "cholesky", "cg"))
    rtol = (1e-5 if b.dtype == np.float32 else 1e-10) if rtol is None else door.real("rtol", rtol, 0.0)
    door.threads(threads)
    n, systems = door["P"], door["B"] if batched else 1
    if n >= 2**15:
        door.value_error(f"A must have fewer than 2**15 rows on a CUDA device, got {n}")
    stream = door.stream()
    if method == "cg":
        x, info = cg(device, A, b, rtol=rtol, symmetric="lower")
        for i, code in enumerate(np.atleast_1d(info.get()).tolist()):
            where = f" in system {i}" if batched else ""
            if code > 0:
                door.value_error(
                    f"rtol must be within reach of conjugate gradients, got none in {code} iterations{where}"
                )
            if code == NOT_FINITE:
                door.value_error(f"A and b must be finite, got a NaN or an infinity{where}")
            if code < 0:
                door.value_error(f"A must be positive definite, got one that is singular or indefinite{where}")
        return x
    x = device.empty(b.shape, b.dtype)
    if x.size == 0:
        return x
    minor = device.empty(systems, np.int64)
    size = {"n": n, "systems": systems, "is_double": b.dtype == np.float64}
    workspace = device.workspace(device.native.spd_workspace_bytes(**size))
    device.native.spd_solve(
        A=A.address, b=b.address, x=device.address(x), minor=device.address(minor), workspace=device.address(workspace),
        stream=stream, **size,
    )  # fmt: skip
    if method == "cholesky":
        refuse_minors(door, device.host(minor), batched)
    return x


def refuse_minors(door: CudaDoor, minor: np.ndarray, batched: bool) -> None:
    """Raises for the first system with a leading minor, by its order, that is not positive and finite."""
    if (failed := np.flatnonzero(minor)).size:
        where = f" in system {failed[0]}" if batched else ""
        order = minor[failed[0]]
        door.value_error(
            f"A must be positive definite, got a leading minor of order {order} that is not positive and finite{where}"
        )
