"""The loop of `fit`: epochs of steps, what is told in between, and every way it can end.

Steps run on copies of the weights, because a step may take its arguments' memory. The model's
own tensors get the numbers before any callback that could look, and at the end, however it
comes. Read next: `chainrule/train/callbacks.py`.
"""

from __future__ import annotations

import math
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
        self.epochs = 0

    def state_for(self, optimizer: Any, params: dict[str, Tensor]) -> Any:
        """The optimiser's state, a new one where there is none that fits."""
        fresh = optimizer.init(params)
        if self.state is not None and _alike(self.state, fresh):
            return self.state
        return fresh


def _alike(state: Any, fresh: Any) -> bool:
    ours, theirs = flatten(state), flatten(fresh)
    if ours[1] != theirs[1] or not all(map(_is_known, ours[0])):
        return False
    return all(np.shape(a) == np.shape(b) for a, b in zip(ours[0], theirs[0], strict=True))


def _is_known(leaf: Any) -> bool:
    """False for a tensor whose memory went into a step that did not end."""
    return not isinstance(leaf, Tensor) or leaf.known


def step_keys(seed: int, epoch: int, steps: int, start: int = 0) -> np.ndarray:
    """One random key for each step from `start`, a function of (seed, epoch, step) alone."""
    run = fold_in(fold_in(key(seed), "fit"), epoch)
    repeated = Tensor(np.tile(run.numpy(), (steps, 1)))
    return fold_in(repeated, Tensor(np.arange(start, start + steps, dtype=np.uint32))).numpy()


def keys_of(seed: int, epoch: int, steps: int | None) -> Iterator[np.ndarray]:
    """The keys of the steps of an epoch, however many there will be."""
    size = steps or KEYS_AT_ONCE
    for start in count(0, size):
        yield from step_keys(seed, epoch, size, start)


class Fit:
    """One call of `Model.fit`."""

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
        self.state = progressed.state_for(steps.optimizer, steps.named(steps.params))
        self.ahead = False
        names = Totals(steps.metrics).names
        names = names + [f"val_{name}" for name in names] if validate else names
        told = {"epochs": plan.epochs, "steps": self.per_epoch, "metrics": names}
        for callback in plan.callbacks:
            callback.model, callback.params, callback.stopping = model, told, None
        self.watchers = [each for each in plan.callbacks if each.each_batch]

    def run(self) -> History:
        """All epochs, or as many as it comes to."""
        plan, history = self.plan, self.history
        with self.interrupt, plan.show(plan.epochs, self.per_epoch) as self.progress:
            with self._weights_handed_back():
                try:
                    self._epochs()
                except KeyboardInterrupt:
                    if self.interrupt.again:
                        raise
                    self.progress.say(self._interrupted())
            for callback in plan.callbacks:
                callback.on_train_end(self._last())
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
        for callback in self.plan.callbacks:
            callback.on_train_begin({})
        for epoch in range(self.plan.epochs):
            if self._asked_to_stop() or not self._epoch(epoch):
                return
        if not self._asked_to_stop():
            self.history.end("epochs", f"all {self.plan.epochs} epochs were run")

    def _epoch(self, epoch: int) -> bool:
        """One epoch with its validation; False when the fit is over before the epoch is."""
        self.progress.begin(epoch)
        for callback in self.plan.callbacks:
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
        for callback in self.plan.callbacks:
            callback.on_epoch_end(epoch, dict(logs))
        self.interrupt.check()
        return True

    def _train(self, epoch: int) -> dict[str, float] | None:
        """The epoch's steps; None when one was not finite, or a callback would have no more."""
        model, plan, number = self.model, self.plan, self.progressed.epochs
        self.progressed.epochs += 1
        self.params = [Tensor(np.array(tensor.numpy())) for tensor in self.steps.params]
        keys = keys_of(model.seed, number, self.per_epoch)
        totals, squares, i = Totals(self.steps.metrics), 0.0, -1
        for i, (batch, step_key) in enumerate(zip(self._batches(number), keys)):
            loss, square, parts = self._step(batch, step_key)
            if not (math.isfinite(loss) and math.isfinite(square)):
                self._not_finite(f"step {i + 1} of epoch {epoch + 1}", loss, (batch, step_key))
                return None
            self.ahead = True
            self.history.steps += 1
            squares += square
            totals.add(loss, batch[3], parts)
            self.progress.step(i + 1, totals.means)
            if self.watchers and self._told_to_stop(i, totals):
                return None
            self.interrupt.check()
        for callback in plan.callbacks:
            callback.gradient_norm = math.sqrt(squares / (i + 1))
        return totals.means()

    def _batches(self, number: int) -> Iterator[Batch]:
        """The batches of epoch `number`; a thread that reads them ends with the epoch."""
        batches = self.examples.epoch(self.plan, self.model.seed, number)
        try:
            yield from batches
        finally:
            getattr(batches, "close", lambda: None)()

    def _step(self, batch: Batch, step_key: Any) -> tuple[float, float, list]:
        rate = learning_rate(self.steps.optimizer)
        with np.errstate(all="ignore"):  # what is not finite is looked at after the step
            self.params, self.state, loss, square, parts = self.steps.train(
                self.params, self.state, batch, step_key, rate
            )
        self.progressed.state = self.state
        return loss.item(), square.item(), parts

    def _told_to_stop(self, batch: int, totals: Totals) -> bool:
        self._hand_back()
        for callback in self.watchers:
            callback.on_train_batch_end(batch, totals.means())
        return self._asked_to_stop()

    def _hand_back(self) -> None:
        """Put the newest weights into the model; a step torn apart has none to give."""
        if not self.ahead or not all(param.known for param in self.params):
            return
        for tensor, param in zip(self.steps.params, self.params, strict=True):
            tensor.assign(np.array(param.numpy()))
        self.ahead = False

    def _asked_to_stop(self) -> bool:
        for callback in self.plan.callbacks:
            if callback.stopping is not None:
                self.history.end(*callback.stopping)
                return True
        if self.model.stop_training:
            self.history.end("callback", "a callback set model.stop_training")
        return self.model.stop_training

    def _not_finite(self, step: str, loss: float, batch: tuple) -> None:
        names = self.steps.find_nonfinite(self.params, *batch)
        what = "a finite loss" if math.isfinite(loss) else f"a loss of {loss}"
        if names:
            what += f" and gradients that are not finite ({', '.join(names)})"
        elif math.isfinite(loss):
            what += " and gradients whose squares add up to more than their dtype holds"
        kept = "the weights are those of the step before"
        rows = zip(self.steps.names, self.params, strict=True)
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
        if self.ahead and not all(param.known for param in self.params):
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
