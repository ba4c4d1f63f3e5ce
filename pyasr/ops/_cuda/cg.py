"""cg on a device: every decision is taken there, and the outcome stays there until it is looked at."""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

import numpy as np

from pyasr.ops._cg_problem import INDEFINITE
from pyasr.ops._cuda._device import Device
from pyasr.ops._cuda._door import CudaDoor, DeviceArray, address
from pyasr.ops._door import FLOATS
from pyasr.ops.cg import ASYMMETRIC

STORED = ("full", "lower", "upper", "packed")
# Matrix-free: the host looks whether the solution is over once in so many products.
LOOK = 16


class DeviceCgInfo:
    """The info of cg, still on the device: the first look at it waits for the stream, a solution by itself never does.

    get() is what the other columns return: an int, or int64 [B]. An A whose two triangles disagree is refused by the first look.
    """

    __slots__ = ("_asymmetric", "_batched", "_device", "_report", "_stream", "_values")

    def __init__(self, device: Device, report: Any, stream: int, batched: bool) -> None:
        self._device = device
        self._report = report  # [B,2] int64: info, iterations
        self._stream = stream
        self._batched = batched
        self._values: np.ndarray | None = None

    def _look(self) -> np.ndarray:
        if self._values is None:
            self._values = np.array(self._device.host(self._report, self._stream))
        asymmetric = np.flatnonzero(self._values[:, 0] == self._device.native.cg_asymmetric)
        if asymmetric.size:
            where = f" in system {asymmetric[0]}" if self._batched else ""
            raise ValueError(f"cg: {ASYMMETRIC}{where}")
        return self._values

    def get(self) -> Any:
        """info on the host; waits for the stream at the first call."""
        info = self._look()[:, 0]
        return info if self._batched else int(info[0])

    @property
    def iterations(self) -> Any:
        """How many iterations it took; an int, or int64 [B]."""
        iterations = self._look()[:, 1]
        return iterations if self._batched else int(iterations[0])

    @property
    def on_device(self) -> Any:
        """info as it lies on the device: int64 [B], or [1] of a single system."""
        return self._report[:, 0]

    def __index__(self) -> int:
        return operator.index(self.get())

    def __int__(self) -> int:
        return int(self.get())

    def __bool__(self) -> bool:
        return bool(self.get())

    def __eq__(self, other: object) -> Any:
        return self.get() == other

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"DeviceCgInfo({self.get()!r})"


def cg(
    device: Device,
    A: Any,
    b: Any,
    x0: Any = None,
    *,
    rtol: float = 1e-5,
    atol: float = 0.0,
    maxiter: int | None = None,
    M: Any = None,
    callback: Callable[..., Any] | None = None,
    symmetric: str = "full",
    damping: float = 0.0,
    stop: str = "residual",
    martens_eps: float = 5e-4,
    scale_by_k: bool = True,
    flexible: bool = False,
    verify: bool = True,
    on_indefinite: str = "stop",
    threads: int | None = None,
) -> tuple[Any, DeviceCgInfo]:
    """One launch on the current stream for a matrix, or a batch of small ones. on_indefinite="raise" waits for it.

    A callable A, or an object with matvec or @, takes and returns arrays of the device's library [P]; what it queues on the
    current stream is all that happens between two launches. The host looks at the outcome once in 16 products, never before.
    """
    door = CudaDoor(device, "cg")
    stored = door.choice("symmetric", symmetric, STORED)
    A, b = door.view("A", A), door.view("b", b)
    dense = isinstance(A, DeviceArray)
    batched = dense and isinstance(b, DeviceArray) and b.ndim == 2 and A.ndim == (2 if stored == "packed" else 3)
    vector, matrix = ("B P", "B P P") if batched else ("P", "P P")
    b = door.read("b", b, vector, FLOATS)
    n = door["P"]
    product = None if dense or isinstance(A, np.ndarray) else callable_of(door, A)
    door.bind("Q", n * (n + 1) // 2, "P*(P+1)/2")
    if product is None:
        A = door.read("A", A, matrix if stored != "packed" else "B Q" if batched else "Q", FLOATS)
    x0 = door.read("x0", x0, vector, FLOATS, optional=True)
    rtol, atol = door.real("rtol", rtol, 0.0), door.real("atol", atol, 0.0)
    maxiter = 10 * n if maxiter is None else door.integer("maxiter", maxiter, 1, 2**63 - 1)
    M = door.view("M", M)
    if M is not None and not (dense and isinstance(M, DeviceArray)):
        wanted = "None or a CUDA array" if dense else "None where A is no array"
        door.type_error(f"M must be {wanted} on a CUDA device, got {type(M).__name__}")
    M = door.read("M", M, matrix, A.dtype if dense else b.dtype, optional=True)
    if callback is not None:
        door.type_error(f"callback must be None on a CUDA device, got {type(callback).__name__}")
    damping = door.real("damping", damping, 0.0, 1e30)
    martens = door.choice("stop", stop, ("residual", "martens")) == "martens"
    options = device.native.CgOptions(
        rtol=rtol, atol=atol, damping=damping, maxiter=min(maxiter, 2**62), stored=STORED.index(stored), martens=martens,
        martens_eps=door.real("martens_eps", martens_eps, 0.0), scale_by_k=door.boolean("scale_by_k", scale_by_k),
        flexible=door.boolean("flexible", flexible), verify=door.boolean("verify", verify),
    )  # fmt: skip
    raises = door.choice("on_indefinite", on_indefinite, ("stop", "raise")) == "raise"
    door.threads(threads)
    if n >= 2**30:
        door.value_error(f"b must have fewer than 2**30 entries on a CUDA device, got {n}")

    systems = door["B"] if batched else 1
    stream, dtype = door.stream(), np.result_type(A.dtype, b.dtype) if dense else b.dtype
    x = device.empty(b.shape, dtype)
    if n == 0 or systems == 0:
        return x, DeviceCgInfo(device, device.zeros((systems, 2), np.int64), stream, batched)
    report = device.empty((systems, 2), np.int64)
    info = DeviceCgInfo(device, report, stream, batched)
    where = {"b": b.address, "x0": address(x0), "x": device.address(x), "report": device.address(report)}
    where |= {"x0_is_double": x0 is not None and x0.dtype == np.float64, "options": options, "stream": stream, "n": n}
    if product is not None:
        multiply(device, door, product, b.dtype, min(maxiter, 2**62), report, where)
    else:
        size = {"systems": systems, "is_double": A.dtype == np.float64}
        workspace = device.workspace(device.native.cg_workspace_bytes(n=n, options=options, **size))
        device.native.cg(
            A=A.address,
            M=address(M),
            b_is_double=b.dtype == np.float64,
            workspace=device.address(workspace),
            **size,
            **where,
        )
    if raises:
        refuse_indefinite(door, info, batched)
    return x, info


def callable_of(door: CudaDoor, A: Any) -> Callable[[Any], Any]:
    """v -> A v of a callable, an object with matvec, or one with @."""
    if isinstance(A, type) or not (hasattr(A, "matvec") or callable(A) or hasattr(A, "__matmul__")):
        door.type_error(f"A must be a CUDA array, a callable or an object with matvec or @, got {type(A).__name__}")
    call: Callable[[Any], Any] = A.matvec if hasattr(A, "matvec") else A if callable(A) else A.__matmul__
    return call


def multiply(
    device: Device,
    door: CudaDoor,
    product: Callable[[Any], Any],
    dtype: np.dtype,
    maxiter: int,
    report: Any,
    where: dict[str, Any],
) -> None:
    """Queues the products and the steps between them. Only the device knows what a product is for, and when the rest is idle."""
    n, double = where["n"], dtype == np.float64
    workspace = device.workspace(device.native.cg_step_workspace_bytes(n=n, is_double=double, options=where["options"]))
    answer: DeviceArray | None = None
    most = device.native.cg_most_products(maxiter)
    for done in range(most + 1):
        if done and done % LOOK == 0 and device.host(report, where["stream"])[0, 0] != device.native.cg_under_way:
            return
        v = device.empty(n, dtype)  # of its own: whatever the callee does to it is its own business
        device.native.cg_step(
            answer=address(answer), answer_is_double=answer is not None and answer.dtype == np.float64, v=device.address(v),
            is_double=double, workspace=device.address(workspace), **where,
        )  # fmt: skip
        if done == most:
            return
        y = product(v)
        returned = door.view("A", y)
        if not isinstance(returned, DeviceArray) or returned.dtype not in FLOATS:
            got = returned.dtype.name if isinstance(returned, DeviceArray) else type(y).__name__
            door.type_error(f"A must return a CUDA array of float32 or float64, got {got}")
        if returned.shape != (n,):
            door.value_error(f"A must return shape ({n},), got {returned.shape}")
        answer = door.read("A", returned, "P", FLOATS)
        door.stream()  # behind the stream that it was written on


def refuse_indefinite(door: CudaDoor, info: DeviceCgInfo, batched: bool) -> None:
    """Waits, and raises for the first system that is not positive definite."""
    for i, code in enumerate(np.atleast_1d(info.get()).tolist()):
        if code in INDEFINITE:
            door.value_error(INDEFINITE[code] + (f" in system {i}" if batched else ""))
