"""Functions made of ops, written so that they are stable and so are their gradients.

Read next: `chainrule/grad/reverse.py`.
"""

from __future__ import annotations

import math
from typing import Any

from chainrule.core.errors import ShapeError
from chainrule.core.tensor import Tensor, as_tensor
from chainrule.ops.elementwise import exp, less, log, negative, stop_gradient, where
from chainrule.ops.reduce import Axes, max, mean, normal_axes, sum


def min(x: Any, axis: Axes = None, keepdims: bool = False) -> Tensor:
    """The smallest element along `axis`; at a tie the gradient is shared equally."""
    return negative(max(negative(as_tensor(x)), axis, keepdims))


def var(x: Any, axis: Axes = None, keepdims: bool = False, correction: float = 0.0) -> Tensor:
    """The mean squared distance from the mean along `axis`, divided by n - `correction`.

    ShapeError unless there are more than `correction` elements.
    """
    x = as_tensor(x)
    centred = x - mean(x, axis, keepdims=True)
    squares = mean(centred * centred, axis, keepdims)
    if not correction:
        return squares
    count = math.prod(x.shape[a] for a in normal_axes(axis, x.ndim))
    if count <= correction:
        raise ShapeError(f"the variance of {count} elements with correction {correction}")
    return squares * (count / (count - correction))


def log_softmax(x: Any, axis: int = -1) -> Tensor:
    """x - log(sum(exp(x))) along `axis`, shifted by the largest so that nothing overflows."""
    x = as_tensor(x)
    shifted = x - stop_gradient(max(x, axis, keepdims=True))
    return shifted - log(sum(exp(shifted), axis, keepdims=True))


def softmax(x: Any, axis: int = -1) -> Tensor:
    """exp(x) / sum(exp(x)) along `axis`, shifted by the largest so that nothing overflows."""
    x = as_tensor(x)
    e = exp(x - stop_gradient(max(x, axis, keepdims=True)))
    return e / sum(e, axis, keepdims=True)


def softplus(x: Any) -> Tensor:
    """log(1 + exp(x)), as max(x, 0) + log(1 + exp(-|x|)), so that nothing overflows."""
    x = as_tensor(x)
    below = less(x, 0)  # one choice for both parts, so that no order of derivative has a kink at 0
    return where(below, 0, x) + log(1 + exp(where(below, x, -x)))
