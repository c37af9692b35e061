"""Index ops: which element is read is named by another tensor. Read next: `random.py`."""

from __future__ import annotations

from typing import Any

import numpy as np

from chainrule.core.errors import ArgumentError, DtypeError, ShapeError
from chainrule.core.op import Op, Shape, Spec, register, sample
from chainrule.core.tensor import Tensor, as_tensor
from chainrule.core.view import Named, Spread, View
from chainrule.ops.elementwise import cast, equal
from chainrule.ops.move import expand_dims, normal_axis

arange_op = register(
    Op(
        name="arange",
        kind="leaf",
        ref=lambda count, dtype: np.arange(count, dtype=dtype),
        infer=lambda count, dtype: Spec((count,), np.dtype(dtype)),
    )
)


def arange(count: int, dtype: Any = "int64") -> Tensor:
    """0, 1, ..., count - 1."""
    return arange_op(count=count, dtype=np.dtype(dtype).name)


def _infer_take(x: Any, ids: Any, axis: int) -> Spec:
    if ids.dtype.kind not in "iu":
        raise DtypeError(f"take needs integer positions, got {ids.dtype}")
    if not 0 <= axis < len(x.shape):
        raise ShapeError(f"axis {axis} is out of range for shape {x.shape}")
    return Spec(x.shape[:axis] + ids.shape + x.shape[axis + 1 :], x.dtype)


def within(ids: np.ndarray, extent: int) -> np.ndarray:
    """`ids`; ArgumentError unless all lie in 0..extent-1."""
    bad = np.argwhere((ids < 0) | (ids >= extent))
    if len(bad):
        place = tuple(int(i) for i in bad[0])
        raise ArgumentError(
            f"positions must lie in 0..{extent - 1}, got {ids[place]} at {list(place)} "
            f"({len(bad)} of {ids.size} are outside)",
            mend=f"a table of more rows than {extent}, or ids that count from 0 and end before it",
        )
    return ids


def _ref_scatter(g: np.ndarray, ids: np.ndarray, axis: int, extent: int) -> np.ndarray:
    shape = g.shape[:axis] + (extent,) + g.shape[axis + ids.ndim :]
    y = np.zeros(shape, g.dtype)
    where: Any = (slice(None),) * axis + (within(ids, extent),)
    np.add.at(y, where, g)
    return y


def _spread_scatter(g: Shape, ids: Shape, after: Shape, axis: int, extent: int) -> Spread:
    named = Named.along(View.whole(after), axis, ids)
    return Spread(tuple(range(len(g))), named.view, 0.0, adds=True, named=named)


def _infer_scatter(g: Any, ids: Any, axis: int, extent: int) -> Spec:
    if ids.dtype.kind not in "iu":
        raise DtypeError(f"scatter_add needs integer positions, got {ids.dtype}")
    if g.shape[axis : axis + len(ids.shape)] != tuple(ids.shape):
        raise ShapeError(f"scatter_add needs rows like its positions, got {g.shape}, {ids.shape}")
    return Spec(g.shape[:axis] + (extent,) + g.shape[axis + len(ids.shape) :], g.dtype)


_ids = np.array([[0, 2], [2, 1]])

take_op = register(
    Op(
        name="take",
        kind="index",
        tex=r"#1[#2]",
        ref=lambda x, ids, axis: np.asarray(
            np.take(x, within(ids, x.shape[axis]), axis=axis)  # a number for a single position
        ),
        infer=_infer_take,
        linear=(0,),
        vjp=lambda g, y, x, ids, axis: (
            scatter_add(g, ids, axis=axis, extent=x.shape[axis]),
            None,
        ),
        lower=lambda view, ids, axis: Named.along(view, axis, ids),
        samples=(sample((3, 2), _ids, axis=0), sample((2, 3), np.array([1, 1, 0]), axis=1)),
    )
)

scatter_add: Op = register(
    Op(
        name="scatter_add",
        kind="index",
        tex=r"\mathrm{scatter}(#1, #2)",
        ref=_ref_scatter,
        infer=_infer_scatter,
        linear=(0,),
        vjp=lambda g, y, x, ids, axis, extent: (take_op(g, ids, axis=axis), None),
        spread=_spread_scatter,
        samples=(
            sample((2, 2, 3), _ids, axis=0, extent=3),
            sample((2, 3), np.array([1, 1, 0]), axis=1, extent=4),
        ),
    )
)


def take(x: Any, ids: Any, axis: int = 0) -> Tensor:
    """The slices of `x` along `axis` that integer `ids` name.

    ArgumentError for a position outside 0..extent-1.
    """
    x = as_tensor(x)
    return take_op(x, ids, axis=normal_axis(axis, x.ndim))


def one_hot(ids: Any, classes: int, dtype: Any = "float32") -> Tensor:
    """1 where the class is `ids`, 0 elsewhere, along a new last axis of extent `classes`."""
    ids = as_tensor(ids)
    if ids.dtype.kind not in "iu":
        raise DtypeError(f"one_hot needs integer classes, got {ids.dtype}")
    return cast(equal(expand_dims(ids, -1), arange(classes, ids.dtype)), dtype)
