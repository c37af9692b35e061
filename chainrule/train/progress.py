"""What a fit shows while it runs, on stderr: a bar on a terminal, else a line for each epoch.

Read next: `weights.py`.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import Any

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress as RichBar,
    TextColumn,
    TimeRemainingColumn,
)

from chainrule.core.errors import ArgumentError

REDRAW = 0.1  # seconds between updates of the bar; a small net's step takes less than a thousandth


class Silent:
    """Shows nothing; what a fit tells any other progress."""

    def __init__(self, epochs: int, steps: int | None):
        self.epochs = epochs
        self.steps = steps

    def __enter__(self) -> Silent:
        return self

    def __exit__(self, *exc: Any) -> None:
        """The fit is over, well or not."""

    def begin(self, epoch: int) -> None:
        """An epoch starts."""

    def step(self, done: int, means: Callable[[], dict[str, float]]) -> None:
        """`done` steps of the epoch are over; `means()` gives the numbers so far."""

    def end(self, epoch: int, logs: dict[str, float]) -> None:
        """An epoch and its validation are over."""

    def say(self, sentence: str) -> None:
        """Something the user must know, whatever is shown otherwise."""
        print(sentence, file=sys.stderr, flush=True)


class Lines(Silent):
    """One line for each epoch."""

    def begin(self, epoch: int) -> None:
        """The clock starts."""
        self.began = time.perf_counter()

    def end(self, epoch: int, logs: dict[str, float]) -> None:
        """The epoch's line."""
        self.say(self.line(epoch, logs))

    def line(self, epoch: int, logs: dict[str, float]) -> str:
        """Which epoch, its numbers and its time."""
        seconds = time.perf_counter() - self.began
        took = f"{seconds:.1f} s" if seconds >= 1 else f"{seconds * 1000:.0f} ms"
        return f"epoch {epoch + 1}/{self.epochs}  {numbers(logs)}  {took}"


class Bar(Lines):
    """A moving bar for the epoch that runs; finished epochs stand above it as lines."""

    def __enter__(self) -> Bar:
        self.bar = RichBar(
            TextColumn("epoch {task.fields[epoch]}"),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TextColumn("{task.fields[numbers]}"),
            TimeRemainingColumn(compact=True),
            console=Console(stderr=True),
            transient=True,
        )
        self.task = self.bar.add_task("fit", total=self.steps, epoch="", numbers="")
        self.drawn = 0.0
        self.bar.start()
        return self

    def __exit__(self, *exc: Any) -> None:
        self.bar.stop()

    def begin(self, epoch: int) -> None:
        """The bar goes back to its start."""
        super().begin(epoch)
        told = f"{epoch + 1}/{self.epochs}"
        self.bar.reset(self.task, total=self.steps, epoch=told, numbers="")

    def step(self, done: int, means: Callable[[], dict[str, float]]) -> None:
        """The bar moves on, a few times a second."""
        now = time.perf_counter()
        if now - self.drawn >= REDRAW or done == self.steps:
            self.drawn = now
            self.bar.update(self.task, completed=done, numbers=numbers(means()))

    def say(self, sentence: str) -> None:
        """A line above the bar."""
        self.bar.console.print(sentence, markup=False, highlight=False, soft_wrap=True)


KINDS: dict[Any, type[Silent]] = {0: Silent, 1: Bar, 2: Lines}


def find_progress(verbose: Any) -> type[Silent]:
    """What `verbose` asks for: 0 nothing, 1 a bar, 2 lines, "auto" a bar on a terminal."""
    if verbose == "auto":
        return Bar if sys.stderr.isatty() else Lines
    if isinstance(verbose, int) and verbose in KINDS:
        return KINDS[verbose]
    raise ArgumentError(f"verbose must be 0, 1, 2 or 'auto', got {verbose!r}")


def numbers(logs: dict[str, float]) -> str:
    """'loss 0.1234  accuracy 0.95' of the names and their numbers."""
    return "  ".join(f"{name} {value:.4g}" for name, value in logs.items())
