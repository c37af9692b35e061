"""`summary`: a model as a table of layers: shapes, parameters, work, memory.

Read next: `progress.py`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import numpy as np
from rich.console import Console
from rich.table import Table

from chainrule.core.node import Node, Origin
from chainrule.core.recording import Recording
from chainrule.core.tensor import State, Tensor
from chainrule.core.tree import flatten
from chainrule.nn.parts import held
from chainrule.ops.linear import extents
from chainrule.train.arrays import Features


class Row(NamedTuple):
    """A layer: what it holds and what one example costs in it."""

    name: str
    kind: str
    output: tuple[int, ...] | None
    parameters: int
    frozen: int
    flops: int
    memory: int


class Summary:
    """The layers of a model for examples of one shape; prints as a table.

    `flops` counts, for one example without training, 2 for each multiplication and addition of a
    contraction, 1 for each element of an elementwise result or of a reduction's input, nothing
    for moves; a loop counts its body for each step, a condition all its branches. `memory` is the
    bytes of all intermediate results of one example before the compiler joins any, an upper bound.
    `parameters` counts what is trained, `frozen` what is not.
    """

    def __init__(self, name: str, rows: list[Row], itemsize: int):
        self.name = name
        self.rows = rows
        self.itemsize = itemsize

    @property
    def parameters(self) -> int:
        """How many numbers are trained."""
        return sum(row.parameters for row in self.rows)

    @property
    def frozen(self) -> int:
        """How many numbers are kept but not trained."""
        return sum(row.frozen for row in self.rows)

    @property
    def flops(self) -> int:
        """Operations for one example."""
        return sum(row.flops for row in self.rows)

    @property
    def memory(self) -> int:
        """Bytes of intermediate results for one example."""
        return sum(row.memory for row in self.rows)

    def __rich__(self) -> Table:
        size = (self.parameters + self.frozen) * self.itemsize
        caption = (
            f"{self.parameters:,} trained, {self.frozen:,} not; {_bytes(size)} of weights; "
            f"per example {_short(self.flops)} FLOPs, {_bytes(self.memory)} of results"
        )
        table = Table(title=self.name, caption=caption)
        for heading in ("layer", "class", "output"):
            table.add_column(heading, overflow="fold")
        for heading in ("parameters", "FLOPs", "results"):
            table.add_column(heading, justify="right")
        for row in self.rows:
            shape = "" if row.output is None else str((None, *row.output))
            counted = f"{row.parameters + row.frozen:,}"
            cells = (row.name, row.kind, shape, counted, _short(row.flops), _bytes(row.memory))
            table.add_row(*cells)
        return table

    def __str__(self) -> str:
        console = Console(width=100, color_system=None)
        with console.capture() as captured:
            console.print(self)
        return captured.get()


def summarise(
    model: Any, features: Features, kind: np.dtype, trained: list[str], batch: int
) -> Summary:
    """The table of a built `model` for examples of `features`, floats in dtype `kind`.

    `trained` are paths of parameters; the model is called once on a blank batch of size `batch`.
    """
    with Recording(concrete=False) as recording:
        x = features.inputs(recording, batch, kind, model.reads_positions())
        model(x)
        given = {recording.node_of(each) for each in flatten(x)[0]}
    parts = [(name, part) for name, part in held(model) if not isinstance(part, Tensor)]
    own = [name for name, part in held(model) if isinstance(part, Tensor)]
    work: dict[str, list[Work]] = {}
    for each in _worked(_reached(recording.origins, given)):
        work.setdefault(each.origin.layer.split("/")[0], []).append(each)
    tensors = {**model.named_parameters(), **model.named_states()}
    rows = [_row(name, part, work.get(name, []), tensors, trained, batch) for name, part in parts]
    rest = [each for name, found in work.items() if name not in dict(parts) for each in found]
    if own or any(_flops(each.node) for each in rest):
        chosen = {name: tensors[name] for name in own if name in tensors}
        rows.append(_row("", model, rest, chosen, trained, batch, whole=True))
    sizes = [t.dtype.itemsize for t in tensors.values() if not isinstance(t, State)]
    return Summary(model.name, rows, max(sizes, default=4))


class Work(NamedTuple):
    """A node that depends on the input, where it came from, and how many times it runs."""

    node: Node
    origin: Origin
    times: int


def _reached(origins: dict[Node, Origin], given: set[Node]) -> Iterator[Work]:
    """The nodes that depend on `given`; `origins` has them inputs before users."""
    reached = set(given)
    for node, origin in origins.items():
        if not reached.isdisjoint(node.inputs):
            reached.add(node)
            yield Work(node, origin, 1)


def _worked(found: Iterable[Work]) -> Iterator[Work]:
    """`found`, each control node after what the graphs that it holds do."""
    for node, origin, times in found:
        holds = node.attrs.get("holds")
        for graph, more in holds.graphs_run() if holds else ():
            inside = [n for n in graph.order if n.inputs]
            yield from _worked(Work(n, graph.origins.get(n, origin), times * more) for n in inside)
        yield Work(node, origin, times)


def _row(
    name: str,
    part: Any,
    found: list[Work],
    tensors: dict[str, Tensor],
    trained: list[str],
    batch: int,
    whole: bool = False,
) -> Row:
    inside = {path: t for path, t in tensors.items() if whole or path.startswith(f"{name}/")}
    moving = sum(t.size for path, t in inside.items() if path in trained)
    made = [each.node.shape[1:] for each in found if each.node.shape[:1] == (batch,)]
    counted = [(node, times) for node, _, times in found if _flops(node)]
    return Row(
        name or "(itself)",
        type(part).__name__,
        made[-1] if made else None,
        moving,
        sum(t.size for t in inside.values()) - moving,
        sum(_flops(node) * times for node, times in counted) // batch,
        sum(node.size * node.dtype.itemsize * times for node, times in counted) // batch,
    )


def _flops(node: Node) -> int:
    kind = node.op.kind
    if kind == "contraction":
        extent = extents(node.attrs["spec"], *node.inputs)
        return 2 * int(np.prod(list(extent.values()), dtype=np.int64))
    if kind == "reduction":
        return node.inputs[0].size
    return node.size if kind == "elementwise" and node.op.name != "cast" else 0


def _short(count: float) -> str:
    for unit in ("", "k", "M", "G"):
        if count < 1000:
            return f"{count:.3g}{unit}"
        count /= 1000
    return f"{count:.3g}T"


def _bytes(count: float) -> str:
    return "0" if not count else _short(count) + "B"
