"""The stopwatch of `CHAINRULE_SHOW=time`: how long each kernel of a program takes.

The first thread reads the cycle counter before and after each kernel; the time between kernels
is waiting for the other threads. Read next: `program.py`.
"""

from __future__ import annotations

import sys
import time

import numpy as np

MOST = 4096  # kernels of one program
LAPS = 20  # runs after which the medians are printed


class Stopwatch:
    """The readings of one program's kernels, over its first runs."""

    def __init__(self) -> None:
        self.clock = np.zeros(2 * MOST, np.uint64)
        self.titles: list[str] = []
        self.laps: list[np.ndarray] = []
        self.started = (0.0, 0)

    def stamps(self, title: str) -> tuple[int, int]:
        """Where the next kernel's two readings go: two addresses."""
        at = self.clock.ctypes.data + 16 * len(self.titles)
        self.titles.append(title)
        assert len(self.titles) <= MOST
        return at, at + 8

    def lap(self) -> None:
        """A run ended; after enough of them, print each kernel's median on standard error."""
        readings = self.clock[: 2 * len(self.titles)].astype(np.int64)
        if not self.laps:
            self.started = (time.perf_counter(), int(readings[-1]) if len(readings) else 0)
        self.laps.append(readings)
        if len(self.laps) == LAPS and len(readings):
            print(self.report(), file=sys.stderr)

    def report(self) -> str:
        """One line for each kernel: its own time, and how long it waited, in microseconds."""
        seconds = time.perf_counter() - self.started[0]
        cycles = int(self.laps[-1][-1]) - self.started[1]
        unit = seconds * 1e6 / cycles
        found = np.stack(self.laps[1:])
        own = np.median(found[:, 1::2] - found[:, ::2], axis=0) * unit
        waits = np.median(found[:, 2::2] - found[:, 1:-1:2], axis=0) * unit
        rows = [
            f"{mine:9.1f} {wait:9.1f}  {title}"
            for mine, wait, title in zip(own, [0.0, *waits], self.titles, strict=True)
        ]
        total = (
            f"{own.sum():9.1f} {waits.sum():9.1f}  all, in a run of {self.wall(found, unit):.1f}"
        )
        return "\n".join(["# time: own us, waiting us, kernel", *rows, total])

    def wall(self, found: np.ndarray, unit: float) -> float:
        """From the first kernel to the last, in microseconds."""
        return float(np.median(found[:, -1] - found[:, 0]) * unit)
