r"""Metrics: numbers for people, beside the loss that is trained on, by Keras's names.

A metric takes `parts` from each batch, which are added up (or, where order matters, kept one
after another) in float64, and makes its number of the whole: so the number of an epoch is that
of all its examples at once, however they lay in batches. Those here are means of one value for
each thing judged; the rest are in `scores.py`. Read next: `scores.py`.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import Any, ClassVar, NamedTuple

import numpy as np

from chainrule.core.errors import ArgumentError, ShapeError, UnknownNameError
from chainrule.core.tensor import Tensor, as_tensor
from chainrule.nn import losses
from chainrule.ops.elementwise import absolute, cast, equal, greater, where
from chainrule.ops.index import arange
from chainrule.ops.move import broadcast_to, reshape
from chainrule.ops.reduce import max, sum


class Check(NamedTuple):
    """What the tests need of a metric: what its targets are, and its number in NumPy.

    `targets` is "values", "flags" (0 or 1), "shares" (one-hot) or "classes"; `ref` gets
    (y_true, y_pred), the predictions being probabilities unless the targets are values.
    """

    targets: str
    ref: Callable[[Any, Any], Any]


METRICS: dict[str, Callable[[], Metric]] = {}
CHECKS: dict[str, Check] = {}


class Metric:
    """A number under `name`; a new one writes `parts` and `result`.

    `parts(y_true, y_pred, from_logits)` are tensors or numbers of one batch, recorded in the
    compiled step; `result` gets them as float64 arrays, added up over the batches, or with
    `gathers` concatenated.
    """

    gathers: ClassVar[bool] = False
    name: str = ""

    def parts(self, y_true: Any, y_pred: Any, from_logits: bool) -> tuple:
        """What one batch contributes."""
        raise NotImplementedError

    def result(self, *parts: Any) -> float:
        """The number of all batches."""
        raise NotImplementedError


class Mean(Metric):
    """The mean of the values of `function(y_true, y_pred)`, or `(y_true, y_pred, from_logits)`.

    A function that gives one number for the whole batch counts once for each example.
    """

    def __init__(self, name: str, function: Callable[..., Any]):
        self.name = name
        self.function = function
        try:
            self.takes_logits = "from_logits" in inspect.signature(function).parameters
        except (TypeError, ValueError):
            self.takes_logits = False

    def parts(self, y_true: Any, y_pred: Any, from_logits: bool) -> tuple:
        """(sum of the values, how many values)."""
        options = {"from_logits": from_logits} if self.takes_logits else {}
        values = as_tensor(self.function(y_true, y_pred, **options))
        if values.dtype.kind != "f":
            values = cast(values, "float32")
        if values.ndim:
            return sum(values), float(values.size)
        count = float(y_pred.shape[0])
        return values * count, count

    def result(self, *parts: Any) -> float:
        """Sum by count."""
        return float(parts[0] / parts[1])


def register(*aliases: str, targets: str, ref: Callable[[Any, Any], Any]) -> Callable:
    """Register a function as a mean, or a Metric class, under its name and `aliases`."""

    def registered(made: Any) -> Any:
        name = getattr(made, "name", None) or made.__name__
        for each in (name, *aliases):
            CHECKS[each] = Check(targets, ref)
            factory = (lambda each=each: _named(made(), each)) if isinstance(made, type) else None
            METRICS[each] = factory or (lambda each=each: Mean(each, made))
        return made

    return registered


def _named(metric: Metric, name: str) -> Metric:
    metric.name = name
    return metric


@register("acc", targets="classes", ref=lambda y, p: np.mean(p.argmax(-1) == y))
def accuracy(y_true: Tensor, y_pred: Tensor, from_logits: bool = False) -> Tensor:
    """1 where the prediction is right, 0 elsewhere; the kind is read off the shapes.

    | `y_pred`            | `y_true`                     | right means                        |
    |---------------------|------------------------------|------------------------------------|
    | last axis 1 (or 1-D)| the same elements, 0 or 1    | on the same side of the threshold  |
    | classes last        | one integer less axis, or 1  | the largest is the class           |
    | classes last        | the same shape               | both are largest at the same class |

    The threshold is 1/2, or 0 when predictions are logits. Among equal largest the first counts.
    """
    if y_pred.ndim < 2 or y_pred.shape[-1] == 1:
        return binary_accuracy(y_true, y_pred, from_logits)
    if y_true.ndim < y_pred.ndim or y_true.shape[-1] == 1:
        return sparse_categorical_accuracy(y_true, y_pred)
    return categorical_accuracy(y_true, y_pred)


@register(targets="flags", ref=lambda y, p: np.mean((p > 0.5) == y))
def binary_accuracy(y_true: Tensor, y_pred: Tensor, from_logits: bool = False) -> Tensor:
    """1 where label and prediction lie on the same side: above the threshold or not."""
    threshold = 0.0 if from_logits else 0.5
    hit = equal(cast(like(y_true, y_pred), "float32"), cast(greater(y_pred, threshold), "float32"))
    return cast(hit, "float32")


@register(targets="shares", ref=lambda y, p: np.mean(p.argmax(-1) == y.argmax(-1)))
def categorical_accuracy(y_true: Tensor, y_pred: Tensor) -> Tensor:
    """1 where the largest of `y_true` and of `y_pred` are at the same class."""
    return cast(equal(largest(like(y_true, y_pred)), largest(y_pred)), "float32")


@register(targets="classes", ref=lambda y, p: np.mean(p.argmax(-1) == y))
def sparse_categorical_accuracy(y_true: Tensor, y_pred: Tensor) -> Tensor:
    """1 where the largest of `y_pred` is at class `y_true`, an integer."""
    if y_true.size != y_pred.size // y_pred.shape[-1]:
        raise ShapeError(
            f"one label is needed for each prediction, got labels {y_true.shape} "
            f"and predictions {y_pred.shape}"
        )
    labels = reshape(y_true, y_pred.shape[:-1])
    return cast(equal(cast(labels, "float32"), largest(y_pred)), "float32")


@register("mse", targets="values", ref=lambda y, p: np.mean((y - p) ** 2))
def mean_squared_error(y_true: Tensor, y_pred: Tensor) -> Tensor:
    """The squared differences."""
    difference = like(y_true, y_pred) - y_pred
    return difference * difference


@register("mae", targets="values", ref=lambda y, p: np.mean(np.abs(y - p)))
def mean_absolute_error(y_true: Tensor, y_pred: Tensor) -> Tensor:
    """The absolute differences."""
    return absolute(like(y_true, y_pred) - y_pred)


def top_k_hits(y_true: Any, y_pred: Any, k: int) -> Tensor:
    """1 where fewer than `k` classes score above the true one, which integers or shares name."""
    classes = y_pred.shape[-1]
    if y_true.ndim < y_pred.ndim or y_true.shape[-1] == 1:
        labels = reshape(y_true, (*y_pred.shape[:-1], 1))
        places: Any = broadcast_to(arange(classes), y_pred.shape)
        hot = equal(cast(broadcast_to(labels, y_pred.shape), "int64"), places)
    else:
        y_true = like(y_true, y_pred)
        hot = equal(y_true, max(y_true, -1, keepdims=True))
    score = sum(where(hot, y_pred, 0.0), -1, keepdims=True)
    above = sum(cast(greater(y_pred, score), "float32"), -1)
    counted = sum(cast(equal(y_pred, y_pred), "float32"), -1)  # fewer with a NaN, which is no hit
    hit = where(greater(above, k - 0.5), 0, 1, like=above)
    return where(equal(counted, float(classes)), hit, 0.0)


def _ref_top(y: Any, p: Any) -> Any:
    best = np.argsort(-p, axis=-1, kind="stable")[..., :5]
    return np.mean((best == np.asarray(y)[..., None]).any(-1))


@register(targets="shares", ref=lambda y, p: _ref_top(y.argmax(-1), p))
def top_k_categorical_accuracy(y_true: Any, y_pred: Any) -> Tensor:
    """1 where the class is among the 5 highest; `TopK` takes another number than 5."""
    return top_k_hits(y_true, y_pred, 5)


@register(targets="classes", ref=_ref_top)
def sparse_top_k_categorical_accuracy(y_true: Any, y_pred: Any) -> Tensor:
    """The same for integer classes."""
    return top_k_hits(y_true, y_pred, 5)


def _cross(y: Any, p: Any) -> Any:
    return -np.mean(np.sum(y * np.log(p), axis=-1))


register(targets="flags", ref=lambda y, p: -np.mean(np.log(np.where(y == 1, p, 1 - p))))(
    losses.binary_crossentropy
)
register(targets="shares", ref=_cross)(losses.categorical_crossentropy)
register(targets="classes", ref=lambda y, p: _cross(np.eye(p.shape[-1])[y], p))(
    losses.sparse_categorical_crossentropy
)


def like(y_true: Tensor, y_pred: Tensor) -> Any:
    """`y_true` in the shape and dtype of `y_pred`; (n,) against (n, 1) would broadcast to n x n."""
    if y_true.size != y_pred.size:
        classes = y_pred.shape[-1] if y_pred.ndim else 1
        labels = y_true.dtype.kind in "iu" and y_true.size * classes == y_pred.size
        raise ShapeError(
            f"as many targets as predictions are needed, got {y_true.shape} and {y_pred.shape}",
            mend='"accuracy" or another metric of integer classes' if labels else "",
        )
    return cast(reshape(y_true, y_pred.shape), y_pred.dtype)


def largest(x: Tensor) -> Tensor:
    """The position of the first largest element along the last axis, as float32."""
    classes = x.shape[-1]
    places: Any = broadcast_to(cast(arange(classes), "float32"), x.shape)
    hit = equal(x, max(x, -1, keepdims=True))
    # Counted from the end, so that the largest count is the first place.
    last: Any = max(where(hit, classes - places, 0.0), -1)
    return classes - last


class TopK(Mean):
    """The share of examples whose class is among the `k` highest."""

    def __init__(self, k: int = 5, name: str | None = None):
        super().__init__(
            name or f"top_{k}_accuracy", lambda y_true, y_pred: top_k_hits(y_true, y_pred, k)
        )


def find_metrics(given: Sequence[Any]) -> tuple[Metric, ...]:
    """The metrics of `compile`: names, Metric objects, or functions `(y_true, y_pred)`.

    UnknownNameError for a name that is none, ArgumentError for two under one name.
    """
    if isinstance(given, str) or not isinstance(given, Sequence):
        raise ArgumentError(
            f"metrics must be a list of names or functions, got {given!r}",
            mend='metrics=["accuracy"]',
        )
    found = [_find(each) for each in given]
    names = ["loss", *[metric.name for metric in found]]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ArgumentError(f"each metric needs a name of its own, got twice: {', '.join(twice)}")
    return tuple(found)


def _find(given: Any) -> Metric:
    if isinstance(given, str):
        if given not in METRICS:
            raise UnknownNameError("metric", given, METRICS)
        return METRICS[given]()
    if isinstance(given, Metric):
        return given
    if isinstance(given, type) and issubclass(given, Metric):
        return given()
    if not callable(given):
        raise ArgumentError(f"a metric is a name or a function (y_true, y_pred), got {given!r}")
    return Mean(getattr(given, "__name__", type(given).__name__), given)
