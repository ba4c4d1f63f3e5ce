"""Features beside their peers: kaldi-native-fbank, torchaudio, librosa, python_speech_features, faster-whisper, openai-whisper.

    python benchmarks/rivals/features.py [--threads N] [--rounds N] [--seconds S] [--json FILE] [--chart FILE] [--page FILE]
    python benchmarks/rivals/features.py --from FILE --chart docs/features.svg --page docs/features.md

Synthetic speech at 16 kHz, array in and array out. Every peer's answer is compared with ours in its dialect before anything is
timed; ours and theirs then take turns in one process. Chart and page are drawn from what --json writes, also later (--from).
A peer or a dialect is added in _sides.py.
"""

from __future__ import annotations

import functools
import json
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import _report

PARSER = _report.parser("features beside their peers", threads=1, rounds=15)
PARSER.add_argument("--seconds", type=float, default=60.0, help="of audio (default 60); Whisper takes at most 30")
PARSER.add_argument("--from", dest="source", type=Path, help="measure nothing: draw these results")
PARSER.add_argument("--chart", type=Path, help="draw an SVG there")
PARSER.add_argument("--page", type=Path, help="write the table between this page's markers")
OPTIONS = PARSER.parse_args()
_report.pin(OPTIONS.threads)

import _page  # noqa: E402
import numpy as np  # noqa: E402
import probe  # noqa: E402
from _sides import DIALECTS, PEERS, RATE, Dialect, speech  # noqa: E402

import pyasr  # noqa: E402
from pyasr import _cpu  # noqa: E402
from pyasr.ops import rows, why_not  # noqa: E402

CLOCK = time.perf_counter if OPTIONS.clock == "wall" else time.process_time
CHUNK = RATE // 50  # samples of 20 ms
BATCH, CLIP = 64, 10.0  # waves of a batch and their seconds, for --seconds 60
BUNCH = 10e-3  # seconds: ours takes about one per call, and a core that slept is slow at first
Calls = dict[str, Callable[[], Any]]


def installed(where: dict[str, Any], peer: str) -> bool:
    return where["peers"][peer] != "not installed"


def figures(
    calls: Calls, *, frames: int, seconds: float, flops: float, peak: float, theirs: set[str] = frozenset()
) -> dict[str, Any]:
    """What a table says of each contestant: times in turns, ratios to the first. flops per frame, peak in flop/s."""
    times = _report.take_turns(calls, OPTIONS.rounds, CLOCK, BUNCH)
    ours, found = np.array(times[next(iter(calls))]), {}
    for name in calls:
        taken = float(np.median(times[name]))
        low, median, high = _report.quartiles(np.array(times[name]) / ours)
        found[name] = {
            "µs per frame": 1e6 * taken / frames,
            "frames per s": frames / taken,
            "x real time": seconds / taken,
            "share of the limit": None if name in theirs else flops * frames / taken / peak,
            "ratio": median,
            "quartiles": [low, high],
        }
    return found


def dialect_race(dialect: Dialect, wave: np.ndarray, where: dict[str, Any], peak: float) -> dict[str, Any]:
    wave = wave[: round(dialect.seconds * RATE)]
    mine, other = dialect.our_wave(wave), dialect.their_wave(wave)
    ours, answer = dialect.ours(OPTIONS.threads), dialect.ours(OPTIONS.threads)(mine)
    calls: Calls = {"pyasr": lambda: ours(mine)}
    errors = {}
    if why_not("numba") is None:
        twin = dialect.column("numba", OPTIONS.threads)
        errors["pyasr, numba"] = dialect.agreement("the numba column", answer, twin(mine))
        calls["pyasr, numba"] = lambda: twin(mine)
    peers = [peer for peer in dialect.peers if installed(where, peer)]
    for peer in peers:
        features = dialect.peers[peer]()
        errors[peer] = dialect.agreement(peer, answer, features(other))
        calls[peer] = lambda features=features: features(other)
    flops = float(rows()[dialect.kind].flops(mine, dialect.plan())) / len(answer)
    return {
        "name": dialect.name,
        "seconds": len(wave) / RATE,
        "frames": len(answer),
        "kflop per frame": flops / 1e3,
        "largest difference": errors,
        "not installed": sorted(set(dialect.peers) - set(peers)),
        "sides": figures(
            calls, frames=len(answer), seconds=len(wave) / RATE, flops=flops, peak=peak, theirs=set(peers)
        ),
    }


def stream_race(wave: np.ndarray, where: dict[str, Any], peak: float) -> dict[str, Any]:
    """Chunks of 20 ms into a stream that begins anew; its frames are taken as they come, and joined at the end."""
    dialect = DIALECTS[0]
    chunks = [wave[i : i + CHUNK] for i in range(0, len(wave), CHUNK)]
    loud = [dialect.their_wave(chunk) for chunk in chunks]

    def ours() -> np.ndarray:
        stream = pyasr.OnlineFeatures(RATE)
        return np.concatenate([stream.accept(chunk) for chunk in chunks])

    calls: Calls = {"pyasr": ours}
    errors, answer, peer = {}, ours(), "kaldi-native-fbank"
    if not np.array_equal(answer, dialect.ours(1)(wave)):
        raise SystemExit("stream: its frames are not the bits of the whole wave: nothing was timed")
    if installed(where, peer):
        import kaldi_native_fbank as knf

        options = knf.MfccOptions()
        options.frame_opts.dither = 0

        def theirs() -> np.ndarray:
            stream, frames = knf.OnlineMfcc(options), []
            for chunk in loud:
                stream.accept_waveform(RATE, chunk)
                frames += [stream.get_frame(i) for i in range(len(frames), stream.num_frames_ready)]
            return np.stack(frames)

        errors[peer] = dialect.agreement(peer, answer, theirs())
        calls[peer] = theirs
    flops = float(rows()["mfcc"].flops(wave, dialect.plan())) / len(answer)
    sides = figures(calls, frames=len(answer), seconds=len(wave) / RATE, flops=flops, peak=peak, theirs={peer})
    for side in sides.values():
        side["µs per accept"] = side["µs per frame"] * len(answer) / len(chunks)
    return {
        "name": "MFCC-13, Kaldi, chunks of 20 ms",
        "seconds": len(wave) / RATE,
        "frames": len(answer),
        "chunks": len(chunks),
        "kflop per frame": flops / 1e3,
        "largest difference": errors,
        "not installed": [] if peer in calls else [peer],
        "sides": sides,
    }


def thread_races(wave: np.ndarray) -> Iterator[dict[str, Any]]:
    """One thread against two, by the wall clock; what the machine makes of two is measured beside, in registers alone."""

    work = float(_cpu._probe("fma", 1_000_000, 2)[1]) / float(_cpu._probe("fma", 1_000_000, 1)[1])
    length = round(CLIP / 60 * len(wave))
    clips = [np.roll(wave, 997 * b)[:length] for b in range(BATCH)]
    races: dict[str, tuple[Callable[[int], Any], float]] = {
        f"one wave of {len(wave) / RATE:g} s": (lambda n: pyasr.mfcc(wave, RATE, threads=n), len(wave)),
        f"a batch of {BATCH} waves of {length / RATE:g} s": (
            lambda n: pyasr.features.batch(clips, RATE, threads=n)[0], BATCH * length),
    }  # fmt: skip
    for name, (call, samples) in races.items():
        if not np.array_equal(call(1), call(2)):
            raise SystemExit(f"{name}: two threads give other bits than one: nothing was timed")
        calls: Calls = {f"{n}": functools.partial(call, n) for n in (1, 2)}
        calls |= {f"probe {n}": functools.partial(_cpu._probe, "fma", 1_000_000, n) for n in (1, 2)}
        times = {k: np.array(v) for k, v in _report.take_turns(calls, OPTIONS.rounds, time.perf_counter, BUNCH).items()}
        low, ratio, high = _report.quartiles(times["1"] / times["2"])
        yield {
            "name": name,
            "ms": [1e3 * float(np.median(times[k])) for k in ("1", "2")],
            "x real time": [samples / RATE / float(np.median(times[k])) for k in ("1", "2")],
            "ratio": ratio,
            "quartiles": [low, high],
            "probe": float(np.median(work * times["probe 1"] / times["probe 2"])),
        }


def measure() -> dict[str, Any]:
    where = _report.machine([*PEERS, "numba", "torch"])
    print(", ".join(f"{k} {v}" for k, v in where.items()))
    limits = probe.measure(OPTIONS.threads)
    print("\n".join(limits.verdict()))
    print(f"{OPTIONS.threads} thread(s), {OPTIONS.clock} clock, medians of {OPTIONS.rounds} rounds [quartiles]\n")
    if installed(where, "torch"):
        import torch

        torch.set_num_threads(OPTIONS.threads)
    wave, peak, races = speech(OPTIONS.seconds), 1e9 * limits.flops_peak(), []
    for dialect in DIALECTS:
        races.append(dialect_race(dialect, wave, where, peak))
        print("\n".join(_page.lines(races[-1])), flush=True)
    races.append(stream_race(wave, where, peak))
    print("\n".join(_page.lines(races[-1])))
    pairs = []
    for pair in thread_races(wave):
        pairs.append(pair)
        print(_page.pair_line(pair), flush=True)
    return _report.save(
        OPTIONS, where, rounds=OPTIONS.rounds, limits=asdict(limits), peak=limits.flops_peak(), races=races, pairs=pairs
    )


def main() -> None:
    report = json.loads(OPTIONS.source.read_text("utf-8")) if OPTIONS.source else measure()
    if OPTIONS.chart:
        _page.draw(report, OPTIONS.chart)
    if OPTIONS.page:
        _report.put(_page.table(report), OPTIONS.page, _page.BEGIN, _page.END)


if __name__ == "__main__":
    main()
