"""Where rows are measured, as one object: the functions of a column, its arrays, a clock, CUDA graphs, poisoned memory."""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np

from pyasr.ops import _cuda, backend, rows
from pyasr.ops._op import has, native


@dataclass(frozen=True)
class Graph:
    """Work that was captured once: `result` lies where every replay writes it."""

    replay: Callable[[], Any]
    result: Any
    memory: Any = None  # what has to live as long as the graph


class Target:
    """A column and what measures it. This one is a CPU: work is done when a call returns."""

    name = "cpu"
    is_gpu = False
    poisons = False  # whether poisoned() fills memory before it is handed out

    def __init__(self, ops: Any) -> None:
        self.ops = ops

    @property
    def xp(self) -> Any:
        """The library of its arrays."""
        return self.ops.xp

    @property
    def cache(self) -> int:
        """Bytes of the last level of cache."""
        known = "SC_LEVEL3_CACHE_SIZE" in os.sysconf_names
        return max(os.sysconf("SC_LEVEL3_CACHE_SIZE") if known else 0, 32 << 20)

    @property
    def free(self) -> int:
        """Bytes of memory that may be taken."""
        return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")

    def names(self) -> list[str]:
        """The rows to measure: those with a CUDA kernel that this column has too."""
        return [name for name in sorted(_cuda.functions()) if self.has(name)]

    def has(self, row: str) -> bool:
        return has(rows()[row], "cpp")

    def seconds(self, work: Callable[[], Any]) -> float:
        """How long the work takes."""
        begin = time.perf_counter()
        work()
        return time.perf_counter() - begin

    def wait(self) -> None:
        """Until everything that was queued is done."""

    @contextmanager
    def poisoned(self) -> Iterator[None]:
        """Inside, memory that a column takes for results and workspaces holds NaN or −1."""
        yield

    def capture(self, work: Callable[[], Any]) -> Graph:
        """The work as a CUDA graph, after one run of it. Raises RuntimeError where it can not be captured."""
        raise RuntimeError("there are no CUDA graphs on a CPU")

    def describe(self) -> dict[str, Any]:
        """What a result says of the device."""
        from pyasr.info import processor

        cpu = native("_cpu")
        return {"device": processor(), "cpus": os.cpu_count(), "isa": None if cpu is None else cpu.isa()}


class Gpu(Target):
    """The current CUDA device, with CuPy's arrays and events."""

    name = "cuda"
    is_gpu = True
    poisons = True

    @property
    def properties(self) -> dict[str, Any]:
        return self.xp.cuda.runtime.getDeviceProperties(self.xp.cuda.Device().id)

    @property
    def cache(self) -> int:
        return int(self.properties["l2CacheSize"])

    @property
    def free(self) -> int:
        return int(self.xp.cuda.runtime.memGetInfo()[0]) + int(self.xp.get_default_memory_pool().free_bytes())

    def has(self, row: str) -> bool:
        return True

    def seconds(self, work: Callable[[], Any]) -> float:
        """Between two events of the current stream, around the work."""
        begin, end = self.xp.cuda.Event(), self.xp.cuda.Event()
        begin.record()
        work()
        end.record()
        end.synchronize()
        return float(self.xp.cuda.get_elapsed_time(begin, end)) / 1e3

    def wait(self) -> None:
        self.xp.cuda.Device().synchronize()

    @contextmanager
    def poisoned(self) -> Iterator[None]:
        pool = self.xp.get_default_memory_pool()

        def malloc(size: int) -> Any:
            memory = pool.malloc(size)
            if size:
                memory.memset_async(0xFF, size)
            return memory

        with self.xp.cuda.using_allocator(malloc):
            yield

    def capture(self, work: Callable[[], Any]) -> Graph:
        """Memory comes from a pool that only this graph has, so that a replay writes where nobody else looks."""
        pool, stream = self.xp.cuda.MemoryPool(), self.xp.cuda.Stream(non_blocking=True)
        self.wait()
        with self.xp.cuda.using_allocator(pool.malloc), stream:
            work()  # loads kernels and fills the pool, which a capture may not
            stream.synchronize()
            stream.begin_capture()
            try:
                result = work()
            except RuntimeError as reason:
                try:
                    stream.end_capture()
                except RuntimeError as e:  # it says that the capture failed, not why
                    raise reason from e
                raise
            graph = stream.end_capture()
        return Graph(graph.launch, result, (pool, stream))  # numbers of a result may wait for that stream

    def describe(self) -> dict[str, Any]:
        of, runtime = self.properties, self.xp.cuda.runtime
        return {
            "device": of["name"].decode() if isinstance(of["name"], bytes) else of["name"],
            "compute capability": f"{of['major']}.{of['minor']}",
            "processors": of["multiProcessorCount"],
            "memory": of["totalGlobalMem"],
            "L2": of["l2CacheSize"],
            "driver": runtime.driverGetVersion(),
            "host": platform.processor() or platform.machine(),
            "numpy": np.__version__,
        }


def find(name: str) -> Target:
    """The target called "cuda" or "cpu". Raises RuntimeError with the reason where it is not here."""
    return Gpu(backend("cuda")) if name == "cuda" else Target(backend("cpp"))
