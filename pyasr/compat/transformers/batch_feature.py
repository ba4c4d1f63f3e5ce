"""transformers.BatchFeature: what a feature extractor returns."""

from __future__ import annotations

import importlib
from collections import UserDict
from typing import Any

import numpy as np

from pyasr.ops._door import Door

__all__ = ["BatchFeature"]

TENSORS = ("np", "pt")


def is_tensor(x: Any) -> bool:
    """Whether x is torch's, without importing torch."""
    return type(x).__module__.partition(".")[0] == "torch"


def stacked(values: Any) -> np.ndarray:
    """Arrays of one shape as one array, others as an array of objects."""
    if isinstance(values, np.ndarray):
        return values
    arrays = [np.asarray(value) for value in values]
    if len({array.shape for array in arrays}) <= 1:
        return np.asarray(arrays)
    out = np.empty(len(arrays), object)
    out[:] = arrays
    return out


class BatchFeature(UserDict):
    """A dictionary of arrays whose keys are attributes too.

    tensor_type: "np" makes arrays of the values, "pt" torch's tensors, None leaves them as they are.

    Source: transformers.BatchFeature.

    >>> from pyasr.compat.transformers import BatchFeature
    >>> batch = BatchFeature({"input_features": [[1.0], [2.0]]}, tensor_type="np")
    >>> batch.input_features.shape
    (2, 1)
    """

    def __init__(self, data: Any = None, tensor_type: str | None = None) -> None:
        super().__init__(data)
        self.convert_to_tensors(tensor_type)

    def __getattr__(self, name: str) -> Any:
        data = self.__dict__.get("data", {})
        if name not in data:
            raise AttributeError(f"BatchFeature has no {name!r}, it has {', '.join(map(repr, data)) or 'nothing'}")
        return data[name]

    def convert_to_tensors(self, tensor_type: str | None = None) -> BatchFeature:
        """Make every value an array ("np") or a tensor ("pt"); returns itself.

        Raises ValueError for another type and for a ragged value that torch cannot hold, ImportError without torch.
        """
        if tensor_type is None:
            return self
        door = Door("BatchFeature")
        door.choice("return_tensors", tensor_type, TENSORS)
        if tensor_type == "np":
            self.data = {key: stacked(value) for key, value in self.data.items()}
            return self
        try:
            torch = importlib.import_module("torch")
        except ModuleNotFoundError as e:
            if e.name != "torch":
                raise
            raise ImportError(
                'BatchFeature: return_tensors="pt" needs torch, which is not installed', name="torch"
            ) from e
        for key, value in self.data.items():
            if not is_tensor(value):
                array = stacked(value)
                if array.dtype == object:
                    door.value_error(f'{key} must have rows of one length for return_tensors="pt": pass padding=True')
                self.data[key] = torch.from_numpy(array)
        return self

    def to(self, *args: Any, **kwargs: Any) -> BatchFeature:
        """Move tensors as `tensor.to(*args, **kwargs)` does; integer ones keep their type. Arrays stay. Returns itself."""
        device = kwargs.get("device", args[0] if args and type(args[0]).__name__ != "dtype" else None)
        for key, value in self.data.items():
            if is_tensor(value):
                if value.is_floating_point():
                    self.data[key] = value.to(*args, **kwargs)
                elif device is not None:
                    self.data[key] = value.to(device=device)
        return self
