r"""Forward mode: tangents pushed along the recorded nodes, inputs first.

An elementwise op's tangent is $\sum_i \partial f/\partial x_i\,\dot x_i$ from the same
derivative that reverse mode uses; an op linear in an input is applied to its tangent.
Read next: `vmap.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from chainrule.core.errors import ArgumentError, ShapeError
from chainrule.core.node import Node, topological
from chainrule.core.op import NO_GRADIENT
from chainrule.core.recording import Recording
from chainrule.core.tensor import Tensor, as_tensor
from chainrule.core.tree import flatten, unflatten
from chainrule.grad.reverse import _many, _or_zero, _times, grad, open_inputs
from chainrule.ops.elementwise import cast, strong


def tangent(node: Node, tangents: Sequence[Tensor | None], recording: Recording) -> Tensor | None:
    """The tangent of `node` from its inputs' tangents (None is zero)."""
    op = node.op
    inputs = [recording.tensor(source) for source in node.inputs]
    y = recording.tensor(node)
    if op.kind == "random" or op.deriv is NO_GRADIENT:
        return None
    if op.kind == "elementwise":
        parts = _many(op.deriv(*inputs, y, **node.attrs))
        terms = [
            _times(cast(t, node.dtype), part)
            for t, part in zip(tangents, parts, strict=True)
            if t is not None
        ]
    elif op.jvp is not None:
        filled = [_or_zero(t, x) for t, x in zip(tangents, inputs, strict=True)]
        return op.jvp(filled, y, *inputs, **node.attrs)
    else:
        terms = [
            op(*inputs[:i], tangents[i], *inputs[i + 1 :], **node.attrs)
            for i in op.linear
            if tangents[i] is not None
        ]
    total = None
    for term in terms:
        if term is not None:
            total = term if total is None else total + term
    return total


def forward(
    outputs: Sequence[Tensor], wrt: Sequence[Tensor], tangents: Sequence[Tensor]
) -> list[Tensor | None]:
    """The tangent of each output, recorded where `outputs` were; None where it cannot move."""
    if not outputs:
        return []
    recording = outputs[0].recording
    found: dict[Node, Tensor] = {
        x.node: cast(t, x.dtype)  # type: ignore[misc]
        for x, t in zip(wrt, tangents, strict=True)
    }
    for node in topological([y.node for y in outputs]):  # type: ignore[misc]
        moving = [found.get(source) for source in node.inputs]
        if any(t is not None for t in moving):
            recording.origin = recording.origins[node].backward()
            made = tangent(node, moving, recording)
            if made is not None:
                found[node] = made
    recording.origin = None
    return [found.get(y.node) for y in outputs]  # type: ignore[arg-type]


def jvp(fn: Callable, primals: Sequence[Any], tangents: Sequence[Any]) -> tuple[Any, Any]:
    """(fn(*primals), its directional derivative along `tangents`), trees like fn's result.

    ShapeError unless each tangent has its primal's shape.
    """
    if not (isinstance(primals, tuple | list) and isinstance(tangents, tuple | list)):
        raise ArgumentError(
            "jvp and hvp need a tuple of primals and one of tangents, got "
            f"{type(primals).__name__} and {type(tangents).__name__}",
            mend="cr.jvp(fn, (x,), (t,))",
        )
    with Recording() as recording:
        given, opened, _ = open_inputs(recording, list(primals))
        directions = [as_tensor(t) for t in flatten(list(tangents))[0]]
        if len(opened) != len(directions):
            raise ArgumentError(
                f"jvp needs one tangent per float primal, got {len(opened)} float primals and "
                f"{len(directions)} tangents",
                mend="cr.jvp(fn, (x,), (t,)) with float x and t",
            )
        for x, t in zip(opened, directions, strict=True):
            if x.shape != t.shape:
                raise ShapeError(f"the tangent of a {x.shape} primal came with shape {t.shape}")
        leaves, structure = flatten(fn(*given))
        outputs = [strong(recording.inside(as_tensor(y))) for y in leaves]
        moved = forward(outputs, opened, directions)
        ends = [_or_zero(t, y) for t, y in zip(moved, outputs, strict=True)]
    out = recording.export([*outputs, *ends])
    count = len(outputs)
    return unflatten(structure, out[:count]), unflatten(structure, out[count:])


def hvp(fn: Callable, primals: Sequence[Any], tangents: Sequence[Any]) -> Any:
    """The Hessian of scalar `fn` (of its first argument) times `tangents`: forward over reverse."""
    return jvp(grad(fn), primals, tangents)[1]
