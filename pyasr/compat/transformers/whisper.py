"""transformers.WhisperFeatureExtractor."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np

from pyasr import features
from pyasr.compat._shared import PLAIN, dense_filters, made
from pyasr.compat._words import words_of
from pyasr.compat.transformers.batch_feature import BatchFeature
from pyasr.compat.transformers.sequence import SequenceFeatureExtractor, waves_of
from pyasr.ops._door import Door
from pyasr.ops._options import LARGEST_FFT, MfccOptions

__all__ = ["WhisperFeatureExtractor"]

_NAME = "WhisperFeatureExtractor"
_HIGHEST = 8000.0  # Hz, whatever the sampling rate
_FLOOR, _RANGE = np.float32(1e-10), np.float32(8)
_NAMES = {"num_mels": "feature_size", "sample_rate": "sampling_rate", "waves": "raw_speech"}


@functools.cache
def _base() -> MfccOptions:
    return features.preset("whisper", **PLAIN, full_scale=32768.0, high_freq=_HIGHEST, num_ceps=0)


class WhisperFeatureExtractor(SequenceFeatureExtractor):
    """Log mel spectrograms of waves that are padded or cut to chunk_length seconds, as Whisper's encoder takes them.

    feature_size mel filters up to 8 kHz; hop_length and n_fft in samples; dither is the standard deviation of noise that is added
    to each frame. Other keywords are those of `SequenceFeatureExtractor`.

    Raises ValueError and TypeError naming the argument; see `pyasr.compat.transformers` for what differs.

    Source: transformers.WhisperFeatureExtractor; Radford et al. 2022.

    >>> from pyasr.compat.transformers import WhisperFeatureExtractor
    >>> extractor = WhisperFeatureExtractor()
    >>> extractor(np.zeros(16000, np.float32), sampling_rate=16000).input_features.shape
    (1, 80, 3000)
    """

    def __init__(
        self,
        feature_size: int = 80,
        sampling_rate: int = 16000,
        hop_length: int = 160,
        chunk_length: int = 30,
        n_fft: int = 400,
        padding_value: float = 0.0,
        dither: float = 0.0,
        return_attention_mask: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            feature_size=feature_size, sampling_rate=sampling_rate, padding_value=padding_value,
            return_attention_mask=return_attention_mask, **kwargs,
        )  # fmt: skip
        door = Door(_NAME)
        self.n_fft = door.integer("n_fft", n_fft, 2, LARGEST_FFT)
        for name, value in (("n_fft", n_fft), ("sampling_rate", sampling_rate)):
            if value % 2:
                door.value_error(f"{name} must be even, got {value}")
        self.hop_length = door.integer("hop_length", hop_length, 1, LARGEST_FFT)
        self.chunk_length = door.integer("chunk_length", chunk_length, 1, 10**6)
        self.n_samples = chunk_length * sampling_rate
        self.nb_max_frames = self.n_samples // hop_length
        self.dither = door.real("dither", dither, 0.0, 1e6)
        self._options()

    def _options(self) -> MfccOptions:
        """At a low sampling rate, where filters end above the Nyquist frequency, those of a multiple of it: the same FFT bins and
        more above them."""
        times = -(-int(2 * _HIGHEST) // self.sampling_rate)
        with words_of(_NAME, _NAMES):
            return made(
                _base(), sample_rate=times * self.sampling_rate, n_fft=times * self.n_fft, win_length=self.n_fft,
                hop_length=self.hop_length, num_mels=self.feature_size, dither=self.dither,
            )  # fmt: skip

    @property
    def mel_filters(self) -> np.ndarray:
        """The mel filters [n_fft/2 + 1, feature_size] float64."""
        return dense_filters(self._options())[:, : self.n_fft // 2 + 1].T.copy()

    def _log_mel(self, x: np.ndarray) -> np.ndarray:
        """[B, T, M] of waves [B, N]."""
        options, rate = self._options(), self.sampling_rate
        with words_of(_NAME, _NAMES):
            if options.fft_size == self.n_fft:
                return features.batch(x, rate, options, kind="fbank")[0]
            changes: dict[str, Any] = {
                "sample_rate": rate,
                "n_fft": self.n_fft,
                "use_log_fbank": False,
                "dynamic_range": None,
                "num_mels": 0,
            }
            power, _ = features.batch(x, rate, made(options, **changes), kind="spectrogram")
        y = np.log10(np.maximum(power @ self.mel_filters.astype(np.float32), _FLOOR))
        return (np.maximum(y, y.max(axis=(1, 2), keepdims=True) - _RANGE) + 4) / 4

    def __call__(
        self,
        raw_speech: Any,
        truncation: bool = True,
        pad_to_multiple_of: int | None = None,
        return_tensors: str | None = None,
        return_attention_mask: bool | None = None,
        padding: bool | str | None = "max_length",
        max_length: int | None = None,
        sampling_rate: int | None = None,
        do_normalize: bool | None = None,
        device: str | None = "cpu",
        **kwargs: Any,
    ) -> BatchFeature:
        """input_features [B, feature_size, frames] float32 of one wave [N] or a batch of B; attention_mask [B, frames] int32 on
        request.

        Waves are arrays or lists of samples in [−1, 1], padded with zeros or cut to max_length samples (chunk_length seconds);
        padding is "max_length", "longest" or "do_not_pad". do_normalize: mean 0 and variance 1 before padding; its mask, if
        it was not asked for, is one of samples, as in the peer. Unknown keywords are ignored, as there.
        """
        door = Door(_NAME)
        if device not in (None, "cpu"):
            door.value_error(f'device must be "cpu", got {device!r}')
        self._check_rate(door, sampling_rate)
        out = self.pad(
            {"input_features": waves_of(door, raw_speech)},
            padding=padding,  # type: ignore[arg-type]
            max_length=max_length or self.n_samples,
            truncation=truncation,
            pad_to_multiple_of=pad_to_multiple_of,
            return_attention_mask=return_attention_mask or do_normalize,
        )
        x = out["input_features"]
        if x.dtype == object:
            door.value_error('padding must be "longest" or "max_length" for waves of different lengths')
        if x.shape[1] < self.hop_length:
            door.value_error(
                f"raw_speech must have at least hop_length = {self.hop_length} samples, got {x.shape[1]}: pad it"
            )
        if do_normalize:
            x = np.stack(self.zero_mean_unit_var_norm(x, out["attention_mask"], self.padding_value))
        y = self._log_mel(x)
        out["input_features"] = np.ascontiguousarray(y.swapaxes(1, 2))
        if return_attention_mask:
            # a frame counts where its center does; the last center has no frame
            out["attention_mask"] = out["attention_mask"][:, :: self.hop_length][:, : y.shape[1]]
        return out.convert_to_tensors(return_tensors)
