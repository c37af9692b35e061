"""Running sums and products along an axis. Read next: `arrange.py`."""

from __future__ import annotations

from typing import Any

import numpy as np

from chainrule.core.errors import DtypeError, ShapeError
from chainrule.core.op import Op, Spec, register, sample
from chainrule.core.tensor import Tensor, as_tensor
from chainrule.ops.elementwise import cast
from chainrule.ops.move import normal_axis, pad, reshape


def _infer(x: Any, axis: int, reverse: bool) -> Spec:
    if not -len(x.shape) <= axis < 0:
        raise ShapeError(f"cumsum along axis {axis} (from the last) of shape {x.shape}")
    if x.dtype.kind == "b":
        raise DtypeError("cumsum of bool", mend="cr.cast(x, 'int32')")
    return Spec(tuple(x.shape), x.dtype)


def _ref(x: np.ndarray, axis: int, reverse: bool) -> np.ndarray:
    if not reverse:
        return np.cumsum(x, axis=axis, dtype=x.dtype)
    return np.flip(np.cumsum(np.flip(x, axis), axis=axis, dtype=x.dtype), axis)


cumsum_op: Op = register(
    Op(
        name="cumsum",
        kind="running",
        tex=r"\sum_{j \le i} #1_j",
        ref=_ref,
        infer=_infer,
        linear=(0,),
        body=lambda k, total, x: total + x,
        initial=-0.0,  # the sum of nothing and x is x, also where that is -0.0
        vjp=lambda g, y, x, axis, reverse: (cumsum_op(g, axis=axis, reverse=not reverse),),
        samples=(
            sample((2, 4), axis=-1, reverse=False),
            sample((3, 2, 2), axis=-3, reverse=True),
        ),
        doc="Sums of the elements up to each one; `axis` counts from the last.",
    )
)


def _along(x: Any, axis: int | None) -> tuple[Tensor, int]:
    x = as_tensor(x)
    if x.dtype.kind in "iub":
        x = cast(x, "int64")
    return (reshape(x, -1), 0) if axis is None else (x, normal_axis(axis, x.ndim))


def cumsum(x: Any, axis: int | None = None) -> Tensor:
    """The sums of the elements up to each one along `axis`; of the flattened tensor when None."""
    x, at = _along(x, axis)
    return cumsum_op(x, axis=at - x.ndim, reverse=False)


def cumprod(x: Any, axis: int | None = None) -> Tensor:
    """The products of the elements up to each one along `axis`, the flattened tensor's when None.

    Spans of 1, 2, 4, ... elements are joined, so no division meets a 0 and every order of
    derivative is right there. Source: Hillis, Steele, "Data Parallel Algorithms", 1986.
    """
    y, at = _along(x, axis)
    span = 1
    while span < y.shape[at]:
        kept = tuple(slice(None, -span) if i == at else slice(None) for i in range(y.ndim))
        y = y * pad(y[kept], [(span, 0) if i == at else (0, 0) for i in range(y.ndim)], 1.0)
        span *= 2
    return y
