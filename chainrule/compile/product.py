"""The contraction kernel: a register tile of sums over all summed axes, then its epilogue.

A tile is `rows` x `vectors` registers. Its rows are the last row axes, cut evenly (128 = 8x13 +
2x12), so no tile is a thin edge; all other axes are loops around it. Both operands are read where
they lie: a convolution's windows are row and summed axes like any others. The finished tile lies
in scratch and the epilogue (bias, activation, mask, optimiser) is the loop kernel of the same
space, reading it there. Read next: `runtime.py`.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from typing import NamedTuple

from chainrule.compile.axes import Axis, Plan
from chainrule.compile.fuse import Sum
from chainrule.compile.kernel import Builder, Value
from chainrule.compile.loops import Emitter
from chainrule.compile.squares import square_parts
from chainrule.core.node import Node

ROWS = {(32, 2): 14, (32, 1): 28, (16, 2): 6, (16, 1): 12}  # by vector registers and vectors
NEAR = 1 << 18  # bytes of the right operand that stay in a core's own cache
UNROLLED = 4  # extents of summed axes up to which a loop costs more than its text


class Digit(NamedTuple):
    """One loop around the tile: how often, and what it steps along."""

    extent: int
    axis: int  # of the plan; ACROSS and DOWN for the tile's own cuts


ACROSS, DOWN = -1, -2


class Tile(NamedTuple):
    """Rows: `per` (for `large` of `down` cuts, else one fewer) of axis `cut`, times `inner`."""

    cut: int  # the axis cut, or DOWN where none is
    per: int
    large: int
    down: int
    inner: tuple[int, ...]  # axes wholly inside
    vectors: int
    across: int


def tile_of(axes: list[Axis], b: int, lanes: int, registers: int) -> Tile:
    """The tile that fills the registers: rows from the last axes that the right operand is
    still along, columns from the last of all."""
    columns = axes[-1].extent
    vectors = 2 if columns > lanes else 1
    most = ROWS[registers, vectors]
    first, size = len(axes) - 1, 1
    while first and not axes[first - 1].steps[b] and size * axes[first - 1].extent <= most:
        first -= 1
        size *= axes[first].extent
    inner = tuple(range(first, len(axes) - 1))
    across = -(-columns // (lanes * vectors))
    if not first or axes[first - 1].steps[b]:
        return Tile(DOWN, 1, 1, 1, inner, vectors, across)
    extent = axes[first - 1].extent
    down = -(-extent // (most // size))
    per = -(-extent // down)
    return Tile(first - 1, per, extent - down * (per - 1), down, inner, vectors, across)


class ProductEmitter:
    """Writes one contraction with its epilogue into a builder."""

    def __init__(self, k: Builder, plan: Plan, sums: tuple[Sum, ...], registers: int):
        self.k, self.plan, self.sums = k, plan, sums
        self.node: Node = plan.kernel.product  # type: ignore[assignment]
        self.a, self.b = plan.operands
        self.column = len(plan.axes) - 1
        self.tile = tile_of(plan.axes, self.b, k.lanes, registers)
        self.emitter = Emitter(k, plan)
        self.digits = self._digits()
        self.tiles = math.prod(digit.extent for digit in self.digits)
        parts = [node for node in plan.kernel.nodes if node.op is square_parts]
        self.parts = parts[0] if parts else None

    def _digits(self) -> list[Digit]:
        """The loops around the tile, slowest first.

        A right operand that stays in cache is walked in full for every few rows of the left one;
        of a large one, a strip of columns is kept while all rows pass.
        """
        taken = {*self.tile.inner, self.tile.cut}
        axes = [
            Digit(axis.extent, i)
            for i, axis in enumerate(self.plan.axes[:-1])
            if i not in taken and axis.extent > 1
        ]
        down, across = Digit(self.tile.down, DOWN), Digit(self.tile.across, ACROSS)
        depth = math.prod(s.extent for s in self.sums)
        size = depth * self.plan.axes[-1].extent * self.node.dtype.itemsize
        if size <= NEAR:
            return [*axes, down, across]
        moving = [d for d in axes if self.plan.axes[d.axis].steps[self.b]]
        return [*moving, across, *(d for d in axes if d not in moving), down]

    def units(self) -> int:
        """How many pieces of work there are: tiles, or parts of them whose squares are added."""
        return self.parts.size if self.parts else self.tiles

    def emit(self, lo: Value, hi: Value) -> None:
        """The function's body for units lo until hi."""
        k, tile = self.k, self.tile
        rows = tile.per * math.prod(self.plan.axes[i].extent for i in tile.inner)
        self.scratch = k.scratch(self.node.dtype.name, rows * tile.vectors * k.lanes)
        start = [
            k.pointer(a.buffer, a.offset) if a.buffer else k.constant(a.offset, "int64")
            for a in self.plan.accesses
        ]

        def work(unit: Value) -> None:
            pointers, at = start, {ACROSS: unit, DOWN: unit}
            for digit in reversed(self.digits):
                index = k.whole("rem", unit, digit.extent) if digit.extent > 1 else None
                if index is None:
                    continue
                unit = k.whole("div", unit, digit.extent)
                at[digit.axis] = index
                if digit.axis >= 0:
                    pointers = self.emitter.move(pointers, digit.axis, index)
            for per, full in self.variants():
                self.guarded(per, full, at, pointers)

        if self.parts is None:
            k.loop(lo, hi, 1, [], work)
        else:
            self.in_parts(self.parts, lo, hi, work)

    def in_parts(self, parts: Node, lo: Value, hi: Value, work: Callable[[Value], None]) -> None:
        """Parts lo until hi: `work` at the tiles of each, and the sum of their squares."""
        k = self.k
        places = k.pointer(self.plan.stored[parts], 0)
        zero = k.spread(k.constant(0, parts.dtype.name), k.lanes)
        self.squares = k.scratch(parts.dtype.name, k.lanes)

        def body(part: Value) -> None:
            first, last = (
                k.whole("div", k.whole("mul", end, self.tiles), parts.size)
                for end in (part, k.whole("add", part, 1))
            )
            k.store(self.squares, zero, k.lanes)
            k.loop(first, last, 1, [], work)
            total = k.load(self.squares, 1, k.lanes, k.lanes)
            k.store(k.advance(places, part, 1), k.fold(total, lambda k, x, z: x + z), 1)

        k.loop(lo, hi, 1, [], body)

    def variants(self) -> list[tuple[int, bool]]:
        """(cut's length, whether the strip is of full width) of the tiles that occur."""
        t, columns = self.tile, self.plan.axes[-1].extent
        lengths = [t.per] * (t.large > 0) + [t.per - 1] * (t.large < t.down)
        width = self.k.lanes * t.vectors
        full = [True] * (columns >= width) + [False] * (columns % width > 0)
        return [(per, f) for per in lengths for f in full]

    def guarded(self, per: int, full: bool, at: dict[int, Value], pointers: list[Value]) -> None:
        """The tile of one variant, where this unit is of it."""
        k, t = self.k, self.tile
        whole, rest = divmod(self.plan.axes[-1].extent, k.lanes * t.vectors)
        conditions: list[Value] = []
        if t.large < t.down:
            large = per == t.per
            conditions.append(self.below(at[DOWN], t.large, large))
        if t.across > 1 and rest:
            conditions.append(self.below(at[ACROSS], whole, full))

        def nested(left: list[Value]) -> None:
            if left:
                k.when(left[0], lambda: nested(left[1:]))
            else:
                self.one(per, full, at, pointers)

        nested(conditions)

    def below(self, x: Value, bound: int, wanted: bool) -> Value:
        """x < bound, or its contrary."""
        k = self.k
        if wanted:
            return k.whole("less", x, bound)
        return k.whole("less", k.constant(bound - 1, "int64"), x)

    def one(self, per: int, full: bool, at: dict[int, Value], pointers: list[Value]) -> None:
        """One tile: its place, its sums, its epilogue."""
        k, t, move = self.k, self.tile, self.emitter.move
        width = k.lanes * t.vectors
        if t.down > 1:
            skipped = t.large if per != t.per else 0
            first = k.whole("add", k.whole("mul", at[DOWN], per), skipped)
            pointers = move(pointers, t.cut, first)
        if t.across > 1:
            pointers = move(pointers, self.column, k.whole("mul", at[ACROSS], width))
        active = width if full else self.plan.axes[-1].extent % width
        counts = [min(k.lanes, active - v * k.lanes) for v in range(t.vectors)]
        counts = [c for c in counts if c > 0]
        rows = self.row_places(per)
        offsets = [sum(i * s for i, s in zip(row, self.row_steps(), strict=True)) for row in rows]
        sums = self.summed(offsets, counts, pointers[self.a], pointers[self.b])
        for i, value in enumerate(sums):
            where = (i // len(counts)) * t.vectors + i % len(counts)
            k.store(k.advance(self.scratch, where * k.lanes, 1), value, k.lanes)
        if self.parts:
            self.add_squares(sums, counts)
        self.epilogue(per, counts, pointers)

    def add_squares(self, sums: list[Value], counts: list[int]) -> None:
        """The squares of a tile's sums, added to those of its part."""
        k = self.k
        total = k.load(self.squares, 1, k.lanes, k.lanes)
        for v, count in enumerate(counts):
            column = k.spread(k.constant(0, total.dtype), k.lanes)
            for x in sums[v :: len(counts)]:
                column = k.fma(x, x, column)
            if count < k.lanes:  # 0 beyond, but for infinity times 0
                inside = k.less(k.positions(k.constant(0, "int64")), count)
                column = k.select(inside, column, 0)
            total = total + column
        k.store(self.squares, total, k.lanes)

    def row_places(self, per: int) -> list[tuple[int, ...]]:
        """The index of every row of the tile along the cut and the inner axes."""
        extents = [self.plan.axes[i].extent for i in self.tile.inner]
        return list(itertools.product(range(per), *map(range, extents)))

    def row_steps(self) -> list[int]:
        """How far apart the rows stand in the left operand, along the cut and the inner axes."""
        cut = 0 if self.tile.cut == DOWN else self.plan.axes[self.tile.cut].steps[self.a]
        return [cut, *(self.plan.axes[i].steps[self.a] for i in self.tile.inner)]

    def summed(self, offsets: list[int], counts: list[int], pa: Value, pb: Value) -> list[Value]:
        """The tile's sums, row by row."""
        k = self.k
        zero = k.spread(k.constant(0, self.node.dtype.name), k.lanes)

        def place(pa: Value, pb: Value, *sums: Value) -> list[Value]:
            columns = [
                k.load(k.advance(pb, v * k.lanes, 1), 1, k.lanes, count)
                for v, count in enumerate(counts)
            ]
            after = []
            for r, offset in enumerate(offsets):
                x = k.spread(k.load(k.advance(pa, offset, 1), 0, 1, 1), k.lanes)
                for v, column in enumerate(columns):
                    after.append(k.fma(x, column, sums[r * len(counts) + v]))
            return after

        step: Callable = place
        for axis in reversed(self.sums):
            step = self.along(axis, step)
        return step(pa, pb, *[zero] * (len(offsets) * len(counts)))

    def along(self, axis: Sum, step: Callable) -> Callable:
        """`step` at every place of one summed axis."""
        k = self.k

        def unrolled(pa: Value, pb: Value, *sums: Value) -> list[Value]:
            found = list(sums)
            for i in range(axis.extent):
                found = step(k.advance(pa, i, axis.a), k.advance(pb, i, axis.b), *found)
            return found

        def looped(pa: Value, pb: Value, *sums: Value) -> list[Value]:
            def body(_: Value, pa: Value, pb: Value, *sums: Value) -> list[Value]:
                after = step(pa, pb, *sums)
                return [k.advance(pa, 1, axis.a), k.advance(pb, 1, axis.b), *after]

            return k.loop(0, axis.extent, 1, [pa, pb, *sums], body)[2:]

        return unrolled if axis.extent <= UNROLLED else looped

    def epilogue(self, per: int, counts: list[int], pointers: list[Value]) -> None:
        """The loop kernel over this tile, reading the sums from scratch."""
        k, t = self.k, self.tile
        extents = [per, *(self.plan.axes[i].extent for i in t.inner)]
        axes = [t.cut, *t.inner]

        def nest(level: int, row: Value, pointers: list[Value]) -> None:
            if level == len(axes):
                self.finish(row, counts, pointers)
                return

            def body(i: Value) -> None:
                here = k.whole("add", k.whole("mul", row, extents[level]), i)
                moved = pointers
                if axes[level] != DOWN:
                    moved = self.emitter.move(pointers, axes[level], i)
                nest(level + 1, here, moved)

            if extents[level] == 1:
                nest(level + 1, row, pointers)
            else:
                k.loop(0, extents[level], 1, [], body)

        nest(0, k.constant(0, "int64"), pointers)

    def finish(self, row: Value, counts: list[int], pointers: list[Value]) -> None:
        """The epilogue's nodes for one row of the tile."""
        k = self.k
        base = k.advance(self.scratch, row, k.lanes * self.tile.vectors)
        nodes = [n for n in self.plan.kernel.nodes if n not in (self.node, self.parts)]
        for v, count in enumerate(counts):
            here = self.emitter.move(pointers, self.column, v * k.lanes)
            x = k.load(k.advance(base, v * k.lanes, 1), 1, k.lanes, k.lanes)
            self.emitter.body(here, nodes, k.lanes, count, {self.node: x})
