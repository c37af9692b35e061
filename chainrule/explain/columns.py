r"""Which columns of each node one entry of a parameter can move: most ops keep columns apart.

A kernel's entry moves one channel of its layer; activations, windows and sums over positions keep
to it, and the next layer's product reads that channel alone. So a channel in 32 is computed, not
all. Columns are places on the last axis. Read next: `cut.py`.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from chainrule.core.node import Node

WHOLE = slice(None)


def moved_columns(
    order: Iterable[Node], parameter: Node, index: tuple[int, ...]
) -> dict[Node, slice]:
    """The columns of `parameter`, and of the nodes after it, that its entry at `index` can move."""
    found = {parameter: slice(index[-1], index[-1] + 1) if index else WHOLE}
    for node in order:
        moving = [at for at, source in enumerate(node.inputs) if source in found]
        if moving and node not in found:
            kept = [found[node.inputs[at]] if _keeps(node, at) else WHOLE for at in moving]
            found[node] = kept[0] if all(each == kept[0] for each in kept) else WHOLE
    return found


def columns_of(node: Node, at: int, x: Any, columns: slice) -> Any:
    """Of the value `x` of input `at`, an array or a tensor, what `columns` of the node read.

    A movement reads all, as its attributes speak of whole shapes; it costs next to nothing.
    """
    if columns == WHOLE or node.op.kind == "movement":
        return x
    if node.op.kind == "contraction":
        inputs, out = node.attrs["spec"].split("->")
        return _along(x, inputs.split(",")[at].find(out[-1]), columns)
    return x[..., columns] if x.shape[-1:] == node.shape[-1:] else x


def partner(node: Node, at: int, x: Any, columns: slice) -> Any:
    """Of the other factor `x` of a product, what meets `columns` of input `at`.

    It is None for a node that is no product, or no sum over the columns of that input.
    """
    if node.op.kind != "contraction" or columns == WHOLE:
        return None
    inputs, out = node.attrs["spec"].split("->")
    mine, other = inputs.split(",")[at], inputs.split(",")[1 - at]
    summed = mine[-1] in other and mine[-1] not in out
    return _along(x, other.index(mine[-1]), columns) if summed else None


def _along(x: Any, axis: int, columns: slice) -> Any:
    return x if axis < 0 else x[(*[slice(None)] * axis, columns)]


def _keeps(node: Node, at: int) -> bool:
    """Whether a column of the node reads that column alone of its input `at`."""
    source, last = node.inputs[at].shape, len(node.inputs[at].shape) - 1
    if last < 0 or source[-1:] != node.shape[-1:]:
        return False
    if node.op.kind == "contraction":
        inputs, out = node.attrs["spec"].split("->")
        return out[-1:] == inputs.split(",")[at][-1]
    if node.op.kind == "reduction":
        return node.attrs["axis"] is not None and last not in node.attrs["axis"]
    if node.op.kind == "window":
        return min(last, len(node.shape) - 1) > max(node.attrs["axes"])
    if node.op.name == "transpose":
        return node.attrs["axes"][-1] == last
    return node.op.kind == "elementwise" or node.op.name in ("reshape", "broadcast_to")
