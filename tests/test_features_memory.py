"""Resident memory does not grow with a stream: an hour in chunks of 20 ms, ten in chunks of ten seconds, a file in blocks."""

import subprocess
import sys
import wave
from pathlib import Path

import pytest

from pyasr.ops import why_not

pytestmark = [
    pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="resident memory is read from /proc"),
    pytest.mark.skipif(why_not("cpp") is not None, reason="an hour takes the reference a minute"),
]

# In a process of its own, where no other test takes or gives back memory. Prints the growth in kB: of the end over the first
# part, and of the peak since then.
SCRIPT = """
import sys
import numpy as np
import pyasr

def resident(name):
    text = open("/proc/self/status").read()
    return int(text.split(name + ":")[1].split()[0])

rng = np.random.Generator(np.random.PCG64(0))
minute = rng.integers(-3000, 3000, 60 * 16000, dtype=np.int16)

def chunks():
    samples, count = int(sys.argv[1]), int(sys.argv[2])
    parts = [minute[i : i + samples] for i in range(0, len(minute) - samples + 1, samples)]
    for i in range(count):
        yield parts[i % len(parts)]

def blocks():
    import soundfile
    yield from soundfile.blocks(sys.argv[3], int(sys.argv[1]), dtype="int16")

features, first, frames = pyasr.OnlineFeatures(16000), None, 0
for i, chunk in enumerate(blocks() if len(sys.argv) > 3 else chunks()):
    frames += len(features.accept(chunk))
    if i == 50:
        first = resident("VmRSS")
        open("/proc/self/clear_refs", "w").write("5")
print(frames, resident("VmRSS") - first, resident("VmHWM") - first)
"""


def growth(*argv):
    command = [sys.executable, "-c", SCRIPT, *map(str, argv)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=170, check=False, cwd="/")
    assert done.returncode == 0, done.stderr
    return tuple(map(int, done.stdout.split()))


@pytest.mark.parametrize(
    ("samples", "count"),
    [pytest.param(320, 180_000, id="1h-20ms"), pytest.param(160_000, 3600, id="10h-10s")],
)
def test_a_long_stream_takes_no_more_memory_than_a_short_one(samples, count):
    frames, end, peak = growth(samples, count)
    assert frames == 1 + (samples * count - 400) // 160
    assert end <= 1000 and peak <= 3000  # kB; a chunk of ten seconds needs 0.7 MB while it is worked on


def test_a_recording_of_an_hour_is_never_in_memory(tmp_path):
    path = tmp_path / "hour.wav"
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(16000)
        for _ in range(60):
            file.writeframes(bytes(2 * 60 * 16000))
    pytest.importorskip("soundfile", reason="it reads the blocks")
    frames, end, peak = growth(16000, 0, path)
    assert frames == 1 + (3600 * 16000 - 400) // 160
    assert end <= 1000 and peak <= 3000  # kB, of a file of 115 MB
