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
from chainrule.apps.images import Mistake, Outcome
from chainrule.cli.terminal import columns, console, facts, show

PAIRS = 3  # how many confusions are named


def show_outcome(outcome: Outcome) -> None:
    """The test accuracy beside its baselines, the course of training, and where all of it is."""
    show("")
    show_accuracy(outcome)
    show("")
    history = outcome.history
    losses, hits = history.history["val_loss"], history.history["val_accuracy"]
    # The first epochs' losses are so much greater that on an even scale the rest would be flat.
    depths = [math.log(max(loss, 1e-9)) for loss in losses]
    pairs = Counter((each.true, each.given) for each in outcome.mistakes).most_common(PAIRS)
    told = ", ".join(f"{true} as {given} ({count})" for (true, given), count in pairs)
    files = ", ".join(sorted(os.listdir(outcome.run.path)))
    rows = (
        ("val_loss", course(depths, losses, outcome.best)),
        ("val_accuracy", course(hits, hits, outcome.best)),
        ("mistakes", told or "none"),
        ("stopped", history.reason),
        ("time", f"{outcome.seconds:.1f} s for {len(history.epoch)} epochs"),
        ("run folder", f"{outcome.run}: {files}"),
    )
    show(facts(rows))
    if outcome.mistakes and console().color_system in ("256", "truecolor"):
        show("", gallery(outcome.mistakes, console().width))


def course(marks: Sequence[float], values: Sequence[float], best: int) -> str:
    """A line of blocks, and the value of the first epoch and of the one whose weights are kept."""
    if len(values) == 1:
        return f"{values[0]:.4f}"
    return f"{sparkline(marks)}  {values[0]:.4f}, {values[best - 1]:.4f} in epoch {best}"


def show_accuracy(outcome: Outcome) -> None:
    """The one number, and the two that it must be compared with."""
    tested, accuracy = outcome.sizes["test"], outcome.test["accuracy"]
    table = columns("test accuracy", f"of {tested:,} images not trained on")
    right = round(accuracy * tested)
    table.add_row(f"{accuracy:.2%}", f"{outcome.recipe.maker}: {right:,} right", style="bold")
    nearest, majority = (outcome.baselines[name] for name in ("nearest_centroid", "majority"))
    table.add_row(f"{nearest:.2%}", "nearest class mean, for comparison")
    table.add_row(f"{majority:.2%}", "always the most frequent class")
    show(table)


def gallery(mistakes: Sequence[Mistake], width: int) -> Text:
    """As many of the images as fit side by side, two rows of pixels a line, with captions."""
    cell = max(mistakes[0].image.shape[1], *(len(caption(each)) for each in mistakes)) + 2
    shown = mistakes[: max(1, width // cell)]
    text = Text("taken for another:\n" if len(shown) == len(mistakes) else "some of them:\n")
    for row in range(0, mistakes[0].image.shape[0], 2):
        for each in shown:
            upper, lower = half_lines(each.image, row)
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
