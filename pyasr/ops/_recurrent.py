"""What the families lstm and rnn share: their door, the order of the frames, example inputs and costs.

`gates` is 4 for the LSTM and 1 for the tanh RNN; an LSTM has a cell state c beside h.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from pyasr.ops._door import FLOATS, INT32, Door
from pyasr.ops._op import Row

# T, B, D, H, S and words: "reverse" (S = 1), "state" (with h0, c0 and their gradients), "full" (no padding)
Size = tuple[int, int, int, int, int, str]
SIZES: tuple[Size, ...] = (
    (5, 3, 1, 1, 1, "state"),
    (0, 2, 3, 5, 1, "state"),
    (4, 0, 3, 5, 2, "state"),
    (3, 2, 2, 2, 2, "state"),
    (1, 1, 40, 16, 1, ""),
    (7, 5, 3, 17, 1, "reverse"),
    (6, 2, 13, 8, 1, "reverse state"),
    (9, 7, 41, 33, 2, "state"),
    (23, 13, 5, 67, 2, ""),
    (3, 130, 7, 20, 1, "full"),
    (67, 6, 129, 65, 1, "full state"),
    (40, 19, 23, 80, 1, "state"),
)
BENCHMARK_SIZE: Size = (200, 16, 40, 256, 1, "full")
TOLERANCE = {"float32": 5e-6, "float64": 1e-12}
REASON = "float32 recurrences drift by 1e-6 over 1000 frames; wrong mathematics starts at 1e-3"


def check_weights(door: Door, gates: int, dtype: np.dtype, w_ih: Any, w_hh: Any, bias: Any) -> None:
    """Input weights [S,gates*H,D], recurrent weights [S,gates*H,H] and bias [S,gates*H], which bind S and H."""
    rows = "H" if gates == 1 else f"{gates}*H"
    door.read("w_ih", w_ih, f"S {rows} D", dtype)
    if door["S"] not in (1, 2):
        door.value_error(f"w_ih must have S of 1 or 2 directions, got {door['S']}")
    for dim, what in (("H", "hidden unit"), ("D", "input")):
        if door[dim] == 0:
            door.value_error(f"w_ih must have at least one {what}, got {w_ih.shape}")
    door.read("w_hh", w_hh, f"S {rows} H", dtype)
    door.read("bias", bias, f"S {rows}", dtype)


def check_forward(
    op: str, gates: int, x: Any, lengths: Any, w_ih: Any, w_hh: Any, bias: Any, states: dict[str, Any], reverse: Any,
    threads: Any,
) -> Door:  # fmt: skip
    """The door of lstm_forward and rnn_forward; `states` holds h0 and, for the LSTM, c0."""
    door = Door(op)
    dtype = door.array("x", x, FLOATS).dtype
    door.read("x", x, "T B D", dtype)
    door.read("lengths", lengths, "B", INT32)
    door.lengths_within("lengths", lengths, door["T"], "T")
    check_weights(door, gates, dtype, w_ih, w_hh, bias)
    for name, state in states.items():
        door.read(name, state, "S B H", dtype, optional=True)
    if door.boolean("reverse", reverse) and door["S"] != 1:
        door.value_error("reverse needs S = 1, got S = 2")
    door.threads(threads)
    return door


def open_saved(op: str, saved: Any, kind: Any) -> tuple[Door, Any]:
    """A door that knows the dims of a saved state; TypeError when it is not one of this column's."""
    door = Door(op)
    if type(saved) is not kind:
        forward = op.partition("_")[0] + "_forward"
        door.type_error(f"saved must come from {forward} of the same backend, got {type(saved).__name__}")
    (T, B, D), (S, _, H) = saved.x.shape, saved.w_hh.shape
    for dim, size in zip("TBDSH", (T, B, D, S, H), strict=True):
        door.bind(dim, size)
    return door, saved


def check_backward(
    door: Door, gates: int, dtype: np.dtype, dy: Any, dstates: dict[str, Any], dw_ih: Any, dw_hh: Any, dbias: Any,
    need_dx: Any, threads: Any,
) -> None:  # fmt: skip
    """The door of lstm_backward and rnn_backward behind open_saved(); `dstates` holds dhn and, for the LSTM, dcn."""
    rows = "H" if gates == 1 else f"{gates}*H"
    door.read("dy", dy, "T B S*H", dtype)
    for name, dstate in dstates.items():
        door.read(name, dstate, "S B H", dtype, optional=True)
    door.write("dw_ih", dw_ih, f"S {rows} D", dtype)
    door.write("dw_hh", dw_hh, f"S {rows} H", dtype)
    door.write("dbias", dbias, f"S {rows}", dtype)
    door.boolean("need_dx", need_dx)
    door.threads(threads)
    door.no_overlap(dy=dy, **dstates, dw_ih=dw_ih, dw_hh=dw_hh, dbias=dbias)


def check_jvp(
    door: Door, gates: int, dtype: np.dtype, dx: Any, dw_ih: Any, dw_hh: Any, dbias: Any, dstates: dict[str, Any],
    threads: Any,
) -> None:  # fmt: skip
    """The door of lstm_jvp and rnn_jvp behind open_saved(); `dstates` holds dh0 and, for the LSTM, dc0."""
    rows = "H" if gates == 1 else f"{gates}*H"
    door.read("dx", dx, "T B D", dtype, optional=True)
    door.read("dw_ih", dw_ih, f"S {rows} D", dtype, optional=True)
    door.read("dw_hh", dw_hh, f"S {rows} H", dtype, optional=True)
    door.read("dbias", dbias, f"S {rows}", dtype, optional=True)
    for name, dstate in dstates.items():
        door.read(name, dstate, "S B H", dtype, optional=True)
    door.threads(threads)


def frames(T: int, direction: int, reverse: bool) -> range:
    """The frames in the order of a direction. Sequences shorter than T wait in their first state until it reaches them."""
    return range(T - 1, -1, -1) if reverse or direction == 1 else range(T)


def active(lengths: np.ndarray, t: int) -> np.ndarray:
    """[B,1]: which sequences have a frame t."""
    return (t < lengths)[:, None]


def or_zeros(x: np.ndarray | None, shape: tuple[int, ...]) -> np.ndarray:
    """x in float64, zeros where it is None."""
    return np.zeros(shape) if x is None else x.astype(np.float64)


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1.0 / (1.0 + np.exp(-x))


def forward_example(rng: np.random.Generator, size: Size, dtype: np.dtype, gates: int) -> tuple[tuple, dict]:
    T, B, D, H, S, words = size

    def normal(*shape: int, scale: float = 1.0) -> np.ndarray:
        return (scale * rng.standard_normal(shape)).astype(dtype)

    lengths = rng.integers(0, T + 1, B).astype(np.int32)
    lengths[: B // 3] = T
    lengths[B // 3 : B // 2] = 0
    if "full" in words or B == 1:
        lengths[:] = T
    weights = (normal(S, gates * H, D, scale=D**-0.5), normal(S, gates * H, H, scale=H**-0.5), normal(S, gates * H))
    states = (normal(S, B, H), normal(S, B, H)) if gates == 4 else (normal(S, B, H),)
    args = (normal(T, B, D), lengths, *weights, *(states if "state" in words else ()))
    return args, {"reverse": True} if "reverse" in words else {}


def backward_example(rng: np.random.Generator, size: Size, dtype: np.dtype, gates: int) -> tuple[tuple, dict]:
    T, B, D, H, S, words = size
    shapes = {"dw_ih": (S, gates * H, D), "dw_hh": (S, gates * H, H), "dbias": (S, gates * H)}
    dstates = [rng.standard_normal((S, B, H)).astype(dtype) for _ in range(2 if gates == 4 else 1)]
    args = (
        forward_example(rng, size, dtype, gates),
        rng.standard_normal((T, B, S * H)).astype(dtype),
        *(dstates if "state" in words else ()),
    )
    return args, {name: rng.standard_normal(shape).astype(dtype) for name, shape in shapes.items()}


def jvp_example(rng: np.random.Generator, size: Size, dtype: np.dtype, gates: int) -> tuple[tuple, dict]:
    """Tangents of everything, or, without states, of the weights alone (what a Gauss-Newton product asks for)."""
    T, B, D, H, S, words = size
    forward = forward_example(rng, size, dtype, gates)
    weights = [rng.standard_normal(s).astype(dtype) for s in ((S, gates * H, D), (S, gates * H, H), (S, gates * H))]
    dx = rng.standard_normal((T, B, D)).astype(dtype)
    if "state" not in words:
        return (forward, None, *weights), {}
    return (forward, dx, *weights, *(rng.standard_normal((S, B, H)).astype(dtype) for _ in forward[0][5:])), {}


def own_saved(forward: str) -> Any:
    """A Row.prepare that lets the column at hand make the saved state from its forward arguments."""

    def prepare(ops: Any, args: tuple) -> tuple:
        forward_args, forward_kwargs = args[0]
        return (getattr(ops, forward)(*forward_args, **forward_kwargs)[-1], *args[1:])

    return prepare


def table(
    forward: Callable, backward: Callable, jvp: Callable, *, gates: int, numba: tuple[str | None, str | None] = (None, None)
) -> tuple[Row, ...]:  # fmt: skip
    """The three rows of a family. Bytes and flops are those of full sequences; backward's include dx."""

    def forward_flops(
        x: np.ndarray, lengths: np.ndarray, w_ih: np.ndarray, w_hh: np.ndarray, *_: Any, **__: Any
    ) -> float:
        return 2.0 * x.shape[0] * x.shape[1] * (w_ih.size + w_hh.size)

    def forward_bytes(
        x: np.ndarray, lengths: np.ndarray, w_ih: np.ndarray, w_hh: np.ndarray, *_: Any, **__: Any
    ) -> float:
        S, H = w_hh.shape[0], w_hh.shape[2]  # in: x and the weights; out: y and the saved gates, c and h
        frame = x.shape[2] + S * H * (gates + (3 if gates == 4 else 2))
        return float(x.itemsize * (x.shape[0] * x.shape[1] * frame + w_ih.size + w_hh.size))

    def backward_flops(saved: Any, dy: np.ndarray, *_: Any, dw_ih: np.ndarray, dw_hh: np.ndarray, **__: Any) -> float:
        return 4.0 * dy.shape[0] * dy.shape[1] * (dw_ih.size + dw_hh.size)

    def backward_bytes(saved: Any, dy: np.ndarray, *_: Any, dw_ih: np.ndarray, dw_hh: np.ndarray, **__: Any) -> float:
        S, D, H = dw_ih.shape[0], dw_ih.shape[2], dw_hh.shape[2]  # in: dy, gates, c, h and x; out: dx
        frame = 2 * D + S * H * (gates + (3 if gates == 4 else 2))
        return float(dy.itemsize * (dy.shape[0] * dy.shape[1] * frame + 3 * (dw_ih.size + dw_hh.size)))

    def jvp_flops(saved: Any, dx: Any, dw_ih: np.ndarray, dw_hh: np.ndarray, *_: Any, **__: Any) -> float:
        return 4.0 * saved.frames * (dw_ih.size + dw_hh.size) - (
            0 if dx is not None else 2.0 * saved.frames * dw_ih.size
        )

    def jvp_bytes(saved: Any, dx: Any, dw_ih: np.ndarray, dw_hh: np.ndarray, *_: Any, **__: Any) -> float:
        S, D, H = dw_ih.shape[0], dw_ih.shape[2], dw_hh.shape[2]  # in: x, dx, gates, c and h; out: dy
        frame = (1 if dx is None else 2) * D + S * H * (gates + (3 if gates == 4 else 2))
        return float(dw_ih.itemsize * (saved.frames * frame + 2 * (dw_ih.size + dw_hh.size)))

    def row(function: Callable, example: Callable, bytes: Callable, flops: Callable, **more: Any) -> Row:
        return Row(
            reference=function,
            example=lambda rng, size, dtype: example(rng, size, dtype, gates),
            sizes=SIZES,
            benchmark_size=BENCHMARK_SIZE,
            tolerance=TOLERANCE,
            reason=REASON,
            bytes=bytes,
            flops=flops,
            **more,
        )

    prepare = own_saved(forward.__name__)
    return (
        row(forward, forward_example, forward_bytes, forward_flops, numba=numba[0]),
        row(
            backward, backward_example, backward_bytes, backward_flops, numba=numba[1], prepare=prepare,
            writes=("dw_ih", "dw_hh", "dbias"),
        ),
        row(jvp, jvp_example, jvp_bytes, jvp_flops, prepare=prepare),
    )  # fmt: skip
