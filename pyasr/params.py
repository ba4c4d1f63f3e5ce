"""Parameters as one flat buffer with named views.

Layers declare names and shapes while they are built; init() allocates. Update, exact global norm, conjugate gradients,
averaging, all-reduce and checkpoint are then each one call on a vector.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from pyasr.counter import stream
from pyasr.ops import Backend
from pyasr.ops._door import FLOATS, Door
from pyasr.ops._update import SEGMENT as SEGMENT

LARGEST = 2**40  # weights
ALIGNMENT = 64  # bytes: a cache line, and the widest vector register
HUGE_PAGE = 2**21  # bytes; NumPy asks for huge pages, and a vector that begins on one fills all of them

# (rng, shape) -> array of that shape; drawn in float64, then rounded to the dtype of the buffer
Initializer = Callable[[np.random.Generator, tuple[int, ...]], np.ndarray]


def zeros(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """All zeros."""
    return np.zeros(shape)


def uniform(bound: float) -> Initializer:
    """Uniform in [−bound, bound]. torch.nn.LSTM and torch.nn.Linear use bound 1/√hidden_size and 1/√in_features."""
    return lambda rng, shape: rng.uniform(-bound, bound, shape)


def xavier(fan_in: int, fan_out: int) -> Initializer:
    """Uniform in ±√(6 / (fan_in + fan_out)): Glorot and Bengio, AISTATS 2010."""
    return uniform(math.sqrt(6 / (fan_in + fan_out)))


def lstm_bias(forget: float = 1.0) -> Initializer:
    """[S, 4H] zeros with the forget gates (the second of i, f, g, o) at `forget`: Gers et al., 2000; Jozefowicz et al., 2015."""

    def fill(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
        bias = np.zeros(shape)
        hidden = shape[-1] // 4
        bias[..., hidden : 2 * hidden] = forget
        return bias

    return fill


@dataclass
class _Layout:
    """Where each named entry lies in a flat vector."""

    item_bytes: int
    size: int = 0  # of the vector, gaps included
    entries: dict[str, tuple[int, tuple[int, ...], Initializer]] = field(
        default_factory=dict
    )  # name -> offset, shape, fill

    def add(self, name: str, shape: Sequence[int], fill: Initializer) -> None:
        door = Door("Params.declare")
        if not isinstance(name, str) or not name:
            door.value_error(f"name must be a non-empty string, got {name!r}")
        if name in self.entries:
            door.value_error(f"name must be new, got {name!r} again")
        if not isinstance(shape, (tuple, list)):
            door.type_error(f"shape of {name!r} must be a tuple of integers, got {type(shape).__name__}")
        dims = tuple(door.integer(f"shape of {name!r}", n, 0, LARGEST) for n in shape)
        if math.prod(dims) + self.size > LARGEST:
            door.value_error(f"shape of {name!r} must leave at most {LARGEST} weights in all, got {dims}")
        self.entries[name] = (self.size, dims, fill)
        per_line = ALIGNMENT // self.item_bytes
        self.size += -(-math.prod(dims) // per_line) * per_line

    def view(self, vector: Any, name: str, what: str) -> Any:
        if name not in self.entries:
            raise KeyError(f"Params has no {what} {name!r}; it has {', '.join(self.entries) or 'none'}")
        offset, shape, _ = self.entries[name]
        return vector[offset : offset + math.prod(shape)].reshape(shape)


class Params:
    """All weights of a model in one flat, 64-byte aligned vector, with views by name.

        ops = pyasr.backend()
        params = pyasr.Params(ops)
        model = pyasr.models.word_classifier(params, 39, 10)   # declares
        params.init(seed=0)                                    # allocates and fills
        pyasr.clip_sgd(params.value, params.grad, lr=0.1)

    After init(), `value` and `grad` are vectors [P] and `state` holds what is kept but not trained (running statistics), all of
    `dtype` ("float32" or "float64") in the array library of `ops`. Every entry starts on a 64-byte boundary of its vector, so P
    counts the gaps; gaps are zero in `value` and `grad` and stay zero in every update and every product, so norms and inner
    products are those of the weights alone. `size` counts the weights without gaps.

    Raises TypeError for another dtype, ValueError for a name that is declared twice, RuntimeError for declaring after init() and
    for reading a vector before it.

    >>> params = pyasr.Params(pyasr.backend("numpy"))
    >>> params.declare("layer.bias", (3,))
    >>> params.init(seed=0)
    >>> params["layer.bias"][:] = 1
    >>> params.value[:4]
    array([1., 1., 1., 0.], dtype=float32)
    """

    def __init__(self, ops: Any, dtype: Any = "float32") -> None:
        if not isinstance(ops, Backend):
            raise TypeError(f"Params: ops must be a pyasr.backend(), got {type(ops).__name__}")
        spelled = isinstance(dtype, (str, type, np.dtype))
        known = [d for d in FLOATS if spelled and dtype in (d.name, d.char, d.str, d.str[1:], d.type, d)]
        if not known:
            raise TypeError(
                f"Params: dtype must be float32 or float64, got {str(dtype)[:80] if spelled else type(dtype).__name__}"
            )
        self.ops = ops
        self.dtype = known[0]
        self._trained = _Layout(self.dtype.itemsize)
        self._kept = _Layout(self.dtype.itemsize)
        self._vectors: dict[str, Any] = {}

    def declare(self, name: str, shape: Sequence[int], init: Initializer = zeros) -> None:
        """Ask for a weight of this shape; `init` fills it. Raises RuntimeError after init()."""
        self._declare(self._trained, name, shape, init)

    def declare_state(self, name: str, shape: Sequence[int], init: Initializer = zeros) -> None:
        """As declare(), for what is kept with the weights but not trained, such as the statistics of batch normalization."""
        self._declare(self._kept, name, shape, init)

    def _declare(self, layout: _Layout, name: str, shape: Sequence[int], init: Initializer) -> None:
        if self._vectors:
            raise RuntimeError(f"Params.declare: {name!r} comes after init(); build every layer first")
        layout.add(name, shape, init)

    def init(self, seed: int = 0) -> None:
        """Allocate and fill `value`, `grad` (zeros) and `state`. Each entry depends on (seed, name) only: adding a layer does not
        change the others. A second call fills afresh, in place."""
        seed = Door("Params.init").integer("seed", seed, -(2**127), 2**127)
        if not self._vectors:
            self._vectors = {"value": self.zeros(), "grad": self.zeros(), "state": self._new(self._kept.size)}
        self.grad[:] = 0
        for layout, vector in ((self._trained, self.value), (self._kept, self.state)):
            for name, (_, shape, fill) in layout.entries.items():
                drawn = np.asarray(fill(stream(seed, name), shape), self.dtype)
                layout.view(vector, name, "entry")[...] = self.ops.xp.asarray(drawn)

    def zeros(self) -> Any:
        """A new aligned vector [P] of zeros, laid out like `value`: a momentum buffer, a direction, a second gradient."""
        return self._new(self._trained.size)

    def _new(self, size: int) -> Any:
        if self.ops.xp is not np:
            return self.ops.xp.zeros(size, self.dtype)  # device memory is aligned to 256 bytes or more
        bytes_ = size * self.dtype.itemsize
        boundary = HUGE_PAGE if bytes_ >= 2 * HUGE_PAGE else ALIGNMENT
        raw = np.zeros(bytes_ + boundary, np.uint8)
        begin = -raw.__array_interface__["data"][0] % boundary
        return raw[begin : begin + bytes_].view(self.dtype)

    def _vector(self, name: str) -> Any:
        if name not in self._vectors:
            raise RuntimeError(f"Params.{name}: call init(seed) first")
        return self._vectors[name]

    @property
    def value(self) -> Any:
        """[P] the weights."""
        return self._vector("value")

    @property
    def grad(self) -> Any:
        """[P] the gradient, which backward() adds into."""
        return self._vector("grad")

    @property
    def state(self) -> Any:
        """What is kept but not trained, flat."""
        return self._vector("state")

    def __getitem__(self, name: str) -> Any:
        """The weight of this name, a view into `value`."""
        return self._trained.view(self.value, name, "weight")

    def grad_of(self, name: str) -> Any:
        """The gradient of this weight, a view into `grad`."""
        return self._trained.view(self.grad, name, "weight")

    def state_of(self, name: str) -> Any:
        """The state of this name, a view into `state`."""
        return self._kept.view(self.state, name, "state")

    def view(self, vector: Any, name: str) -> Any:
        """The part of `vector` [P], laid out like `value`, that belongs to this weight."""
        door = Door("Params.view")
        door.shape("vector", door.instance("vector", vector, self.ops.xp, self.dtype), (self._trained.size,))
        return self._trained.view(vector, name, "weight")

    def names(self) -> list[str]:
        """The names of the weights in the order of declaration."""
        return list(self._trained.entries)

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """The shape of every weight, known before init() allocates."""
        return {name: shape for name, (_, shape, _) in self._trained.entries.items()}

    def state_shapes(self) -> dict[str, tuple[int, ...]]:
        """The shape of every state, known before init() allocates."""
        return {name: shape for name, (_, shape, _) in self._kept.entries.items()}

    def state_names(self) -> list[str]:
        """The names of the states in the order of declaration."""
        return list(self._kept.entries)

    def segments(
        self,
        *,
        lr: Callable[[str], float] | None = None,
        decay: Callable[[str], float] | None = None,
        group: Callable[[str], int] | None = None,
    ) -> np.ndarray:
        """The segment table [S] of dtype SEGMENT that updates take: one line per weight, in the order of declaration.

        lr and decay give factors of the learning rate and of weight_decay and l1 by name, 1.0 without them; group numbers, from
        0, the weights whose gradients are clipped to one norm together, without it all. Rows, the units of adaptive clipping, are
        the first axis of a matrix; a vector is one row. Gaps are in no segment, and no update touches them.

        Raises ValueError and TypeError for a factor that is no finite number of at least 0 and a group that is none of 0 … S - 1.

        >>> params = pyasr.Params(pyasr.backend("numpy"))
        >>> params.declare("layer.weight", (3, 5)), params.declare("layer.bias", (3,))
        (None, None)
        >>> params.segments(decay=lambda name: 0.0 if name.endswith("bias") else 1.0)[["offset", "rows", "columns", "decay"]]
        array([( 0, 3, 5, 1.), (16, 1, 3, 0.)], dtype=...)
        """
        door, count = Door("Params.segments"), len(self._trained.entries)
        table = np.zeros(count, SEGMENT)
        for line, (name, (offset, shape, _)) in zip(table, self._trained.entries.items(), strict=True):
            rows, length = shape[0] if len(shape) > 1 else 1, math.prod(shape)
            line["offset"], line["length"], line["rows"] = offset, length, rows
            line["columns"] = length // rows if rows else 0
            line["lr"] = 1.0 if lr is None else door.real(f"lr({name!r})", lr(name), 0.0)
            line["decay"] = 1.0 if decay is None else door.real(f"decay({name!r})", decay(name), 0.0)
            line["group"] = 0 if group is None else door.integer(f"group({name!r})", group(name), 0, count - 1)
        return table

    @property
    def size(self) -> int:
        """Number of weights, gaps not counted."""
        return sum(math.prod(shape) for _, shape, _ in self._trained.entries.values())

    def __repr__(self) -> str:
        return f"Params({self.ops!r}, {self.dtype.name!r}): {self.size} weights in {len(self.names())} entries"
