"""The rewrite engine: rules that read as algebra, applied to a whole graph in one walk.

A rule is a function whose decorator shows what it replaces: `@rewrite(x * 1)` for a pattern,
`@rewrite_op("transpose")` for any node of an op. The graph is recorded anew from its inputs;
each node, its inputs rewritten already, is offered to the rules of its op until none fires; so
is every node of what a rule puts in its place.
Origins go along by themselves. Read next: `algebra.py`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from chainrule.core.graph import Graph
from chainrule.core.node import Node, topological
from chainrule.core.recording import Recording
from chainrule.core.tensor import Tensor

COMMUTES = ("add", "multiply", "maximum")
LIMIT = 50  # rewrites one inside the other; more means two rules undo each other


@dataclass(frozen=True, eq=False)
class Pattern:
    """A tree to match: a variable, a number, or an op of patterns."""

    op: str = ""
    parts: tuple[Any, ...] = ()
    variable: str = ""

    def __add__(self, other: Any) -> Pattern:
        return Pattern("add", (self, other))

    def __radd__(self, other: Any) -> Pattern:
        return Pattern("add", (other, self))

    def __sub__(self, other: Any) -> Pattern:
        return Pattern("subtract", (self, other))

    def __mul__(self, other: Any) -> Pattern:
        return Pattern("multiply", (self, other))

    def __truediv__(self, other: Any) -> Pattern:
        return Pattern("divide", (self, other))

    def __pow__(self, other: Any) -> Pattern:
        return Pattern("power", (self, other))

    def __neg__(self) -> Pattern:
        return Pattern("negative", (self,))


def op(name: str, *parts: Any) -> Pattern:
    """The pattern of an op that has no operator."""
    return Pattern(name, parts)


x, z = Pattern(variable="x"), Pattern(variable="z")


def match(pattern: Any, node: Node, found: dict[str, Node]) -> dict[str, Node] | None:
    """What the variables stand for when `node` has the pattern's form, else None."""
    if not isinstance(pattern, Pattern):
        same = node.op.name == "literal" and node.attrs["value"] == pattern
        return found if same else None
    if pattern.variable:
        bound = found.get(pattern.variable)
        if bound is not None:
            return found if bound is node else None
        return {**found, pattern.variable: node}
    if node.op.name != pattern.op:
        return None
    orders = [pattern.parts]
    if pattern.op in COMMUTES:
        orders.append(pattern.parts[::-1])
    for parts in orders:
        result: dict[str, Node] | None = found
        for part, source in zip(parts, node.inputs, strict=True):
            result = match(part, source, result) if result is not None else None
        if result is not None:
            return result
    return None


@dataclass(frozen=True, eq=False)
class Rewrite:
    """One rule: `apply(node, recording)` gives the replacement or None."""

    name: str
    op: str
    doc: str
    apply: Callable[[Node, Recording], Tensor | None]
    pattern: Pattern | None = None


RULES: dict[str, list[Rewrite]] = {}


def _register(rule: Rewrite) -> None:
    if any(rule.name == other.name for rules in RULES.values() for other in rules):
        raise ImportError(f"rewrite {rule.name} is registered twice")
    if "->" not in rule.doc:
        raise ImportError(f"rewrite {rule.name} lacks a docstring 'before -> after'")
    RULES.setdefault(rule.op, []).append(rule)


def rewrite(pattern: Pattern) -> Callable:
    """Register a rule for a pattern; the function takes its variables and gives the new form."""

    def made(fn: Callable) -> Callable:
        def apply(node: Node, recording: Recording) -> Tensor | None:
            found = match(pattern, node, {})
            return (
                None
                if found is None
                else fn(**{name: recording.tensor(n) for name, n in found.items()})
            )

        _register(Rewrite(fn.__name__, pattern.op, fn.__doc__ or "", apply, pattern))
        return fn

    return made


def rewrite_op(name: str) -> Callable:
    """Register a rule for one op; the function takes the node and a function from nodes to
    tensors, and gives the replacement or None."""

    def made(fn: Callable) -> Callable:
        def apply(node: Node, recording: Recording) -> Tensor | None:
            return fn(node, recording.tensor)

        _register(Rewrite(fn.__name__, name, fn.__doc__ or "", apply))
        return fn

    return made


def rewrite_graph(
    graph: Graph, rules: dict[str, list[Rewrite]] | None = None
) -> tuple[Graph, list[str]]:
    """`graph` after every rule that fires, and the names of those that did, in order."""
    with Recording(concrete=False) as recording:
        walk = _Walk(recording, RULES if rules is None else rules)
        found: dict[Node, Tensor] = {}
        for node in graph.inputs:
            found[node] = recording.input(_stand_in(node))
        for node in graph.order:
            if node not in found:
                recording.origin = graph.origins.get(node)
                inputs = [found[source] for source in node.inputs]
                tensor = recording.apply(node.op, inputs, node.attrs, origin=recording.origin)
                found[node] = walk.settled(tensor, 0)
                assert found[node].shape == node.shape and found[node].dtype == node.dtype, node
        recording.origin = None
    first, last = (
        [recording.node_of(found[n]) for n in group] for group in (graph.inputs, graph.outputs)
    )
    return Graph(first, last, recording.origins), walk.fired


def _stand_in(node: Node) -> Tensor:
    return Tensor(np.broadcast_to(np.zeros((), node.dtype), node.shape))


class _Walk:
    """One rewriting: `done` are nodes no rule fires on, `fired` the rules that did."""

    def __init__(self, recording: Recording, table: dict[str, list[Rewrite]]):
        self.recording, self.table = recording, table
        self.done: set[Node] = set()
        self.fired: list[str] = []

    def settled(self, tensor: Tensor, depth: int) -> Tensor:
        """What becomes of a node; every new node of a replacement is offered to the rules too."""
        here = self.recording.node_of(tensor)
        if here in self.done:
            return tensor
        assert depth < LIMIT, f"rewrites of {here} do not end: {self.fired[-4:]}"
        for rule in self.table.get(here.op.name, ()):
            made = rule.apply(here, self.recording)
            if made is None or made.node is here:
                continue
            self.fired.append(rule.name)
            found: dict[Node, Tensor] = {}
            for node in topological([self.recording.node_of(made)], self.done):
                if not node.inputs:
                    continue
                inputs = [found.get(n, self.recording.tensor(n)) for n in node.inputs]
                again = self.recording.apply(node.op, inputs, node.attrs)
                found[node] = self.settled(again, depth + 1)
            return found.get(made.node, made)  # type: ignore[arg-type]
        self.done.add(here)
        return tensor
