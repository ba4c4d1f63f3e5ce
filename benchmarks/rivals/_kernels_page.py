"""The results of recurrent.py as lines of text and as the tables of docs/kernels.md."""

from __future__ import annotations

from typing import Any

import _report

BEGIN, END = "<!-- kernels table -->", "<!-- /kernels table -->"


def title(r: dict[str, Any]) -> str:
    return f"{r['kernel']}, " + " ".join(f"{dim}{size}" for dim, size in r["shape"].items())


def wanted(r: dict[str, Any]) -> str:
    return "" if r["mark"] is None else f"{100 * r['mark']:.0f} %: {'met' if r['met'] else 'missed'}"


def roofline_line(r: dict[str, Any]) -> str:
    """A kernel against the machine, for the terminal."""
    mark = f"  (mark {wanted(r)})" if wanted(r) else ""
    return (
        f"{title(r):46s} {1e6 * r['seconds'] / max(r['shape']['T'], 1):9.1f} µs per frame {r['GFLOP/s']:7.1f} GFLOP/s, bound by "
        f"{r['bound']:7s} {100 * r['share of the roofline']:5.1f} % of the roofline, {100 * r['share of the peak']:5.1f} % of "
        f"the peak{mark}"
    )


def duration(seconds: float) -> str:
    """Three figures with a unit."""
    unit, factor = ("s", 1.0) if seconds >= 1 else ("ms", 1e3) if seconds >= 1e-3 else ("µs", 1e6)
    return f"{float(f'{factor * seconds:.3g}'):g} {unit}"


def table(report: dict[str, Any]) -> str:
    """What stands between the markers, as Markdown."""
    where, limits = report["machine"], report["limits"]
    torch = where["peers"]["torch"]
    found = [
        f"{where['processor']} ({where['isa']}, {where['cpus']} CPUs, load {where['load']:.1f}), {where['date'][:10]}, commit "
        f"{where['commit'][:7]}; {report['threads']} thread(s), {report['clock']} clock, medians of {report['rounds']} rounds "
        f"or as many as stand there [quartiles]; torch {torch}.",
        "",
        "| race | pyasr | against | takes | ratio | mark |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for r in report["results"]:
        against = f"{r['peer']}, {r['form']}" + ("" if r["rounds"] == report["rounds"] else f", {r['rounds']} rounds")
        against += "" if r["clock"] == report["clock"] else f", {r['clock']} clock"
        low, high = r["quartiles"]
        found.append(
            f"| {r['name']} | {duration(r['ours'])} | {against} | {duration(r['theirs'][r['form']])} "
            f"| {r['ratio']:.3g} [{low:.3g}, {high:.3g}] | {_report.mark(r)} |"
        )
    found += [f"| {name} | not measured: {why} | | | | |" for name, why in report["left out"].items()]
    if report["roofline"]:
        read = ", ".join(
            f"{int(size) >> 10:,} KiB {limits['read'][size]:.0f}"
            for size in limits["read"]
            if (1 << 20) <= int(size) <= (1 << 24)
        )
        found += [
            "",
            f"Multiply-add peak {report['peak']:.0f} GFLOP/s; reading, GB/s: {read}. The best of the rounds.",
            "",
            "| kernel | call | GFLOP/s | bound by | share of the roofline | share of the peak | mark |",
            "| --- | --- | --- | --- | --- | --- | --- |",
        ]
        found += [
            f"| {title(r)} | {duration(r['seconds'])} | {r['GFLOP/s']:.0f} | {r['bound']} "
            f"| {100 * r['share of the roofline']:.0f} % | {100 * r['share of the peak']:.0f} % | {wanted(r)} |"
            for r in report["roofline"]
        ]
    return "\n".join(found)
