r"""Activations made of ops: each of one tensor, fused into what stands around it.

The branch of a `where` that is not taken is computed too, so its input is held where it neither
overflows nor gives 0 * inf in a gradient. Read next: `chainrule/grad/reverse.py`.
"""

from __future__ import annotations

import math
from typing import Any

from chainrule.core.tensor import Tensor, as_tensor
from chainrule.ops.elementwise import greater, sigmoid, tanh, where
from chainrule.ops.smooth import erf, expm1

SELU_ALPHA, SELU_SCALE = 1.6732632423543772, 1.0507009873554805


def leaky_relu(x: Any, negative_slope: float = 0.2) -> Tensor:
    """x where it is positive, else `negative_slope` x; that slope also at 0."""
    x = as_tensor(x)
    return where(greater(x, 0), x, x * negative_slope)


def elu(x: Any, alpha: float = 1.0) -> Tensor:
    r"""x where it is positive, else $\alpha (e^x - 1)$; the slope at 0 is $\alpha$.

    Source: Clevert, Unterthiner, Hochreiter, "Fast and Accurate Deep Network Learning by
    Exponential Linear Units", ICLR 2016, equation 15.
    """
    x = as_tensor(x)
    positive = greater(x, 0)
    return where(positive, x, alpha * expm1(where(positive, 0, x)))


def selu(x: Any) -> Tensor:
    r"""$\lambda\,\mathrm{elu}(x, \alpha)$ with the constants that keep mean 0 and variance 1.

    Source: Klambauer, Unterthiner, Mayr, Hochreiter, "Self-Normalizing Neural Networks", NeurIPS
    2017, equation 2.
    """
    return SELU_SCALE * elu(x, SELU_ALPHA)


def silu(x: Any) -> Tensor:
    r"""$x\,\sigma(x)$."""
    x = as_tensor(x)
    return x * sigmoid(x)


def gelu(x: Any, approximate: bool = False) -> Tensor:
    r"""$x\,\Phi(x)$ with the normal distribution function; by tanh when `approximate`.

    Source: Hendrycks, Gimpel, "Gaussian Error Linear Units", 2016, section 2.
    """
    x = as_tensor(x)
    if approximate:
        return 0.5 * x * (1 + tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x * x * x)))
    return 0.5 * x * (1 + erf(x * math.sqrt(0.5)))
