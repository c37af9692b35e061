"""What index, joining and running ops add to loops: ids are checked before anything reads by
them, outputs are filled before elements are put into them, joined parts are one piece of work, a
running total is carried along its axis.

Ids that lie outside stop the step where they are checked: nothing was read or written by them,
no donated input has changed. Read next: `product.py`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import partial
from typing import Any, NamedTuple

from chainrule.compile.axes import Access, merged_axes
from chainrule.compile.fuse import Kernel, Operand, Resolver, names_in, spreads_of
from chainrule.compile.kernel import Builder, Value
from chainrule.compile.loops import Emitter, Walk
from chainrule.core.node import Node

FAULT = "fault"  # the buffer that takes the number of a check that failed, 0 without


class Ids(NamedTuple):
    """Ids to check: where they lie, how many positions there are, and the number of the check."""

    operand: Operand
    extent: int
    number: int
    node: Node  # the ids as the user gave them


def ids_of(kernels: Iterable[Kernel], resolver: Resolver) -> dict[Kernel, list[Ids]]:
    """The ids that each kernel must check: those that no kernel before it has."""
    found: dict[Kernel, list[Ids]] = {}
    seen: set[tuple[Operand, int]] = set()
    for kernel in kernels:
        for node in () if kernel.host else kernel.nodes:
            for named in names_in(node):
                operand = resolver.operands(node)[named.ids]
                if (operand, named.extent) not in seen:
                    seen.add((operand, named.extent))
                    number = len(seen)
                    ids = Ids(operand, named.extent, number, node.inputs[named.ids])
                    found.setdefault(kernel, []).append(ids)
    return found


class Check:
    """Looks through ids for the largest, negative ones being larger than all, and reports it."""

    def __init__(self, k: Builder, ids: Ids, buffer: str):
        self.k, self.ids, self.buffer = k, ids, buffer
        node, view = ids.operand
        access = Access(buffer, view.strides, view.offset, node.dtype.name)
        self.axes = merged_axes(Kernel([], view.shape), [access])

    @property
    def elements(self) -> int:
        """How many ids there are."""
        return self.ids.node.size

    def units(self) -> int:
        """Places along the first axis; blocks of lanes where it is the only one."""
        return self._places(0)

    def _places(self, level: int) -> int:
        extent = self.axes[level].extent
        return -(-extent // self.k.lanes) if level == len(self.axes) - 1 else extent

    def emit(self, lo: Value, hi: Value) -> None:
        """The function's body for places lo until hi."""
        k, ids = self.k, self.ids
        none = k.spread(k.constant(0, "uint64"), k.lanes)
        start = k.pointer(self.buffer, ids.operand.view.offset)
        worst = k.fold(self._worst(start, 0, lo, hi, none), _larger)
        outside = k.less(k.constant(ids.extent - 1, "uint64"), worst)
        number = k.constant(ids.number, "int64")
        k.when(outside, lambda: k.store(k.pointer(FAULT, 0), number, 1))

    def _worst(self, start: Value, level: int, lo: Any, hi: Any, worst: Value) -> Value:
        """The largest of `worst` and the ids from `start` on along the axes from `level`."""
        k = self.k
        extent, step = self.axes[level].extent, self.axes[level].steps[0]
        if level < len(self.axes) - 1:

            def deeper(i: Value, worst: Value) -> list[Value]:
                moved, last = k.advance(start, i, step), self._places(level + 1)
                return [self._worst(moved, level + 1, 0, last, worst)]

            return k.loop(lo, hi, 1, [worst], deeper)[0]
        whole, rest = divmod(extent, k.lanes)

        def block(i: Value, worst: Value) -> list[Value]:
            return [seen(k.advance(start, i, step * k.lanes), k.lanes, worst)]

        def seen(at: Value, active: int, worst: Value) -> Value:
            x = k.convert(k.load(at, step, k.lanes, active), "int64")
            return _larger(k, worst, k.bitcast(x, "uint64"))

        if whole:
            end = k.whole("min", hi, whole) if isinstance(hi, Value) else whole
            worst = k.loop(lo, end, 1, [worst], block)[0]
        return seen(k.advance(start, whole * k.lanes, step), rest, worst) if rest else worst


def _larger(k: Builder, x: Value, z: Value) -> Value:
    return k.select(k.less(x, z), z, x)


class Fill:
    """Writes one value throughout a buffer: what a spread starts from."""

    def __init__(self, k: Builder, buffer: str, node: Node):
        self.k, self.buffer, self.node = k, buffer, node

    def units(self) -> int:
        """Blocks of lanes."""
        return -(-self.node.size // self.k.lanes)

    def emit(self, lo: Value, hi: Value) -> None:
        """The function's body for blocks lo until hi."""
        k, fill = self.k, spreads_of(self.node)[0].fill
        assert fill is not None, self.node
        value = k.spread(k.constant(fill, self.node.dtype.name), k.lanes)
        start = k.pointer(self.buffer, 0)
        whole, rest = divmod(self.node.size, k.lanes)

        def body(block: Any) -> None:
            k.store(k.advance(start, block, k.lanes), value, k.lanes)

        if whole:
            k.loop(lo, k.whole("min", hi, whole), 1, [], body)
        if rest:
            last = k.advance(start, whole * k.lanes, 1)
            inside = k.whole("less", k.constant(whole, "int64"), hi)
            k.when(inside, lambda: k.store(last, value, rest))


class Joined:
    """Several loop kernels that do not wait for one another, as one: threads share all units.

    Where each has as many, a thread does the same ones of all: rows of parts that lie side by side.
    """

    def __init__(self, k: Builder, parts: Sequence[Emitter]):
        self.k, self.parts = k, parts
        self.each = [part.units() for part in parts]
        self.alike = len(set(self.each)) == 1

    def units(self) -> int:
        """The units of all, counted through the parts in order; of each, where these are alike."""
        return self.each[0] if self.alike else sum(self.each)

    def emit(self, lo: Value, hi: Value) -> None:
        """The function's body for units lo until hi."""
        k, before = self.k, 0
        for part, units in zip(self.parts, self.each, strict=True):
            first = k.whole("max", k.whole("add", lo, -before), 0)
            last = k.whole("min", k.whole("add", hi, -before), units)
            k.when(k.whole("less", first, last), partial(part.emit, first, last))
            before += 0 if self.alike else units


class Running(Emitter):
    """One running op: the total so far is carried along the axis and stored at each place."""

    def row(self, pointers: list[Value], lanes: int, active: int) -> None:
        """The walk along the axis, at one place of the others."""
        k, plan = self.k, self.plan
        (node,) = self.kernel.nodes
        store = plan.stores[node]

        def body(moved: list[Value], lanes: int, active: int, carried: list[Value]) -> list[Value]:
            (x,) = [self.operand(node, o, moved, lanes, active, {}) for o in plan.sources(node)]
            total = node.op.body(k, carried[0], self.spread(x, lanes))
            self.store(moved[store], total, plan.axes[self.lane].steps[store], active)
            return [total]

        start = self.spread(k.constant(node.op.initial, node.dtype.name), lanes)
        walk = Walk(body, [], lambda totals, parts: parts)
        self.nest(pointers, self.inner, [start], walk, lanes, active)
