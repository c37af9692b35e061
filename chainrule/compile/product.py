"""The contraction kernel: a register tile of sums over the whole of k, then its epilogue.

Tiles are `rows` x `vectors` registers; row counts are balanced (128 = 8x13 + 2x12), so no tile
is a thin edge. The finished tile lies in scratch and the epilogue (bias, activation, mask,
optimiser) is the loop kernel of the same space, reading it there. Read next: `runtime.py`.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from chainrule.compile.axes import Plan
from chainrule.compile.fuse import Product
from chainrule.compile.kernel import Builder, Value
from chainrule.compile.loops import Emitter
from chainrule.core.node import Node


class Tiles(NamedTuple):
    """How m x n is cut: `large` tiles of `rows` rows, then tiles of one row fewer."""

    rows: int
    large: int
    down: int
    vectors: int
    across: int


ROWS = {(32, 2): 14, (32, 1): 28, (16, 2): 6, (16, 1): 12}  # by vector registers and vectors


def tiles_of(product: Product, lanes: int, registers: int) -> Tiles:
    """The cut that fills the registers and leaves no thin edge."""
    vectors = 2 if product.n > lanes else 1
    most = ROWS[registers, vectors]
    down = -(-product.m // most)
    rows = -(-product.m // down)
    large = product.m - down * (rows - 1)
    return Tiles(rows, large, down, vectors, -(-product.n // (lanes * vectors)))


class ProductEmitter:
    """Writes one contraction with its epilogue into a builder."""

    def __init__(self, k: Builder, plan: Plan, product: Product, buffers: tuple, registers: int):
        self.k, self.plan, self.product = k, plan, product
        self.node: Node = plan.kernel.product  # type: ignore[assignment]
        self.buffers = buffers  # ((name, offset) of a, of b)
        self.tiles = tiles_of(product, k.lanes, registers)
        self.emitter = Emitter(k, plan)

    def units(self) -> int:
        """Batches times tiles."""
        count = self.tiles.down * self.tiles.across
        for extent, _, _ in self.product.batch:
            count *= extent
        return count

    def emit(self, lo: Value, hi: Value) -> None:
        """The function's body for tiles lo until hi; tiles of one column strip are neighbours."""
        k, tiles = self.k, self.tiles
        a, b = (k.pointer(name, offset) for name, offset in self.buffers)
        self.tile = k.scratch(self.node.dtype.name, tiles.rows * tiles.vectors * k.lanes)

        def body(unit: Value) -> None:
            down = k.whole("rem", unit, tiles.down)
            rest = k.whole("div", unit, tiles.down)
            across = k.whole("rem", rest, tiles.across)
            batch = k.whole("div", rest, tiles.across)
            pa, pb = a, b
            places: list[Value] = []
            for extent, step_a, step_b in reversed(self.product.batch):
                i = k.whole("rem", batch, extent)
                batch = k.whole("div", batch, extent)
                pa, pb = k.advance(pa, i, step_a), k.advance(pb, i, step_b)
                places.insert(0, i)
            for rows, full in self.variants():
                self.variant(rows, full, down, across, pa, pb, places)

        k.loop(lo, hi, 1, [], body)

    def variants(self) -> list[tuple[int, bool]]:
        """(rows, whether the strip is of full width) of the tiles that occur."""
        t = self.tiles
        rows = [t.rows] * (t.large > 0) + [t.rows - 1] * (t.large < t.down)
        width = self.k.lanes * t.vectors
        full = [True] * (self.product.n >= width) + [False] * (self.product.n % width > 0)
        return [(r, f) for r in rows for f in full]

    def variant(
        self, rows: int, full: bool, down: Value, across: Value, pa: Value, pb: Value, places: list
    ) -> None:
        k, t = self.k, self.tiles
        width = k.lanes * t.vectors
        whole = self.product.n // width

        def inside() -> None:
            skipped = t.large if rows != t.rows else 0
            row = k.whole("add", k.whole("mul", down, rows), skipped)
            column = k.whole("mul", across, width)
            active = width if full else self.product.n % width
            counts = [max(0, min(k.lanes, active - v * k.lanes)) for v in range(t.vectors)]
            counts = [c for c in counts if c]
            sums = self.sums(
                rows, counts, k.advance(pa, row, self.product.a[0]), k.advance(pb, column, 1)
            )
            for i, value in enumerate(sums):
                where = (i // len(counts)) * t.vectors + i % len(counts)
                k.store(k.advance(self.tile, where * k.lanes, 1), value, k.lanes)
            self.epilogue(rows, counts, row, column, places)

        def by_width() -> None:
            if t.across == 1 or self.product.n % width == 0:
                inside()
            elif full:
                k.when(k.whole("less", across, whole), inside)
            else:
                k.when(k.whole("less", k.constant(whole - 1, "int64"), across), inside)

        if t.large == t.down:
            by_width()
        elif rows == t.rows:
            k.when(k.whole("less", down, t.large), by_width)
        else:
            k.when(k.whole("less", k.constant(t.large - 1, "int64"), down), by_width)

    def sums(self, rows: int, counts: list[int], pa: Value, pb: Value) -> list[Value]:
        """The tile's sums over k, row by row."""
        k, product = self.k, self.product
        zero = k.spread(k.constant(0, self.node.dtype.name), k.lanes)

        def body(_: Value, pa: Value, pb: Value, *sums: Value) -> list[Value]:
            columns = [
                k.load(k.advance(pb, v * k.lanes, 1), 1, k.lanes, count)
                for v, count in enumerate(counts)
            ]
            after = []
            for r in range(rows):
                x = k.load(k.advance(pa, r, product.a[0]), 0, 1, 1)
                spread = k.spread(x, k.lanes)
                for v in range(len(counts)):
                    after.append(k.fma(spread, columns[v], sums[r * len(counts) + v]))
            return [k.advance(pa, 1, product.a[1]), k.advance(pb, 1, product.b[0]), *after]

        carried = [pa, pb, *[zero] * (rows * len(counts))]
        return k.loop(0, product.k, 1, carried, body)[2:]

    def epilogue(
        self, rows: int, counts: list[int], row: Value, column: Value, places: list
    ) -> None:
        """The loop kernel over this tile, reading the sums from scratch."""
        k = self.k
        start = [
            k.pointer(a.buffer, a.offset) if a.buffer else k.constant(a.offset, "int64")
            for a in self.plan.accesses
        ]
        steps = self.steps()
        for place, step in zip(places, steps[:-2], strict=True):
            start = self.moved(start, place, step)
        start = self.moved(self.moved(start, row, steps[-2]), column, steps[-1])

        def body(r: Value) -> None:
            pointers = self.moved(start, r, steps[-2])
            base = k.advance(self.tile, r, k.lanes * self.tiles.vectors)
            for v, count in enumerate(counts):
                here = self.moved(pointers, v * k.lanes, steps[-1])
                x = k.load(k.advance(base, v * k.lanes, 1), 1, k.lanes, k.lanes)
                self.finish(here, x, count, steps[-1])

        k.loop(0, rows, 1, [], body)

    def steps(self) -> list[tuple[int, ...]]:
        """Per batch axis, then rows, then columns: the step of every access."""
        space = self.plan.kernel.space
        batch = len(self.product.batch)
        found: list[tuple[int, ...]] = []
        for i in range(batch):
            found.append(tuple(a.strides[i] for a in self.plan.accesses))
        split = batch + self.row_axes
        for group in (range(batch, split), range(split, len(space))):
            axes = [i for i in group if space[i] != 1]
            found.append(tuple(a.strides[axes[-1]] if axes else 0 for a in self.plan.accesses))
        return found

    @property
    def row_axes(self) -> int:
        """How many axes of the space are rows."""
        return len(self.node.op.lower(self.node.attrs["spec"]).rows)

    def moved(self, pointers: list[Value], index: Any, steps: tuple[int, ...]) -> list[Value]:
        """Every access, `index` further."""
        return [
            self.k.advance(p, index, step) if a.buffer else p
            for p, a, step in zip(pointers, self.plan.accesses, steps, strict=True)
        ]

    def finish(self, pointers: list[Value], x: Value, active: int, steps: tuple[int, ...]) -> None:
        """The epilogue's nodes for one vector of the tile."""
        k, plan, emitter = self.k, self.plan, self.emitter
        local: dict[Any, Value] = {self.node: x}
        for position, step in enumerate(steps):
            if position in plan.loads.values() and plan.accesses[position].buffer:
                local[position] = k.load(pointers[position], step, k.lanes, active)
        for node in plan.kernel.nodes:
            if node is not self.node:
                local[node] = emitter.compute(node, pointers, k.lanes, active, local, local)
        for node, access in plan.stores.items():
            k.store(pointers[access], emitter.spread(local[node], k.lanes), active)
