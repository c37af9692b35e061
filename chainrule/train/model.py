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
from chainrule.core.recording import current
from chainrule.data.batches import check_whole
from chainrule.nn.module import Module
from chainrule.nn.randomness import seeded
from chainrule.train import weights
from chainrule.train.arrays import Features
from chainrule.train.callbacks import Callback
from chainrule.train.ending import BATCH, Ending, is_stateful, stateful_layers
from chainrule.train.examples import Examples, float_dtype
from chainrule.train.given import Given, converted, features_of, inputs_of, split_given
from chainrule.train.heads import Asked, Heads
from chainrule.train.history import History
from chainrule.train.loop import Fit, Plan
from chainrule.train.optimizer import find_optimizer
from chainrule.train.progress import find_progress
from chainrule.train.setup import Setup
from chainrule.train.steps import Steps
from chainrule.train.stream import Stream
from chainrule.train.summary import Summary, summarise
from chainrule.train.totals import Predictions, Totals

EVALUATION_BATCH = 128
_seeding = threading.local()


class Model(Module):
    """A module that trains: write `call(self, x)` as in any module.

    The initial weights, the order of examples and the masks of dropout are functions of `seed`:
    the same calls give the same bits.

    `call` takes one array, or a dict or tuple of arrays as `fit` was given it, and gives a tensor,
    or a dict or tuple of them, each with a loss and a target of its own:

    >>> from chainrule import nn
    >>> class Pair(Model):
    ...     def __init__(self):
    ...         super().__init__(seed=1)
    ...         self.joined, self.score, self.label = nn.Concatenate(), nn.Dense(1), nn.Dense(3)
    ...     def call(self, x):
    ...         h = self.joined((x["size"], x["age"]))
    ...         return {"score": self.score(h), "label": self.label(h)}
    >>> x = {"size": np.ones((8, 2)), "age": np.zeros((8, 1))}
    >>> y = {"score": np.ones(8), "label": np.arange(8) % 3}
    >>> pair = Pair()
    >>> loss = {"score": "mse", "label": "sparse_categorical_crossentropy"}
    >>> pair.compile("adam", loss, {"label": ["accuracy"]}, {"label": 0.2, "score": 1.0})
    >>> sorted(pair.fit(x, y, verbose=0).history)
    ['label_accuracy', 'label_loss', 'loss', 'score_loss']
    >>> pair.predict(x)["label"].shape
    (8, 3)

    A chain whose first layer joins is a model of several inputs too, here of a tuple:

    >>> from chainrule.train.sequential import Sequential
    >>> Sequential([nn.Concatenate(), nn.Dense(3)]).predict((x["size"], x["age"])).shape
    (8, 3)
    """

    untracked: ClassVar[tuple[str, ...]] = ("_setup",)
    seed: int = 0
    _setup: Setup

    def __init__(self, seed: int = 0, name: str | None = None):
        super().__init__(name)
        check_whole("seed", seed, 0, 2**64 - 1)
        self.seed = seed

    def __call__(self, x: Any, *others: Any, **options: Any) -> Any:
        """`call(x)`; the first builds, from the seed of the outermost model."""
        if getattr(_seeding, "inside", False):
            return super().__call__(x, *others, **options)
        _seeding.inside = True
        try:
            with seeded(self.seed):
                return super().__call__(x, *others, **options)
        finally:
            _seeding.inside = False

    def __setattr__(self, name: str, value: Any) -> None:
        if isinstance(getattr(type(self), name, None), property):
            object.__setattr__(self, name, value)
        else:
            super().__setattr__(name, value)

    def compile(
        self,
        optimizer: Any,
        loss: Any,
        metrics: Any = (),
        loss_weights: Any = None,
        augment: Any = None,
    ) -> None:
        """Say how to train: an optimiser, a loss and metrics, each by name or as an object.

        A model whose `call` gives a dict or a tuple may have a loss, a list of metrics and a
        factor `loss_weights` for each output, in dicts or tuples like it: `loss={"score": "mse",
        "label": None}`, `metrics={"score": ["mae"]}`. One is for all outputs; an output whose
        loss is None is not trained on. The loss is the sum of theirs, each times its factor.

        A crossentropy given by name reads probabilities when the model ends in sigmoid or
        softmax, and logits otherwise; as `nn.losses.BinaryCrossentropy(from_logits=True)` it reads
        what that says. A loss of your own is a function `(y_true, y_pred)` that gives one number.

        `augment` is a layer of the pair (x, y), such as `nn.MixUp(0.2)`: each batch goes through it
        in training, before the model; metrics of training see what it gives. What changes x alone,
        `nn.RandomFlip()`, is a layer of the model.

        What the optimiser has gathered in earlier fits is forgotten. UnknownNameError or
        ArgumentError for what is none.
        """
        asked = Asked.read(loss, metrics, loss_weights)
        self._setup = Setup(find_optimizer(optimizer), asked, augment)

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

        `x` is an array or a dict or tuple of arrays, which `call` gets as it is, and `y` likewise
        follows what the model gives; of a dict of outputs "a" and "b" the history has "a_loss"
        and "b_loss" beside "loss". `train/arrays.py` says how lists are read. `sample_weight` is
        one array, or a dict or tuple with one for each output; Accumulate then counts a batch by
        its examples.

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
        steps, examples = self._examples(feed, batch_size)
        validate = None
        if held_out is not None:
            size = batch_size if is_stateful(self) else max(batch_size, EVALUATION_BATCH)
            _, judged = self._examples(held_out, size)
            validate = partial(self._evaluate, steps, judged, size)
        if not steps.params:
            raise ArgumentError(
                f"{self.name} has no parameters to train",
                mend="a layer that has some, Dense(1), made in __init__ and not frozen",
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
        steps, examples = self._examples(feed, batch_size)
        return self._evaluate(steps, examples, batch_size)

    def predict(self, x: Any, *, batch_size: int = EVALUATION_BATCH) -> Any:
        """The output for each example, as a NumPy array, or as a dict or tuple of them.

        `x` is as in `fit`, or an iterable of batches of x alone, or a function that gives one.
        """
        self._outside("predict")
        feed = inputs_of(x)
        steps, ending = self._functions(features_of(feed), feed.size(batch_size))
        examples = self._converted(feed, steps, ending)
        found = Predictions(len(feed) if isinstance(feed, Examples) else None)
        for batch in examples.batches(batch_size):
            found.add(steps.predict(steps.params, batch[0]))
        return found.whole()

    def summary(self, shape: Any = None, show: bool = True) -> Summary:
        """A table of the layers for one example of `shape`, by default that of the data last seen.

        Several inputs have a dict or tuple of shapes. It is printed unless `show` is False; its
        numbers are attributes of what is returned.
        """
        seen = list(self._made().endings)
        if shape is None and not seen:
            told = f"{self.name} has seen no data yet, so its shapes are not known"
            raise ArgumentError(told, mend="model.summary((28, 28, 1)), the shape of one example")
        features = seen[-1] if shape is None else Features.like(shape)
        fixed: list[Any] = [getattr(layer, "batch_size", None) for layer in stateful_layers(self)]
        if None in fixed:
            raise ArgumentError(
                f"summary would fix the batch size of {self.name}, which is stateful, and does not "
                "know it",
                mend="model.build_for((32, ...)) before: the size of a batch, then the shape",
            )
        steps, ending = self._functions(features, next(iter(fixed), 1))
        made = summarise(self, features, float_dtype(self), steps.names, ending.batch)
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
        return self._made().progressed.opened()

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
        if self._made().asked is None:
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

    def _functions(self, features: Features, size: int = 1) -> tuple[Steps, Ending]:
        """The compiled functions of the model as it is now, and how it ends; builds it first.

        `size` is how many examples a batch has; only layers with a state for each depend on it.
        """
        setup = self._made()
        if setup.steps is None or not setup.steps.fits(self):
            setup.steps, setup.endings = None, {}
        if features not in setup.endings:
            positions = self.reads_positions()
            batch = size if is_stateful(self) else BATCH
            setup.endings[features] = Ending(self, features, float_dtype(self), positions, batch)
        ending = setup.endings[features]
        if setup.steps is None:
            heads = Heads(ending, setup.asked) if setup.asked else None
            setup.steps = Steps(self, setup.optimizer, heads, ending.reads, setup.augment)
        return setup.steps, ending

    def _examples(
        self, feed: Examples | Stream, batch_size: int
    ) -> tuple[Steps, Examples | Stream]:
        """The compiled functions, and `feed` with targets that the losses can read."""
        steps, ending = self._functions(features_of(feed), feed.size(batch_size))
        return steps, self._converted(feed, steps, ending)

    def _converted(
        self, feed: Examples | Stream, steps: Steps, ending: Ending
    ) -> Examples | Stream:
        return converted(feed, steps.heads, ending, float_dtype(self), self.reads_positions())

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
