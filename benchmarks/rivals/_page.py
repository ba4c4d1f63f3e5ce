"""The results of features.py as lines of text, as the table of docs/features.md and as a chart."""

from __future__ import annotations

from pathlib import Path
from typing import Any

BEGIN, END = "<!-- features table -->", "<!-- /features table -->"
COLORS = {"pyasr": "#1f5f8b", "pyasr, numba": "#8fb8d4"}
THEIRS = "#b9b9b9"


def rounded(value: float) -> str:
    """Three figures."""
    return f"{float(f'{value:.3g}'):,.0f}"


def ratio_of(side: dict[str, Any]) -> str:
    low, high = side["quartiles"]
    return f"{side['ratio']:.3g} [{low:.3g}, {high:.3g}]"


def lines(race: dict[str, Any]) -> list[str]:
    """A race for the terminal."""
    found = [f"{race['name']}, {race['seconds']:g} s, {race['kflop per frame']:.1f} kflop per frame"]
    for name, side in race["sides"].items():
        share = "" if side["share of the limit"] is None else f"{100 * side['share of the limit']:5.1f} % of the limit"
        times = "" if name == "pyasr" else f"  takes {ratio_of(side)} times ours"
        accept = f"{side['µs per accept']:8.2f} µs per accept" if "µs per accept" in side else ""
        found.append(
            f"  {name:24s}{side['µs per frame']:9.3f} µs per frame {side['frames per s']:12,.0f} frames/s "
            f"{side['x real time']:9,.0f} x real time {accept}{share}{times}"
        )
    return found + [f"  {name:24s} not installed" for name in race["not installed"]]


def pair_line(pair: dict[str, Any]) -> str:
    return (
        f"{pair['name']}: {pair['ms'][0]:.2f} ms with one thread, {pair['ms'][1]:.2f} ms with two: "
        f"{ratio_of(pair)} times as fast; multiply-adds in registers {pair['probe']:.2f} times"
    )


def table(report: dict[str, Any]) -> str:
    """What stands between the markers of docs/features.md, as Markdown."""
    where = report["machine"]
    found = [
        f"{where['processor']} ({where['isa']}, {where['cpus']} CPUs, load {where['load']:.1f}), {where['date'][:10]}, commit "
        f"{where['commit'][:7]}; {report['threads']} thread(s), {report['clock']} clock, medians of {report['rounds']} rounds "
        f"[quartiles]; multiply-add peak {report['peak']:.0f} GFLOP/s.",
        "",
        "| features | | µs per frame | frames/s | × real time | share of the peak | pyasr is faster by |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for race in report["races"]:
        title = f"{race['name']}, {race['seconds']:g} s"
        for name, side in race["sides"].items():
            version = where["peers"].get(name)
            who = f"{name} {version}" if version else f"**{name}**" if name == "pyasr" else name
            if "µs per accept" in side:
                who += f", {side['µs per accept']:.2f} µs per chunk"
            share = "" if side["share of the limit"] is None else f"{100 * side['share of the limit']:.2g} %"
            faster = "" if name == "pyasr" else ratio_of(side)
            found.append(
                f"| {title} | {who} | {side['µs per frame']:#.3g} | {rounded(side['frames per s'])} "
                f"| {rounded(side['x real time'])} | {share} | {faster} |"
            )
            title = ""
        found += [f"| | {name} | not installed | | | | |" for name in race["not installed"]]
    slower = []
    for race in report["races"]:
        if {"kaldi-native-fbank", "pyasr, numba"} <= set(race["sides"]):
            theirs, twin = (race["sides"][name]["µs per frame"] for name in ("kaldi-native-fbank", "pyasr, numba"))
            slower.append(f"{theirs / twin:.1f} ({race['name']})")
    if slower:
        found += ["", f"kaldi-native-fbank takes so many times as long as the numba column: {', '.join(slower)}."]
    found += ["", "| two threads | one | two | ratio | multiply-adds in registers |", "| --- | --- | --- | --- | --- |"]
    found += [
        f"| {pair['name']} | {pair['ms'][0]:.2f} ms | {pair['ms'][1]:.2f} ms | {ratio_of(pair)} | {pair['probe']:.2f} |"
        for pair in report["pairs"]
    ]
    return "\n".join(found)


def draw(report: dict[str, Any], path: Path) -> None:
    """µs per frame as bars on a log axis, shorter is better; the same bytes for the same results and matplotlib."""
    import matplotlib

    matplotlib.use("svg")
    from matplotlib import pyplot

    bars: list[tuple[float, str, float]] = []  # place, who, µs per frame
    titles, place = [], 0.0
    for race in report["races"]:
        titles.append((place - 0.85, f"{race['name']}, {race['seconds']:g} s"))
        for name, side in race["sides"].items():
            bars.append((place, name, side["µs per frame"]))
            place += 1
        place += 1.2
    # Text stays text (a tenth of the bytes) and the identifiers of clip paths are hashed from a fixed salt.
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": "pyasr", "font.size": 9}):
        figure, axes = pyplot.subplots(figsize=(8, 0.26 * place + 0.8), layout="constrained")
        places, names, values = zip(*bars, strict=True)
        colors = [COLORS.get(name, THEIRS) for name in names]
        drawn = axes.barh(places, values, height=0.85, color=colors)
        axes.bar_label(drawn, [f"{value:#.3g}" for value in values], padding=3)
        for at, title in titles:
            axes.text(0.0, at, title, transform=axes.get_yaxis_transform(), va="center", fontweight="bold")
        axes.set(
            xscale="log", xlim=(min(values) / 2, 2.5 * max(values)), ylim=(place - 0.7, -1.6), yticks=places, yticklabels=names,
            xlabel=f"µs per frame, log scale, {report['threads']} thread(s); shorter is better",
        )  # fmt: skip
        axes.tick_params(axis="y", length=0)
        axes.spines[["top", "right", "left"]].set_visible(False)
        figure.savefig(path, format="svg", metadata={"Date": None, "Creator": None})
        pyplot.close(figure)
