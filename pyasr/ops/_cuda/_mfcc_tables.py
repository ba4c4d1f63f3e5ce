"""The tables of an MfccPlan on a device: one array of bytes, uploaded once and kept in the cache of the plan."""

from __future__ import annotations

from typing import Any

import numpy as np

from pyasr.ops._cuda._device import Device
from pyasr.ops._options import SMALLEST_FLOOR
from pyasr.ops._plan import MfccPlan

# The places of the words are the numbers of the enumerations in csrc/include/pyasr/mfcc.hpp.
KINDS = ("spectrogram", "fbank", "mfcc")
ENERGIES = ("none", "raw", "windowed", "spectral")
PADDINGS = ("constant", "reflect", "symmetric", "edge")
FLOORS = ("max", "add", "zero")
NORMALIZE = (None, "per_feature", "all_features")


def window64(plan: MfccPlan) -> np.ndarray:
    """[L] what brings samples at int16 scale to those of the FFT; the real FFT's factor 1/2 is in it."""
    halves = 1.0 if plan.chirp.size else 0.5
    return plan.window * (halves * plan.gain * plan.spectrum_gain)


def _trust(plan: MfccPlan) -> float:
    """The least energy of a bin beside the sum of the spectrum that a float32 FFT gives to 2e-4: 49 dB under the mean."""
    return (1.25e-5 if plan.options.use_power else 3.5e-3) / (plan.fft_size // 2 + 1) * plan.options.use_log_fbank


def numbers(plan: MfccPlan) -> dict[str, Any]:
    """The scalars of the MfccTables of the kernels, by name."""
    o, bins = plan.options, plan.fft_size // 2 + 1
    square = 8 * float((window64(plan) ** 2).sum()) * (1 if plan.chirp.size else 4)  # rounded three times
    preemph = 0.0 if o.preemph_signal else float(o.preemph)
    least = o.floor if o.floor_mode == "max" else SMALLEST_FLOOR
    halves = 1.0 if plan.chirp.size else 0.5
    return {
        "kind": KINDS.index(plan.kind), "energy": ENERGIES.index(o.energy), "length": plan.length, "shift": plan.shift,
        "start": plan.start, "padding": PADDINGS.index(o.padding), "fft": plan.fft_size, "mels": len(plan.mel_begin),
        "ceps": len(plan.dct), "features": plan.features, "remove_dc": o.remove_dc, "htk_compat": o.htk_compat,
        "power": o.use_power, "log": o.use_log_fbank, "signal_preemph": float(o.preemph) if o.preemph_signal else 0.0,
        "keep": 1 - preemph, "preemph": preemph, "mel_floor": float(o.htk_mode), "floor": FLOORS.index(o.floor_mode),
        "log_floor": o.floor, "log_gain": plan.log_gain, "log_offset": plan.log_offset,
        "energy_floor": max(least, float(o.energy_floor)), "raw_gain": plan.gain**2,
        "windowed_gain": 1 / (halves * plan.spectrum_gain) ** 2, "dynamic_range": plan.dynamic_range,
        "normalize": NORMALIZE.index(o.normalize), "points": len(plan.order), "stages": len(plan.radices),
        "bin_trust": _trust(plan), "drift_trust": bins * (square if o.use_power else square**0.5),
    }  # fmt: skip


def _middle(points: int, lanes: int) -> np.ndarray:
    """e^{−2πijq/points} at [q, j] for the j of so many lanes, between the two transforms of a frame; none without lanes."""
    q, j = np.arange(points // lanes if lanes else 0), np.arange(lanes)
    return np.exp(-2j * np.pi * np.outer(q, j) / points).astype(np.complex64)


def tables(plan: MfccPlan, lanes: int) -> dict[str, np.ndarray]:
    """The tables of the kernels, by name; empty where they do not need one. lanes are those of a frame."""
    window, bluestein = window64(plan), plan.chirp.size > 0
    padded = np.zeros(max(plan.fft_size, plan.length + 1), np.float32)
    padded[: plan.length] = window
    sums = [np.abs(plan.mel_weight[b:e]).sum() for b, e in zip(plan.mel_offset, plan.mel_offset[1:], strict=False)]
    return {
        "window": padded, "window64": window, "radix": plan.radices, "order": plan.order, "mel_begin": plan.mel_begin,
        "mel_offset": plan.mel_offset, "mel_weight": plan.mel_weight.astype(np.float32),
        "mel_trust": np.array(sums, np.float32) * np.float32(_trust(plan)), "dct": plan.dct.T.astype(np.float32),
        "twiddle": plan.twiddle.astype(np.complex64), "twiddle64": plan.twiddle, "chirp": plan.chirp,
        "split": plan.split.astype(np.complex64), "split64": plan.split, "response": plan.response,
        "middle": _middle(plan.fft_size // 2, lanes),
    } | ({"twiddle": np.zeros(0), "split": np.zeros(0)} if bluestein else {})  # fmt: skip


class Uploaded:
    """A plan on the current device: `native` is what the kernels take, and lives as long as its tables do."""

    def __init__(self, device: Device, plan: MfccPlan) -> None:
        places, parts, end = {}, [], 0
        for name, table in tables(plan, device.native.mfcc_tile_lanes(plan.fft_size)).items():
            data = np.ascontiguousarray(table).reshape(-1).view(np.uint8)
            places[name] = end if data.size else None
            parts += [data, np.zeros(-data.size % 16, np.uint8)]
            end += data.size + parts[-1].size
        self.bytes = device.upload("mfcc", np.concatenate(parts))
        device.host(self.bytes[:1])  # waits, once in the life of a plan: any stream may read the tables from now on
        begin = device.address(self.bytes)
        addresses = {name: 0 if place is None else begin + place for name, place in places.items()}
        self.native = device.native.MfccPlan(numbers(plan), addresses)
        self.memory_bytes: int = self.native.memory_bytes


def uploaded(device: Device, plan: MfccPlan) -> Uploaded:
    """The plan on the current device, kept in plan.cache."""
    kept = plan.cache.setdefault("cuda", {})
    key = (device, device.index)
    if key not in kept:
        kept[key] = Uploaded(device, plan)
    return kept[key]
