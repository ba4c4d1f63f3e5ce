"""How a random voice says digits: pronunciation, movements of the vocal tract, sources, filter, line and room.

A pulse train and noise are cut into windows of 10 ms every 5 ms; each is filtered in the frequency domain by the vocal tract at
that time, and the pieces are added up. Formants are second-order resonances in cascade; friction has a resonance of its own.

Sources: Fant, "Acoustic Theory of Speech Production", 1960 (source and filter; correction for the higher poles); Klatt, JASA 67,
1980 (synthesis by rule); Doval, d'Alessandro and Henrich, "The spectrum of glottal flow models", Acta Acustica 92, 2006.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from pyasr.datasets._phones import FAINT, NASAL_POLE, PHONES, PRONUNCIATIONS, R_KINDS, TH_KINDS, VOWELS, Segment

HOP = 0.005  # seconds between windows, which are twice as long

# Columns of a track, one row per window: formants, their bandwidths, nasal zero | amplitudes | shape of the friction
_F, _B, _ZERO = slice(0, 3), slice(3, 6), 6
_VOICING, _BREATH, _FRICTION = 7, 8, 9
_PEAK, _SPREAD, _FLAT = 10, 11, 12
_COLUMNS = 13


@dataclass(frozen=True)
class Voice:
    """A random speaker, who does not exist, and the room and the line between them and us."""

    pitch: float  # Hz, its mean
    melody: float  # how far the pitch moves, in octaves
    tract: float  # factor on every formant: about 1 for men, 1.17 for women, 1.3 for children
    rate: float  # factor on every duration
    open: float  # glottal resonance over pitch: higher for a pressed voice
    tilt: float  # Hz above which the voice falls by another 6 dB per octave
    breath: float  # noise in vowels, amplitude
    jitter: float  # relative deviation of the periods
    shimmer: float  # relative deviation of the pulses
    width: float  # factor on the formants' bandwidths
    glide: float  # seconds in which formants move from target to target
    friction: float  # factor on the level of fricatives and bursts
    sibilance: float  # factor on the frequency of their peaks
    nasality: float  # 0 to 1: how far a nasal spreads into its neighbors
    loudness: float  # dB, highest sample below full scale
    noise: float  # dB, background below a stressed vowel
    room: float  # seconds in which an echo falls by 60 dB; 0 for none


def draw_voice(rng: np.random.Generator) -> Voice:
    """A man, a woman or a child, and everything else at random."""
    kind = rng.choice(3, p=(0.6, 0.32, 0.08))
    pitch, tract = ((118.0, 1.0), (205.0, 1.16), (265.0, 1.28))[kind]
    return Voice(
        pitch=float(pitch * 2 ** rng.normal(0, 0.25)), melody=float(rng.uniform(0.05, 0.5)),
        tract=float(tract * np.exp(rng.normal(0, 0.055))), rate=float(np.exp(rng.normal(-0.2, 0.22))),
        open=float(rng.uniform(0.8, 2.2)), tilt=float(np.exp(rng.uniform(np.log(1200), np.log(9000)))),
        breath=float(10 ** rng.uniform(-2.5, -0.8)), jitter=float(rng.uniform(0.002, 0.03)),
        shimmer=float(rng.uniform(0.01, 0.15)), width=float(np.exp(rng.normal(0.1, 0.25))),
        glide=float(rng.uniform(0.035, 0.11)), friction=float(10 ** rng.normal(-0.12, 0.4)),
        sibilance=float(np.exp(rng.normal(0.0, 0.2))), nasality=float(rng.uniform(0, 1)),
        loudness=float(rng.uniform(-26, -1)), noise=float(-rng.uniform(18, 50)),
        room=float(rng.uniform(0.08, 0.4) if rng.random() < 0.5 else 0.0),
    )  # fmt: skip


def _pick(rng: np.random.Generator, kinds: Sequence[tuple[float, str]]) -> str:
    return kinds[int(rng.choice(len(kinds), p=[weight for weight, _ in kinds]))][1]


def score(
    digits: list[int], voice: Voice, person: np.random.Generator, manner: np.random.Generator
) -> tuple[list[tuple[str, int]], list[Segment], list[int], list[int]]:
    """(phones with their number of segments, segments with their durations, first segment of each word, last + 1)."""
    r, th = _pick(person, R_KINDS), _pick(person, TH_KINDS)
    words = [_pick(person, kinds).replace("R", r).replace("TH", th) for kinds in PRONUNCIATIONS]
    symbols: list[tuple[str, int]] = []
    segments: list[Segment] = []
    starts, ends = [], []

    def say(symbol: str, factor: float) -> None:
        symbols.append((symbol, len(PHONES[symbol])))
        shortest = 8.0 if factor > 0.2 else 2.0  # ms; what is cut that far is gone
        segments.extend(s._replace(ms=max(s.ms * factor, shortest)) for s in PHONES[symbol])

    # Recordings are often cut at their edges by a level, which shortens faint consonants there, or takes them away.
    cut_begin, cut_end = (float(manner.uniform(0.0, 0.6)) if manner.random() < 0.7 else 1.0 for _ in range(2))
    say("sil", 0.08 if cut_begin < 1 else float(np.exp(manner.uniform(np.log(0.1), np.log(3)))))
    for place, digit in enumerate(digits):
        if place and manner.random() < 0.6:
            say("sil", float(np.exp(manner.uniform(np.log(0.3), np.log(3)))))
        starts.append(len(segments))
        spoken = words[digit].split()
        pace = voice.rate * float(np.exp(manner.normal(0, 0.1)))
        for i, symbol in enumerate(spoken):
            longer = 1.0
            if i >= len(spoken) - 2 and place == len(digits) - 1:
                longer = 1.2  # before the end of a phrase
            if symbol in FAINT:
                longer *= cut_begin if place == i == 0 else 1.0
                longer *= cut_end if i == len(spoken) - 1 and place == len(digits) - 1 else 1.0
            say(symbol, pace * longer * float(np.exp(manner.normal(0, 0.15 if symbol in VOWELS else 0.3))))
        ends.append(len(segments))
    say("sil", 0.08 if cut_end < 1 else float(np.exp(manner.uniform(np.log(0.1), np.log(3)))))
    return symbols, segments, starts, ends


def tracks_of(
    segments: list[Segment], edges: np.ndarray, frames: int, voice: Voice, person: np.random.Generator,
    manner: np.random.Generator,
) -> np.ndarray:  # fmt: skip
    """[frames, _COLUMNS]: what the vocal tract does, with movements as fast as the voice makes them."""
    count = len(segments)
    begin, end = np.empty((count, _COLUMNS)), np.empty((count, _COLUMNS))
    for i, s in enumerate(segments):
        rest = (*s.widths, s.zero, s.voicing, s.breath, s.friction, s.peak, s.spread, s.flat)
        begin[i], end[i] = (*s.start, *rest), (*s.end, *rest)
    accent = {PHONES[v][0].start: person.normal(0, (0.12, 0.08, 0.04)) for v in VOWELS}  # the voice's own vowels
    reach = person.uniform(0.2, 1.0)  # diphthongs fall short of their end, and how far is part of an accent
    for i, s in enumerate(segments):
        end[i, _F] = begin[i, _F] + reach * (end[i, _F] - begin[i, _F])
        shift = accent.get(s.start, 0.0) + manner.normal(0, (0.04, 0.03, 0.02))
        begin[i, _F] *= np.exp(shift)
        end[i, _F] *= np.exp(shift)
    for i in range(count - 1, -1, -1):  # a consonant is shaped for what follows, the last for what came before
        blend = segments[i].blend
        near = begin[i + 1, _F] if i + 1 < count else end[i - 1, _F]
        begin[i, _F] += blend * (near - begin[i, _F])
        end[i, _F] += blend * (near - end[i, _F])
    friction = np.exp(person.normal(0, 0.3, 4))[[int(s.flat * 10) % 4 for s in segments]]  # balance among fricatives
    for side in (begin, end):
        side[:, _F] *= voice.tract
        side[:, _B] *= voice.width
        side[:, _ZERO] *= voice.tract
        side[:, _BREATH] += voice.breath * side[:, _VOICING]
        side[:, _FRICTION] *= voice.friction * friction
        side[:, _PEAK] *= voice.sibilance * voice.tract
    middle = (np.arange(frames) + 0.5) * HOP
    place = np.clip(np.searchsorted(edges, middle, side="right") - 1, 0, count - 1)
    along = ((middle - edges[place]) / (edges[place + 1] - edges[place]))[:, None]
    along = along * along * (3 - 2 * along)
    steps = begin[place] + (end - begin)[place] * along
    out = np.empty_like(steps)
    out[:, :_ZERO] = _smooth(steps[:, :_ZERO], voice.glide)
    out[:, _ZERO : _ZERO + 1] = _smooth(steps[:, _ZERO : _ZERO + 1], 0.02 + 0.13 * voice.nasality)
    out[:, _VOICING:] = _smooth(steps[:, _VOICING:], 0.015)
    fade = manner.uniform(0.1, 0.4)  # seconds in which the voice dies away before the last pause
    late = np.clip((middle - edges[-2]) / fade + 1, 0, 1)
    out[:, _VOICING] *= 10 ** (-manner.uniform(0, 22) * late / 20)
    return out


def _smooth(steps: np.ndarray, seconds: float) -> np.ndarray:
    """[T, C] averaged in time under a raised cosine of this length."""
    half = max(1, round(seconds / HOP / 2))
    window = np.hanning(2 * half + 3)[1:-1]
    padded = np.pad(steps, ((half, half), (0, 0)), mode="edge")
    return np.lib.stride_tricks.sliding_window_view(padded, 2 * half + 1, axis=0) @ (window / window.sum())


def pitch_of(
    frames: int, starts: list[int], ends: list[int], edges: np.ndarray, voice: Voice, rng: np.random.Generator
) -> np.ndarray:
    """[frames] Hz: a fall over the phrase, and on each word an accent of random height that falls or rises."""
    octaves = np.linspace(0.5, -0.5, frames) * voice.melody * rng.uniform(0.2, 1)
    for i, (start, end) in enumerate(zip(starts, ends, strict=True)):
        first, last = int(edges[start] / HOP), max(int(edges[end] / HOP), int(edges[start] / HOP) + 1)
        along = np.linspace(0, 1, last - first)
        falls = i == len(starts) - 1 or rng.random() < 0.5
        slope = -rng.uniform(0.3, 1.2) if falls else rng.uniform(-0.3, 0.6)
        octaves[first:last] += voice.melody * (rng.normal(0, 0.3) + slope * (along - 0.4))
    return np.asarray(voice.pitch * 2 ** _smooth(octaves[:, None], 0.06)[:, 0])


def pulses_of(
    pitch: np.ndarray, hop: int, sample_rate: int, voice: Voice, rng: np.random.Generator
) -> np.ndarray:  # fmt: skip
    """[(frames + 1) hop] one band-limited pulse per period, with jitter and shimmer; starts half a window before frame 0."""
    size = (len(pitch) + 1) * hop
    wobble = _smooth(rng.normal(0, 1, (len(pitch), 1)), 0.02)[:, 0]
    cycles = np.cumsum(np.repeat(pitch * (1 + voice.jitter * wobble), hop)) / sample_rate
    count = int(cycles[-1])
    at = (
        np.interp(np.arange(1, count + 1) + voice.jitter * rng.normal(0, 0.5, count), cycles, np.arange(len(cycles)))
        + hop / 2
    )
    base = np.floor(at).astype(np.int64)
    offsets = np.arange(-4, 5)
    distance = offsets - (at - base)[:, None]  # [pulses, 9]
    taps = np.sinc(distance) * np.cos(np.pi * distance / 11) ** 2
    taps *= (1 + voice.shimmer * np.clip(rng.normal(0, 1, count), -2, 2))[:, None]
    index = base[:, None] + offsets
    inside = (index >= 0) & (index < size)
    return np.bincount(index[inside], taps[inside], size).astype(np.float32)


@lru_cache(maxsize=4)
def _grid(hop: int, sample_rate: int) -> tuple[int, np.ndarray, np.ndarray]:
    """(points of the transform, frequencies [K] in Hz, window [2 hop]): windows leave room for 20 ms of ringing."""
    points = 1 << int(np.ceil(np.log2(2 * hop + 0.02 * sample_rate)))
    window = np.hanning(2 * hop + 1)[:-1]
    return points, np.fft.rfftfreq(points, 1 / sample_rate).astype(np.float32), window.astype(np.float32)


def speak(
    tracks: np.ndarray, pulses: np.ndarray, hop: int, sample_rate: int, voice: Voice, person: np.random.Generator,
    manner: np.random.Generator,
) -> np.ndarray:  # fmt: skip
    """[frames * hop] float32: sources through the tract, the line and the room."""
    frames = len(tracks)
    points, f, window = _grid(hop, sample_rate)
    noise = manner.standard_normal(len(pulses), np.float32)
    voiced, breathed = (
        np.fft.rfft(np.lib.stride_tricks.sliding_window_view(source, 2 * hop)[::hop] * window, points)
        for source in (pulses, noise)
    )  # [frames, K]
    column = tracks.astype(np.float32)[:, :, None]  # [frames, _COLUMNS, 1]
    jf, square = 1j * f, f * f
    # All-pole cascade of three moving formants, a nasal pole and its moving zero; the fixed rest is of the voice.
    poles = _fixed(f, voice, person)
    for i in range(3):
        inverse = 1 / (column[:, i] * column[:, i])
        poles = poles * (1 - square * inverse + jf * (column[:, 3 + i] * inverse))
    inverse = 1 / (column[:, _ZERO] * column[:, _ZERO])
    tract = (1 - square * inverse + jf * (100 * inverse)) / poles
    glottis = np.float32(voice.open * voice.pitch)
    x = f / glottis
    source = x / ((1 - x * x + 1j * x) * (1 + jf / np.float32(voice.tilt)))
    whisper = 1 / (1 + jf / 6000)
    peak, spread = column[:, _PEAK], column[:, _SPREAD]
    passage = square * (spread / peak) / (peak * peak - square + jf * spread) + column[:, _FLAT]
    # Levels are relative to a stressed vowel, so both paths are first brought to its energy.
    loud = tracks[:, _VOICING] > 0.6
    loud = loud if loud.any() else np.ones(frames, bool)
    voiced *= tract * source
    hiss = tract * whisper
    whole = np.sqrt(np.mean(np.abs(voiced[loud]) ** 2)) + 1e-12
    white = np.sqrt(np.mean(np.abs(breathed) ** 2))
    body = np.sqrt(np.mean(np.abs(hiss[loud]) ** 2))
    floor = _colored(f, person) * 10 ** (voice.noise / 20)
    breathed *= column[:, _BREATH] * (hiss / body) + column[:, _FRICTION] * passage + floor
    spectrum = (voiced * (column[:, _VOICING] / whole) + breathed / white) * _line(f, person)
    pieces = np.fft.irfft(spectrum, points).astype(np.float32)
    width = -(-points // hop)
    pieces = np.pad(pieces, ((0, 0), (0, width * hop - points))).reshape(frames, width, hop)
    out = np.zeros((frames + width, hop), np.float32)
    for i in range(width):
        out[i : i + frames] += pieces[:, i]
    wave = out.reshape(-1)[hop // 2 :][: frames * hop]
    if voice.room:
        wave = _echo(wave, sample_rate, voice.room, person)
    return np.asarray(wave * (10 ** (voice.loudness / 20) / (np.abs(wave).max() + 1e-9)), np.float32)


def _fixed(f: np.ndarray, voice: Voice, rng: np.random.Generator) -> np.ndarray:
    """[K] the denominator of what does not move: formants 4 to 6, the nasal pole, and the poles above, as one real factor."""
    out = np.ones(len(f), np.complex64)
    pole = NASAL_POLE * voice.tract
    places = [
        (pole, 100.0),
        *((c * voice.tract * np.exp(rng.normal(0, 0.05)), w) for c, w in ((3500, 220), (4500, 300), (5500, 400))),
    ]
    for center, width in places:
        out = out * (1 - (f / center) ** 2 + 1j * f * width / center**2)
    above = 1000 * voice.tract * (np.arange(7, 40) - 0.5)
    return np.asarray(out * np.exp(-np.sum((f[:, None] / above) ** 2, axis=1)), np.complex64)


def _colored(f: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """[K] the spectrum of the background: white to brown, of mean square 1."""
    shape = (f + 100) ** -rng.uniform(0, 1.2)
    return np.asarray(shape / np.sqrt(np.mean(shape**2)), np.float32)


def _line(f: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """[K] microphone and line: a high-pass, a tilt, a low-pass and slow waves of a few dB."""
    octaves = np.log2((f + 50) / 1000)
    decibels = rng.normal(0, 2) * octaves
    for k in range(1, 4):
        decibels = decibels + rng.normal(0, 1.5) * np.cos(k * octaves * 1.5 + rng.uniform(0, 2 * np.pi))
    low, high = rng.uniform(30, 200), rng.uniform(3000, 8000)
    return np.asarray(10 ** (decibels / 20) * (1j * f / low) / (1 + 1j * f / low) / (1 + (f / high) ** 4), np.complex64)


def _echo(wave: np.ndarray, sample_rate: int, seconds: float, rng: np.random.Generator) -> np.ndarray:
    """The wave and its decaying echo, 3 to 20 dB below it."""
    taps = int(seconds * sample_rate)
    tail = rng.standard_normal(taps) * np.exp(-6.9 * np.arange(taps) / taps)
    tail *= 10 ** (-rng.uniform(3, 20) / 20) / np.sqrt(np.sum(tail**2))
    tail[0] = 1.0
    points = 1 << (len(wave) + taps - 1).bit_length()
    spectrum = np.fft.rfft(wave, points) * np.fft.rfft(tail.astype(np.float32), points)
    return np.asarray(np.fft.irfft(spectrum, points)[: len(wave)], np.float32)
