"""Fusion: which nodes are computed together, in one kernel, without passing through memory.

Movement costs nothing here: an operand is resolved to the node that is really computed and a
view of it. Kernels then grow by merging a producer into its consumer wherever the consumer
reads each element (or each row's value) exactly where the producer makes it. Read next:
`memory.py`.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from heapq import heapify, heappop, heappush
from typing import NamedTuple

import numpy as np

from chainrule.compile.squares import square_parts
from chainrule.core.graph import Graph
from chainrule.core.node import Node
from chainrule.core.op import Shape
from chainrule.core.view import Named, Spread, View, contiguous
from chainrule.grad.control import part_op
from chainrule.ops.linear import Letters, letters

LOOP_KINDS = ("elementwise", "reduction", "running", "line", "random")
FROM_MEMORY = ("index", "random")  # what these read is there before their kernel runs


class Operand(NamedTuple):
    """What an input slot reads: a node that is computed (or a leaf), and where in it."""

    node: Node
    view: View


@dataclass(eq=False)
class Kernel:
    """Nodes computed together over one iteration space.

    `space` is the shape all full nodes share; `reduced` its axes that reductions run along;
    nodes of the remaining shape are row values. `product` is the contraction whose epilogue
    the others are; `host` marks a node that NumPy runs. `reads` are the kernels that make what it
    needs; `above` has the `bits` of those, and of all that they need in turn.
    """

    nodes: list[Node]
    space: Shape
    reduced: tuple[int, ...] = ()
    product: Node | None = None
    host: bool = False
    reads: set[Kernel] = field(default_factory=set)
    bits: int = 0
    above: int = 0

    @property
    def name(self) -> str:
        """The ops inside, in order."""
        return "+".join(dict.fromkeys(node.op.name for node in self.nodes))

    @property
    def rows(self) -> Shape:
        """The extents that are not reduced, without ones."""
        return tuple(n for i, n in enumerate(self.space) if i not in self.reduced and n != 1)


class Resolver:
    """Operands of nodes, and which nodes are computed at all."""

    def __init__(self, graph: Graph):
        self.graph = graph
        self.found: dict[Node, Operand] = {}
        self.places: dict[Node, int] = {}
        for i, node in enumerate(graph.order):
            self.found[node] = moved(node, self.found)
            self.places[node] = i

    def computed(self, node: Node) -> bool:
        """Whether `node` has elements of its own to compute."""
        return self.found[node].node is node and node.op.kind != "leaf"

    def operands(self, node: Node) -> list[Operand]:
        """What each input of `node` reads."""
        return [self.found[source] for source in node.inputs]


def moved(node: Node, found: dict[Node, Operand]) -> Operand:
    """Views composed on the node they move; what no view expresses is computed."""
    if node.op.kind in ("movement", "window"):
        source = found[node.inputs[0]]
        view = node.op.lower(source.view, **node.attrs) if node.op.lower else None
        if view is not None:
            constant = source.node.op.name == "literal"
            return Operand(source.node, View.whole(node.shape) if constant else view)
    return Operand(node, View.whole(node.shape))


def view_of(node: Node) -> View:
    """How the elements of `node` lie in the memory of the node that computes them."""
    chain = [node]
    while chain[-1].op.kind in ("movement", "window"):
        chain.append(chain[-1].inputs[0])
    found: dict[Node, Operand] = {}
    for link in reversed(chain):
        found[link] = moved(link, found)
    return found[node].view


def space_of(node: Node) -> Shape:
    """The indices a node's computation runs over."""
    before = node.inputs[0].shape if node.inputs else ()
    spreads = spreads_of(node)
    if spreads and (len(spreads) == 1 or spreads[0].over is not None):
        return put_from(node, spreads[0])
    moved = is_copy(node) and not spreads
    return before if moved or node.op.kind == "reduction" else node.shape


def spreads_of(node: Node) -> tuple[Spread, ...]:
    """How a node puts its inputs into its output; none where it is no spread."""
    if not node.op.spread:
        return ()
    made = node.op.spread(*[s.shape for s in node.inputs], node.shape, **node.attrs)
    return (made,) if isinstance(made, Spread) else tuple(made)


def put_from(node: Node, spread: Spread) -> Shape:
    """The space of one spread: its input's extents, in order."""
    return tuple(node.inputs[spread.source].shape[axis] for axis in spread.order)


def is_copy(node: Node) -> bool:
    """Elements moved one by one: a reshape that no strides express, a pad, a join, a scatter."""
    return node.op.kind in ("movement", "window") or bool(node.op.spread)


def named_by(node: Node, view: View | None = None) -> Named | None:
    """Where a node finds or puts elements by ids; `view` is how its first input lies."""
    if node.op.kind != "index":
        return None
    if node.op.spread:
        return spreads_of(node)[0].named
    first, *others = [source.shape for source in node.inputs]
    return node.op.lower(view or View.whole(first), *others, **node.attrs)


def taken_by(node: Node, spread: Spread, view: View) -> Named | None:
    """How ids name the slices of a spread's source, which lies as `view` says."""
    if spread.taken is None:
        return None
    return Named.along(view, 0, node.inputs[spread.taken].shape)._replace(ids=spread.taken)


def names_in(node: Node) -> list[Named]:
    """All the ways in which ids name places for a node to read or write."""
    found = [named_by(node)]
    for spread in spreads_of(node):
        source = View.whole(node.inputs[spread.source].shape)
        found.append(taken_by(node, spread, source))
    return [named for named in found if named is not None]


def is_native(node: Node, resolver: Resolver) -> bool:
    """Whether a kernel can be made of `node`; NumPy runs it otherwise."""
    if node.op.kind == "contraction":
        return node.dtype.kind == "f"
    if node.op.kind == "random":
        return [s.shape for s in node.inputs] in ([(2,)], [(2,), ()])
    if node.op.kind == "index":
        return node.dtype.kind in "fiu" or not any(s.adds for s in spreads_of(node))
    return node.op.kind in LOOP_KINDS or is_copy(node)


def singles(graph: Graph, resolver: Resolver) -> dict[Node, Kernel]:
    """One kernel for each computed node."""
    found: dict[Node, Kernel] = {}
    for node in graph.order:
        if not resolver.computed(node):
            continue
        if node.op in (part_op, square_parts):  # what makes its input puts it in place
            found[node] = found[node.inputs[0]]
            found[node].nodes.append(node)
            continue
        kernel = Kernel([node], space_of(node))
        kernel.host = not is_native(node, resolver)
        if not kernel.host and node.op.kind == "contraction":
            kernel.product = node
        if node.op.kind == "reduction":
            kernel.reduced = node.attrs["axis"]
        if node.op.kind == "running":
            kernel.reduced = (node.attrs["axis"] % len(node.shape),)
        kernel.reads = {found[o.node] for o in resolver.operands(node) if o.node in found}
        found[node] = kernel
    return found


def squeezed(shape: Iterable[int]) -> Shape:
    """`shape` without ones."""
    return tuple(n for n in shape if n != 1)


def row_view(kernel: Kernel) -> View:
    """How a row value is read over the whole space: still along the reduced axes."""
    steps = iter(contiguous(kernel.rows))
    strides = [
        0 if n == 1 or i in kernel.reduced else next(steps) for i, n in enumerate(kernel.space)
    ]
    return View(kernel.space, tuple(strides))


def is_full(node: Node, kernel: Kernel) -> bool:
    """Whether a node of the kernel has a value at every index of the space."""
    if node.op.kind == "reduction":
        return False
    return not kernel.reduced or node.shape == kernel.space


def aligned(reader: Node, operand: Operand, kernel: Kernel) -> bool:
    """Whether `reader` finds each of the operand's elements where the kernel makes it."""
    source_full = is_full(operand.node, kernel)
    reader_space = is_full(reader, kernel) or reader.op.kind == "reduction"
    if reader_space and source_full:
        return operand.view.same_elements(View.whole(kernel.space))
    if reader_space:
        return operand.view.same_elements(row_view(kernel))
    if source_full:
        return False
    steps = [t for n, t in zip(operand.view.shape, operand.view.strides, strict=True) if n != 1]
    return operand.view.offset == 0 and tuple(steps) == contiguous(kernel.rows)


def union(first: Kernel, second: Kernel, resolver: Resolver) -> Kernel | None:
    """Both kernels as one; None where one iteration space cannot hold them."""
    if first.host or second.host or (first.product and second.product):
        return None
    reducing = [k for k in (first, second) if k.reduced]
    if len(reducing) == 2 and (first.space, first.reduced) != (second.space, second.reduced):
        return None
    lead = reducing[0] if reducing else first
    product = first.product or second.product
    if product and reducing:
        return None
    order = sorted(first.nodes + second.nodes, key=resolver.places.__getitem__)
    kernel = Kernel(order, lead.space, lead.reduced, product)
    members = set(order)
    inner = [node for node in order if node.op is not square_parts]
    for node in inner:
        if node.op.kind != "reduction":
            full = node.shape == kernel.space
            row = bool(kernel.reduced) and squeezed(node.shape) == kernel.rows
            alone = is_copy(node) or node.op.kind in ("running", "line")
            if alone or not (full or (row and node.op.kind != "index")):
                return None
        for operand in resolver.operands(node):
            inside = operand.node in members
            from_memory = node is product or node.op.kind in FROM_MEMORY
            if inside and (from_memory or not aligned(node, operand, kernel)):
                return None
    if product and not all(fits_tile(node, product, resolver) for node in inner):
        return None
    kernel.reads = (first.reads | second.reads) - {first, second}
    return kernel


def fits_tile(node: Node, product: Node, resolver: Resolver) -> bool:
    """Whether an epilogue node reads with one step along columns."""
    if node is product:
        return True
    if node.op.kind != "elementwise":
        return False
    part = letters(product.attrs["spec"])
    columns = list(range(len(part.batch) + len(part.rows), len(part.out)))
    views = [o.view for o in resolver.operands(node) if o.node.op.name != "literal"]
    return all(merged_axis(view, columns) is not None for view in views)


def detour(first: Kernel, second: Kernel) -> bool:
    """Whether `second` also depends on `first` through a third kernel."""
    return any(kernel.above & first.bits for kernel in second.reads if kernel is not first)


def fuse(graph: Graph) -> tuple[list[Kernel], Resolver]:
    """The kernels of `graph` in an order that runs, and how operands resolve.

    Edges are tried from the outputs back, so that a cheap node joins its consumer rather than
    adding an output to its producer.
    """
    resolver = Resolver(graph)
    owner = singles(graph, resolver)
    readers: dict[Kernel, set[Kernel]] = {kernel: set() for kernel in owner.values()}
    for i, kernel in enumerate(readers):
        kernel.bits = 1 << i
        for source in kernel.reads:
            readers[source].add(kernel)
            kernel.above |= source.bits | source.above
    for node in reversed(graph.order):
        if node not in owner:
            continue
        for operand in resolver.operands(node):
            if operand.node not in owner or owner[operand.node] is owner[node]:
                continue
            first, second = owner[operand.node], owner[node]
            if second.product is node or detour(first, second):
                continue
            merged = union(first, second, resolver)
            if merged is not None:
                _replace(first, second, merged, readers)
                for member in merged.nodes:
                    owner[member] = merged
    return in_order(list(readers), {}, resolver), resolver


def _replace(
    first: Kernel, second: Kernel, merged: Kernel, readers: dict[Kernel, set[Kernel]]
) -> None:
    """Put `merged` where two kernels were: in what reads them, and in who is read by whom."""
    parts = {first, second}
    readers[merged] = (readers.pop(first) | readers.pop(second)) - parts
    for reader in readers[merged]:
        reader.reads = (reader.reads - parts) | {merged}
    for source in merged.reads:
        readers[source] = (readers[source] - parts) | {merged}
    merged.bits = first.bits | second.bits
    merged.above = (first.above | second.above) & ~merged.bits
    known, ahead = merged.bits | merged.above, [*readers[merged]]
    while ahead:
        kernel = ahead.pop()
        if known & ~kernel.above:
            kernel.above |= known
            ahead.extend(readers[kernel])


def in_order(
    kernels: list[Kernel], after: dict[Kernel, set[Kernel]], resolver: Resolver
) -> list[Kernel]:
    """`kernels` so that each follows what it reads and what `after` puts before it.

    An empty list says that no such order exists.
    """
    place = resolver.places
    followers: dict[Kernel, list[Kernel]] = {kernel: [] for kernel in kernels}
    missing: dict[Kernel, int] = {}
    for kernel in kernels:
        before = kernel.reads | after.get(kernel, set())
        missing[kernel] = len(before)
        for other in before:
            followers[other].append(kernel)
    ready = [(place[k.nodes[-1]], k) for k in kernels if not missing[k]]
    heapify(ready)
    order = []
    while ready:
        _, kernel = heappop(ready)
        order.append(kernel)
        for follower in followers[kernel]:
            missing[follower] -= 1
            if not missing[follower]:
                heappush(ready, (place[follower.nodes[-1]], follower))
    return order if len(order) == len(kernels) else []


class Sum(NamedTuple):
    """A summed axis of a contraction: its extent, and the step of both operands along it."""

    extent: int
    a: int
    b: int


def merged_axis(view: View, axes: list[int]) -> tuple[int, int] | None:
    """(extent, stride) of several axes walked as one; None when no one stride does it."""
    part = View(tuple(view.shape[i] for i in axes), tuple(view.strides[i] for i in axes))
    total = int(np.prod(part.shape, dtype=np.int64))
    flat = part.reshape((total,))
    return None if flat is None else (total, flat.strides[0])


def side_by_side(own: str, view: View, part: Letters) -> bool:
    """Whether the columns of a right operand lie side by side: they are read a vector at a time."""
    merged = merged_axis(view, [own.index(q) for q in part.columns])
    return merged is not None and (merged[0] == 1 or merged[1] == 1)


def sums_of(node: Node, a: View, b: View) -> tuple[Sum, ...]:
    """The summed axes of a contraction, neighbours merged where both operands allow it."""
    part = letters(node.attrs["spec"])
    found: list[Sum] = []
    for q in part.summed:
        i, j = part.a.index(q), part.b.index(q)
        axis = Sum(a.shape[i], a.strides[i], b.strides[j])
        last = found[-1] if found else None
        if last and (last.a, last.b) == (axis.a * axis.extent, axis.b * axis.extent):
            found[-1] = Sum(last.extent * axis.extent, axis.a, axis.b)
        elif axis.extent != 1:
            found.append(axis)
    return tuple(found)
