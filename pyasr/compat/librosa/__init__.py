"""librosa's feature.mfcc, feature.melspectrogram, feature.delta, filters.mel and power_to_db, keyword for keyword.

    import pyasr.compat.librosa as librosa

Names and defaults are those of librosa 0.11, and so are shapes: (…, features, frames). What differs:

  * Spectra are computed in float32; the result has the peer's dtype, float64 for a float64 `y`.
  * `window` is hann, hamming, blackman or boxcar by name, a callable or an array; for SciPy's other windows pass
    scipy.signal.get_window(name, win_length).
  * `pad_mode` is constant, reflect, symmetric or edge; a `norm` of filters is "slaney", None, inf or a number p ≥ 1;
    `dct_type` is 1, 2 or 3; `fmax` is at most sr / 2.
  * Keywords that are unknown raise also where the peer does not look at them (`mfcc(S=…)`).
  * With hop_length above n_fft / 2 the peer mirrors wrongly at the end of the wave (pad_mode reflect and symmetric).

All errors are ValueError or TypeError that name the argument. The rest of librosa is left out.
"""

from __future__ import annotations

from pyasr.compat.librosa import core, feature, filters
from pyasr.compat.librosa.core import power_to_db

__all__ = ["core", "feature", "filters", "power_to_db"]
