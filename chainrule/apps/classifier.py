"""An image classifier with what is needed to use it: its classes, the size and scale of its images.

`config.json` holds just that. Read next: `pictures.py`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

import numpy as np

from chainrule.apps.makers import make_model
from chainrule.apps.runs import CONFIG, Run
from chainrule.core.errors import ArgumentError, FileError
from chainrule.data.registry import Examples

TASK, FORMAT = "images", 1
MOST_EXTENT = 1024
FIELDS: dict[str, type | tuple[type, ...]] = {
    "format": int,
    "task": str,
    "data": str,
    "model": dict,
    "shape": list,
    "classes": list,
    "x_max": int,
    "seed": int,
}


@dataclass
class Classifier:
    """A built model; it takes images between 0 and 1 and gives one logit for each class."""

    data: str
    maker: str
    arguments: Mapping[str, Any]
    shape: tuple[int, ...]
    classes: tuple[str, ...]
    x_max: int
    seed: int
    model: Any

    @classmethod
    def new(
        cls,
        data: str,
        maker: str,
        arguments: Mapping[str, Any],
        examples: Examples,
        shape: Sequence[int],
        seed: int,
    ) -> Classifier:
        """An untrained one for a data set."""
        assert examples.x_max is not None, data
        model = make_model(maker, arguments, tuple(shape), seed)
        made = (data, maker, arguments, tuple(shape), examples.classes, examples.x_max, seed)
        return cls(*made, model)

    @classmethod
    def load(cls, run: Run) -> Classifier:
        """The one in a run folder.

        FileError for a config that is missing, damaged or of another task, and for weights that
        are; ShapeError for weights of another model.
        """
        config = run.read(CONFIG)
        check_config(run, config)
        names = ("data", "shape", "classes", "x_max", "seed")
        data, shape, classes, x_max, seed = (config[name] for name in names)
        maker, arguments = config["model"]["maker"], config["model"]["arguments"]
        try:
            model = make_model(maker, arguments, tuple(shape), seed)
        except (ArgumentError, ValueError) as error:
            raise bad_config(run, getattr(error, "message", str(error))) from None
        model.load_weights(run.weights)
        return cls(data, maker, arguments, tuple(shape), tuple(classes), x_max, seed, model)

    @property
    def parameters(self) -> int:
        """How many numbers are trained."""
        return sum(tensor.size for tensor in self.model.named_parameters().values())

    def config(self) -> dict[str, Any]:
        """What `load` needs, in JSON's terms."""
        return {
            "format": FORMAT,
            "task": TASK,
            "chainrule": version("chainrule"),
            "data": self.data,
            "model": {"maker": self.maker, "arguments": dict(self.arguments)},
            "shape": list(self.shape),
            "classes": list(self.classes),
            "x_max": self.x_max,
            "seed": self.seed,
        }

    def evaluate(self, x: np.ndarray, y: np.ndarray) -> dict[str, float]:
        """Accuracy and mean cross-entropy (nats) on images between 0 and 1."""
        self.model.compile("adam", "sparse_categorical_crossentropy", ["accuracy"])
        found = self.model.evaluate(x, y)
        return {"accuracy": found["accuracy"], "loss": found["loss"]}

    def probabilities(self, x: np.ndarray) -> np.ndarray:
        """One row of class probabilities for each image between 0 and 1, in float64."""
        logits = np.asarray(self.model.predict(x), dtype=np.float64)
        powers = np.exp(logits - logits.max(axis=-1, keepdims=True))
        return powers / powers.sum(axis=-1, keepdims=True)


def check_config(run: Run, config: Mapping[str, Any]) -> None:
    """FileError unless every field is there, of its type and within its limits."""
    wrong = [
        name
        for name, kind in FIELDS.items()
        if not isinstance(config.get(name), kind) or isinstance(config.get(name), bool)
    ]
    if wrong:
        raise bad_config(run, f"{', '.join(wrong)} missing or of the wrong type")
    if config["format"] != FORMAT:
        raise bad_config(run, f"format {FORMAT} is read, got {config['format']}")
    if config["task"] != TASK:
        raise bad_config(run, f"task {TASK!r} is needed, got {config['task']!r}")
    shape, classes, model = config["shape"], config["classes"], config["model"]
    sizes = [n for n in shape if isinstance(n, int) and 1 <= n <= MOST_EXTENT]
    if len(shape) != 3 or sizes != shape:
        raise bad_config(run, f"shape is three sizes in 1 .. {MOST_EXTENT}, got {shape}")
    if not isinstance(model.get("maker"), str) or not isinstance(model.get("arguments"), dict):
        raise bad_config(run, "model must hold a maker and its arguments")
    if len(classes) != model["arguments"].get("classes") or not all(
        isinstance(name, str) for name in classes
    ):
        raise bad_config(run, "classes must name each class of the model")
    if config["x_max"] < 1 or not 0 <= config["seed"] < 2**63:
        raise bad_config(run, f"x_max {config['x_max']} or seed {config['seed']} is out of range")


def bad_config(run: Run, why: str) -> FileError:
    """The error of a config that cannot be used."""
    return FileError(
        f"{run.path / CONFIG} is not one that training wrote: {why}",
        mend="train again, or name another run",
    )
