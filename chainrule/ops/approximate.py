r"""exp, log, tanh, sigmoid and power from a few primitives of a kernel builder.

Measured in float32: exp and log within 1 ulp, tanh and sigmoid within 2.2.

Each is written once and serves every builder: machine code, readable text, cost. `x` is a
builder value; the number of terms follows its dtype. Read next: `reduce.py`.
"""

from __future__ import annotations

import math
from typing import Any

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
EXP_RANGE = {"float32": (-104.0, 89.0), "float64": (-746.0, 710.0)}


def _reduced(k: Any, x: Any) -> tuple[Any, Any]:
    """(n, r) with x = n log 2 + r, n whole and |r| <= log(2)/2."""
    high, low = LOG2_PARTS[x.dtype]
    n = k.round(x * (1.0 / LOG2))
    return n, k.fma(n, -low, k.fma(n, -high, x))


def _expm1_series(k: Any, r: Any) -> Any:
    """exp(r) - 1 by its Taylor sum, for |r| <= log(2)/2."""
    terms = EXP_TERMS[r.dtype]
    total = k.constant(1.0 / math.factorial(terms), r.dtype)
    for degree in range(terms - 1, 1, -1):
        total = k.fma(total, r, 1.0 / math.factorial(degree))
    return k.fma(total * r, r, r)


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
    size = k.min(k.max(x, -x), 20.0)
    e = expm1(k, size + size)
    y = k.select(k.less(size, 1.0), e / (e + 2.0), 1.0 - 2.0 / (e + 2.0))
    y = k.select(k.less(x, 0.0), -y, y)
    return k.select(k.equal(x, 0.0), x, y)


def sigmoid(k: Any, x: Any) -> Any:
    """1/(1 + e) for x >= 0 and e/(1 + e) below, e = exp(-|x|), so that nothing overflows."""
    e = exp(k, -k.max(x, -x))
    return k.select(k.less(x, 0.0), e, 1.0) / (e + 1.0)


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
