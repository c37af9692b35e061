r"""exp, log, tanh and power from a kernel builder's few primitives, within 2 ulp.

Each is written once and serves every builder: machine code, readable text, cost. `x` is a
builder value; the number of terms follows its dtype. Read next: `reduce.py`.
"""

from __future__ import annotations

import math
from typing import Any

LOG2 = math.log(2.0)
FORMAT = {  # mantissa bits, exponent bias, integer beside it, high part of log 2
    "float32": (23, 127, "int32", 0.693359375),
    "float64": (52, 1023, "int64", 0.6931471803691238),
}
EXP_TERMS = {"float32": 7, "float64": 13}
LOG_TERMS = {"float32": 5, "float64": 11}
EXP_RANGE = {"float32": (-104.0, 89.0), "float64": (-746.0, 710.0)}


def _reduced(k: Any, x: Any) -> tuple[Any, Any]:
    """(n, r) with x = n log 2 + r, n whole and |r| <= log(2)/2."""
    high = FORMAT[x.dtype][3]
    n = k.round(x * (1.0 / LOG2))
    return n, k.fma(n, -(LOG2 - high), k.fma(n, -high, x))


def _expm1_series(k: Any, r: Any) -> Any:
    """exp(r) - 1 by its Taylor sum, for |r| <= log(2)/2."""
    terms = EXP_TERMS[r.dtype]
    total = k.constant(1.0 / math.factorial(terms), r.dtype)
    for degree in range(terms - 1, 1, -1):
        total = k.fma(total, r, 1.0 / math.factorial(degree))
    return k.fma(total * r, r, r)


def _power_of_two(k: Any, n: Any) -> Any:
    """2**n for whole n within the exponent range."""
    mantissa, bias, integer, _ = FORMAT[n.dtype]
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
    mantissa, bias, integer, high = FORMAT[x.dtype]
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
    y = k.fma(n, high, f - (half - k.fma(n, LOG2 - high, tail)))
    infinity = k.constant(math.inf, x.dtype)
    y = k.select(k.less(x, infinity), y, x)
    y = k.select(k.equal(x, 0.0), -infinity, y)
    return k.select(k.less(x, 0.0), k.constant(math.nan, x.dtype), y)


def tanh(k: Any, x: Any) -> Any:
    """tanh(x) = e/(e + 2) with e = expm1(2x); +-1 beyond |x| = 20."""
    clipped = k.max(k.min(x, 20.0), -20.0)
    e = expm1(k, clipped + clipped)
    return k.select(k.equal(x, x), e / (e + 2.0), x)


def sigmoid(k: Any, x: Any) -> Any:
    """1/(1 + exp(-x)); exp's overflow to inf gives the 0 that is wanted."""
    return 1.0 / (exp(k, -x) + 1.0)


def power(k: Any, x: Any, z: Any) -> Any:
    """x**z as exp(z log|x|) in float64, the sign from a whole odd z; NaN for a broken one."""
    a, b = k.convert(x, "float64"), k.convert(z, "float64")
    size = k.max(a, -a)
    y = exp(k, b * log(k, size))
    whole = k.equal(k.round(b), b)
    odd = k.equal(k.round(b * 0.5) * 2.0, b)
    nan = k.constant(math.nan, "float64")
    below = k.select(whole, k.select(odd, y, -y), nan)
    y = k.select(k.less(a, 0.0), below, y)
    one = k.constant(1.0, "float64")
    y = k.select(k.equal(b, 0.0), one, k.select(k.equal(a, 1.0), one, y))
    return k.convert(y, x.dtype)
