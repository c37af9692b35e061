"""Rewrites that save arithmetic without changing what is computed. Read next: `stability.py`."""

from __future__ import annotations

from collections.abc import Callable

from chainrule.core.node import Node
from chainrule.core.recording import literal
from chainrule.core.tensor import Tensor
from chainrule.ops.elementwise import sqrt
from chainrule.ops.move import reshape, transpose
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
