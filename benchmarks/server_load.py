"""Features as a server computes them: many clips at once in the threads of one process, and how long other threads then wait.

    python benchmarks/server_load.py [--clips N] [--seconds S] [--rounds N] [--watch S] [--json FILE]

Each task of a ThreadPoolExecutor turns one clip into features on one thread. Printed are the clips per second with one worker
and with two, and the delays of a thread that only wants to wake up every millisecond, which it cannot while another keeps the
GIL: beside one worker (the other CPU is free, so nearly all of a delay is the GIL) and beside two (which also take both CPUs).
An idle process, and tasks that only multiply in registers without the GIL, show what of it is the machine. `features.batch` is
one call with so many threads instead of tasks.
"""

from __future__ import annotations

import gc
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent / "rivals"))
import _report

PARSER = _report.parser("features as a server computes them", threads=1, rounds=9)
PARSER.add_argument("--clips", type=int, default=64, help="at once (default 64)")
PARSER.add_argument("--seconds", type=float, default=10.0, help="of audio per clip (default 10)")
PARSER.add_argument("--watch", type=float, default=5.0, help="seconds that the waking thread watches each side")
OPTIONS = PARSER.parse_args()
_report.pin(OPTIONS.threads)

import _sides  # noqa: E402
import numpy as np  # noqa: E402

import pyasr  # noqa: E402
from pyasr import _cpu  # noqa: E402

WORKERS = (1, 2)
TICK = 1e-3  # seconds between the wishes of the waking thread
Load = Callable[[int], Any]  # all clips once, with so many workers


def tasks(features: _sides.Features, clips: list[np.ndarray]) -> Load:
    def load(workers: int) -> list[np.ndarray]:
        with ThreadPoolExecutor(workers) as pool:
            return list(pool.map(features, clips))

    return load


def sides(clips: list[np.ndarray], peers: dict[str, str]) -> dict[str, Load]:
    """Every side's load; its answers, of two workers, have been compared."""
    mfcc, mels, librosa = _sides.DIALECTS[:3]
    count = round(2000 * OPTIONS.seconds)  # about as long as a clip of ours
    found: dict[str, Load] = {"multiply-adds alone": tasks(lambda _: _cpu._probe("fma", count, 1), clips)}
    for name, dialect in {"pyasr.mfcc": mfcc, "pyasr.fbank, 80": mels}.items():
        features = dialect.ours(OPTIONS.threads)
        found[name] = tasks(features, clips)
        for got, clip in zip(found[name](2), clips, strict=True):
            if not np.array_equal(got, features(clip)):
                raise SystemExit(f"{name}: two workers give other bits than one call: nothing was timed")
    found["pyasr.features.batch"] = lambda workers: pyasr.features.batch(clips, _sides.RATE, threads=workers)[0]
    for got, clip in zip(found["pyasr.features.batch"](2), clips, strict=True):
        if not np.array_equal(got, pyasr.mfcc(clip, _sides.RATE, threads=1)):
            raise SystemExit("pyasr.features.batch: other bits than one call: nothing was timed")
    for dialect, peer in ((mfcc, "kaldi-native-fbank"), (librosa, "librosa")):
        if peers[peer] != "not installed":
            features, ours = dialect.peers[peer](), dialect.ours(OPTIONS.threads)
            found[peer] = tasks(features, [dialect.their_wave(clip) for clip in clips])
            for got, clip in zip(found[peer](2), clips, strict=True):
                dialect.agreement(peer, ours(dialect.our_wave(clip)), got)
    return found


def delays(work: Callable[[], Any], seconds: float) -> dict[str, float]:
    """How late, in ms, a thread wakes that sleeps a millisecond again and again while this one works."""
    late: list[float] = []
    done = threading.Event()

    def tick() -> None:
        while not done.is_set():
            start = time.perf_counter()
            time.sleep(TICK)
            late.append(time.perf_counter() - start - TICK)

    thread = threading.Thread(target=tick)
    thread.start()
    try:
        end = time.perf_counter() + seconds
        while time.perf_counter() < end:
            work()
    finally:
        done.set()
        thread.join()
    shares = {"median": 0.5, "99 %": 0.99, "99.9 %": 0.999, "longest": 1.0}
    return {name: 1e3 * float(np.quantile(late, q)) for name, q in shares.items()} | {"ticks": len(late)}


def text_of(delay: dict[str, float]) -> str:
    median, most, nearly, longest, ticks = delay.values()
    return f"{median:6.2f} {most:7.2f} {nearly:7.2f} {longest:7.2f} ms of {ticks:.0f} ticks"


def main() -> None:
    where = _report.machine(["kaldi-native-fbank", "librosa"])
    print(", ".join(f"{k} {v}" for k, v in where.items()))
    wave, length = _sides.speech(OPTIONS.seconds), round(OPTIONS.seconds * _sides.RATE)
    clips = [np.roll(wave, 997 * b)[:length].copy() for b in range(OPTIONS.clips)]
    loads = sides(clips, where["peers"])
    gc.collect()
    gc.freeze()  # as servers do: a collection that walks through all that the peers import stops every thread for 85 ms
    calls = {
        f"{name} {workers}": lambda load=load, workers=workers: load(workers)
        for name, load in loads.items()
        for workers in WORKERS
    }
    times = {k: np.array(v) for k, v in _report.take_turns(calls, OPTIONS.rounds, time.perf_counter, 50e-3).items()}
    print(f"{OPTIONS.clips} clips of {OPTIONS.seconds:g} s, medians of {OPTIONS.rounds} rounds [quartiles]; how late a thread "
          "wakes: median, 99 %, 99.9 %, longest\n")  # fmt: skip
    idle = delays(lambda: time.sleep(0.05), OPTIONS.watch)
    print(f"{'an idle process':24s} wakes late {text_of(idle)}")
    results = []
    for name, load in loads.items():
        rates = [OPTIONS.clips / float(np.median(times[f"{name} {workers}"])) for workers in WORKERS]
        low, ratio, high = _report.quartiles(times[f"{name} 1"] / times[f"{name} 2"])
        late = {workers: delays(lambda load=load, workers=workers: load(workers), OPTIONS.watch) for workers in WORKERS}
        print(
            f"{name:24s} clips/s {rates[0]:8,.0f} with one worker, {rates[1]:8,.0f} with two: {ratio:.2f} [{low:.2f}, {high:.2f}]"
        )
        for workers in WORKERS:
            print(f"{'':24s} wakes late {text_of(late[workers])} beside {workers} worker(s)", flush=True)
        results.append({
            "name": name, "clips per s": rates, "hours of audio per s": [r * OPTIONS.seconds / 3600 for r in rates],
            "ratio": ratio, "quartiles": [low, high], "ms late": {str(workers): d for workers, d in late.items()},
        })  # fmt: skip
    missing = [peer for peer, version in where["peers"].items() if version == "not installed"]
    for peer in missing:
        print(f"{peer:24s} not installed")
    _report.save(
        OPTIONS, where, clips=OPTIONS.clips, seconds=OPTIONS.seconds, rounds=OPTIONS.rounds, idle=idle, results=results,
        missing=missing,
    )  # fmt: skip


if __name__ == "__main__":
    main()
