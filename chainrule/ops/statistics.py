"""Reductions made of others: products, spread, stable log-sums, counts and positions.

`axis` is an int, several, or None for all. Read next: `cumulate.py`.
"""

from __future__ import annotations

import math
from typing import Any

from chainrule.core.dtypes import is_float
from chainrule.core.errors import DtypeError
from chainrule.core.tensor import Tensor, as_tensor
from chainrule.ops.composite import var
from chainrule.ops.elementwise import (
    cast,
    equal,
    exp,
    isfinite,
    less,
    log,
    negative,
    sqrt,
    stop_gradient,
    where,
)
from chainrule.ops.index import arange
from chainrule.ops.logic import isnan, logical_not, logical_or, not_equal
from chainrule.ops.move import normal_axis, pad, reshape, transpose
from chainrule.ops.reduce import Axes, kept_shape, max, normal_axes, sum


def prod(x: Any, axis: Axes = None, keepdims: bool = False) -> Tensor:
    """The product along `axis`, 1 of no elements. Integers and bools multiply in int64.

    Halves are multiplied until one element is left, so that the gradient of any order is right
    also where elements are 0.
    """
    x = as_tensor(x)
    if x.dtype.kind in "iub":
        x = cast(x, "int64")
    axes = normal_axes(axis, x.ndim)
    kept = [i for i in range(x.ndim) if i not in axes]
    count = math.prod(x.shape[a] for a in axes)
    lead = tuple(x.shape[i] for i in kept)
    y = reshape(transpose(x, [*kept, *axes]), (*lead, count))
    width = 1 << (count - 1).bit_length() if count else 1
    if width > count:
        y = pad(y, [(0, 0)] * len(lead) + [(0, width - count)], 1.0)
    while width > 1:
        width //= 2
        y = y[..., :width] * y[..., width:]
    return reshape(y, kept_shape(x.shape, axes) if keepdims else lead)


def std(x: Any, axis: Axes = None, keepdims: bool = False, correction: float = 0.0) -> Tensor:
    """The root of the mean squared distance from the mean along `axis`.

    Squares are divided by n - `correction`. Where all elements are equal the gradient is 0.
    """
    return root(var(x, axis, keepdims, correction))


def root(x: Tensor) -> Tensor:
    """sqrt with the derivative 0 at 0: the subgradient that standard deviation and norm take."""
    flat = equal(x, 0)
    return where(flat, 0, sqrt(where(flat, 1, x)))


def logsumexp(x: Any, axis: Axes = None, keepdims: bool = False) -> Tensor:
    """log(sum(exp(x))) along `axis`, shifted by the largest so that nothing overflows."""
    x = as_tensor(x)
    axes = normal_axes(axis, x.ndim)
    largest = stop_gradient(max(x, axes, keepdims=True))
    largest = where(isfinite(largest), largest, 0)  # inf - inf would be NaN
    y = log(sum(exp(x - largest), axes, keepdims=True)) + largest
    return y if keepdims else reshape(y, [n for i, n in enumerate(y.shape) if i not in axes])


def argmax(x: Any, axis: int | None = None, keepdims: bool = False) -> Tensor:
    """The position, int64, of the largest element along `axis`, the first at a tie.

    With None it counts in the flattened tensor. NaN counts as largest, as in NumPy.
    """
    x = as_tensor(x)
    if x.dtype.kind == "b":
        x = cast(x, "int32")
    return _first(x, axis, keepdims)


def argmin(x: Any, axis: int | None = None, keepdims: bool = False) -> Tensor:
    """The position, int64, of the smallest element along `axis`, the first at a tie."""
    x = as_tensor(x)
    x = cast(x, "int32") if x.dtype.kind == "b" else x
    if x.dtype.kind == "u":
        raise DtypeError(f"argmin of {x.dtype}", mend="cr.cast(x, 'int64')")
    return _first(negative(x), axis, keepdims)


def _first(x: Tensor, axis: int | None, keepdims: bool) -> Tensor:
    if axis is None:
        y = _first(reshape(x, -1), 0, False)
        return reshape(y, (1,) * x.ndim) if keepdims else y
    at = normal_axis(axis, x.ndim)
    x = stop_gradient(x)
    hit = equal(x, max(x, at, keepdims=True))
    if is_float(x.dtype):
        hit = logical_or(hit, isnan(x))
    count = x.shape[at]
    places = reshape(arange(count), [count if i == at else 1 for i in range(x.ndim)])
    return negative(max(where(hit, negative(places), -count), at, keepdims))


def count_nonzero(x: Any, axis: Axes = None, keepdims: bool = False) -> Tensor:
    """How many elements along `axis` are not 0 (or True), int64."""
    x = as_tensor(x)
    return sum(x if x.dtype.kind == "b" else not_equal(x, 0), axis, keepdims)


def any(x: Any, axis: Axes = None, keepdims: bool = False) -> Tensor:
    """Whether some element along `axis` is not 0 (or True); False of none."""
    return less(0, count_nonzero(x, axis, keepdims))


def all(x: Any, axis: Axes = None, keepdims: bool = False) -> Tensor:
    """Whether every element along `axis` is not 0 (or True); True of none."""
    x = as_tensor(x)
    zero = logical_not(x) if x.dtype.kind == "b" else equal(x, 0)
    return equal(count_nonzero(zero, axis, keepdims), 0)
