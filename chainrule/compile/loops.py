"""Kernels as loops: elementwise chains with their reductions, written against a builder.

The space is split into kept and reduced axes. When the last axis is reduced, lanes run along
it and row values are scalars; otherwise lanes run along the kept axis and row values are
vectors. Reductions that need earlier ones come in later stages, each a walk over the reduced
axes; what a later stage needs again is computed again. Read next: `product.py`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from chainrule.compile.ahead import ask_ahead
from chainrule.compile.axes import Plan
from chainrule.compile.fuse import Operand, is_copy, is_full
from chainrule.compile.kernel import Builder, Value
from chainrule.core.node import Node

BLOCK = 64  # places whose results are summed one after another
LONG = 4 * BLOCK  # from here on a walk is cut into blocks


class Walk(NamedTuple):
    """One pass over the reduced axes: what happens at a place, and how partial results meet."""

    body: Callable
    start: list[Value]
    join: Callable


class Emitter:
    """Writes one loop kernel into a builder."""

    def __init__(self, k: Builder, plan: Plan):
        self.k, self.plan, self.kernel = k, plan, plan.kernel
        self.lane = len(plan.axes) - 1
        self.lane_reduced = plan.axes[-1].reduced
        self.kept = [i for i, a in enumerate(plan.axes) if not a.reduced]
        self.inner = [i for i, a in enumerate(plan.axes) if a.reduced]
        self.shared = self.kept[0] if self.kept else -1
        if plan.named and plan.adds:  # a place is added to by one thread, in the order of the ids
            store = next(iter(plan.stores.values()))
            own = [i for i in self.kept if plan.axes[i].steps[store]]
            self.shared = own[0] if own else -1
        self.rows: dict[Node, Value] = {}

    def units(self) -> int:
        """How many pieces of work threads may share out."""
        if self.shared < 0 or self.plan.meets:
            return 1
        return self.pieces(self.shared)

    def pieces(self, axis: int) -> int:
        """Steps of the loop over a kept axis: of the last one, blocks of lanes."""
        extent = self.plan.axes[axis].extent
        return -(-extent // self.k.lanes) if axis == self.lane else extent

    def emit(self, lo: Value, hi: Value) -> None:
        """The function's body for units lo until hi."""
        k, plan = self.k, self.plan
        pointers = [
            k.pointer(a.buffer, a.offset) if a.buffer else k.constant(a.offset, "int64")
            for a in plan.accesses
        ]
        if not self.kept:
            k.when(k.whole("less", lo, hi), lambda: self.row(pointers, 1, 1))
            return
        if plan.meets or self.shared < 0:
            k.when(k.whole("less", lo, hi), lambda: self.walk(pointers, self.kept, None))
            return
        self.walk(pointers, self.kept, (lo, hi))

    def move(self, pointers: list[Value], axis: int, index: Any) -> list[Value]:
        """Every access, `index` further along an axis."""
        moved = []
        for pointer, access, step in zip(
            pointers, self.plan.accesses, self.plan.axes[axis].steps, strict=True
        ):
            if access.buffer:
                moved.append(self.k.advance(pointer, index, step))
            elif step == 0:
                moved.append(pointer)
            else:
                at = index if isinstance(index, Value) else self.k.constant(index, "int64")
                moved.append(self.k.whole("add", pointer, self.k.whole("mul", at, step)))
        return moved

    def walk(self, pointers: list[Value], axes: list[int], share: tuple | None) -> None:
        """Loops over the kept axes, the shared one from `share[0]` until `share[1]`; lanes along
        the last one where it is not reduced."""
        k, axis = self.k, axes[0]
        lo, hi = share if share and axis == self.shared else (0, self.pieces(axis))
        if axis == self.lane:
            self.blocks(pointers, lo, hi)
            return

        def body(index: Value) -> None:
            ask_ahead(k, self.plan, pointers, axis, index)
            moved = self.move(pointers, axis, index)
            if len(axes) == 1:
                self.row(moved, 1, 1)
            else:
                self.walk(moved, axes[1:], share)

        k.loop(lo, hi, 1, [], body)

    def blocks(self, pointers: list[Value], lo: Any, hi: Any) -> None:
        """Blocks of lanes lo until hi along a kept last axis; the last may be part full."""
        k = self.k
        extent = self.plan.axes[self.lane].extent
        whole, rest = divmod(extent, k.lanes)

        def body(block: Any) -> None:
            if k.lanes == 1:
                ask_ahead(k, self.plan, pointers, self.lane, block)
            at = k.whole("mul", block, k.lanes) if isinstance(block, Value) else block * k.lanes
            self.row(self.move(pointers, self.lane, at), k.lanes, k.lanes)

        if isinstance(hi, int):
            if whole:
                k.loop(0, whole, 1, [], body)
            if rest:
                self.row(self.move(pointers, self.lane, whole * k.lanes), k.lanes, rest)
            return
        if whole:
            k.loop(lo, k.whole("min", hi, whole), 1, [], body)
        if rest:
            tail = lambda: self.row(  # noqa: E731
                self.move(pointers, self.lane, whole * k.lanes), k.lanes, rest
            )
            k.when(k.whole("less", k.constant(whole, "int64"), hi), tail)

    def row(self, pointers: list[Value], lanes: int, active: int) -> None:
        """All stages at one place of the kept axes."""
        self.rows = {}
        if not self.kernel.reduced:
            self.body(pointers, self.kernel.nodes, lanes, active)
            return
        for stage in range(max(self.plan.levels.values()) + 2):
            self.row_values(stage, pointers, lanes, active)
            self.stage(stage, pointers, lanes, active)

    def row_values(self, stage: int, pointers: list[Value], lanes: int, active: int) -> None:
        """Row values ready at this stage, and the reductions that ended before it, stored."""
        plan = self.plan
        for node in self.kernel.nodes:
            if is_full(node, self.kernel):
                continue
            level = plan.levels[node] + (node.op.kind == "reduction")
            if level != stage:
                continue
            if node.op.kind != "reduction":
                value = self.compute(node, pointers, lanes, active, {}, self.rows)
                self.rows[node] = value
            if node in plan.stores:
                self.k.store(pointers[plan.stores[node]], self.rows[node], active)

    def stage(self, stage: int, pointers: list[Value], lanes: int, active: int) -> None:
        """One walk over the reduced axes: reductions of this stage, full outputs ready here."""
        plan, k = self.plan, self.k
        here = [n for n in self.kernel.nodes if plan.levels[n] == stage]
        sums = [n for n in here if n.op.kind == "reduction"]
        outputs = [n for n in here if is_full(n, self.kernel) and n in plan.stores]
        if not sums and not outputs:
            return
        width = k.lanes if self.lane_reduced else lanes
        start = [self.spread(k.constant(_initial(n), n.dtype.name), width) for n in sums]

        def body(moved: list[Value], width: int, active: int, carried: list[Value]) -> list[Value]:
            local: dict[Node, Value] = {}
            for node in outputs:
                value = self.full(node, moved, width, active, local)
                k.store(moved[plan.stores[node]], self.spread(value, width), active)
            after = []
            for node, total in zip(sums, carried, strict=True):
                operand = plan.resolver.operands(node)[0]
                x = self.operand(node, operand, moved, width, active, local)
                x = self.spread(x, width)
                made = node.op.body(k, total, x)
                if active < width and self.lane_reduced:
                    inside = k.less(k.positions(k.constant(0, "int64")), active)
                    made = k.select(inside, made, total)
                after.append(made)
            return after

        def join(totals: Sequence[Value], parts: Sequence[Value]) -> list[Value]:
            return [n.op.body(k, t, p) for n, t, p in zip(sums, totals, parts, strict=True)]

        walk = Walk(body, start, join)
        ends = self.nest(pointers, self.inner, start, walk, lanes, active)
        for node, value in zip(sums, ends, strict=True):
            self.rows[node] = k.fold(value, node.op.body) if self.lane_reduced else value

    def nest(
        self,
        pointers: list[Value],
        axes: list[int],
        carried: list[Value],
        walk: Walk,
        lanes: int,
        active: int,
    ) -> list[Value]:
        """`carried` after the walk's body at every place of the reduced axes.

        Long walks are cut into blocks by their extents alone, each summed by itself and joined.
        """
        k = self.k
        if not axes:
            return walk.body(pointers, lanes, active, carried)
        axis, extent = axes[0], self.plan.axes[axes[0]].extent
        if axis != self.lane:
            inside = math.prod(self.plan.axes[i].extent for i in axes[1:])

            def step(index: Any, *values: Value) -> list[Value]:
                moved = self.move(pointers, axis, index)
                if inside < LONG or not walk.start:
                    return self.nest(moved, axes[1:], list(values), walk, lanes, active)
                parts = self.nest(moved, axes[1:], walk.start, walk, lanes, active)
                return walk.join(values, parts)

            return self.blockwise(0, extent, carried, step, walk)
        whole, rest = divmod(extent, k.lanes)

        def block(index: Any, *values: Value) -> list[Value]:
            at = k.whole("mul", index, k.lanes)
            return walk.body(self.move(pointers, axis, at), k.lanes, k.lanes, list(values))

        if whole:
            carried = self.blockwise(0, whole, carried, block, walk)
        if rest:
            carried = walk.body(self.move(pointers, axis, whole * k.lanes), k.lanes, rest, carried)
        return carried

    def blockwise(
        self, first: Any, count: int, carried: list[Value], step: Callable, walk: Walk
    ) -> list[Value]:
        """`carried` after `step` at `count` indices from `first`, in blocks of blocks."""
        k = self.k

        def at(index: Value, times: int) -> Value:
            return k.whole("add", k.whole("mul", index, times), first)

        if count <= LONG or not walk.start:
            return k.loop(0, count, 1, carried, lambda i, *values: step(at(i, 1), *values))
        size = BLOCK
        while size * BLOCK < count:
            size *= BLOCK
        full, rest = divmod(count, size)

        def block(index: Value, *totals: Value) -> list[Value]:
            return walk.join(totals, self.blockwise(at(index, size), size, walk.start, step, walk))

        carried = k.loop(0, full, 1, carried, block)
        if rest:
            last = at(k.constant(full, "int64"), size)
            carried = walk.join(carried, self.blockwise(last, rest, walk.start, step, walk))
        return carried

    def body(
        self,
        pointers: list[Value],
        nodes: Sequence[Node],
        lanes: int,
        active: int,
        given: dict[Node, Value] | None = None,
    ) -> None:
        """Everything of a kernel without reductions, at one place; `given` values are there."""
        local: dict[Node, Value] = dict(given or {})
        for node in nodes:
            local[node] = self.compute(node, pointers, lanes, active, local, local)
        for node, access in self.plan.stores.items():
            value = self.spread(local[node], lanes)
            step = self.plan.axes[self.lane].steps[access]
            pointer, which = self.place(pointers, access, lanes, active)
            assert which is None, "ids along the lanes of a store"
            if self.plan.adds:
                value = self.k.load(pointer, step, lanes, active) + value
            self.store(pointer, value, step, active)

    def place(
        self, pointers: list[Value], position: int, lanes: int, active: int
    ) -> tuple[Value, Value | None]:
        """Where an access points here, the place that an id names counted in; where each lane
        has an id of its own, how many elements on from there each of them is."""
        named = self.plan.accesses[position].named
        if named is None:
            return pointers[position], None
        ids, step, _ = named
        at = self.k.convert(self.read(pointers, ids, lanes, active), "int64")
        if at.lanes > 1:
            return pointers[position], at * step
        return self.k.advance(pointers[position], at, step), None

    def read(self, pointers: list[Value], position: int, lanes: int, active: int) -> Value:
        """The elements of an access here."""
        pointer, which = self.place(pointers, position, lanes, active)
        if which is not None:
            return self.k.gather(pointer, which, active)
        return self.k.load(pointer, self.plan.axes[self.lane].steps[position], lanes, active)

    def store(self, pointer: Value, value: Value, step: int, active: int) -> None:
        """Lanes stored side by side, or one by one where they stand `step` apart."""
        if value.lanes == 1 or step == 1:
            self.k.store(pointer, value, active)
            return
        for lane in range(active):
            self.k.store(self.k.advance(pointer, lane, step), self.k.pick(value, lane), 1)

    def full(
        self, node: Node, pointers: list[Value], lanes: int, active: int, local: dict
    ) -> Value:
        """A full node's value at this place, with what it needs, each once per place."""
        stack = [node]
        while stack:
            top = stack[-1]
            missing = [
                o.node
                for o in self.plan.resolver.operands(top)
                if o.node in self.plan.members
                and o.node not in local
                and o.node not in self.rows
                and top not in local
            ]
            if missing:
                stack.extend(missing)
                continue
            if top not in local:
                local[top] = self.compute(top, pointers, lanes, active, local, self.rows)
            stack.pop()
        return local[node]

    def operand(
        self,
        node: Node,
        operand: Operand,
        pointers: list[Value],
        lanes: int,
        active: int,
        local: dict,
    ) -> Value:
        """The value an input slot reads here."""
        k, source = self.k, operand.node
        if source in self.rows:
            return self.rows[source]
        if source in local:
            return local[source]
        if source in self.plan.members:
            return self.full(source, pointers, lanes, active, local)
        if source.op.name == "literal":
            return k.constant(source.attrs["value"], source.dtype.name)
        key = (node, operand)
        position = self.plan.loads[key]
        if position not in local:
            local[position] = self.read(pointers, position, lanes, active)
        return local[position]

    def compute(
        self, node: Node, pointers: list[Value], lanes: int, active: int, local: dict, rows: dict
    ) -> Value:
        """One node's value from its operands' values."""
        if node.op.kind == "random":
            return self.random(node, pointers, lanes, local)
        values = [
            rows[o.node]
            if o.node in rows
            else self.operand(node, o, pointers, lanes, active, local)
            for o in self.plan.sources(node)
        ]
        if is_copy(node) or node.op.kind == "index":
            return values[0]
        return node.op.body(self.k, *values, **node.attrs)

    def random(self, node: Node, pointers: list[Value], lanes: int, local: dict) -> Value:
        k, plan = self.k, self.plan
        first, *others = plan.resolver.operands(node)
        key = k.pointer(plan.names(first.node), first.view.offset)
        rest = [self.operand(node, o, pointers, lanes, lanes, local) for o in others]
        step = first.view.strides[0]
        words = tuple(k.load(k.advance(key, i, step), 0, 1, 1) for i in (0, 1))
        index = pointers[plan.loads[node, "index"]]
        return node.op.body(k, words, k.positions(index) if lanes > 1 else index, *rest)

    def spread(self, value: Value, lanes: int) -> Value:
        """`value` in every lane."""
        return value if value.lanes == lanes else self.k.spread(value, lanes)


def _initial(node: Node) -> float | int:
    value = node.op.initial
    if node.dtype.kind in "iu" and value == -np.inf:
        return int(np.iinfo(node.dtype).min)
    return value
