"""transformers.SeamlessM4TFeatureExtractor."""

from __future__ import annotations

from typing import Any

import numpy as np

from pyasr import features
from pyasr.compat._shared import dense_filters, made
from pyasr.compat._words import words_of
from pyasr.compat.transformers.batch_feature import BatchFeature
from pyasr.compat.transformers.sequence import SequenceFeatureExtractor, waves_of
from pyasr.ops._door import Door
from pyasr.ops._options import MfccOptions

__all__ = ["SeamlessM4TFeatureExtractor"]

_NAME = "SeamlessM4TFeatureExtractor"
_LENGTH, _SHIFT = 400, 160  # samples, whatever the sampling rate
_NAMES = {
    "num_mels": "num_mel_bins",
    "sample_rate": "sampling_rate",
    "high_freq": "sampling_rate",
    "waves": "raw_speech",
}


class SeamlessM4TFeatureExtractor(SequenceFeatureExtractor):
    """Kaldi's log mel energies, normalized per wave and filter, `stride` frames side by side: SeamlessM4T, w2v-BERT.

    num_mel_bins filters from 20 Hz to half the sampling_rate. Other keywords are those of `SequenceFeatureExtractor`.

    Raises ValueError and TypeError naming the argument; see `pyasr.compat.transformers` for what differs.

    Source: transformers.SeamlessM4TFeatureExtractor; Kaldi, feat/feature-fbank.cc.

    >>> from pyasr.compat.transformers import SeamlessM4TFeatureExtractor
    >>> extractor = SeamlessM4TFeatureExtractor()
    >>> batch = extractor([np.sin(np.arange(16000.0)), np.sin(np.arange(8000.0))], sampling_rate=16000)
    >>> batch.input_features.shape, batch.attention_mask.sum(axis=1).tolist()
    ((2, 49, 160), [49, 24])
    """

    model_input_names = ("input_features", "attention_mask")

    def __init__(
        self,
        feature_size: int = 80,
        sampling_rate: int = 16000,
        num_mel_bins: int = 80,
        padding_value: float = 0.0,
        stride: int = 2,
        **kwargs: Any,
    ) -> None:
        super().__init__(feature_size=feature_size, sampling_rate=sampling_rate, padding_value=padding_value, **kwargs)
        door = Door(_NAME)
        self.num_mel_bins = door.integer("num_mel_bins", num_mel_bins, 3, 8192)
        self.stride = door.integer("stride", stride, 1, 1000)
        self._options()

    def _options(self) -> MfccOptions:
        with words_of(_NAME, _NAMES):
            return made(
                sample_rate=float(self.sampling_rate), scale=32768.0, win_length=_LENGTH, hop_length=_SHIFT,
                num_mels=self.num_mel_bins, high_freq=float(self.sampling_rate // 2), num_ceps=0, use_energy=False,
                allow_empty=True,
            )  # fmt: skip

    @property
    def mel_filters(self) -> np.ndarray:
        """The mel filters [257, num_mel_bins] float64."""
        return dense_filters(self._options()).T.copy()

    def __call__(
        self,
        raw_speech: Any,
        padding: bool | str = True,
        pad_to_multiple_of: int | None = 2,
        max_length: int | None = None,
        truncation: bool = False,
        return_tensors: str | None = None,
        sampling_rate: int | None = None,
        return_attention_mask: bool | None = None,
        do_normalize_per_mel_bins: bool | None = True,
        **kwargs: Any,
    ) -> BatchFeature:
        """input_features [B, frames/stride, num_mel_bins·stride] float32 of one wave or a batch of B; attention_mask
        [B, frames/stride] int32 unless return_attention_mask=False.

        Waves are arrays or lists of samples in [−1, 1], [N] or (channels, N), of which the first channel is taken. max_length and
        pad_to_multiple_of count frames; padding is True or "longest", "max_length", False. Unknown keywords are ignored, as in
        the peer.
        """
        door = Door(_NAME)
        self._check_rate(door, sampling_rate)
        waves = waves_of(door, raw_speech, stereo=True)
        frames = 2 if do_normalize_per_mel_bins else 1
        for b, wave in enumerate(waves):
            if wave.size < (least := _LENGTH + (frames - 1) * _SHIFT):
                text = " for the deviation of do_normalize_per_mel_bins" if frames == 2 else ""
                door.value_error(f"raw_speech[{b}] must have at least {least} samples{text}, got {wave.size}")
        with words_of(_NAME, _NAMES):
            y, offsets = features.batch(waves, self.sampling_rate, self._options(), kind="fbank", layout="concatenated")
        rows = np.split(y, offsets[1:-1])
        if do_normalize_per_mel_bins:
            rows = [(x - x.mean(0)) / np.sqrt(x.var(0, ddof=1) + 1e-7) for x in rows]
        out = self.pad(
            {"input_features": rows},
            padding=padding,
            max_length=max_length,
            truncation=truncation,
            pad_to_multiple_of=pad_to_multiple_of,
            return_attention_mask=True,
        )
        x, mask = out["input_features"], out.pop("attention_mask")
        if x.dtype == object:
            door.value_error("padding must be True for waves of different lengths")
        whole = x.shape[1] - x.shape[1] % self.stride
        out["input_features"] = x[:, :whole].reshape(len(x), whole // self.stride, -1)
        if self.return_attention_mask if return_attention_mask is None else return_attention_mask:
            out["attention_mask"] = mask[:, :whole][:, np.arange(whole) % self.stride == 1]
        return out.convert_to_tensors(return_tensors)
