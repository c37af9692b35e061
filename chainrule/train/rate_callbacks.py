"""Callbacks that set the learning rate between epochs. Read next: `hooks.py`."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable

from chainrule.core.errors import ArgumentError, UnknownNameError
from chainrule.train.callbacks import Callback, check_monitor
from chainrule.train.history import rises


def rate_of(callback: Callback) -> float:
    """The learning rate as it is; ArgumentError when a schedule sets it."""
    rate = callback.model.optimizer.learning_rate
    if callable(rate):
        raise ArgumentError(
            f"{type(callback).__name__} sets the learning rate, and a schedule does so already",
            mend="a number as the optimiser's learning_rate, or the schedule without the callback",
        )
    return rate


class LearningRateScheduler(Callback):
    """Before each epoch the rate becomes `schedule(epoch)`, or `schedule(epoch, rate)`.

    Epochs count from 0. A schedule by steps is the optimiser's own `learning_rate` instead.
    """

    def __init__(self, schedule: Callable[..., float]):
        if not callable(schedule):
            raise ArgumentError(f"LearningRateScheduler needs a function, got {schedule!r}")
        self.schedule = schedule
        needed = inspect.signature(schedule).parameters.values()
        self.takes_rate = sum(each.default is each.empty for each in needed) > 1

    def on_epoch_begin(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """Set the rate of this epoch."""
        rate = rate_of(self)
        found = self.schedule(epoch, rate) if self.takes_rate else self.schedule(epoch)
        try:
            fits = 0 <= float(found) < math.inf
        except (TypeError, ValueError):
            fits = False
        if not fits:
            raise ArgumentError(
                f"LearningRateScheduler: epoch {epoch} needs a rate of at least 0, "
                f"got {found!r} from the schedule",
                mend="return the rate",
            )
        self.model.optimizer.learning_rate = float(found)


class ReduceLROnPlateau(Callback):
    """Multiply the rate by `factor` when `monitor` has not improved for `patience` epochs.

    Improving means by more than `min_delta`; `mode` is "min", "max" or "auto". After a cut
    nothing is counted for `cooldown` epochs; the rate does not fall below `min_lr`. The rule is
    that of Keras's callback of this name. `cuts` lists (epoch, new rate), epochs from 0.
    """

    kept = ("best", "wait", "resting", "cuts")

    def __init__(
        self,
        monitor: str = "val_loss",
        factor: float = 0.1,
        patience: int = 10,
        mode: str = "auto",
        min_delta: float = 1e-4,
        cooldown: int = 0,
        min_lr: float = 0.0,
    ):
        if mode not in ("auto", "min", "max"):
            raise UnknownNameError("mode", mode, ("auto", "min", "max"))
        if not 0 < factor < 1:
            raise ArgumentError(
                f"ReduceLROnPlateau: factor must lie between 0 and 1, got {factor!r}"
            )
        self.monitor = monitor
        self.factor = factor
        self.patience = patience
        self.min_delta = abs(min_delta)
        self.cooldown = cooldown
        self.min_lr = min_lr
        self.sign = 1.0 if mode == "max" or (mode == "auto" and rises(monitor)) else -1.0

    def on_train_begin(self, logs: dict[str, float] | None = None) -> None:
        """Forget an earlier fit."""
        check_monitor(self, self.params["metrics"])
        self.best = -self.sign * math.inf
        self.wait = self.resting = 0
        self.cuts: list[tuple[int, float]] = []

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """Look at the epoch's number."""
        current = (logs or {})[self.monitor]
        if self.resting:
            self.resting -= 1
            self.wait = 0
        if self.sign * (current - self.best) > self.min_delta:
            self.best, self.wait = current, 0
        elif not self.resting:
            self.wait += 1
            if self.wait >= self.patience:
                self._cut(epoch)

    def _cut(self, epoch: int) -> None:
        rate = rate_of(self)
        if rate > self.min_lr:
            rate = max(rate * self.factor, self.min_lr)
            self.model.optimizer.learning_rate = rate
            self.cuts.append((epoch, rate))
            self.resting, self.wait = self.cooldown, 0
