r"""Normal numbers from even ones, by the inverse of the normal distribution's area.

One even number gives one normal one, so a cut of the tails is a cut of the range that is drawn
from. Read next: `initializers.py`.
"""

from __future__ import annotations

import math
from typing import Any

from chainrule.core.tensor import Tensor
from chainrule.ops.elementwise import absolute, less, log, maximum, negative, sqrt, where
from chainrule.ops.random import uniform

# Coefficients from the constant term up, of numerators and denominators.
CENTRE = (
    (3.3871327179, 50.434271938, 159.29113202, 59.109374720),
    (1.0, 17.895169469, 78.757757664, 67.187563600),
)
SHOULDER = (
    (1.4234372777, 2.7568153900, 1.3067284816, 0.17023821103),
    (1.0, 0.73700164250, 0.12021132975),
)
TAIL = (
    (6.6579051150, 3.0812263860, 0.42868294337, 0.017337203997),
    (1.0, 0.24197894225, 0.012258202635),
)
STEP = 2.0**-25  # half a step of `uniform`, so that 0 is not met


def normal(key: Tensor, shape: tuple[int, ...], mean: float = 0.0, stddev: float = 1.0) -> Tensor:
    """float32 numbers drawn from the normal distribution; none lies beyond 5.5 deviations."""
    return quantile(uniform(key, shape) - (0.5 - STEP)) * stddev + mean


def truncated_normal(
    key: Tensor, shape: tuple[int, ...], mean: float = 0.0, stddev: float = 1.0
) -> Tensor:
    """As `normal`, of the numbers within two deviations `stddev` of the mean."""
    side = 0.5 * math.erf(math.sqrt(2.0))
    return quantile(uniform(key, shape, -side, side)) * stddev + mean


def quantile(p: Any) -> Any:
    r"""The x with $\Phi(x) - \frac12 = p$, for |p| < 1/2; within $10^{-6}$ relative in float32.

    Source: Wichura, "Algorithm AS 241: the percentage points of the normal distribution",
    Applied Statistics 37, 1988, the routine of seven figures.
    """
    near = p * _ratio(CENTRE, 0.180625 - p * p)
    rest = maximum(0.5 - absolute(p), 2.0**-26)
    r: Any = sqrt(negative(log(rest)))
    far: Any = where(less(r, 5.0), _ratio(SHOULDER, r - 1.6), _ratio(TAIL, r - 5.0))
    signed = where(less(p, 0.0), negative(far), far)
    return where(less(absolute(p), 0.425), near, signed)


def _ratio(coefficients: tuple[tuple[float, ...], ...], r: Any) -> Any:
    above, below = (_polynomial(part, r) for part in coefficients)
    return above / below


def _polynomial(coefficients: tuple[float, ...], r: Any) -> Any:
    *rest, total = coefficients
    value: Any = total
    for c in reversed(rest):
        value = r * value + c
    return value
