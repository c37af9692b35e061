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
from typing import Any, NamedTuple

import numpy as np

from chainrule.core.errors import ArgumentError
from chainrule.core.tensor import Tensor
from chainrule.core.tree import flatten, tree_map
from chainrule.train.callbacks import Callback
from chainrule.train.examples import Batch, Examples
from chainrule.train.history import History
from chainrule.train.interrupt import Interrupt
from chainrule.train.progress import Silent
from chainrule.train.replay import UNSEEN, some, step_again
from chainrule.train.rows import RowExact
from chainrule.train.steps import Steps
from chainrule.train.stream import Stream
from chainrule.train.strides import MOST, Pace, Stride, strides
from chainrule.train.totals import Totals, running


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
        self.pace = Pace(1 if self.watchers else MOST)
        self.capacity = 0  # of a program for all batches, where the last has fewer examples
        if isinstance(examples, Examples) and len(examples) % plan.batch_size:
            self.capacity = plan.batch_size if len(examples) > plan.batch_size else 0

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
        for stride in strides(self, number):
            self._count(stride, stride.finite)
            if stride.finite < len(stride):
                step = f"step {self.done + 1} of epoch {epoch + 1}"
                loss, batch = stride.losses[-1].item(), stride.batch(len(stride) - 1)
                self._not_finite(step, loss, (batch, stride.keys[-1]))
                return None
            if stride.error is not None:
                raise stride.error
            if self.watchers and self._told_to_stop():
                return None
            self.interrupt.check()
        for callback in self.callbacks:
            callback.gradient_norm = math.sqrt(self.squares / self.done)
        return self.totals.means()

    def _count(self, stride: Stride, steps: int) -> None:
        """The first `steps` of a stride were taken."""
        if not steps:
            return
        self.ahead = True
        self.history.steps += steps
        self.done += steps
        self.squares = running(self.squares, stride.squares[:steps])
        parts = [[part[:steps] for part in parts] for parts in stride.parts]
        self.totals.extend(stride.losses[:steps], stride.weights[:steps], parts)
        self.progress.step(self.done, self.totals.means)

    def take_gathered(self, ids: np.ndarray, keys: np.ndarray) -> Stride:
        """The steps on the examples in the rows of `ids`, in one call."""
        rate, examples = learning_rate(self.steps.optimizer), self.examples
        assert isinstance(examples, Examples)
        if self.steps.by_rows:
            self.state = self.steps.optimizer.grown(self.state, len(ids))
        with np.errstate(all="ignore"):  # what is not finite is looked at after the step
            taken = self.steps.turns(
                self.params, self.state, examples.tables, ids, keys, rate, capacity=self.capacity
            )
        self.params, self.state = taken.carry
        self.progressed.keep(self.state, self.steps.optimizer)
        losses, squares, parts = taken.rest
        weights = examples.totals(ids[: taken.done])

        def batch(i: int) -> Batch:
            return examples.batch(ids[i])

        return Stride(losses, squares, weights, parts, keys, batch, taken.error)

    def take_batch(self, batch: Batch, step_key: np.ndarray) -> Stride:
        """The step on a batch that was read."""
        rate = learning_rate(self.steps.optimizer)
        if self.steps.by_rows:
            self.state = self.steps.optimizer.grown(self.state)
        with np.errstate(all="ignore"):  # what is not finite is looked at after the step
            self.params, self.state, *rest = self.steps.train(
                self.params, self.state, batch, step_key, rate
            )
        self.progressed.keep(self.state, self.steps.optimizer)
        loss, square, parts = tree_map(lambda each: np.asarray(each)[None], rest)
        return Stride(loss, square, np.array([batch[3]]), parts, step_key[None], lambda i: batch)

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
        found, names = step_again(self, params, *batch)
        what = "a finite loss" if math.isfinite(loss) else f"a loss of {loss}"
        if names:
            what += f" and gradients that are not finite ({some(names)})"
        elif math.isfinite(loss):
            what += " and gradients whose squares add up to more than their dtype holds"
        kept = "the weights are those of the step before"
        rows = zip(self.steps.names, params, strict=True)
        broken = [name for name, param in rows if not np.isfinite(param.numpy()).all()]
        if broken and not self.history.steps:
            kept = f"{some(broken)} was not finite before it"
        elif broken:
            self.ahead = False
            kept = (
                f"since the step before had made {some(broken)} not finite, the weights are "
                "those from before this epoch"
            )
        reason = f"{step} had {what}; it was not taken, and {kept}"
        first, *rest = str(found).split("\n") if found else [UNSEEN]
        self.history.finding = found
        self.history.end("non-finite", f"{reason}; {first}")
        self.progress.say("\n".join([f"stopped: {reason};", first, *rest]))

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
