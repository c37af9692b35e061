"""Rewrites that save arithmetic without changing what is computed. Read next: `stability.py`."""

from __future__ import annotations

from collections.abc import Callable

from chainrule.core.node import Node
from chainrule.core.recording import literal
from chainrule.core.tensor import Tensor
from chainrule.ops.arrange import concatenate_op
from chainrule.ops.elementwise import sqrt
from chainrule.ops.move import pad_op, reshape, transpose
from chainrule.rewrite.engine import op, rewrite, rewrite_op, x


@rewrite(x * 1)
def drop_factor_one(x: Tensor) -> Tensor:
    """x * 1 -> x"""
    return x


@rewrite(x / 1)
def drop_divisor_one(x: Tensor) -> Tensor:
    """x / 1 -> x"""
    return x


@rewrite(x - 0)
def drop_subtrahend_zero(x: Tensor) -> Tensor:
    """x - 0 -> x"""
    return x


@rewrite(op("negative", op("negative", x)))
def cancel_negatives(x: Tensor) -> Tensor:
    """-(-x) -> x"""
    return x


@rewrite(x**1)
def drop_power_one(x: Tensor) -> Tensor:
    """x ** 1 -> x"""
    return x


@rewrite(x**2)
def square_by_product(x: Tensor) -> Tensor:
    """x ** 2 -> x * x"""
    return x * x


@rewrite(x**3)
def cube_by_products(x: Tensor) -> Tensor:
    """x ** 3 -> x * x * x"""
    return x * x * x


@rewrite(x**-1)
def invert_by_division(x: Tensor) -> Tensor:
    """x ** -1 -> 1 / x"""
    return 1 / x


@rewrite(x**0.5)
def half_power_by_root(x: Tensor) -> Tensor:
    """x ** 0.5 -> sqrt(x), but for -inf and -0.0"""
    return sqrt(x)


@rewrite(op("stop_gradient", x))
def forget_stop_gradient(x: Tensor) -> Tensor:
    """stop_gradient(x) -> x, once all gradients are taken"""
    return x


@rewrite_op("transpose")
def join_transposes(node: Node, tensor: Callable) -> Tensor | None:
    """transpose(transpose(x, a), b) -> transpose(x, a[b]); none at all where it is the identity"""
    source, axes = node.inputs[0], node.attrs["axes"]
    if axes == tuple(range(len(axes))):
        return tensor(source)
    if source.op.name != "transpose":
        return None
    return transpose(tensor(source.inputs[0]), [source.attrs["axes"][a] for a in axes])


@rewrite_op("reshape")
def join_reshapes(node: Node, tensor: Callable) -> Tensor | None:
    """reshape(reshape(x, a), b) -> reshape(x, b); none at all where the shape stays"""
    source = node.inputs[0]
    if source.op.name == "reshape":
        source = source.inputs[0]
    elif source.shape != node.shape:
        return None
    return reshape(tensor(source), node.shape)


@rewrite_op("broadcast_to")
def spread_constants(node: Node, tensor: Callable) -> Tensor | None:
    """broadcast_to(literal) -> a literal of that shape"""
    source = node.inputs[0]
    if source.op.name != "literal":
        return None
    return literal(value=source.attrs["value"], shape=node.shape, dtype=node.dtype.name)


@rewrite_op("reshape")
def reshape_constants(node: Node, tensor: Callable) -> Tensor | None:
    """reshape(literal) -> a literal of that shape"""
    return spread_constants(node, tensor)


@rewrite_op("multiply")
def multiply_constants(node: Node, tensor: Callable) -> Tensor | None:
    """literal * literal -> one literal"""
    if any(source.op.name != "literal" for source in node.inputs):
        return None
    value = node.op.ref(*[node.dtype.type(s.attrs["value"]) for s in node.inputs]).item()
    return literal(value=value, shape=node.shape, dtype=node.dtype.name)


@rewrite_op("add")
def join_pads(node: Node, tensor: Callable) -> Tensor | None:
    """pad(x) + pad(z) -> concatenate(x, z), with zeros between, where they lie apart on one axis

    So the gradients of an array's parts are put together in one pass.
    """
    found = [_padded(source) for source in node.inputs]
    if found[0] is None or found[1] is None or found[0][0] != found[1][0]:
        return None
    axis, shape = found[0][0], node.shape
    pieces = sorted(found[0][1] + found[1][1], key=lambda piece: piece[0])
    parts, at = [], 0
    for start, source in [*pieces, (shape[axis], None)]:
        if start < at:
            return None
        if start > at:
            hole = (*shape[:axis], start - at, *shape[axis + 1 :])
            parts.append(literal(value=0, shape=hole, dtype=node.dtype.name))
        if source is not None:
            parts.append(tensor(source))
            at = start + source.shape[axis]
    return concatenate_op(*parts, axis=axis)


def _padded(node: Node) -> tuple[int, list[tuple[int, Node]]] | None:
    """(axis, [(start, part)]) of what is 0 but for parts along one axis."""
    if node.op is concatenate_op:
        axis, start, pieces = node.attrs["axis"], 0, []
        for part in node.inputs:
            if not (part.op.name == "literal" and part.attrs["value"] == 0):
                pieces.append((start, part))
            start += part.shape[axis]
        return axis, pieces
    if node.op is not pad_op or node.attrs["value"] != 0 or any(node.attrs["gap"]):
        return None
    widths = zip(node.attrs["low"], node.attrs["high"], strict=True)
    axes = [i for i, width in enumerate(widths) if any(width)]
    return (axes[0], [(node.attrs["low"][axes[0]], node.inputs[0])]) if len(axes) == 1 else None
