"""The course of a training: `curve.png` where Matplotlib is there, else `curve.txt`.

Read next: `chainrule/cli/main.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from chainrule.apps.runs import write_text
from chainrule.core.errors import FileError
from chainrule.explain.numerals import sparkline

TRAINING, OTHER, QUIET = "#4c72b0", "#dd8452", "#8c8c8c"


def draw_curve(
    folder: Path,
    history: Mapping[str, Sequence[float]],
    *,
    title: str,
    best: int,
    levels: Mapping[str, float],
    measure: str = "accuracy",
    tell: Callable[[float], str] = "{:.1%}".format,
) -> Path:
    """Write the picture of the loss and the `measure` into `folder` and give its path.

    `best` is the epoch whose weights were kept, from 1; `levels` are values of the measure that do
    not change over the epochs, by name. FileError where the file cannot be written.
    """
    try:
        from matplotlib.figure import Figure
        from matplotlib.ticker import LogLocator, NullLocator
    except ImportError:
        return text_curve(folder / "curve.txt", history, title)
    figure = Figure(figsize=(8, 3.2), layout="constrained")
    figure.suptitle(title, fontsize=10)
    losses, measures = figure.subplots(1, 2)
    draw_lines(losses, "loss", history, best)
    draw_lines(measures, measure, history, best)
    losses.set_yscale("log")
    losses.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    losses.yaxis.set_major_formatter("{x:g}")
    losses.yaxis.set_minor_locator(NullLocator())
    losses.legend(frameon=False, fontsize=8)
    mark_levels(measures, levels, tell)
    path = folder / "curve.png"
    try:
        figure.savefig(path, dpi=100)
    except OSError as error:
        raise FileError(f"{path} cannot be written: {error}", mend="make room") from None
    return path


def draw_lines(axes: Any, name: str, history: Mapping[str, Sequence[float]], best: int) -> None:
    """A metric in training and in validation, and the epoch whose weights were kept."""
    for key, label, colour in ((name, "training", TRAINING), (f"val_{name}", "validation", OTHER)):
        values = history.get(key, ())
        mark = "o" if len(values) < 3 else None
        axes.plot(range(1, len(values) + 1), values, label=label, color=colour, marker=mark)
    axes.set(xlabel="epoch", ylabel=name)
    axes.spines[["top", "right"]].set_visible(False)
    axes.xaxis.get_major_locator().set_params(integer=True, min_n_ticks=1)
    if best:
        axes.axvline(best, color=QUIET, linewidth=0.8, linestyle=":", label="weights kept")


def mark_levels(axes: Any, levels: Mapping[str, float], tell: Callable[[float], str]) -> None:
    """A thin labelled line for each value of the measure that is one number."""
    for place, (label, value) in enumerate(sorted(levels.items(), key=lambda level: level[1])):
        axes.axhline(value, color=QUIET, linewidth=0.8, linestyle="--")
        axes.annotate(
            f" {label} {tell(value)}",
            (1, value),
            xycoords=("axes fraction", "data"),
            va="bottom" if place else "top",  # two that are close do not cover each other
            fontsize=8,
            color="#555555",
        )


def text_curve(path: Path, history: Mapping[str, Sequence[float]], title: str) -> Path:
    """The numbers of each epoch in columns, under a line of blocks for each of them."""
    names = list(history)
    rows = [title, ""]
    rows += [f"{name:<13}{sparkline(history[name])}" for name in names]
    rows += ["", "epoch" + "".join(f"{name:>14}" for name in names)]
    for epoch in range(max(map(len, history.values()), default=0)):
        rows.append(f"{epoch + 1:5d}" + "".join(f"{history[name][epoch]:14.5f}" for name in names))
    write_text(path, "\n".join(rows) + "\n")
    return path
