"""`chainrule bench`: chainrule beside its peers on this machine. Read next: `checks.py`."""

from __future__ import annotations

from typing import Any

import typer

from chainrule.cli.terminal import FINDINGS, AsJson, columns, show, show_json, tell

Workloads = typer.Argument(
    None,
    metavar="[WORKLOAD...]",
    help="cnn, gpt, mlp-128, mlp-32, recsys, recsys-large-adagrad, recsys-large-adam, "
    "recsys-large-sgd, lstm-32, lstm-128, gru-32, gru-128, resnet, tiny, tiny-arrays, tiny-many; "
    "or shapes, which times single products and convolutions.",
    show_default="all but shapes",
)
Peers = typer.Option(
    None,
    "--peers",
    metavar="NAME[,NAME...]",
    help="jax, keras, numpy, torch, or one form of them, as torch/compile.",
    show_default="all that are installed",
)
Pythons = typer.Option(
    None,
    "--python",
    metavar="NAME=PATH",
    help="The interpreter that has a framework installed; for each that is not in this one.",
    show_default=False,
)


def bench(
    workloads: list[str] | None = Workloads,
    peers: list[str] | None = Peers,
    pythons: list[str] | None = Pythons,
    rounds: int = typer.Option(9, min=1, help="Timed rounds of each form."),
    seconds: float = typer.Option(0.5, min=0.01, max=60, help="What a round takes."),
    again: int = typer.Option(
        20, min=0, help="Rounds of each form that are thrown away when other work disturbs them."
    ),
    threads: int = typer.Option(2, min=1, max=1024, help="Threads of every framework."),
    as_json: bool = AsJson,
) -> None:
    """Train the same nets with chainrule and its peers, in turns, and compare.

    All start from the same weights and see the same batches; only equal losses count.

    A framework that is not installed is left out. Exit code 1 when a form failed or does not count.
    """
    # The benchmark is a package beside this one; it is needed by this command alone.
    from chainrule_bench.compare import compare
    from chainrule_bench.report import tables
    from chainrule_bench.rounds import Plan

    plan = Plan(
        workloads=workloads or (),
        peers=[name for given in peers or () for name in given.split(",") if name],
        pythons=dict(map(named_path, pythons or ())),
        rounds=rounds,
        seconds=seconds,
        again=again,
        threads=threads,
    )
    result = compare(plan, tell)
    if as_json:
        show_json(result)
    else:
        for title, headings, rows in tables(result):
            table = columns(*headings)
            for row in rows:
                table.add_row(*row)
            show("", title, table)
    if faults(result):
        raise typer.Exit(FINDINGS)


def named_path(given: str) -> tuple[str, str]:
    """("torch", "/path/python") of torch=/path/python."""
    name, _, path = given.partition("=")
    if not name or not path:
        raise typer.BadParameter(f"{given!r} is not NAME=PATH.", param_hint="--python")
    return name, path


def faults(result: dict[str, Any]) -> list[str]:
    """The forms that failed or whose loss does not agree."""
    return [
        row["form"]
        for found in result["workloads"].values()
        for row in found["rows"]
        if not row["counts"]
    ]
