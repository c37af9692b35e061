"""`chainrule evaluate` and `chainrule predict`: a run folder put to use. Read next: `data.py`."""

from __future__ import annotations

from pathlib import Path

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
    rows, broken = [], 0
    for path in inputs:
        try:
            images = read_images(path, classifier.shape, classifier.x_max)
        except ChainruleError as error:
            tell_error(error)
            broken += 1
            continue
        for i, row in enumerate(classifier.probabilities(images)):
            rows.append((str(path), i, row))
    if as_json:
        show_json(
            {
                "run": str(found),
                "unreadable": broken,
                "predictions": [
                    {
                        "input": name,
                        "index": i,
                        "class": classifier.classes[row.argmax()],
                        "probability": row.max(),
                        "probabilities": dict(zip(classifier.classes, row.tolist())),
                    }
                    for name, i, row in rows
                ],
            }
        )
    elif rows:
        table = columns("input", "image", "class", "probability", "else")
        for name, i, row in rows:
            first, second = np.argsort(-row, kind="stable")[:2]
            names = classifier.classes
            table.add_row(
                name,
                str(i),
                names[first],
                f"{row[first]:.1%}",
                f"{names[second]} {row[second]:.1%}",
            )
        show(table)
    if broken:
        raise typer.Exit(FINDINGS)
