"""Small recordings, and data sets in their official layouts: TREES = runpy.run_path(Path(__file__).with_name("trees.py"))."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np


def write(root, files):
    """Files of text or bytes below root."""
    for name, content in files.items():
        path = Path(root) / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
    return root


def tone(letters, seed, rate=8000):
    """A sixth of a second per letter of "abc", whose tone tells it, in a little noise; [N] float64."""
    rng = np.random.default_rng(seed)
    t = np.arange(rate // 6) / rate
    wave = np.concatenate([np.sin(2 * np.pi * (400 + 500 * "abc".index(c)) * t) for c in letters])
    return 0.3 * wave + 0.01 * rng.standard_normal(len(wave))


def recording(letters, seed, rate=8000, form="WAV"):
    """The bytes of a file that holds a tone."""
    import soundfile

    file = io.BytesIO()
    soundfile.write(file, tone(letters, seed, rate), rate, format=form)
    return file.getvalue()


def letters_of(i):
    """One to three letters of "abc", other ones for every i below 27."""
    return "abc"[i % 3] + "abc"[i // 3 % 3] * (i % 2) + "abc"[i // 9 % 3] * (i % 5 == 0)


def folder_of(root, texts, *, suffix=".wav"):
    """A folder of recordings beside their texts."""
    names = [f"{i:02d}" for i in range(len(texts))]
    form = {".wav": "WAV", ".flac": "FLAC"}[suffix]
    write(root, {name + suffix: recording(letters_of(i), i, form=form) for i, name in enumerate(names)})
    return write(root, {f"{name}.txt": text for name, text in zip(names, texts, strict=True)})


def jsonl(path, lines):
    """A manifest."""
    path.write_text("".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines), encoding="utf-8")
    return path


def librispeech():
    """Files of the layout of LibriSpeech: two sets to train on, one each to choose by and to judge by."""
    chapters = {"train-clean-5": (19, 198, 7), "train-other-500": (20, 205, 3), "dev-clean-2": (84, 121, 3)}
    chapters |= {"test-clean": (61, 70, 2)}
    files = {"SPEAKERS.TXT": "", "other/1/2/1-2.trans.txt": "1-2-0000 NOT A PART\n"}
    for part, (speaker, chapter, count) in chapters.items():
        top, lines = f"{part}/{speaker}/{chapter}", []
        for i in range(count):
            name, letters = f"{speaker}-{chapter}-{i:04d}", letters_of(i)
            lines.append(f"{name} {' '.join(letters.upper())}\n")
            files[f"{top}/{name}.flac"] = recording(letters, speaker + i, 16000, "FLAC")
        files[f"{top}/{speaker}-{chapter}.trans.txt"] = "".join(lines)
    return files


def speech_commands():
    """Files of the layout of Speech Commands: three words of six speakers, a list for dev and one for the test."""
    files, lists = {"_background_noise_/white_noise.wav": b"", "README.md": ""}, {4: [], 5: []}
    for word, letters in (("up", "ab"), ("no", "ca"), ("go", "bb")):
        for speaker in range(6):
            name = f"{word}/{speaker}a7c2a8d_nohash_0.wav"
            files[name] = recording(letters, speaker, 16000)
            lists.get(speaker, []).append(name + "\n")
    return files | {"validation_list.txt": "".join(lists[4]), "testing_list.txt": "".join(lists[5])}
