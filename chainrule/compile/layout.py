"""Rewrites that lay the operands of contractions out as the contraction kernel reads them.

They stand in a table of their own, applied after all others. Read next: `fuse.py`.
"""

from __future__ import annotations

from collections.abc import Callable

from chainrule.compile.fuse import Resolver, walks
from chainrule.core.graph import Graph
from chainrule.core.node import Node
from chainrule.core.recording import Recording
from chainrule.core.tensor import Tensor
from chainrule.ops.elementwise import elementwise
from chainrule.ops.linear import contract, letters
from chainrule.ops.move import transpose
from chainrule.rewrite.engine import Rewrite

materialise = elementwise(
    "materialise",
    "#1",
    ref=lambda x: x,
    deriv=lambda x, y: 1,
    body=lambda k, x: x,
    takes="any",
    doc="The same elements, written out in order: what a view would read too slowly.",
)


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
    ready = laid_out(made.node, tensor)  # only the outermost node of a form is offered again
    return transpose(made if ready is None else ready, [order.index(q) for q in part.out])


def laid_out(node: Node, tensor: Callable) -> Tensor | None:
    """a,b->out -> the same over operands written out, where no strides say how to read them"""
    part = letters(node.attrs["spec"])
    if part.out != part.batch + part.rows + part.columns or node.dtype.kind != "f":
        return None
    views = [o.view for o in Resolver(Graph((), node.inputs)).operands(node)]
    wanted = part.batch + part.rows + part.summed, part.batch + part.summed + part.columns
    operands, specs = [], []
    for source, own, view, order in zip(node.inputs, part[:2], views, wanted, strict=True):
        ready = walks(own, view, part) is not None
        x = tensor(source)
        operands.append(x if ready else materialise(transpose(x, [own.index(q) for q in order])))
        specs.append(own if ready else order)
    if all(x.node is source for x, source in zip(operands, node.inputs, strict=True)):
        return None
    return contract(*operands, spec=f"{specs[0]},{specs[1]}->{part.out}")


def _rule(fn: Callable) -> Rewrite:
    def apply(node: Node, recording: Recording) -> Tensor | None:
        return fn(node, recording.tensor)

    return Rewrite(fn.__name__, "contract", fn.__doc__ or "", apply)


LAYOUT = {"contract": [_rule(canonical), _rule(laid_out)]}
