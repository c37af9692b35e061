"""Which axis of a node counts the examples, and what its other axes are called.

Recorded shapes are plain numbers, so the axis of the examples is followed from the data through
each op. Read next: `asked.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from math import prod

from chainrule.core.node import Node

AXES = ("example", "output", "unit", "position", "time", "gate", "lookup", "use", "path")


TOLD_BY = {"lookup": ("example", "position"), "path": ("example", "path")}


def axes_of(by: Sequence[str]) -> list[str]:
    """The axes that `by` names: a lookup is an example and a position."""
    return [axis for name in by for axis in TOLD_BY.get(name, (name,))]


def example_axes(order: Iterable[Node], data: Iterable[Node], count: int) -> dict[Node, int]:
    """The axis of the `count` examples for the nodes that have one; axis 0 of `data` is one.

    Where it was joined with the next, its extent is a multiple of `count`.
    """
    found = dict.fromkeys(data, 0)
    for node in order:
        if node in found:
            continue
        rule = RULES.get(node.op.name, RULES.get(node.op.kind, _kept))
        places = [
            place
            for at, source in enumerate(node.inputs)
            if source in found and (place := rule(node, at, found[source])) is not None
        ]
        bundled = node.op.name == "unstack"
        if places and (bundled or node.shape[min(places)] % count == 0):
            found[node] = min(places)
    return found


def parted(shape: tuple[int, ...], example: int | None, count: int) -> tuple[int, ...]:
    """`shape` with the examples on an axis of their own, where they were joined with the next."""
    if example is None or shape[example] == count:
        return shape
    return (*shape[:example], count, shape[example] // count, *shape[example + 1 :])


def axis_names(shape: tuple[int, ...], example: int | None, recurrent: bool) -> tuple[str, ...]:
    """What each axis is: the examples, the units (last), and between them positions or times."""
    middle = "time" if recurrent else "position"
    last = len(shape) - 1
    return tuple(
        "example" if i == example else "unit" if i == last else middle for i in range(len(shape))
    )


def _kept(node: Node, at: int, axis: int) -> int | None:
    """The same axis, as long as it has the same extent."""
    source = node.inputs[at].shape
    return axis if axis < len(node.shape) and node.shape[axis] == source[axis] else None


def _aligned(node: Node, at: int, axis: int) -> int | None:
    """Broadcasting aligns the last axes."""
    source = node.inputs[at].shape
    moved = axis + len(node.shape) - len(source)
    return moved if node.shape[moved] == source[axis] else None


def _transposed(node: Node, at: int, axis: int) -> int | None:
    return list(node.attrs["axes"]).index(axis)


def _reshaped(node: Node, at: int, axis: int) -> int | None:
    """The axis with as much before it, of the same extent, or joined with the next, or parted."""
    source = node.inputs[at].shape
    before, extent = prod(source[:axis]), source[axis]
    places = [i for i in range(len(node.shape)) if prod(node.shape[:i]) == before]
    same = [i for i in places if node.shape[i] == extent]
    near = [
        i for i in places if max(node.shape[i], extent) % max(1, min(node.shape[i], extent)) == 0
    ]
    near = [i for i in near if node.shape[i] > 1]
    return next(iter(same or near), None)


def _contracted(node: Node, at: int, axis: int) -> int | None:
    """Where the output has the letter of the axis."""
    inputs, output = node.attrs["spec"].split("->")
    place = output.find(inputs.split(",")[at][axis])
    return place if place >= 0 else None


def _reduced(node: Node, at: int, axis: int) -> int | None:
    gone = node.attrs["axis"]
    gone = (gone,) if isinstance(gone, int) else gone
    if gone is None or axis in gone:
        return None
    return axis if node.attrs.get("keepdims") else axis - sum(i < axis for i in gone)


def _taken(node: Node, at: int, axis: int) -> int | None:
    """Of the ids, which stand where the axis of the table was; a table has no examples."""
    along = node.attrs["axis"]
    if at == 1:
        return axis + along
    return axis if axis < along else None


def _unstacked(node: Node, at: int, axis: int) -> int | None:
    """A bundle keeps the axis of what it was made of; its parts lack the first."""
    if node.op.name == "part":
        return axis - 1 if node.inputs[0].op.name == "unstack" and axis else None
    return axis


RULES: dict[str, Callable[[Node, int, int], int | None]] = {
    "transpose": _transposed,
    "reshape": _reshaped,
    "broadcast_to": _aligned,
    "elementwise": _aligned,
    "contraction": _contracted,
    "reduction": _reduced,
    "take": _taken,
    "unstack": _unstacked,
    "part": _unstacked,
}
