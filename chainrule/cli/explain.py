"""`chainrule explain`: where a gradient of a trained model comes from. Read next: `data.py`."""

from __future__ import annotations

import re
from enum import StrEnum

import typer

from chainrule.apps.runs import find_run
from chainrule.apps.tasks import open_run
from chainrule.cli.runs import RunName
from chainrule.cli.terminal import Threads, show, tell, use_threads
from chainrule.core.errors import ArgumentError, ShapeError
from chainrule.data.registry import load
from chainrule.explain import html
from chainrule.explain.catalogue import language
from chainrule.explain.explain import explain as explain_gradient
from chainrule.explain.explanation import Explanation
from chainrule.train.optim import SGD

ENTRY = re.compile(r"(?P<path>[^\[\]]+)(?:\[(?P<index>[-\d,\s]*)\])?")


class Format(StrEnum):
    """What `--format` takes."""

    rich = "rich"
    latex = "latex"
    html = "html"
    json = "json"


def explain(
    run: str = RunName,
    entry: str = typer.Argument(
        metavar="PARAMETER",
        help="A parameter's path, like conv2d.kernel, and the place of the entry in it, like "
        "conv2d.kernel[2,0,1,1]. Without a place: the largest entries of the whole tensor.",
        show_default=False,
    ),
    by: list[str] = typer.Option(
        ["auto"],
        help="What a table has a row for: example, output, unit, position, time, gate, "
        "lookup, use or path; two with a comma between for a row of each pair. Once for each "
        "table.",
    ),
    topk: int = typer.Option(5, min=1, max=100, help="How many rows each table has."),
    examples: int = typer.Option(
        32, min=1, max=65_536, help="The batch: so many first examples of the training part."
    ),
    form: Format = typer.Option(Format.rich, "--format", help="How the answer is written."),
    lang: str = typer.Option("auto", help="en or zh; auto asks LC_ALL, LC_MESSAGES and LANG."),
    threads: int | None = Threads,
) -> None:
    """Say what a gradient of a trained model is made of, and check it in float64."""
    use_threads(threads)
    spoken = language(lang)
    path, index = read_entry(entry)
    asked = "auto" if by == ["auto"] else [tuple(map(str.strip, each.split(","))) for each in by]
    task, learner = open_run(find_run(run))
    recipe = task.recipe(learner.data)
    part = task.split(load(learner.data, report=tell), recipe.validation).training
    x, y = learner.inputs(part.x[:examples]), part.y[:examples]
    names = {name.replace("/", "."): name for name in learner.model.named_parameters()}
    path = names.get(path.replace("/", "."), path)  # a layer's own name may have dots
    learner.model.compile(SGD(0.1), task.loss)  # no step is taken: the loss alone is needed
    try:
        found = explain_gradient(
            learner.model, x, y, path, index=index, by=asked, topk=topk, lang=spoken
        )
    except ShapeError as error:  # a place outside of the parameter: wrong use, not a finding
        raise ArgumentError(error.message, mend=error.mend) from None
    write(found, form, spoken)


def read_entry(text: str) -> tuple[str, tuple[int, ...] | None]:
    """(path with slashes, index or None) of what names an entry.

    >>> read_entry("conv1.kernel[2,0,1,1]"), read_entry("dense/bias")
    (('conv1/kernel', (2, 0, 1, 1)), ('dense/bias', None))
    """
    found = ENTRY.fullmatch(text.strip())
    numbers = re.split(r"\s*,\s*", found["index"].strip()) if found and found["index"] else []
    if not found or not all(re.fullmatch(r"-?\d{1,9}", number) for number in numbers):
        raise ArgumentError(
            f"a parameter is a path and perhaps a place, got {text!r}",
            mend="'conv2d.kernel[2,0,1,1]' or conv2d.kernel",
        )
    path = found["path"].strip().replace(".", "/")
    return path, tuple(int(number) for number in numbers) if numbers else None


def write(found: Explanation, form: Format, lang: str) -> None:
    """The explanation, on stdout."""
    if form is Format.rich:
        show(found)
    elif form is Format.html:
        print(html.document(found.page(lang), found.parameter))
    else:
        print(found.to_latex() if form is Format.latex else found.to_json(indent=2))
