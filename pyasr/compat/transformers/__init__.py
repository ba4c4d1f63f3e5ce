"""WhisperFeatureExtractor and SeamlessM4TFeatureExtractor of Hugging Face's transformers, without torch and without the hub.

    from pyasr.compat.transformers import WhisperFeatureExtractor

Names, order, defaults, padding, truncation and masks are those of transformers 5. What differs:

  * Values of a BatchFeature are NumPy arrays; return_tensors="pt" makes tensors of them where torch is installed. device is
    "cpu".
  * from_pretrained reads a folder or a JSON file on this machine; nothing is downloaded, and push_to_hub is left out.
  * A batch that stays ragged (padding="do_not_pad") and a wave without a frame raise ValueError; so does one without two where
    SeamlessM4T normalizes. There the peer fails with another error, or returns NaN or nothing.
  * A NaN or infinite sample raises.
  * dither draws the same numbers in every call.
  * Whisper's n_fft and sampling_rate are even: the peer's filters for others lie beside the FFT's bins.

All errors are ValueError or TypeError that name the argument.
"""

from __future__ import annotations

from pyasr.compat.transformers.batch_feature import BatchFeature
from pyasr.compat.transformers.seamless_m4t import SeamlessM4TFeatureExtractor
from pyasr.compat.transformers.sequence import SequenceFeatureExtractor
from pyasr.compat.transformers.whisper import WhisperFeatureExtractor

__all__ = ["BatchFeature", "SeamlessM4TFeatureExtractor", "SequenceFeatureExtractor", "WhisperFeatureExtractor"]
