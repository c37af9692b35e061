"""Image classification: train on a data set, judge on its test part once, keep all in a run folder.

`RECIPES` holds what was chosen for each data set, by looking at the validation part alone. Read
next: `classifier.py`.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any, NamedTuple

import numpy as np

from chainrule.apps.baselines import majority, nearest_centroid
from chainrule.apps.classifier import TASK, Classifier
from chainrule.apps.curve import draw_curve
from chainrule.apps.runs import CONFIG, HISTORY, Run, new_run
from chainrule.core.errors import UnknownNameError
from chainrule.data.batches import epoch_order, split_validation
from chainrule.data.registry import Examples, load, notify
from chainrule.train.callbacks import EarlyStopping
from chainrule.train.history import History
from chainrule.train.optim import Adam


@dataclass(frozen=True)
class Recipe:
    """What was chosen for a data set; the command line may change all but the model."""

    maker: str
    arguments: Mapping[str, Any]
    epochs: int
    learning_rate: float
    batch_size: int
    patience: int
    validation: float = 0.1


RECIPES = {
    "digits": Recipe(
        "cnn",
        {"filters": [16, 32], "pools": [1, 2], "units": 64, "dropout": 0.4, "classes": 10},
        epochs=60,
        learning_rate=3e-3,
        batch_size=64,
        patience=8,
    ),
    "fashion-mnist": Recipe(
        "cnn",
        {"filters": [16, 32], "pools": [2, 2], "units": 128, "dropout": 0.25, "classes": 10},
        epochs=10,
        learning_rate=2e-3,
        batch_size=128,
        patience=3,
    ),
}


@dataclass(frozen=True)
class Part:
    """Images as float32 between 0 and 1, and their classes."""

    x: np.ndarray
    y: np.ndarray


@dataclass(frozen=True)
class Parts:
    """Three parts that share no example: to learn from, to decide by, to judge on once."""

    training: Part
    validation: Part
    test: Part

    def sizes(self) -> dict[str, int]:
        """How many examples each part has."""
        return {name: len(part.y) for name, part in vars(self).items()}


class Mistake(NamedTuple):
    """A test image between 0 and 1, its class, and the one it was given."""

    image: np.ndarray
    true: str
    given: str


@dataclass
class Outcome:
    """What a training came to.

    `best` is the epoch whose weights are kept, from 1, and 0 where none was finished. `test` and
    `mistakes` are empty unless training ended as it should.
    """

    run: Run
    recipe: Recipe
    history: History
    best: int
    seconds: float
    sizes: dict[str, int]
    baselines: dict[str, float]
    test: dict[str, float] = field(default_factory=dict)
    mistakes: list[Mistake] = field(default_factory=list)

    @property
    def failure(self) -> str:
        """Why the result is not one to use, as a sentence; "" when it is."""
        if self.history.stopped == "non-finite":
            return f"training failed: {self.history.reason}"
        guess = self.baselines["majority"]
        if self.test and self.test["accuracy"] <= guess:
            return f"the model has learnt nothing: always giving one class is right {guess:.1%}"
        return ""


def recipe_for(data: str, **changes: Any) -> Recipe:
    """The data set's recipe with those `changes` that are not None; UnknownNameError for none."""
    if data not in RECIPES:
        raise UnknownNameError("image data set", data, RECIPES)
    wanted = {name: value for name, value in changes.items() if value is not None}
    return replace(RECIPES[data], **wanted)


def split(examples: Examples, validation: float) -> Parts:
    """The parts, scaled to 0 .. 1; validation is a share of the training part.

    The share is drawn by a fixed key: every seed and every recipe is compared on the same part.
    """
    top = np.float32(examples.x_max)
    x, y = np.asarray(examples.x_train), examples.y_train
    order = epoch_order(len(y), seed=0, epoch=0)
    first, last = (order[part] for part in split_validation(len(y), validation))
    return Parts(
        Part(x[first] / top, y[first]),
        Part(x[last] / top, y[last]),
        Part(np.asarray(examples.x_test) / top, examples.y_test),
    )


def train(
    data: str = "digits",
    *,
    epochs: int | None = None,
    learning_rate: float | None = None,
    batch_size: int | None = None,
    seed: int = 0,
    out: str | os.PathLike | None = None,
    tell: Callable[[str], None] = notify,
) -> Outcome:
    """Train on `data` and write the run folder `out`, or a new one `runs/images-DATA-NNN`.

    What is None is as in the recipe. `tell` takes lines of progress. Raises UnknownNameError for
    data without a recipe, ArgumentError and FileError for a folder that cannot be used, the latter
    two before training. Ctrl-C while training is no error: the history says "interrupted".
    """
    recipe = recipe_for(data, epochs=epochs, learning_rate=learning_rate, batch_size=batch_size)
    optimizer = Adam(recipe.learning_rate)
    with new_run(f"{TASK}-{data}", out) as run:
        examples = load(data, report=tell)
        parts = split(examples, recipe.validation)
        classifier = Classifier.new(
            data, recipe.maker, recipe.arguments, examples, parts.training.x.shape[1:], seed
        )
        run.write(CONFIG, {**classifier.config(), "training": training_config(recipe)})
        tell(opening(data, recipe, parts, classifier))
        began = time.perf_counter()
        history, best = fit(classifier.model, optimizer, recipe, parts)
        seconds = time.perf_counter() - began
        classifier.model.save_weights(run.weights)
        outcome = Outcome(run, recipe, history, best, seconds, parts.sizes(), baselines(parts))
        try:
            finish(outcome, classifier, parts.test)
        except KeyboardInterrupt:
            tell(f"stopped before the end: the weights are in {run}")
            raise
    return outcome


def fit(model: Any, optimizer: Adam, recipe: Recipe, parts: Parts) -> tuple[History, int]:
    """Train until validation stops to improve; the history, and the epoch whose weights stay.

    The epoch counts from 1, and is 0 when none was finished.
    """
    model.compile(optimizer, "sparse_categorical_crossentropy", ["accuracy"])
    stopper = EarlyStopping(patience=recipe.patience, restore_best_weights=True)
    history = model.fit(
        parts.training.x,
        parts.training.y,
        batch_size=recipe.batch_size,
        epochs=recipe.epochs,
        validation_data=(parts.validation.x, parts.validation.y),
        callbacks=[stopper],
    )
    return history, stopper.best_epoch + 1 if stopper.best_weights is not None else 0


def finish(outcome: Outcome, classifier: Classifier, test: Part) -> None:
    """Judge on the test part, where training ended well, and write what is left to write."""
    history = outcome.history
    if history.stopped not in ("interrupted", "non-finite"):
        outcome.test = classifier.evaluate(test.x, test.y)
        outcome.mistakes = mistakes(classifier, test)
    outcome.run.write(HISTORY, history_record(outcome))
    if history.epoch:
        levels = {"class mean": outcome.baselines["nearest_centroid"]}
        if outcome.test:
            levels["test"] = outcome.test["accuracy"]
        draw_curve(
            outcome.run.path,
            history.history,
            title=f"{classifier.data}, {outcome.run.path.name}: {summary(outcome)}",
            best=outcome.best,
            levels=levels,
        )


def opening(data: str, recipe: Recipe, parts: Parts, classifier: Classifier) -> str:
    """What is about to be trained, in a line."""
    parameters = classifier.parameters
    sizes = ", ".join(f"{count:,} {name}" for name, count in parts.sizes().items())
    return (
        f"{data}: {sizes} images; {recipe.maker} with {parameters:,} parameters; Adam "
        f"{recipe.learning_rate:g}, batches of {recipe.batch_size}"
    )


def summary(outcome: Outcome) -> str:
    """The end in a few words."""
    epochs = f"{len(outcome.history.epoch)} epochs"
    if outcome.test:
        return f"test accuracy {outcome.test['accuracy']:.2%} after {epochs}"
    return f"{outcome.history.stopped} after {epochs}"


def baselines(parts: Parts) -> dict[str, float]:
    """Test accuracies without training, from all images that are not for testing."""
    x = np.concatenate([parts.training.x, parts.validation.x])
    y = np.concatenate([parts.training.y, parts.validation.y])
    return {
        "nearest_centroid": nearest_centroid(x, y, parts.test.x, parts.test.y),
        "majority": majority(y, parts.test.y),
    }


def mistakes(classifier: Classifier, test: Part) -> list[Mistake]:
    """The test images that were taken for another class."""
    given, names = classifier.probabilities(test.x).argmax(axis=-1), classifier.classes
    wrong = (given != test.y).nonzero()[0]
    return [Mistake(test.x[i], names[test.y[i]], names[given[i]]) for i in wrong]


def training_config(recipe: Recipe) -> dict[str, Any]:
    """The part of a recipe that the model does not need."""
    return {
        name: value for name, value in asdict(recipe).items() if name not in ("maker", "arguments")
    }


def history_record(outcome: Outcome) -> dict[str, Any]:
    """What `history.json` holds."""
    history = outcome.history
    return {
        "epochs": len(history.epoch),
        "steps": history.steps,
        "best_epoch": outcome.best,
        "stopped": history.stopped,
        "reason": history.reason,
        "seconds": round(outcome.seconds, 3),
        "examples": outcome.sizes,
        "test": outcome.test,
        "baselines": outcome.baselines,
        "history": history.history,
    }
