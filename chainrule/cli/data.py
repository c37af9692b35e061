"""`chainrule data list` and `chainrule data get`. Read next: `checks.py`."""

from __future__ import annotations

import typer

from chainrule.cli.terminal import AsJson, columns, show, show_json, tell
from chainrule.data.registry import Dataset, datasets, find, get, is_cached

app = typer.Typer(no_args_is_help=True)


@app.command("list")
def list_sets(as_json: bool = AsJson) -> None:
    """Every data set: what it is, its licence and size, and whether it is on this machine."""
    if as_json:
        show_json({"datasets": [described(dataset) for dataset in datasets()]})
        return
    table = columns("name", "here", "size", "licence", "what")
    for dataset in datasets():
        here = "yes" if is_cached(dataset.name) else "no"
        table.add_row(
            dataset.name, here, readable_size(dataset.size), dataset.licence, dataset.about
        )
    show(table)
    if not all(is_cached(dataset.name) for dataset in datasets()):
        tell("fetch one with: chainrule data get NAME")


@app.command("get")
def get_set(
    name: str = typer.Argument(help="A name that `chainrule data list` gives."),
    as_json: bool = AsJson,
) -> None:
    """Fetch a data set, check every byte of it, and print the folder it lies in."""
    dataset = find(name)
    folder = get(name, report=tell)
    for file in dataset.files:
        tell(f"{file.name}  {file.size:,} bytes  sha256 {file.sha256} ok")
    if as_json:
        files = [{"name": f.name, "bytes": f.size, "sha256": f.sha256} for f in dataset.files]
        show_json({**described(dataset), "folder": str(folder), "files": files})
    else:
        show(str(folder))


def described(dataset: Dataset) -> dict[str, object]:
    """A data set in JSON's terms."""
    return {
        "name": dataset.name,
        "here": is_cached(dataset.name),
        "bytes": dataset.size,
        "licence": dataset.licence,
        "about": dataset.about,
    }


def readable_size(count: int) -> str:
    """A number of bytes for people.

    >>> readable_size(45_394), readable_size(54_950_048)
    ('45 kB', '55 MB')
    """
    return f"{count / 1e6:.0f} MB" if count >= 1e6 else f"{count / 1e3:.0f} kB"
