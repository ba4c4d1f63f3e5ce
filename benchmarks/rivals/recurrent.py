"""Recurrent layers and CTC: beside torch, beside our own calls, and against the machine's limits.

    python benchmarks/rivals/recurrent.py [--threads N] [--rounds N] [--only lstm,ctc,roofline,…] [--long] [--clock cpu]
                                          [--json FILE] [--page FILE]
    python benchmarks/rivals/recurrent.py --from FILE --page docs/kernels.md

Ours and theirs take turns on the same inputs, and answers are compared before anything is timed. A ratio is theirs over ours, the
median of the rounds' with its quartiles, beside the mark that the project set itself; where both are ours, it is what the name
says. --frames cuts every T and judges no marks. --long adds torch's packed sequences at T500, 20 s a call. The page's tables are
written from what --json writes, also later (--from).
"""

from __future__ import annotations

import importlib
import json
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import _report

PARSER = _report.parser("recurrent layers and CTC beside torch and the machine's limits", threads=1, rounds=15)
PARSER.add_argument("--only", default="lstm,gru,forward,ragged,ctc,bidirectional,jvp,newton,roofline")
PARSER.add_argument("--long", action="store_true", help="also what takes torch minutes")
PARSER.add_argument("--frames", type=int, help="no T above it, and no marks: to see that all of it runs")
PARSER.add_argument("--from", dest="source", type=Path, help="measure nothing: write the page of these results")
PARSER.add_argument("--page", type=Path, help="write the tables between this page's markers")
OPTIONS = PARSER.parse_args()
_report.pin(OPTIONS.threads)

import _kernels_page  # noqa: E402
import _layers  # noqa: E402
import _own  # noqa: E402
import _roofline  # noqa: E402
import probe  # noqa: E402

Races = Callable[[_layers.Scope], Iterator[_report.Race]]
RACES: dict[str, tuple[str, Races]] = {
    "lstm": ("torch", _layers.lstm),
    "gru": ("torch", _layers.gru),
    "forward": ("torch", _layers.forward),
    "ragged": ("torch", _layers.ragged),
    "ctc": ("torch", _layers.ctc),
    "bidirectional": ("pyasr", _own.bidirectional),
    "jvp": ("pyasr", _own.jvp),
    "newton": ("pyasr", _own.newton),
}


def measure() -> dict[str, Any]:
    where = _report.machine(["torch"])
    wanted = OPTIONS.only.split(",")
    if unknown := set(wanted) - {*RACES, "roofline"}:
        PARSER.error(f"--only: there is no {', '.join(sorted(unknown))}; there are {', '.join(RACES)} and roofline")
    print(", ".join(f"{k} {v}" for k, v in where.items()))
    torch = where["peers"]["torch"] != "not installed"
    if torch:
        importlib.import_module("torch").set_num_threads(OPTIONS.threads)
    scope = _layers.Scope(OPTIONS.threads, OPTIONS.frames, OPTIONS.long)
    limits, roofline = probe.measure(OPTIONS.threads), []
    if "roofline" in wanted:  # right behind the probes
        roofline = _roofline.measure(scope, limits, OPTIONS.rounds)
        print("\n".join(map(_kernels_page.roofline_line, roofline)))
    print("\n".join(limits.verdict()))
    print(f"{OPTIONS.threads} thread(s), {OPTIONS.clock} clock, median of {OPTIONS.rounds} rounds [quartiles]\n")
    results, left_out = [], {}
    for name in [name for name in wanted if name in RACES]:
        peer, races = RACES[name]
        if peer == "torch" and not torch:
            left_out[name] = "torch is not installed"
            print(f"{name}: {left_out[name]}")
            continue
        for race in races(scope):
            results.append(_report.result(race, OPTIONS))
            print(_report.line(results[-1]), flush=True)
    return _report.save(
        OPTIONS, where, rounds=OPTIONS.rounds, limits=asdict(limits), peak=limits.flops_peak(), results=results,
        roofline=roofline, **{"left out": left_out},
    )  # fmt: skip


def main() -> None:
    report = json.loads(OPTIONS.source.read_text("utf-8")) if OPTIONS.source else measure()
    if OPTIONS.page:
        _report.put(_kernels_page.table(report), OPTIONS.page, _kernels_page.BEGIN, _kernels_page.END)


if __name__ == "__main__":
    main()
