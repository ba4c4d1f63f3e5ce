"""Optional packages, imported when they are needed."""

from __future__ import annotations

import importlib
from types import ModuleType


def need(module: str, extra: str = "train") -> ModuleType:
    """The module, or an ImportError that names the extra which brings it."""
    top = module.partition(".")[0]
    try:
        importlib.import_module(top)
    except ModuleNotFoundError as e:
        if e.name != top:
            raise
        raise ImportError(f'{top} is not installed: pip install "pyasr-kernels[{extra}]"', name=top) from e
    return importlib.import_module(module)
