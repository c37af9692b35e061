r"""`cond` and `checkpoint`: a node that holds graphs and runs one of them.

A condition chooses between two graphs; their backward graphs recompute what they need, so
nothing of a branch is kept. `checkpoint` is the same with one graph: its inner values are not
kept for the backward pass but computed again. Read next: `check.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import wraps
from typing import Any

import numpy as np

from chainrule.core.dtypes import BUNDLE
from chainrule.core.errors import ArgumentError, ShapeError
from chainrule.core.graph import Graph
from chainrule.core.node import Node, topological
from chainrule.core.op import Op, Spec, register
from chainrule.core.recording import Recording, bind, current, literal
from chainrule.core.tensor import Tensor, as_tensor, weak_tensor
from chainrule.core.tree import flatten, unflatten
from chainrule.grad.control import (
    Parts,
    blank_input,
    bundle,
    copy_nodes,
    floats,
    part,
    trace,
    zeros,
)
from chainrule.grad.forward import forward
from chainrule.grad.reverse import backward
from chainrule.grad.vmap import apply_batched, spread_batch
from chainrule.ops.elementwise import cast, strong, where


class Branches:
    """What a `choose` node holds: graphs with the same inputs and the same outputs.

    The node's first input says which of them runs. `again` marks the backward of a checkpoint:
    the first of its inputs, that many, are read only once the cotangents are there.
    """

    def __init__(self, graphs: Sequence[Graph], again: int = 0):
        self.graphs = list(graphs)
        self.again = again

    def __repr__(self) -> str:
        return f"<{' or '.join(f'{len(g.order)} nodes' for g in self.graphs)}>"

    def like(self, index: int) -> Any:
        """The shape and dtype of entry `index` of the bundle."""
        return self.graphs[0].outputs[index]

    def graphs_run(self) -> list[tuple[Graph, int]]:
        """Each graph that is held, and how many times it runs at most."""
        return [(graph, 1) for graph in self.graphs]

    def needing(self, wanted: Sequence[int]) -> tuple[Branches, list[int]]:
        """The branches that give only the entries `wanted`, and which inputs they take."""
        graphs = [Graph(g.inputs, [g.outputs[i] for i in wanted], g.origins) for g in self.graphs]
        return Branches(graphs, self.again), list(range(len(self.graphs[0].inputs) + 1))

    def batched_part(self, whole: Tensor, node: Node, size: int) -> Tensor:
        """An entry of a batched bundle."""
        return part(whole, node.attrs["index"], Spec((size, *node.shape), node.dtype))


def _ref(which: np.ndarray, *arrays: np.ndarray, holds: Branches) -> np.ndarray:
    return bundle(holds.graphs[int(which)].run(*arrays))


def _infer(which: Any, *inputs: Any, holds: Branches) -> Spec:
    return Spec((len(holds.graphs[0].outputs),), BUNDLE)


def _vjp(
    g: Parts, y: Tensor, which: Tensor, *inputs: Tensor, holds: Branches
) -> list[Tensor | None]:
    moving = floats(inputs)
    graphs = [_pullback(graph, moving, list(g.found)) for graph in holds.graphs]
    again = len(inputs) if len(graphs) == 1 else 0
    whole = choose_op(which, *inputs, *g.found.values(), holds=Branches(graphs, again))
    made: list[Tensor | None] = [None] * (1 + len(inputs))
    for place, i in enumerate(moving):
        made[1 + i] = part(whole, place, inputs[i])
    return made


def _pullback(graph: Graph, moving: Sequence[int], seeds: Sequence[int]) -> Graph:
    """The cotangents of the inputs `moving` from the inputs and the cotangents of `seeds`."""
    with Recording(concrete=False) as recording:
        found = {node: blank_input(recording, node) for node in graph.inputs}
        copy_nodes(graph.outputs, found, recording, graph.origins)
        given = [blank_input(recording, graph.outputs[i]) for i in seeds]
        wrt = [found[graph.inputs[i]] for i in moving]
        grads = backward([found[graph.outputs[i]] for i in seeds], given, wrt)
        made = [zeros(x) if g is None else g for x, g in zip(wrt, grads, strict=True)]
        leaves = [recording.node_of(found[node]) for node in graph.inputs]
        return Graph(
            [*leaves, *map(recording.node_of, given)],
            [recording.node_of(x) for x in made],
            recording.origins,
        )


def _jvp(
    tangents: Sequence[Tensor], y: Tensor, which: Tensor, *inputs: Tensor, holds: Branches
) -> Tensor:
    graphs = [_pushed(graph) for graph in holds.graphs]
    return choose_op(which, *inputs, *tangents[1:], holds=Branches(graphs, holds.again))


def _pushed(graph: Graph) -> Graph:
    """The tangents of the outputs from the inputs and their tangents."""
    with Recording(concrete=False) as recording:
        found = {node: blank_input(recording, node) for node in graph.inputs}
        leaves = [recording.node_of(x) for x in found.values()]
        moved = [blank_input(recording, node) for node in graph.inputs]
        copy_nodes(graph.outputs, found, recording, graph.origins)
        which = floats(graph.inputs)
        wrt = [found[graph.inputs[i]] for i in which]
        ends = [found[n] for n in graph.outputs]
        along = forward(ends, wrt, [moved[i] for i in which])
        made = [zeros(n) if t is None else t for n, t in zip(graph.outputs, along, strict=True)]
        outputs = [recording.node_of(t) for t in made]
        return Graph([*leaves, *map(recording.node_of, moved)], outputs, recording.origins)


def _batch(op: Op, node: Node, inputs: list, flags: list, size: int) -> Any:
    """The branches for a batch; where each example chooses, both run and `where` picks."""
    holds: Branches = node.attrs["holds"]
    if flags[0] and len(holds.graphs) == 2:
        return op(_first(), *inputs, holds=Branches([_picked(holds.graphs, flags, size)]))
    graphs = [_batched(graph, flags[1:], size) for graph in holds.graphs]
    return op(*inputs, holds=Branches(graphs, holds.again))


def _batched(graph: Graph, flags: Sequence[bool], size: int) -> Graph:
    with Recording(concrete=False) as recording:
        found = _widened(graph.inputs, flags, size)
        leaves = [recording.node_of(x) for x in found.values()]
        made = _run_wide(graph, found, flags, size)
        return Graph(leaves, [recording.node_of(x) for x in made], recording.origins)


def _picked(graphs: Sequence[Graph], flags: Sequence[bool], size: int) -> Graph:
    with Recording(concrete=False) as recording:
        which = blank_input(recording, Spec((size,), np.dtype(bool)))
        found = _widened(graphs[0].inputs, flags[1:], size)
        leaves = [recording.node_of(x) for x in (which, *found.values())]
        outputs = []
        for graph in graphs:
            own = dict(zip(graph.inputs, found.values(), strict=True))
            outputs.append(_run_wide(graph, own, flags[1:], size))
        made = [
            where(which.reshape((size,) + (1,) * (yes.ndim - 1)), yes, no)
            for no, yes in zip(*outputs, strict=True)
        ]
        return Graph(leaves, [recording.node_of(x) for x in made], recording.origins)


def _widened(nodes: Sequence[Node], flags: Sequence[bool], size: int) -> dict[Node, Tensor]:
    recording = current()
    assert recording is not None
    return {
        n: blank_input(recording, Spec((size, *n.shape) if flag else n.shape, n.dtype))
        for n, flag in zip(nodes, flags, strict=True)
    }


def _run_wide(
    graph: Graph, found: dict[Node, Tensor], flags: Sequence[bool], size: int
) -> list[Tensor]:
    marked = {n for n, flag in zip(graph.inputs, flags, strict=True) if flag}
    apply_batched(topological(graph.outputs, found), found, marked, size)
    return [spread_batch(found[n], n in marked, size) for n in graph.outputs]


def _first() -> Tensor:
    return literal(value=False, shape=(), dtype="bool")


choose_op = register(
    Op(
        name="choose",
        kind="control",
        tex=r"\mathrm{choose}(#1)",
        ref=_ref,
        infer=_infer,
        vjp=_vjp,
        jvp=_jvp,
        batch=_batch,
    )
)


def cond(pred: Any, yes: Callable, no: Callable, *args: Any) -> Any:
    """`yes(*args)` where the scalar `pred` holds, else `no(*args)`; only that one is computed.

    Both are recorded, and must give trees of the same shapes and dtypes (ShapeError). Under
    `vmap` with a `pred` for each example both are computed.

    >>> cond(Tensor(np.array(True)), lambda x: x * 2, lambda x: x, np.float32(3))
    Tensor(6., dtype=float32)
    """
    pred = as_tensor(pred)
    if pred.shape != () or pred.dtype.kind == "f":
        raise ShapeError(
            f"cond needs one truth value, got {pred.dtype}{list(pred.shape)}",
            mend="cr.where(pred, x, z) chooses element by element",
        )
    for name, fn in (("yes", yes), ("no", no)):
        if not callable(fn):
            raise ArgumentError(
                f"cond needs a function for {name}, got {fn!r}",
                mend="cond(pred, lambda x: ..., lambda x: ..., x); cr.where chooses values",
            )
    given = [strong(weak_tensor(x)) for x in flatten(args)[0]]
    trees = unflatten(flatten(args)[1], given)
    traced = [trace(fn, *trees) for fn in (no, yes)]
    ends = [[(n.shape, n.dtype) for n in each.graph.outputs] for each in traced]
    if traced[0].structure != traced[1].structure or ends[0] != ends[1]:
        raise ShapeError(
            f"both functions of cond must give alike: {_told(ends[1])}, {_told(ends[0])}"
        )
    captured = [traced[0].captured, traced[1].captured]
    foreign = [captured[1], captured[0]]
    graphs = []
    for which, each in enumerate(traced):
        inputs, own = list(each.graph.inputs), len(given)
        blanks = [_unread(t) for t in foreign[which]]
        parts = [inputs[own:], blanks] if which == 0 else [blanks, inputs[own:]]
        graphs.append(
            Graph([*inputs[:own], *parts[0], *parts[1]], each.graph.outputs, each.graph.origins)
        )
    holds = Branches(graphs)
    whole = bind(choose_op, cast(pred, "bool"), *given, *captured[0], *captured[1], holds=holds)
    made = [part(whole, i, n) for i, n in enumerate(graphs[0].outputs)]
    return unflatten(traced[0].structure, made)


def _unread(like: Tensor) -> Node:
    """An input that a graph has only because the other branch reads it."""
    return blank_input(Recording(concrete=False), like).node  # type: ignore[return-value]


def _told(ends: Sequence[tuple]) -> str:
    return " and ".join(f"{dtype}{list(shape)}" for shape, dtype in ends) or "nothing"


def checkpoint(fn: Callable) -> Callable:
    """`fn`, of whose inner values none is kept for the backward pass: they are computed again.

    It trades time for memory: of a chain of n layers, checkpointed in groups, what is alive at
    once is the inputs of the groups and the inside of one. Gradients are the same.

    >>> from chainrule.grad.reverse import grad
    >>> grad(checkpoint(lambda x: x * x * x))(2.0)
    Tensor(12., dtype=float32)
    """

    @wraps(fn)
    def wrapped(*args: Any) -> Any:
        if current() is None:
            return fn(*args)
        leaves, structure = flatten(args)
        moving = [hasattr(x, "dtype") or isinstance(x, float) for x in leaves]
        given = [strong(weak_tensor(x)) for x, moves in zip(leaves, moving, strict=True) if moves]

        def again(*tensors: Tensor) -> Any:
            source = iter(tensors)
            rows = zip(leaves, moving, strict=True)
            return fn(*unflatten(structure, [next(source) if m else x for x, m in rows]))

        traced = trace(again, *given)
        inputs = [*given, *traced.captured]
        whole = bind(choose_op, _first(), *inputs, holds=Branches([traced.graph]))
        made = [part(whole, i, n) for i, n in enumerate(traced.graph.outputs)]
        return unflatten(traced.structure, made)

    return wrapped
