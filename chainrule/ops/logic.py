"""Comparison and logic: bool results, no gradient. Read next: `reduce.py`."""

from __future__ import annotations

from typing import Any

import numpy as np

from chainrule.core.op import NO_GRADIENT, sample
from chainrule.core.tensor import Tensor
from chainrule.ops.elementwise import elementwise

_pair = (sample(np.array([True, True, False, False]), np.array([True, False, True, False])),)

less_equal = elementwise(
    "less_equal",
    r"#1 \le #2",
    ref=np.less_equal,
    deriv=NO_GRADIENT,
    body=lambda k, x, z: k.select(k.less(x, z), True, k.equal(x, z)),  # false with NaN
    gives="bool",
)

not_equal = elementwise(
    "not_equal",
    r"#1 \ne #2",
    ref=np.not_equal,
    deriv=NO_GRADIENT,
    body=lambda k, x, z: k.select(k.equal(x, z), False, k.constant(True, "bool")),
    takes="any",
    gives="bool",
)

isnan = elementwise(
    "isnan",
    r"\mathrm{nan}(#1)",
    ref=np.isnan,
    deriv=NO_GRADIENT,
    body=lambda k, x: k.select(k.equal(x, x), False, k.constant(True, "bool")),
    takes="float",
    gives="bool",
)

logical_and = elementwise(
    "logical_and",
    r"#1 \wedge #2",
    ref=np.logical_and,
    deriv=NO_GRADIENT,
    body=lambda k, x, z: k.select(x, z, False),
    takes="bool",
    samples=_pair,
)

logical_or = elementwise(
    "logical_or",
    r"#1 \vee #2",
    ref=np.logical_or,
    deriv=NO_GRADIENT,
    body=lambda k, x, z: k.select(x, k.constant(True, "bool"), z),
    takes="bool",
    samples=_pair,
)

logical_not = elementwise(
    "logical_not",
    r"\neg #1",
    ref=np.logical_not,
    deriv=NO_GRADIENT,
    body=lambda k, x: k.select(x, False, k.constant(True, "bool")),
    takes="bool",
    samples=(sample(np.array([True, False, True])),),
)


def greater_equal(x: Any, z: Any) -> Tensor:
    """x >= z, elementwise, bool."""
    return less_equal(z, x)
