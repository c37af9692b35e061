"""What a run folder holds: a built model, and what is needed to use it on new examples.

Read next: `tasks.py`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from typing import Any, ClassVar

import numpy as np

from chainrule.apps.makers import make_model
from chainrule.apps.runs import CONFIG, Run
from chainrule.core.errors import ArgumentError, FileError

FORMAT = 1
FIELDS: Mapping[str, type] = {"data": str, "model": dict, "seed": int}


@dataclass
class Learner:
    """A model that is built when this is made, untrained; `config.json` says all else.

    A task's subclass names what it keeps beside in `kept`, by field, with its type in JSON.
    """

    task: ClassVar[str]
    thing: ClassVar[str]  # what one example is
    things: ClassVar[str]  # and several
    metrics: ClassVar[tuple[str, ...]]  # what `evaluate` gives; the task is judged by the first
    kept: ClassVar[Mapping[str, type | tuple[type, ...]]]
    headings: ClassVar[tuple[str, ...]]  # of the table that `row` fills
    data: str
    maker: str
    arguments: Mapping[str, Any]
    seed: int
    model: Any = field(init=False)

    def __post_init__(self) -> None:
        self.model = make_model(self.maker, self.arguments, self.shape_of_one, self.seed, self.task)

    @property
    def shape_of_one(self) -> tuple[int, ...]:
        """The shape of one example as the model reads it."""
        raise NotImplementedError

    def inputs(self, x: Any) -> np.ndarray:
        """Examples as the model reads them."""
        return x

    def evaluate(self, x: Any, y: np.ndarray) -> dict[str, float]:
        """The `metrics` by name."""
        raise NotImplementedError

    def report(self, metrics: Mapping[str, float], count: int) -> Sequence[tuple[str, str]]:
        """`metrics` over `count` examples for people: names and what they are."""
        raise NotImplementedError

    def answer(self, given: str) -> list[dict[str, Any]]:
        """What the model says to one INPUT of the command line, in JSON's terms.

        An error of chainrule's for an input that cannot be read.
        """
        raise NotImplementedError

    def row(self, answer: Mapping[str, Any]) -> tuple[str, ...]:
        """One of `answer`'s, under `headings`."""
        raise NotImplementedError

    @property
    def parameters(self) -> int:
        """How many numbers are trained."""
        return sum(tensor.size for tensor in self.model.named_parameters().values())

    def config(self) -> dict[str, Any]:
        """What `load` needs, in JSON's terms."""
        return {
            "format": FORMAT,
            "task": self.task,
            "chainrule": version("chainrule"),
            "data": self.data,
            "model": {"maker": self.maker, "arguments": dict(self.arguments)},
            **{name: getattr(self, name) for name in self.kept},
            "seed": self.seed,
        }

    def write(self, run: Run, training: Mapping[str, Any]) -> None:
        """Everything but the weights, into the run folder; `training` says how it will be."""
        run.write(CONFIG, {**self.config(), "training": dict(training)})

    @classmethod
    def load(cls, run: Run, config: Mapping[str, Any]) -> Learner:
        """What `write` and the weights tell; FileError and ShapeError for what is damaged."""
        check_config(run, config, {**FIELDS, **cls.kept})
        try:
            kept = cls.read(run, config)
            model = config["model"]
            learner = cls(
                config["data"], model["maker"], model["arguments"], config["seed"], **kept
            )
        except (ArgumentError, ValueError) as error:
            raise bad_config(run, getattr(error, "message", str(error))) from None
        learner.model.load_weights(run.weights)
        return learner

    @classmethod
    def read(cls, run: Run, config: Mapping[str, Any]) -> dict[str, Any]:
        """The fields in `kept`, checked; ArgumentError says which is wrong."""
        thaw = {list: tuple}
        return {name: thaw.get(type(config[name]), lambda x: x)(config[name]) for name in cls.kept}


def check_config(run: Run, config: Mapping[str, Any], fields: Mapping[str, Any]) -> None:
    """FileError unless every field is there and of its type."""
    wrong = [
        name
        for name, kind in fields.items()
        if not isinstance(config.get(name), kind) or isinstance(config.get(name), bool)
    ]
    if wrong:
        raise bad_config(run, f"{', '.join(wrong)} missing or of the wrong type")
    model = config["model"]
    if not isinstance(model.get("maker"), str) or not isinstance(model.get("arguments"), dict):
        raise bad_config(run, "model must hold a maker and its arguments")
    if not 0 <= config["seed"] < 2**63:
        raise bad_config(run, f"seed {config['seed']} is out of range")


def bad_config(run: Run, why: str) -> FileError:
    """The error of a config that cannot be used."""
    return FileError(
        f"{run.path / CONFIG} is not one that training wrote: {why}",
        mend="train again, or name another run",
    )
