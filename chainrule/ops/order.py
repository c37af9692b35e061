"""Positions and order: reading along an axis by place, sorting, sums of segments.

Read next: `linalg.py`.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from chainrule.core.errors import ArgumentError, ShapeError
from chainrule.core.op import NO_GRADIENT, Op, Spec, register, sample
from chainrule.core.tensor import Tensor, as_tensor
from chainrule.ops.elementwise import cast, less, where
from chainrule.ops.index import arange, scatter_add, take_op
from chainrule.ops.logic import logical_and
from chainrule.ops.move import broadcast_to, normal_axis, reshape


def _infer_argsort(x: Any, axis: int, descending: bool) -> Spec:
    if not -len(x.shape) <= axis < 0:
        raise ShapeError(f"argsort along axis {axis} (from the last) of shape {x.shape}")
    return Spec(tuple(x.shape), np.dtype("int64"))


def _ref_argsort(x: np.ndarray, axis: int, descending: bool) -> np.ndarray:
    if not descending:
        return np.argsort(x, axis=axis, kind="stable").astype("int64")
    back = np.argsort(np.flip(x, axis), axis=axis, kind="stable")  # so that ties keep their order
    return np.flip(x.shape[axis] - 1 - back, axis).astype("int64")


argsort_op = register(
    Op(
        name="argsort",
        kind="host",
        tex=r"\mathrm{argsort}(#1)",
        ref=_ref_argsort,
        infer=_infer_argsort,
        deriv=NO_GRADIENT,
        vjp=lambda g, y, x, axis, descending: (None,),
        jvp=lambda tangents, y, x, axis, descending: None,
        samples=(
            sample((2, 5), axis=-1, descending=False),
            sample((3, 2, 2), axis=-3, descending=True),
            sample(np.array([2, 1, 2, 1, 3]), axis=-1, descending=True),
        ),
        doc="The positions that sort `x`, ties in their order; `axis` counts from the last.",
    )
)


def argsort(x: Any, axis: int = -1, descending: bool = False) -> Tensor:
    """The positions, int64, that sort `x` along `axis`; ties keep their order, NaN comes last
    (first when `descending`)."""
    x = as_tensor(x)
    return argsort_op(x, axis=normal_axis(axis, x.ndim) - x.ndim, descending=descending)


def take_along_axis(x: Any, ids: Any, axis: int = -1) -> Tensor:
    """The elements of `x` at positions `ids` along `axis`; other axes broadcast.

    Negative positions count from the end; ArgumentError for those outside.
    """
    x, ids = as_tensor(x), as_tensor(ids)
    at = normal_axis(axis, x.ndim)
    if ids.ndim != x.ndim or ids.dtype.kind not in "iu":
        raise ShapeError(
            f"take_along_axis needs integer positions with {x.ndim} axes, got "
            f"{ids.dtype}{list(ids.shape)}"
        )
    shape = tuple(ids.shape[at] if i == at else n for i, n in enumerate(x.shape))
    ids = broadcast_to(cast(ids, "int64"), shape)
    extent = x.shape[at]
    ids = where(less(ids, 0), ids + extent, ids)
    flat: Any = 0
    for i, n in enumerate(x.shape):
        place = reshape(arange(n), [n if j == i else 1 for j in range(x.ndim)]) if i != at else ids
        flat = flat * n + place
    inside = logical_and(less(-1, ids), less(ids, extent))
    places = where(inside, broadcast_to(as_tensor(flat), shape), -1)
    return take_op(reshape(x, -1), places, axis=0)


def sort(x: Any, axis: int = -1, descending: bool = False) -> Tensor:
    """The elements in order along `axis`; each gets the gradient of the place it went to."""
    return take_along_axis(x, argsort(x, axis, descending), axis)


def top_k(x: Any, k: int, axis: int = -1) -> tuple[Tensor, Tensor]:
    """(values, positions) of the `k` largest along `axis`, largest first, the first at a tie."""
    x = as_tensor(x)
    at = normal_axis(axis, x.ndim)
    if not 0 <= k <= x.shape[at]:
        raise ArgumentError(f"top_k of {k} elements along an axis of {x.shape[at]}")
    ids = argsort(x, at, descending=True)[(slice(None),) * at + (slice(0, k),)]
    return take_along_axis(x, ids, at), ids


def segment_sum(x: Any, ids: Any, num_segments: int) -> Tensor:
    """The sums of the rows of `x` whose `ids` are 0, 1, ..., num_segments - 1."""
    x, ids = as_tensor(x), as_tensor(ids)
    if ids.ndim != 1:
        raise ShapeError(f"segment_sum needs one id per row, got ids of shape {ids.shape}")
    return scatter_add(x, ids, axis=0, extent=num_segments)
