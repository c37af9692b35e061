"""`chainrule`: the commands and what they have in common.

Exit codes: 0 fine, 1 findings or failure, 2 usage, 130 stopped by Ctrl-C. Read next:
`terminal.py`.
"""

from __future__ import annotations

from importlib.metadata import version

import typer

from chainrule.cli import bench, cache, checks, data, explain, runs, train
from chainrule.cli.terminal import Commands

app = typer.Typer(
    name="chainrule",
    cls=Commands,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.add_typer(train.app, name="train", help="Train a model; the run folder holds all of it.")
app.command("evaluate")(runs.evaluate)
app.command("predict")(runs.predict)
app.command("explain")(explain.explain)
app.add_typer(data.app, name="data", help="The data sets: which there are, and fetching them.")
app.command("bench")(bench.bench)
app.add_typer(cache.app, name="cache", help="Compiled code and plans kept on disk.")
app.command("checks")(checks.checks)


def print_version(wanted: bool) -> None:
    """The version alone."""
    if wanted:
        typer.echo(f"chainrule {version('chainrule')}")
        raise typer.Exit


@app.callback()
def main(
    show_version: bool = typer.Option(
        False, "--version", callback=print_version, is_eager=True, help="Print the version."
    ),
) -> None:
    """Deep learning in Python that shows its work.

    Data goes to stdout, progress to stderr. Exit codes: 0 fine, 1 findings or failure, 2 usage.
    """
