"""Rewrites that keep what is done to a few rows of a table from becoming a pass over all of it.

Read next: `chainrule/compile/fuse.py`.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from chainrule.core.node import Node
from chainrule.core.op import Op
from chainrule.core.tensor import Tensor
from chainrule.ops.elementwise import where
from chainrule.ops.index import arange_op, take_op
from chainrule.ops.move import reshape, reshape_op, slice_op
from chainrule.ops.rows import caught_up, caught_up_op, put_parts, put_rows
from chainrule.rewrite.engine import rewrite_op


@rewrite_op("take")
def read_needed_rows(node: Node, tensor: Callable) -> Tensor | None:
    """take(caught_up(table, last, all, ...)[i], ids) -> caught_up(table, last, ids, ...)[i], or
    what its rule makes of these rows by other ops"""
    found = _part(node.inputs[0])
    if node.attrs["axis"] != 0 or found is None:
        return None
    caught, i = found
    stored, last, _, history, step = map(tensor, caught.inputs)
    ids, rule = reshape(tensor(node.inputs[1]), -1), caught.attrs["rule"]
    parts = getattr(rule, "parts", partial(caught_up, rule=rule))
    rows = parts(stored, last, ids, history, step)
    return reshape(rows[i], node.shape)


def _part(node: Node) -> tuple[Node, int] | None:
    """(caught_up of all rows, i) where `node` is part i of it."""
    if node.op is not reshape_op:
        return None
    cut, i = node.inputs[0], 0
    if cut.op is slice_op and set(cut.attrs["step"]) == {1}:
        (i, *start), (_, *stop) = cut.attrs["start"], cut.attrs["stop"]
        if any(start) or tuple(stop) != cut.inputs[0].shape[1:]:
            return None
        cut = cut.inputs[0]
    whole = cut.op is caught_up_op and cut.inputs[2].op is arange_op
    return (cut, i) if whole and node.shape == cut.shape[1:] else None


@rewrite_op("where")
def choose_rows(node: Node, tensor: Callable) -> Tensor | None:
    """where(c, put_rows(x, ids, z), x) -> put_rows(x, ids, where(c, z, x[ids])), c a single bool"""
    found = _chosen(node, put_rows)
    if found is None:
        return None
    x, ids, rows = map(tensor, node.inputs[1].inputs)
    chosen = where(tensor(found), rows, take_op(x, ids, axis=0))
    return put_rows(x, ids, chosen)


@rewrite_op("where")
def choose_parts(node: Node, tensor: Callable) -> Tensor | None:
    """where(c, put_parts(x, ids, places, z...), x) -> put_parts(x, ids, places, where(c, z, x[ids])
    ...), c a single bool; an id that comes twice has one row before too"""
    found = _chosen(node, put_parts)
    if found is None:
        return None
    x, ids, places, *parts = map(tensor, node.inputs[1].inputs)
    old = (take_op(x[:, i], ids, axis=0) for i in range(len(parts)))
    chosen = [where(tensor(found), *pair) for pair in zip(parts, old, strict=True)]
    return put_parts(x, ids, places, *chosen)


def _chosen(node: Node, put: Op) -> Node | None:
    """The single bool by which `node` takes a table with something `put` into it or that table."""
    condition, new, old = node.inputs
    one = condition.op.name == "broadcast_to" and condition.inputs[0].shape == ()
    return condition.inputs[0] if one and new.op is put and new.inputs[0] is old else None
