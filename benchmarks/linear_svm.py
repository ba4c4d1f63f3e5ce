"""A linear support vector machine on the spoken digits of FSDD: what a recognizer of single words has to beat.

    python benchmarks/linear_svm.py [--data PATH] [--frames M] [--seeds S [S ...]] [--json FILE]

MFCC-13, stretched in time to M frames, are one vector per recording. The penalty is chosen on the recordings that
`pyasr train fsdd` holds out for the same seed, and the official test is looked at once per seed.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

import numpy as np

import pyasr
from pyasr.datasets import Utterance, fsdd
from pyasr.linear import linear_svm

PENALTIES = (1.0, 0.3, 0.1, 0.03, 0.01)


def vectors(utterances: tuple[Utterance, ...], frames: int) -> tuple[np.ndarray, np.ndarray]:
    """(x [N, 13·frames], labels [N])."""
    waves = [u.wave(fsdd.SAMPLE_RATE) for u in utterances]
    x = [pyasr.features.resize(pyasr.mfcc(wave, fsdd.SAMPLE_RATE), frames).ravel() for wave in waves]
    return np.array(x), np.array([fsdd.WORDS.index(u.text) for u in utterances], np.int32)


def judged(folder: Path, frames: int, seed: int) -> dict[str, float]:
    """Percent right on the held-out part and the test, and the penalty that was best on the first."""
    corpus = fsdd.load(folder, seed=seed)
    (x, labels), *others = (vectors(part, frames) for part in (corpus.train, corpus.dev, corpus.test))
    best: dict[str, float] = {"dev": -1.0}
    for penalty in PENALTIES:
        weight, bias = linear_svm(x, labels, penalty=penalty, seed=seed)
        dev, test = (100 * float(((v @ weight.T + bias).argmax(-1) == y).mean()) for v, y in others)
        if dev > best["dev"]:
            best = {"seed": seed, "penalty": penalty, "dev": round(dev, 1), "test": round(test, 1)}
    return best


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", help="the data set; default: $PYASR_DATA/fsdd, the cache, a download")
    parser.add_argument("--frames", type=int, default=20)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--json", type=Path)
    chosen = parser.parse_args(argv)
    folder, results = fsdd.locate(chosen.data), []
    for seed in chosen.seeds:
        results.append(judged(folder, chosen.frames, seed))
        print("seed {seed}: penalty {penalty}, dev {dev} %, test {test} %".format(**results[-1]), flush=True)
    if chosen.json:
        chosen.json.write_text(json.dumps(results, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
