"""vmap: a function of one example becomes a function of a batch, by one rule per kind.

The function is recorded for one example; its nodes are then applied to whole batches, the
batch standing as axis 0 of whatever depends on it. Read next: `custom.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import wraps
from typing import Any

from chainrule.core.errors import ArgumentError, ShapeError
from chainrule.core.node import Node, topological
from chainrule.core.op import Op
from chainrule.core.recording import Recording
from chainrule.core.tensor import State, Tensor, as_tensor
from chainrule.core.tree import flatten, unflatten
from chainrule.ops.elementwise import cast, less, where
from chainrule.ops.index import arange, take_op
from chainrule.ops.linear import contract
from chainrule.ops.move import broadcast_to, reshape, transpose


def spread_batch(x: Tensor, batched: bool, size: int) -> Tensor:
    """`x` with a batch axis in front: its own, or `size` times the same."""
    return x if batched else broadcast_to(reshape(x, (1, *x.shape)), (size, *x.shape))


def _elementwise(op: Op, node: Node, inputs: list, flags: list, size: int) -> Tensor:
    return op(
        *[spread_batch(x, flag, size) for x, flag in zip(inputs, flags, strict=True)], **node.attrs
    )


def _reduction(op: Op, node: Node, inputs: list, flags: list, size: int) -> Tensor:
    axis = tuple(a + 1 for a in node.attrs["axis"])
    return op(inputs[0], axis=axis, keepdims=node.attrs["keepdims"])


_FRONT = {  # the attribute's entry for the batch axis, put before the others
    "slice": lambda size: {"start": 0, "stop": size, "step": 1},
    "pad": lambda size: {"low": 0, "high": 0, "gap": 0},
}


def _movement(op: Op, node: Node, inputs: list, flags: list, size: int) -> Tensor:
    x, attrs = inputs[0], dict(node.attrs)
    if op.name == "transpose":
        return transpose(x, (0, *(a + 1 for a in attrs["axes"])))
    if op.name == "reshape":
        return reshape(x, (size, *attrs["shape"]))
    if op.name == "broadcast_to":
        lead = len(attrs["shape"]) - (x.ndim - 1)
        return broadcast_to(reshape(x, (size, *[1] * lead, *x.shape[1:])), (size, *attrs["shape"]))
    front = _FRONT[op.name](size)
    return op(x, **{k: (front[k], *v) if k in front else v for k, v in attrs.items()})


def _window(op: Op, node: Node, inputs: list, flags: list, size: int) -> Tensor:
    return op(inputs[0], **{**node.attrs, "axes": tuple(a + 1 for a in node.attrs["axes"])})


def _contraction(op: Op, node: Node, inputs: list, flags: list, size: int) -> Tensor:
    part = op.lower(node.attrs["spec"])
    new = next(q for q in "ABCDEFGHIJKLMNOPQRSTUVWXYZ" if q not in node.attrs["spec"])
    a, b = [own if not flag else new + own for own, flag in zip(part[:2], flags, strict=True)]
    return contract(*inputs, spec=f"{a},{b}->{new}{part.out}")


def _index(op: Op, node: Node, inputs: list, flags: list, size: int) -> Tensor:
    """Fold the batch into the indexed axis, so that one index op serves all examples."""
    x, ids = inputs
    axis = node.attrs["axis"]
    if op is take_op and not flags[0]:
        out = take_op(x, ids, axis=axis)
        order = [axis, *range(axis), *range(axis + 1, out.ndim)]
        return transpose(out, order)
    x, ids = spread_batch(x, flags[0], size), spread_batch(ids, flags[1], size)
    extent = x.shape[axis + 1] if op is take_op else node.attrs["extent"]
    ids = cast(ids, "int64")
    rows = reshape(arange(size), (size,) + (1,) * (ids.ndim - 1))
    # A position outside its own example must not read another's.
    ids = where(less(ids, 0), -1, where(less(ids, extent), ids + rows * extent, -1))
    front = [0, *range(axis + 1, axis + 1 + (1 if op is take_op else ids.ndim - 1))]
    lead, rest = range(1, axis + 1), range(front[-1] + 1, x.ndim)
    moved = transpose(x, [*front, *lead, *rest])
    if op is take_op:
        out = take_op(reshape(moved, (size * extent, *moved.shape[2:])), ids, axis=0)
    else:
        out = op(moved, ids, axis=0, extent=size * extent)
        out = reshape(out, (size, extent, *out.shape[1:]))
    width = out.ndim - len(lead) - len(rest)
    back = [0, *range(width, width + len(lead)), *range(1, width)]
    return transpose(out, [*back, *range(width + len(lead), out.ndim)])


def _spread_all(op: Op, node: Node, inputs: list, flags: list, size: int) -> Tensor:
    """Keys, and axes counted from the last, take a batch as more leading axes."""
    return op(
        *[spread_batch(x, flag, size) for x, flag in zip(inputs, flags, strict=True)], **node.attrs
    )


RULES: dict[str, Callable] = {
    "elementwise": _elementwise,
    "reduction": _reduction,
    "movement": _movement,
    "window": _window,
    "contraction": _contraction,
    "index": _index,
    "random": _spread_all,
    "running": _spread_all,
    "line": _spread_all,
    "host": _spread_all,
}


def vmap(fn: Callable, in_axes: int | Sequence[int | None] | None = 0) -> Callable:
    """`fn` of one example, applied to a batch along axis `in_axes` of each argument.

    None in `in_axes` shares an argument among the examples. Results carry the batch first.
    ArgumentError when nothing is batched, ShapeError when batches differ in size.

    >>> vmap(lambda x: (x * x).sum())(np.float32([[1, 2], [3, 4]]))
    Tensor([ 5., 25.], dtype=float32)
    """

    @wraps(fn)
    def batched(*args: Any) -> Any:
        axes = [in_axes] * len(args) if not isinstance(in_axes, Sequence) else list(in_axes)
        if len(axes) != len(args):
            raise ArgumentError(f"in_axes {in_axes} needs one entry per argument, got {len(args)}")
        leaves, structure = flatten(list(args))
        each = [a for arg, a in zip(args, axes, strict=True) for _ in flatten(arg)[0]]
        tensors = [_front(as_tensor(x), a) for x, a in zip(leaves, each, strict=True)]
        sizes = {t.shape[0] for t, a in zip(tensors, each, strict=True) if a is not None}
        if len(sizes) != 1:
            problem = ShapeError if sizes else ArgumentError
            raise problem(f"vmap needs one batch size, got {sorted(sizes) or 'nothing batched'}")
        with Recording(concrete=False) as recording:
            inputs = [
                # A shared State stays what it is: read as the call finds it, without a gradient.
                t
                if isinstance(t, State) and a is None
                else recording.input(t, t.shape if a is None else t.shape[1:])
                for t, a in zip(tensors, each, strict=True)
            ]
            results, out = flatten(fn(*unflatten(structure, inputs)))
            ends = [recording.node_of(as_tensor(y)) for y in results]
        if recording.writes:
            raise ArgumentError("a function under vmap cannot renew State: examples would race")
        marked = {t.node for t, a in zip(inputs, each, strict=True) if a is not None}
        return unflatten(out, _run(recording, ends, marked, sizes.pop()))

    return batched


def _front(x: Tensor, axis: int | None) -> Tensor:
    if axis is None or axis == 0:
        if axis == 0 and not x.ndim:
            raise ShapeError("vmap needs a batch axis, got a scalar", mend="in_axes=None for it")
        return x
    return transpose(x, [axis, *[i for i in range(x.ndim) if i != axis % x.ndim]])


def _run(recording: Recording, ends: list[Node], marked: set, size: int) -> list[Tensor]:
    found: dict[Node, Tensor] = dict(recording.sources)
    apply_batched(topological(ends, found), found, marked, size)
    return [spread_batch(found[node], node in marked, size) for node in ends]


def apply_batched(
    order: Sequence[Node], found: dict[Node, Tensor], marked: set[Node], size: int
) -> None:
    """Apply the nodes of `order` to batches of `size`, from what `found` holds, which takes the
    results; `marked` are the nodes that have a batch axis, and takes those that get one."""
    for node in order:
        inputs = [found[source] for source in node.inputs]
        flags = [source in marked for source in node.inputs]
        if not any(flags):
            found[node] = node.op(*inputs, **node.attrs)
        else:
            marked.add(node)
            rule = node.op.batch or RULES[node.op.kind]
            found[node] = rule(node.op, node, inputs, flags, size)
