"""Extractors of kaldi-native-fbank, ours or the peer's, for the tests of the drop-in."""

import numpy as np

NOISE = (1000 * np.random.default_rng(0).standard_normal(8000)).astype(np.float32)


def make(module, kind, changes):
    opts = getattr(module, f"{kind}Options")()
    for name, value in {"frame_opts.dither": 0.0, **changes}.items():
        *path, last = name.split(".")
        place = opts
        for step in path:
            place = getattr(place, step)
        setattr(place, last, value)
    return getattr(module, f"Online{kind}")(opts)


def run(module, kind, changes, wave, rate=16000):
    online = make(module, kind, changes)
    online.accept_waveform(rate, wave)
    online.input_finished()
    frames = [online.get_frame(i) for i in range(online.num_frames_ready)]
    return np.array(frames, np.float32).reshape(-1, online.dim)
