"""Layers that shorten time."""

from __future__ import annotations

from typing import Any

from pyasr.layers._layer import EVAL, Layer, Mode, frames_within
from pyasr.ops._door import Door
from pyasr.params import Params


class FrameStack(Layer):
    """x [T, B, F] -> y [⌈T / count⌉, B, count·F]: `count` frames side by side, every count frames.

    An utterance of n frames has ⌈n / count⌉; what its last one lacks is zeros. Padding is not read, whatever it holds.

    >>> params = pyasr.Params(pyasr.backend("numpy"))
    >>> stack = pyasr.layers.FrameStack(params, 3)
    >>> y, saved = stack.forward(np.ones((7, 1, 2), "f4"), np.array([7], "i4"))
    >>> y.shape, y[2, 0].tolist(), stack.out_lengths(np.array([7], "i4"))
    ((3, 1, 6), [1.0, 1.0, 0.0, 0.0, 0.0, 0.0], array([3], dtype=int32))
    """

    has_weights = False

    def __init__(self, params: Params, count: int) -> None:
        self.params, self.count = params, Door("FrameStack").integer("count", count, 1, 1024)

    def forward(self, x: Any, lengths: Any, mode: Mode = EVAL) -> tuple[Any, Any]:
        self._check_input(x, lengths, (3,), "(T, B, F)")
        within = frames_within(self.params.ops.xp, x.shape[0], lengths)[:, :, None]  # [T, B, 1]
        return self._stack(x, within), (within, x.shape)

    def _stack(self, x: Any, within: Any) -> Any:
        xp, (T, B, F) = self.params.ops.xp, x.shape
        frames = -(-T // self.count)
        whole = xp.zeros((frames * self.count, B, F), x.dtype)
        xp.copyto(whole[:T], x, where=within)
        rows = xp.ascontiguousarray(whole.reshape(frames, self.count, B, F).swapaxes(1, 2))
        return rows.reshape(frames, B, self.count * F)

    def backward(self, saved: Any, dy: Any, grad: Any = None, *, need_dx: bool = True) -> Any:
        within, (T, B, F) = saved
        frames = -(-T // self.count)
        self._check("dy", dy, (frames, B, self.count * F))
        dx = dy.reshape(frames, B, self.count, F).swapaxes(1, 2).reshape(frames * self.count, B, F)[:T]
        return self.params.ops.xp.where(within, dx, dy.dtype.type(0))

    def jvp(self, saved: Any, dx: Any, direction: Any) -> Any:
        within, shape = saved
        if dx is None:
            return None  # no weights: nothing varies
        self._check("dx", dx, shape)
        return self._stack(dx, within)

    def out_lengths(self, lengths: Any) -> Any:
        return -(-lengths // self.count)
