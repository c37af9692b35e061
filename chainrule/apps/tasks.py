"""What a task is: its recipes, how its examples are split, what it is measured by and against.

A task is one `register(Task(...))` block in a file of its own; training, the command line and the
run folder know tasks through this record alone. Read next: `training.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np

from chainrule.apps.learner import FORMAT, Learner, bad_config
from chainrule.apps.runs import CONFIG, Run
from chainrule.core.errors import UnknownNameError
from chainrule.data.registry import Examples
from chainrule.train.history import rises


@dataclass(frozen=True)
class Recipe:
    """What was chosen for a data set and a net; the command line may change the numbers.

    `arguments` are the maker's, but for those that only the data tells; `reading` is how examples
    become the net's input.
    """

    maker: str
    arguments: Mapping[str, Any]
    epochs: int
    learning_rate: float
    batch_size: int
    patience: int
    validation: float = 0.1
    reading: Mapping[str, int] | None = None


@dataclass(frozen=True)
class Part:
    """Examples and their targets."""

    x: Any
    y: np.ndarray


@dataclass(frozen=True)
class Parts:
    """Three parts that share no example: to learn from, to decide by, to judge on once."""

    training: Part
    validation: Part
    test: Part
    told: str = ""  # how they were made, where that needs saying

    def sizes(self) -> dict[str, int]:
        """How many examples each part has."""
        named = (("training", self.training), ("validation", self.validation), ("test", self.test))
        return {name: len(part.y) for name, part in named}


class Rival(NamedTuple):
    """A baseline: its name in JSON, how a table tells it, and how a picture does."""

    name: str
    label: str
    short: str


class Mistake(NamedTuple):
    """A test example, its class, and the one it was given."""

    example: Any
    true: str
    given: str


@dataclass(frozen=True)
class Task:
    """One kind of thing to learn, and the class of what learns it.

    `loss` is minimised, and the epoch with the best `monitor` is kept. `rivals` are in the order
    of the table; the last one knows nothing of the example. `new` makes the learner from (data,
    recipe, examples, parts, seed); `split` the parts from (examples, validation share); `compare`
    gives each rival's number on the test part, `mistakes` what was taken for something else there.
    """

    learner: type[Learner]
    summary: str  # the first sentence of the command's help
    recipes: Mapping[str, tuple[Recipe, ...]]  # by data set, the default first; likewise the nets
    loss: str
    monitor: str
    rivals: tuple[Rival, ...]
    new: Callable[[str, Recipe, Examples, Parts, int], Learner]
    split: Callable[[Examples, float], Parts]
    compare: Callable[[Parts], dict[str, float]]
    mistakes: Callable[[Any, Part], list[Mistake]] = lambda learner, test: []

    @property
    def name(self) -> str:
        """What the command, `config.json` and numbered run folders call it."""
        return self.learner.task

    @property
    def things(self) -> str:
        """What its examples are."""
        return self.learner.things

    @property
    def measure(self) -> str:
        """The metric that the task is judged by."""
        return self.learner.metrics[0]

    @property
    def data(self) -> str:
        """The data set that is taken where none is named."""
        return next(iter(self.recipes))

    def better(self, value: float, than: float) -> bool:
        """Whether `value` of the measure is better; equal is not."""
        return value > than if rises(self.measure) else value < than

    def tell(self, value: float, digits: int = 4) -> str:
        """A value of the measure for people: what is a share in percent."""
        return f"{value:.{digits - 2}%}" if rises(self.measure) else f"{value:.{digits}f}"

    def recipe(self, data: str, model: str | None = None, **changes: Any) -> Recipe:
        """The recipe for `data` and `model`, with those `changes` that are not None.

        UnknownNameError for data or a model that there is none for.
        """
        if data not in self.recipes:
            raise UnknownNameError(f"{self.learner.thing} data set", data, self.recipes)
        known = {recipe.maker: recipe for recipe in reversed(self.recipes[data])}
        if model is not None and model not in known:
            raise UnknownNameError(f"model for {data}", model, known)
        found = self.recipes[data][0] if model is None else known[model]
        wanted = {name: value for name, value in changes.items() if value is not None}
        return replace(found, **wanted)


TASKS: dict[str, Task] = {}


def register(task: Task) -> Task:
    """Make a task known under its name; ImportError when the name is taken."""
    if task.name in TASKS:
        raise ImportError(f"two tasks are named {task.name!r}")
    TASKS[task.name] = task
    return task


def open_run(run: Run) -> tuple[Task, Learner]:
    """The task that a run folder is of, and what it has learnt.

    FileError for a config that is missing or damaged, and for weights that are; ShapeError for
    weights of another model.
    """
    config = run.read(CONFIG)
    if config.get("format") != FORMAT or isinstance(config["format"], bool):
        raise bad_config(run, f"format {FORMAT} is read, got {config.get('format')!r}")
    name = config.get("task")
    if not isinstance(name, str) or name not in TASKS:
        raise bad_config(run, f"task is one of {', '.join(TASKS)}, got {name!r}")
    return TASKS[name], TASKS[name].learner.load(run, config)
