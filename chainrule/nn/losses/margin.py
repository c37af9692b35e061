"""Losses that ask for a margin: the hinge family. Read next: `ranking.py`.

Flags 0 and 1 stand for -1 and 1.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from chainrule.nn.losses.record import Loss, register
from chainrule.ops.elementwise import equal, relu, where
from chainrule.ops.reduce import max, sum


def _signs(y: Any) -> Any:
    return where(equal(y, 0.0), -1.0, y)


@register(
    targets="flags",
    predictions="values",
    ref=lambda y, p: np.mean(np.maximum(1 - (2 * y - 1) * p, 0)),
)
def hinge(y_true: Any, y_pred: Any) -> Any:
    r"""$\max(1 - y \hat y, 0)$ for $y$ of -1 and 1; the derivative at the kink is 0."""
    return relu(1.0 - _signs(y_true) * y_pred)


@dataclass(frozen=True)
class Hinge(Loss):
    """`hinge`."""

    function = staticmethod(hinge)


@register(
    targets="flags",
    predictions="values",
    ref=lambda y, p: np.mean(np.maximum(1 - (2 * y - 1) * p, 0) ** 2),
)
def squared_hinge(y_true: Any, y_pred: Any) -> Any:
    r"""$\max(1 - y \hat y, 0)^2$ for $y$ of -1 and 1."""
    short = relu(1.0 - _signs(y_true) * y_pred)
    return short * short


@dataclass(frozen=True)
class SquaredHinge(Loss):
    """`squared_hinge`."""

    function = staticmethod(squared_hinge)


def _ref_categorical(y: Any, p: Any) -> Any:
    return np.mean(np.maximum(np.max((1 - y) * p, -1) - np.sum(y * p, -1) + 1, 0))


@register(targets="shares", predictions="values", ref=_ref_categorical)
def categorical_hinge(y_true: Any, y_pred: Any) -> Any:
    r"""$\max(\max_k (1 - y_k) \hat y_k - \sum_k y_k \hat y_k + 1, 0)$ over the last axis."""
    return relu(max((1.0 - y_true) * y_pred, -1) - sum(y_true * y_pred, -1) + 1.0)


@dataclass(frozen=True)
class CategoricalHinge(Loss):
    """`categorical_hinge`."""

    function = staticmethod(categorical_hinge)
