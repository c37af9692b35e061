"""Losses `(y_true, y_pred)`: the mean over all examples, one number, by Keras's names.

With `from_logits` the prediction is what comes before sigmoid or softmax, and nothing overflows
however large it is. Probabilities are kept 1e-7 away from 0 and 1. Read next:
`chainrule/train/optim.py`.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import numpy as np

from chainrule.core.errors import ArgumentError, DataError, DtypeError, ShapeError, UnknownNameError
from chainrule.core.tensor import Tensor, as_tensor
from chainrule.ops.composite import log_softmax, softplus
from chainrule.ops.elementwise import cast, log, maximum, negative
from chainrule.ops.index import one_hot
from chainrule.ops.move import reshape
from chainrule.ops.reduce import mean, sum

EDGE = 1e-7  # Keras's distance of a probability from 0 and 1


class Check(NamedTuple):
    """What the tests need of a loss: what its targets are, and what it gives, in NumPy."""

    targets: str  # "values", "flags" (0 or 1), "shares" (of classes) or "classes"
    ref: Callable[..., Any]


LOSSES: dict[str, Callable[..., Tensor]] = {}
CHECKS: dict[str, Check] = {}


def register(*aliases: str, targets: str, ref: Callable[..., Any]) -> Callable:
    """Register a loss under its own name and `aliases`; `ref` is its value in NumPy."""

    def registered(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
        CHECKS[function.__name__] = Check(targets, ref)
        for name in (function.__name__, *aliases):
            LOSSES[name] = function
        return function

    return registered


@register("mse", targets="values", ref=lambda y, p: np.mean((y - p) ** 2))
def mean_squared_error(y_true: Any, y_pred: Any) -> Tensor:
    r"""$\frac{1}{N} \sum (y - \hat y)^2$ over all elements."""
    y_pred = _floats(y_pred, "mean_squared_error")
    gap = y_pred - _alike(y_true, y_pred, "mean_squared_error")
    return mean(gap * gap)


@register("mae", targets="values", ref=lambda y, p: np.mean(np.abs(y - p)))
def mean_absolute_error(y_true: Any, y_pred: Any) -> Tensor:
    r"""$\frac{1}{N} \sum |y - \hat y|$ over all elements."""
    y_pred = _floats(y_pred, "mean_absolute_error")
    return mean(abs(y_pred - _alike(y_true, y_pred, "mean_absolute_error")))


def _ref_binary(y: Any, p: Any, from_logits: bool) -> Any:
    p = np.exp(-np.logaddexp(0, -p)) if from_logits else p
    return -np.mean(np.where(y == 1, np.log(p), np.log(1 - p)))


@register(targets="flags", ref=_ref_binary)
def binary_crossentropy(y_true: Any, y_pred: Any, from_logits: bool = False) -> Tensor:
    r"""Mean of $-y \ln p - (1 - y) \ln(1 - p)$; from logits $z$, of softplus$(z) - y z$."""
    y_pred = _floats(y_pred, "binary_crossentropy")
    y_true = _alike(y_true, y_pred, "binary_crossentropy")
    if from_logits:
        return mean(softplus(y_pred) - y_true * y_pred)
    p: Any = _inside(y_pred)
    return negative(mean(y_true * log(p) + (1 - y_true) * log(1 - p)))


def _ref_classes(y: Any, p: Any, from_logits: bool) -> Any:
    if from_logits:
        p = np.exp(p - np.logaddexp.reduce(p, axis=-1, keepdims=True))
    return -np.mean(np.sum(y * np.log(p), axis=-1))


@register(targets="shares", ref=_ref_classes)
def categorical_crossentropy(y_true: Any, y_pred: Any, from_logits: bool = False) -> Tensor:
    r"""Mean of $-\sum_k y_k \ln p_k$ over the last axis; targets are shares of the classes.

    Probabilities are divided by their sum first, as Keras does here.
    """
    y_pred = _floats(y_pred, "categorical_crossentropy")
    y_true = _alike(y_true, y_pred, "categorical_crossentropy")
    if not from_logits:
        y_pred = y_pred / sum(y_pred, -1, keepdims=True)
    return negative(mean(sum(y_true * _log_probability(y_pred, from_logits), -1)))


@register(
    targets="classes",
    ref=lambda y, p, from_logits: _ref_classes(np.eye(p.shape[-1])[y], p, from_logits),
)
def sparse_categorical_crossentropy(y_true: Any, y_pred: Any, from_logits: bool = False) -> Tensor:
    r"""Mean of $-\ln p_y$ for integer classes $y$, of the shape of `y_pred` without its last axis.

    A last axis of 1 is taken too. DataError for a class outside 0..classes-1 where the labels
    are known; inside `jit` such a label adds nothing to the loss.
    """
    y_pred = _floats(y_pred, "sparse_categorical_crossentropy")
    classes = y_pred.shape[-1] if y_pred.ndim else 0
    labels = _labels(as_tensor(y_true), y_pred.shape, classes)
    hot: Any = one_hot(labels, classes, y_pred.dtype)
    return negative(mean(sum(hot * _log_probability(y_pred, from_logits), -1)))


def _labels(y: Tensor, shape: tuple[int, ...], classes: int) -> Tensor:
    if y.dtype.kind not in "iu":
        raise DtypeError(
            f"sparse_categorical_crossentropy needs integer classes, got {y.dtype}",
            mend="y.astype('int64'), or categorical_crossentropy for shares of classes",
        )
    if y.shape not in (shape[:-1], (*shape[:-1], 1)):
        raise ShapeError(
            f"sparse_categorical_crossentropy needs one class for each prediction, got classes "
            f"{y.shape} for predictions {shape}",
            mend="categorical_crossentropy, if the targets are one-hot",
        )
    if y.known and y.size:
        low, high = int(y.numpy().min()), int(y.numpy().max())
        if low < 0 or high >= classes:
            raise DataError(
                f"classes must lie in 0..{classes - 1}, as there are {classes} predictions for "
                f"each example; got {low}..{high}",
                mend=f"a last layer of {high + 1} units, or labels that start at 0",
            )
    return reshape(y, shape[:-1])


def _log_probability(y_pred: Tensor, from_logits: bool) -> Tensor:
    return log_softmax(y_pred) if from_logits else log(_inside(y_pred))


def _inside(p: Tensor) -> Tensor:
    """Probabilities kept EDGE away from 0 and from 1."""
    return negative(maximum(negative(maximum(p, EDGE)), EDGE - 1.0))


def _floats(y_pred: Any, who: str) -> Any:
    y_pred = as_tensor(y_pred)
    if y_pred.dtype.kind != "f":
        raise DtypeError(
            f"{who} needs float predictions, got {y_pred.dtype}",
            mend="the order is (y_true, y_pred)",
        )
    return y_pred


def _alike(y_true: Any, y_pred: Tensor, who: str) -> Any:
    """`y_true` in shape and dtype of `y_pred`; (n,) against (n, 1) would broadcast to n x n."""
    y_true = as_tensor(y_true)
    if y_true.shape != y_pred.shape and (*y_true.shape, 1) != y_pred.shape:
        raise ShapeError(
            f"{who} needs targets like the predictions, got {y_true.shape} and {y_pred.shape}",
            mend="integer classes go with sparse_categorical_crossentropy; y[:, None] adds an axis",
        )
    return cast(reshape(y_true, y_pred.shape), y_pred.dtype)


def takes_logits(function: Callable) -> bool:
    """Whether a loss has the switch `from_logits`, open to be set."""
    return (
        not isinstance(function, Loss) and "from_logits" in inspect.signature(function).parameters
    )


def loss(given: Any) -> Callable[..., Tensor]:
    """The loss of a name, or the function itself. UnknownNameError for a name that is none."""
    if isinstance(given, str):
        if given not in LOSSES:
            raise UnknownNameError("loss", given, LOSSES)
        return LOSSES[given]
    if isinstance(given, type) and issubclass(given, Loss):
        return given()
    if callable(given):
        return given
    raise ArgumentError(
        f"a loss is a name or a function (y_true, y_pred), got {given!r}",
        mend="one of " + ", ".join(sorted(LOSSES)),
    )


@dataclass(frozen=True)
class Loss:
    """A loss with its options set: called as (y_true, y_pred)."""

    function: ClassVar[Callable[..., Tensor]]

    @property
    def __name__(self) -> str:
        return self.function.__name__

    def __call__(self, y_true: Any, y_pred: Any) -> Tensor:
        return type(self).function(y_true, y_pred, **vars(self))


@dataclass(frozen=True)
class MeanSquaredError(Loss):
    """`mean_squared_error`."""

    function = staticmethod(mean_squared_error)


@dataclass(frozen=True)
class MeanAbsoluteError(Loss):
    """`mean_absolute_error`."""

    function = staticmethod(mean_absolute_error)


@dataclass(frozen=True)
class BinaryCrossentropy(Loss):
    """`binary_crossentropy` with the switch set."""

    function = staticmethod(binary_crossentropy)
    from_logits: bool = False


@dataclass(frozen=True)
class CategoricalCrossentropy(Loss):
    """`categorical_crossentropy` with the switch set."""

    function = staticmethod(categorical_crossentropy)
    from_logits: bool = False


@dataclass(frozen=True)
class SparseCategoricalCrossentropy(Loss):
    """`sparse_categorical_crossentropy` with the switch set."""

    function = staticmethod(sparse_categorical_crossentropy)
    from_logits: bool = False
