"""A recorded loop step by step: the value of every node of its body at each step.

Read next: `gates.py`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from chainrule.core.node import Node
from chainrule.grad.scan import Loop


class Unfolded:
    """The steps of `node`, a `scan` whose value and inputs are among `values`."""

    def __init__(self, node: Node, values: Mapping[Node, np.ndarray]):
        self.loop: Loop = node.attrs["holds"]
        self.body = self.loop.body
        self._bundle = values[node]
        self._given = dict(zip(self.body.inputs, (values[n] for n in node.inputs), strict=True))
        self._outer = dict(zip(self.body.inputs, node.inputs, strict=True))
        self._slices = set(self.loop.split(self.body.inputs)[1])

    def outside(self, node: Node) -> Node:
        """The node of the loop's surroundings that an input of the body stands for."""
        return self._outer.get(node, node)

    def each_step(self, nodes: Sequence[Node]) -> Iterator[list[np.ndarray]]:
        """The values of `nodes` of the body, at each step in the order the steps are made."""
        for t in self.loop.times():
            yield [self.at(node, t) for node in nodes]

    def at(self, node: Node, t: int) -> np.ndarray:
        """The value of a node of the body at the step for x[t]; a carry is as the step finds it."""
        if node in self.loop.places:
            return self._bundle[self.loop.places[node]][t]
        if node in self._slices:
            return self._given[node][t]
        if node in self._given:
            return self._given[node]
        return node.op.ref(**node.attrs)  # a literal, which no loop keeps
