r"""exp, log, tanh, power and their kin from a few primitives of a kernel builder.

Measured in float32: exp within 1 ulp, log within 0.8, tanh and sigmoid within 2. What is marked
`in_double` works in float64 whatever comes in, so its float32 result is within 1 ulp; a float64
one is within 5.

Each is written once and serves every builder: machine code, readable text, cost. `x` is a
builder value; the number of terms follows its dtype. Read next: `approximate_angles.py`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import wraps
from typing import Any

import numpy as np

LOG2 = math.log(2.0)
FORMAT = {  # mantissa bits, exponent bias, integer beside it
    "float32": (23, 127, "int32"),
    "float64": (52, 1023, "int64"),
}
LOG2_PARTS = {  # a head whose product with a whole exponent is exact, and the rest of log 2
    "float32": (0.693359375, -2.12194440054690583e-4),
    "float64": (0.6931471803691238, 1.9082149292705877e-10),
}
EXP_TERMS = {"float32": 7, "float64": 13}
LOG_TERMS = {"float32": 5, "float64": 11}
LARGE = 2.0**28  # its square hides a 1 in float64
ERF_TAIL_TERMS = 24
EXP_RANGE = {"float32": (-104.0, 89.0), "float64": (-746.0, 710.0)}


def _reduced(k: Any, x: Any) -> tuple[Any, Any]:
    """(n, r) with x = n log 2 + r, n whole and |r| <= log(2)/2."""
    high, low = LOG2_PARTS[x.dtype]
    n = k.round(x * (1.0 / LOG2))
    return n, k.fma(n, -low, k.fma(n, -high, x))


def _expm1_series(k: Any, r: Any) -> Any:
    """exp(r) - 1 for |r| <= log(2)/2."""
    total = polynomial(k, r, EXP_SERIES[r.dtype])
    return k.fma(total * r, r, r)


def _powers_in_exp(terms: int) -> list[float]:
    """Coefficients of 1, r, ... that sum to (exp(r) - 1 - r)/r^2 for |r| <= log(2)/2.

    They are the Taylor sum's, cut where it is written in Chebyshev polynomials, not in powers:
    that spreads the error over the range, and leaves 1/2^terms of it.
    """
    scales = (LOG2 / 2.0) ** np.arange(24)
    taylor = [scale / math.factorial(degree + 2) for degree, scale in enumerate(scales)]
    cut = np.polynomial.chebyshev.poly2cheb(taylor)[: terms - 1]
    return [float(c / scale) for c, scale in zip(np.polynomial.chebyshev.cheb2poly(cut), scales)]


EXP_SERIES = {dtype: _powers_in_exp(terms) for dtype, terms in EXP_TERMS.items()}


def _power_of_two(k: Any, n: Any) -> Any:
    """2**n for whole n within the exponent range."""
    mantissa, bias, integer = FORMAT[n.dtype]
    biased = k.convert(n, integer) + bias
    return k.bitcast(k.shift_left(biased, mantissa), n.dtype)


def exp(k: Any, x: Any) -> Any:
    """e**x; inf above the range, 0 below it, NaN for NaN."""
    low, high = EXP_RANGE[x.dtype]
    clipped = k.max(k.min(x, high), low)
    n, r = _reduced(k, clipped)
    half = k.round(n * 0.5)
    scaled = (_expm1_series(k, r) + 1.0) * _power_of_two(k, half) * _power_of_two(k, n - half)
    return k.select(k.equal(x, x), scaled, x)


def expm1(k: Any, x: Any) -> Any:
    """e**x - 1, without cancellation near 0, for |x| well inside exp's range."""
    n, r = _reduced(k, x)
    scale = _power_of_two(k, n)
    return k.fma(scale, _expm1_series(k, r), scale - 1.0)


def log(k: Any, x: Any) -> Any:
    """Natural logarithm; -inf at 0, NaN below it."""
    mantissa, bias, integer = FORMAT[x.dtype]
    head, rest = LOG2_PARTS[x.dtype]
    bits = k.bitcast(x, integer)
    whole = k.shift_right(bits, mantissa) - bias
    ones = k.bitcast(k.constant(bias << mantissa, integer), x.dtype)
    m = k.bitcast(k.bitcast(x, integer) - k.shift_left(whole + bias, mantissa), integer)
    m = k.bitcast(m + (bias << mantissa), x.dtype)
    large = k.less(k.constant(math.sqrt(2.0), x.dtype), m)
    m = k.select(large, m * 0.5, m)
    n = k.convert(whole, x.dtype) + k.select(large, ones, ones * 0.0)
    f = m - 1.0
    s = f / (m + 1.0)
    square = s * s
    terms = LOG_TERMS[x.dtype]
    total = k.constant(2.0 / (2 * terms + 1), x.dtype)
    for q in range(terms - 1, 0, -1):
        total = k.fma(total, square, 2.0 / (2 * q + 1))
    half = f * f * 0.5
    # log(1+f) = f - (f^2/2 - s (f^2/2 + R)): the large part, f, is exact
    tail = s * (half + total * square)
    y = k.fma(n, head, f - (half - k.fma(n, rest, tail)))
    infinity = k.constant(math.inf, x.dtype)
    y = k.select(k.less(x, infinity), y, x)
    y = k.select(k.equal(x, 0.0), -infinity, y)
    return k.select(k.less(x, 0.0), k.constant(math.nan, x.dtype), y)


def tanh(k: Any, x: Any) -> Any:
    """tanh(x) from e = expm1(2|x|): e/(e + 2) below 1, 1 - 2/(e + 2) above; +-1 beyond 20."""
    negative = k.less(x, 0.0)
    size = k.min(k.select(negative, -x, x), 20.0)
    e = expm1(k, size + size)
    small = k.less(size, 1.0)
    t = e + 2.0
    y = k.select(small, e, 2.0) / t
    lost = y * (e - (t - 2.0))  # by rounding t, whose inverse is (1 - y)/2 where x is small
    y = k.select(small, k.fma(lost, k.fma(y, 0.5, -0.5), y), 1.0 - y)
    return k.select(k.equal(x, 0.0), x, k.select(negative, -y, y))


def sigmoid(k: Any, x: Any) -> Any:
    """1/(1 + e) for x >= 0 and e/(1 + e) below, e = exp(-|x|), so that nothing overflows."""
    negative = k.less(x, 0.0)
    e = _exp_below(k, k.select(negative, x, -x))
    t = e + 1.0
    y = k.select(negative, e, 1.0) / t
    lost = y * (e - (t - 1.0))  # by rounding t, whose inverse is y or 1 - y
    return k.fma(lost, k.select(negative, y - 1.0, -y), y)


def _exp_below(k: Any, x: Any) -> Any:
    """e**x for x <= 0, and 0 where that is subnormal: one power of two is scale enough."""
    _, bias, _ = FORMAT[x.dtype]
    n, r = _reduced(k, k.max(x, -bias * LOG2))  # the bits of 2**-bias are those of 0
    return (_expm1_series(k, r) + 1.0) * _power_of_two(k, n)


def power(k: Any, x: Any, z: Any) -> Any:
    """x**z as exp(z log|x|) in float64, the sign from a whole odd z; NaN for a broken one."""
    a, b = k.convert(x, "float64"), k.convert(z, "float64")
    one, zero = k.constant(1.0, "float64"), k.constant(0.0, "float64")
    size = k.max(a, -a)
    y = k.select(k.equal(size, 1.0), one, exp(k, b * log(k, size)))  # 0 * inf would be NaN
    whole = k.equal(k.round(b), b)
    odd = k.select(k.equal(k.round(b * 0.5) * 2.0, b), zero, k.select(whole, one, zero))
    signed = k.select(k.equal(odd, 1.0), -y, y)
    broken = k.select(whole, signed, k.constant(math.nan, "float64"))
    edge = k.equal(a + a, a)  # 0 and infinity, whose broken powers are no NaN
    below = k.select(edge, signed, broken)
    sign = k.select(k.equal(a, 0.0), 1.0 / a, a)  # -0.0 counts as below 0
    y = k.select(k.less(sign, 0.0), below, y)
    return k.convert(k.select(k.equal(b, 0.0), one, y), x.dtype)


def in_double(body: Callable[..., Any]) -> Callable[..., Any]:
    """`body` computed in float64, and rounded to the dtype of its first input at the end."""

    @wraps(body)
    def wide(k: Any, *inputs: Any) -> Any:
        return k.convert(body(k, *[k.convert(x, "float64") for x in inputs]), inputs[0].dtype)

    return wide


def polynomial(k: Any, x: Any, coefficients: list[float]) -> Any:
    """c[0] + c[1] x + c[2] x^2 + ... by Horner's rule."""
    total = k.constant(coefficients[-1], x.dtype)
    for c in reversed(coefficients[:-1]):
        total = k.fma(total, x, c)
    return total


def size(k: Any, x: Any) -> Any:
    """|x|."""
    return k.max(x, -x)


def with_sign(k: Any, y: Any, x: Any) -> Any:
    """`y` with its sign turned where x < 0, and x itself where that is 0."""
    return k.select(k.equal(x, 0.0), x, k.select(k.less(x, 0.0), -y, y))


def _expm1(k: Any, x: Any) -> Any:
    """exp(x) - 1 of any size."""
    near = k.max(k.min(x, 1.0), -1.0)
    y = k.select(k.less(size(k, x), 1.0), expm1(k, near), exp(k, x) - 1.0)
    return k.select(k.equal(x, 0.0), x, y)


def _log1p(k: Any, x: Any) -> Any:
    """log(1 + x): what 1 + x lost is made good by the slope of the logarithm (Kahan)."""
    u = 1.0 + x
    y = log(k, u) * (x / (u - 1.0))
    y = k.select(k.equal(u, 1.0), x, y)
    return k.select(k.equal(u, math.inf), u, y)


whole_expm1 = in_double(_expm1)
log1p = in_double(_log1p)


@in_double
def logaddexp(k: Any, x: Any, z: Any) -> Any:
    """max(x, z) + log(1 + exp(-|x - z|)); x + log 2 where they are equal, be it inf."""
    gap = size(k, x - z)
    y = k.max(x, z) + _log1p(k, exp(k, -gap))
    return k.select(k.equal(x, z), x + LOG2, y)


@in_double
def sinh(k: Any, x: Any) -> Any:
    """(e + e/(e + 1))/2 with e = exp(|x|) - 1; for large x exp(x/2)^2/2, which overflows last."""
    a = size(k, x)
    e = _expm1(k, k.min(a, 22.0))
    half = exp(k, a * 0.5)
    y = k.select(k.less(a, 22.0), 0.5 * (e + e / (e + 1.0)), (0.5 * half) * half)
    return with_sign(k, y, x)


@in_double
def cosh(k: Any, x: Any) -> Any:
    """(h^2 + 1/h^2)/2 with h = exp(|x|/2)."""
    half = exp(k, size(k, x) * 0.5)
    return (0.5 * half) * half + 0.5 / half / half


@in_double
def arcsinh(k: Any, x: Any) -> Any:
    """log1p(a + a^2/(1 + sqrt(1 + a^2))) of a = |x|, log(2a) where a^2 hides the 1."""
    a = size(k, x)
    square = k.min(a, LARGE) * k.min(a, LARGE)
    near = _log1p(k, a + square / (1.0 + k.sqrt(1.0 + square)))
    return with_sign(k, k.select(k.less(a, LARGE), near, log(k, a) + LOG2), x)


@in_double
def arccosh(k: Any, x: Any) -> Any:
    """log1p(t + sqrt(t (t + 2))) of t = x - 1; NaN below 1."""
    t = x - 1.0
    y = k.select(k.less(x, LARGE), _log1p(k, t + k.sqrt(t * (t + 2.0))), log(k, x) + LOG2)
    return k.select(k.less(x, 1.0), math.nan, y)


@in_double
def arctanh(k: Any, x: Any) -> Any:
    """log1p(2a/(1 - a))/2 of a = |x|; NaN beyond 1."""
    a = size(k, x)
    y = 0.5 * _log1p(k, 2.0 * a / (1.0 - a))
    return with_sign(k, k.select(k.less(k.constant(1.0, a.dtype), a), math.nan, y), x)


def _tail_of_erf() -> list[float]:
    """Powers of s, |s| <= 1, that sum to exp(a^2) (1 - erf(a)) for a = 8/(s + 5/3) - 2 in 1..10.

    Interpolated from the math library's erfc, where that is a normal number.
    """
    points = np.polynomial.chebyshev.chebpts1(ERF_TAIL_TERMS)
    ends = [8.0 / (s + 5.0 / 3.0) - 2.0 for s in points]
    values = [math.exp(a * a) * math.erfc(a) for a in ends]
    fit = np.polynomial.chebyshev.chebfit(points, values, ERF_TAIL_TERMS - 1)
    return [float(c) for c in np.polynomial.chebyshev.cheb2poly(fit)]


def _powers(function: Callable[[float], float], low: float, high: float, terms: int) -> list[float]:
    """Coefficients of 1, x, x^2, ... that go through `function` where that spreads the error."""
    points = (low + high) / 2 + (high - low) / 2 * np.polynomial.chebyshev.chebpts1(terms)
    values = [function(float(point)) for point in points]
    return [
        float(c) for c in np.polynomial.Polynomial.fit(points, values, terms - 1).convert().coef
    ]


ERF_ONE = 3.92  # from here on erf is 1 in float32
ERF_NEAR = _powers(lambda u: math.erf(math.sqrt(u)) / math.sqrt(u) - 1.0, 0.0, 1.0, 7)
ERF_FAR = _powers(lambda t: -math.log(math.erfc(1.0 + t)), 0.0, ERF_ONE - 1.0, 9)
ERF_SERIES = [
    2.0 / math.sqrt(math.pi) * (-1.0) ** q / (math.factorial(q) * (2 * q + 1)) for q in range(19)
]
ERF_TAIL = _tail_of_erf()


def erf(k: Any, x: Any) -> Any:
    """x + x p(x^2) below 1 and 1 - exp(-q(|x| - 1)) above; in float64 as `_erf` says."""
    if x.dtype != "float32":
        return _erf(k, x)
    a = k.min(size(k, x), ERF_ONE)
    near = k.min(a, 1.0)
    inner = k.fma(near, polynomial(k, near * near, ERF_NEAR), near)
    outer = 1.0 - exp(k, -polynomial(k, k.max(a, 1.0) - 1.0, ERF_FAR))
    return with_sign(k, k.select(k.less(a, 1.0), inner, outer), x)


@in_double
def _erf(k: Any, x: Any) -> Any:
    """Its Taylor sum below 1; 1 - exp(-a^2) p(1/(a + 2)) of a = |x| above; 1 from 6 on."""
    a = k.min(size(k, x), 6.0)
    near = k.min(a, 1.0)
    inner = near * polynomial(k, near * near, ERF_SERIES)
    s = 8.0 / (k.max(a, 1.0) + 2.0) - 5.0 / 3.0
    outer = 1.0 - exp(k, -(a * a)) * polynomial(k, s, ERF_TAIL)
    return with_sign(k, k.select(k.less(a, 1.0), inner, outer), x)
