"""Callbacks that write files: the weights, and the numbers of each epoch.

Read next: `rate_callbacks.py`.
"""

from __future__ import annotations

import csv
import math
import os
from pathlib import Path
from typing import Any

from chainrule.core.errors import ArgumentError, FileError, UnknownNameError
from chainrule.data.batches import check_whole
from chainrule.train.callbacks import Callback, check_monitor
from chainrule.train.history import rises


class ModelCheckpoint(Callback):
    """Save the weights after each epoch, or whenever they are the best so far.

    `filepath` may name numbers in braces, "run-{epoch:02d}-{val_loss:.3f}.safetensors"; epochs
    count from 1 there. With `save_best_only` the file is written when `monitor` is better than
    ever before in this fit, and than `initial_value_threshold` where that is given; `mode` is
    "min", "max" or "auto" (max for accuracies and scores). `save_freq` is "epoch" or a number of
    steps after which it is saved as well. Each file is written in one piece. ArgumentError for a
    name in braces that the fit does not measure.
    """

    kept = ("steps", "epoch", "best", "saved")

    def __init__(
        self,
        filepath: str | os.PathLike,
        monitor: str = "val_loss",
        save_best_only: bool = False,
        mode: str = "auto",
        save_freq: str | int = "epoch",
        initial_value_threshold: float | None = None,
    ):
        if mode not in ("auto", "min", "max"):
            raise UnknownNameError("mode", mode, ("auto", "min", "max"))
        if save_freq != "epoch":
            check_whole("save_freq", save_freq, 1)
        if save_best_only and save_freq != "epoch":
            raise ArgumentError(
                "ModelCheckpoint: save_best_only needs the numbers of whole epochs",
                mend='save_freq="epoch"',
            )
        self.filepath = os.fspath(filepath)
        self.monitor = monitor
        self.best_only = save_best_only
        self.every = save_freq
        self.threshold = initial_value_threshold
        self.sign = 1.0 if mode == "max" or (mode == "auto" and rises(monitor)) else -1.0
        self.saved: Path | None = None

    @property
    def each_batch(self) -> bool:
        """Whether it must look after each step."""
        return self.every != "epoch"

    def on_train_begin(self, logs: dict[str, float] | None = None) -> None:
        """Forget an earlier fit."""
        if self.best_only:
            check_monitor(self, self.params["metrics"])
        self.steps = self.epoch = 0
        self.best = -self.sign * math.inf if self.threshold is None else self.threshold

    def on_epoch_begin(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """Which epoch it is."""
        self.epoch = epoch

    def on_train_batch_end(self, batch: int, logs: dict[str, float] | None = None) -> None:
        """Save when the steps are full."""
        self.steps += 1
        if self.each_batch and self.steps % int(self.every) == 0:
            self._save(self.epoch, {**(logs or {}), "batch": batch + 1})

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """Save when it is due."""
        numbers = dict(logs or {})
        if self.each_batch:
            return
        if self.best_only:
            if not self.sign * (numbers[self.monitor] - self.best) > 0:
                return
            self.best = numbers[self.monitor]
        self._save(epoch, numbers)

    def _save(self, epoch: int, numbers: dict[str, Any]) -> None:
        try:
            path = self.filepath.format(epoch=epoch + 1, **numbers)
        except KeyError as error:
            raise ArgumentError(
                f"ModelCheckpoint: {self.filepath!r} names {error}, which is not measured",
                mend="one of epoch, " + ", ".join(numbers),
            ) from None
        self.saved = self.model.save_weights(path)


class CSVLogger(Callback):
    """A line for each epoch in a CSV file: the epoch, counted from 0, and all its numbers.

    A new fit writes the file anew; with `append` it goes on below, and has no second heading. A
    fit that goes on from a backup goes on in its file, behind the last line that the backup knows
    of. FileError where it cannot be written.
    """

    kept = ("size",)

    def __init__(
        self, filename: str | os.PathLike, separator: str = ",", append: bool = False
    ) -> None:
        self.filename = Path(filename)
        self.separator = separator
        self.append = append

    def on_train_begin(self, logs: dict[str, float] | None = None) -> None:
        """See that the file can be written; what it holds stays until there is a line."""
        size = self._write(None, [])
        self.size = size if self.append else 0

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """The epoch's line; it is in the file at once."""
        numbers, names = logs or {}, self.params["metrics"]
        row = [epoch, *[repr(float(numbers[name])) for name in names]]
        self.size = self._write(self.size, [["epoch", *names], row])

    def _write(self, size: int | None, rows: list[list[Any]]) -> int:
        """`rows` behind the first `size` bytes, the heading only where there are none; the size."""
        try:
            with open(self.filename, "a", newline="", encoding="utf-8") as file:
                there = os.fstat(file.fileno()).st_size
                size = there if size is None else min(size, there)
                file.truncate(size)
                writer = csv.writer(file, delimiter=self.separator, lineterminator="\n")
                writer.writerows(rows[1:] if size else rows)
            return self.filename.stat().st_size
        except OSError as error:
            raise FileError(
                f"CSVLogger cannot write {self.filename}: {error}",
                mend="a folder that exists and may be written to",
            ) from None
