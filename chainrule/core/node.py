"""A node: one application of an op, immutable. What refers to it keeps it alive.

Read next: `graph.py`.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from chainrule.core.errors import Place
from chainrule.core.op import Op, Shape


class Node:
    """`op` applied to `inputs` with static `attrs`; its shape and dtype are known."""

    __slots__ = ("attrs", "dtype", "inputs", "op", "shape")

    def __init__(
        self, op: Op, inputs: tuple[Node, ...], attrs: dict[str, Any], shape: Shape, dtype: np.dtype
    ):
        self.op = op
        self.inputs = inputs
        self.attrs = attrs
        self.shape = shape
        self.dtype = dtype

    @property
    def size(self) -> int:
        """The number of elements."""
        return int(np.prod(self.shape, dtype=np.int64))

    def __repr__(self) -> str:
        return f"{self.op.name}:{self.dtype.name}{list(self.shape)}"


class Origin:
    """Where a node came from: the user's line, the layer, and whether it is a gradient's."""

    __slots__ = ("gradient", "layer", "place")

    def __init__(self, place: Place | None, layer: str = "", gradient: bool = False):
        self.place = place
        self.layer = layer
        self.gradient = gradient

    def __str__(self) -> str:
        parts = [str(self.place) if self.place else "", self.layer]
        return ("gradient of " if self.gradient else "") + "  ".join(p for p in parts if p)

    def backward(self) -> Origin:
        """The origin of what differentiates a node of this origin."""
        return Origin(self.place, self.layer, True)


def topological(outputs: Iterable[Node], known: Iterable[Node] = ()) -> list[Node]:
    """Every node that `outputs` need, inputs before users; iterative, so depth is no limit.

    The walk ends at nodes that are `known`, and leaves them out.
    """
    order: list[Node] = []
    done: set[Node] = set(known)
    stack = [(node, False) for node in reversed(list(outputs))]
    while stack:
        node, expanded = stack.pop()
        if expanded:
            order.append(node)
        elif node not in done:
            done.add(node)
            stack.append((node, True))
            stack.extend((source, False) for source in reversed(node.inputs) if source not in done)
    return order
