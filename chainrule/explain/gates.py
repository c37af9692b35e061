r"""How many gates of a layer are closed: places where an activation lets no gradient through.

A gate is a chain of elementwise ops from one tensor $z$ to $y$ with a switch in it (ReLU, sigmoid,
tanh, a choice), whose slope $\partial y/\partial z$ depends on $z$ or on a random mask. It is
closed where |slope| < 0.01: a ReLU below 0, a saturated sigmoid, a dropped element. Gates of a
recurrent layer are counted at each step. Read next: `through_time.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple

import numpy as np

from chainrule.core.dtypes import is_float
from chainrule.core.graph import Graph
from chainrule.core.node import Node, topological
from chainrule.core.recording import Recording, literal
from chainrule.explain.loops import Unfolded
from chainrule.grad.control import blank_input, copy_nodes
from chainrule.grad.forward import forward
from chainrule.grad.scan import Loop, scan_op

SHUT = 0.01
SWITCHES = frozenset(
    "relu sigmoid tanh erf where maximum minimum clip abs logaddexp sinh cosh arctan".split()
)


class Gates(NamedTuple):
    """How many gates there are in `total`, and how many of them are closed."""

    total: int
    closed: int

    @property
    def share(self) -> float:
        """The part of the gates that is closed."""
        return self.closed / self.total


def count_gates(
    recording: Recording, outputs: Sequence[Node], inputs: Sequence[Node]
) -> Gates | None:
    """The gates between recorded `inputs` and `outputs`, None where there are none."""
    values = recording.values
    found = _counted(
        topological(outputs, inputs),
        outputs,
        inputs,
        lambda nodes: [[values[n] for n in nodes]],
        lambda node: node,
    )
    for node in topological(outputs, inputs):
        if node.op is scan_op and isinstance(node.attrs["holds"], Loop):
            loop = Unfolded(node, values)
            moving = loop.body.inputs[: loop.loop.carries + loop.loop.slices]
            found += _counted(
                loop.body.order, loop.body.outputs, moving, loop.each_step, loop.outside
            )
    total = sum(gates.total for gates in found)
    return Gates(total, sum(gates.closed for gates in found)) if total else None


def _counted(
    order: Sequence[Node],
    outputs: Sequence[Node],
    inputs: Sequence[Node],
    times: Callable[[Sequence[Node]], Iterable[list[np.ndarray]]],
    outside: Callable[[Node], Node],
) -> list[Gates]:
    """Those of one graph; `times` gives the values of nodes, once or for each step."""
    found = []
    for root, end, chain in chains(order, outputs, inputs):
        reads = [root, *dict.fromkeys(n for c in chain for n in c.inputs if n not in chain)]
        reads = list(dict.fromkeys(reads))
        masks = [n for n in reads if _is_random(outside(n))]
        slope = _slope(root, end, reads, masks)
        if slope is not None:
            steps = [slope.run(*arrays)[0] for arrays in times(reads)]
            closed = sum(int(np.count_nonzero(np.abs(each) < SHUT)) for each in steps)
            found.append(Gates(sum(each.size for each in steps), closed))
    return found


def chains(
    order: Sequence[Node], outputs: Sequence[Node], inputs: Sequence[Node]
) -> Iterator[tuple[Node, Node, list[Node]]]:
    """(z, y, the nodes after z up to y) of each chain with a switch, as far as it goes.

    All of its nodes are functions of z and of what does not depend on `inputs`.
    """
    roots: dict[Node, Node] = {node: node for node in inputs}
    users: dict[Node, list[Node]] = {}
    for node in order:
        above = {roots[n] for n in node.inputs if n in roots}
        if above:
            root = above.pop()
            inherits = node.op.kind == "elementwise" and not above and root.shape == node.shape
            roots[node] = root if inherits else node
        for n in node.inputs:
            users.setdefault(n, []).append(node)
    ends = set(outputs)
    for node in order:
        root = roots.get(node, node)
        if root is node or not (is_float(node.dtype) and is_float(root.dtype)):
            continue
        if node in ends or any(roots.get(u) is not root for u in users[node]):
            rest = [n for n in order if roots.get(n) is not root or n is root]
            chain = topological([node], [*rest, root])
            if any(n.op.name in SWITCHES for n in chain):
                yield root, node, chain


def _is_random(node: Node) -> bool:
    return any(n.op.kind == "random" for n in topological([node]))


def _slope(root: Node, end: Node, reads: Sequence[Node], masks: Sequence[Node]) -> Graph | None:
    """dy/dz as a graph of `reads`; None where neither z nor a random mask moves it."""
    with Recording(concrete=False) as own:
        inside = {node: blank_input(own, node) for node in reads}
        leaves = [own.node_of(x) for x in inside.values()]
        copy_nodes([end], inside, own, {})
        one = literal(value=1, shape=root.shape, dtype=root.dtype.name)
        (moved,) = forward([inside[end]], [inside[root]], [one])
        if moved is None:
            return None
        graph = Graph(leaves, [own.node_of(moved)], own.origins)
    there = set(graph.order)
    depends = any(own.node_of(inside[n]) in there for n in (root, *masks))
    return graph if depends else None
