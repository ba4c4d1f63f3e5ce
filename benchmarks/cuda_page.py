"""The tables of docs/cuda.md from what `pyasr bench --device cuda --json FILE` has written.

    python benchmarks/cuda_page.py --from benchmarks/results/FILE.json --page docs/cuda.md
    python benchmarks/cuda_page.py --page docs/cuda.md                # nothing is measured yet

A result is committed as benchmarks/results/<gpu>-<date>.json; --save FOLDER copies it there under that name.
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
from pathlib import Path
from typing import Any

from pyasr.bench.predictions import outcomes

BEGIN, END = "<!-- measured -->", "<!-- /measured -->"


def predictions(report: dict[str, Any]) -> list[str]:
    """The table of predictions; every line says that it is not yet measured where the report is {}."""
    lines = ["| prediction | wanted | measured | outcome |", "| --- | --- | --- | --- |"]
    for p in outcomes(report):
        measured = "–" if p["measured"] is None else f"{p['measured']:.3g} {p['unit']}"
        lines.append(f"| {p['claim']} | {p['mark']} | {measured} | {p['outcome']} |")
    return lines


def where(report: dict[str, Any]) -> str:
    m, limits, peers = report["machine"], report["limits"], report["peers"]
    found = ", ".join(f"{name} {version}" for name, version in peers.items())
    return (
        f"{m['device']} (compute capability {m['compute capability']}, driver {m['driver']}), {m['date'][:10]}, "
        f"commit {m['commit']}; "
        f"copies {limits['copy, GB/s']:.0f} GB/s, multiplies {limits['float32, TFLOP/s']:.1f} TFLOP/s in float32; "
        f"medians of {report['rounds']} rounds; {found or 'without peers'}."
    )


def spread(times: Any) -> str:
    return "–" if not isinstance(times, dict) else f"{times['median']:.3g} [{times['low']:.3g}, {times['high']:.3g}]"


def rows(report: dict[str, Any]) -> list[str]:
    """A line per cell: from Python, from a graph, GB/s and TFLOP/s with their shares."""
    lines = [
        "| row | µs | in a graph, µs | GB/s, of a copy | TFLOP/s, of a product | error |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for r in report["rows"]:
        if "times" not in r:
            lines.append(f"| {r['name']} | {r.get('wrong') or r['absent']} | | | | |")
            continue
        t = r["times"]
        lines.append(
            f"| {r['name']} | {spread(t['us'])} | {spread(t['graph us'])} | {t['GB/s']:.4g}, {100 * t['share of copy']:.0f} % "
            f"| {t['TFLOP/s']:.3g}, {100 * t['share of arithmetic']:.0f} % | {r['answers']['error']:.0e} |"
        )
    return lines


def races(report: dict[str, Any]) -> list[str]:
    lines = ["| race | µs per | ours | theirs | ratio |", "| --- | --- | --- | --- | --- |"]
    for r in report["races"]:
        us = {name: f"{name} {t['median']:.3g}" for name, t in r["us"].items()}
        ours = [text for name, text in us.items() if name.startswith("pyasr")]
        theirs = [text for name, text in us.items() if not name.startswith("pyasr")]
        ratio = "–" if r["ratio"] is None else f"{r['form']}: {spread(r['ratio'])}"
        lines.append(f"| {r['name']} | {r['unit']} | {', '.join(ours)} | {r['peer']}: {', '.join(theirs)} | {ratio} |")
    return lines


def table(report: dict[str, Any]) -> str:
    """What stands between the markers."""
    if not report:
        return "\n".join(["Nothing is measured on a GPU yet.", "", *predictions(report)])
    parts = [where(report), "", *predictions(report), "", *rows(report)]
    return "\n".join([*parts, "", *races(report)] if report["races"] else parts)


def name_of(report: dict[str, Any]) -> str:
    """<gpu>-<date>.json"""
    gpu = re.sub(r"[^a-z0-9]+", "-", report["machine"]["device"].lower()).strip("-").removeprefix("nvidia-")
    return f"{gpu}-{report['machine']['date'][:10]}.json"


def put(page: Path, text: str) -> None:
    """Write the text between the markers of a page, which keeps all its other words."""
    old = page.read_text("utf-8")
    if old.count(BEGIN) != 1 or old.count(END) != 1:
        raise SystemExit(f"{page}: must hold {BEGIN} and {END} once each")
    before, after = old.split(BEGIN)[0], old.split(END)[1]
    page.write_text(f"{before}{BEGIN}\n{text}\n{END}{after}", "utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--from", dest="source", type=Path, help="what the bench wrote; without it nothing is measured")
    parser.add_argument("--page", type=Path, help="write the tables between this page's markers")
    parser.add_argument("--save", type=Path, metavar="FOLDER", help="copy the results there, under their name")
    options = parser.parse_args()
    report = json.loads(options.source.read_text("utf-8")) if options.source else {}
    if report and (report["device"] != "cuda" or report["quick"]):
        parser.error(f"--from: {options.source} must be a full run on a GPU")
    if options.page:
        put(options.page, table(report))
    if options.save and report:
        shutil.copyfile(options.source, options.save / name_of(report))
        print(options.save / name_of(report))
    if not options.page:
        print(table(report))


if __name__ == "__main__":
    main()
