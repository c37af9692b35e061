"""The loop of `fit`: epochs of steps, what is told in between, and every way it can end.

Steps run on copies of the weights, because a step may take its arguments' memory. The model's
own tensors get the numbers before any callback that could look, and at the end, however it
comes. Read next: `chainrule/train/callbacks.py`.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import count
from typing import Any, NamedTuple

import numpy as np

from chainrule.core.errors import ArgumentError
from chainrule.core.tensor import Tensor
from chainrule.core.tree import flatten
from chainrule.ops.random import fold_in, key
from chainrule.train.callbacks import Callback
from chainrule.train.examples import Batch, Examples
from chainrule.train.history import History
from chainrule.train.interrupt import Interrupt
from chainrule.train.progress import Silent
from chainrule.train.rows import RowExact
from chainrule.train.steps import Steps
from chainrule.train.stream import Stream
from chainrule.train.totals import Totals

KEYS_AT_ONCE = 256


class Plan(NamedTuple):
    """What `fit` was asked for."""

    batch_size: int
    epochs: int
    shuffle: bool
    callbacks: Sequence[Callback]
    show: type[Silent]


class Progressed:
    """What outlives a fit, so that the next one goes on from there: see `Model.fit`."""

    def __init__(self) -> None:
        self.state: Any = None
        self.rows: RowExact | None = None  # what made the state, if it holds tables
        self.epochs = 0

    def opened(self) -> Any:
        """The optimiser's state, dense and up to date; None before a step."""
        return self.state if self.rows is None else self.rows.opened(self.state)

    def state_for(self, optimizer: Any, params: dict[str, Tensor]) -> Any:
        """The optimiser's state, a new one where there is none that fits."""
        rows = optimizer if isinstance(optimizer, RowExact) else None
        fresh = (rows.inner if rows else optimizer).init(params)
        known = self.state is not None and all(map(_is_known, flatten(self.state)[0]))
        state = self.opened() if known else None
        kept = state is not None and _alike(state, fresh)
        if kept and (rows and rows.tables) == (self.rows and self.rows.tables):
            return self.state
        state = state if kept else fresh
        return rows.closed(params, state) if rows else state

    def keep(self, state: Any, optimizer: Any) -> None:
        """Go on from `state` of `optimizer`."""
        self.state = state
        self.rows = optimizer if isinstance(optimizer, RowExact) else None


def _alike(state: Any, fresh: Any) -> bool:
    ours, theirs = flatten(state), flatten(fresh)
    return ours[1] == theirs[1] and all(
        np.shape(a) == np.shape(b) for a, b in zip(ours[0], theirs[0], strict=True)
    )


def _is_known(leaf: Any) -> bool:
    """False for a tensor whose memory went into a step that did not end."""
    return not isinstance(leaf, Tensor) or leaf.known


def step_keys(seed: int, epoch: int, steps: int, start: int = 0) -> np.ndarray:
    """One random key for each step from `start`, a function of (seed, epoch, step) alone."""
    run = fold_in(fold_in(key(seed), "fit"), epoch)
    repeated = Tensor(np.tile(run.numpy(), (steps, 1)))
    return fold_in(repeated, Tensor(np.arange(start, start + steps, dtype=np.uint32))).numpy()


def keys_of(seed: int, epoch: int, steps: int | None, start: int = 0) -> Iterator[np.ndarray]:
    """The keys of the steps of an epoch from `start` on, however many there will be."""
    size = steps or KEYS_AT_ONCE
    for at in count(start, size):
        yield from step_keys(seed, epoch, size, at)


class Fit:
    """One call of `Model.fit`: `done` steps of epoch `epoch` are over, and `totals` has them.

    `first` is how many epochs the model was trained before. `backup.py` reads these and sets them.
    """

    def __init__(
        self,
        model: Any,
        steps: Steps,
        plan: Plan,
        examples: Examples | Stream,
        validate: Callable[[Callable[[], None]], dict[str, float]] | None,
        progressed: Progressed,
    ):
        self.model = model
        self.steps = steps
        self.plan = plan
        self.examples = examples
        self.validate = validate
        self.progressed = progressed
        self.history = History()
        self.interrupt = Interrupt()
        self.per_epoch = examples.steps(plan)
        self.params: list[Tensor] = []
        self.handed: list[np.ndarray] = []  # the arrays that the model was last given
        looks = any(each.each_batch for each in plan.callbacks)
        steps.choose_rows(plan.batch_size, 1 if looks else self.per_epoch)
        self.state = progressed.state_for(steps.optimizer, steps.named(steps.params))
        self.ahead = False
        self.first = progressed.epochs
        self.epoch = self.done = 0
        self.totals, self.squares = Totals(steps.metrics), 0.0
        names = Totals(steps.metrics).names
        names = names + [f"val_{name}" for name in names] if validate else names
        told = {"epochs": plan.epochs, "steps": self.per_epoch, "metrics": names}
        self.callbacks = sorted(plan.callbacks, key=lambda each: each.last)
        for callback in self.callbacks:
            callback.model, callback.params, callback.stopping = model, told, None
            callback.fit = self
        self.watchers = [each for each in self.callbacks if each.each_batch]

    def run(self) -> History:
        """All epochs, or as many as it comes to."""
        plan, history = self.plan, self.history
        with self.interrupt, plan.show(plan.epochs, self.per_epoch) as self.progress:
            try:
                with self._weights_handed_back():
                    try:
                        self._epochs()
                    except KeyboardInterrupt:
                        if self.interrupt.again:
                            raise
                        self.progress.say(self._interrupted())
                for callback in self.callbacks:
                    callback.on_train_end(self._last())
            finally:
                for callback in self.callbacks:
                    callback.fit = None  # it holds a copy of the weights
        return history

    @contextmanager
    def _weights_handed_back(self) -> Iterator[None]:
        try:
            yield
        finally:
            self._hand_back()
            if isinstance(self.examples, Stream):
                self.examples.close()

    def _epochs(self) -> None:
        for callback in self.callbacks:
            callback.on_train_begin({})
        while self.epoch < self.plan.epochs:
            if self._asked_to_stop() or not self._epoch(self.epoch):
                return
        if not self._asked_to_stop():
            self.history.end("epochs", f"all {self.plan.epochs} epochs were run")

    def _epoch(self, epoch: int) -> bool:
        """One epoch with its validation; False when the fit is over before the epoch is."""
        self.progress.begin(epoch)
        if not self.done:  # else it began before the backup that this fit goes on from
            for callback in self.callbacks:
                callback.on_epoch_begin(epoch, {})
        logs = None if self._asked_to_stop() else self._train(epoch)
        if logs is None:
            return False
        self._hand_back()
        if self.validate is not None:
            found = self.validate(self.interrupt.check)
            logs |= {f"val_{name}": value for name, value in found.items()}
        self.history.add(epoch, logs)
        self.progress.end(epoch, logs)
        self.epoch, self.done = epoch + 1, 0
        self.totals, self.squares = Totals(self.steps.metrics), 0.0
        for callback in self.callbacks:
            callback.on_epoch_end(epoch, dict(logs))
        self.interrupt.check()
        return True

    def _train(self, epoch: int) -> dict[str, float] | None:
        """The epoch's steps; None when one was not finite, or a callback would have no more."""
        number = self.first + epoch
        self.progressed.epochs = number + 1
        self.params = [Tensor(np.array(tensor.numpy())) for tensor in self.steps.params]
        arrays = [tensor.numpy().base for tensor in self.steps.params]
        same = bool(self.handed) and all(map(operator.is_, arrays, self.handed))
        if self.steps.by_rows and not same:
            params = self.steps.named(self.params)
            self.state = self.steps.optimizer.adopted(params, self.state)
        keys = keys_of(self.model.seed, number, self.per_epoch, self.done)
        for batch, step_key in zip(self._batches(number), keys):
            loss, square, parts = self._step(batch, step_key)
            if not (math.isfinite(loss) and math.isfinite(square)):
                step = f"step {self.done + 1} of epoch {epoch + 1}"
                self._not_finite(step, loss, (batch, step_key))
                return None
            self.ahead = True
            self.history.steps += 1
            self.done += 1
            self.squares += square
            self.totals.add(loss, batch[3], parts)
            self.progress.step(self.done, self.totals.means)
            if self.watchers and self._told_to_stop():
                return None
            self.interrupt.check()
        for callback in self.callbacks:
            callback.gradient_norm = math.sqrt(self.squares / self.done)
        return self.totals.means()

    def _batches(self, number: int) -> Iterator[Batch]:
        """The batches of epoch `number`; a thread that reads them ends with the epoch."""
        batches = self.examples.epoch(self.plan, self.model.seed, number, self.done)
        try:
            yield from batches
        finally:
            getattr(batches, "close", lambda: None)()

    def _step(self, batch: Batch, step_key: Any) -> tuple[float, float, list]:
        rate = learning_rate(self.steps.optimizer)
        if self.steps.by_rows:
            self.state = self.steps.optimizer.grown(self.state)
        with np.errstate(all="ignore"):  # what is not finite is looked at after the step
            self.params, self.state, loss, square, parts = self.steps.train(
                self.params, self.state, batch, step_key, rate
            )
        self.progressed.keep(self.state, self.steps.optimizer)
        return loss.item(), square.item(), parts

    def _told_to_stop(self) -> bool:
        self._hand_back()
        for callback in self.watchers:
            callback.on_train_batch_end(self.done - 1, self.totals.means())
        return self._asked_to_stop()

    def _hand_back(self) -> None:
        """Put the newest weights into the model; a step torn apart has none to give."""
        if not self.ahead or not self._whole():
            return
        params = self.steps.current(self.params, self.state)
        self.handed = [np.array(param.numpy()) for param in params]
        for tensor, array in zip(self.steps.params, self.handed, strict=True):
            tensor.assign(array)
        self.ahead = False

    def _whole(self) -> bool:
        """False after a step that was torn apart: the memory of its arguments is gone."""
        leaves = flatten((self.params, self.state if self.steps.by_rows else None))[0]
        return all(map(_is_known, leaves))

    def _asked_to_stop(self) -> bool:
        for callback in self.callbacks:
            if callback.stopping is not None:
                self.history.end(*callback.stopping)
                return True
        if self.model.stop_training:
            self.history.end("callback", "a callback set model.stop_training")
        return self.model.stop_training

    def _not_finite(self, step: str, loss: float, batch: tuple) -> None:
        params = self.steps.current(self.params, self.state)
        names = self.steps.find_nonfinite(params, *batch)
        what = "a finite loss" if math.isfinite(loss) else f"a loss of {loss}"
        if names:
            what += f" and gradients that are not finite ({', '.join(names)})"
        elif math.isfinite(loss):
            what += " and gradients whose squares add up to more than their dtype holds"
        kept = "the weights are those of the step before"
        rows = zip(self.steps.names, params, strict=True)
        broken = [name for name, param in rows if not np.isfinite(param.numpy()).all()]
        if broken:
            self.ahead = False
            kept = (
                f"since the step before had made {', '.join(broken)} not finite, the weights are "
                "those from before this epoch"
            )
        self.history.end("non-finite", f"{step} had {what}; it was not taken, and {kept}")
        self.progress.say(f"stopped: {self.history.reason}")

    def _interrupted(self) -> str:
        steps = self.history.steps
        kept = "the weights are those of the last step"
        if self.ahead and not self._whole():
            kept = "the weights are those that the model was last given, since a step was torn"
        self.history.end("interrupted", f"interrupted by Ctrl-C after {steps} steps; {kept}")
        return self.history.reason

    def _last(self) -> dict[str, float]:
        return {name: values[-1] for name, values in self.history.history.items()}


def learning_rate(optimizer: Any) -> float | None:
    """The optimiser's learning rate as it is now, None for a schedule.

    ArgumentError when it is not a finite number.
    """
    rate = getattr(optimizer, "learning_rate", None)
    if rate is None or callable(rate):  # a schedule is computed inside the step
        return None
    number = isinstance(rate, int | float | np.number)
    if not number or not math.isfinite(rate):
        raise ArgumentError(f"the learning rate must be a finite number, got {rate!r}")
    return float(rate)
