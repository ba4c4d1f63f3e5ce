"""pyasr beside its peers: kaldi-native-fbank, torch and SciPy, interleaved in one process.

    python benchmarks/rivals/ops.py [--threads N] [--rounds N] [--only mfcc,lstm,ctc,clip_sgd,cg] [--json FILE]

Every round calls ours and theirs in turn on the same inputs; answers are compared before anything is timed. The ratio of a round
is their time over ours; its median and quartiles are printed, with the mark that the project set itself. Peers that are not
installed are listed. Thread counts are pinned in ours and theirs alike.
"""

from __future__ import annotations

import functools
import importlib
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from typing import Any

import _report
from _report import close

PARSER = _report.parser("pyasr beside its peers", threads=1, rounds=15)
PARSER.add_argument("--only", default="mfcc,lstm,ctc,clip_sgd,cg")
OPTIONS = PARSER.parse_args()
_report.pin(OPTIONS.threads)

import numpy as np  # noqa: E402
import probe  # noqa: E402

import pyasr  # noqa: E402

OPS = pyasr.backend("cpp")
THREADS = OPTIONS.threads
CLOCK = time.perf_counter if OPTIONS.clock == "wall" else time.process_time
PEERS = ("kaldi-native-fbank", "torch", "scipy")


@dataclass
class Race:
    """One line of the table: ours against one or more forms of theirs, of which the fastest counts."""

    name: str
    peer: str
    ours: Callable[[], Any]
    theirs: dict[str, Callable[[], Any]]
    mark: float | None = None  # the ratio that the project wants at least
    units: int = 1  # times are divided by it
    unit: str = "call"


def mfcc() -> Iterator[Race]:
    import kaldi_native_fbank as knf

    wave = (0.1 * np.random.default_rng(0).standard_normal(160_000)).astype(np.float32)
    scaled = wave * 32768  # their input is at int16 scale
    options = knf.MfccOptions()
    options.frame_opts.dither = 0

    def theirs() -> np.ndarray:
        extractor = knf.OnlineMfcc(options)
        extractor.accept_waveform(16000, scaled)
        extractor.input_finished()
        return np.stack([extractor.get_frame(i) for i in range(extractor.num_frames_ready)])

    def ours() -> np.ndarray:
        return pyasr.mfcc(wave, 16000, threads=THREADS)

    close("mfcc", ours(), theirs(), 1e-4)
    yield Race("mfcc, 10 s at 16 kHz", "kaldi-native-fbank", ours, {"array in, frames stacked": theirs}, mark=20)


def lstm() -> Iterator[Race]:
    import torch

    for T, B, D, H in ((200, 16, 40, 256), (500, 32, 40, 512)):
        torch.manual_seed(0)
        layer, x = torch.nn.LSTM(D, H), torch.randn(T, B, D, requires_grad=True)
        dy = torch.randn(T, B, H)
        dy_mine = dy.numpy()
        w_ih, w_hh, b_ih, b_hh = (p.detach().numpy() for p in layer.parameters())
        weights = [np.ascontiguousarray(w[None]) for w in (w_ih, w_hh, b_ih + b_hh)]
        mine, lengths = x.detach().numpy(), np.full(B, T, np.int32)
        gradient = {f"d{n}": np.zeros_like(w) for n, w in zip(("w_ih", "w_hh", "bias"), weights, strict=True)}

        def theirs(layer: Any = layer, x: Any = x, dy: Any = dy) -> Any:
            layer.zero_grad(set_to_none=True)
            x.grad = None
            y, _ = layer(x)
            y.backward(dy)
            return y

        def ours(x: Any = mine, lengths: Any = lengths, weights: Any = weights, dy: Any = dy_mine,
                 gradient: Any = gradient) -> Any:  # fmt: skip
            y, _, _, saved = OPS.lstm_forward(x, lengths, *weights, threads=THREADS)
            for g in gradient.values():
                g[:] = 0
            return y, OPS.lstm_backward(saved, dy, **gradient, threads=THREADS)[0]

        want, (got, dx) = theirs(), ours()
        close("lstm y", got, want.detach(), 1e-5)
        close("lstm dx", dx, x.grad, 1e-4)
        close("lstm dw_hh", gradient["dw_hh"][0], layer.weight_hh_l0.grad, 1e-4)
        close("lstm dw_ih", gradient["dw_ih"][0], layer.weight_ih_l0.grad, 1e-4)
        yield Race(f"lstm forward + backward, T{T} B{B} D{D} H{H}", "torch", ours, {"nn.LSTM": theirs}, mark=1)


def ctc() -> Iterator[Race]:
    import torch

    T, B, U = 500, 32, 50
    for V in (32, 5000):
        rng = np.random.default_rng(0)
        logits = rng.standard_normal((T, B, V), np.float32)
        labels = rng.integers(1, V, (B, U)).astype(np.int32)
        lengths, label_lengths = np.full(B, T, np.int32), np.full(B, U, np.int32)
        x = torch.from_numpy(logits.copy()).requires_grad_()
        rest = [torch.from_numpy(a.astype(np.int64)) for a in (labels, lengths, label_lengths)]

        def theirs(x: Any = x, rest: Any = rest) -> Any:
            x.grad = None
            loss = torch.nn.functional.ctc_loss(x.log_softmax(-1), *rest, reduction="none")
            loss.sum().backward()
            return loss

        def ours(logits: Any = logits, labels: Any = labels, lengths: Any = lengths, n: Any = label_lengths) -> Any:
            return OPS.ctc_loss(logits, lengths, labels, n, threads=THREADS)

        want, (loss, dlogits) = theirs(), ours()
        close("ctc loss", loss, want.detach(), 1e-5)
        close("ctc dlogits", dlogits, x.grad, 1e-2)  # theirs is the less accurate: see tests/test_oracle.py
        del dlogits
        yield Race(
            f"ctc_loss, T{T} B{B} U{U} V{V}", "torch", ours, {"log_softmax + ctc_loss + backward": theirs}, mark=8
        )


def clip_sgd() -> Iterator[Race]:
    import torch

    for P in (200_000, 4_000_000, 40_000_000):
        for momentum in (0.0, 0.9):
            rng, lr = np.random.default_rng(0), 0.05 * P**0.5  # steps of 0.05 per entry, far above rounding
            start, grad = (rng.standard_normal(P, np.float32) for _ in range(2))
            value, mine = start.copy(), grad.copy()
            buffer = np.zeros_like(value) if momentum else None

            shared = {"lr": lr, "momentum": momentum, "clip": ("norm", 1.0), "eps": 1e-6, "threads": THREADS}
            ours = functools.partial(OPS.clip_sgd, value, mine, buffer=buffer, **shared)
            theirs, tensors = {}, {}
            for form in ("fused", "foreach", "single"):
                flat, flat_grad = torch.from_numpy(start.copy()), torch.from_numpy(grad.copy())
                parameters = [torch.nn.Parameter(p) for p in flat.split(-(-P // 40))]
                for p, g in zip(parameters, flat_grad.split(-(-P // 40)), strict=True):
                    p.grad = g
                flags = {"fused": form == "fused", "foreach": form == "foreach"}
                optimizer = torch.optim.SGD(parameters, lr=lr, momentum=momentum, **flags)

                def step(parameters: Any = parameters, optimizer: Any = optimizer, form: Any = form) -> Any:
                    torch.nn.utils.clip_grad_norm_(parameters, 1.0, foreach=form != "single")
                    optimizer.step()

                theirs[form], tensors[form] = step, parameters
            ours()
            for form, step in theirs.items():
                step()
                got = np.concatenate([p.detach().numpy() for p in tensors[form]])
                close(f"clip_sgd {form}", value - start, got - start, 1e-5)
            mark = 1.2 if P == 4_000_000 else None
            yield Race(f"clip + SGD, {P / 1e6:g}M, momentum {momentum:g}", "torch", ours, theirs, mark)


def cg() -> Iterator[Race]:
    from scipy.sparse.linalg import cg as scipy_cg

    for n in (64, 256, 1024, 2048):
        rng = np.random.default_rng(0)
        q, _ = np.linalg.qr(rng.standard_normal((n, n)))
        A = ((q * np.logspace(0, 4, n)) @ q.T).astype(np.float32)
        A, b, iterations = np.ascontiguousarray((A + A.T) / 2), rng.standard_normal(n).astype(np.float32), 30

        def ours(A: Any = A, b: Any = b, rtol: float = 1e-12, maxiter: int = iterations) -> Any:
            return OPS.cg(A, b, rtol=rtol, maxiter=maxiter, threads=THREADS)

        def theirs(A: Any = A, b: Any = b, rtol: float = 1e-12, maxiter: int = iterations) -> Any:
            return scipy_cg(A, b, rtol=rtol, maxiter=maxiter)

        (got, info), (want, their_info) = ours(), theirs()
        if info != iterations or their_info != iterations:
            raise SystemExit(f"cg: {info} and {their_info} iterations instead of {iterations}")
        close("cg after as many iterations", got, want, 1e-2)
        mark = 1.2 if n == 1024 else None
        yield Race(f"cg, n = {n}, float32", "scipy", ours, {"cg": theirs}, mark, iterations, "iteration")


def run(race: Race, rounds: int) -> dict[str, Any]:
    """The medians of the contestants, per unit, and the ratio to the fastest of theirs."""
    times = _report.take_turns({"pyasr": race.ours, **race.theirs}, rounds, CLOCK)
    best = min(race.theirs, key=lambda name: float(np.median(times[name])))
    low, median, high = _report.quartiles(np.array(times[best]) / np.array(times["pyasr"]))
    return {
        "name": race.name,
        "peer": race.peer,
        "form": best,
        "ours": float(np.median(times["pyasr"])) / race.units,
        "theirs": {name: float(np.median(times[name])) / race.units for name in race.theirs},
        "unit": race.unit,
        "ratio": median,
        "quartiles": [low, high],
        "mark": race.mark,
        "rounds": rounds,
    }


RACES: dict[str, tuple[str, Callable[[], Iterator[Race]]]] = {
    "mfcc": ("kaldi-native-fbank", mfcc),
    "lstm": ("torch", lstm),
    "ctc": ("torch", ctc),
    "clip_sgd": ("torch", clip_sgd),
    "cg": ("scipy", cg),
}


def main() -> None:
    where = _report.machine(PEERS)
    print(", ".join(f"{k} {v}" for k, v in where.items()))
    limits = probe.measure(THREADS)
    print("\n".join(limits.verdict()))
    print(
        f"{THREADS} thread(s), {OPTIONS.clock} clock, median of {OPTIONS.rounds} rounds [quartiles], mark in brackets\n"
    )
    results = []
    for name in OPTIONS.only.split(","):
        peer, races = RACES[name]
        if where["peers"][peer] == "not installed":
            print(f"{name}: {peer} is not installed")
            continue
        if peer == "torch":
            importlib.import_module("torch").set_num_threads(THREADS)
        for race in races():
            r = run(race, OPTIONS.rounds)
            results.append(r)
            mark = (
                "" if race.mark is None else f"  (mark {race.mark:g}: {'met' if r['ratio'] >= race.mark else 'missed'})"
            )
            theirs = r["theirs"][r["form"]]
            print(
                f"{r['name']:46s} ours {1e6 * r['ours']:10.1f} µs  {r['peer']} {1e6 * theirs:11.1f} µs per {r['unit']}"
                f"  ratio {r['ratio']:6.2f} [{r['quartiles'][0]:.2f}, {r['quartiles'][1]:.2f}]{mark}",
                flush=True,
            )
    _report.save(OPTIONS, where, limits=asdict(limits), results=results)


if __name__ == "__main__":
    main()
