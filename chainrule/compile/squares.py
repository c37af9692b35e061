"""The sum of the squares of a contraction, made where the contraction is.

A gradient's sum of squares would pass over it once more, when it has left the cache. The
contraction's kernel has each element in a register: it adds the squares of every piece of its work
into one of a few parts, which a small sum then adds up. How many parts is a function of the shape
alone, so the bits depend on no number of threads. Read next: `fuse.py`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from chainrule.core.node import Node
from chainrule.core.op import Op, Spec
from chainrule.core.tensor import Tensor
from chainrule.ops.move import reshape
from chainrule.ops.reduce import sum

MOST = 128  # parts, at most
SHARE = 128  # elements of a part, at least

square_parts = Op(  # in no table: only the rule below makes it, when all derivatives are taken
    name="square_parts",
    kind="host",
    ref=lambda x, count: np.array([p @ p for p in np.array_split(x.ravel(), count)]),
    infer=lambda x, count: Spec((count,), x.dtype),
    doc="`count` numbers whose sum is that of x * x; a kernel chooses which squares are in which.",
)


def sum_of_squares(node: Node, tensor: Callable[[Node], Tensor]) -> Tensor | None:
    """sum(y * y), sum(square(y)) -> sum(square_parts(y)), where y is a contraction

    The same in another order.
    """
    y = _squared(node)
    if y is None or y.op.name != "contract" or y.dtype.kind != "f" or not y.size:
        return None
    parts: Any = square_parts(tensor(y), count=min(MOST, -(-y.size // SHARE)))
    return reshape(sum(parts), node.shape)


def _squared(node: Node) -> Node | None:
    """What `node` is the sum of all squares of, in whatever order the elements stand there."""
    squares = node.inputs[0]
    known = squares.op.name in ("multiply", "square") and len(set(squares.inputs)) == 1
    if node.size != 1 or not known:
        return None
    y = squares.inputs[0]
    while y.op.name in ("transpose", "reshape"):
        y = y.inputs[0]
    return y
