"""Rewrites that put contractions into the form that their kernel computes fast.

They stand in tables of their own, applied one after the other when all others have come to rest.
Read next: `fuse.py`.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from chainrule.compile.fuse import side_by_side, view_of
from chainrule.compile.squares import sum_of_squares
from chainrule.core.node import Node
from chainrule.core.recording import Recording
from chainrule.core.tensor import Tensor
from chainrule.ops.elementwise import elementwise
from chainrule.ops.linear import contract, letters
from chainrule.ops.move import broadcast_to, flip_op, pad_op, reshape, transpose
from chainrule.ops.reduce import sum
from chainrule.ops.window import windows
from chainrule.rewrite.engine import Rewrite

NEAR = 1 << 19  # bytes of operands that a core's own cache holds beside the rest
DEEP = 2048  # places of a sum from which partial sums are made
SHORT = 256  # places of a partial sum, at least
MOST = 128  # partial results of one sum
FEW = 8  # columns below which a contraction fills too little of a register
LONG = 4096  # elements from which a sum over leading axes is made in two steps

materialise = elementwise(
    "materialise",
    "#1",
    ref=lambda x: x,
    deriv=lambda x, y: 1,
    body=lambda k, x: x,
    takes="any",
    doc="The same elements, written out in order: what a view would read too slowly.",
)


def gather_windows(node: Node, tensor: Callable) -> Tensor | None:
    """unwindows(g w) -> windows(pad(g)) flip(w), where windows slide by one

    The input gradient of a convolution as a convolution of the output's gradient: each element
    is summed once where it is, in place of being added to from every window that holds it: of
    finite numbers the same, in another order.
    """
    return _gathered(node, (0,) * len(node.shape), node.shape, tensor)


def gather_slice(node: Node, tensor: Callable) -> Tensor | None:
    """unwindows(g w)[a:b] -> windows(pad(g)) flip(w), without the margins that the slice drops

    Of finite numbers the same, in another order.
    """
    start, step = node.attrs["start"], node.attrs["step"]
    if node.inputs[0].op.name != "unwindows" or any(s != 1 for s in step):
        return None
    return _gathered(node.inputs[0], start, node.shape, tensor)


def _gathered(node: Node, start: tuple, shape: tuple, tensor: Callable) -> Tensor | None:
    source, attrs = node.inputs[0], node.attrs
    axes, size, dilation = attrs["axes"], attrs["size"], attrs["dilation"]
    if source.op.name != "contract" or any(s != 1 for s in attrs["stride"]):
        return None
    part, at = letters(source.attrs["spec"]), max(axes) + 1
    places, inner = [part.out[i] for i in axes], part.out[at : at + len(axes)]
    fixed = [i for i in range(len(shape)) if i not in axes]
    whole = all(shape[i] == node.shape[i] for i in fixed)
    if not set(inner) <= set(part.columns) or not set(places) <= set(part.rows) or not whole:
        return None
    columns = [source.shape[part.out.index(q)] for q in part.columns if q not in inner]
    if math.prod(columns) < FEW:
        return None
    g, w = (tensor(n) for n in source.inputs)
    width = [[0, 0] for _ in part.a]
    for axis, q, n, d in zip(axes, places, size, dilation, strict=True):
        low = (n - 1) * d - start[axis]
        have = g.shape[part.a.index(q)]
        width[part.a.index(q)] = [low, shape[axis] + (n - 1) * d - low - have]
    if min(min(pair) for pair in width) < 0:
        return None
    low, high = zip(*width, strict=True)
    if any(low) or any(high):
        g = pad_op(g, low=low, high=high, gap=(0,) * len(low), value=0.0)
    where = tuple(part.a.index(q) for q in places)
    ones = (1,) * len(axes)
    seen = windows(g, axes=where, size=size, stride=ones, dilation=dilation)
    behind = max(where) + 1
    own = part.a[:behind] + inner + part.a[behind:]
    w = flip_op(w, axes=tuple(part.b.index(q) for q in inner))
    out = part.out[:at] + part.out[at + len(axes) :]
    return contract(seen, w, spec=f"{own},{part.b}->{out}")


def by_products(node: Node, tensor: Callable) -> Tensor | None:
    """a,b->out -> sum(a * b), where all three run side by side along a shared last axis

    The same in another order.
    """
    part = letters(node.attrs["spec"])
    columns = math.prod(_extents(node)[q] for q in part.columns)
    shared = [q for q in part.batch if _extents(node)[q] > 1]
    if columns > 1 or not shared or not part.summed or node.dtype.kind != "f":
        return None
    views = [view_of(source) for source in node.inputs]
    last = shared[-1]
    steps = [v.strides[own.index(last)] for own, v in zip(part[:2], views, strict=True)]
    if steps != [1, 1]:
        return None
    order = part.out + part.summed
    spread = [_over(tensor(n), own, order, _extents(node)) for n, own in zip(node.inputs, part[:2])]
    inner = tuple(range(len(part.out), len(order)))
    return sum(spread[0] * spread[1], axis=inner)


def _over(x: Tensor, own: str, order: str, extents: dict[str, int]) -> Tensor:
    """`x` with the axes of `order`, broadcast along those it lacks."""
    x = transpose(x, [own.index(q) for q in order if q in own])
    x = reshape(x, [extents[q] if q in own else 1 for q in order])
    return broadcast_to(x, [extents[q] for q in order])


def _extents(node: Node) -> dict[str, int]:
    part = letters(node.attrs["spec"])
    found = dict(zip(part.a, node.inputs[0].shape, strict=True))
    return found | dict(zip(part.b, node.inputs[1].shape, strict=True))


def part_sums(node: Node, tensor: Callable) -> Tensor | None:
    """a,b->out -> the sum of partial sums, where the summed axes are too long for the cache

    The same in another order.
    """
    part = letters(node.attrs["spec"])
    extents = _extents(node)
    depth = math.prod(extents[q] for q in part.summed)
    size = node.dtype.itemsize * (node.inputs[0].size + node.inputs[1].size)
    if part.batch or node.dtype.kind != "f" or size <= NEAR or depth < DEEP:
        return None
    first = next((q for q in part.summed if extents[q] > 1), "")
    most = min(MOST, depth // SHORT)
    counts = [n for n in range(2, most + 1) if first and extents[first] % n == 0]
    if not counts:
        return None
    count = next((n for n in counts if n * NEAR >= size), counts[-1])
    new = next(q for q in "zyxwvutsrqponmlkjihgfedcba" if q not in node.attrs["spec"])
    parts = []
    for source, own in zip(node.inputs, part[:2], strict=True):
        at = own.index(first)
        shape = [*source.shape[:at], count, extents[first] // count, *source.shape[at + 1 :]]
        parts.append(reshape(tensor(source), shape))
    a, b = (own.replace(first, new + first) for own in part[:2])
    return sum(contract(*parts, spec=f"{a},{b}->{new}{part.out}"), axis=0)


def two_steps(node: Node, tensor: Callable) -> Tensor | None:
    """sum(x, (0, 1, 2)) -> sum(sum(x, (1, 2)), 0), so that threads can share out the first axis

    The same in another order.
    """
    source, axis = node.inputs[0], node.attrs["axis"]
    kept = len(source.shape) - len(axis)
    inner = [i for i in axis if source.shape[i] > 1]
    if len(inner) < 2 or inner[0] != 0 or not kept or source.size < LONG * LONG // 64:
        return None
    once = node.op(tensor(source), axis=tuple(inner[1:]), keepdims=True)
    return node.op(once, axis=axis, keepdims=node.attrs["keepdims"])


def canonical(node: Node, tensor: Callable) -> Tensor | None:
    """a,b->out -> the operands swapped where that puts b's letters last, else a transpose"""
    part = letters(node.attrs["spec"])
    a, b = (tensor(source) for source in node.inputs)
    if part.out == part.batch + part.rows + part.columns:
        return None
    if part.out == part.batch + part.columns + part.rows:
        return contract(b, a, spec=f"{part.b},{part.a}->{part.out}")
    order = part.batch + part.rows + part.columns
    made = contract(a, b, spec=f"{part.a},{part.b}->{order}")
    return transpose(made, [order.index(q) for q in part.out])


def laid_out(node: Node, tensor: Callable) -> Tensor | None:
    """a,b->out -> the same over b written out, where its columns do not lie side by side"""
    part = letters(node.attrs["spec"])
    if part.out != part.batch + part.rows + part.columns or node.dtype.kind != "f":
        return None
    view = view_of(node.inputs[1])
    if side_by_side(part.b, view, part):
        return None
    order = part.batch + part.summed + part.columns
    a, b = (tensor(source) for source in node.inputs)
    b = materialise(transpose(b, [part.b.index(q) for q in order]))
    return contract(a, b, spec=f"{part.a},{order}->{part.out}")


def _table(op: str, *rules: Callable) -> dict[str, list[Rewrite]]:
    def made(fn: Callable) -> Rewrite:
        def apply(node: Node, recording: Recording) -> Tensor | None:
            return fn(node, recording.tensor)

        return Rewrite(fn.__name__, op, fn.__doc__ or "", apply)

    return {op: [made(fn) for fn in rules]}


PRODUCTS = (
    _table("slice", gather_slice),
    _table("unwindows", gather_windows),
    _table("contract", by_products, canonical, part_sums, laid_out) | _table("sum", two_steps),
)
LAYOUT = (*PRODUCTS, _table("sum", sum_of_squares))  # of contractions that stay as they are
