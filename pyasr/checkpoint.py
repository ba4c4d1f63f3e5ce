"""Checkpoints: safetensors with JSON beside the tensors. Nothing in one can run code.

A file holds the weights by name, states as "state/<name>", where a training can go on from it the optimizer's vectors as
"optimizer/<name>", and in its metadata the format's version and one JSON object. It is written to a temporary file in the same
folder, flushed to the disk and renamed, so a reader finds the old file or the new one.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pyasr._optional import need
from pyasr.ops import host
from pyasr.params import Params

VERSION = 1
STATE = "state/"
OPTIMIZER = "optimizer/"


class CheckpointError(ValueError):
    """A file that is not a checkpoint, is damaged, or belongs to another model. The message names the file."""


@dataclass(frozen=True)
class Checkpoint:
    """What a file holds."""

    path: Path
    config: dict[str, Any]
    tensors: dict[str, np.ndarray]

    def check(self, params: Params) -> None:
        """Raise CheckpointError unless names, shapes and dtypes are those declared and every number is finite.

        Needs no init(): a file that claims a huge model is refused before anything is allocated for it.
        """
        wanted = params.shapes() | {STATE + name: shape for name, shape in params.state_shapes().items()}
        here = {name for name in self.tensors if not name.startswith(OPTIMIZER)}
        missing, extra = sorted(wanted.keys() - here), sorted(here - wanted.keys())
        if missing or extra:
            words = [f"lacks {', '.join(missing)}"] * bool(missing) + [f"has unknown {', '.join(extra)}"] * bool(extra)
            raise CheckpointError(f"{self.path} {' and '.join(words)}: it belongs to another model")
        for name, shape in wanted.items():
            self._check_tensor(name, shape, params.dtype)

    def _check_tensor(self, name: str, shape: tuple[int, ...], dtype: np.dtype) -> None:
        got = self.tensors[name]
        if got.shape != shape or got.dtype != dtype:
            raise CheckpointError(
                f"{self.path}: {name} must be {dtype.name} of shape {shape}, got {got.dtype.name} of shape {got.shape}"
            )
        if not np.isfinite(got).all():
            raise CheckpointError(f"{self.path}: {name} must be finite, got a NaN or infinity")

    def restore(self, params: Params) -> None:
        """Copy the tensors into params.value and params.state, after init().

        Raises CheckpointError as check() does; then nothing has been copied.
        """
        self.check(params)
        places = {name: params[name] for name in params.names()}
        places |= {STATE + name: params.state_of(name) for name in params.state_names()}
        for name, place in places.items():
            place[...] = params.ops.xp.asarray(self.tensors[name])

    def restore_optimizer(self, params: Params, state: Mapping[str, Any]) -> None:
        """Copy the optimizer's vectors into `state`. Raises CheckpointError, before anything is copied, where they do not fit."""
        here = {name.removeprefix(OPTIMIZER) for name in self.tensors if name.startswith(OPTIMIZER)}
        if here != state.keys():
            raise CheckpointError(
                f"{self.path} must hold the optimizer's {', '.join(sorted(state))}, got {', '.join(sorted(here)) or 'nothing'}"
            )
        for name, vector in state.items():
            self._check_tensor(OPTIMIZER + name, vector.shape, vector.dtype)
        for name, vector in state.items():
            vector[...] = params.ops.xp.asarray(self.tensors[OPTIMIZER + name])


def save(
    path: str | os.PathLike[str],
    params: Params,
    config: dict[str, Any],
    *,
    optimizer: Mapping[str, Any] | None = None,
    previous: Path | None = None,
) -> None:
    """Write weights, states and `config` (anything JSON can say) to `path`, atomically; its folder is made.

    optimizer is the optimizer's state, for a training that goes on; previous is the name under which the file that `path` held
    before is kept.

    Raises OSError when the disk refuses (the old file is then still there), TypeError for a config that is not JSON, ImportError
    naming the extra when safetensors is missing.
    """
    tensors = {name: np.ascontiguousarray(host(params[name])) for name in params.names()}
    tensors |= {STATE + name: np.ascontiguousarray(host(params.state_of(name))) for name in params.state_names()}
    tensors |= {OPTIMIZER + name: np.ascontiguousarray(host(vector)) for name, vector in (optimizer or {}).items()}
    metadata = {
        "format": "pyasr",
        "version": str(VERSION),
        "config": json.dumps(config, sort_keys=True, allow_nan=False),
    }
    write_atomically(Path(path), need("safetensors.numpy").save(tensors, metadata), previous=previous)


def write_atomically(path: Path, data: bytes, *, previous: Path | None = None) -> None:
    """Replace `path` by a file that holds `data`: temporary file beside it, fsync, rename, fsync of the folder.

    The file that `path` named before is renamed to `previous` when that is given; between the two renames there is no `path`,
    but always a whole file under one of the names.

    The temporary file has one fixed name, so a process that is killed leaves at most one, which the next call overwrites; two
    processes must not write the same path.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        with temporary.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        if previous is not None and path.exists():
            os.replace(path, previous)
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    if os.name == "posix":  # elsewhere a folder cannot be opened
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def load(path: str | os.PathLike[str]) -> Checkpoint:
    """Read and check a checkpoint.

    Raises FileNotFoundError, CheckpointError with the reason, ImportError naming the extra when safetensors is missing.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"there is no checkpoint {path}")
    safetensors = need("safetensors")
    try:
        with safetensors.safe_open(path, framework="numpy") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  (not a mapping)
    except (
        safetensors.SafetensorError,
        ValueError,  # sizes that NumPy cannot hold
        TypeError,  # this and the next two: dtypes NumPy lacks
        KeyError,
        AttributeError,
    ) as e:
        raise CheckpointError(f"{path} is not a safetensors file, or is damaged: {e}") from e
    if metadata.get("format") != "pyasr":
        raise CheckpointError(f"{path} is a safetensors file, but not a checkpoint of pyasr")
    if metadata.get("version") != str(VERSION):
        raise CheckpointError(f"{path} has format version {metadata.get('version')}, this pyasr reads {VERSION}")
    try:
        config = json.loads(metadata["config"])
    except (KeyError, ValueError, RecursionError) as e:
        raise CheckpointError(f"{path} has no readable config: {e}") from e
    if not isinstance(config, dict):
        raise CheckpointError(f"{path}: config must be a JSON object, got {type(config).__name__}")
    return Checkpoint(path, config, tensors)
