"""pyasr: native kernels and a small recognizer for speech.

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
    "Params": "pyasr.params",
    "adam": "pyasr.optim",
    "approximate_gradient": "pyasr.approximate",
    "backend": "pyasr.ops",
    "cg": "pyasr.newton",
    "clip_sgd": "pyasr.optim",
    "ctc_loss": "pyasr.losses",
    "hmm_forward_backward": "pyasr.hmm",
    "load": "pyasr.audio",
    "newton_step": "pyasr.newton",
    "mfcc": "pyasr.features",
    "fbank": "pyasr.features",
    "spd_solve": "pyasr.newton",
    "spectrogram": "pyasr.features",
    "rmsprop": "pyasr.optim",
    "viterbi": "pyasr.hmm",
    "wer": "pyasr.scoring",
    "MfccOptions": "pyasr.features",
    "OnlineFeatures": "pyasr.features",
}
_MODULES = (
    "features",
    "layers",
    "linear",
    "losses",
    "models",
    "optim",
    "params",
    "schedules",
)  # `pyasr.layers.Lstm` without another import

__all__ = ["__version__", *_MODULES, *_PUBLIC]

if TYPE_CHECKING:
    from pyasr import features as features
    from pyasr import layers as layers
    from pyasr import linear as linear
    from pyasr import losses as losses
    from pyasr import models as models
    from pyasr import optim as optim
    from pyasr import params as params
    from pyasr import schedules as schedules
    from pyasr.approximate import approximate_gradient as approximate_gradient
    from pyasr.audio import load as load
    from pyasr.features import MfccOptions as MfccOptions
    from pyasr.features import OnlineFeatures as OnlineFeatures
    from pyasr.features import fbank as fbank
    from pyasr.features import mfcc as mfcc
    from pyasr.features import spectrogram as spectrogram
    from pyasr.hmm import hmm_forward_backward as hmm_forward_backward
    from pyasr.hmm import viterbi as viterbi
    from pyasr.losses import ctc_loss as ctc_loss
    from pyasr.newton import cg as cg
    from pyasr.newton import newton_step as newton_step
    from pyasr.newton import spd_solve as spd_solve
    from pyasr.ops import backend as backend
    from pyasr.optim import adam as adam
    from pyasr.optim import clip_sgd as clip_sgd
    from pyasr.optim import rmsprop as rmsprop
    from pyasr.params import Params as Params
    from pyasr.scoring import wer as wer


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return importlib.import_module(f"pyasr.{name}")
    module = _PUBLIC.get(name)
    if module is None:
        raise AttributeError(f"module 'pyasr' has no attribute {name!r}")
    value = getattr(importlib.import_module(module), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_MODULES, *_PUBLIC})
