"""lstm_forward, lstm_backward and lstm_jvp on a device: products over all frames by `xp`, one pass over time by our kernels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from pyasr.ops import _recurrent as rec
from pyasr.ops._cuda._device import Device
from pyasr.ops._cuda._door import CudaDoor, DeviceArray, address


@dataclass(frozen=True, repr=False)
class DeviceLstmSaved:
    """What forward keeps for backward and jvp, on the device: x and the masks are the caller's, the rest is its own."""

    device: Device
    x: DeviceArray  # [T,B,D]
    lengths: Any  # [B]
    w_ih: Any  # [S,4*H,D]
    w_hh: Any  # [S,4*H,H]
    peephole: Any  # [S,3*H] or None
    state_mask: DeviceArray | None  # [S,B,H]
    keep_h: DeviceArray | None  # [T,B,S*H]
    keep_c: DeviceArray | None  # [T,B,S*H]
    cell_clip: float
    reverse: bool
    gates: Any  # [S,T,B,4*H] i, f, g, o after their nonlinearity
    h: Any  # [S,T+1,B,H'] slots behind the mask: csrc/cuda/lstm.hpp
    c: Any  # [S,T+1,B,H]

    @property
    def frames(self) -> int:
        """Sum of the lengths; waits for the device."""
        return int(self.device.host(self.lengths).sum())

    @property
    def with_(self) -> rec.LstmOptions:
        """The options that are weights: what the door asks for."""
        return rec.LstmOptions(peephole=self.peephole)

    @property
    def shape(self) -> tuple[int, int, int, int, bool]:
        """T, B, H, S and reverse, as the launchers take them."""
        S, T, B, rows = self.gates.shape
        return T, B, rows // 4, S, self.reverse

    def model(self) -> dict[str, Any]:
        """LstmModel of csrc/cuda/lstm.hpp by names."""
        own = {n: getattr(self, n) for n in ("lengths", "w_hh", "peephole", "gates", "h", "c")}
        addresses = {n: 0 if a is None else self.device.address(a) for n, a in own.items()}
        callers = {n: address(getattr(self, n)) for n in ("state_mask", "keep_h", "keep_c")}
        clip = self.cell_clip or np.inf
        return {"shape": self.shape, "is_double": self.x.dtype == np.float64, "cell_clip": clip, **addresses, **callers}

    def workspace(self, backward: bool) -> Any:
        nbytes = self.device.native.lstm_workspace_bytes(self.shape, backward, self.x.dtype == np.float64)
        return self.device.workspace(nbytes)

    def h_before(self, s: int) -> Any:
        """[T*B,H]: the state before each frame, as the product took it."""
        T, B, H, _, reverse = self.shape
        h = self.h[s, 1:] if reverse or s == 1 else self.h[s, :T]
        return h.reshape(T * B, h.shape[2])[:, :H]


def slots(device: Device, S: int, T: int, B: int, H: int, dtype: np.dtype) -> Any:
    """[S,T+1,B,H']: the states before and behind each frame; rows are whole vectors of 16 bytes."""
    vector = 16 // dtype.itemsize
    return device.empty((S, T + 1, B, -(-H // vector) * vector), dtype)


def lstm_forward(
    device: Device,
    x: Any,
    lengths: Any,
    w_ih: Any,
    w_hh: Any,
    bias: Any,
    h0: Any = None,
    c0: Any = None,
    *,
    peephole: Any = None,
    projection: Any = None,
    cell_clip: float = 0.0,
    state_mask: Any = None,
    keep_h: Any = None,
    keep_c: Any = None,
    reverse: bool = False,
    threads: int | None = None,
) -> tuple[Any, Any, Any, DeviceLstmSaved]:
    """One product for the gates of all frames, then one pass. The values of lengths are not looked at, which would wait for the
    device: below 0 and above T they count as 0 and T. There is no projection here; numpy and cpp have it."""
    door = CudaDoor(device, "lstm_forward")
    if projection is not None:
        door.value_error(f"projection must be None on a CUDA device, got {type(projection).__name__}")
    weights = {"w_ih": w_ih, "w_hh": w_hh, "bias": bias, "peephole": peephole}
    w_ih, w_hh, bias, peephole = (door.view(n, a) for n, a in weights.items())
    rest = {"h0": h0, "c0": c0, "state_mask": state_mask, "keep_h": keep_h, "keep_c": keep_c}
    h0, c0, state_mask, keep_h, keep_c = (door.view(n, a) for n, a in rest.items())
    x, lengths = door.view("x", x), door.view("lengths", lengths)
    with_ = rec.LstmOptions(peephole, None, cell_clip, state_mask, keep_h, keep_c)
    rec.check_forward(
        rec.LSTM, x, lengths, w_ih, w_hh, bias, {"h0": h0, "c0": c0}, reverse, threads, with_=with_, door=door
    )
    dtype = x.dtype
    T, B, D, H, S = (door[d] for d in "TBDHS")

    stream, empty = door.stream(), device.empty
    own = {n: device.array(a).copy() for n, a in (("lengths", lengths), ("w_ih", w_ih), ("w_hh", w_hh))}
    y, hn, cn = empty((T, B, S * H), dtype), empty((S, B, H), dtype), empty((S, B, H), dtype)
    saved = DeviceLstmSaved(
        device, x, **own, peephole=None if peephole is None else device.array(peephole).copy(),
        state_mask=state_mask, keep_h=keep_h, keep_c=keep_c, cell_clip=float(cell_clip), reverse=bool(reverse),
        gates=empty((S, T, B, 4 * H), dtype), h=slots(device, S, T, B, H, dtype), c=empty((S, T + 1, B, H), dtype),
    )  # fmt: skip
    rows = device.array(x).reshape(T * B, D)
    with np.errstate(all="ignore"):  # padding may hold anything
        for s in range(S):
            device.matmul(rows, saved.w_ih[s].T, saved.gates[s].reshape(T * B, 4 * H))
    workspace = saved.workspace(backward=False)
    device.native.lstm_forward(
        model=saved.model(), bias=bias.address, h0=address(h0), c0=address(c0), y=device.address(y),
        hn=device.address(hn), cn=device.address(cn), workspace=device.address(workspace), stream=stream,
    )  # fmt: skip
    return y, hn, cn, saved


def open_saved(device: Device, verb: str, saved: Any) -> tuple[CudaDoor, DeviceLstmSaved]:
    """A door that knows the dims of a saved state; TypeError when it is not one of this column's."""
    door = CudaDoor(device, f"lstm_{verb}")
    if type(saved) is not DeviceLstmSaved:
        door.type_error(f"saved must come from lstm_forward of the same backend, got {type(saved).__name__}")
    for dim, size in zip("TBHSRD", (*saved.shape[:4], saved.shape[2], saved.x.shape[2]), strict=True):
        door.bind(dim, size)
    return door, saved


def lstm_backward(
    device: Device,
    saved: DeviceLstmSaved,
    dy: Any,
    dhn: Any = None,
    dcn: Any = None,
    *,
    dw_ih: Any,
    dw_hh: Any,
    dbias: Any,
    dpeephole: Any = None,
    dprojection: Any = None,
    need_dx: bool = True,
    threads: int | None = None,
) -> tuple[Any, Any, Any]:
    """One pass for the gradients before the nonlinearities, then products over all frames; the last launches add into the
    gradients of the caller."""
    door, k = open_saved(device, "backward", saved)
    given = {"dy": dy, "dhn": dhn, "dcn": dcn, "dw_ih": dw_ih, "dw_hh": dw_hh, "dbias": dbias}
    dy, dhn, dcn, dw_ih, dw_hh, dbias = (door.view(n, a) for n, a in given.items())
    dpeephole, dprojection = door.view("dpeephole", dpeephole), door.view("dprojection", dprojection)
    dtype = k.x.dtype
    rec.check_backward(
        rec.LSTM, door, dtype, dy, {"dhn": dhn, "dcn": dcn}, dw_ih, dw_hh, dbias, need_dx, threads,
        with_=k.with_, extra={"dpeephole": dpeephole, "dprojection": dprojection},
    )  # fmt: skip
    T, B, D, H, S = (door[d] for d in "TBDHS")

    stream, empty, native, at = door.stream(), device.empty, device.native, device.address
    dgates, dh0, dc0 = empty((S, T, B, 4 * H), dtype), empty((S, B, H), dtype), empty((S, B, H), dtype)
    workspace, model = k.workspace(backward=True), k.model()
    native.lstm_backward(
        model=model, dy=dy.address, dhn=address(dhn), dcn=address(dcn), dgates=at(dgates), dh0=at(dh0), dc0=at(dc0),
        workspace=at(workspace), stream=stream,
    )  # fmt: skip
    clean, partial = empty((T * B, D), dtype), empty(native.lstm_partial_sums(k.shape), dtype)
    native.lstm_clean(model=model, x=k.x.address, width=D, out=at(clean), stream=stream)
    to_w_ih, to_w_hh = empty((S, 4 * H, D), dtype), empty((S, 4 * H, H), dtype)
    flat, dx = dgates.reshape(S, T * B, 4 * H), None
    with np.errstate(all="ignore"):
        for s in range(S):
            device.matmul(flat[s].T, clean, to_w_ih[s])
            device.matmul(flat[s].T, k.h_before(s), to_w_hh[s])
        if need_dx:
            each = empty((S, T * B, D), dtype)
            for s in range(S):
                device.matmul(flat[s], k.w_ih[s], each[s])
            dx = (each[0] if S == 1 else each[0] + each[1]).reshape(T, B, D)
    native.lstm_sums(
        model=model,
        dgates=at(dgates),
        partial=at(partial),
        dbias=dbias.address,
        dpeephole=address(dpeephole),
        stream=stream,
    )
    native.lstm_add(
        is_double=dtype == np.float64, target=dw_ih.address, addend=at(to_w_ih), n=dw_ih.size, target2=dw_hh.address,
        addend2=at(to_w_hh), n2=dw_hh.size, stream=stream,
    )  # fmt: skip
    return dx, dh0, dc0


def lstm_jvp(
    device: Device,
    saved: DeviceLstmSaved,
    dx: Any = None,
    dw_ih: Any = None,
    dw_hh: Any = None,
    dbias: Any = None,
    dh0: Any = None,
    dc0: Any = None,
    *,
    dpeephole: Any = None,
    dprojection: Any = None,
    threads: int | None = None,
) -> tuple[Any, Any, Any]:
    """Products over all frames for the tangents before the nonlinearities, then one pass."""
    door, k = open_saved(device, "jvp", saved)
    given = {"dx": dx, "dw_ih": dw_ih, "dw_hh": dw_hh, "dbias": dbias, "dh0": dh0, "dc0": dc0}
    dx, dw_ih, dw_hh, dbias, dh0, dc0 = (door.view(n, a) for n, a in given.items())
    dpeephole, dprojection = door.view("dpeephole", dpeephole), door.view("dprojection", dprojection)
    dtype = k.x.dtype
    rec.check_jvp(
        rec.LSTM, door, dtype, dx, dw_ih, dw_hh, dbias, {"dh0": dh0, "dc0": dc0}, threads,
        with_=k.with_, extra={"dpeephole": dpeephole, "dprojection": dprojection},
    )  # fmt: skip
    T, B, H, S = (door[d] for d in "TBHS")

    stream, empty, at = door.stream(), device.empty, device.address
    with np.errstate(all="ignore"):
        pre = _tangents(device, k, dx, dw_ih, dw_hh)
    dy, between = empty((T, B, S * H), dtype), slots(device, S, T, B, H, dtype)
    dhn, dcn = empty((S, B, H), dtype), empty((S, B, H), dtype)
    workspace = k.workspace(backward=False)
    device.native.lstm_jvp(
        model=k.model(), dbias=address(dbias), dpeephole=address(dpeephole), dh0=address(dh0), dc0=address(dc0),
        pre=at(pre), dh=at(between), dy=at(dy), dhn=at(dhn), dcn=at(dcn), workspace=at(workspace), stream=stream,
    )  # fmt: skip
    return dy, dhn, dcn


def _tangents(device: Device, k: DeviceLstmSaved, dx: Any, dw_ih: Any, dw_hh: Any) -> Any:
    """[S,T,B,4*H]: dx·w_ihᵀ + x·dw_ihᵀ + h·dw_hhᵀ; zeros where all three are None."""
    (T, B, H, S, _), D = k.shape, k.x.shape[2]
    pre = device.empty((S, T * B, 4 * H), k.x.dtype)
    for s in range(S):
        products = []
        if dx is not None:
            products.append((device.array(dx).reshape(T * B, D), k.w_ih[s]))
        if dw_ih is not None:
            products.append((device.array(k.x).reshape(T * B, D), device.array(dw_ih)[s]))
        if dw_hh is not None:
            products.append((k.h_before(s), device.array(dw_hh)[s]))
        if not products:
            pre[s] = 0
        for n, (rows, w) in enumerate(products):
            term = pre[s] if n == 0 else device.empty((T * B, 4 * H), k.x.dtype)
            device.matmul(rows, w.T, term)
            if n:
                pre[s] += term
    return pre.reshape(S, T, B, 4 * H)
