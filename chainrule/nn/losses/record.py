"""What a loss is: values of `(y_true, y_pred)`, their weighted mean, a name, and its classes.

A loss is one function that gives a value for each example (or each element). `register` makes it
the mean of them, a number, with an argument `weights`. Read next: `regression.py`.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import wraps
from typing import Any, ClassVar, NamedTuple

import numpy as np

from chainrule.core.errors import ArgumentError, DataError, DtypeError, ShapeError, UnknownNameError
from chainrule.core.tensor import Tensor, as_tensor
from chainrule.ops.elementwise import cast, equal, where
from chainrule.ops.logic import not_equal
from chainrule.ops.move import broadcast_to, reshape
from chainrule.ops.reduce import mean, sum

EDGE = 1e-7  # Keras's distance of a probability from 0 and 1


class Check(NamedTuple):
    """What the tests need of a loss: what its targets are, and what it gives, in NumPy."""

    targets: str  # "values", "flags" (0 or 1), "shares" (of classes), "classes" or "sequences"
    ref: Callable[..., Any]
    options: Sequence[dict[str, Any]] = ()  # to test besides the defaults
    predictions: str = ""  # "values" or "shares", where not what the targets suggest
    apart: bool = True  # whether each example has a loss of its own


LOSSES: dict[str, Callable[..., Tensor]] = {}
CHECKS: dict[str, Check] = {}
CLASSES: dict[str, type[Loss]] = {}


def register(
    *aliases: str,
    targets: str,
    ref: Callable[..., Any],
    options: Sequence[dict[str, Any]] = (),
    predictions: str = "",
    apart: bool = True,
) -> Callable:
    """Make a loss of the function that gives its values, under its own name and `aliases`.

    It is called with predictions of a float dtype and targets of their shape and dtype, or
    integer classes, one for each prediction or in sequences; `ref` is the loss in NumPy. See
    `Check` for the rest.
    """

    def registered(values: Callable[..., Any]) -> Callable[..., Tensor]:
        name = values.__name__

        @wraps(values)
        def whole(y_true: Any, y_pred: Any, *args: Any, weights: Any = None, **given: Any) -> Any:
            y_pred = floats(y_pred, name)
            read = READERS.get(targets, alike)
            return weighted_mean(
                values(read(y_true, y_pred, name), y_pred, *args, **given), weights
            )

        plain = inspect.signature(values)
        extra = inspect.Parameter("weights", inspect.Parameter.KEYWORD_ONLY, default=None)
        whole.__signature__ = plain.replace(  # type: ignore[attr-defined]
            parameters=[*plain.parameters.values(), extra]
        )
        CHECKS[name] = Check(targets, ref, options, predictions, apart)
        for each in (name, *aliases):
            LOSSES[each] = whole
        return whole

    return registered


def weighted_mean(values: Any, weights: Any = None) -> Any:
    """The sum of weight times value over the sum of the weights; 0 where that is 0.

    `weights` are numbers or bools (a mask) of the leading axes of `values`: one for each example,
    or for each step of each example. So parts of a batch, each counted by its total weight, make
    up the loss of the whole, and what is masked counts nowhere; Keras divides by the number of
    values instead.
    """
    if weights is None:
        return mean(values)
    given = as_tensor(weights)
    shape = given.shape
    while len(shape) > values.ndim and shape[-1] == 1:
        shape = shape[:-1]
    fits = len(shape) <= values.ndim and all(map(_spreads, shape, values.shape))
    if not fits:
        raise ShapeError(
            f"weights need the leading axes of the losses {values.shape}, got {given.shape}",
            mend="one weight for each example",
        )
    whole = reshape(cast(given, values.dtype), shape + (1,) * (values.ndim - len(shape)))
    w: Any = broadcast_to(whole, values.shape)
    total = sum(w)
    weighed = where(equal(w, 0.0), 0.0, values * w)  # what is masked may be inf or NaN
    return sum(weighed) / where(not_equal(total, 0.0), total, 1.0)


def _spreads(mine: int, theirs: int) -> bool:
    return mine in (1, theirs)


def weights_by_class(labels: Any, weights: Any) -> np.ndarray:
    """The weight of each example from those of the classes, {class: weight}; 1 for other classes.

    >>> weights_by_class(np.array([0, 2, 0]), {2: 5.0})
    array([1., 5., 1.], dtype=float32)
    """
    labels = np.asarray(labels)
    found = np.ones(labels.shape, np.float32)
    for each, weight in dict(weights).items():
        found[labels == each] = weight
    return found


def floats(y_pred: Any, who: str) -> Any:
    """`y_pred` as a tensor; DtypeError unless its dtype is float."""
    y_pred = as_tensor(y_pred)
    if y_pred.dtype.kind != "f":
        raise DtypeError(
            f"{who} needs float predictions, got {y_pred.dtype}",
            mend="the order is (y_true, y_pred)",
        )
    return y_pred


def alike(y_true: Any, y_pred: Tensor, who: str) -> Any:
    """`y_true` in shape and dtype of `y_pred`; (n,) against (n, 1) would broadcast to n x n."""
    y_true = as_tensor(y_true)
    if y_true.shape != y_pred.shape and (*y_true.shape, 1) != y_pred.shape:
        raise ShapeError(
            f"{who} needs targets like the predictions, got {y_true.shape} and {y_pred.shape}",
            mend="integer classes go with sparse_categorical_crossentropy; y[:, None] adds an axis",
        )
    return cast(reshape(y_true, y_pred.shape), y_pred.dtype)


def classes_of(y_true: Any, y_pred: Tensor, who: str) -> Tensor:
    """`y_true` as integers of the shape of `y_pred` without its last axis."""
    y, shape = as_tensor(y_true), y_pred.shape
    if y.dtype.kind not in "iu":
        raise DtypeError(
            f"{who} needs integer classes, got {y.dtype}",
            mend="y.astype('int64'), or categorical_crossentropy for shares of classes",
        )
    if not shape or y.shape not in (shape[:-1], (*shape[:-1], 1)):
        raise ShapeError(
            f"{who} needs one class for each prediction, got classes {y.shape} for predictions "
            f"{shape}",
            mend="categorical_crossentropy, if the targets are one-hot",
        )
    return reshape(y, shape[:-1])


def sequences_of(y_true: Any, y_pred: Tensor, who: str) -> Tensor:
    """`y_true` as integers (batch, labels), for predictions (batch, time, classes)."""
    y = as_tensor(y_true)
    if y.dtype.kind not in "iu":
        raise DtypeError(f"{who} needs integer classes, got {y.dtype}", mend="y.astype('int64')")
    if y.ndim != 2 or y_pred.ndim != 3 or len(y) != len(y_pred):
        raise ShapeError(
            f"{who} needs labels (batch, labels) and predictions (batch, time, classes), got "
            f"{y.shape} and {y_pred.shape}"
        )
    return y


READERS: dict[str, Callable[..., Tensor]] = {"classes": classes_of, "sequences": sequences_of}


def within(y: Tensor, classes: int) -> Tensor:
    """`y`; DataError where its values are known, and one is outside 0..classes-1."""
    if y.known and y.size:
        low, high = int(y.numpy().min()), int(y.numpy().max())
        if low < 0 or high >= classes:
            raise DataError(
                f"classes must lie in 0..{classes - 1}, as there are {classes} predictions for "
                f"each example; got {low}..{high}",
                mend=f"a last layer of {high + 1} units, or labels that start at 0",
            )
    return y


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
    """A loss with its options set: called as (y_true, y_pred), or with `weights`."""

    function: ClassVar[Callable[..., Tensor]]

    def __init_subclass__(cls) -> None:
        CLASSES[cls.function.__name__] = cls

    @property
    def __name__(self) -> str:
        return self.function.__name__

    def __call__(self, y_true: Any, y_pred: Any, weights: Any = None) -> Tensor:
        given = {} if weights is None else {"weights": weights}
        return type(self).function(y_true, y_pred, **vars(self), **given)
