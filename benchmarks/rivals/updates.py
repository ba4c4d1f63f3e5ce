"""Updates beside torch: clip + SGD, Adam and RMSprop over 40 tensors, and a stream of the same reads and writes.

    python benchmarks/rivals/updates.py [--threads N] [--rounds N] [--only sgd,adam,…] [--sizes 200000,…] [--clock cpu]
                                        [--json FILE] [--page FILE]
    python benchmarks/rivals/updates.py --from FILE --page docs/kernels.md

Ours is one call on the flat vector that holds the 40 tensors, as the optimizers of pyasr.optim make it; races of their own give
it a segment table of 40 lines, or lists of 40 arrays. Theirs is clip_grad_norm_ and a step over 40 tensors, by the fastest of
torch's single, foreach and fused paths. Both begin with the same numbers, and the weights after a step are compared before
anything is timed. Each side has 20 ms in a row, so that its numbers are in the caches that hold them, as where the marks come
from; with --bunch 0 each finds the other's. The stream reads one array and then reads three and writes two, as clip + SGD with
momentum does; both in turn, the best of 35 calls each, by the wall.
"""

from __future__ import annotations

import functools
import importlib
import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import _report
from _report import Race, close

PARSER = _report.parser("updates beside torch and a stream of the same reads and writes", threads=1, rounds=15)
PARSER.add_argument("--only", default="sgd,momentum,segments,list,adam,rmsprop")
PARSER.add_argument("--sizes", default="200000,4000000,40000000", help="parameters; marks are for these three")
PARSER.add_argument("--bunch", type=float, default=0.02, help="seconds that each side has in a row (default 0.02)")
PARSER.add_argument("--from", dest="source", type=Path, help="measure nothing: write the page of these results")
PARSER.add_argument("--page", type=Path, help="write the table between this page's markers")
OPTIONS = PARSER.parse_args()
_report.pin(OPTIONS.threads)

import _kernels_page  # noqa: E402
import numpy as np  # noqa: E402

import pyasr  # noqa: E402
from pyasr import _cpu  # noqa: E402

BEGIN, END = "<!-- updates table -->", "<!-- /updates table -->"
TENSORS, LR = 40, 0.01
OPS = pyasr.backend("cpp")
# race -> the name on the page, the row, its options, torch's optimizer and options, the marks per size
RACES: dict[str, tuple[str, str, dict[str, Any], str, dict[str, Any], tuple[float | None, ...]]] = {
    "sgd": ("clip + SGD", "clip_sgd", {}, "SGD", {}, (None, None, None)),
    "momentum": ("clip + SGD with momentum", "clip_sgd", {"momentum": 0.9}, "SGD", {"momentum": 0.9}, (6, 1.8, 1.35)),
    "segments": (
        "…, with a segment table",
        "clip_sgd",
        {"momentum": 0.9},
        "SGD",
        {"momentum": 0.9},
        (None, None, None),
    ),
    "list": ("…, lists of arrays", "clip_sgd", {"momentum": 0.9}, "SGD", {"momentum": 0.9}, (None, None, None)),
    "adam": ("clip + Adam", "adam", {}, "Adam", {}, (None, None, 1.2)),
    "rmsprop": ("clip + RMSprop", "rmsprop", {}, "RMSprop", {}, (None, None, None)),
}
STATES = {"clip_sgd": ("buffer",), "adam": ("mean", "square"), "rmsprop": ("square",)}
MARKED = (200_000, 4_000_000, 40_000_000)


def races(name: str, size: int) -> Iterator[Race]:
    """The one race of a name and a size; an iterator, so that its arrays go with it."""
    import torch

    title, row, options, peer, flags, marks = RACES[name]
    params = pyasr.Params(OPS)
    for i in range(TENSORS):
        params.declare(f"w{i}", (size // TENSORS,))
    params.init()
    rng = np.random.default_rng(0)
    for w in params.names():
        params[w][:] = rng.standard_normal(size // TENSORS, np.float32)
        params.grad_of(w)[:] = rng.standard_normal(size // TENSORS, np.float32)
    states = {s: params.zeros() for s in STATES[row] if s != "buffer" or options.get("momentum")}
    limit = 0.05 * size**0.5  # the norm is about the root of the size: clipped, and by no more than tests show
    settings: dict[str, Any] = {"lr": LR, "clip": ("norm", limit), "threads": OPTIONS.threads, **options}
    settings["eps" if row == "clip_sgd" else "clip_eps"] = 1e-6
    if row == "adam":
        settings["step"] = 1
    given: dict[str, Any] = {"value": params.value, "grad": params.grad, **states}
    if name == "list":
        given = {key: [params.view(x, w) for w in params.names()] for key, x in given.items()}
    elif name == "segments":
        settings["segments"] = params.segments()
    ours = functools.partial(getattr(OPS, row), **given, **settings)

    forms = {"single": {"foreach": False}, "foreach": {"foreach": True}}
    if peer != "RMSprop":
        forms["fused"] = {"fused": True}
    theirs: dict[str, Callable[[], Any]] = {}
    answers = {}
    for form, choice in forms.items():
        tensors = [torch.nn.Parameter(torch.tensor(params[w])) for w in params.names()]
        for p, w in zip(tensors, params.names(), strict=True):
            p.grad = torch.tensor(params.grad_of(w))
        optimizer = getattr(torch.optim, peer)(tensors, lr=LR, **choice, **flags)

        def step(tensors: Any = tensors, optimizer: Any = optimizer, foreach: bool = form != "single") -> None:
            torch.nn.utils.clip_grad_norm_(tensors, limit, foreach=foreach)
            optimizer.step()

        theirs[form], answers[form] = step, tensors
    start = np.concatenate([params[w] for w in params.names()])
    ours()
    got = np.concatenate([params[w] for w in params.names()]) - start
    for form, step in theirs.items():
        step()
        close(f"{title}, {form}", got, np.concatenate([p.detach().numpy() for p in answers[form]]) - start, 1e-4)
    mark = marks[MARKED.index(size)] if size in MARKED else None
    yield Race(
        f"{title}, {size / 1e6:g} M",
        "torch",
        ours,
        theirs,
        mark,
        rounds=OPTIONS.rounds if size < 10**7 else 9,
        bunch=OPTIONS.bunch,
    )


def stream(size: int) -> dict[str, float]:
    """Seconds of clip + SGD with momentum on a vector, and of the same reads and writes without its arithmetic."""
    params = pyasr.Params(OPS)
    params.declare("w", (size,))
    value, grad, buffer = (params.zeros() for _ in range(3))
    grad[:] = 1e-3
    shared = {"lr": LR, "momentum": 0.9, "clip": ("norm", 0.05), "threads": OPTIONS.threads}
    ours, probed = [], []
    for _ in range(5):
        probed.append(float(_cpu._probe("update", size, OPTIONS.threads)[0]))
        for _ in range(7):
            start = time.perf_counter()
            OPS.clip_sgd(value, grad, buffer=buffer, **shared)
            ours.append(time.perf_counter() - start)
    return {"stream": min(probed), "ours": min(ours), "share": min(probed) / min(ours)}


def measure() -> dict[str, Any]:
    where = _report.machine(["torch"])
    print(", ".join(f"{k} {v}" for k, v in where.items()))
    wanted, sizes = OPTIONS.only.split(","), [int(n) for n in OPTIONS.sizes.split(",")]
    if unknown := set(wanted) - {*RACES}:
        PARSER.error(f"--only: there is no {', '.join(sorted(unknown))}; there are {', '.join(RACES)}")
    if where["peers"]["torch"] == "not installed":
        PARSER.error("torch is not installed: there is nothing to compare with")
    importlib.import_module("torch").set_num_threads(OPTIONS.threads)
    print(f"{OPTIONS.threads} thread(s), {OPTIONS.clock} clock, median of {OPTIONS.rounds} rounds [quartiles]\n")
    results, streams = [], {}
    for size in sizes:
        for name in wanted:
            for race in races(name, size):
                results.append(_report.result(race, OPTIONS))
                print(_report.line(results[-1]), flush=True)
        streams[str(size)] = s = stream(size)
        print(
            f"{'of the stream with the same reads and writes':46s} ours {1e6 * s['ours']:10.1f} µs  {100 * s['share']:.0f} %"
        )
    return _report.save(OPTIONS, where, rounds=OPTIONS.rounds, results=results, streams=streams)


def table(report: dict[str, Any]) -> str:
    """What stands between the markers, as Markdown."""
    where, duration = report["machine"], _kernels_page.duration
    found = [
        f"{where['processor']} ({where['isa']}, {where['cpus']} CPUs, load {where['load']:.1f}), {where['date'][:10]}, commit "
        f"{where['commit'][:7]}; {report['threads']} thread(s), {report['clock']} clock, medians of at most {report['rounds']} "
        f"rounds [quartiles]; torch {where['peers']['torch']}, 40 tensors.",
        "",
        "| race, parameters | pyasr | torch | takes | ratio | mark |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for r in report["results"]:
        low, high = r["quartiles"]
        found.append(
            f"| {r['name']} | {duration(r['ours'])} | {r['form']} | {duration(r['theirs'][r['form']])} "
            f"| {r['ratio']:.3g} [{low:.3g}, {high:.3g}] | {_report.mark(r)} |"
        )
    lines = [
        f"{int(n) / 1e6:g} M parameters {duration(s['ours'])}, {100 * s['share']:.0f} %"
        for n, s in report["streams"].items()
    ]
    return "\n".join(
        [*found, "", f"Clip + SGD with momentum on one vector, beside the stream (mark 90 %): {'; '.join(lines)}."]
    )


def main() -> None:
    report = json.loads(OPTIONS.source.read_text("utf-8")) if OPTIONS.source else measure()
    if OPTIONS.page:
        _report.put(table(report), OPTIONS.page, BEGIN, END)


if __name__ == "__main__":
    main()
