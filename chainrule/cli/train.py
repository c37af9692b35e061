"""`chainrule train TASK`: one command for each task, all with the same options.

Read next: `outcome.py`.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import typer

from chainrule.apps.tasks import TASKS, Recipe, Task
from chainrule.apps.training import Outcome, train
from chainrule.cli.outcome import show_outcome
from chainrule.cli.terminal import (
    FINDINGS,
    INTERRUPTED,
    AsJson,
    Threads,
    show_json,
    tell,
    use_threads,
)

app = typer.Typer(no_args_is_help=True)


def chosen(task: Task, told: Callable[[Recipe], str], **options: Any) -> Any:
    """An option that is as the recipes say where it is not given; the help page says how."""
    shown = (f"{data} {told(recipes[0])}" for data, recipes in task.recipes.items())
    return typer.Option(None, show_default=", ".join(shown), **options)


def command_of(task: Task) -> Callable[..., None]:
    """The command that trains `task`."""
    sets, things = " or ".join(task.recipes), task.things.capitalize()

    def command(
        data: str = typer.Option(task.data, help=f"A set of {task.things}: {sets}."),
        model: str | None = chosen(task, lambda r: r.maker, help="Which net."),
        epochs: int | None = chosen(
            task, lambda r: f"{r.epochs}", min=1, help="At most this many."
        ),
        lr: float | None = chosen(
            task, lambda r: f"{r.learning_rate:g}", help="Adam's learning rate."
        ),
        batch_size: int | None = chosen(
            task, lambda r: f"{r.batch_size}", min=1, help=f"{things} a step."
        ),
        seed: int = typer.Option(0, min=0, max=2**32 - 1, help="Of initial weights and batches."),
        out: Path | None = typer.Option(
            None,
            help="The run folder; it must be new or empty.",
            show_default=f"runs/{task.name}-DATA-NNN",
        ),
        threads: int | None = Threads,
        as_json: bool = AsJson,
    ) -> None:
        if lr is not None and not lr > 0:
            raise typer.BadParameter(f"{lr:g} is not above 0.", param_hint="--lr")
        use_threads(threads)
        wanted: dict[str, Any] = dict(model=model, epochs=epochs, batch_size=batch_size)
        outcome = train(task, data, **wanted, learning_rate=lr, seed=seed, out=out, tell=tell)
        if as_json:
            show_json(record(data, seed, outcome))
        elif outcome.test:
            show_outcome(outcome)
        end(outcome)

    command.__doc__ = (
        f"{task.summary}, and judge it on {task.things} it has not seen.\n\n"
        "The run folder gets the weights, configuration, history and learning curve. "
        "Ctrl-C stops early and keeps the best weights so far."
    )
    return command


for each in TASKS.values():
    app.command(each.name)(command_of(each))


def end(outcome: Outcome) -> None:
    """Notices, and the exit code that says how it went."""
    run, files = outcome.run, os.listdir(outcome.run.path)
    if outcome.history.stopped == "interrupted":
        kept = f"of epoch {outcome.best}, the best," if outcome.best else "of the last step"
        tell(f"stopped by Ctrl-C: the weights {kept} are in {run}")
        raise typer.Exit(INTERRUPTED)
    if "curve.txt" in files:
        tell(
            "the curve is curve.txt, because Matplotlib is missing: "
            "pip install 'chainrule[plot]' for curve.png"
        )
    if outcome.failure:
        tell(f"{outcome.failure}; mend: a smaller --lr, more --epochs, or another --seed")
        raise typer.Exit(FINDINGS)


def record(data: str, seed: int, outcome: Outcome) -> dict[str, Any]:
    """The result in JSON's terms; metrics are null where training was stopped or failed."""
    history, task = outcome.history, outcome.task
    return {
        **{name: outcome.test.get(name) for name in task.learner.metrics},
        "baselines": outcome.baselines,
        "beaten_by": outcome.beaten_by,
        "epochs": len(history.epoch),
        "best_epoch": outcome.best,
        "stopped": history.stopped,
        "reason": history.reason,
        "run": str(outcome.run),
        "task": task.name,
        "data": data,
        "model": outcome.recipe.maker,
        "seed": seed,
        "seconds": round(outcome.seconds, 3),
        "examples": outcome.sizes,
        "split": outcome.told or None,
        "failure": outcome.failure or None,
    }
