"""Counts: one program for every number of examples up to a capacity.

The same function is recorded for two sizes. Where the two graphs differ says which axis of each
node runs over examples, and which constants depend on how many there are. The graph for the
larger size is then right for any smaller number, which becomes an input: rows beyond it hold
whatever they hold, and wherever rows are added up they are made zero before. Read next:
`looping.py`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from chainrule.core.graph import Graph
from chainrule.core.node import Node
from chainrule.core.recording import Recording, literal
from chainrule.core.tensor import Tensor
from chainrule.grad.control import blank, blank_input
from chainrule.grad.scan import Loop, scan_op
from chainrule.ops.elementwise import cast, less, where
from chainrule.ops.index import arange
from chainrule.ops.linear import letters
from chainrule.ops.move import broadcast_to, reshape

Pair = tuple[Node, Node]  # a node for the capacity, and the same one for the other size


class Along(NamedTuple):
    """The axis of a node that runs over examples, `each` places for one."""

    axis: int
    each: int


class Unlike(Exception):
    """The graphs for two sizes differ in a way that has no rule."""


def counted(
    full: Graph, other: Graph, sizes: tuple[int, int]
) -> tuple[Graph, list[Along | None]] | None:
    """`full`, recorded for sizes[0] examples, with how many there are as its last input, int64.

    `other` is the same for sizes[1] < sizes[0]. With the graph comes the axis of each output that
    runs over examples. None where this is not known to be possible.
    """
    try:
        counting = Counting(full, other, sizes)
        return counting.graph(), [counting.along[pair] for pair in counting.outputs]
    except Unlike:
        return None


def along(full: Node, other: Node, sizes: tuple[int, int]) -> Along | None:
    """The axis of a node that runs over examples, None where none does."""
    if full.shape == other.shape:
        return None
    apart = [i for i, (n, m) in enumerate(zip(full.shape, other.shape, strict=False)) if n != m]
    if len(full.shape) != len(other.shape) or len(apart) != 1:
        raise Unlike
    axis = apart[0]
    each = full.shape[axis] // sizes[0]
    if (full.shape[axis], other.shape[axis]) != (each * sizes[0], each * sizes[1]):
        raise Unlike
    return Along(axis, each)


class Counting:
    """The pairs of nodes of two graphs, and the graph that is made of them."""

    def __init__(self, full: Graph, other: Graph, sizes: tuple[int, int]):
        self.full, self.other, self.sizes = full, other, sizes
        if len(full.inputs) != len(other.inputs) or len(full.outputs) != len(other.outputs):
            raise Unlike
        self.inputs = dict(zip(full.inputs, other.inputs, strict=True))
        self.outputs = list(zip(full.outputs, other.outputs, strict=True))
        self.along: dict[Pair, Along | None] = {}
        self.zeroed: set[Pair] = set()  # whose rows beyond the count must be zero
        self.bodies: dict[Pair, Counting] = {}  # of loops
        self.order = list(self._pairs())
        for pair in self.order:
            self.along[pair] = along(*pair, sizes)
        for pair in self.order:
            self._check(pair)

    def _pairs(self) -> Iterator[Pair]:
        """Each pair after those that it reads."""
        done: set[Pair] = set()
        stack = [(pair, False) for pair in self.outputs]
        while stack:
            pair, read = stack.pop()
            if read:
                yield pair
            elif pair not in done:
                done.add(pair)
                full, other = pair
                if full.op is not other.op or len(full.inputs) != len(other.inputs):
                    raise Unlike
                if full in self.inputs and self.inputs[full] is not other:
                    raise Unlike
                stack.append((pair, True))
                stack += [(source, False) for source in sources(pair)]

    def _check(self, pair: Pair) -> None:
        """That a rule knows the pair; what must be zero before it is noted."""
        full, other = pair
        if full in self.inputs or full.op.kind == "leaf":
            return
        if full.op is scan_op:
            self.bodies[pair] = _body(full.attrs["holds"], other.attrs["holds"], self.sizes)
            return
        found = [self.along[source] for source in sources(pair)]
        if self.along[pair] is None and not any(found):
            if full.attrs != other.attrs:
                raise Unlike
            return
        rule = RULES.get(full.op.name) or RULES.get(full.op.kind)
        if rule is None:
            raise Unlike
        for i in rule(pair, self.along[pair], found):
            self._zero(sources(pair)[i])

    def _zero(self, pair: Pair) -> None:
        """Note that rows beyond the count must be zero: where they are computed, not where they
        are looked at from elsewhere."""
        while pair[0].op.kind in ("movement", "window") and pair[0].attrs.get("value", 0) == 0:
            first = sources(pair)[0]
            if self.along[first] is None:
                break
            pair = first
        self.zeroed.add(pair)

    def graph(self) -> Graph:
        """The graph for any number of examples up to the capacity."""
        with Recording(concrete=False) as recording:
            made = {n: blank_input(recording, n) for n in self.full.inputs}
            inputs = [recording.node_of(x) for x in made.values()]
            count = recording.input(blank((), np.dtype("int64")))
            inputs.append(recording.node_of(count))
            found: dict[Pair, Tensor] = {}
            for pair in self.order:
                full = pair[0]
                recording.origin = self.full.origins.get(full)
                if full in made:
                    y = made[full]
                elif full.op is literal:
                    y = self._literal(pair, count)
                else:
                    read = [
                        self._masked(full, i, found[source], self.along[source], count)
                        for i, source in enumerate(sources(pair))
                    ]
                    attrs = full.attrs
                    if pair in self.bodies:
                        read.append(count)
                        attrs = {"holds": _loop(attrs["holds"], self.bodies[pair].graph())}
                    y = recording.apply(full.op, read, attrs)
                if pair in self.zeroed:
                    y = where(within(y, self.along[pair], count), y, 0)
                found[pair] = y
            recording.origin = None
            outputs = [recording.node_of(found[pair]) for pair in self.outputs]
            return Graph(inputs, outputs, recording.origins)

    def _masked(self, node: Node, i: int, x: Tensor, own: Along | None, count: Tensor) -> Tensor:
        """Input `i` of `node` as it reads it: of a reduction that is no sum, with neutral rows."""
        neutral = node.op.kind == "reduction" and node.op.initial
        if not neutral or own is None or own.axis not in node.attrs["axis"]:
            return x
        return where(within(x, own, count), x, neutral)

    def _literal(self, pair: Pair, count: Tensor) -> Tensor:
        """A constant, which may be one of the number of examples."""
        full, other = pair
        a, b = full.attrs["value"], other.attrs["value"]
        if a == b or (a != a and b != b):
            return literal(**full.attrs)
        n, m = self.sizes
        number = cast(count, full.dtype)
        for less_by in (0, 1):
            if math.isclose(a * (n - less_by), b * (m - less_by), rel_tol=1e-12):
                found = whole(a * (n - less_by)) / (number - less_by)
            elif math.isclose(a * (m - less_by), b * (n - less_by), rel_tol=1e-12):
                found = (number - less_by) * whole(a / (n - less_by))
            else:
                continue
            return broadcast_to(cast(found, full.dtype), full.shape)
        raise Unlike


def _body(full: Loop, other: Loop, sizes: tuple[int, int]) -> Counting:
    """The pairs of what two loops do at each time."""
    for name in ("carries", "slices", "length", "reverse", "finals"):
        if getattr(full, name) != getattr(other, name):
            raise Unlike
    return Counting(full.step(), other.step(), sizes)


def _loop(loop: Loop, body: Graph) -> Loop:
    """The loop with the body that takes the number of examples as its last constant."""
    kept = body.outputs[loop.carries :]
    given = loop.carries, loop.slices, loop.length, loop.reverse
    return Loop(body, *given, kept, loop.finals, closed=True)


def sources(pair: Pair) -> list[Pair]:
    """The pairs that a pair reads."""
    return list(zip(pair[0].inputs, pair[1].inputs, strict=True))


def within(x: Tensor, own: Along | None, count: Tensor) -> Tensor:
    """Which rows of `x` are examples'."""
    assert own is not None
    extent = x.shape[own.axis]
    inside = less(arange(extent), count if own.each == 1 else count * own.each)
    return reshape(inside, [extent if i == own.axis else 1 for i in range(x.ndim)])


def whole(x: float) -> float:
    """`x`, without the rounding of a quotient where it is a whole number."""
    return float(round(x)) if math.isclose(x, round(x), rel_tol=1e-12) else x


def _same_attrs(pair: Pair, *spared: str) -> None:
    full, other = ({k: v for k, v in n.attrs.items() if k not in spared} for n in pair)
    if full != other:
        raise Unlike


def _elementwise(pair: Pair, own: Any, found: Sequence[Any]) -> tuple[int, ...]:
    _same_attrs(pair)
    return ()


def _reshape(pair: Pair, own: Any, found: Sequence[Any]) -> tuple[int, ...]:
    """Examples stay together: what stands before their axis does not change."""
    (before,) = found
    if own is None or before is None:
        raise Unlike
    full = pair[0]
    if math.prod(full.shape[: own.axis]) != math.prod(full.inputs[0].shape[: before.axis]):
        raise Unlike
    return ()


def _broadcast(pair: Pair, own: Any, found: Sequence[Any]) -> tuple[int, ...]:
    return ()


def _slice(pair: Pair, own: Any, found: Sequence[Any]) -> tuple[int, ...]:
    """All examples are kept, or only the first few, as many for any size."""
    (before,) = found
    full, other = pair
    for i, n in enumerate(full.inputs[0].shape):
        start, stop, step = (full.attrs[name][i] for name in ("start", "stop", "step"))
        if before is None or i != before.axis:
            if (start, stop, step) != tuple(other.attrs[k][i] for k in ("start", "stop", "step")):
                raise Unlike
        elif (start, stop, step) != (0, n, 1) or own is None:
            raise Unlike
    return ()


def _pad(pair: Pair, own: Any, found: Sequence[Any]) -> tuple[int, ...]:
    _same_attrs(pair)
    (before,) = found
    attrs = pair[0].attrs
    if own is None or before is None or any(attrs[k][before.axis] for k in ("low", "high", "gap")):
        raise Unlike
    return ()


def _apart(pair: Pair, own: Any, found: Sequence[Any]) -> tuple[int, ...]:
    """An op along `axes` or `axis` of its input, none of which is the examples'."""
    _same_attrs(pair)
    node = pair[0]
    given = node.attrs["axes"] if "axes" in node.attrs else (node.attrs["axis"],)
    axes = [axis % len(node.inputs[0].shape) for axis in given]
    if own is None or found[0] is None or found[0].axis in axes or any(found[1:]):
        raise Unlike
    return ()


def _transpose(pair: Pair, own: Any, found: Sequence[Any]) -> tuple[int, ...]:
    _same_attrs(pair)
    return ()


def _reduction(pair: Pair, own: Any, found: Sequence[Any]) -> tuple[int, ...]:
    _same_attrs(pair)
    node, (before,) = pair[0], found
    if before is None or before.axis not in node.attrs["axis"]:
        return ()
    if node.op.initial and not np.can_cast(type(node.op.initial), node.dtype, "same_kind"):
        raise Unlike
    return () if node.op.initial else (0,)


def _contraction(pair: Pair, own: Any, found: Sequence[Any]) -> tuple[int, ...]:
    """A sum over examples needs one side to be zero: the smaller one."""
    _same_attrs(pair)
    part = letters(pair[0].attrs["spec"])
    a, b = found
    if a is None or part.a[a.axis] not in part.summed:
        if b is not None and part.b[b.axis] in part.summed:
            raise Unlike
        return ()
    smaller = min((0, 1), key=lambda i: pair[0].inputs[i].size)
    return (smaller,)


def _take(pair: Pair, own: Any, found: Sequence[Any]) -> tuple[int, ...]:
    _same_attrs(pair)
    table, _ = found
    if own is None or (table is not None and table.axis == pair[0].attrs["axis"]):
        raise Unlike
    return ()


def _scatter_add(pair: Pair, own: Any, found: Sequence[Any]) -> tuple[int, ...]:
    """Rows that are no examples' add zero, wherever their ids say."""
    _same_attrs(pair)
    if own is not None or found[0] is None or found[1] is None:
        raise Unlike
    return (0,)


def _part(pair: Pair, own: Any, found: Sequence[Any]) -> tuple[int, ...]:
    """A tensor of what a loop gives: rows are as the loop left them."""
    _same_attrs(pair, "shape")
    return ()


def _random(pair: Pair, own: Any, found: Sequence[Any]) -> tuple[int, ...]:
    """Numbers are drawn by place: the first are the same whatever the size."""
    _same_attrs(pair, "shape")
    if any(found) or own is None or math.prod(pair[0].shape[: own.axis]) != 1:
        raise Unlike
    return ()


# What each kind of op, or op, needs of two graphs: the numbers of the inputs whose rows beyond the
# count must be zero. `Unlike` is raised where rows would get mixed, or nothing is known.
RULES: dict[str, Any] = {
    "elementwise": _elementwise,
    "after": _elementwise,
    "reshape": _reshape,
    "transpose": _transpose,
    "broadcast_to": _broadcast,
    "slice": _slice,
    "pad": _pad,
    "flip": _apart,
    "window": _apart,
    "running": _apart,
    "reduction": _reduction,
    "contraction": _contraction,
    "take": _take,
    "scatter_add": _scatter_add,
    "random": _random,
    "part": _part,
}
