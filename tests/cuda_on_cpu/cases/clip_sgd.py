"""clip_sgd: the skeleton of all updates. Every option at sizes around its tile of 1024 entries, and norms beyond the range."""

import numpy as np

from pyasr.ops._update import SEGMENT

MOMENTUM = {"momentum": 0.9}
OPTIONS = {
    "plain": {},
    "norm": {"clip": ("norm", 1.0), **MOMENTUM},
    "value": {"clip": ("value", 0.5), "dampening": 0.1, **MOMENTUM},
    "nesterov": {"clip": ("norm", 2.0), "nesterov": True, "weight_decay": 0.1, **MOMENTUM},
    "first step": {"dampening": 0.5, "step": 0, "weight_decay": 0.1, "decoupled": True, **MOMENTUM},
}
MORE = {
    "root": {"clip": ("value", "rsqrt_d"), "l1": 0.1, "average_decay": 0.9},
    "root of d": {"clip": ("value", "rsqrt_d", 7), "l1": 0.1, "proximal": True},
    "adaptive": {"clip": ("adaptive", 0.05), "l1": 0.1, "proximal": True, "average_decay": 0.5, **MOMENTUM},
    "change": {"clip": ("max_change", 0.5, 1.0), "weight_decay": 0.1, "average_decay": 0.5, **MOMENTUM},
    "known sum": {"clip": ("norm", 1.0), "sum_squares": 5000.0, "average_decay": 0.5},
    "known sum, rows": {"clip": ("adaptive", 0.1), "sum_squares": 5000.0},
    "propagate": {"nonfinite": "propagate", "grad_scale": -2.0},
}


class Hidden:
    """An array that is given and not compared: the reference has a number in its place."""

    def __init__(self, array):
        interface = getattr(array, "__cuda_array_interface__", None)
        self.array, self.__cuda_array_interface__ = array, interface or dict(array.__array_interface__, stream=None)


def on_device(ops, dtype, options):
    """The options, with grad_scale, sum_squares and step as arrays of one entry where ops is on a device."""
    if ops.xp is np:
        return options
    dtypes = {"grad_scale": "float64", "sum_squares": "float64", "step": dtype}
    return {k: Hidden(ops.xp.full(1, x, dtypes[k])) if k in dtypes else x for k, x in options.items()}


def segments(rows, columns, *, gap=3):
    """A table with gaps, three groups, and a segment without entries in the middle."""
    table = np.zeros(len(rows) + 1, SEGMENT)
    table["rows"] = [*rows[:1], 0, *rows[1:]]
    table["columns"] = [*columns[:1], 5, *columns[1:]]
    table["length"] = table["rows"] * table["columns"]
    table["offset"] = gap + np.cumsum(table["length"] + gap) - table["length"] - gap
    numbers = np.arange(len(table))
    table["lr"], table["decay"], table["group"] = 1 / (1 + numbers), numbers, (numbers * 2) % 3
    return table


def case(size, dtype, options, scale=1.0, shift=0, device=False, **more):
    def make(ops):
        rng = np.random.default_rng(size)
        value, grad, buffer, average = (
            ops.xp.asarray(scale * rng.standard_normal(size + shift).astype(dtype))[shift:] for _ in range(4)
        )
        given = on_device(ops, dtype, options) if device else options
        kwargs = {"lr": 0.1, "buffer": buffer if "momentum" in options else None, **given}
        return (value, grad), kwargs | ({"average": average} if "average_decay" in options else {})

    return {"row": "clip_sgd", "make": make, **more}


def short_rows(ops):
    """Their norms together are beyond what float64 can square; that of the first row of a bundle is not."""
    rng = np.random.default_rng(0)
    value, grad = rng.standard_normal((2, 80))
    grad *= np.repeat(np.where(np.arange(16) % 8, 1e200, 1.0), 5)
    table = np.array([(0, 80, 16, 5, 1.0, 1.0, 0)], SEGMENT)
    return (ops.xp.asarray(value), ops.xp.asarray(grad)), {"lr": 0.1, "clip": ("adaptive", 0.1), "segments": table}


CASES = {
    f"{name}, {size}, {dtype}": case(size, dtype, options, mutate=False)
    for name, options in OPTIONS.items()
    for size in (0, 1, 3, 1023, 1025, 5003)
    for dtype in ("float32", "float64")
}
CASES |= {
    f"{name}, {size}, {dtype}": case(size, dtype, options, mutate=False)
    for name, options in MORE.items()
    for size in (0, 2051)
    for dtype in ("float32", "float64")
}
TABLE = segments([40, 3, 1, 5, 1], [31, 1, 2049, 7, 2])
CASES |= {
    f"{name} by segments, {dtype}": case(
        3400, dtype, options | {"segments": TABLE, "average_decay": 0.9, "weight_decay": 0.1}, mutate=dtype == "float32"
    )
    for name, options in (OPTIONS | MORE).items()
    for dtype in ("float32", "float64")
    if name != "known sum"  # there are several groups
}
CASES |= {
    "one group, known sum": case(
        900,
        "float32",
        {
            "segments": np.array([(8, 16, 4, 4, 2.0, 0.5, 0), (64, 800, 8, 100, 1.0, 1.0, 0)], SEGMENT),
            "sum_squares": 9.0,
        }
        | {"clip": ("norm", 1.0), "eps": 0.1},
        mutate=False,
    ),
    "no segments at all": case(5, "float32", {"segments": np.zeros(0, SEGMENT), "clip": ("norm", 1.0)}, mutate=False),
    "short rows": {"row": "clip_sgd", "make": short_rows},
    "five blocks": case(9001, "float32", OPTIONS["norm"], resident=5),
    # Nine tiles of 8 kB are more than the block's 64 kB: the gradient is read twice.
    "grad beyond shared memory": case(9001, "float64", OPTIONS["norm"], resident=1, mutate=False),
    "not aligned": case(3001, "float32", MORE["change"], shift=1, mutate=False),
    "a norm beyond float64": case(5003, "float64", {"clip": ("norm", 1e200)}, scale=1e200),
    "a norm below float64": case(3000, "float64", {}, scale=1e-200),
    "a scale below float32": case(3000, "float32", {"grad_scale": 1e-41, "lr": 1e38}, scale=1.5, mutate=False),
}
DEVICE = {
    "all": {"clip": ("norm", 1.0), "dampening": 0.5, "step": 0, "grad_scale": 0.5, "sum_squares": 3000.0, **MOMENTUM},
    "later": {"dampening": 0.5, "step": 7, "grad_scale": -0.5, "clip": ("max_change", 0.5, 1.0), **MOMENTUM},
    "rows": {"clip": ("adaptive", 0.1), "grad_scale": 3.0, "nonfinite": "propagate"},
    "beyond": {"grad_scale": 1e30, "sum_squares": 3e76, "step": 1},
}
CASES |= {
    f"{name} on the device, {size}, {dtype}": case(size, dtype, options, device=True, mutate=False)
    for name, options in DEVICE.items()
    for size in (0, 3001)
    for dtype in ("float32", "float64")
}
# Barriers that can be left out without a wrong answer, and why they stay.
REASONS = {}
