"""transformers.SequenceFeatureExtractor: padding, truncation, and the JSON files that hold an extractor."""

from __future__ import annotations

import copy
import json
import logging
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np

from pyasr.compat.transformers.batch_feature import BatchFeature, is_tensor
from pyasr.ops._door import Door

__all__ = ["SequenceFeatureExtractor"]

_LOG = logging.getLogger(__name__)
_FILE, _PROCESSOR = "preprocessor_config.json", "processor_config.json"
_INPUT, _MASK = "input_features", "attention_mask"
_PADDING = ("longest", "max_length", "do_not_pad")


def waves_of(door: Door, raw_speech: Any, stereo: bool = False) -> list[np.ndarray]:
    """The waves [N] float32 of one wave or a batch; with stereo the left channel where a wave is (channels, N)."""
    if is_tensor(raw_speech):
        raw_speech = np.asarray(raw_speech)
    if not isinstance(raw_speech, (np.ndarray, list, tuple)):
        door.type_error(f"raw_speech must be an array or a list, got {type(raw_speech).__name__}")
    if isinstance(raw_speech, (list, tuple)) and not raw_speech:
        door.value_error("raw_speech must hold a wave, got an empty list")
    if isinstance(raw_speech, np.ndarray):
        batched = raw_speech.ndim > 1
    else:
        batched = isinstance(raw_speech[0], (list, tuple)) or np.ndim(raw_speech[0]) > 0
    out = []
    for b, speech in enumerate(raw_speech if batched else [raw_speech]):
        name = f"raw_speech[{b}]" if batched else "raw_speech"
        try:
            x = np.asarray(speech)
        except ValueError as error:
            door.value_error(f"{name} must be one wave: {error}")
        if x.dtype.kind not in "fiu":
            door.type_error(f"{name} must be real numbers, got {x.dtype.name}")
        if x.ndim == 2 and stereo and len(x):
            x = x[0]
        if x.ndim != 1:
            door.value_error(
                f"{name} must have shape {'(channels, samples)' if stereo else '(samples,)'}, got {x.shape}"
            )
        out.append(x.astype(np.float32))
    if not out:
        door.value_error(f"raw_speech must hold a wave, got shape {np.shape(raw_speech)}")
    return out


class SequenceFeatureExtractor:
    """What the extractors share: `pad`, and to and from JSON.

    feature_size and sampling_rate are whole numbers, padding_value is what padding is filled with. padding_side ("right" or
    "left") and return_attention_mask (True) may be given too; other keywords become attributes, as in the peer's files.

    Source: transformers.SequenceFeatureExtractor.

    >>> from pyasr.compat.transformers import SequenceFeatureExtractor
    >>> extractor = SequenceFeatureExtractor(feature_size=1, sampling_rate=16000, padding_value=0.0)
    >>> extractor.pad({"input_features": [np.ones(3), np.ones(2)]})["attention_mask"].tolist()
    [[1, 1, 1], [1, 1, 0]]
    """

    model_input_names: Sequence[str] = (_INPUT,)

    def __init__(self, feature_size: int, sampling_rate: int, padding_value: float, **kwargs: Any) -> None:
        door = Door(type(self).__name__)
        self.feature_size = door.integer("feature_size", feature_size, 1, 8192)
        self.sampling_rate = door.integer("sampling_rate", sampling_rate, 10, 10**7)
        self.padding_value = door.real("padding_value", padding_value)
        self.padding_side = door.choice("padding_side", kwargs.pop("padding_side", "right"), ("left", "right"))
        self.return_attention_mask = door.boolean("return_attention_mask", kwargs.pop("return_attention_mask", True))
        for name in ("processor_class", "mel_filters", "window"):  # old files hold tables too
            kwargs.pop(name, None)
        for name, value in kwargs.items():
            if hasattr(type(self), name):
                door.value_error(f"{name} is a method and cannot be given")
            setattr(self, name, value)

    def _check_rate(self, door: Door, sampling_rate: Any) -> None:
        if sampling_rate is None:
            _LOG.warning(
                "It is strongly recommended to pass the `sampling_rate` argument to `%s()`. Failing to do so can result in "
                "silent errors that might be hard to debug.", door.op,
            )  # fmt: skip
        elif sampling_rate != self.sampling_rate:
            door.value_error(
                f"sampling_rate must be the extractor's {self.sampling_rate} Hz, got {sampling_rate!r}: resample"
            )

    def pad(
        self,
        processed_features: Any,
        padding: bool | str = True,
        max_length: int | None = None,
        truncation: bool = False,
        pad_to_multiple_of: int | None = None,
        return_attention_mask: bool | None = None,
        return_tensors: str | None = None,
    ) -> BatchFeature:
        """Sequences [N] or [N, F] of one length, with a mask [B, N] int32 of what is not padding.

        processed_features is a mapping whose "input_features" is a list, or a list of such mappings. padding: True or "longest",
        "max_length", False or "do_not_pad". truncation cuts to max_length; pad_to_multiple_of rounds lengths up.

        Raises ValueError and TypeError naming the argument.
        """
        door = Door(type(self).__name__)
        if isinstance(processed_features, (list, tuple)) and processed_features:
            first = processed_features[0]
            processed_features = {key: [one[key] for one in processed_features] for key in first}
        if not isinstance(processed_features, Mapping) or _INPUT not in processed_features:
            door.value_error(f"processed_features must be a mapping with {_INPUT!r}, or a list of such")
        masked = self.return_attention_mask if return_attention_mask is None else return_attention_mask
        rows = processed_features[_INPUT]
        if len(rows) == 0:
            return BatchFeature({**processed_features, **({_MASK: []} if masked else {})})
        how = "longest" if padding is True else "do_not_pad" if padding is False else getattr(padding, "value", padding)
        door.choice("padding", how, _PADDING)
        multiple = 1
        if pad_to_multiple_of is not None:
            multiple = door.integer("pad_to_multiple_of", pad_to_multiple_of, 1, 2**40)
        longest = None
        if max_length is not None:
            longest = -(-door.integer("max_length", max_length, 0, 2**40) // multiple) * multiple
        elif truncation or how == "max_length":
            door.value_error(f"max_length must be given with {'truncation' if truncation else 'padding=max_length'}")
        data = {key: [np.asarray(value) for value in values] for key, values in processed_features.items()}
        if any(len(values) != len(rows) for values in data.values()):
            door.value_error(f"processed_features must have {len(rows)} entries under every key")
        if masked and _MASK not in data:
            data[_MASK] = [np.ones(len(x), np.int32) for x in data[_INPUT]]
        sequences = [key for key in (_INPUT, _MASK) if key in data]
        if truncation:
            data |= {key: [x[:longest] for x in data[key]] for key in sequences}
        if how == "longest":
            longest = -(-max(len(x) for x in data[_INPUT]) // multiple) * multiple
        if how != "do_not_pad" and longest is not None:
            for key in sequences:
                data[key] = [self._filled(x, longest, self.padding_value if key == _INPUT else 0) for x in data[key]]
        narrow = {
            key: [x.astype(np.float32) if x.dtype == np.float64 else x for x in values] for key, values in data.items()
        }
        return BatchFeature(narrow, return_tensors or ("pt" if is_tensor(rows[0]) else "np"))

    def _filled(self, x: np.ndarray, length: int, value: float) -> np.ndarray:
        missing = max(0, length - len(x))
        ends = (0, missing) if self.padding_side == "right" else (missing, 0)
        return np.pad(x, [ends] + [(0, 0)] * (x.ndim - 1), constant_values=value)

    @staticmethod
    def zero_mean_unit_var_norm(
        input_values: Sequence[np.ndarray], attention_mask: Any, padding_value: float = 0.0
    ) -> list[np.ndarray]:
        """Waves with mean 0 and variance 1 over as many samples as their mask counts; the rest becomes padding_value."""
        if attention_mask is None:
            return [(x - x.mean()) / np.sqrt(x.var() + 1e-7) for x in input_values]
        out = []
        for x, n in zip(input_values, np.asarray(attention_mask, np.int32).sum(-1), strict=True):
            y = (x - x[:n].mean()) / np.sqrt(x[:n].var() + 1e-7)
            y[n:] = padding_value
            out.append(y)
        return out

    def to_dict(self) -> dict[str, Any]:
        """The extractor as plain values."""
        return {**copy.deepcopy(self.__dict__), "feature_extractor_type": type(self).__name__}

    @classmethod
    def from_dict(cls, feature_extractor_dict: Mapping[str, Any], **kwargs: Any) -> Any:
        """The extractor of `to_dict`; keywords that it has replace its values. return_unused_kwargs=True returns
        (extractor, the other keywords)."""
        unused = kwargs.pop("return_unused_kwargs", False)
        values = dict(feature_extractor_dict)
        values |= {name: kwargs.pop(name) for name in list(kwargs) if name in values}
        return (cls(**values), kwargs) if unused else cls(**values)

    def to_json_string(self) -> str:
        """The values as JSON."""
        return json.dumps(self.to_dict(), indent=2, sort_keys=True) + "\n"

    def to_json_file(self, json_file_path: str | os.PathLike[str]) -> None:
        """Write the values as JSON."""
        Path(json_file_path).write_text(self.to_json_string(), "utf-8")

    @classmethod
    def from_json_file(cls, json_file: str | os.PathLike[str]) -> Self:
        """The extractor of a JSON file."""
        return cls(**_mapping(Path(json_file)))

    def save_pretrained(self, save_directory: str | os.PathLike[str]) -> list[str]:
        """Write preprocessor_config.json into a folder, which is made; returns the file's name in a list."""
        folder = Path(save_directory)
        folder.mkdir(parents=True, exist_ok=True)
        self.to_json_file(folder / _FILE)
        return [str(folder / _FILE)]

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path: str | os.PathLike[str], **kwargs: Any) -> Any:
        """The extractor of a folder with preprocessor_config.json (or processor_config.json), or of a JSON file.

        Keywords are those of `from_dict`. Raises FileNotFoundError where there is none: nothing is downloaded.
        """
        path = Path(pretrained_model_name_or_path)
        for name in (_PROCESSOR, _FILE) if path.is_dir() else ():
            if (path / name).is_file():
                values = _mapping(path / name)
                if name == _FILE or "feature_extractor" in values:
                    return cls.from_dict(values if name == _FILE else values["feature_extractor"], **kwargs)
        if not path.is_file():
            raise FileNotFoundError(
                f"{cls.__name__}: there is no {_FILE} at {path}: pass a folder or file of this machine, nothing is downloaded"
            )
        return cls.from_dict(_mapping(path), **kwargs)

    def __repr__(self) -> str:
        return f"{type(self).__name__} {self.to_json_string()}"


def _mapping(path: Path) -> dict[str, Any]:
    values = json.loads(path.read_text("utf-8"))
    if not isinstance(values, dict):
        raise ValueError(f"{path} must hold a JSON object, got {type(values).__name__}")
    return values
