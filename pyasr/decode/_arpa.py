"""ARPA files: n-grams with back-off weights, as SRILM, KenLM and others write them. A file may come from anywhere."""

from __future__ import annotations

import gzip
import math
import os
import re
import zlib
from array import array
from collections.abc import Iterator
from typing import NoReturn

import numpy as np

from pyasr.ops._ngram import LONGEST_CONTEXT, Tables

LN10 = math.log(10.0)
LONGEST_LINE = 2**20  # bytes
BEGIN, END = "<s>", "</s>"
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)
_BLANKS = re.compile(r"[ \t]+")  # not the white space of Unicode, which words may hold


class _Lines:
    """The lines of a file without white space around, and the number of the last one."""

    def __init__(self, path: str) -> None:
        self.path, self.number = path, 0
        self._lines = self._read()

    def _read(self) -> Iterator[str]:
        with open(self.path, "rb") as raw, gzip.open(raw) if self.path.endswith(".gz") else raw as file:
            while True:
                self.number += 1
                try:
                    line = file.readline(LONGEST_LINE)
                except (EOFError, gzip.BadGzipFile, zlib.error) as e:
                    self.error(f"the file must be whole gzip data, got: {e}")
                if not line:
                    return
                if len(line) == LONGEST_LINE:
                    self.error(f"a line must have less than {LONGEST_LINE} bytes")
                try:
                    yield line.decode("utf-8").strip(" \t\r\n")
                except UnicodeDecodeError as e:
                    self.error(f"a line must be UTF-8, got {line[e.start : e.start + 8]!r}")

    def error(self, words: str) -> NoReturn:
        raise ValueError(f"load: {self.path}, line {self.number}: {words}")

    def drain(self) -> None:
        """Read what is left, and with it the checksum behind packed data."""
        for _ in self._lines:
            pass

    def next(self, wanted: str) -> str:
        """The next line that is not empty."""
        for line in self._lines:
            if line:
                return line
        self.error(f"the file must go on with {wanted}, and it ends")

    def logarithm(self, text: str, what: str) -> float:
        """A logarithm to base 10 as a natural one."""
        if not _NUMBER.fullmatch(text) or not math.isfinite(float(text)):
            self.error(f"{what} must be a finite number, got {text!r:.40}")
        return LN10 * float(text)


class _Model:
    """The tables while they grow, order by order."""

    def __init__(self, order: int) -> None:
        self.order = order
        self.words: dict[str, int] = {}
        self.states: dict[tuple[int, int], int] = {}  # (state, token) -> the state of both
        self.backoff, self.suffix = array("d", [0.0]), array("i", [-1])
        self.arcs: dict[tuple[int, int], float] = {}
        self.next = array("i")

    def add(self, lines: _Lines, words: list[str], log_p: float, backoff: float) -> None:
        context, token = self._context(lines, words[:-1]), self._token(lines, words)
        if (context, token) in self.arcs:
            lines.error(f"an n-gram must stand once, got {' '.join(words)!r:.80} again")
        self.arcs[context, token] = log_p
        suffix = self._after_suffix(context, token)
        if len(words) < self.order:
            self.states[context, token] = len(self.backoff)
            self.next.append(len(self.backoff))
            self.backoff.append(backoff)
            self.suffix.append(suffix)
        else:
            self.next.append(suffix)

    def _context(self, lines: _Lines, words: list[str]) -> int:
        state = 0
        for word in words:
            found = self.states.get((state, self.words.get(word, -1)))
            if found is None:
                lines.error(f"the context {' '.join(words)!r:.80} must be an n-gram too, and it is not there")
            state = found
        return state

    def _token(self, lines: _Lines, words: list[str]) -> int:
        if len(words) == 1:
            return self.words.setdefault(words[0], len(self.words))
        token = self.words.get(words[-1])
        if token is None:
            lines.error(f"every word must be a 1-gram too, got {words[-1]!r:.80}")
        return token

    def _after_suffix(self, state: int, token: int) -> int:
        """The longest context that the token makes with a shorter one than the state."""
        while state > 0:
            state = self.suffix[state]
            if (state, token) in self.states:
                return self.states[state, token]
        return 0

    def tables(self) -> Tables:
        pairs = np.array(list(self.arcs), np.int64).reshape(-1, 2)
        log_p, order = np.array(list(self.arcs.values())), np.lexsort((pairs[:, 1], pairs[:, 0]))
        begin = np.searchsorted(pairs[order, 0], np.arange(len(self.backoff) + 1))
        end, stop = array("d"), self.words.get(END)
        for state in range(len(self.backoff) if stop is not None else 0):
            shorter = end[self.suffix[state]] + self.backoff[state] if state else -math.inf
            end.append(self.arcs.get((state, stop or 0), shorter))
        ends = end if stop is not None else np.zeros(len(self.backoff))
        start = self.states.get((0, self.words.get(BEGIN, -1)), 0)
        after = np.array(self.next)[order]
        return Tables(
            np.array(self.backoff), np.array(self.suffix), np.array(ends), begin, pairs[order, 1], log_p[order], after, start
        )  # fmt: skip


def read(path: str | os.PathLike[str]) -> tuple[int, list[str], Tables]:
    """(order, words, tables) of an ARPA file; one that ends in .gz is unpacked on the way."""
    lines = _Lines(os.fspath(path))
    while lines.next("\\data\\") != "\\data\\":
        pass  # what stands before is a comment
    counts: list[int] = []
    while (line := lines.next("ngram 1=COUNT")).startswith("ngram "):
        match = re.fullmatch(r"ngram +([0-9]{1,3}) *= *([0-9]{1,18})", line)
        if match is None or int(match[1]) != len(counts) + 1:
            lines.error(f"it must be ngram {len(counts) + 1}=COUNT, got {line!r:.80}")
        counts.append(int(match[2]))
    if not 1 <= len(counts) <= LONGEST_CONTEXT + 1:
        lines.error(f"the order must lie in [1, {LONGEST_CONTEXT + 1}], got {len(counts)}")
    if counts[0] == 0:
        lines.error("there must be at least one 1-gram, got ngram 1=0")
    model = _Model(len(counts))
    for order, count in enumerate(counts, 1):
        if line != f"\\{order}-grams:":
            lines.error(f"it must be \\{order}-grams:, got {line!r:.80}")
        found = 0
        while not (line := lines.next("\\end\\")).startswith("\\"):
            found += 1
            if found > count:
                lines.error(f"there must be {count} {order}-grams, got more")
            fields = _BLANKS.split(line)
            if len(fields) not in (order + 1, order + (2 if order < len(counts) else 1)):
                lines.error(
                    f"it must be LOG_P, {order} words{' and a back-off weight' if order < len(counts) else ''}, got {line!r:.80}"
                )
            log_p = lines.logarithm(fields[0], "the probability")
            if log_p > 0:
                lines.error(f"the logarithm of a probability must be at most 0, got {fields[0]:.40}")
            backoff = lines.logarithm(fields[-1], "the back-off weight") if len(fields) == order + 2 else 0.0
            model.add(lines, fields[1 : order + 1], log_p, backoff)
        if found < count:
            lines.error(f"there must be {count} {order}-grams, got {found}")
    if line != "\\end\\":
        lines.error(f"it must be \\end\\, got {line!r:.80}")
    lines.drain()
    return len(counts), list(model.words), model.tables()
