"""Losses `(y_true, y_pred)`, each the mean over the batch, by Keras's names.

With `from_logits` the prediction is not yet normalised, and the loss is computed so that no
logit is too large. Probabilities are kept 1e-7 away from 0 and 1, as Keras does.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial, update_wrapper
from typing import Any

from chainrule.core.errors import ArgumentError, DtypeError, ShapeError, UnknownNameError
from chainrule.core.tensor import Tensor, as_tensor
from chainrule.ops.composite import log_softmax, softplus
from chainrule.ops.elementwise import cast, log, maximum, negative
from chainrule.ops.index import one_hot
from chainrule.ops.reduce import mean, sum

EDGE = 1e-7
LOSSES: dict[str, Callable[..., Tensor]] = {}


def register(*names: str) -> Callable:
    """Register a loss under its own name and these."""

    def made(fn: Callable) -> Callable:
        for name in (fn.__name__, *names):
            LOSSES[name] = fn
        return fn

    return made


def _inside(p: Tensor) -> Tensor:
    return negative(maximum(negative(maximum(p, EDGE)), EDGE - 1.0))


def _alike(name: str, y_true: Any, y_pred: Tensor) -> Tensor:
    """`y_true` in the dtype of `y_pred`; ShapeError unless the shapes are equal."""
    y_true = as_tensor(y_true)
    if y_true.shape != y_pred.shape:
        raise ShapeError(
            f"{name} needs targets like the predictions, got {y_true.shape} and {y_pred.shape}",
            mend="integer classes go with sparse_categorical_crossentropy; y[:, None] adds an axis",
        )
    return cast(y_true, y_pred.dtype)


@register("mse")
def mean_squared_error(y_true: Any, y_pred: Any) -> Tensor:
    r"""$\frac{1}{N}\sum (y - \hat y)^2$ over all elements."""
    y_pred = as_tensor(y_pred)
    gap = y_pred - _alike("mean_squared_error", y_true, y_pred)
    return mean(gap * gap)


@register()
def binary_crossentropy(y_true: Any, y_pred: Any, from_logits: bool = False) -> Tensor:
    r"""$-y \ln p - (1 - y) \ln(1 - p)$; with logits $z$: softplus(z) - y z."""
    y_pred = as_tensor(y_pred)
    y_true = _alike("binary_crossentropy", y_true, y_pred)
    if from_logits:
        return mean(softplus(y_pred) - y_true * y_pred)
    p = _inside(y_pred)
    return -mean(y_true * log(p) + (1 - y_true) * log(1 - p))


@register()
def categorical_crossentropy(y_true: Any, y_pred: Any, from_logits: bool = False) -> Tensor:
    r"""$-\sum_k y_k \ln p_k$ over the last axis, for targets that are distributions."""
    y_pred = as_tensor(y_pred)
    y_true = _alike("categorical_crossentropy", y_true, y_pred)
    return -mean(sum(y_true * _log_probability(y_pred, from_logits), axis=-1))


def _log_probability(y_pred: Tensor, from_logits: bool) -> Tensor:
    if from_logits:
        return log_softmax(y_pred)
    return log(_inside(y_pred / sum(y_pred, axis=-1, keepdims=True)))


@register()
def sparse_categorical_crossentropy(y_true: Any, y_pred: Any, from_logits: bool = False) -> Tensor:
    r"""$-\ln p_y$ for integer classes $y$ of shape `y_pred.shape[:-1]` (or with a last 1)."""
    y_true, y_pred = as_tensor(y_true), as_tensor(y_pred)
    if y_true.dtype.kind not in "iu":
        raise DtypeError(
            f"sparse_categorical_crossentropy needs integer classes, got {y_true.dtype}",
            mend="y.astype('int64'), or categorical_crossentropy for one-hot targets",
        )
    if y_true.shape == (*y_pred.shape[:-1], 1):
        y_true = y_true.reshape(y_pred.shape[:-1])  # type: ignore[attr-defined]
    if y_true.shape != y_pred.shape[:-1]:
        raise ShapeError(
            f"sparse_categorical_crossentropy needs one class per prediction, got {y_true.shape} "
            f"for {y_pred.shape}"
        )
    hot = one_hot(y_true, y_pred.shape[-1], y_pred.dtype)
    return -mean(sum(hot * _log_probability(y_pred, from_logits), axis=-1))


def takes_logits(fn: Callable) -> bool:
    """Whether a loss has the `from_logits` switch."""
    return fn in (binary_crossentropy, categorical_crossentropy, sparse_categorical_crossentropy)


def loss(given: str | Callable) -> Callable[..., Tensor]:
    """The loss of a name, or the function itself. UnknownNameError offers the nearest."""
    if callable(given):
        return given
    if not isinstance(given, str) or given not in LOSSES:
        raise UnknownNameError("loss", given, LOSSES)
    return LOSSES[given]


def _switched(fn: Callable, from_logits: bool) -> Callable[..., Tensor]:
    if not isinstance(from_logits, bool):
        raise ArgumentError(f"from_logits is True or False, got {from_logits!r}")
    return update_wrapper(partial(fn, from_logits=from_logits), fn)


def BinaryCrossentropy(from_logits: bool = False) -> Callable[..., Tensor]:
    """`binary_crossentropy` with the switch set."""
    return _switched(binary_crossentropy, from_logits)


def CategoricalCrossentropy(from_logits: bool = False) -> Callable[..., Tensor]:
    """`categorical_crossentropy` with the switch set."""
    return _switched(categorical_crossentropy, from_logits)


def SparseCategoricalCrossentropy(from_logits: bool = False) -> Callable[..., Tensor]:
    """`sparse_categorical_crossentropy` with the switch set."""
    return _switched(sparse_categorical_crossentropy, from_logits)


def MeanSquaredError() -> Callable[..., Tensor]:
    """`mean_squared_error`."""
    return mean_squared_error
