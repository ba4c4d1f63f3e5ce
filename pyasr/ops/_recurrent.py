"""What the families lstm, gru and rnn share: their door, the order of the frames, example inputs and costs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from pyasr.ops._door import FLOATS, INT32, Door
from pyasr.ops._op import Row


@dataclass(frozen=True)
class Kind:
    """A family: the rows of a weight and of the bias per hidden unit, and whether it has a cell state c beside h."""

    name: str
    rows: int
    bias_rows: int
    cell: bool

    def dims(self, rows: int) -> str:
        return "H" if rows == 1 else f"{rows}*H"

    @property
    def w_ih(self) -> str:
        return f"S {self.dims(self.rows)} D"

    @property
    def bias(self) -> str:
        return f"S {self.dims(self.bias_rows)}"

    @property
    def h(self) -> str:
        """The size of h: H, or R where there may be a projection."""
        return "R" if self.cell else "H"

    @property
    def w_hh(self) -> str:
        return f"S {self.dims(self.rows)} {self.h}"

    @property
    def states(self) -> int:
        return 2 if self.cell else 1


LSTM, GRU, RNN = Kind("lstm", 4, 4, True), Kind("gru", 3, 4, False), Kind("rnn", 1, 1, False)


@dataclass(frozen=True, repr=False)
class LstmOptions:
    """The options of one call of lstm_forward, as they came; see pyasr/ops/lstm.py."""

    peephole: np.ndarray | None = None  # [S,3*H] of i, f, o
    projection: np.ndarray | None = None  # [S,R,H]
    cell_clip: float = 0.0
    state_mask: np.ndarray | None = None  # [S,B,R]
    keep_h: np.ndarray | None = None  # [T,B,S*R]
    keep_c: np.ndarray | None = None  # [T,B,S*H]

    def copied(self) -> LstmOptions:
        """With weights of its own in float64; the masks stay the caller's."""

        def own(w: np.ndarray | None) -> np.ndarray | None:
            return None if w is None else w.astype(np.float64)

        return replace(self, peephole=own(self.peephole), projection=own(self.projection))

    def peepholes(self, s: int, H: int) -> np.ndarray:
        return np.zeros((3, 1)) if self.peephole is None else self.peephole[s].reshape(3, H)

    def masked(self, h: np.ndarray, s: int) -> np.ndarray:
        return h if self.state_mask is None else self.state_mask[s] * h

    def project(self, m: np.ndarray, s: int) -> np.ndarray:
        return m if self.projection is None else m @ self.projection[s].T

    def project_back(self, dr: np.ndarray, s: int) -> np.ndarray:
        return dr if self.projection is None else dr @ self.projection[s]

    def kept_h(self, t: int, s: int, R: int) -> Any:
        return 0.0 if self.keep_h is None else self.keep_h[t, :, s * R : (s + 1) * R].astype(np.float64)

    def kept_c(self, t: int, s: int, H: int) -> Any:
        return 0.0 if self.keep_c is None else self.keep_c[t, :, s * H : (s + 1) * H].astype(np.float64)


NONE = LstmOptions()

# T, B, D, H, S and words: "reverse" (S = 1), "state" (with h0, c0 and their gradients), "full" (no padding), and of the LSTM
# alone "peephole", "projection", "clip", "mask", "zoneout"
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
OPTIONS: tuple[Size, ...] = (
    (7, 5, 3, 17, 1, "peephole"),
    (6, 4, 5, 19, 2, "projection state"),
    (9, 3, 4, 16, 1, "clip reverse state"),
    (5, 6, 3, 33, 2, "mask"),
    (8, 5, 2, 7, 1, "zoneout state"),
    (11, 9, 6, 35, 2, "peephole projection clip mask zoneout state"),
    (3, 130, 7, 20, 1, "peephole projection clip mask zoneout"),
    (0, 2, 3, 5, 1, "peephole projection state"),
)
BENCHMARK_SIZE: Size = (200, 16, 40, 256, 1, "full")
TOLERANCE = {"float32": 5e-6, "float64": 1e-12}
REASON = "float32 recurrences drift by 1e-6 over 1000 frames; wrong mathematics starts at 1e-3"


def check_forward(
    kind: Kind, x: Any, lengths: Any, w_ih: Any, w_hh: Any, bias: Any, states: dict[str, Any], reverse: Any,
    threads: Any, *, with_: LstmOptions = NONE, door: Door | None = None,
) -> Door:  # fmt: skip
    """The door of a forward row, which binds T, B, D, H, S and R; `states` holds h0 and, for the LSTM, c0. The values of lengths
    on a device are not looked at: that would wait for the device."""
    door = door or Door(f"{kind.name}_forward")
    dtype = door.array("x", x, FLOATS).dtype
    door.read("x", x, "T B D", dtype)
    door.read("lengths", lengths, "B", INT32)
    if isinstance(lengths, np.ndarray):
        door.lengths_within("lengths", lengths, door["T"], "T")
    door.read("w_ih", w_ih, kind.w_ih, dtype)
    if door["S"] not in (1, 2):
        door.value_error(f"w_ih must have S of 1 or 2 directions, got {door['S']}")
    for dim, what in (("H", "hidden unit"), ("D", "input")):
        if door[dim] == 0:
            door.value_error(f"w_ih must have at least one {what}, got {w_ih.shape}")
    if door.read("projection", with_.projection, "S R H", dtype, optional=True) is None:
        door.bind("R", door["H"], "H without projection")
    if door["R"] == 0:
        door.value_error("projection must have at least one row, got 0")
    door.read("w_hh", w_hh, kind.w_hh, dtype)
    door.read("bias", bias, kind.bias, dtype)
    door.read("peephole", with_.peephole, "S 3*H", dtype, optional=True)
    for name, state in states.items():
        door.read(name, state, f"S B {kind.h if name == 'h0' else 'H'}", dtype, optional=True)
    if 0 < door.real("cell_clip", with_.cell_clip, 0.0, 1e30) < 1e-30:
        door.value_error(f"cell_clip must be 0 or at least 1e-30, got {with_.cell_clip!r}")
    door.read("state_mask", with_.state_mask, f"S B {kind.h}", dtype, optional=True)
    door.read("keep_h", with_.keep_h, f"T B S*{kind.h}", dtype, optional=True)
    door.read("keep_c", with_.keep_c, "T B S*H", dtype, optional=True)
    if door.boolean("reverse", reverse) and door["S"] != 1:
        door.value_error("reverse needs S = 1, got S = 2")
    door.threads(threads)
    return door


def open_saved(kind: Kind, verb: str, saved: Any, saved_type: Any) -> tuple[Door, Any]:
    """A door that knows the dims of a saved state; TypeError when it is not one of this column's."""
    door = Door(f"{kind.name}_{verb}")
    if type(saved) is not saved_type:
        door.type_error(f"saved must come from {kind.name}_forward of the same backend, got {type(saved).__name__}")
    (T, B, D), (S, rows, R) = saved.x.shape, saved.w_hh.shape
    for dim, size in zip("TBDSHR", (T, B, D, S, rows // kind.rows, R), strict=True):
        door.bind(dim, size)
    return door, saved


def check_backward(
    kind: Kind, door: Door, dtype: np.dtype, dy: Any, dstates: dict[str, Any], dw_ih: Any, dw_hh: Any, dbias: Any,
    need_dx: Any, threads: Any, *, with_: LstmOptions = NONE, extra: dict[str, Any] | None = None,
) -> None:  # fmt: skip
    """The door of a backward row behind open_saved(); `dstates` holds dhn and, for the LSTM, dcn, `extra` the gradients of the
    weights among its options."""
    door.read("dy", dy, f"T B S*{kind.h}", dtype)
    for name, dstate in dstates.items():
        door.read(name, dstate, f"S B {kind.h if name == 'dhn' else 'H'}", dtype, optional=True)
    door.write("dw_ih", dw_ih, kind.w_ih, dtype)
    door.write("dw_hh", dw_hh, kind.w_hh, dtype)
    door.write("dbias", dbias, kind.bias, dtype)
    for name, dims, weight in _extras(with_):
        gradient = (extra or {}).get(name)
        if gradient is None and weight is not None:
            door.value_error(f"{name} must be an array, as forward had its weight, got NoneType")
        if gradient is not None and weight is None:
            door.value_error(f"{name} must be None, as forward had no such weight, got {type(gradient).__name__}")
        door.write(name, gradient, dims, dtype, optional=True)
    door.boolean("need_dx", need_dx)
    door.threads(threads)
    door.no_overlap(dy=dy, **dstates, dw_ih=dw_ih, dw_hh=dw_hh, dbias=dbias, **(extra or {}))


def _extras(with_: LstmOptions) -> tuple[tuple[str, str, np.ndarray | None], ...]:
    return ("dpeephole", "S 3*H", with_.peephole), ("dprojection", "S R H", with_.projection)


def check_jvp(
    kind: Kind, door: Door, dtype: np.dtype, dx: Any, dw_ih: Any, dw_hh: Any, dbias: Any, dstates: dict[str, Any],
    threads: Any, *, with_: LstmOptions = NONE, extra: dict[str, Any] | None = None,
) -> None:  # fmt: skip
    """The door of a jvp row behind open_saved(); `dstates` holds dh0 and, for the LSTM, dc0, `extra` the tangents of the weights
    among its options."""
    door.read("dx", dx, "T B D", dtype, optional=True)
    door.read("dw_ih", dw_ih, kind.w_ih, dtype, optional=True)
    door.read("dw_hh", dw_hh, kind.w_hh, dtype, optional=True)
    door.read("dbias", dbias, kind.bias, dtype, optional=True)
    for name, dstate in dstates.items():
        door.read(name, dstate, f"S B {kind.h if name == 'dh0' else 'H'}", dtype, optional=True)
    for name, dims, weight in _extras(with_):
        tangent = (extra or {}).get(name)
        if tangent is not None and weight is None:
            door.value_error(f"{name} must be None, as forward had no such weight, got {type(tangent).__name__}")
        door.read(name, tangent, dims, dtype, optional=True)
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


def _gradient_names(words: str) -> list[str]:
    """The weights that an example of this size has beside the usual three."""
    return [n for n in ("peephole", "projection") if n in words]


def weight_shapes(kind: Kind, D: int, H: int, S: int, words: str) -> dict[str, tuple[int, ...]]:
    """The shape of each weight; a projection is to half the units."""
    R = (H + 1) // 2 if "projection" in words else H
    shapes: dict[str, tuple[int, ...]] = {
        "w_ih": (S, kind.rows * H, D), "w_hh": (S, kind.rows * H, R), "bias": (S, kind.bias_rows * H)
    }  # fmt: skip
    return shapes | {n: {"peephole": (S, 3 * H), "projection": (S, R, H)}[n] for n in _gradient_names(words)}


def forward_example(rng: np.random.Generator, size: Size, dtype: np.dtype, kind: Kind) -> tuple[tuple, dict]:
    T, B, D, H, S, words = size
    shapes = weight_shapes(kind, D, H, S, words)
    R = shapes["w_hh"][2]

    def normal(*shape: int, scale: float = 1.0) -> np.ndarray:
        return (scale * rng.standard_normal(shape)).astype(dtype)

    lengths = rng.integers(0, T + 1, B).astype(np.int32)
    lengths[: B // 3] = T
    lengths[B // 3 : B // 2] = 0
    if "full" in words or B == 1:
        lengths[:] = T
    weights = [normal(*shape, scale=shape[2] ** -0.5 if len(shape) == 3 else 1.0) for shape in shapes.values()]
    states = (normal(S, B, R), normal(S, B, H))[: kind.states]
    args = (normal(T, B, D), lengths, *weights[:3], *(states if "state" in words else ()))
    options: dict[str, Any] = dict(zip(_gradient_names(words), weights[3:], strict=True))
    if "reverse" in words:
        options["reverse"] = True
    if "clip" in words:
        options["cell_clip"] = 0.5
    if "mask" in words:
        options["state_mask"] = (2.0 * rng.integers(0, 2, (S, B, R))).astype(dtype)
    if "zoneout" in words:
        options["keep_h"] = rng.integers(0, 2, (T, B, S * R)).astype(dtype)
        options["keep_c"] = rng.random((T, B, S * H)).astype(dtype)
    return args, options


def backward_example(rng: np.random.Generator, size: Size, dtype: np.dtype, kind: Kind) -> tuple[tuple, dict]:
    T, B, D, H, S, words = size
    shapes = weight_shapes(kind, D, H, S, words)
    R = shapes["w_hh"][2]
    dstates = [rng.standard_normal((S, B, n)).astype(dtype) for n in (R, H)[: kind.states]]
    args = (
        forward_example(rng, size, dtype, kind),
        rng.standard_normal((T, B, S * R)).astype(dtype),
        *(dstates if "state" in words else ()),
    )
    return args, {f"d{n}": rng.standard_normal(shape).astype(dtype) for n, shape in shapes.items()}


def jvp_example(rng: np.random.Generator, size: Size, dtype: np.dtype, kind: Kind) -> tuple[tuple, dict]:
    """Tangents of everything, or, without states, of the weights alone (what a Gauss-Newton product asks for)."""
    T, B, D, H, S, words = size
    forward = forward_example(rng, size, dtype, kind)
    shapes = weight_shapes(kind, D, H, S, words)
    weights = {f"d{n}": rng.standard_normal(shape).astype(dtype) for n, shape in shapes.items()}
    usual = [weights.pop(n) for n in ("dw_ih", "dw_hh", "dbias")]
    dx = rng.standard_normal((T, B, D)).astype(dtype)
    if "state" not in words:
        return (forward, None, *usual), weights
    return (forward, dx, *usual, *(rng.standard_normal(h.shape).astype(dtype) for h in forward[0][5:])), weights


def own_saved(forward: str) -> Any:
    """A Row.prepare that lets the column at hand make the saved state from its forward arguments."""

    def prepare(ops: Any, args: tuple) -> tuple:
        forward_args, forward_kwargs = args[0]
        return (getattr(ops, forward)(*forward_args, **forward_kwargs)[-1], *args[1:])

    return prepare


def table(
    kind: Kind, forward: Callable, backward: Callable, jvp: Callable,
    *, numba: tuple[str | None, str | None] = (None, None),
) -> tuple[Row, ...]:  # fmt: skip
    """The three rows of a family. Bytes and flops are those of full sequences without options; backward's include dx."""
    kept = kind.bias_rows + (3 if kind.cell else 2)  # y, and the gates, c and h that are saved, per unit

    def forward_flops(
        x: np.ndarray, lengths: np.ndarray, w_ih: np.ndarray, w_hh: np.ndarray, *_: Any, **__: Any
    ) -> float:
        return 2.0 * x.shape[0] * x.shape[1] * (w_ih.size + w_hh.size)

    def forward_bytes(
        x: np.ndarray, lengths: np.ndarray, w_ih: np.ndarray, w_hh: np.ndarray, *_: Any, **__: Any
    ) -> float:
        S, H = w_hh.shape[0], w_hh.shape[2]  # in: x and the weights; out: y and what is saved
        return float(x.itemsize * (x.shape[0] * x.shape[1] * (x.shape[2] + S * H * kept) + w_ih.size + w_hh.size))

    def backward_flops(saved: Any, dy: np.ndarray, *_: Any, dw_ih: np.ndarray, dw_hh: np.ndarray, **__: Any) -> float:
        return 4.0 * dy.shape[0] * dy.shape[1] * (dw_ih.size + dw_hh.size)

    def backward_bytes(saved: Any, dy: np.ndarray, *_: Any, dw_ih: np.ndarray, dw_hh: np.ndarray, **__: Any) -> float:
        S, D, H = dw_ih.shape[0], dw_ih.shape[2], dw_hh.shape[2]  # in: dy, what is saved, and x; out: dx
        return float(dy.itemsize * (dy.shape[0] * dy.shape[1] * (2 * D + S * H * kept) + 3 * (dw_ih.size + dw_hh.size)))

    def jvp_flops(saved: Any, dx: Any, dw_ih: np.ndarray, dw_hh: np.ndarray, *_: Any, **__: Any) -> float:
        return 4.0 * saved.frames * (dw_ih.size + dw_hh.size) - (
            0 if dx is not None else 2.0 * saved.frames * dw_ih.size
        )

    def jvp_bytes(saved: Any, dx: Any, dw_ih: np.ndarray, dw_hh: np.ndarray, *_: Any, **__: Any) -> float:
        S, D, H = dw_ih.shape[0], dw_ih.shape[2], dw_hh.shape[2]  # in: x, dx and what is saved; out: dy
        frame = (1 if dx is None else 2) * D + S * H * kept
        return float(dw_ih.itemsize * (saved.frames * frame + 2 * (dw_ih.size + dw_hh.size)))

    def row(function: Callable, example: Callable, bytes: Callable, flops: Callable, **more: Any) -> Row:
        return Row(
            reference=function,
            example=lambda rng, size, dtype: example(rng, size, dtype, kind),
            sizes=(*OPTIONS, *SIZES) if kind is LSTM else SIZES,
            numba_sizes=SIZES,
            cuda_sizes=tuple(size for size in (*OPTIONS, *SIZES) if "projection" not in size[5])
            if kind is LSTM
            else SIZES,
            benchmark_size=BENCHMARK_SIZE,
            tolerance=TOLERANCE,
            reason=REASON,
            bytes=bytes,
            flops=flops,
            **more,
        )

    prepare, usual = own_saved(forward.__name__), ("dw_ih", "dw_hh", "dbias")
    return (
        row(forward, forward_example, forward_bytes, forward_flops, numba=numba[0]),
        row(
            backward, backward_example, backward_bytes, backward_flops, numba=numba[1], prepare=prepare,
            writes=(*usual, "dpeephole", "dprojection") if kind is LSTM else usual,
        ),
        row(jvp, jvp_example, jvp_bytes, jvp_flops, prepare=prepare),
    )  # fmt: skip
