"""Callbacks: what runs between epochs and steps, and may end a fit. Read next: `hooks.py`."""

from __future__ import annotations

import math
from typing import Any, ClassVar

from chainrule.core.errors import ArgumentError, UnknownNameError
from chainrule.train.history import rises


class Callback:
    """Write the methods you need; `fit` calls them. Epochs and batches count from 0.

    `self.model` is the model in training. Its tensors hold the newest weights whenever a method
    runs; what `on_epoch_begin` and `on_epoch_end` assign to them is trained on from there. A
    learning rate set on `self.model.optimizer` holds from the next step. `self.params` has
    "epochs", "steps" (an epoch) and "metrics" (the names in `logs`). `self.gradient_norm` is the
    root of the mean over the epoch's steps of the gradient's squared norm. A method
    `on_train_batch_end` costs a copy of all weights each step, and steps are then taken one by one.

    `kept` names the attributes that a backup keeps, so that the callback too goes on where a
    killed fit was: numbers, strings, arrays, and lists, tuples and dicts of them. Of those that
    are `last`, methods run after those of all others. `self.fit` is the fit that runs. A page on
    writing one: `docs/write-a-callback.md`.
    """

    kept: ClassVar[tuple[str, ...]] = ()
    last: ClassVar[bool] = False
    fit: Any = None
    model: Any = None
    params: dict[str, Any] = {}
    gradient_norm: float = math.nan
    stopping: tuple[str, str] | None = None

    def __init_subclass__(cls) -> None:
        if isinstance(cls.kept, str) or not all(isinstance(each, str) for each in cls.kept):
            raise ArgumentError(
                f"{cls.__name__}.kept must be a tuple of names, got {cls.kept!r}",
                mend='kept = ("wait", "best")',
            )

    def stop(self, reason: str, kind: str = "callback") -> None:
        """End the fit after this method; `reason` is a sentence for `history.reason`.

        `kind` becomes `history.stopped`: "callback", "patience" or "converged".
        """
        if kind not in ("callback", "patience", "converged"):
            raise ArgumentError(
                f"a callback stops a fit as 'callback', 'patience' or 'converged', got {kind!r}"
            )
        self.stopping = (kind, reason)

    @property
    def each_batch(self) -> bool:
        """Whether `on_train_batch_end` is to be called, which costs what the class says."""
        return type(self).on_train_batch_end is not Callback.on_train_batch_end

    def on_train_begin(self, logs: dict[str, float] | None = None) -> None:
        """Before the first epoch."""

    def on_train_end(self, logs: dict[str, float] | None = None) -> None:
        """After the last epoch, however the fit ended but by an error."""

    def on_epoch_begin(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """Before an epoch's first step."""

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """After an epoch and its validation; `logs` holds all its numbers."""

    def on_train_batch_end(self, batch: int, logs: dict[str, float] | None = None) -> None:
        """After a step; `logs` holds the means over the epoch so far."""


def check_monitor(callback: Any, metrics: list[str]) -> None:
    """An error unless what `callback` watches is among the `metrics` of this fit."""
    name = callback.monitor
    if name in metrics:
        return
    if name.startswith("val_") and name.removeprefix("val_") in metrics:
        raise ArgumentError(
            f"{type(callback).__name__} watches {name!r}, and this fit has no validation data",
            mend=f"fit(..., validation_split=0.1), or monitor={name.removeprefix('val_')!r}",
        )
    raise UnknownNameError("quantity to monitor", name, metrics)


class EarlyStopping(Callback):
    """Stop when `monitor` has not improved for `patience` epochs.

    Improving means by more than `min_delta`; `mode` is "min", "max" or "auto" (max for
    accuracies). With `baseline`, only what is better than it resets the wait. Epochs before
    `start_from_epoch` are not looked at. `restore_best_weights` puts the weights of the best
    epoch back when the fit ends, whatever ended it. The rule is that of Keras's callback of
    this name. ArgumentError, before the first step, when nothing is called `monitor`.
    """

    kept = ("wait", "stopped_epoch", "best", "best_epoch", "best_weights")

    def __init__(
        self,
        monitor: str = "val_loss",
        min_delta: float = 0.0,
        patience: int = 0,
        mode: str = "auto",
        baseline: float | None = None,
        restore_best_weights: bool = False,
        start_from_epoch: int = 0,
    ):
        if mode not in ("auto", "min", "max"):
            raise UnknownNameError("mode", mode, ("auto", "min", "max"))
        if patience < 0:
            raise ArgumentError(f"EarlyStopping: patience must be at least 0, got {patience!r}")
        self.monitor = monitor
        self.min_delta = abs(min_delta)
        self.patience = patience
        self.baseline = baseline
        self.restore_best_weights = restore_best_weights
        self.start_from_epoch = start_from_epoch
        self.sign = 1.0 if mode == "max" or (mode == "auto" and rises(monitor)) else -1.0

    def on_train_begin(self, logs: dict[str, float] | None = None) -> None:
        """Forget an earlier fit."""
        check_monitor(self, self.params["metrics"])
        self.wait = 0
        self.stopped_epoch = 0
        self.best = -self.sign * math.inf
        self.best_epoch = 0
        self.best_weights: dict[str, Any] | None = None

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """Look at the epoch's number."""
        if epoch < self.start_from_epoch:
            return
        current = (logs or {})[self.monitor]
        if self.restore_best_weights and self.best_weights is None:
            self._keep(epoch)
        self.wait += 1
        if self._better(current, self.best):
            self.best = current
            self._keep(epoch)
            if self.baseline is None or self._better(current, self.baseline):
                self.wait = 0
            return
        if self.wait >= self.patience and epoch > 0:
            self.stopped_epoch = epoch
            self.stop(self._sentence(), "patience")

    def on_train_end(self, logs: dict[str, float] | None = None) -> None:
        """Put the best weights back where that was asked for."""
        if self.restore_best_weights and self.best_weights is not None:
            self.model.set_weights(self.best_weights)

    def _keep(self, epoch: int) -> None:
        self.best_epoch = epoch
        if self.restore_best_weights:
            self.best_weights = self.model.get_weights()

    def _better(self, value: float, than: float) -> bool:
        return self.sign * (value - than) > self.min_delta

    def _sentence(self) -> str:
        delta = f" by more than {self.min_delta:g}" if self.min_delta else ""
        against = "" if self.baseline is None else f" on the baseline {self.baseline:g}"
        told = f"{self.monitor} has not improved{against}{delta} for {self.wait} epochs"
        if math.isfinite(self.best):
            told += f"; its best was {self.best:.6g} in epoch {self.best_epoch + 1}"
        return told + ("; those weights are restored" if self.restore_best_weights else "")


class Converged(Callback):
    """Stop when training has arrived: by loss, by gradient, or by standing still.

    Any one is enough: `monitor` at most `loss`; the gradient's norm (see `Callback`) at most
    `gradient_norm`; `monitor` moved by at most `tol` in each of `epochs` epochs in a row. At
    least one must be given, or ArgumentError.
    """

    kept = ("still", "before")

    def __init__(
        self,
        loss: float | None = None,
        gradient_norm: float | None = None,
        tol: float | None = None,
        epochs: int = 5,
        monitor: str = "loss",
    ):
        if loss is None and gradient_norm is None and tol is None:
            raise ArgumentError(
                "Converged needs a criterion", mend="Converged(loss=0.01) or Converged(tol=1e-6)"
            )
        if epochs < 1:
            raise ArgumentError(f"Converged: epochs must be at least 1, got {epochs!r}")
        self.loss = loss
        self.norm = gradient_norm
        self.tol = tol
        self.epochs = epochs
        self.monitor = monitor

    def on_train_begin(self, logs: dict[str, float] | None = None) -> None:
        """Forget an earlier fit."""
        check_monitor(self, self.params["metrics"])
        self.still = 0
        self.before: float | None = None

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """Hold the epoch's numbers against each criterion."""
        current = (logs or {})[self.monitor]
        at = f"in epoch {epoch + 1}"
        if self.loss is not None and current <= self.loss:
            self.stop(
                f"{self.monitor} fell to {current:.6g} {at}, at most {self.loss:g}", "converged"
            )
        elif self.norm is not None and self.gradient_norm <= self.norm:
            told = f"the gradient's norm fell to {self.gradient_norm:.6g} {at}"
            self.stop(f"{told}, at most {self.norm:g}", "converged")
        elif self.tol is not None and self.before is not None:
            self.still = self.still + 1 if abs(current - self.before) <= self.tol else 0
            if self.still >= self.epochs:
                told = (
                    f"{self.monitor} moved by at most {self.tol:g} in each of {self.epochs} epochs"
                )
                self.stop(f"{told} up to epoch {epoch + 1}", "converged")
        self.before = current
