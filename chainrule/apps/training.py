"""Training of any task: on its data set, judged on the test part once, kept in a run folder.

Read next: `classifier.py`.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from functools import partial
from typing import Any

from chainrule.apps.curve import draw_curve
from chainrule.apps.learner import Learner
from chainrule.apps.runs import HISTORY, Run, new_run
from chainrule.apps.tasks import Mistake, Parts, Recipe, Task
from chainrule.data.registry import load, notify
from chainrule.train.callbacks import EarlyStopping
from chainrule.train.history import History
from chainrule.train.optim import Adam


@dataclass
class Outcome:
    """What a training came to.

    `best` is the epoch whose weights are kept, from 1, and 0 where none was finished. `test`,
    `baselines` and `mistakes` are empty unless training ended as it should.
    """

    task: Task
    run: Run
    recipe: Recipe
    history: History
    best: int
    seconds: float
    sizes: dict[str, int]
    told: str
    test: dict[str, float] = field(default_factory=dict)
    baselines: dict[str, float] = field(default_factory=dict)
    mistakes: list[Mistake] = field(default_factory=list)

    @property
    def failure(self) -> str:
        """Why the result is not one to use, as a sentence; "" when it is."""
        if self.history.stopped == "non-finite":
            return f"training failed: {self.history.reason}"
        if not self.test:
            return ""
        task, rival = self.task, self.task.rivals[-1]
        guess = self.baselines[rival.name]
        if task.better(self.test[task.measure], guess):
            return ""
        return f"the model has learnt nothing: {rival.label} reaches {task.tell(guess)}"

    @property
    def beaten_by(self) -> list[str]:
        """The names of the baselines that are better than the model on the test part."""
        if not self.test:
            return []
        reached, better = self.test[self.task.measure], self.task.better
        return [name for name, value in self.baselines.items() if better(value, reached)]


def train(
    task: Task,
    data: str | None = None,
    *,
    model: str | None = None,
    epochs: int | None = None,
    learning_rate: float | None = None,
    batch_size: int | None = None,
    seed: int = 0,
    out: str | os.PathLike | None = None,
    tell: Callable[[str], None] = notify,
) -> Outcome:
    """Train on `data` and write the run folder `out`, or a new one `runs/TASK-DATA-NNN`.

    What is None is as in the task's recipe. `tell` takes lines of progress. Raises
    UnknownNameError for data or a model without a recipe, ArgumentError and FileError for a folder
    that cannot be used, the latter two before training. Ctrl-C while training is no error: the
    history says "interrupted".
    """
    data = data or task.data
    changes = {"epochs": epochs, "learning_rate": learning_rate, "batch_size": batch_size}
    recipe = task.recipe(data, model, **changes)
    optimizer = Adam(recipe.learning_rate)
    with new_run(f"{task.name}-{data}", out) as run:
        examples = load(data, report=tell)
        parts = task.split(examples, recipe.validation)
        learner = task.new(data, recipe, examples, parts, seed)
        learner.write(run, training_config(recipe))
        tell(opening(task, recipe, parts, learner))
        began = time.perf_counter()
        history, best = fit(task, learner, optimizer, recipe, parts)
        seconds = time.perf_counter() - began
        learner.model.save_weights(run.weights)
        about = (history, best, seconds, parts.sizes(), parts.told)
        outcome = Outcome(task, run, recipe, *about)
        try:
            finish(outcome, learner, parts)
        except KeyboardInterrupt:
            tell(f"stopped before the end: the weights are in {run}")
            raise
    return outcome


def fit(
    task: Task, learner: Learner, optimizer: Adam, recipe: Recipe, parts: Parts
) -> tuple[History, int]:
    """Train until validation stops to improve; the history, and the epoch whose weights stay.

    The epoch counts from 1, and is 0 when none was finished.
    """
    model = learner.model
    model.compile(optimizer, task.loss, [task.measure])
    stopper = EarlyStopping(task.monitor, patience=recipe.patience, restore_best_weights=True)
    history = model.fit(
        learner.inputs(parts.training.x),
        parts.training.y,
        batch_size=recipe.batch_size,
        epochs=recipe.epochs,
        validation_data=(learner.inputs(parts.validation.x), parts.validation.y),
        callbacks=[stopper],
    )
    return history, stopper.best_epoch + 1 if stopper.best_weights is not None else 0


def finish(outcome: Outcome, learner: Learner, parts: Parts) -> None:
    """Judge on the test part, where training ended well, and write what is left to write."""
    task, history = outcome.task, outcome.history
    levels = {}
    if history.stopped not in ("interrupted", "non-finite"):
        outcome.baselines = task.compare(parts)
        outcome.test = learner.evaluate(parts.test.x, parts.test.y)
        outcome.mistakes = task.mistakes(learner, parts.test)
        rival = task.rivals[0]
        levels = {rival.short: outcome.baselines[rival.name], "test": outcome.test[task.measure]}
    outcome.run.write(HISTORY, history_record(outcome))
    if history.epoch:
        draw_curve(
            outcome.run.path,
            history.history,
            title=f"{learner.data}, {outcome.run.path.name}: {summary(outcome)}",
            best=outcome.best,
            levels=levels,
            measure=task.measure,
            tell=partial(task.tell, digits=3),
        )


def opening(task: Task, recipe: Recipe, parts: Parts, learner: Learner) -> str:
    """What is about to be trained, in a line."""
    sizes = ", ".join(f"{count:,} {name}" for name, count in parts.sizes().items())
    return (
        f"{learner.data}: {sizes} {task.things}; {recipe.maker} with {learner.parameters:,} "
        f"parameters; Adam {recipe.learning_rate:g}, batches of {recipe.batch_size}"
    )


def summary(outcome: Outcome) -> str:
    """The end in a few words."""
    epochs = f"{len(outcome.history.epoch)} epochs"
    if outcome.test:
        measure = outcome.task.measure
        return f"test {measure} {outcome.task.tell(outcome.test[measure])} after {epochs}"
    return f"{outcome.history.stopped} after {epochs}"


def training_config(recipe: Recipe) -> dict[str, Any]:
    """The part of a recipe that the model does not need."""
    model = ("maker", "arguments", "reading")
    return {name: value for name, value in asdict(recipe).items() if name not in model}


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
