"""Image classification. `RECIPES` holds what was chosen by looking at the validation part alone.

Read next: `text.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from chainrule.apps.baselines import majority, nearest_centroid
from chainrule.apps.classifier import Classifier, find_mistakes
from chainrule.apps.pictures import read_images
from chainrule.apps.runs import Run
from chainrule.apps.tasks import Part, Parts, Recipe, Rival, Task, register
from chainrule.core.errors import ArgumentError
from chainrule.data.batches import epoch_order, split_validation
from chainrule.data.registry import Examples

MOST_EXTENT = 1024

RECIPES = {
    "digits": (
        Recipe(
            "cnn",
            {"filters": [16, 32], "pools": [1, 2], "units": 64, "dropout": 0.4, "classes": 10},
            epochs=60,
            learning_rate=3e-3,
            batch_size=64,
            patience=8,
        ),
    ),
    "fashion-mnist": (
        Recipe(
            "cnn",
            {"filters": [16, 32], "pools": [2, 2], "units": 128, "dropout": 0.25, "classes": 10},
            epochs=10,
            learning_rate=2e-3,
            batch_size=128,
            patience=3,
        ),
    ),
}


@dataclass
class ImageClassifier(Classifier):
    """It takes images between 0 and 1; those in files go up to `x_max`."""

    task, thing, things = "images", "image", "images"
    kept = {"shape": list, "classes": list, "x_max": int}
    headings = ("input", "image", "class", "probability", "else")
    shape: tuple[int, ...]
    x_max: int

    @property
    def shape_of_one(self) -> tuple[int, ...]:
        """(height, width, channels)."""
        return self.shape

    def answer(self, given: str) -> list[dict[str, Any]]:
        """The class of each image in a file."""
        rows = self.probabilities(read_images(Path(given), self.shape, self.x_max))
        return [{"input": given, "index": i, **self.described(row)} for i, row in enumerate(rows)]

    def row(self, answer: Mapping[str, Any]) -> tuple[str, ...]:
        """The file, the place in it, and the class."""
        return (answer["input"], str(answer["index"]), *self.told(answer))

    @classmethod
    def read(cls, run: Run, config: Mapping[str, Any]) -> dict[str, Any]:
        """The fields, with sizes within their limits."""
        shape = config["shape"]
        sizes = [n for n in shape if isinstance(n, int) and 1 <= n <= MOST_EXTENT]
        if len(shape) != 3 or sizes != shape:
            raise ArgumentError(f"shape is three sizes in 1 .. {MOST_EXTENT}, got {shape}")
        if config["x_max"] < 1:
            raise ArgumentError(f"x_max {config['x_max']} is out of range")
        return super().read(run, config)


def new(data: str, recipe: Recipe, examples: Examples, parts: Parts, seed: int) -> ImageClassifier:
    """An untrained classifier for a data set."""
    assert examples.x_max is not None, data
    shape = parts.training.x.shape[1:]
    made = (data, recipe.maker, recipe.arguments, seed)
    return ImageClassifier(*made, examples.classes, shape, examples.x_max)


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


def compare(parts: Parts) -> dict[str, float]:
    """Test accuracies without training, from all images that are not for testing."""
    x = np.concatenate([parts.training.x, parts.validation.x])
    y = np.concatenate([parts.training.y, parts.validation.y])
    return {
        "nearest_centroid": nearest_centroid(x, y, parts.test.x, parts.test.y),
        "majority": majority(y, parts.test.y),
    }


IMAGES = register(
    Task(
        learner=ImageClassifier,
        summary="Train a convolutional net to classify images",
        recipes=RECIPES,
        loss="sparse_categorical_crossentropy",
        monitor="val_loss",
        rivals=(
            Rival("nearest_centroid", "nearest class mean, for comparison", "class mean"),
            Rival("majority", "always the most frequent class", "majority"),
        ),
        new=new,
        split=split,
        compare=compare,
        mistakes=find_mistakes,
    )
)
