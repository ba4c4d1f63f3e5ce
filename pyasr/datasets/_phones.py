"""What the synthesizer of digits knows about English: 26 phones as acoustic segments, and how the digits are pronounced.

Values are those of an average man; a voice scales and shifts them.
To add a word: its phones in PHONES, its line in PRONUNCIATIONS.

Sources: formants, bandwidths and nasal zeros after Klatt, "Software for a cascade/parallel formant synthesizer", JASA 67, 1980,
tables II and III; vowels compared with Peterson and Barney, "Control methods used in a study of the vowels", JASA 24, 1952;
levels and spectra of fricatives after Stevens, "Acoustic Phonetics", 1998, chapters 7 and 8.
"""

from __future__ import annotations

from typing import NamedTuple

NASAL_POLE = 270.0  # Hz; a zero on it cancels it, which is a closed velum


class Segment(NamedTuple):
    """A stretch with one set of sources and formants that move from `start` to `end`."""

    ms: float  # duration in careful speech
    start: tuple[float, float, float]  # F1, F2, F3 in Hz
    end: tuple[float, float, float]
    widths: tuple[float, float, float] = (70.0, 90.0, 140.0)  # bandwidths in Hz
    voicing: float = 1.0  # amplitudes; 1 is a stressed vowel
    breath: float = 0.0  # noise at the glottis, shaped by the formants
    friction: float = 0.0  # noise at a narrow passage, shaped by `peak`, `spread` and `flat`
    peak: float = 4500.0  # Hz
    spread: float = 1500.0  # Hz, bandwidth of the peak
    flat: float = 0.1  # part of the friction that is white
    zero: float = NASAL_POLE  # Hz
    blend: float = 0.0  # how much of the formants comes from the neighbor


def _vowel(
    ms: float, start: tuple[float, float, float], end: tuple[float, float, float], voicing: float = 1.0
) -> tuple[Segment, ...]:
    return (Segment(ms, start, end, voicing=voicing),)


def _steady(ms: float, formants: tuple[float, float, float], **rest: float) -> Segment:
    return Segment(ms, formants, formants, **rest)  # type: ignore[arg-type]


_T, _K, _N = (400.0, 1700.0, 2600.0), (300.0, 1990.0, 2850.0), (400.0, 1500.0, 2500.0)
_S, _F, _TH = (320.0, 1450.0, 2530.0), (340.0, 1050.0, 2150.0), (320.0, 1290.0, 2540.0)
_R, _W = (400.0, 1150.0, 1600.0), (300.0, 640.0, 2200.0)
_MURMUR = (50.0, 250.0, 250.0)

_T_CLOSURE = _steady(55, _T, voicing=0.0, blend=0.3)
_T_BURST = _steady(10, _T, voicing=0.0, friction=0.4, breath=0.1, peak=3800.0, spread=1800.0, flat=0.15, blend=0.3)
_T_BREATH = _steady(40, _T, voicing=0.0, friction=0.1, breath=0.16, peak=3800.0, spread=2000.0, blend=0.5)

PHONES: dict[str, tuple[Segment, ...]] = {
    "sil": (_steady(100, (500, 1500, 2500), voicing=0.0, blend=1.0),),
    "iy": _vowel(190, (310, 2050, 2850), (285, 2250, 2950)),
    "ii": _vowel(105, (330, 2020, 2700), (325, 2080, 2720)),  # ih of speakers whose first language has no lax vowels
    "ih": _vowel(110, (400, 1850, 2570), (430, 1780, 2570)),
    "ey": _vowel(190, (480, 1780, 2520), (330, 2120, 2700)),
    "eh": _vowel(140, (540, 1720, 2500), (590, 1650, 2500)),
    "ah": _vowel(160, (620, 1180, 2500), (640, 1220, 2500)),
    "ao": _vowel(200, (500, 800, 2430), (530, 860, 2430)),
    "ow": _vowel(220, (490, 940, 2350), (390, 780, 2300)),
    "uw": _vowel(170, (350, 1550, 2300), (320, 1000, 2250)),
    "uu": _vowel(170, (360, 1150, 2250), (330, 850, 2250)),  # uw without its fronted beginning
    "ay": _vowel(250, (730, 1180, 2500), (400, 1980, 2600)),
    "ax": _vowel(70, (490, 1450, 2500), (480, 1450, 2500), 0.75),
    "er": _vowel(110, (470, 1270, 1650), (470, 1270, 1650), 0.85),
    "r": (_steady(80, _R, widths=(70.0, 100.0, 120.0), voicing=0.8, blend=0.1),),  # type: ignore[arg-type]
    "rt": (_steady(28, (320, 1450, 2400), voicing=0.25, blend=0.4), _steady(25, (420, 1400, 2350), voicing=0.7, blend=0.4)),
    "rx": (_steady(75, (430, 1150, 2450), voicing=0.5, friction=0.08, breath=0.08, peak=1300.0, spread=700.0, blend=0.2),),
    "w": (_steady(80, _W, widths=(60.0, 80.0, 90.0), voicing=0.6),),  # type: ignore[arg-type]
    "n": (_steady(90, _N, widths=_MURMUR, voicing=0.65, zero=600.0, blend=0.25),),  # type: ignore[arg-type]
    "f": (_steady(115, _F, voicing=0.0, friction=0.14, peak=5000.0, spread=4500.0, flat=0.6, blend=0.4),),
    "v": (_steady(70, _F, voicing=0.3, friction=0.07, peak=5000.0, spread=4500.0, flat=0.6, blend=0.4),),
    "th": (_steady(105, _TH, voicing=0.0, friction=0.11, peak=5200.0, spread=4000.0, flat=0.5, blend=0.3),),
    "s": (_steady(135, _S, voicing=0.0, friction=0.5, peak=4700.0, spread=1500.0, flat=0.04, blend=0.2),),
    "z": (_steady(95, _S, voicing=0.25, friction=0.28, peak=4700.0, spread=1500.0, flat=0.04, blend=0.2),),
    "t": (_T_CLOSURE, _T_BURST, _T_BREATH),
    "tq": (_steady(60, _T, voicing=0.0, blend=0.3),),  # without release
    "k": (
        _steady(60, _K, voicing=0.0, blend=0.3),
        _steady(18, _K, voicing=0.0, friction=0.3, breath=0.05, peak=2100.0, spread=500.0, flat=0.1, blend=0.3),
        _steady(12, _K, voicing=0.0, friction=0.1, breath=0.1, peak=2100.0, spread=700.0, flat=0.1, blend=0.4),
    ),
}  # fmt: skip

VOWELS = ("iy", "ii", "ih", "ey", "eh", "ah", "ao", "ow", "uw", "uu", "ay", "ax", "er")

FAINT = ("f", "v", "th", "s", "z", "t")

# Each digit: (weight, phones). A voice keeps its choice; "R" is the voice's own r and "TH" its th. "ao r" is rhotic.
PRONUNCIATIONS: tuple[tuple[tuple[float, str], ...], ...] = (
    ((0.5, "z ih R ow"), (0.4, "z iy R ow"), (0.1, "s iy R ow")),
    ((0.85, "w ah n"), (0.15, "w ao n")),
    ((0.75, "t uw"), (0.25, "t uu")),
    ((1.0, "TH R iy"),),
    ((0.55, "f ao R"), (0.3, "f ao"), (0.15, "f ao er")),
    ((0.7, "f ay v"), (0.3, "f ay f")),
    ((0.75, "s ih k s"), (0.25, "s ii k s")),
    ((0.8, "s eh v ax n"), (0.2, "s eh v n")),
    ((0.8, "ey t"), (0.2, "ey tq")),
    ((1.0, "n ay n"),),
)
R_KINDS = ((0.7, "r"), (0.15, "rt"), (0.15, "rx"))  # approximant, tap, uvular
TH_KINDS = ((0.82, "th"), (0.06, "s"), (0.06, "t"), (0.06, "f"))
