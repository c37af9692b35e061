"""The result of a training for people: numbers beside baselines, and what went wrong.

Read next: `runs.py`.
"""

from __future__ import annotations

import math
import os
from collections import Counter
from collections.abc import Sequence

import numpy as np
from rich.text import Text

from chainrule.apps.curve import sparkline
from chainrule.apps.tasks import Mistake
from chainrule.apps.training import Outcome
from chainrule.cli.terminal import columns, console, facts, show

PAIRS = 3  # how many confusions are named


def show_outcome(outcome: Outcome) -> None:
    """The test result beside its baselines, the course of training, and where all of it is."""
    show("")
    show_result(outcome)
    show("")
    history, measure = outcome.history, outcome.task.measure
    losses, reached = history.history["val_loss"], history.history[f"val_{measure}"]
    # The first epochs' losses are so much greater that on an even scale the rest would be flat.
    depths = [math.log(max(loss, 1e-9)) for loss in losses]
    files = ", ".join(sorted(os.listdir(outcome.run.path)))
    rows = (
        ("split", outcome.told),
        ("val_loss", course(depths, losses, outcome.best)),
        (f"val_{measure}", course(reached, reached, outcome.best)),
        ("mistakes", confusions(outcome)),
        ("stopped", history.reason),
        ("time", f"{outcome.seconds:.1f} s for {len(history.epoch)} epochs"),
        ("run folder", f"{outcome.run}: {files}"),
    )
    show(facts(row for row in rows if row[1]))
    pictures = outcome.mistakes and isinstance(outcome.mistakes[0].example, np.ndarray)
    if pictures and console().color_system in ("256", "truecolor"):
        show("", gallery(outcome.mistakes, console().width))


def confusions(outcome: Outcome) -> str:
    """The most frequent mistakes; "" where the task is not to tell classes apart."""
    if outcome.task.measure != "accuracy":
        return ""
    pairs = Counter((each.true, each.given) for each in outcome.mistakes).most_common(PAIRS)
    return ", ".join(f"{true} as {given} ({count})" for (true, given), count in pairs) or "none"


def course(marks: Sequence[float], values: Sequence[float], best: int) -> str:
    """A line of blocks, and the value of the first epoch and of the one whose weights are kept."""
    if len(values) == 1:
        return f"{values[0]:.4f}"
    return f"{sparkline(marks)}  {values[0]:.4f}, {values[best - 1]:.4f} in epoch {best}"


def show_result(outcome: Outcome) -> None:
    """The one number, those that it must be compared with, and whether one of them is better."""
    task, tested = outcome.task, outcome.sizes["test"]
    reached = outcome.test[task.measure]
    table = columns(f"test {task.measure}", f"of {tested:,} {task.things} not trained on")
    told = outcome.recipe.maker
    if task.measure == "accuracy":
        told += f": {round(reached * tested):,} right"
    table.add_row(task.tell(reached), told, style="bold")
    for rival in task.rivals:
        table.add_row(task.tell(outcome.baselines[rival.name]), rival.label)
    show(table)
    for rival in task.rivals:
        if rival.name in outcome.beaten_by:
            show(f"{rival.short} does better than {outcome.recipe.maker} here.")


def gallery(mistakes: Sequence[Mistake], width: int) -> Text:
    """As many of the images as fit side by side, two rows of pixels a line, with captions."""
    cell = max(mistakes[0].example.shape[1], *(len(caption(each)) for each in mistakes)) + 2
    shown = mistakes[: max(1, width // cell)]
    text = Text("taken for another:\n" if len(shown) == len(mistakes) else "some of them:\n")
    for row in range(0, mistakes[0].example.shape[0], 2):
        for each in shown:
            upper, lower = half_lines(each.example, row)
            for above, below in zip(upper, lower):
                text.append("▀", f"rgb({above},{above},{above}) on rgb({below},{below},{below})")
            text.append(" " * (cell - len(upper)))
        text.append("\n")
    text.append("".join(caption(each).ljust(cell) for each in shown).rstrip())
    return text


def half_lines(image: np.ndarray, row: int) -> tuple[np.ndarray, np.ndarray]:
    """Two rows of grey values 0 .. 255; a missing last one is black."""
    grey = np.rint(255 * image.mean(axis=-1)).astype(int)
    return grey[row], grey[row + 1] if row + 1 < len(grey) else np.zeros_like(grey[row])


def caption(mistake: Mistake) -> str:
    """Class and answer."""
    return f"{mistake.true} as {mistake.given}"
