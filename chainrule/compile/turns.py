"""Turns: machine code run many times in one native call, over memory that moves along.

Between two turns every table entry moves on: by a fixed step, where a slice of a stacked array is
read or written; to the other of two buffers, where a carry alternates; or not at all. So the
machine code of one turn is the body of any loop over it. Read next: `repeat.py`, `steps.py`.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from chainrule.compile import threads
from chainrule.compile.plan import Buffer, Code

NONE = 2**64 - 1  # in place of a table entry
COUNTERS = 1 << 20  # bytes of counters in one call; each turn has counters of its own


class Turns:
    """The table of a program's first turn, and how each entry moves from turn to turn."""

    def __init__(self, native: Any, length: int, reverse: bool = False):
        self.native, self.length, self.reverse = native, length, reverse
        self.table = native.table.copy()
        self.steps = np.zeros_like(self.table)
        self.flips = np.zeros_like(self.table)
        self.held: dict[int, np.ndarray] = {}  # by slot, what the addresses point into

    def stay(self, buffer: Buffer, array: np.ndarray) -> None:
        """An entry that stands at all of `array`."""
        self.held[buffer.slot] = array
        self.table[buffer.slot] = array.ctypes.data

    def move(self, buffer: Buffer, array: np.ndarray, later: int = 0) -> None:
        """An entry that stands at the slice of the turn, `later` slices on."""
        step = buffer.bytes
        first = later + (self.length - 1 if self.reverse else 0)
        self.held[buffer.slot] = array
        self.table[buffer.slot] = array.ctypes.data + first * step
        self.steps[buffer.slot] = np.int64(-step if self.reverse else step).view(np.uint64)

    def alternate(
        self, buffer: Buffer, new: Buffer, start: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """A carry that is read from one of two buffers and written to the other: both of them.

        After an even number of turns it is the first.
        """
        first = np.array(start, buffer.dtype, order="C")
        second = np.empty_like(first)
        self.held |= {buffer.slot: first, new.slot: second}
        here, there = np.uint64(first.ctypes.data), np.uint64(second.ctypes.data)
        self.table[buffer.slot], self.table[new.slot] = here, there
        self.flips[[buffer.slot, new.slot]] = here ^ there
        return first, second

    def stacked(self, buffer: Buffer) -> np.ndarray:
        """An output that is kept of every turn, one after the other."""
        array = np.empty((self.length, *buffer.shape), buffer.dtype)
        self.move(buffer, array)
        return array

    def run(self, going: Buffer | None = None) -> int:
        """All turns, one after the other; how many were done.

        They end behind a turn that wrote 0 into `going`, and before one whose ids lie outside.
        """
        native = self.native
        segment = native.plan.segments[0]
        with threads.lock:
            pool = threads.pool()
            count = min(segment.threads, native.threads)
            lines = segment.counters * (count + 1) * threads.LINE
            most = self.length if count == 1 else max(1, COUNTERS // lines)
            most = 1 if native.stopwatch else most  # it reads the clock between two calls
            for first in range(0, self.length, most):
                turns = min(most, self.length - first)
                table = self.table + self.steps * np.uint64(first)
                if first % 2:
                    table ^= self.flips
                rows = [table, self.steps, self.flips]
                frame = np.array(
                    [
                        *(native.functions[0], turns, lines, len(table)),
                        *(row.ctypes.data for row in rows),
                        *(going.slot if going else NONE, native.fault.ctypes.data, 0, 0, 0),
                    ],
                    np.uint64,
                )
                size = 0 if count == 1 else lines * turns
                pool.reserve(size)
                # A late thread finds no work, so it reads no array but the one that ends the turns.
                kept = frame, *rows, going and self.held[going.slot], native.fault, native.memory
                pool.run(pool.loop, frame.ctypes.data, count, size, kept)
                if native.stopwatch:
                    native.stopwatch.lap()
                done, ended = frame[9:11].tolist()
                if ended:
                    return first + done
        return self.length


def alone(native: Any) -> bool:
    """Whether a program is one run of machine code, so that it can be a turn."""
    segments = native.plan.segments
    return len(segments) == 1 and isinstance(segments[0], Code)


def as_read(array: np.ndarray, buffer: Buffer) -> np.ndarray:
    """`array` as machine code reads it: in order, of the buffer's dtype."""
    fits = array.flags.c_contiguous and array.dtype == buffer.dtype
    return array if fits else np.ascontiguousarray(array, buffer.dtype)
