"""Reductions along axes. Read next: `move.py`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from chainrule.core.dtypes import as_dtype, is_float
from chainrule.core.errors import DtypeError, ShapeError
from chainrule.core.op import Op, Spec, register, sample
from chainrule.core.tensor import Tensor, as_tensor
from chainrule.ops.elementwise import cast, equal
from chainrule.ops.move import broadcast_to, normal_axis, reshape

Axes = int | Sequence[int] | None


def reduction(
    name: str, tex: str, *, ref: Callable, initial: Any, empty: bool = True, **fields: Any
) -> Op:
    """Register a reduction; `initial` starts the accumulator, `empty` allows no elements."""

    def infer(x: Any, axis: tuple[int, ...], keepdims: bool) -> Spec:
        if any(not 0 <= a < len(x.shape) for a in axis):
            raise ShapeError(f"{name} along {axis} of shape {x.shape}: no such axes")
        if not empty and any(x.shape[a] == 0 for a in axis):
            raise ShapeError(f"{name} of no elements: shape {x.shape} along {axis}")
        if x.dtype.kind == "b":
            raise DtypeError(f"{name} of bool", mend="cr.cast(x, 'int32')")
        kept = [1 if i in axis else n for i, n in enumerate(x.shape) if keepdims or i not in axis]
        return Spec(tuple(kept), x.dtype)

    def computed(x: np.ndarray, axis: tuple[int, ...], keepdims: bool) -> np.ndarray:
        return np.asarray(ref(x, axis=axis, keepdims=keepdims))

    samples = (
        sample((2, 3), axis=(1,), keepdims=False),
        sample((2, 3, 4), axis=(0, 2), keepdims=True),
        sample((5,), axis=(0,), keepdims=False),
    )
    return register(
        Op(
            name=name,
            kind="reduction",
            tex=tex,
            ref=computed,
            infer=infer,
            initial=initial,
            samples=samples,
            **fields,
        )
    )


def normal_axes(axis: Axes, ndim: int) -> tuple[int, ...]:
    """`axis` as sorted positions >= 0; None means all. ArgumentError when out of range."""
    axes: Any = range(ndim) if axis is None else [axis] if hasattr(axis, "__index__") else axis
    return tuple(sorted({normal_axis(a, ndim) for a in axes}))


def kept_shape(shape: Sequence[int], axis: Sequence[int]) -> tuple[int, ...]:
    """`shape` with extent 1 along `axis`."""
    return tuple(1 if i in axis else n for i, n in enumerate(shape))


def _spread(part: Tensor, x: Tensor, axis: tuple[int, ...]) -> Tensor:
    return broadcast_to(reshape(part, kept_shape(x.shape, axis)), x.shape)


sum_op = reduction(
    "sum",
    r"\sum #1",
    ref=lambda x, axis, keepdims: np.sum(x, axis=axis, keepdims=keepdims, dtype=x.dtype),
    initial=0,
    body=lambda k, total, x: total + x,
    linear=(0,),
    vjp=lambda g, y, x, axis, keepdims: (_spread(g, x, axis),),
)


def _largest(x: Tensor, y: Tensor, axis: tuple[int, ...]) -> Tensor:
    """Equal shares over the elements that are the largest, 0 elsewhere."""
    hit = cast(equal(x, _spread(y, x, axis)), x.dtype)
    return hit / _spread(sum_op(hit, axis=axis, keepdims=True), x, axis)


max_op = reduction(
    "max",
    r"\max #1",
    ref=np.max,
    initial=-np.inf,
    empty=False,
    body=lambda k, largest, x: k.max(largest, x),
    vjp=lambda g, y, x, axis, keepdims: (_spread(g, x, axis) * _largest(x, y, axis),),
    jvp=lambda tangents, y, x, axis, keepdims: sum_op(
        tangents[0] * _largest(x, y, axis), axis=axis, keepdims=keepdims
    ),
)


def sum(x: Any, axis: Axes = None, keepdims: bool = False) -> Tensor:
    """The sum along `axis` (all axes when None). Integers and bools are added up in int64."""
    x = as_tensor(x)
    if x.dtype.kind in "iub":
        x = cast(x, "int64")
    axes = normal_axes(axis, x.ndim)
    return sum_op(x, axis=axes, keepdims=keepdims) if axes else x


def max(x: Any, axis: Axes = None, keepdims: bool = False) -> Tensor:
    """The largest element along `axis`; at a tie the gradient is shared equally."""
    x = as_tensor(x)
    axes = normal_axes(axis, x.ndim)
    return max_op(x, axis=axes, keepdims=keepdims) if axes else x


def mean(x: Any, axis: Axes = None, keepdims: bool = False) -> Tensor:
    """The mean along `axis`; needs a float dtype and at least one element."""
    x = as_tensor(x)
    axes = normal_axes(axis, x.ndim)
    count = int(np.prod([x.shape[a] for a in axes], dtype=np.int64))
    if not is_float(as_dtype(x.dtype)):
        raise DtypeError(f"mean of {x.dtype}", mend="cr.cast(x, 'float32')")
    if count == 0:
        raise ShapeError(f"mean of no elements: shape {x.shape} along {axes}")
    return sum(x, axes, keepdims) * (1.0 / count)
