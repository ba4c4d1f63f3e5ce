"""pyasr beside its peers: kaldi-native-fbank and SciPy, interleaved in one process.

    python benchmarks/rivals/ops.py [--threads N] [--rounds N] [--only mfcc,cg] [--json FILE]

Every round calls ours and theirs in turn on the same inputs; answers are compared before anything is timed. The ratio of a round
is their time over ours; its median and quartiles are printed, with the mark that the project set itself. Peers that are not
installed are listed. Thread counts are pinned in ours and theirs alike. LSTM, GRU and CTC are in recurrent.py, updates in
updates.py.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import asdict
from typing import Any

import _report
from _report import Race, close

PARSER = _report.parser("pyasr beside its peers", threads=1, rounds=15)
PARSER.add_argument("--only", default="mfcc,cg")
OPTIONS = PARSER.parse_args()
_report.pin(OPTIONS.threads)

import numpy as np  # noqa: E402
import probe  # noqa: E402

import pyasr  # noqa: E402

OPS = pyasr.backend("cpp")
THREADS = OPTIONS.threads
PEERS = ("kaldi-native-fbank", "scipy")


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


RACES: dict[str, tuple[str, Callable[[], Iterator[Race]]]] = {
    "mfcc": ("kaldi-native-fbank", mfcc),
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
        for race in races():
            results.append(_report.result(race, OPTIONS))
            print(_report.line(results[-1]), flush=True)
    _report.save(OPTIONS, where, limits=asdict(limits), results=results)


if __name__ == "__main__":
    main()
