"""Draws from other distributions, made of even random bits. Read next: `composite.py`."""

from __future__ import annotations

import math
from typing import Any

from chainrule.core.dtypes import is_float
from chainrule.core.errors import ArgumentError, DtypeError
from chainrule.core.op import Shape
from chainrule.core.tensor import Tensor, as_tensor
from chainrule.ops.angles import cos
from chainrule.ops.elementwise import cast, less, log, shift_op, sqrt, where
from chainrule.ops.index import take
from chainrule.ops.move import as_shape
from chainrule.ops.order import argsort
from chainrule.ops.random import fold_in, random_bits, uniform
from chainrule.ops.statistics import argmax

ERFINV_INNER = (  # powers of w - 2.5 with w = -log(1 - x^2) below 5, the highest first
    2.81022636e-08, 3.43273939e-07, -3.5233877e-06, -4.39150654e-06, 0.00021858087,
    -0.00125372503, -0.00417768164, 0.246640727, 1.50140941,
)  # fmt: skip
ERFINV_OUTER = (  # powers of sqrt(w) - 3 from there on
    -0.000200214257, 0.000100950558, 0.00134934322, -0.00367342844, 0.00573950773,
    -0.0076224613, 0.00943887047, 1.00167406, 2.83297682,
)  # fmt: skip


def normal(key: Tensor, shape: Shape, mean: float = 0.0, stddev: float = 1.0) -> Tensor:
    """float32 numbers from the normal distribution, within 5.8 `stddev` of `mean`.

    Source: Box, Muller, "A Note on the Generation of Random Normal Deviates", 1958.
    """
    radius = sqrt(-2.0 * log(1.0 - uniform(fold_in(key, 1), shape)))
    return radius * cos(uniform(fold_in(key, 2), shape, 0.0, 2 * math.pi)) * stddev + mean


def truncated_normal(
    key: Tensor,
    shape: Shape,
    mean: float = 0.0,
    stddev: float = 1.0,
    low: float = -2.0,
    high: float = 2.0,
) -> Tensor:
    """float32 normal numbers of those within `low` and `high` `stddev` of `mean`."""
    if not low < high:
        raise ArgumentError(f"truncated_normal needs low < high, got {low} and {high}")
    ends = [math.erf(end / math.sqrt(2)) for end in (low, high)]
    drawn = math.sqrt(2) * _erfinv(uniform(key, shape, *ends))
    held = where(less(drawn, low), low, where(less(high, drawn), high, drawn))  # roundings
    return held * stddev + mean


def _erfinv(x: Tensor) -> Tensor:
    """The inverse of erf, to float32's digits. Source: Giles, "Approximating the erfinv function",
    GPU Computing Gems, 2010."""
    w = -log((1.0 - x) * (1.0 + x))
    inner = less(w, 5.0)
    t = where(inner, w - 2.5, sqrt(where(inner, 5.0, w)) - 3.0)
    y: Any = 0.0
    for a, b in zip(ERFINV_INNER, ERFINV_OUTER, strict=True):
        y = y * t + where(inner, a, b, like=x)
    return x * y


def categorical(key: Tensor, logits: Any, axis: int = -1) -> Tensor:
    """int64 classes along `axis`, each drawn with probability softmax(logits).

    The largest of logits + Gumbel noise: each class wins with its probability.
    """
    logits = as_tensor(logits)
    if not is_float(logits.dtype):
        raise DtypeError(f"categorical needs float logits, got {logits.dtype}")
    noise = -log(-log(uniform(key, logits.shape)))
    return argmax(logits + cast(noise, logits.dtype), axis)


def randint(key: Tensor, shape: Shape, low: int, high: int) -> Tensor:
    """int64 numbers drawn evenly from low, ..., high - 1; a bias of at most range / 2**32."""
    if not 0 < high - low <= 1 << 31:
        raise ArgumentError(f"randint needs 1 to 2**31 numbers from low on, got {low}..{high}")
    bits = cast(random_bits(key, shape=as_shape(shape)), "int64")
    return shift_op(bits * (high - low), by=32) + low


def permutation(key: Tensor, x: Any) -> Tensor:
    """0, ..., x - 1 in random order; for a tensor, its rows so."""
    if isinstance(x, int):
        return argsort(random_bits(key, shape=(x,)))
    x = as_tensor(x)
    return take(x, permutation(key, x.shape[0]))
