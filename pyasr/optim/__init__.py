"""First-order updates over the flat parameter buffer.

`clip_sgd`, `adam` and `rmsprop` update arrays in place. `Sgd`, `Adam`, `AdamW` and `RmsProp` are what a training loop steps: each
holds its state as vectors laid out like `params.value`. `Ema` averages the weights, `LossScale` scales a loss.
"""

from __future__ import annotations

from pyasr.ops._update import StepInfo as StepInfo
from pyasr.optim.functions import adam as adam
from pyasr.optim.functions import clip_sgd as clip_sgd
from pyasr.optim.functions import rmsprop as rmsprop
from pyasr.optim.optimizers import Adam as Adam
from pyasr.optim.optimizers import AdamW as AdamW
from pyasr.optim.optimizers import Ema as Ema
from pyasr.optim.optimizers import LossScale as LossScale
from pyasr.optim.optimizers import Optimizer as Optimizer
from pyasr.optim.optimizers import RmsProp as RmsProp
from pyasr.optim.optimizers import Sgd as Sgd
