"""`Model`: a module that can be compiled, fitted, evaluated and saved.

Read next: `sequential.py`.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from rich.console import Console

from chainrule.core.errors import ArgumentError, GradientError
from chainrule.core.op import Shape
from chainrule.core.recording import current
from chainrule.data.batches import check_whole
from chainrule.nn.module import Module
from chainrule.nn.randomness import seeded
from chainrule.train import weights
from chainrule.train.callbacks import Callback
from chainrule.train.examples import Examples, check_arrays, float_dtype, keeps_integers
from chainrule.train.given import Given, split_given
from chainrule.train.history import History
from chainrule.train.loop import Fit, Plan
from chainrule.train.metrics import find_metrics
from chainrule.train.objective import BATCH, Ending, Objective
from chainrule.train.optimizer import find_optimizer
from chainrule.train.progress import find_progress
from chainrule.train.setup import Setup
from chainrule.train.steps import Steps
from chainrule.train.stream import Stream
from chainrule.train.summary import Summary, summarise
from chainrule.train.totals import Totals

EVALUATION_BATCH = 128
_seeding = threading.local()


class Model(Module):
    """A module that trains: write `call(self, x)` as in any module.

    The initial weights, the order of examples and the masks of dropout are functions of `seed`:
    the same calls give the same bits.
    """

    untracked: ClassVar[tuple[str, ...]] = ("_setup",)
    seed: int = 0
    _setup: Setup

    def __init__(self, seed: int = 0, name: str | None = None):
        super().__init__(name)
        check_whole("seed", seed, 0, 2**64 - 1)
        self.seed = seed

    def __call__(self, x: Any, *, training: bool = False, mask: Any = None) -> Any:
        """`call(x)`; the first builds, from the seed of the outermost model."""
        if getattr(_seeding, "inside", False):
            return super().__call__(x, training=training, mask=mask)
        _seeding.inside = True
        try:
            with seeded(self.seed):
                return super().__call__(x, training=training, mask=mask)
        finally:
            _seeding.inside = False

    def __setattr__(self, name: str, value: Any) -> None:
        if isinstance(getattr(type(self), name, None), property):
            object.__setattr__(self, name, value)
        else:
            super().__setattr__(name, value)

    def compile(self, optimizer: Any, loss: Any, metrics: Sequence[Any] = ()) -> None:
        """Say how to train: an optimiser, a loss and metrics, each by name or as an object.

        A crossentropy given by name reads probabilities when the model ends in sigmoid or
        softmax, and logits otherwise; as `nn.losses.BinaryCrossentropy(from_logits=True)` it reads
        what that says. A loss of your own is a function `(y_true, y_pred)` that gives one number.
        What the optimiser has gathered in earlier fits is forgotten. UnknownNameError or
        ArgumentError for what is none.
        """
        self._setup = Setup(find_optimizer(optimizer), Objective(loss), find_metrics(metrics))

    def fit(
        self,
        x: Any,
        y: Any = None,
        *,
        batch_size: int = 32,
        epochs: int = 1,
        validation_data: Any = None,
        validation_split: float = 0.0,
        callbacks: Sequence[Callback] = (),
        shuffle: bool = True,
        verbose: Any = "auto",
        sample_weight: Any = None,
        class_weight: dict[Any, float] | None = None,
        steps_per_epoch: int | None = None,
    ) -> History:
        """Train on `x` and `y`, `epochs` times over; see `History` for what comes back.

        Data is checked first, and nothing has changed when that raises. Values are cast to the
        model's dtype and not scaled. Without `y`, `x` is an iterable of batches (x, y) or
        (x, y, weights), as `Stream` says. `validation_data` is such a tuple or iterable;
        `validation_split` keeps the last fraction of the examples for it. With weights, of
        examples or classes or both, the loss is the weighted sum by the sum of the weights;
        metrics are not weighted. `verbose`, on stderr: 0 nothing, 1 a bar, 2 a line an epoch.

        Another fit goes on where this one ended: the optimiser's state stays, and so does the
        count of epochs that shuffling depends on, so 2 and 3 epochs are 5. Ctrl-C ends the fit
        after the step that runs, and the history is returned; pressed again, it raises. A step
        whose loss or gradient is not finite is not taken, and ends the fit.
        """
        setup = self._compiled("fit")
        plan = self._plan(batch_size, epochs, shuffle, callbacks, verbose)
        given = Given(x, y, sample_weight, class_weight, steps_per_epoch)
        feed, held_out = split_given(given, validation_data, validation_split)
        steps, examples = self._examples(feed)
        validate = None
        if held_out is not None:
            _, judged = self._examples(held_out)
            size = max(batch_size, EVALUATION_BATCH)
            validate = partial(self._evaluate, steps, judged, size)
        if not steps.params:
            raise ArgumentError(
                f"{self.name} has no parameters to train",
                mend="a layer that has some, Dense(1), and that is not frozen",
            )
        setup.stop_training = False
        return Fit(self, steps, plan, examples, validate, setup.progressed).run()

    def evaluate(
        self,
        x: Any,
        y: Any = None,
        *,
        batch_size: int = EVALUATION_BATCH,
        sample_weight: Any = None,
    ) -> dict[str, float]:
        """The loss and each metric over all examples, by name; `x` and `y` are as in `fit`."""
        self._compiled("evaluate")
        feed, _ = split_given(Given(x, y, sample_weight), None, 0.0)
        steps, examples = self._examples(feed)
        return self._evaluate(steps, examples, batch_size)

    def predict(self, x: Any, *, batch_size: int = EVALUATION_BATCH) -> np.ndarray:
        """The output for each example, as a NumPy array."""
        self._outside("predict")
        x, _ = check_arrays(x)
        steps, ending = self._functions(x.shape[1:])
        examples = Examples(x, None, float_dtype(self), keeps_integers(self))
        found, at = None, 0
        for part, *_ in examples.batches(batch_size):
            y = steps.predict(steps.params, part).numpy()
            if found is None:
                found = np.empty((len(x), *ending.shape), y.dtype)
            found[at : at + len(part)] = y
            at += len(part)
        assert found is not None
        return found

    def summary(self, shape: Sequence[int] | None = None, show: bool = True) -> Summary:
        """A table of the layers for one example of `shape`, by default that of the data last seen.

        It is printed unless `show` is False; its numbers are attributes of what is returned.
        """
        seen = list(self._made().endings)
        if shape is None and not seen:
            told = f"{self.name} has seen no data yet, so its shapes are not known"
            raise ArgumentError(told, mend="model.summary((28, 28, 1)), the shape of one example")
        features = seen[-1] if shape is None else tuple(shape)
        steps, _ = self._functions(features)
        kind = np.dtype("int64") if keeps_integers(self) else float_dtype(self)
        made = summarise(self, features, kind, steps.names)
        if show:
            Console().print(made)
        return made

    def get_weights(self) -> dict[str, np.ndarray]:
        """A copy of each parameter and state under its path, "conv2d/kernel"."""
        return weights.copy_weights(self)

    def set_weights(self, arrays: Mapping[str, Any]) -> None:
        """Put in what `get_weights` gave; all is checked before anything changes."""
        weights.put_weights(self, arrays)

    def save_weights(self, path: str | os.PathLike) -> Path:
        """Write all weights to a safetensors file, in one piece; FileError where that fails."""
        return weights.save_weights(self, path)

    def load_weights(self, path: str | os.PathLike) -> None:
        """Put in what `save_weights` wrote, all or nothing; FileError, ShapeError, DtypeError."""
        weights.load_weights(self, path)

    @property
    def optimizer(self) -> Any:
        """The optimiser that `compile` was given; its learning rate may be set between steps."""
        return self._made().optimizer

    @property
    def optimizer_state(self) -> Any:
        """What the optimiser keeps, a pytree by the parameters' paths; None before a step."""
        return self._made().progressed.state

    @property
    def stop_training(self) -> bool:
        """Set it in a callback to end the fit; `Callback.stop` does so with a reason."""
        return self._made().stop_training

    @stop_training.setter
    def stop_training(self, value: bool) -> None:
        self._made().stop_training = bool(value)

    def _made(self) -> Setup:
        if "_setup" not in vars(self):
            self._setup = Setup()
        return self._setup

    def _outside(self, what: str) -> None:
        if current() is not None:
            raise GradientError(
                f"{what} was called while something records",
                mend="call the model itself inside jit, grad or record",
            )

    def _compiled(self, what: str) -> Setup:
        self._outside(what)
        if self._made().objective is None:
            raise ArgumentError(
                f"{what} needs a loss and an optimizer, and compile was not called",
                mend=f'model.compile("adam", loss="mse") before model.{what}(...)',
            )
        return self._setup

    def _plan(
        self, batch_size: int, epochs: int, shuffle: bool, callbacks: Any, verbose: Any
    ) -> Plan:
        check_whole("batch_size", batch_size, 1)
        check_whole("epochs", epochs, 0)
        callbacks = [callbacks] if isinstance(callbacks, Callback) else list(callbacks or ())
        for each in callbacks:
            if not isinstance(each, Callback):
                raise ArgumentError(
                    f"a callback is an object of a Callback class, got {each!r}",
                    mend="callbacks=[EarlyStopping(patience=3)]",
                )
        return Plan(batch_size, epochs, bool(shuffle), callbacks, find_progress(verbose))

    def _functions(self, shape: Shape) -> tuple[Steps, Ending]:
        """The compiled functions of the model as it is now, and how it ends; builds it first."""
        setup = self._made()
        integers = keeps_integers(self)
        if not self.built:
            self.build_for((BATCH, *shape), "int64" if integers else "float32")
        if setup.steps is None or not setup.steps.fits(self):
            setup.steps, setup.endings = None, {}
        if shape not in setup.endings:
            dtype = np.dtype("int64") if integers else float_dtype(self)
            setup.endings[shape] = Ending(self, shape, dtype)
        ending = setup.endings[shape]
        if setup.steps is None:
            objective = setup.objective
            logits = objective is not None and objective.reads_logits(ending)
            setup.steps = Steps(self, setup.optimizer, objective, setup.metrics, logits)
        return setup.steps, ending

    def _examples(self, feed: Examples | Stream) -> tuple[Steps, Examples | Stream]:
        """The compiled functions, and `feed` with targets that the loss can read."""
        features = feed.x.shape[1:] if isinstance(feed, Examples) else feed.features()
        steps, ending = self._functions(features)
        objective, dtype = self._made().objective, float_dtype(self)
        assert objective is not None

        def convert(x: np.ndarray, y: Any) -> tuple[Any, np.dtype, bool]:
            return objective.targets(y, ending.shape, dtype), dtype, keeps_integers(self)

        if isinstance(feed, Stream):
            feed.convert = convert
            return steps, feed
        return steps, Examples(feed.x, *convert(feed.x, feed.y), feed.weights)

    def _evaluate(
        self,
        steps: Steps,
        examples: Examples | Stream,
        batch_size: int,
        check: Callable[[], None] = lambda: None,
    ) -> dict[str, float]:
        """`check` is called between batches, and may raise to stop."""
        totals = Totals(steps.metrics)
        for batch in examples.batches(batch_size):
            loss, parts = steps.test(steps.params, batch)
            totals.add(loss.item(), batch[3], parts)
            check()
        return totals.means()
