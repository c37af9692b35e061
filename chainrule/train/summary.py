"""`summary`: a model as a table of layers: shapes, parameters, work, memory.

Read next: `progress.py`.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from rich.console import Console
from rich.table import Table

from chainrule.core.node import Node
from chainrule.core.recording import Recording
from chainrule.core.tensor import State, Tensor
from chainrule.nn.parts import held
from chainrule.ops.linear import extents
from chainrule.train.arrays import Features
from chainrule.train.ending import BATCH


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
    for moves. `memory` is the bytes of all intermediate results of one example before the
    compiler joins any, an upper bound. `parameters` counts what is trained, `frozen` what is not.
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


def summarise(model: Any, features: Features, kind: np.dtype, trained: list[str]) -> Summary:
    """The table of a built `model` for examples of `features`, floats in dtype `kind`.

    `trained` are paths of parameters.
    """
    with Recording(concrete=False) as recording:
        model(features.inputs(recording, BATCH, kind, model.reads_positions()))
    parts = [(name, part) for name, part in held(model) if not isinstance(part, Tensor)]
    own = [name for name, part in held(model) if isinstance(part, Tensor)]
    work: dict[str, list[Node]] = {}
    for node, origin in recording.origins.items():
        work.setdefault(origin.layer.split("/")[0] if origin.layer else "", []).append(node)
    tensors = {**model.named_parameters(), **model.named_states()}
    rows = [_row(name, part, work.get(name, []), tensors, trained) for name, part in parts]
    rest = [node for name, nodes in work.items() if name not in dict(parts) for node in nodes]
    if own or any(_flops(node) for node in rest):
        chosen = {name: tensors[name] for name in own if name in tensors}
        rows.append(_row("", model, rest, chosen, trained, whole=True))
    sizes = [t.dtype.itemsize for t in tensors.values() if not isinstance(t, State)]
    return Summary(model.name, rows, max(sizes, default=4))


def _row(
    name: str,
    part: Any,
    nodes: list[Node],
    tensors: dict[str, Tensor],
    trained: list[str],
    whole: bool = False,
) -> Row:
    inside = {path: t for path, t in tensors.items() if whole or path.startswith(f"{name}/")}
    moving = sum(t.size for path, t in inside.items() if path in trained)
    made = [node for node in nodes if node.inputs and node.shape[:1] == (BATCH,)]
    return Row(
        name or "(itself)",
        type(part).__name__,
        made[-1].shape[1:] if made else None,
        moving,
        sum(t.size for t in inside.values()) - moving,
        sum(map(_flops, made)) // BATCH,
        sum(node.size * node.dtype.itemsize for node in made if _flops(node)) // BATCH,
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
