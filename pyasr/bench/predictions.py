"""What was expected of an H200-class GPU before anything was measured, and the outcome: a line each, in results and on a page."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

UNMEASURED = "not yet measured on a GPU"
HOURS = 1000 * 3600 * 100  # frames of 1000 hours


def cell(report: dict[str, Any], name: str) -> dict[str, Any] | None:
    """The record of a cell whose answers were right; None where it is not there."""
    return next((r for r in report.get("rows", ()) if r["name"] == name and "times" in r), None)


def best_us(report: dict[str, Any], name: str) -> float | None:
    """Microseconds of the device for a call: from a graph where it could be captured."""
    if (record := cell(report, name)) is None:
        return None
    times = record["times"]
    graph = times["graph us"]
    return float(graph["median"] if isinstance(graph, dict) else times["us"]["median"])


def race(report: dict[str, Any], name: str) -> dict[str, Any] | None:
    return next((r for r in report.get("races", ()) if r["name"] == name and r["ratio"] is not None), None)


@dataclass(frozen=True)
class Prediction:
    """`measure` gives the number of a report, None where it is not there; it holds from `mark` on, downwards or upwards."""

    claim: str
    measure: Callable[[dict[str, Any]], float | None]
    mark: float
    unit: str
    at_least: bool = False

    def outcome(self, report: dict[str, Any]) -> dict[str, Any]:
        """The line of a report. Nothing but a GPU at production sizes counts."""
        found = self.measure(report) if report.get("device") == "cuda" and not report.get("quick") else None
        if found is None:
            return {
                "claim": self.claim,
                "mark": self.wanted,
                "measured": None,
                "unit": self.unit,
                "outcome": UNMEASURED,
            }
        met = found >= self.mark if self.at_least else found <= self.mark
        words = "holds" if met else "does not hold"
        return {"claim": self.claim, "mark": self.wanted, "measured": found, "unit": self.unit, "outcome": words}

    @property
    def wanted(self) -> str:
        return f"{'≥' if self.at_least else '≤'} {self.mark:g} {self.unit}"


def _hours(report: dict[str, Any]) -> float | None:
    us = best_us(report, "mfcc, an hour of int16")
    return None if us is None else 1000 * us / 1e6


def _frames(report: dict[str, Any]) -> float | None:
    seconds = _hours(report)
    return None if seconds is None else HOURS / seconds / 1e9


def _step(report: dict[str, Any]) -> float | None:
    us = best_us(report, "lstm_forward, T200 B32 D128 H512")
    return None if us is None else us / 200


def _share(report: dict[str, Any]) -> float | None:
    record = cell(report, "clip_sgd, 100 M parameters")
    return None if record is None else 100 * float(record["times"]["share of copy"])


def _ours(name: str) -> Callable[[dict[str, Any]], float | None]:
    """µs per unit of our side of a race."""

    def measure(report: dict[str, Any]) -> float | None:
        found = race(report, name)
        return None if found is None else float(found["us"][found["ours"]]["median"])

    return measure


def _ratio(name: str, form: str | None = None) -> Callable[[dict[str, Any]], float | None]:
    """Their time over ours: of the fastest form, or of one that is named."""

    def measure(report: dict[str, Any]) -> float | None:
        found = race(report, name)
        if found is None or form is None:
            return None if found is None else float(found["ratio"]["median"])
        times = found["us"]
        return float(times[form]["median"] / times[found["ours"]]["median"]) if form in times else None

    return measure


BOTH_WAYS = "lstm forward + backward, T200 B32 D128 H512 both ways"
PREDICTIONS = (
    Prediction("1000 hours of 16 kHz audio to MFCC, device time", _hours, 1.0, "s"),
    Prediction("MFCC, frames per second", _frames, 0.4, "G/s", at_least=True),
    Prediction("LSTM forward, float32, B 32, H 512, per step", _step, 3.5, "µs"),
    Prediction("LSTM both ways, float32, forward + backward, against cuDNN", _ratio(BOTH_WAYS), 2.0, "times", True),
    Prediction(
        "the same with ragged lengths, against cuDNN packed", _ratio(f"{BOTH_WAYS}, ragged", "float32, packed"), 2.0,
        "times", True,
    ),
    Prediction("clip + SGD of 4 M parameters", lambda r: best_us(r, "clip_sgd, 4 M parameters"), 20.0, "µs"),
    Prediction("clip + SGD of 100 M parameters, share of copy bandwidth", _share, 85.0, "%", True),
    Prediction("dense CG, n = 1024, per iteration", _ours("cg, n 1024"), 4.0, "µs"),
    Prediction("dense CG, n = 8192, per iteration", _ours("cg, n 8192"), 36.0, "µs"),
    Prediction("dense CG, n = 1024, against CuPy's cg", _ratio("cg, n 1024"), 5.0, "times", True),
    Prediction("CTC loss and gradient, against torch", _ratio("ctc_loss, T500 B32 U50 V32"), 2.0, "times", True),
)  # fmt: skip


def outcomes(report: dict[str, Any]) -> list[dict[str, Any]]:
    """Every prediction with its outcome in a report; {} is a report of nothing."""
    return [p.outcome(report) for p in PREDICTIONS]
