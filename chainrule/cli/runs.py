"""`chainrule evaluate` and `chainrule predict`: a run folder put to use. Read next: `data.py`."""

from __future__ import annotations

import sys
from pathlib import Path

import typer

from chainrule.apps.runs import find_run
from chainrule.apps.tasks import open_run
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
from chainrule.core.errors import ChainruleError, FileError
from chainrule.data.registry import load

RunName = typer.Argument(metavar="RUN", help="A run folder, or its name in runs/.")


def evaluate(run: str = RunName, threads: int | None = Threads, as_json: bool = AsJson) -> None:
    """Measure a trained model on the test part of its data set."""
    use_threads(threads)
    found = find_run(run)
    task, learner = open_run(found)
    recipe = task.recipe(learner.data)
    test = task.split(load(learner.data, report=tell), recipe.validation).test
    metrics = learner.evaluate(test.x, test.y)
    if as_json:
        about = {"run": str(found), "data": learner.data, "examples": len(test.y)}
        show_json({**metrics, **about})
        return
    show(facts(learner.report(metrics, len(test.y))))


def predict(
    run: str = RunName,
    inputs: list[str] | None = typer.Argument(
        None,
        metavar="INPUT...",
        help="For an images run files: .npy (one or a stack), .csv or .png. For a text run texts. "
        "For a recommend run USER:FILM, numbers or a title; or USER, for the best new films.",
        show_default=False,
    ),
    file: Path | None = typer.Option(
        None, help="A file with an INPUT on each line; - is stdin.", show_default=False
    ),
    threads: int | None = Threads,
    as_json: bool = AsJson,
) -> None:
    """Say what images show, how a text feels, or what a user would like.

    Exit code 1 when an input could not be read; the others are done all the same.
    """
    use_threads(threads)
    wanted = [*(inputs or ()), *(read_lines(file) if file else ())]
    if not wanted:
        raise typer.BadParameter("none was given.", param_hint="INPUT")
    found = find_run(run)
    _, learner = open_run(found)
    answers = []
    broken = 0
    for given in wanted:
        try:
            answers += learner.answer(given)
        except ChainruleError as error:
            tell_error(error)
            broken += 1
    if as_json:
        show_json({"run": str(found), "unreadable": broken, "predictions": answers})
    elif answers:
        table = columns(*learner.headings)
        for answer in answers:
            table.add_row(*learner.row(answer))
        show(table)
    if broken:
        raise typer.Exit(FINDINGS)


def read_lines(path: Path) -> list[str]:
    """The lines of a UTF-8 file, or of stdin for -, but for empty ones; FileError where none."""
    try:
        if str(path) == "-":
            text = sys.stdin.buffer.read().decode("utf-8")
        else:
            text = path.read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        raise FileError(f"{path} cannot be read: {error}", mend="a UTF-8 text file") from None
    return [line.strip() for line in text.splitlines() if line.strip()]
