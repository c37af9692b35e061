"""`x[...]`: integers, slices, None and Ellipsis as views; arrays of positions by `take`.

Read next: `random.py`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from chainrule.core.errors import ArgumentError, ShapeError, TraceError
from chainrule.core.op import Shape
from chainrule.core.tensor import Tensor, as_tensor
from chainrule.ops.elementwise import cast, less, where
from chainrule.ops.index import take_op
from chainrule.ops.logic import logical_and
from chainrule.ops.move import broadcast_to, flip_op, reshape, slice_op, transpose


def getitem(x: Tensor, index: Any) -> Tensor:
    """NumPy's indexing: integers, slices, None, Ellipsis, arrays of integers, bool masks.

    Arrays read together, position by position, and negative positions count from the end. A
    mask's count of True must be known, so it cannot be traced. ArgumentError for anything else
    and for positions outside.
    """
    parts = _whole(x, list(index) if isinstance(index, tuple) else [index])
    arrays = {i for i, part in enumerate(parts) if isinstance(part, Tensor)}
    if not arrays:
        return _basic(x, parts)
    for i, part in enumerate(parts):  # beside arrays NumPy reads an integer as one more array
        if part is not None and not isinstance(part, slice | Tensor):
            parts[i] = Tensor(np.int64(_range(part, x.shape[_axis(parts, i)], x.shape)[0]))
            arrays.add(i)
    kept = [slice(None) if i in arrays else part for i, part in enumerate(parts)]
    y = _basic(x, kept)
    places = sorted(arrays)
    adjacent = places[-1] - places[0] + 1 == len(places)
    return _read(y, places, [parts[i] for i in places], adjacent)


def _axis(parts: Sequence[Any], i: int) -> int:
    """Which axis of the indexed tensor part `i` reads."""
    return sum(part is not None for part in parts[:i])


def _whole(x: Tensor, parts: list) -> list:
    """The parts with arrays as Tensors, masks as positions, Ellipsis written out."""
    out: list = []
    for part in parts:
        array = _positions(part)
        out.extend([part] if array is None else array)
    out = [_plain(part) for part in out]
    given = sum(part is not None and part is not Ellipsis for part in out)
    if given > x.ndim:
        raise ArgumentError(f"{given} indices for a tensor of shape {x.shape}")
    at = next((i for i, part in enumerate(out) if part is Ellipsis), len(out))
    out[at : at + 1] = [slice(None)] * (x.ndim - given)
    axis = 0
    for i, part in enumerate(out):
        if part is None:
            continue
        if isinstance(part, tuple):  # a mask: its shape must be that of the axes it reads
            out[i], extent = part
            if x.shape[axis] != extent:
                raise ShapeError(f"a mask of extent {extent} for axis {axis} of {x.shape}")
        axis += 1
    return out


def _plain(part: Any) -> Any:
    if isinstance(part, Tensor) and part.shape == () and part.known:
        return int(part)  # one known position is an integer like any other
    return part


def _positions(part: Any) -> list | None:
    """Integer Tensors for an array; None for a basic index."""
    if isinstance(part, list):
        part = np.asarray(part, np.int64 if not part else None)
    if not hasattr(part, "dtype"):
        return None
    if getattr(part.dtype, "kind", "") not in "iub":
        raise _no_index(part)
    array = as_tensor(part)
    if array.dtype.kind in "iu":
        return [array]
    if not array.known:
        raise TraceError(
            "a bool mask as an index has a size that is not known here",
            mend="cr.where(mask, x, 0), or index outside of jit",
        )
    if not array.ndim:
        raise _no_index(part)
    mask = array.numpy()
    return [(Tensor(i), n) for i, n in zip(np.nonzero(mask), mask.shape, strict=True)]


def _read(y: Tensor, axes: Sequence[int], ids: Sequence[Tensor], adjacent: bool) -> Tensor:
    """The elements of `y` whose places along `axes` the arrays name, read together."""
    try:
        shape = np.broadcast_shapes(*[i.shape for i in ids])
    except ValueError:
        shapes = " and ".join(str(i.shape) for i in ids)
        raise ShapeError(f"index arrays need shapes that broadcast, got {shapes}") from None
    front = axes[0] if adjacent else 0
    rest = [i for i in range(y.ndim) if i not in axes]
    order = [*rest[:front], *axes, *rest[front:]]
    y = y if order == sorted(order) else transpose(y, order)  # a table stays the one it is
    extents = y.shape[front : front + len(axes)]
    flat: Any = 0
    bad: Any = None
    for i, extent in zip(ids, extents, strict=True):
        i = broadcast_to(cast(i, "int64"), shape)
        i = where(less(i, 0), i + extent, i)
        inside = logical_and(less(-1, i), less(i, extent))
        bad = inside if bad is None else logical_and(bad, inside)
        flat = flat * extent + i
    places = where(bad, flat, -1) if len(ids) > 1 else flat  # none may read a neighbour's row
    merged = reshape(y, (*y.shape[:front], int(np.prod(extents)), *y.shape[front + len(axes) :]))
    return take_op(merged, places, axis=front)


def _no_index(part: Any) -> ArgumentError:
    return ArgumentError(
        "an index is an integer, a slice, None, ... or an array of integers or bools, got "
        f"{part!r}",
        mend=f"a dict {{{part!r}: array}} in place of one array" if isinstance(part, str) else "",
    )


def _basic(x: Tensor, parts: Sequence[Any]) -> Tensor:
    start, stop, step, shape, turned = [], [], [], [], []
    axis = 0
    for part in parts:
        if part is None:
            shape.append(1)
            continue
        a, b, s, kept = _range(part, x.shape[axis], x.shape)
        if s < 0:
            turned.append(axis)
            a, b, s = _upwards(a, b, s)
        start.append(a)
        stop.append(b)
        step.append(s)
        shape.extend([-(-(b - a) // s)] if kept else [])
        axis += 1
    whole = (*stop,) == x.shape and not any(start) and set(step) <= {1} and not turned
    y = x if whole else slice_op(x, start=tuple(start), stop=tuple(stop), step=tuple(step))
    return reshape(flip_op(y, axes=tuple(turned)) if turned else y, shape)


def _upwards(a: int, b: int, s: int) -> tuple[int, int, int]:
    """The same places as `a:b:s`, s < 0, in ascending order."""
    places = range(a, b, s)
    return (places[-1], a + 1, -s) if places else (0, 0, -s)


def _range(part: Any, extent: int, shape: Shape) -> tuple[int, int, int, bool]:
    if isinstance(part, slice):
        a, b, s = part.indices(extent)
        return (a, max(a, b), s, True) if s > 0 else (a, b, s, True)
    if not hasattr(part, "__index__") or isinstance(part, bool):
        raise _no_index(part)
    i = part.__index__()
    if not -extent <= i < extent:
        raise ArgumentError(f"index {i} is out of range for an axis of {extent} in {shape}")
    return i % extent, i % extent + 1, 1, False
