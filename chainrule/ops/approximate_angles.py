r"""Circular functions and their inverses from a few primitives of a kernel builder.

All work in float64 whatever comes in, so a float32 result is within 1 ulp, and a float64 one
within some ten. Read next: `angles.py`.
"""

from __future__ import annotations

import math
from typing import Any

from chainrule.ops.approximate import in_double, polynomial, size, with_sign

HALF_PI = (  # the first 53 bits of pi/2, the next 53, and those after
    1.5707963267948966,
    6.123233995736766e-17,
    -1.4973849048591698e-33,
)
TURNS_END = 2.0**40  # from there on the quadrant is not found, and the answer is NaN
SIN_TERMS, COS_TERMS, ARCTAN_TERMS = 8, 8, 12


def _is_odd(k: Any, n: Any) -> Any:
    """Whether whole `n` is odd; 1 or 0, as a number."""
    half = n * 0.5
    return k.select(k.equal(k.round(half), half), k.constant(0.0, n.dtype), 1.0)


def _quarters(k: Any, x: Any) -> tuple[Any, Any, Any]:
    """(n, sin r, cos r) with x = n pi/2 + r, |r| <= pi/4; NaN where |x| has no known quadrant."""
    known = k.less(size(k, x), TURNS_END)
    x = k.select(known, x, math.nan)
    n = k.round(x * (1.0 / HALF_PI[0]))
    r = k.fma(n, -HALF_PI[0], x)  # exact: both are whole multiples of 2^-53 below 1
    r = k.fma(n, -HALF_PI[2], k.fma(n, -HALF_PI[1], r))
    square = r * r
    odd = [(-1.0) ** q / math.factorial(2 * q + 1) for q in range(1, SIN_TERMS + 1)]
    even = [(-1.0) ** q / math.factorial(2 * q) for q in range(1, COS_TERMS + 1)]
    sine = k.fma(r * square, polynomial(k, square, odd), r)
    return n, sine, k.fma(square, polynomial(k, square, even), 1.0)


def _turned(k: Any, n: Any, sine: Any, cosine: Any) -> Any:
    """sin(n pi/2 + r)."""
    odd = _is_odd(k, n)
    y = k.select(k.equal(odd, 1.0), cosine, sine)
    return k.select(k.equal(_is_odd(k, (n - odd) * 0.5), 1.0), -y, y)


@in_double
def sin(k: Any, x: Any) -> Any:
    """sin(x); NaN for |x| >= 2^40."""
    return k.select(k.equal(x, 0.0), x, _turned(k, *_quarters(k, x)))


@in_double
def cos(k: Any, x: Any) -> Any:
    """cos(x) = sin(x + pi/2); NaN for |x| >= 2^40."""
    n, sine, cosine = _quarters(k, x)
    return _turned(k, n + 1.0, sine, cosine)


@in_double
def tan(k: Any, x: Any) -> Any:
    """tan(x); NaN for |x| >= 2^40."""
    n, sine, cosine = _quarters(k, x)
    odd = k.equal(_is_odd(k, n), 1.0)
    y = k.select(odd, -cosine, sine) / k.select(odd, sine, cosine)
    return k.select(k.equal(x, 0.0), x, y)


def _arctan_of_part(k: Any, t: Any) -> Any:
    """arctan(t) for t in 0..1: halving the angle twice leaves |t| < 0.2 for the series."""
    for _ in range(2):
        t = t / (1.0 + k.sqrt(k.fma(t, t, 1.0)))
    square = t * t
    terms = [(-1.0) ** q / (2 * q + 1) for q in range(1, ARCTAN_TERMS + 1)]
    return 4.0 * k.fma(t * square, polynomial(k, square, terms), t)


def _arctan(k: Any, x: Any) -> Any:
    a = size(k, x)
    steep = k.less(k.constant(1.0, a.dtype), a)
    angle = _arctan_of_part(k, k.select(steep, 1.0 / a, a))
    return with_sign(k, k.select(steep, HALF_PI[0] - angle, angle), x)


arctan = in_double(_arctan)


@in_double
def arcsin(k: Any, x: Any) -> Any:
    """arctan(x / sqrt(1 - x^2)); NaN beyond 1."""
    return _arctan(k, x / k.sqrt((1.0 - x) * (1.0 + x)))


@in_double
def arccos(k: Any, x: Any) -> Any:
    """2 arctan(sqrt((1 - x)/(1 + x))); NaN beyond 1."""
    return 2.0 * _arctan(k, k.sqrt((1.0 - x) / (1.0 + x)))


@in_double
def arctan2(k: Any, x: Any, z: Any) -> Any:
    """The angle of the point (z, x) from the first axis; the sign of zeros counts."""
    a, b = size(k, x), size(k, z)
    large, small = k.max(a, b), k.min(a, b)
    part = k.select(k.equal(large, small), k.constant(1.0, x.dtype), small / large)
    part = k.select(k.equal(large, 0.0), 0.0, part)
    angle = _arctan_of_part(k, part)
    angle = k.select(k.less(b, a), HALF_PI[0] - angle, angle)
    left = k.select(k.equal(z, 0.0), 1.0 / z, z)
    angle = k.select(k.less(left, 0.0), math.pi - angle, angle)
    below = k.select(k.equal(x, 0.0), 1.0 / x, x)
    y = k.select(k.less(below, 0.0), -angle, angle)
    return k.select(k.equal(x, x), k.select(k.equal(z, z), y, z), x)
