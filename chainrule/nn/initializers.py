r"""Initial values of parameters: functions `(key, shape) -> Tensor`, known by name.

A kernel of shape (..., in, out) has the receptive field $r$ = the product of the leading axes,
fan_in = $r \cdot$ in and fan_out = $r \cdot$ out; a vector counts for both. Read next:
`activations.py`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from chainrule.core.errors import ArgumentError, UnknownNameError
from chainrule.core.tensor import Tensor
from chainrule.ops.draws import normal, truncated_normal
from chainrule.ops.random import uniform

Initializer = Callable[[Tensor, tuple[int, ...]], Any]

INITIALIZERS: dict[str, Initializer] = {}


def initializer(function: Initializer) -> Initializer:
    """Register `function` under its name."""
    INITIALIZERS[function.__name__] = function
    return function


def fans(shape: Sequence[int]) -> tuple[int, int]:
    """(fan_in, fan_out) of a kernel: how many inputs an output sums, and the other way round."""
    if len(shape) < 2:
        count = math.prod(shape)
        return count, count
    field = math.prod(shape[:-2])
    return field * shape[-2], field * shape[-1]


def _spread(key: Tensor, shape: tuple[int, ...], limit: float) -> Tensor:
    return uniform(key, shape, -limit, limit)


@initializer
def glorot_uniform(key: Tensor, shape: tuple[int, ...]) -> Tensor:
    r"""Even over $\pm\sqrt{6 / (\text{fan}_{in} + \text{fan}_{out})}$.

    Source: Glorot, Bengio, "Understanding the difficulty of training deep feedforward neural
    networks", AISTATS 2010, equation 16.
    """
    return _spread(key, shape, math.sqrt(6 / max(sum(fans(shape)), 1)))


@initializer
def he_uniform(key: Tensor, shape: tuple[int, ...]) -> Tensor:
    r"""Even over $\pm\sqrt{6 / \text{fan}_{in}}$: keeps the variance through relu.

    Source: He, Zhang, Ren, Sun, "Delving Deep into Rectifiers", ICCV 2015, equation 10 for the
    variance; an even spread of that variance is $\sqrt 3$ times its deviation wide.
    """
    return _spread(key, shape, math.sqrt(6 / max(fans(shape)[0], 1)))


@initializer
def lecun_uniform(key: Tensor, shape: tuple[int, ...]) -> Tensor:
    r"""Even over $\pm\sqrt{3 / \text{fan}_{in}}$: the variance is $1 / \text{fan}_{in}$.

    Source: LeCun, Bottou, Orr, Müller, "Efficient BackProp", 1998, equation 16.
    """
    return _spread(key, shape, math.sqrt(3 / max(fans(shape)[0], 1)))


# How far a normal distribution cut at two deviations still spreads, in deviations.
CUT_SPREAD = 0.87962566103423978


def _bell(key: Tensor, shape: tuple[int, ...], variance: float) -> Tensor:
    return truncated_normal(key, shape, 0.0, math.sqrt(variance) / CUT_SPREAD)


@initializer
def glorot_normal(key: Tensor, shape: tuple[int, ...]) -> Tensor:
    r"""Normal, cut at two deviations, of variance $2 / (\text{fan}_{in} + \text{fan}_{out})$.

    Source: as `glorot_uniform`, whose variance it has.
    """
    return _bell(key, shape, 2 / max(sum(fans(shape)), 1))


@initializer
def he_normal(key: Tensor, shape: tuple[int, ...]) -> Tensor:
    r"""Normal, cut at two deviations, of variance $2 / \text{fan}_{in}$; see `he_uniform`."""
    return _bell(key, shape, 2 / max(fans(shape)[0], 1))


@initializer
def lecun_normal(key: Tensor, shape: tuple[int, ...]) -> Tensor:
    r"""Normal, cut at two deviations, of variance $1 / \text{fan}_{in}$; see `lecun_uniform`."""
    return _bell(key, shape, 1 / max(fans(shape)[0], 1))


@dataclass(frozen=True)
class RandomUniform:
    """Even from `minval` up to `maxval`."""

    minval: float = -0.05
    maxval: float = 0.05

    def __call__(self, key: Tensor, shape: tuple[int, ...]) -> Tensor:
        return uniform(key, shape, self.minval, self.maxval)


@dataclass(frozen=True)
class RandomNormal:
    """Normal around `mean`."""

    mean: float = 0.0
    stddev: float = 0.05

    def __call__(self, key: Tensor, shape: tuple[int, ...]) -> Tensor:
        return normal(key, shape, self.mean, self.stddev)


@dataclass(frozen=True)
class TruncatedNormal:
    """Normal around `mean`, of the numbers within two `stddev` of it."""

    mean: float = 0.0
    stddev: float = 0.05

    def __call__(self, key: Tensor, shape: tuple[int, ...]) -> Tensor:
        return truncated_normal(key, shape, self.mean, self.stddev)


@dataclass(frozen=True)
class Orthogonal:
    r"""`gain` times a matrix whose shorter side is orthonormal: $Q$ of a normal matrix's $QR$.

    A kernel of more axes counts as (all but the last, the last). The signs that make the diagonal
    of $R$ positive spread $Q$ evenly over all orthogonal matrices.

    Source: Saxe, McClelland, Ganguli, "Exact solutions to the nonlinear dynamics of learning in
    deep linear neural networks", ICLR 2014.
    """

    gain: float = 1.0

    def __call__(self, key: Tensor, shape: tuple[int, ...]) -> Tensor:
        columns = shape[-1] if shape else 1
        rows = math.prod(shape[:-1])
        if rows * columns == 0:
            return Tensor(np.zeros(shape, np.float32))
        sides = max(rows, columns), min(rows, columns)
        q, r = np.linalg.qr(normal(key, sides).numpy().astype(np.float64))
        q = q * np.where(np.diag(r) < 0, -1.0, 1.0)
        q = q if rows >= columns else q.T
        return Tensor((self.gain * q).reshape(shape).astype(np.float32))


INITIALIZERS["random_uniform"] = INITIALIZERS["uniform"] = RandomUniform()
INITIALIZERS["random_normal"] = INITIALIZERS["normal"] = RandomNormal()
INITIALIZERS["truncated_normal"] = TruncatedNormal()
INITIALIZERS["orthogonal"] = Orthogonal()


@initializer
def zeros(key: Tensor, shape: tuple[int, ...]) -> Tensor:
    """0 everywhere."""
    return Tensor(np.zeros(shape, np.float32))


@initializer
def ones(key: Tensor, shape: tuple[int, ...]) -> Tensor:
    """1 everywhere."""
    return Tensor(np.ones(shape, np.float32))


@dataclass(frozen=True)
class Constant:
    """`value` everywhere. Equal constants are equal, so they compile to the same program."""

    value: float = 0.0

    def __call__(self, key: Tensor, shape: tuple[int, ...]) -> Tensor:
        return Tensor(np.full(shape, self.value, np.float32))


def constant(value: float = 0.0) -> Constant:
    """An initializer that gives `value` everywhere; as a name, 0."""
    return Constant(float(value))


INITIALIZERS["constant"] = Constant()


def find_initializer(given: Any, who: str) -> Initializer:
    """The initializer of a name, of a number (that constant), or the function itself."""
    if isinstance(given, str):
        if given not in INITIALIZERS:
            raise UnknownNameError("initializer", given, INITIALIZERS)
        return INITIALIZERS[given]
    if isinstance(given, int | float) and not isinstance(given, bool):
        return constant(given)
    if callable(given) and not isinstance(given, type):
        return given
    raise ArgumentError(
        f"{who}: an initializer is a name, a number or a function (key, shape), got {given!r}",
        mend="one of " + ", ".join(sorted(INITIALIZERS)),
    )
