"""Cross-entropies and their focal forms. Read next: `margin.py`.

With `from_logits` the prediction is what comes before sigmoid or softmax, and nothing overflows
however large it is. Probabilities are kept 1e-7 away from 0 and 1. `label_smoothing` s moves
targets towards even ones: (1 - s) y + s / 2 for flags, (1 - s) y + s / K for K classes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from chainrule.nn.losses.record import EDGE, Loss, register, within
from chainrule.ops.composite import log_softmax, softplus
from chainrule.ops.elementwise import exp, log, negative, sigmoid
from chainrule.ops.index import one_hot
from chainrule.ops.reduce import sum
from chainrule.ops.rounding import clip


def _ref_flags(y: Any, p: Any, from_logits: bool, label_smoothing: float = 0.0) -> Any:
    p = np.exp(-np.logaddexp(0, -p)) if from_logits else p
    y = y * (1 - label_smoothing) + label_smoothing / 2
    return p, -(y * np.log(p) + (1 - y) * np.log(1 - p)), y


@register(
    targets="flags",
    ref=lambda *args, **options: np.mean(_ref_flags(*args, **options)[1]),
    options=({"label_smoothing": 0.2},),
)
def binary_crossentropy(
    y_true: Any, y_pred: Any, from_logits: bool = False, label_smoothing: float = 0.0
) -> Any:
    r"""Mean of $-y \ln p - (1 - y) \ln(1 - p)$; from logits $z$, of softplus$(z) - y z$."""
    return _binary(_smooth(y_true, label_smoothing, 2), y_pred, from_logits)


def _binary(y_true: Any, y_pred: Any, from_logits: bool) -> Any:
    if from_logits:
        return softplus(y_pred) - y_true * y_pred
    p: Any = clip(y_pred, EDGE, 1.0 - EDGE)
    return negative(y_true * log(p) + (1 - y_true) * log(1 - p))


def _smooth(y: Any, share: float, classes: int) -> Any:
    return y * (1.0 - share) + share / classes if share else y


@dataclass(frozen=True)
class BinaryCrossentropy(Loss):
    """`binary_crossentropy` with its options set."""

    function = staticmethod(binary_crossentropy)
    from_logits: bool = False
    label_smoothing: float = 0.0


def _ref_binary_focal(
    y: Any,
    p: Any,
    from_logits: bool,
    apply_class_balancing: bool = False,
    alpha: float = 0.25,
    gamma: float = 2.0,
    label_smoothing: float = 0.0,
) -> Any:
    p, cross, y = _ref_flags(y, p, from_logits, label_smoothing)
    focus = (1 - (y * p + (1 - y) * (1 - p))) ** gamma
    share = y * alpha + (1 - y) * (1 - alpha) if apply_class_balancing else 1
    return np.mean(share * focus * cross)


@register(
    targets="flags",
    ref=_ref_binary_focal,
    options=({"gamma": 1.5, "label_smoothing": 0.1}, {"apply_class_balancing": True}),
)
def binary_focal_crossentropy(
    y_true: Any,
    y_pred: Any,
    apply_class_balancing: bool = False,
    alpha: float = 0.25,
    gamma: float = 2.0,
    from_logits: bool = False,
    label_smoothing: float = 0.0,
) -> Any:
    r"""Binary cross-entropy times $(1 - p_y)^\gamma$, $p_y = y p + (1 - y)(1 - p)$.

    What is told well counts little. With `apply_class_balancing` also times $\alpha$ for $y = 1$
    and $1 - \alpha$ for $y = 0$.

    Source: Lin et al., "Focal Loss for Dense Object Detection", ICCV 2017, equations 4 and 5.
    """
    y = _smooth(y_true, label_smoothing, 2)
    p: Any = clip(sigmoid(y_pred) if from_logits else y_pred, EDGE, 1.0 - EDGE)
    focus: Any = (1.0 - (y * p + (1.0 - y) * (1.0 - p))) ** gamma
    found = focus * _binary(y, y_pred, from_logits)
    return found * (y * alpha + (1.0 - y) * (1.0 - alpha)) if apply_class_balancing else found


@dataclass(frozen=True)
class BinaryFocalCrossentropy(Loss):
    """`binary_focal_crossentropy` with its options set."""

    function = staticmethod(binary_focal_crossentropy)
    apply_class_balancing: bool = False
    alpha: float = 0.25
    gamma: float = 2.0
    from_logits: bool = False
    label_smoothing: float = 0.0


def _ref_logs(p: Any, from_logits: bool) -> Any:
    return p - np.logaddexp.reduce(p, axis=-1, keepdims=True) if from_logits else np.log(p)


def _ref_shares(y: Any, p: Any, from_logits: bool, label_smoothing: float = 0.0) -> Any:
    y = y * (1 - label_smoothing) + label_smoothing / p.shape[-1]
    return -np.mean(np.sum(y * _ref_logs(p, from_logits), axis=-1))


@register(targets="shares", ref=_ref_shares, options=({"label_smoothing": 0.2},))
def categorical_crossentropy(
    y_true: Any, y_pred: Any, from_logits: bool = False, label_smoothing: float = 0.0
) -> Any:
    r"""Mean of $-\sum_k y_k \ln p_k$ over the last axis; targets are shares of the classes.

    Probabilities are divided by their sum first, as Keras does here.
    """
    y = _smooth(y_true, label_smoothing, y_pred.shape[-1])
    return negative(sum(y * _log_shares(y_pred, from_logits), -1))


def _log_shares(y_pred: Any, from_logits: bool) -> Any:
    if from_logits:
        return log_softmax(y_pred)
    return log(clip(y_pred / sum(y_pred, -1, keepdims=True), EDGE, 1.0 - EDGE))


@dataclass(frozen=True)
class CategoricalCrossentropy(Loss):
    """`categorical_crossentropy` with its options set."""

    function = staticmethod(categorical_crossentropy)
    from_logits: bool = False
    label_smoothing: float = 0.0


def _ref_focal(
    y: Any,
    p: Any,
    from_logits: bool,
    alpha: float = 0.25,
    gamma: float = 2.0,
    label_smoothing: float = 0.0,
) -> Any:
    share = label_smoothing
    logs = _ref_logs(p, from_logits)
    y = y * (1 - share) + share / p.shape[-1]
    return -np.mean(np.sum(alpha * (1 - np.exp(logs)) ** gamma * y * logs, axis=-1))


@register(
    targets="shares",
    ref=_ref_focal,
    options=({"alpha": 0.5, "gamma": 1.5, "label_smoothing": 0.1},),
)
def categorical_focal_crossentropy(
    y_true: Any,
    y_pred: Any,
    alpha: float = 0.25,
    gamma: float = 2.0,
    from_logits: bool = False,
    label_smoothing: float = 0.0,
) -> Any:
    r"""Mean of $-\sum_k \alpha (1 - p_k)^\gamma y_k \ln p_k$ over the last axis.

    Source: as `binary_focal_crossentropy`, equation 5 for one share `alpha` of all classes.
    """
    y = _smooth(y_true, label_smoothing, y_pred.shape[-1])
    logs: Any = _log_shares(y_pred, from_logits)
    focus: Any = clip(1.0 - exp(logs), EDGE, 1.0) ** gamma  # its slope at 0 need not be finite
    return negative(sum(focus * y * logs, -1)) * alpha


@dataclass(frozen=True)
class CategoricalFocalCrossentropy(Loss):
    """`categorical_focal_crossentropy` with its options set."""

    function = staticmethod(categorical_focal_crossentropy)
    alpha: float = 0.25
    gamma: float = 2.0
    from_logits: bool = False
    label_smoothing: float = 0.0


def _ref_sparse(y: Any, p: Any, from_logits: bool, label_smoothing: float = 0.0) -> Any:
    return _ref_shares(np.eye(p.shape[-1])[y], p, from_logits, label_smoothing)


@register(targets="classes", ref=_ref_sparse, options=({"label_smoothing": 0.2},))
def sparse_categorical_crossentropy(
    y_true: Any, y_pred: Any, from_logits: bool = False, label_smoothing: float = 0.0
) -> Any:
    r"""Mean of $-\ln p_y$ for integer classes $y$, of the shape of `y_pred` without its last axis.

    A last axis of 1 is taken too. DataError for a class outside 0..classes-1 where the labels
    are known; inside `jit` such a label adds nothing to the loss. Keras has no `label_smoothing`
    here.
    """
    classes = y_pred.shape[-1]
    hot: Any = one_hot(within(y_true, classes), classes, y_pred.dtype)
    logs = log_softmax(y_pred) if from_logits else log(clip(y_pred, EDGE, 1.0 - EDGE))
    return negative(sum(_smooth(hot, label_smoothing, classes) * logs, -1))


@dataclass(frozen=True)
class SparseCategoricalCrossentropy(Loss):
    """`sparse_categorical_crossentropy` with its options set."""

    function = staticmethod(sparse_categorical_crossentropy)
    from_logits: bool = False
    label_smoothing: float = 0.0
