"""Whole numbers and bounds: piecewise linear ops, whose kinks `docs/derivatives-at-kinks.md` lists.

Read next: `smooth.py`.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from chainrule.core.op import sample
from chainrule.core.tensor import Tensor, as_tensor
from chainrule.ops.elementwise import elementwise, equal, less, where
from chainrule.ops.logic import less_equal, logical_and


def _is_float(x: Any) -> bool:
    return x.dtype in ("float32", "float64")


def _floor(k: Any, x: Any) -> Any:
    nearest = k.round(x)
    return k.select(k.less(x, nearest), nearest - 1.0, nearest)


floor = elementwise(
    "floor",
    r"\lfloor #1 \rfloor",
    ref=lambda x: np.floor(x) if x.dtype.kind == "f" else x,
    deriv=lambda x, y: 0,  # at the jumps too
    body=lambda k, x: _floor(k, x) if _is_float(x) else x,
)

ceil = elementwise(
    "ceil",
    r"\lceil #1 \rceil",
    ref=lambda x: np.ceil(x) if x.dtype.kind == "f" else x,
    deriv=lambda x, y: 0,
    body=lambda k, x: -_floor(k, -x) if _is_float(x) else x,
)

round = elementwise(
    "round",
    r"\mathrm{round}(#1)",
    ref=lambda x: np.rint(x) if x.dtype.kind == "f" else x,
    deriv=lambda x, y: 0,
    body=lambda k, x: k.round(x) if _is_float(x) else x,
    doc="The nearest whole number, halves to even.",
)

sign = elementwise(
    "sign",
    r"\mathrm{sign}(#1)",
    ref=np.sign,
    deriv=lambda x, y: 0,
    body=lambda k, x: k.select(
        k.less(k.constant(0, x.dtype), x),
        k.constant(1, x.dtype),
        k.select(k.less(x, 0), -k.constant(1, x.dtype), x),  # x is 0 or NaN there
    ),
)


def _smaller(k: Any, x: Any, z: Any) -> Any:
    return k.min(x, z) if _is_float(x) else k.select(k.less(z, x), z, x)


minimum = elementwise(
    "minimum",
    r"\min(#1, #2)",
    ref=np.minimum,
    deriv=lambda x, z, y: (_share(x, z), _share(z, x)),
    body=_smaller,
)


def _share(x: Tensor, z: Tensor) -> Tensor:
    """1 where x is smaller, 1/2 at a tie, 0 elsewhere."""
    return where(less(x, z), 1, where(equal(x, z), 0.5, 0, like=x))


def _clip_deriv(x: Tensor, low: Tensor, high: Tensor, y: Tensor) -> tuple:
    """1 for x also on the edges; a bound gets what x does not, the upper one ruling."""

    def share(condition: Tensor) -> Tensor:
        return where(condition, 1, 0, like=x)

    inside = lambda: share(logical_and(less_equal(low, x), less_equal(x, high)))  # noqa: E731
    lifted = lambda: share(logical_and(less(x, low), less_equal(low, high)))  # noqa: E731
    lowered = lambda: 1 - inside() - lifted()  # noqa: E731
    return inside, lifted, lowered


clip_op = elementwise(
    "clip",
    r"\mathrm{clip}(#1, #2, #3)",
    ref=lambda x, low, high: np.minimum(np.maximum(x, low), high),
    deriv=_clip_deriv,
    body=lambda k, x, low, high: _smaller(k, k.max(x, low), high),
    samples=(sample((2, 3), (2, 3), (2, 3)), sample((1, 3), (2, 1), (1, 1))),
)


def clip(x: Any, min: Any = None, max: Any = None) -> Tensor:
    """`x` held between `min` and `max`, either of which may be missing.

    The derivative is 1 on the edges and between them, 0 outside.

    >>> clip(np.float32([-2, 0.5, 3]), 0, 1)
    Tensor([0. , 0.5, 1. ], dtype=float32)
    """
    x = as_tensor(x)
    info: Any = np.finfo(x.dtype) if x.dtype.kind == "f" else np.iinfo(x.dtype)
    ends = (-np.inf, np.inf) if x.dtype.kind == "f" else (int(info.min), int(info.max))
    return clip_op(x, ends[0] if min is None else min, ends[1] if max is None else max)


def _remainder(k: Any, x: Any, z: Any) -> Any:
    """x - z floor(x / z): exact where the quotient is small, elsewhere by a library's loop."""
    if not _is_float(x):
        return _whole_remainder(k, x, z)
    ratio, bound = x / z, 2.0**22 if x.dtype == "float32" else 2.0**51
    small = k.select(k.less(k.max(ratio, -ratio), bound), k.less(k.max(z, -z), np.inf), False)
    left = k.fma(-_floor(k, ratio), z, x)  # on the wrong side of 0 if the quotient rounded up
    return k.unless_all(small, _on_side_of(k, left, z), lambda: _long_remainder(k, x, z))


def _long_remainder(k: Any, x: Any, z: Any) -> Any:
    return _on_side_of(k, k.remainder(x, z), z)


def _whole_remainder(k: Any, x: Any, z: Any) -> Any:
    one = k.constant(1, x.dtype)  # the machine traps on x % 0, and on the least number % -1
    divisor = k.select(k.equal(z, 0), one, z)
    if x.dtype.startswith("u"):
        return k.remainder(x, divisor)
    return _on_side_of(k, k.remainder(x, k.select(k.equal(z, -1), one, divisor)), z)


def _on_side_of(k: Any, left: Any, z: Any) -> Any:
    """`left`, and z once more where it stands on the other side of 0; a 0 gets z's sign."""
    zero = k.constant(0, z.dtype)
    none = k.select(k.less(z, 0), -zero, zero)
    beyond = k.less(left, 0) ^ k.less(z, 0)
    return k.select(k.equal(left, 0), none, k.select(beyond, left + z, left))


remainder = elementwise(
    "remainder",
    r"#1 \bmod #2",
    ref=np.remainder,
    deriv=lambda x, z, y: (1, lambda: -floor(x / z)),
    body=_remainder,
    samples=(sample((2, 3), (2, 3)), sample((4,), (4,))),
    doc="x - z floor(x / z), which has the sign of z; its derivative in z jumps with floor. An "
    "integer's by 0 is 0.",
)
