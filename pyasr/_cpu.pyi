"""The cpp column. Written by `python tests/stubs.py` from the rows of pyasr.ops; tests/test_build.py compares."""

from collections.abc import Callable
from typing import Any

import numpy as np

from pyasr.ops._plan import MfccPlan
from pyasr.ops._update import StepInfo

def adam(
    value: Any,
    grad: Any,
    mean: Any,
    square: Any,
    *,
    step: int,
    lr: float,
    beta1: float = 0.9,
    beta2: float = 0.999,
    eps: float = 1e-08,
    weight_decay: float = 0.0,
    decoupled: bool = False,
    largest: Any = None,
    clip: tuple[Any, ...] | None = None,
    clip_eps: float = 0.0,
    grad_scale: float = 1.0,
    nonfinite: str = "skip",
    sum_squares: float | None = None,
    average: Any = None,
    average_decay: float = 0.999,
    segments: np.ndarray | None = None,
    threads: int | None = None,
) -> StepInfo: ...
def cg(
    A: Any,
    b: np.ndarray,
    x0: np.ndarray | None = None,
    *,
    rtol: float = 1e-05,
    atol: float = 0.0,
    maxiter: int | None = None,
    M: Any = None,
    callback: Callable[[np.ndarray], Any] | None = None,
    symmetric: str = "full",
    damping: float = 0.0,
    stop: str = "residual",
    martens_eps: float = 0.0005,
    scale_by_k: bool = True,
    flexible: bool = False,
    verify: bool = True,
    on_indefinite: str = "stop",
    threads: int | None = None,
) -> tuple[np.ndarray, Any]: ...
def clip_sgd(
    value: Any,
    grad: Any,
    *,
    lr: float,
    momentum: float = 0.0,
    buffer: Any = None,
    step: int | None = None,
    dampening: float = 0.0,
    nesterov: bool = False,
    weight_decay: float = 0.0,
    decoupled: bool = False,
    l1: float = 0.0,
    proximal: bool = False,
    clip: tuple[Any, ...] | None = None,
    eps: float = 0.0,
    grad_scale: float = 1.0,
    nonfinite: str = "skip",
    sum_squares: float | None = None,
    average: Any = None,
    average_decay: float = 0.999,
    segments: np.ndarray | None = None,
    threads: int | None = None,
) -> StepInfo: ...
def ctc_align(
    logits: np.ndarray,
    lengths: np.ndarray,
    labels: np.ndarray,
    label_lengths: np.ndarray,
    *,
    blank: int = 0,
    threads: int | None = None,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]: ...
def ctc_beam(
    logits: np.ndarray,
    lengths: np.ndarray,
    *,
    width: int = 16,
    blank: int = 0,
    lm: Any = None,
    lm_weight: float = 0.5,
    length_bonus: float = 0.0,
    delimiter: int | None = None,
    n_best: int = 1,
    min_log_p: float | None = None,
    threads: int | None = None,
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray]: ...
def ctc_greedy(
    logits: np.ndarray, lengths: np.ndarray, *, blank: int = 0, threads: int | None = None
) -> tuple[np.ndarray, np.ndarray]: ...
def ctc_loss(
    logits: np.ndarray,
    lengths: np.ndarray,
    labels: np.ndarray,
    label_lengths: np.ndarray,
    *,
    blank: int = 0,
    zero_infinity: bool = False,
    threads: int | None = None,
) -> tuple[np.ndarray, np.ndarray]: ...
def dropout(
    x: np.ndarray, *, rate: float, key: tuple[int, int], threads: int | None = None
) -> tuple[np.ndarray, np.ndarray]: ...
def fbank(
    wave: np.ndarray,
    plan: MfccPlan,
    *,
    out: np.ndarray | None = None,
    threads: int | None = None,
    nan: str = "raise",
    first_frame: int = 0,
) -> np.ndarray: ...
def gru_backward(
    saved: GruSaved,
    dy: np.ndarray,
    dhn: np.ndarray | None = None,
    *,
    dw_ih: np.ndarray,
    dw_hh: np.ndarray,
    dbias: np.ndarray,
    need_dx: bool = True,
    threads: int | None = None,
) -> tuple[np.ndarray | None, np.ndarray]: ...
def gru_forward(
    x: np.ndarray,
    lengths: np.ndarray,
    w_ih: np.ndarray,
    w_hh: np.ndarray,
    bias: np.ndarray,
    h0: np.ndarray | None = None,
    *,
    reverse: bool = False,
    threads: int | None = None,
) -> tuple[np.ndarray, np.ndarray, GruSaved]: ...
def gru_jvp(
    saved: GruSaved,
    dx: np.ndarray | None = None,
    dw_ih: np.ndarray | None = None,
    dw_hh: np.ndarray | None = None,
    dbias: np.ndarray | None = None,
    dh0: np.ndarray | None = None,
    *,
    threads: int | None = None,
) -> tuple[np.ndarray, np.ndarray]: ...
def hmm_forward_backward(
    log_emissions: np.ndarray,
    lengths: np.ndarray,
    log_initial: np.ndarray,
    log_transitions: np.ndarray,
    log_final: np.ndarray | None = None,
    *,
    threads: int | None = None,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]: ...
def lstm_backward(
    saved: LstmSaved,
    dy: np.ndarray,
    dhn: np.ndarray | None = None,
    dcn: np.ndarray | None = None,
    *,
    dw_ih: np.ndarray,
    dw_hh: np.ndarray,
    dbias: np.ndarray,
    dpeephole: np.ndarray | None = None,
    dprojection: np.ndarray | None = None,
    need_dx: bool = True,
    threads: int | None = None,
) -> tuple[np.ndarray | None, np.ndarray, np.ndarray]: ...
def lstm_forward(
    x: np.ndarray,
    lengths: np.ndarray,
    w_ih: np.ndarray,
    w_hh: np.ndarray,
    bias: np.ndarray,
    h0: np.ndarray | None = None,
    c0: np.ndarray | None = None,
    *,
    peephole: np.ndarray | None = None,
    projection: np.ndarray | None = None,
    cell_clip: float = 0.0,
    state_mask: np.ndarray | None = None,
    keep_h: np.ndarray | None = None,
    keep_c: np.ndarray | None = None,
    reverse: bool = False,
    threads: int | None = None,
) -> tuple[np.ndarray, np.ndarray, np.ndarray, LstmSaved]: ...
def lstm_jvp(
    saved: LstmSaved,
    dx: np.ndarray | None = None,
    dw_ih: np.ndarray | None = None,
    dw_hh: np.ndarray | None = None,
    dbias: np.ndarray | None = None,
    dh0: np.ndarray | None = None,
    dc0: np.ndarray | None = None,
    *,
    dpeephole: np.ndarray | None = None,
    dprojection: np.ndarray | None = None,
    threads: int | None = None,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]: ...
def mfcc(
    wave: np.ndarray,
    plan: MfccPlan,
    *,
    out: np.ndarray | None = None,
    threads: int | None = None,
    nan: str = "raise",
    first_frame: int = 0,
) -> np.ndarray: ...
def rmsprop(
    value: Any,
    grad: Any,
    square: Any,
    *,
    lr: float,
    alpha: float = 0.99,
    eps: float = 1e-08,
    momentum: float = 0.0,
    buffer: Any = None,
    mean: Any = None,
    weight_decay: float = 0.0,
    clip: tuple[Any, ...] | None = None,
    clip_eps: float = 0.0,
    grad_scale: float = 1.0,
    nonfinite: str = "skip",
    sum_squares: float | None = None,
    average: Any = None,
    average_decay: float = 0.999,
    segments: np.ndarray | None = None,
    threads: int | None = None,
) -> StepInfo: ...
def rnn_backward(
    saved: RnnSaved,
    dy: np.ndarray,
    dhn: np.ndarray | None = None,
    *,
    dw_ih: np.ndarray,
    dw_hh: np.ndarray,
    dbias: np.ndarray,
    need_dx: bool = True,
    threads: int | None = None,
) -> tuple[np.ndarray | None, np.ndarray]: ...
def rnn_forward(
    x: np.ndarray,
    lengths: np.ndarray,
    w_ih: np.ndarray,
    w_hh: np.ndarray,
    bias: np.ndarray,
    h0: np.ndarray | None = None,
    *,
    reverse: bool = False,
    threads: int | None = None,
) -> tuple[np.ndarray, np.ndarray, RnnSaved]: ...
def rnn_jvp(
    saved: RnnSaved,
    dx: np.ndarray | None = None,
    dw_ih: np.ndarray | None = None,
    dw_hh: np.ndarray | None = None,
    dbias: np.ndarray | None = None,
    dh0: np.ndarray | None = None,
    *,
    threads: int | None = None,
) -> tuple[np.ndarray, np.ndarray]: ...
def softmax_cross_entropy(
    logits: np.ndarray, labels: np.ndarray, *, threads: int | None = None
) -> tuple[np.ndarray, np.ndarray]: ...
def spd_solve(
    A: np.ndarray, b: np.ndarray, *, method: str = "auto", rtol: float | None = None, threads: int | None = None
) -> np.ndarray: ...
def spectrogram(
    wave: np.ndarray,
    plan: MfccPlan,
    *,
    out: np.ndarray | None = None,
    threads: int | None = None,
    nan: str = "raise",
    first_frame: int = 0,
) -> np.ndarray: ...
def viterbi(
    log_emissions: np.ndarray,
    lengths: np.ndarray,
    log_initial: np.ndarray,
    log_transitions: np.ndarray,
    log_final: np.ndarray | None = None,
    *,
    threads: int | None = None,
) -> tuple[np.ndarray, np.ndarray]: ...

class GruSaved:
    @property
    def frames(self) -> Any: ...

class LstmSaved:
    @property
    def frames(self) -> Any: ...

class RnnSaved:
    @property
    def frames(self) -> Any: ...

class _FrozenGru:
    @property
    def nbytes(self) -> Any: ...

class _FrozenLstm:
    @property
    def nbytes(self) -> Any: ...

class _FrozenRnn:
    @property
    def nbytes(self) -> Any: ...

api: Any  # a capsule with the C entry points, see include/pyasr/capi.h
__version__: str

def isa() -> str: ...
def isas() -> dict[str, bool]: ...
def default_threads() -> int: ...
