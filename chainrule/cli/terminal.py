"""Where the command writes: data on stdout, all else on stderr, errors as one line.

Read next: `train.py`.
"""

from __future__ import annotations

import io
import json
import os
import sys
from collections.abc import Iterable
from typing import Any

import typer
import typer.core
from rich.console import Console
from rich.table import Table

from chainrule.apps.runs import jsonable
from chainrule.core.errors import ArgumentError, ChainruleError

FINDINGS, USAGE, INTERRUPTED = 1, 2, 130
WIDE = 1000  # columns of a table that goes to a file or a pipe, where nothing is to be cut off

AsJson = typer.Option(False, "--json", help="Print one JSON object and nothing else.")
Threads = typer.Option(
    None, min=1, max=1024, help="Threads of a step.", show_default="as many as may be used"
)


def use_threads(count: int | None) -> None:
    """Set the number of threads; it holds for what is compiled from now on."""
    if count is not None:
        os.environ["CHAINRULE_THREADS"] = str(count)


def console(stderr: bool = False) -> Console:
    """A console for stdout or stderr that takes text as it is, markup-like brackets included."""
    stream = sys.stderr if stderr else sys.stdout
    width = None if stream.isatty() else WIDE
    return Console(stderr=stderr, markup=False, highlight=False, emoji=False, width=width)


def show(*rows: Any) -> None:
    """Data, on stdout; into a file or a pipe without the spaces that fill up a table's columns."""
    writer = console()
    if writer.is_terminal:
        writer.print(*rows, sep="\n")
        return
    with writer.capture() as captured:
        writer.print(*rows, sep="\n")
    for line in captured.get().splitlines():
        print(line.rstrip())


def show_json(content: dict[str, Any]) -> None:
    """One JSON object, on stdout."""
    print(json.dumps(jsonable(content), ensure_ascii=False))


def tell(text: str) -> None:
    """Progress or a notice, on stderr."""
    console(stderr=True).print(text)


def columns(*names: str) -> Table:
    """An empty table with these headings."""
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for name in names:
        table.add_column(name, overflow="fold")
    return table


def facts(rows: Iterable[tuple[str, str]]) -> Table:
    """Names and what they are, below each other."""
    table = Table.grid(padding=(0, 2, 0, 0))
    for name, fact in rows:
        table.add_row(name, fact)
    return table


def tell_error(error: BaseException) -> None:
    """The error's type, what it says and how to mend it, on one line of stderr."""
    if isinstance(error, ChainruleError):
        text = f"{type(error).__name__}: {error.message}"
        mend = error.mend
    else:
        text = f"{type(error).__name__}: {error}"
        mend = "this is a fault of chainrule or of this machine; CHAINRULE_DEBUG=1 shows where"
    line = f"{text}; mend: {mend}" if mend else text
    console(stderr=True).print(line, style="red")


class Commands(typer.core.TyperGroup):
    """The commands, with chainrule's errors told in a line and turned into exit codes.

    `CHAINRULE_DEBUG=1` lets every error through with its traceback.
    """

    def invoke(self, ctx: Any) -> Any:
        """Run the command that was asked for."""
        for stream in (sys.stdout, sys.stderr):
            # A stream in ASCII must not end a training with an error when its result is shown.
            if isinstance(stream, io.TextIOWrapper):
                stream.reconfigure(errors="replace")
        if os.environ.get("CHAINRULE_DEBUG") == "1":
            return super().invoke(ctx)
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            tell("stopped")
            raise typer.Exit(INTERRUPTED) from None
        except BrokenPipeError:
            raise  # the reader has gone; the framework ends quietly
        except Exception as error:
            if hasattr(error, "exit_code"):  # the framework's own: usage, --help, Exit
                raise
            tell_error(error)
            raise typer.Exit(USAGE if isinstance(error, ArgumentError) else FINDINGS) from None
