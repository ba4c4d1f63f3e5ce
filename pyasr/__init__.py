"""pyasr: native kernels and a small recogniser for speech.

    ops = pyasr.backend()                     # the best kernels of this machine
    features = pyasr.mfcc(wave, sample_rate)  # [T, F] float32

Nothing but NumPy is imported until a name is used.
"""

import importlib
from typing import TYPE_CHECKING, Any

try:
    from pyasr._version import __version__ as __version__
except ModuleNotFoundError as e:
    if e.name != "pyasr._version":
        raise
    raise ImportError(
        "this is pyasr's source tree, not an installed package: run `pip install .` in it and start Python elsewhere"
    ) from e

# public name -> module that defines it
_PUBLIC = {
    "backend": "pyasr.ops",
    "clip_sgd": "pyasr.optim",
}

__all__ = ["__version__", *_PUBLIC]

if TYPE_CHECKING:
    from pyasr.ops import backend as backend
    from pyasr.optim import clip_sgd as clip_sgd


def __getattr__(name: str) -> Any:
    module = _PUBLIC.get(name)
    if module is None:
        raise AttributeError(f"module 'pyasr' has no attribute {name!r}")
    value = getattr(importlib.import_module(module), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_PUBLIC})
