"""Every row of the op table with a clock: same inputs, same assertion as the tests, then time.

    pytest -o addopts= --import-mode=importlib --benchmark-only benchmarks

A new row is benchmarked by existing. Each result carries GB/s, GFLOP/s and its share of the machine's limit for the bytes and
flops that the row declares, measured in the same run on one thread.
"""

import pytest

from pyasr.ops import rows, why_not
from pyasr.ops._compare import prepared, worst_error
from pyasr.ops._op import backend, has

SLOW = 2e9  # flops beyond which the reference takes seconds: the largest test size stands in for the comparison
CELLS = [
    pytest.param(row, column, id=f"{row.name}-{column}")
    for row in rows().values()
    for column in ("numpy", "numba", "cpp")
    if why_not(column) is None and has(row, column)
]


@pytest.mark.parametrize(("row", "column"), CELLS)
def bench_row(benchmark, limits, row, column):
    dtype = "float32" if "float32" in row.dtypes else row.dtypes[0]
    args, kwargs = prepared(row, column, row.benchmark_size, dtype)
    flops, size = float(row.flops(*args, **kwargs)), float(row.bytes(*args, **kwargs))
    if column != "numpy":
        checked = row.sizes[-1] if flops > SLOW else row.benchmark_size
        error = worst_error(row, column, checked, dtype)
        assert error <= row.tolerance[dtype], f"differs by {error:.1e}"
        benchmark.extra_info["checked at"] = str(checked)
    op = getattr(backend(column), row.name)
    rounds = 3 if column == "numpy" else 25
    benchmark.group = row.name
    benchmark.pedantic(op, args=args, kwargs={**kwargs, "threads": 1}, rounds=rounds, iterations=1, warmup_rounds=1)
    best = benchmark.stats.stats.min
    gflops, gbs = flops / best / 1e9, size / best / 1e9
    limits.moved.append((size, gbs))
    benchmark.extra_info |= {
        "GFLOP/s": round(gflops, 2),
        "GB/s": round(gbs, 2),
        "share of the limit": round(limits.seconds(flops, size) / best, 3),
        "limits": {"GFLOP/s": round(limits.flops_peak(), 1), "GB/s": round(limits.bandwidth(size), 1)},
    }
    limits.shares.append(
        f"{row.name + ' ' + column:<30} {1e3 * best:9.3f} ms {gflops:7.1f} GFLOP/s {gbs:6.1f} GB/s "
        f"{100 * limits.seconds(flops, size) / best:4.0f} %"
    )
    limits.others[f"{row.name}-{column}, GFLOP/s"] = gflops
    if size > 1e8:
        limits.others[f"{row.name}-{column}, GB/s"] = gbs
