"""NumPy's arrays as strict as CuPy's: on the emulated device, mixing with none of the host, and no numbers by themselves.

    xp = library()
    x = xp.asarray(np.ones(3))     # a DeviceArray, a copy
    x + np.ones(3)                 # TypeError
    float(x.sum())                 # counted in DeviceArray.reads; HostRead within unread()

A reduction gives an array without dimensions, as CuPy's does.
"""

import contextlib
from types import SimpleNamespace
from typing import ClassVar

import numpy as np

COUNTING = (
    "argwhere",
    "compress",
    "extract",
    "flatnonzero",
    "nonzero",
    "unique",
)  # how large the result is, the host asks
MAKERS = ("arange", "array", "ascontiguousarray", "empty", "eye", "full", "linspace", "ones", "zeros")


class HostRead(RuntimeError):
    """The host looked at the device, and so waited for it, where it must not."""


@contextlib.contextmanager
def unread():
    """Within, nothing may look at the device."""
    DeviceArray.forbidden = True
    try:
        yield
    finally:
        DeviceArray.forbidden = False


def plain(x):
    """The same memory as NumPy's; TypeError for an array of the host."""
    if isinstance(x, DeviceArray):
        return x.view(np.ndarray)
    if isinstance(x, np.ndarray):
        raise TypeError(f"Unsupported type {type(x)}: an array {x.shape} of the host among those of a device")
    return type(x)(map(plain, x)) if isinstance(x, (list, tuple)) else x


def on_device(x):
    """NumPy's results as arrays of the device, numbers as arrays without dimensions."""
    if isinstance(x, (np.ndarray, np.generic)):
        return np.asarray(x).view(DeviceArray)
    return type(x)(map(on_device, x)) if isinstance(x, (list, tuple)) else x


class DeviceArray(np.ndarray):
    reads: ClassVar[list[str]] = []  # how the host looked
    forbidden: ClassVar[bool] = False

    @property
    def __cuda_array_interface__(self):
        return {**self.__array_interface__, "stream": None}

    def read(self, how):
        """What the host may see of this array, which is asked by `how`."""
        if self.forbidden:
            raise HostRead(f"{how}() waits for the device")
        self.reads.append(how)
        return self.view(np.ndarray)

    def get(self, stream=None):
        """A copy on the host."""
        return self.read("get").copy()

    def item(self, *at):
        return self.read("item").item(*at)

    def tolist(self):
        return self.read("tolist").tolist()

    def __float__(self):
        return float(self.read("float"))

    def __int__(self):
        return int(self.read("int"))

    def __index__(self):
        return self.read("index").__index__()

    def __bool__(self):
        return bool(self.read("bool"))

    def __array_ufunc__(self, ufunc, method, *inputs, out=None, **more):
        more = {name: plain(x) for name, x in more.items()}
        if out is None:
            return on_device(getattr(ufunc, method)(*plain(inputs), **more))
        getattr(ufunc, method)(*plain(inputs), out=plain(out), **more)
        return out[0] if len(out) == 1 else out

    def __array_function__(self, func, types, args, kwargs):
        if func.__name__ in COUNTING:
            self.read(func.__name__)
        return on_device(func(*plain(args), **{name: plain(x) for name, x in kwargs.items()}))

    def picked(self, at):
        """An index as NumPy takes it. CuPy's host counts what a mask leaves, and so waits."""
        at = plain(at) if isinstance(at, tuple) else (plain(at),)
        if any(isinstance(part, np.ndarray) and part.dtype == bool for part in at):
            self.read("mask")
        return at

    def __getitem__(self, at):
        at = self.picked(at)
        whole = at if any(part is ... for part in at) else (*at, ...)  # a view of an entry, not its value
        return on_device(self.view(np.ndarray)[whole])

    def __setitem__(self, at, value):
        self.view(np.ndarray)[self.picked(at)] = plain(value)

    def argmax(self, *args, **more):
        return on_device(self.view(np.ndarray).argmax(*args, **more))


def library(**own):
    """NumPy's functions; what they make are DeviceArrays."""
    names = {n: getattr(np, n) for n in dir(np) if not n.startswith("_")}

    def maker(function):
        return lambda *args, **more: on_device(function(*args, **more))

    def asarray(x, dtype=None):
        return on_device(np.array(x, dtype, copy=None if isinstance(x, DeviceArray) else True))

    def where(condition, x, y):
        return np.where(condition.astype(bool), x, y)  # CuPy's takes no Python bool

    names |= {name: maker(names[name]) for name in MAKERS}

    def count_nonzero(x):
        return on_device(np.asarray(np.count_nonzero(plain(x))))  # NumPy's is a number of the host

    names |= {"asarray": asarray, "count_nonzero": count_nonzero, "ndarray": DeviceArray, "where": where}
    return SimpleNamespace(**(names | {"__name__": "cupy"} | own))
