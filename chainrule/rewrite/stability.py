"""Rewrites of forms that overflow or cancel into forms that do not.

Read next: `chainrule/compile/fuse.py`.
"""

from __future__ import annotations

from chainrule.core.tensor import Tensor
from chainrule.ops.composite import softplus
from chainrule.rewrite.engine import match, op, rewrite, x

MINUS_SIZE = op("where", op("less", x, 0), x, -x)  # -|x|, as softplus writes it


@rewrite(op("log", op("sigmoid", x)))
def log_of_sigmoid(x: Tensor) -> Tensor:
    """log(sigmoid(x)) -> -softplus(-x): no log(0) for x << 0; -0.0 in place of 0 for x >> 0"""
    return -softplus(-x)


@rewrite(op("log", 1 + op("exp", x)))
def log_of_one_plus_exp(x: Tensor) -> Tensor | None:
    """log(1 + exp(x)) -> softplus(x): no overflow for x >> 0; -|x| cannot overflow and stays"""
    return None if match(MINUS_SIZE, x.node, {}) else softplus(x)  # type: ignore[arg-type]
