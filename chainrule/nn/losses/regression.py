"""Losses of real values, counts and directions. Read next: `classification.py`."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from chainrule.nn.losses.record import EDGE, Loss, register
from chainrule.ops.composite import softplus
from chainrule.ops.elementwise import less, log, maximum, negative, sqrt, where
from chainrule.ops.reduce import sum
from chainrule.ops.rounding import clip


@register("mse", targets="values", ref=lambda y, p: np.mean((y - p) ** 2))
def mean_squared_error(y_true: Any, y_pred: Any) -> Any:
    r"""$\frac{1}{N} \sum (y - \hat y)^2$ over all elements."""
    gap = y_pred - y_true
    return gap * gap


@dataclass(frozen=True)
class MeanSquaredError(Loss):
    """`mean_squared_error`."""

    function = staticmethod(mean_squared_error)


@register("mae", targets="values", ref=lambda y, p: np.mean(np.abs(y - p)))
def mean_absolute_error(y_true: Any, y_pred: Any) -> Any:
    r"""$\frac{1}{N} \sum |y - \hat y|$ over all elements; the derivative at 0 is 0."""
    return abs(y_pred - y_true)


@dataclass(frozen=True)
class MeanAbsoluteError(Loss):
    """`mean_absolute_error`."""

    function = staticmethod(mean_absolute_error)


def _ref_huber(y: Any, p: Any, delta: float = 1.0) -> Any:
    size = np.minimum(np.abs(y - p), delta)
    return np.mean(size * (np.abs(y - p) - size / 2))


@register(targets="values", ref=_ref_huber, options=({"delta": 0.4},))
def huber(y_true: Any, y_pred: Any, delta: float = 1.0) -> Any:
    r"""$\frac12 e^2$ for $|e| \le \delta$, else $\delta |e| - \frac12 \delta^2$, $e = \hat y - y$.

    Source: Huber, "Robust Estimation of a Location Parameter", 1964, section 4.
    """
    size: Any = abs(y_pred - y_true)
    within = less(size, delta)
    return where(within, size * size * 0.5, size * delta - 0.5 * delta * delta)


@dataclass(frozen=True)
class Huber(Loss):
    """`huber` with its `delta`."""

    function = staticmethod(huber)
    delta: float = 1.0


@register(targets="values", ref=lambda y, p: np.mean(np.log(np.cosh(p - y))))
def log_cosh(y_true: Any, y_pred: Any) -> Any:
    r"""$\ln \cosh e$, as $e + \ln(1 + e^{-2e}) - \ln 2$, with $e = \hat y - y$."""
    gap = y_pred - y_true
    return gap + softplus(gap * -2.0) - math.log(2.0)


@dataclass(frozen=True)
class LogCosh(Loss):
    """`log_cosh`."""

    function = staticmethod(log_cosh)


@register(
    targets="shares",
    predictions="shares",
    ref=lambda y, p: np.mean(p - y * np.log(p + EDGE)),
)
def poisson(y_true: Any, y_pred: Any) -> Any:
    r"""$\hat y - y \ln(\hat y + 10^{-7})$ for counts $y$ and predicted rates $\hat y \ge 0$."""
    return y_pred - y_true * log(y_pred + EDGE)


@dataclass(frozen=True)
class Poisson(Loss):
    """`poisson`."""

    function = staticmethod(poisson)


@register(
    targets="shares",
    predictions="shares",
    ref=lambda y, p: np.mean(np.sum(y * (np.log(y) - np.log(p)), -1)),
)
def kl_divergence(y_true: Any, y_pred: Any) -> Any:
    r"""$\sum_k y_k \ln(y_k / \hat y_k)$ over the last axis; both are kept within 1e-7 .. 1."""
    y, p = clip(y_true, EDGE, 1.0), clip(y_pred, EDGE, 1.0)
    return sum(y * log(y / p), -1)


@dataclass(frozen=True)
class KLDivergence(Loss):
    """`kl_divergence`."""

    function = staticmethod(kl_divergence)


def _ref_cosine(y: Any, p: Any) -> Any:
    return -np.mean(np.sum(y * p, -1) / np.linalg.norm(y, axis=-1) / np.linalg.norm(p, axis=-1))


@register(targets="values", ref=_ref_cosine)
def cosine_similarity(y_true: Any, y_pred: Any) -> Any:
    r"""Minus the cosine of the angle between both along the last axis; 0 where one is 0."""
    return negative(sum(_directed(y_true) * _directed(y_pred), -1))


def _directed(x: Any) -> Any:
    # The bound is on the square, so that the root has a finite slope where x is 0.
    return x / sqrt(maximum(sum(x * x, -1, keepdims=True), 1e-24))


@dataclass(frozen=True)
class CosineSimilarity(Loss):
    """`cosine_similarity`."""

    function = staticmethod(cosine_similarity)
