"""`chainrule cache` and `chainrule cache clear`. Read next: `checks.py`."""

from __future__ import annotations

import typer

from chainrule.cli.data import readable_size
from chainrule.cli.terminal import AsJson, show, show_json
from chainrule.compile import cache

app = typer.Typer(invoke_without_command=True)


@app.callback()
def describe(context: typer.Context, as_json: bool = AsJson) -> None:
    """Compiled code and plans kept on disk, so that a program starts fast the next time."""
    if context.invoked_subcommand is None:
        report(cache.usage(), "", as_json)


@app.command("clear")
def clear(as_json: bool = AsJson) -> None:
    """Remove all of it; programs compile anew when they need it."""
    report(cache.clear(), "removed ", as_json)


def report(usage: cache.Usage, what: str, as_json: bool) -> None:
    """What the cache holds, or held."""
    folder = str(cache.cache_folder())
    if as_json:
        show_json({"folder": folder, "limit": cache.most_bytes(), **usage._asdict()})
    else:
        most = "" if what else f" of {readable_size(cache.most_bytes())}"
        show(f"{what}{usage.files} files, {readable_size(usage.bytes)}{most}, in {folder}")
