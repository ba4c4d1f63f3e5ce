"""The families of ops. Each module holds its rows: reference, example inputs, tolerance, cost."""

from pyasr.ops._op import BACKENDS, Backend, MissingOp, Row, backend, host, rows, why_not

__all__ = ["BACKENDS", "Backend", "MissingOp", "Row", "backend", "host", "rows", "why_not"]
