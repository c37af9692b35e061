"""Smooth functions beside exp and log: near 0, of roots, hyperbolic, the error function.

Read next: `angles.py`.
"""

from __future__ import annotations

import math

import numpy as np

from chainrule.core.op import Op
from chainrule.core.tensor import Tensor
from chainrule.ops import approximate
from chainrule.ops.elementwise import elementwise, equal, exp, isfinite, sigmoid, where
from chainrule.ops.logic import logical_and, logical_not

expm1 = elementwise(
    "expm1",
    "e^{#1} - 1",
    ref=np.expm1,
    deriv=lambda x, y: y + 1,
    body=approximate.whole_expm1,
    takes="float",
)

log1p = elementwise(
    "log1p",
    r"\ln(1 + #1)",
    ref=np.log1p,
    deriv=lambda x, y: 1 / (1 + x),
    body=approximate.log1p,
    takes="float",
    domain=(-0.8, 2.0),
)

logaddexp = elementwise(
    "logaddexp",
    r"\ln(e^{#1} + e^{#2})",
    ref=lambda x, z: np.logaddexp(x, z, dtype="float64").astype(x.dtype),  # x + ... may cancel
    deriv=lambda x, z, y: (lambda: _weight(x, z), lambda: _weight(z, x)),
    body=approximate.logaddexp,
    takes="float",
)


def _weight(x: Tensor, z: Tensor) -> Tensor:
    """e^x / (e^x + e^z); 1/2 where both are the same infinity."""
    even = logical_and(equal(x, z), logical_not(isfinite(x)))
    return sigmoid(where(even, 0, x - z))


rsqrt = elementwise(
    "rsqrt",
    r"\frac{1}{\sqrt{#1}}",
    ref=lambda x: 1 / np.sqrt(x),
    deriv=lambda x, y: -0.5 * y * y * y,
    body=lambda k, x: 1.0 / k.sqrt(x),
    takes="float",
    domain=(0.2, 3.0),
)

square = elementwise(
    "square",
    "#1^2",
    ref=np.square,
    deriv=lambda x, y: 2 * x,
    body=lambda k, x: x * x,
)

sinh = elementwise(
    "sinh",
    r"\sinh(#1)",
    ref=np.sinh,
    deriv=lambda x, y: cosh(x),
    body=approximate.sinh,
    takes="float",
)

cosh: Op = elementwise(
    "cosh",
    r"\cosh(#1)",
    ref=np.cosh,
    deriv=lambda x, y: sinh(x),
    body=approximate.cosh,
    takes="float",
)

arcsinh = elementwise(
    "arcsinh",
    r"\mathrm{arsinh}(#1)",
    ref=np.arcsinh,
    deriv=lambda x, y: rsqrt(x * x + 1),
    body=approximate.arcsinh,
    takes="float",
)

arccosh = elementwise(
    "arccosh",
    r"\mathrm{arcosh}(#1)",
    ref=np.arccosh,
    deriv=lambda x, y: rsqrt(x - 1) * rsqrt(x + 1),
    body=approximate.arccosh,
    takes="float",
    domain=(1.2, 3.0),
)

arctanh = elementwise(
    "arctanh",
    r"\mathrm{artanh}(#1)",
    ref=np.arctanh,
    deriv=lambda x, y: 1 / ((1 - x) * (1 + x)),
    body=approximate.arctanh,
    takes="float",
    domain=(-0.8, 0.8),
)

_erf = np.frompyfunc(math.erf, 1, 1)

erf = elementwise(
    "erf",
    r"\mathrm{erf}(#1)",
    ref=lambda x: np.asarray(_erf(x)).astype(x.dtype),
    deriv=lambda x, y: 2 / math.sqrt(math.pi) * exp(-(x * x)),
    body=approximate.erf,
    takes="float",
)
