"""The rows beside torch, on the same device: LSTM (cuDNN on a GPU), CTC, clip + SGD, Adam; and torchaudio's MFCC.

Single precision is IEEE's (no TF32). bfloat16, float16 and what runs through the padding compute other numbers: they are shown,
and no ratio is made of them.
"""

from __future__ import annotations

import functools
import importlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from pyasr.bench.cells import Cell, cells
from pyasr.bench.peers import Builder, Form, Race, present
from pyasr.bench.target import Target
from pyasr.counter import stream
from pyasr.ops import host
from pyasr.ops._compare import arguments_for
from pyasr.ops._door import default_threads

NEEDS = {"cuda": ("torch",), "cpu": ("torch",)}
TENSORS = 40  # of a model, as torch's optimizers take them


def builders(target: Target, names: Sequence[str], quick: bool) -> Iterator[tuple[str, Builder]]:
    torch = importlib.import_module("torch")
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    torch.set_num_threads(default_threads())
    makers: dict[str, Callable[..., Iterator[Race]]]
    makers = {"lstm_forward": lstm, "ctc_loss": ctc, "clip_sgd": update, "adam": update, "mfcc": mfcc}
    for cell in cells(names):
        wanted = cell.dtype == "float32" and "states" not in cell.label
        if cell.row in makers and wanted and (cell.row != "mfcc" or present("torchaudio")):
            backward = {"backward": "lstm_backward" in names} if cell.row == "lstm_forward" else {}
            yield (
                f"{cell.name} beside torch",
                functools.partial(makers[cell.row], target, torch, cell, quick, **backward),
            )


def tensor(torch: Any, x: Any) -> Any:
    """A tensor of its own with the numbers of an array."""
    return torch.from_dlpack(x).clone()


def numpy_of(x: Any) -> np.ndarray:
    return x.detach().float().cpu().numpy()


# ---- LSTM


def lstm(target: Target, torch: Any, cell: Cell, quick: bool, backward: bool) -> Iterator[Race]:
    (x, lengths, *weights), _ = cell.arguments(0, quick)
    T, B = x.shape[:2]
    if "ragged" in cell.label:
        lengths = np.linspace(T // 4 + 1, T, B).round().astype(np.int32)
    dy = stream("bench", "dy").standard_normal((T, B, weights[1].shape[0] * weights[1].shape[2]), np.float32)
    x, lengths, dy, *weights = (target.xp.asarray(a) for a in (x, lengths, dy, *weights))
    gradients = [target.xp.zeros(w.shape, w.dtype) for w in weights]

    def forward() -> Any:
        return target.ops.lstm_forward(x, lengths, *weights)

    def both() -> Any:
        y, _, _, saved = forward()
        names = ("dw_ih", "dw_hh", "dbias")
        return y, target.ops.lstm_backward(saved, dy, **dict(zip(names, gradients, strict=True)))[0]

    theirs = _lstm_forms(torch, x, host(lengths), dy, weights)
    yield Race(
        f"lstm forward, {cell.label}", "lstm_forward", Form(forward, lambda: [host(forward()[0])]),
        {name: f for name, (f, _) in theirs.items()}, "torch", units=T, unit="step",
    )  # fmt: skip
    if backward:
        yield Race(
            f"lstm forward + backward, {cell.label}", "lstm_backward", Form(both, lambda: list(map(host, both()))),
            {name: f for name, (_, f) in theirs.items()}, "torch", units=T, unit="step",
        )  # fmt: skip


def _lstm_forms(torch: Any, x: Any, lengths: np.ndarray, dy: Any, weights: list[Any]) -> dict[str, tuple[Form, Form]]:
    """name -> forward, and forward and backward."""
    T, _, D = x.shape
    S, H = weights[1].shape[0], weights[1].shape[2]
    full, on_cpu = bool((lengths == T).all()), torch.as_tensor(lengths).long()
    frames = torch.arange(T)[:, None] < on_cpu
    found: dict[str, tuple[Form, Form]] = {}
    for precision, tolerance in (("float32", 1e-3), ("bfloat16", 0.1), ("float16", 2e-2)):
        dtype, of_x = getattr(torch, precision), tensor(torch, x)
        if precision == "float16" and of_x.device.type == "cpu":
            continue
        module = torch.nn.LSTM(D, H, bidirectional=S == 2).to(of_x.device, dtype)
        with torch.no_grad():
            for s, end in enumerate(("", "_reverse")[:S]):
                for name, w in zip(("weight_ih", "weight_hh", "bias_ih"), weights, strict=True):
                    getattr(module, f"{name}_l0{end}").copy_(tensor(torch, w)[s])
                getattr(module, f"bias_hh_l0{end}").zero_()
        xs, dys = of_x.to(dtype).requires_grad_(), (tensor(torch, dy) * frames[..., None].to(of_x.device)).to(dtype)

        for layout, run in (("padded", _padded), ("packed", _packed)):
            forward = functools.partial(run, torch, module, xs, on_cpu)
            both = functools.partial(_both, forward, xs, dys)
            same = full or layout == "packed"  # the other runs through the padding: its answer is not compared
            counts = same and precision == "float32"
            found[f"{precision}, {layout}"] = (
                Form(forward, _listed(forward) if same else None, tolerance, counts),
                Form(both, _listed(both) if same else None, tolerance, counts),
            )
    return found


def _padded(torch: Any, module: Any, x: Any, lengths: Any) -> tuple[Any]:
    return (module(x)[0],)


def _packed(torch: Any, module: Any, x: Any, lengths: Any) -> tuple[Any]:
    rows = torch.nn.utils.rnn.pack_padded_sequence(x, lengths, enforce_sorted=False)
    return (torch.nn.utils.rnn.pad_packed_sequence(module(rows)[0], total_length=len(x))[0],)


def _both(forward: Callable[[], tuple[Any]], x: Any, dy: Any) -> tuple[Any, Any]:
    x.grad = None
    (y,) = forward()
    y.backward(dy)
    return y, x.grad


def _listed(call: Callable[[], tuple]) -> Callable[[], list[np.ndarray]]:
    return lambda: [numpy_of(x) for x in call()]


# ---- CTC


def ctc(target: Target, torch: Any, cell: Cell, quick: bool) -> Iterator[Race]:
    """Labels that fit, as torch takes no others without a warning; a loss and its gradient on each side."""
    T, B, U, V = cell.quick if quick else cell.size
    rng = stream("bench", "ctc")
    logits = target.xp.asarray(2 * rng.standard_normal((T, B, V), np.float32))
    lengths = np.linspace(T // 2 + 1, T, B).round().astype(np.int32)
    counts = np.linspace(1, min(U, T // 4), B).astype(np.int32)
    labels = rng.integers(1, V, (B, U), np.int32)
    given = [target.xp.asarray(a) for a in (lengths, labels, counts)]
    leaf = tensor(torch, logits).requires_grad_()
    theirs = torch.as_tensor(labels).long().to(leaf.device), *(torch.as_tensor(a).long() for a in (lengths, counts))

    def ours() -> Any:
        return target.ops.ctc_loss(logits, *given, blank=0)

    def call() -> Any:
        leaf.grad = None
        log_p = torch.nn.functional.log_softmax(leaf, dim=-1)
        labels, lengths, counts = theirs
        loss = torch.nn.functional.ctc_loss(log_p, labels, lengths, counts, reduction="none")
        loss.sum().backward()
        return loss, leaf.grad

    form = Form(call, lambda: list(map(numpy_of, call())), tolerance=1e-3)
    yield Race(cell.name, "ctc_loss", Form(ours, lambda: list(map(host, ours()))), {"float32": form}, "torch")


# ---- updates


def update(target: Target, torch: Any, cell: Cell, quick: bool) -> Iterator[Race]:
    """Clipping by the norm, and a step: one call on a vector, beside the fused optimizer over 40 tensors."""
    size = (cell.quick if quick else cell.size) // TENSORS * TENSORS
    rng, limit, lr = stream("bench", cell.row), 0.05 * size**0.5, 0.01
    start, grad = (rng.standard_normal(size, np.float32) for _ in range(2))
    value, slope = target.xp.asarray(start.copy()), target.xp.asarray(grad)
    states = {name: target.xp.zeros(size, np.float32) for name in ("mean", "square")}
    adam = cell.row == "adam"
    options: dict[str, Any] = {"lr": lr, "clip": ("norm", limit)}
    options |= (
        {"clip_eps": 1e-6, "step": 1, **states} if adam else {"eps": 1e-6, "momentum": 0.9, "buffer": states["mean"]}
    )

    def ours() -> Any:
        return getattr(target.ops, cell.row)(value, slope, **options)

    def made() -> tuple[Callable[[], Any], Callable[[], list[Any]]]:
        tensors = [torch.nn.Parameter(t.clone()) for t in tensor(torch, target.xp.asarray(start)).chunk(TENSORS)]
        for p, g in zip(tensors, tensor(torch, slope).chunk(TENSORS), strict=True):
            p.grad = g.clone()
        if adam:
            optimizer = torch.optim.Adam(tensors, lr=lr, fused=True, capturable=target.is_gpu)
        else:
            optimizer = torch.optim.SGD(tensors, lr=lr, momentum=0.9, fused=True)

        def step() -> None:
            torch.nn.utils.clip_grad_norm_(tensors, limit, foreach=True)
            optimizer.step()

        def answer() -> list[Any]:
            step()
            return [np.concatenate([numpy_of(p) for p in tensors]) - start]

        return step, answer

    step, answer = made()
    forms, absent = {"fused": Form(step, answer, tolerance=1e-3)}, {}
    if target.is_gpu:
        try:
            forms["fused, graph"] = Form(_graph_of(torch, made()[0]))
        except RuntimeError as e:
            absent["fused, graph"] = str(e)

    def first() -> list[Any]:
        ours()
        return [host(value) - start]

    title = f"clip + {'Adam' if adam else 'SGD with momentum'}, {cell.label}"
    yield Race(title, cell.row, Form(ours, first), forms, "torch", absent=absent)


def _graph_of(torch: Any, step: Callable[[], Any]) -> Callable[[], Any]:
    """torch's own recipe: a few steps on another stream, then the capture."""
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(3):
            step()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        step()
    return graph.replay


# ---- features


def mfcc(target: Target, torch: Any, cell: Cell, quick: bool) -> Iterator[Race]:
    kaldi = importlib.import_module("torchaudio.compliance.kaldi")
    (wave, plan), options = arguments_for(cell.of, target.ops, *cell.arguments(0, quick))
    theirs = 32768 * tensor(torch, wave)[None]

    def ours() -> Any:
        return target.ops.mfcc(wave, plan, **options)

    def call() -> Any:
        return kaldi.mfcc(
            theirs, sample_frequency=float(plan.options.sample_rate), num_ceps=plan.features, use_energy=True,
            energy_floor=0.0, dither=0.0,
        )  # fmt: skip

    form = Form(call, lambda: [numpy_of(call())], tolerance=1e-3)
    yield Race(cell.name, "mfcc", Form(ours, lambda: [host(ours())]), {"float32": form}, "torchaudio")
