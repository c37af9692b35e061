"""Movement made of others: joining, splitting, repeating, turning and masking by place.

Read next: `linear.py`.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate, pairwise
from typing import Any

import numpy as np

from chainrule.core.errors import ArgumentError, DtypeError, ShapeError
from chainrule.core.node import Node
from chainrule.core.op import Op, Shape, Spec, register, sample
from chainrule.core.tensor import Tensor, as_tensor
from chainrule.core.view import Spread, View
from chainrule.ops.elementwise import where
from chainrule.ops.index import arange, take
from chainrule.ops.logic import less_equal
from chainrule.ops.move import (
    as_shape,
    broadcast_to,
    expand_dims,
    flip_op,
    normal_axis,
    pad as pad_constant,
    reshape,
    slice_op,
    transpose,
)
from chainrule.ops.reduce import Axes, normal_axes


def _part(x: Tensor, axis: int, start: int, stop: int) -> Tensor:
    low, high = [0] * x.ndim, list(x.shape)
    low[axis], high[axis] = start, stop
    return slice_op(x, start=tuple(low), stop=tuple(high), step=(1,) * x.ndim)


def _cuts(parts: Sequence[Any], axis: int) -> list[int]:
    """Where each part begins along `axis`, and where the last ends."""
    return list(accumulate((x.shape[axis] for x in parts), initial=0))


def _infer_concatenate(*parts: Any, axis: int) -> Spec:
    first = parts[0]
    if not 0 <= axis < len(first.shape):
        raise ShapeError(f"concatenate along axis {axis} of shape {first.shape}")
    if len({x.shape[:axis] + (0,) + x.shape[axis + 1 :] for x in parts}) > 1:
        raise ShapeError(f"concatenate along {axis} of shapes {[x.shape for x in parts]}")
    if len({x.dtype for x in parts}) > 1:
        raise DtypeError(
            f"concatenate of {', '.join(str(x.dtype) for x in parts)}",
            mend=f"cr.cast(x, {first.dtype.name!r})",
        )
    shape = (*first.shape[:axis], _cuts(parts, axis)[-1], *first.shape[axis + 1 :])
    return Spec(shape, first.dtype)


def _spread_concatenate(*shapes: Shape, axis: int) -> list[Spread]:
    *parts, after = shapes
    whole, order, at, found = View.whole(after), tuple(range(len(after))), 0, []
    for i, shape in enumerate(parts):
        start = tuple(at if d == axis else 0 for d in order)
        stop = tuple(a + n for a, n in zip(start, shape, strict=True))
        found.append(Spread(order, whole.slice(start, stop, (1,) * len(order)), None, source=i))
        at += shape[axis]
    return found


def _batch_concatenate(op: Op, node: Node, inputs: list, flags: list, size: int) -> Tensor:
    parts = [
        x if flag else broadcast_to(reshape(x, (1, *x.shape)), (size, *x.shape))
        for x, flag in zip(inputs, flags, strict=True)
    ]
    return op(*parts, axis=node.attrs["axis"] + 1)


concatenate_op: Op = register(
    Op(
        name="concatenate",
        kind="movement",
        tex=r"\mathrm{join}(#1, #2)",
        ref=lambda *parts, axis: np.concatenate(parts, axis),
        infer=_infer_concatenate,
        vjp=lambda g, y, *parts, axis: tuple(
            _part(g, axis, a, b) for a, b in pairwise(_cuts(parts, axis))
        ),
        jvp=lambda tangents, y, *parts, axis: concatenate_op(*tangents, axis=axis),
        spread=_spread_concatenate,
        batch=_batch_concatenate,
        samples=(
            sample((2, 3), (2, 2), axis=1),
            sample((1, 20, 2), (3, 20, 2), (1, 20, 2), axis=0),
        ),
        doc="The inputs, any number of them, one after the other along `axis`.",
    )
)


def concatenate(tensors: Sequence[Any], axis: int | None = 0) -> Tensor:
    """The tensors one after the other along `axis`; flattened first when it is None.

    ShapeError unless all other extents are equal, DtypeError unless the dtypes are.
    """
    parts = [as_tensor(x) for x in tensors]
    if not parts:
        raise ArgumentError("concatenate needs at least one tensor")
    if axis is None:
        parts, axis = [reshape(x, -1) for x in parts], 0
    at = normal_axis(axis, parts[0].ndim)
    return parts[0] if len(parts) == 1 else concatenate_op(*parts, axis=at)


def _places(count: int, axis: int, ndim: int) -> Tensor:
    """0, 1, ... along `axis`, extent 1 elsewhere."""
    return reshape(arange(count), [count if i == axis else 1 for i in range(ndim)])


def stack(tensors: Sequence[Any], axis: int = 0) -> Tensor:
    """The tensors side by side along a new `axis`."""
    parts = [as_tensor(x) for x in tensors]
    if len({x.shape for x in parts}) != 1:
        raise ShapeError(f"stack needs equal shapes, got {[x.shape for x in parts]}")
    at = normal_axis(axis, parts[0].ndim + 1)
    return concatenate([expand_dims(x, at) for x in parts], at)


def split(x: Any, sections: int | Sequence[int], axis: int = 0) -> list[Tensor]:
    """`x` in so many equal parts along `axis`, or cut before each position of a sequence."""
    x = as_tensor(x)
    at = normal_axis(axis, x.ndim)
    extent = x.shape[at]
    if isinstance(sections, int):
        if sections < 1 or extent % sections:
            raise ShapeError(f"split of {extent} elements along {axis} in {sections} equal parts")
        cuts = list(range(0, extent, extent // sections or 1))[1:] if extent else []
    else:
        cuts = [slice(int(c)).indices(extent)[1] for c in sections]
    ends = [0, *cuts, extent]
    return [_part(x, at, a, max(a, b)) for a, b in pairwise(ends)]


def flip(x: Any, axis: Axes = None) -> Tensor:
    """The elements in reverse order along `axis`, all axes when None."""
    x = as_tensor(x)
    axes = normal_axes(axis, x.ndim)
    return flip_op(x, axes=axes) if axes else x


def roll(x: Any, shift: int | Sequence[int], axis: int | Sequence[int] | None = None) -> Tensor:
    """Elements moved `shift` places along `axis`; what leaves at one end enters at the other."""
    x = as_tensor(x)
    if axis is None:
        return reshape(roll(reshape(x, -1), shift, 0), x.shape)
    axes = [axis] if isinstance(axis, int) else list(axis)
    shifts = [shift] * len(axes) if isinstance(shift, int) else list(shift)
    if len(axes) != len(shifts):
        raise ArgumentError(f"roll needs a shift per axis, got {shifts} for {axes}")
    for by, a in zip(shifts, axes, strict=True):
        at = normal_axis(a, x.ndim)
        cut = -by % x.shape[at] if x.shape[at] else 0
        if cut:
            parts = [_part(x, at, cut, x.shape[at]), _part(x, at, 0, cut)]
            x = concatenate(parts, at)
    return x


def tile(x: Any, repetitions: int | Sequence[int]) -> Tensor:
    """`x` laid side by side, so many times along each axis (the last ones where fewer)."""
    x, many = as_tensor(x), as_shape(repetitions)
    ndim = max(x.ndim, len(many))
    many, shape = (1,) * (ndim - len(many)) + many, (1,) * (ndim - x.ndim) + x.shape
    pairs = [(r, n) for r, n in zip(many, shape, strict=True)]
    x = reshape(x, [n for _, m in pairs for n in (1, m)])
    x = broadcast_to(x, [n for pair in pairs for n in pair])
    return reshape(x, [r * n for r, n in pairs])


def repeat(x: Any, repeats: int | Sequence[int], axis: int | None = None) -> Tensor:
    """Each element `repeats` times (or its own number of times) along `axis`."""
    x = as_tensor(x)
    if axis is None:
        x, axis = reshape(x, -1), 0
    at = normal_axis(axis, x.ndim)
    if not isinstance(repeats, int):
        counts = np.asarray(repeats)
        if counts.shape != (x.shape[at],):
            raise ShapeError(f"repeat needs {x.shape[at]} counts, got shape {counts.shape}")
        return take(x, np.repeat(np.arange(x.shape[at]), counts), at)
    lead, rest = x.shape[: at + 1], x.shape[at + 1 :]
    wide = broadcast_to(reshape(x, (*lead, 1, *rest)), (*lead, *as_shape(repeats), *rest))
    return reshape(wide, (*lead[:-1], lead[-1] * repeats, *rest))


def squeeze(x: Any, axis: Axes = None) -> Tensor:
    """Without the axes of extent 1 that `axis` names; without all of them when it is None."""
    x = as_tensor(x)
    ones = [i for i, n in enumerate(x.shape) if n == 1]
    axes = ones if axis is None else normal_axes(axis, x.ndim)
    if not set(axes) <= set(ones):
        raise ShapeError(f"squeeze along {axis} of shape {x.shape}: not all extents are 1")
    return reshape(x, [n for i, n in enumerate(x.shape) if i not in axes])


def triu(x: Any, k: int = 0) -> Tensor:
    """The upper triangle of the last two axes from diagonal `k` on, 0 below."""
    return _triangle(as_tensor(x), k, upper=True)


def tril(x: Any, k: int = 0) -> Tensor:
    """The lower triangle of the last two axes up to diagonal `k`, 0 above."""
    return _triangle(as_tensor(x), k, upper=False)


def _triangle(x: Tensor, k: int, upper: bool) -> Tensor:
    if x.ndim < 2:
        raise ShapeError(f"a triangle needs two axes, got shape {x.shape}")
    rows, columns = _places(x.shape[-2], 0, 2) + k, _places(x.shape[-1], 1, 2)
    kept = less_equal(rows, columns) if upper else less_equal(columns, rows)
    return where(broadcast_to(kept, x.shape), x, 0)


def meshgrid(*tensors: Any, indexing: str = "xy") -> list[Tensor]:
    """Each vector spread over the grid of all; rows follow the second with "xy", else the first."""
    if indexing not in ("xy", "ij"):
        raise ArgumentError(f"meshgrid's indexing is 'xy' or 'ij', got {indexing!r}")
    parts = [reshape(as_tensor(x), -1) for x in tensors]
    order = list(range(len(parts)))
    if indexing == "xy":
        order[:2] = order[:2][::-1]
    shape = [parts[i].shape[0] for i in order]
    spread = [
        reshape(x, [x.shape[0] if order[d] == i else 1 for d in range(len(parts))])
        for i, x in enumerate(parts)
    ]
    return [broadcast_to(x, shape) for x in spread]


def swapaxes(x: Any, first: int, second: int) -> Tensor:
    """Two axes exchanged."""
    x = as_tensor(x)
    order = list(range(x.ndim))
    a, b = normal_axis(first, x.ndim), normal_axis(second, x.ndim)
    order[a], order[b] = b, a
    return transpose(x, order)


def moveaxis(x: Any, source: int | Sequence[int], destination: int | Sequence[int]) -> Tensor:
    """Axes put at other places; the rest keep their order."""
    x = as_tensor(x)
    ends = [
        [normal_axis(a, x.ndim) for a in ([given] if isinstance(given, int) else given)]
        for given in (source, destination)
    ]
    if len(ends[0]) != len(ends[1]) or any(len(set(e)) < len(e) for e in ends):
        raise ArgumentError(f"moveaxis needs each axis once: {source} to {destination}")
    put = dict(zip(ends[1], ends[0], strict=True))
    rest = iter(i for i in range(x.ndim) if i not in ends[0])
    return transpose(x, [put[i] if i in put else next(rest) for i in range(x.ndim)])


def permute_dims(x: Any, axes: Sequence[int]) -> Tensor:
    """Axis `d` of the result is axis `axes[d]` of `x`."""
    return transpose(x, axes)


def pad(
    x: Any, width: Sequence[tuple[int, int]], value: float = 0.0, mode: str = "constant"
) -> Tensor:
    """Elements put (before, after) each axis, as `width` says: `value`, the mirrored ("reflect",
    without the edge itself) or the outermost elements ("edge").

    >>> pad(np.float32([1, 2, 3]), [(1, 2)], mode="edge")
    Tensor([1., 1., 2., 3., 3., 3.], dtype=float32)
    """
    if mode == "constant":
        return pad_constant(x, width, value)
    x = as_tensor(x)
    if mode not in ("reflect", "edge") or len(width) != x.ndim:
        raise ArgumentError(
            f"pad's mode is 'constant', 'reflect' or 'edge', with a (before, after) per axis of "
            f"{x.shape}; got {mode!r}, {width}"
        )
    for axis, (before, after) in enumerate(width):
        if before or after:
            _check_margin(x.shape[axis], before, after, mode)
            inside: Any = np.arange(x.shape[axis])
            how: Any = mode
            x = take(x, np.pad(inside, (before, after), mode=how), axis)
    return x


def _check_margin(extent: int, before: int, after: int, mode: str) -> None:
    room = extent - 1 if mode == "reflect" else np.inf
    if min(before, after) < 0 or max(before, after) > room or not extent:
        raise ShapeError(f"pad of {extent} elements by ({before}, {after}) with mode {mode!r}")
