"""What a loop kernel reads and writes, stage by stage, and the axes it runs along.

An access is a buffer with one step per axis of the kernel's space. Axes that every access walks
with one step are merged, so most kernels end with one or two loops. Read next: `loops.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from chainrule.compile.fuse import (
    Kernel,
    Operand,
    Resolver,
    is_copy,
    is_full,
    named_by,
    row_view,
    taken_by,
)
from chainrule.compile.squares import square_parts
from chainrule.core.node import Node
from chainrule.core.view import Named, Spread, View


class ByIds(NamedTuple):
    """The number of the access of the ids that name places, the elements from one place to the
    next, and how many places there are."""

    ids: int
    step: int
    extent: int


class Access(NamedTuple):
    """A buffer read or written over the kernel's space.

    With `named`, each place lies its id times the step further on.
    """

    buffer: str
    strides: tuple[int, ...]
    offset: int
    dtype: str
    named: ByIds | None = None


class Axis(NamedTuple):
    """One loop: an extent, whether reduced, and the step of every access along it."""

    extent: int
    reduced: bool
    steps: tuple[int, ...]


class Plan:
    """A loop kernel with its accesses collected and its axes merged; of a node that is put where
    it goes by spreads, one `spread`."""

    def __init__(
        self,
        kernel: Kernel,
        resolver: Resolver,
        stored: dict[Node, str],
        names: Callable,
        spread: Spread | None = None,
    ):
        self.spread = spread
        self.kernel, self.resolver, self.stored = kernel, resolver, stored
        self.members = set(kernel.nodes)
        self.accesses: list[Access] = []
        self.loads: dict[Any, int] = {}
        self.stores: dict[Node, int] = {}
        self.names = names
        self._collect()
        self.operands = self._operands() if kernel.product else (0, 0)
        self.levels = self._levels()
        self.adds = spread is not None and spread.adds
        folds = self.adds and not self.named
        self.axes = merged_axes(kernel, self.accesses, folds, bool(kernel.product))
        self.meets = folds and self._meets()

    @property
    def named(self) -> bool:
        """Whether ids say where the kernel writes."""
        return any(self.accesses[i].named for i in self.stores.values())

    def _meets(self) -> bool:
        """Whether places of the first axis add into the same elements, so that one thread must."""
        store = next(iter(self.stores.values()))
        first, *rest = [(axis.extent - 1, axis.steps[store]) for axis in self.axes]
        return first[0] > 0 and first[1] <= sum(last * step for last, step in rest)

    def _collect(self) -> None:
        for node in self.kernel.nodes:
            for operand in () if node is self.kernel.product else self.sources(node):
                inside = operand.node in self.members
                if not inside and operand.node.op.name != "literal":
                    self._load(node, operand)
            if node.op.kind == "random":
                self._load_key(node)
        for node in self.stored:
            if node.op is square_parts:
                continue  # it is counted in parts, not in places
            full = is_full(node, self.kernel) or is_copy(node)
            view = View.whole(self.kernel.space) if full else row_view(self.kernel)
            named = None
            if self.spread:
                view = self.spread.view
                named = self.spread.named and self._ids(node, self.spread.named)
            elif node.op.kind == "running":
                view = along(node, view)
            self.stores[node] = self._access(self.stored[node], view, node, named)

    def sources(self, node: Node) -> list[Operand]:
        """What a node's value is made of: of one moved by ids or by a spread, what is moved."""
        found = self.resolver.operands(node)
        if self.spread or node.op.kind == "index":
            at = self.spread.source if self.spread else 0
            return found[at : at + 1]
        return found

    def _operands(self) -> tuple[int, int]:
        """The accesses of a product's operands: still along the axes that they do not have."""
        product = self.kernel.product
        assert product is not None
        part = product.op.lower(product.attrs["spec"])
        found = []
        for own, (node, view) in zip(part[:2], self.resolver.operands(product), strict=True):
            steps = dict(zip(own, view.strides, strict=True))
            over = View(self.kernel.space, tuple(steps.get(q, 0) for q in part.out), view.offset)
            found.append(self._access(self.names(node), over, node))
        return found[0], found[1]

    def _ids(self, node: Node, named: Named) -> ByIds:
        ids = self.resolver.operands(node)[named.ids]
        steps = [0] * len(named.view.shape)
        for axis, step in zip(named.axes, ids.view.strides, strict=True):
            steps[axis] = step
        over = View(named.view.shape, tuple(steps), ids.view.offset)
        access = self._access(self.names(ids.node), over, ids.node)
        return ByIds(access, named.step, named.extent)

    def _access(self, buffer: str, view: View, node: Node, named: ByIds | None = None) -> int:
        access = Access(buffer, view.strides, view.offset, node.dtype.name, named)
        if access not in self.accesses:
            self.accesses.append(access)
        return self.accesses.index(access)

    def _load_key(self, node: Node) -> None:
        full = is_full(node, self.kernel)
        index = View.whole(self.kernel.space) if full else row_view(self.kernel)
        self.loads[node, "index"] = self._access("", index, node)

    def _load(self, node: Node, operand: Operand) -> None:
        view = operand.view
        if node.op.kind == "random":
            if operand.node is self.resolver.operands(node)[0].node:
                return
            view = view.broadcast_to(self.kernel.space)
        named = None
        if self.spread:
            if (found := taken_by(node, self.spread, view)) is not None:
                view, named = found.view, self._ids(node, found)
            view = view.transpose(self.spread.order)
        elif node.op.kind == "index":
            found = named_by(node, view)
            assert found is not None
            view, named = found.view, self._ids(node, found)
        elif node.op.kind == "running":
            view = along(node, view)
        reads_all = is_full(node, self.kernel) or node.op.kind == "reduction" or is_copy(node)
        if not reads_all:
            view = self._over_space(view)
        buffer = self.names(operand.node)
        self.loads[node, operand] = self._access(buffer, view, operand.node, named)

    def _over_space(self, view: View) -> View:
        """A row value's operand, read over the whole space: it stands still where reduced."""
        steps = iter(t for n, t in zip(view.shape, view.strides, strict=True) if n != 1)
        kernel = self.kernel
        strides = [
            0 if n == 1 or i in kernel.reduced else next(steps) for i, n in enumerate(kernel.space)
        ]
        return View(kernel.space, tuple(strides), view.offset)

    def _levels(self) -> dict[Node, int]:
        """The stage in which each node is computed."""
        found: dict[Node, int] = {}
        for node in self.kernel.nodes:
            before = [0]
            for operand in self.resolver.operands(node):
                if operand.node in self.members:
                    late = operand.node.op.kind == "reduction"
                    before.append(found[operand.node] + late)
            found[node] = max(before)
        return found


def along(node: Node, view: View) -> View:
    """`view` in the direction that a running op goes."""
    return view.flip((node.attrs["axis"] % len(node.shape),)) if node.attrs["reverse"] else view


def merged_axes(
    kernel: Kernel, accesses: Sequence[Access], keep_first: bool = False, columns: bool = False
) -> list[Axis]:
    """The axes of the space, ones dropped, neighbours merged where every access allows it.

    With `keep_first` the first axis stays even so: it is the one that threads may share out. With
    `columns` the last axis is a product's columns, even where there is but one.
    """
    axes: list[Axis] = []
    for i, extent in enumerate(kernel.space):
        if extent == 1 and not (keep_first and i == 0):
            continue
        axis = Axis(extent, i in kernel.reduced, tuple(a.strides[i] for a in accesses))
        if axes and axes[-1].reduced == axis.reduced:
            last = axes[-1]
            if all(s == t * extent for s, t in zip(last.steps, axis.steps, strict=True)):
                axes[-1] = Axis(last.extent * extent, axis.reduced, axis.steps)
                continue
        axes.append(axis)
    if columns and single_column(kernel):
        axes.append(Axis(1, False, (0,) * len(accesses)))
    return axes or [Axis(1, bool(kernel.reduced), (0,) * len(accesses))]


def single_column(kernel: Kernel) -> bool:
    """Whether a product's columns are one."""
    product = kernel.product
    assert product is not None
    part = product.op.lower(product.attrs["spec"])
    count = len(part.columns)
    return all(n == 1 for n in kernel.space[len(kernel.space) - count :])
