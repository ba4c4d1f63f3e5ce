"""What long streams cost in memory: a recording of ten hours read in blocks, and a day in chunks of 20 ms.

    python benchmarks/memory.py [--hours H] [--day H] [--json FILE]

Each is a process of its own, whose resident memory is read from /proc: as it begins to stream, after the first minute, at the
end, and the most it was since it began. The recording is a WAV of 16-bit samples at 16 kHz, which is written first (1.2 GB for
ten hours).
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import probe

import pyasr
from pyasr.counter import stream

RATE = 16000
MOST_MB = {"file": 50.0, "chunks": 1.0}  # growth that the project allows: peak over start; end over the first minute
STATUS = Path("/proc/self/status")


def resident(name: str = "VmRSS") -> float:
    """MB in memory now, or the most there were (VmHWM) since they were last forgotten."""
    line = next(line for line in STATUS.read_text().splitlines() if line.startswith(f"{name}:"))
    return int(line.split()[1]) * 1024 / 1e6


def beginning() -> tuple[float, float]:
    """(MB in memory, seconds on the clock), and what was needed before is forgotten."""
    Path("/proc/self/clear_refs").write_text("5")
    return resident(), time.perf_counter()


def noise(seconds: int) -> np.ndarray:
    return np.rint(3000 * stream("memory").standard_normal(seconds * RATE)).astype(np.int16)


def write_recording(path: Path, hours: float) -> None:
    import soundfile

    minute = noise(60)
    with soundfile.SoundFile(path, "w", RATE, 1, "PCM_16") as file:
        for _ in range(round(60 * hours)):
            file.write(minute)


def from_file(path: str) -> dict[str, Any]:
    """Blocks of a second of a recording; the child process of `file`."""
    import soundfile

    features = pyasr.OnlineFeatures(RATE)
    frames, early, (start, begin) = 0, 0.0, beginning()
    for i, block in enumerate(soundfile.blocks(path, RATE, dtype="int16")):
        frames += len(features.accept(block))
        if i == 60:
            early = resident()
    frames += len(features.finish())
    return measured(frames, start, early, begin)


def from_chunks(hours: str) -> dict[str, Any]:
    """Chunks of 20 ms of an endless wave; the child process of `chunks`."""
    minute = noise(60)
    chunks = np.split(minute, len(minute) // (RATE // 50))
    features = pyasr.OnlineFeatures(RATE)
    frames, early, (start, begin) = 0, 0.0, beginning()
    for i in range(round(60 * float(hours))):
        for chunk in chunks:
            frames += len(features.accept(chunk))
        if i == 0:
            early = resident()
    frames += len(features.finish())
    return measured(frames, start, early, begin)


def measured(frames: int, start: float, early: float, begin: float) -> dict[str, Any]:
    return {"frames": frames, "start MB": start, "after a minute MB": early, "end MB": resident(),
            "most MB": resident("VmHWM"), "seconds": time.perf_counter() - begin}  # fmt: skip


CHILDREN = {"file": from_file, "chunks": from_chunks}


def child(kind: str, argument: str) -> dict[str, Any]:
    command = [sys.executable, __file__, "--child", kind, argument]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"memory: the process of {kind} ended with {done.returncode}")
    return json.loads(done.stdout)


def expected(hours: float) -> int:
    """Frames of whole minutes at 16 kHz."""
    return pyasr.MfccOptions().num_frames(round(60 * hours) * 60 * RATE)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--hours", type=float, default=10.0, help="of the recording (default 10)")
    parser.add_argument("--day", type=float, default=24.0, help="hours in chunks of 20 ms (default 24)")
    parser.add_argument("--json", type=Path, help="write the results there")
    parser.add_argument("--child", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if not STATUS.exists():
        raise SystemExit(f"memory: {STATUS} is not there")
    if options.child:
        print(json.dumps(CHILDREN[options.child[0]](options.child[1])))
        return
    where = probe.machine()
    print(", ".join(f"{k} {v}" for k, v in where.items()))
    results = []
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "long.wav"
        write_recording(path, options.hours)
        size = path.stat().st_size / 1e6
        runs = [("file", options.hours, str(path)), ("chunks", options.day, str(options.day))]
        for kind, hours, argument in runs:
            found = child(kind, argument)
            if found["frames"] != expected(hours):
                raise SystemExit(f"memory: {found['frames']} frames of {hours:g} h instead of {expected(hours)}")
            growth = (
                found["most MB"] - found["start MB"] if kind == "file" else found["end MB"] - found["after a minute MB"]
            )
            name = f"{hours:g} h, " + (
                f"WAV of {size:.0f} MB in blocks of 1 s" if kind == "file" else "chunks of 20 ms"
            )
            results.append({"name": name, "hours": hours, "growth MB": growth, "mark MB": MOST_MB[kind], **found})
            print(
                f"{name:40s} {found['frames']:>10,} frames in {found['seconds']:6.1f} s: {found['start MB']:.1f} MB at the "
                f"start, {found['after a minute MB']:.1f} after a minute, {found['end MB']:.1f} at the end, at most "
                f"{found['most MB']:.1f}; growth {growth:.2f} MB "
                f"(mark {MOST_MB[kind]:g}: {'met' if growth <= MOST_MB[kind] else 'missed'})",
                flush=True,
            )
    if options.json:
        content = {"machine": where, "results": results}
        options.json.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", "utf-8")


if __name__ == "__main__":
    main()
