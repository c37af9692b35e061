"""`chainrule evaluate` and `chainrule predict`: a run folder put to use. Read next: `data.py`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import typer

from chainrule.apps.classifier import Classifier
from chainrule.apps.pictures import read_images
from chainrule.apps.runs import find_run
from chainrule.cli.terminal import (
    FINDINGS,
    AsJson,
    Threads,
    columns,
    facts,
    show,
    show_json,
    tell,
    tell_error,
    use_threads,
)
from chainrule.core.errors import ChainruleError
from chainrule.data.registry import load

RunName = typer.Argument(metavar="RUN", help="A run folder, or its name in runs/.")


def evaluate(run: str = RunName, threads: int | None = Threads, as_json: bool = AsJson) -> None:
    """Measure a trained model on the test part of its data set."""
    use_threads(threads)
    found = find_run(run)
    classifier = Classifier.load(found)
    examples = load(classifier.data, report=tell)
    x = np.asarray(examples.x_test) / np.float32(classifier.x_max)
    metrics = classifier.evaluate(x, examples.y_test)
    if as_json:
        about = {"run": str(found), "data": classifier.data, "examples": len(x)}
        show_json({**metrics, **about})
        return
    right = round(metrics["accuracy"] * len(x))
    show(
        facts(
            (
                ("accuracy", f"{metrics['accuracy']:.2%}: {right:,} of {len(x):,} test images"),
                ("loss", f"{metrics['loss']:.4f} nats an image"),
            )
        )
    )


def predict(
    run: str = RunName,
    inputs: list[Path] = typer.Argument(
        metavar="INPUT...", help="Images: .npy (one or a stack), .csv or .png."
    ),
    threads: int | None = Threads,
    as_json: bool = AsJson,
) -> None:
    """Say what images show, with the probability.

    Exit code 1 when a file could not be read; the others are done all the same.
    """
    use_threads(threads)
    found = find_run(run)
    classifier = Classifier.load(found)
    rows: list[Row] = []
    broken = 0
    for path in inputs:
        try:
            images = read_images(path, classifier.shape, classifier.x_max)
        except ChainruleError as error:
            tell_error(error)
            broken += 1
            continue
        shares = classifier.probabilities(images)
        rows += [Row(str(path), i, share) for i, share in enumerate(shares)]
    if as_json:
        predictions = [described(row, classifier.classes) for row in rows]
        show_json({"run": str(found), "unreadable": broken, "predictions": predictions})
    elif rows:
        show_predictions(rows, classifier.classes)
    if broken:
        raise typer.Exit(FINDINGS)


class Row(NamedTuple):
    """One image: its file, its place in it, and the probability of each class."""

    input: str
    place: int
    shares: np.ndarray


def described(row: Row, classes: Sequence[str]) -> dict[str, Any]:
    """A prediction in JSON's terms."""
    return {
        "input": row.input,
        "index": row.place,
        "class": classes[int(row.shares.argmax())],
        "probability": row.shares.max(),
        "probabilities": dict(zip(classes, row.shares.tolist())),
    }


def show_predictions(rows: Sequence[Row], classes: Sequence[str]) -> None:
    """A line for each image: the most probable class, and the next."""
    table = columns("input", "image", "class", "probability", "else")
    for path, i, shares in rows:
        first, second = np.argsort(-shares, kind="stable")[:2]
        runner_up = f"{classes[second]} {shares[second]:.1%}"
        table.add_row(path, str(i), classes[first], f"{shares[first]:.1%}", runner_up)
    show(table)
