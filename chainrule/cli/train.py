"""`chainrule train images`. Read next: `outcome.py`."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import typer

from chainrule.apps.images import RECIPES, Outcome, train
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


def chosen(name: str) -> str:
    """What the recipes say under `name`, for the help page."""
    return ", ".join(f"{data} {getattr(recipe, name):g}" for data, recipe in RECIPES.items())


@app.callback()
def tasks() -> None:
    """Keep `images` a command of its own while it is the only task."""


@app.command("images")
def images(
    data: str = typer.Option("digits", help="A set of images: " + " or ".join(RECIPES) + "."),
    epochs: int | None = typer.Option(
        None, min=1, help="At most this many.", show_default=chosen("epochs")
    ),
    lr: float | None = typer.Option(
        None, help="Adam's learning rate.", show_default=chosen("learning_rate")
    ),
    batch_size: int | None = typer.Option(
        None, min=1, help="Images a step.", show_default=chosen("batch_size")
    ),
    seed: int = typer.Option(0, min=0, max=2**32 - 1, help="Of initial weights and batches."),
    out: Path | None = typer.Option(
        None, help="The run folder; it must be new or empty.", show_default="runs/images-DATA-NNN"
    ),
    threads: int | None = Threads,
    as_json: bool = AsJson,
) -> None:
    """Train a convolutional net to classify images, and judge it on images it has not seen.

    The run folder gets the weights, configuration, history and learning curve.
    Ctrl-C stops early and keeps the best weights so far.
    """
    if lr is not None and not lr > 0:
        raise typer.BadParameter(f"{lr:g} is not above 0.", param_hint="--lr")
    use_threads(threads)
    outcome = train(
        data,
        epochs=epochs,
        learning_rate=lr,
        batch_size=batch_size,
        seed=seed,
        out=out,
        tell=tell,
    )
    if as_json:
        show_json(record(data, seed, outcome))
    elif outcome.test:
        show_outcome(outcome)
    end(outcome)


def end(outcome: Outcome) -> None:
    """Notices, and the exit code that says how it went."""
    run, files = outcome.run, os.listdir(outcome.run.path)
    if outcome.history.stopped == "interrupted":
        kept = f"of epoch {outcome.best}, the best" if outcome.best else "of the last step"
        tell(f"stopped by Ctrl-C: the weights {kept}, are in {run}")
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
    history = outcome.history
    return {
        "accuracy": outcome.test.get("accuracy"),
        "loss": outcome.test.get("loss"),
        "baselines": outcome.baselines,
        "epochs": len(history.epoch),
        "best_epoch": outcome.best,
        "stopped": history.stopped,
        "reason": history.reason,
        "run": str(outcome.run),
        "task": "images",
        "data": data,
        "seed": seed,
        "seconds": round(outcome.seconds, 3),
        "examples": outcome.sizes,
        "failure": outcome.failure or None,
    }
