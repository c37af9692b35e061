r"""Metrics: numbers for people, beside the loss that is trained on.

A metric gives one value for each thing it judges; batches and epochs report the mean over all
of them, as sums and counts, so that a smaller last batch weighs what it holds. Read next:
`history.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from chainrule.core.errors import ArgumentError, DataError, ShapeError, UnknownNameError
from chainrule.core.tensor import Tensor, as_tensor
from chainrule.ops.elementwise import absolute, cast, equal, greater, where
from chainrule.ops.index import arange
from chainrule.ops.move import broadcast_to, reshape
from chainrule.ops.reduce import max, sum


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


def binary_accuracy(y_true: Tensor, y_pred: Tensor, from_logits: bool = False) -> Tensor:
    """1 where label and prediction lie on the same side: above the threshold or not."""
    threshold = 0.0 if from_logits else 0.5
    hit = equal(cast(_like(y_true, y_pred), "float32"), cast(greater(y_pred, threshold), "float32"))
    return cast(hit, "float32")


def categorical_accuracy(y_true: Tensor, y_pred: Tensor) -> Tensor:
    """1 where the largest of `y_true` and of `y_pred` are at the same class."""
    return cast(equal(_largest(_like(y_true, y_pred)), _largest(y_pred)), "float32")


def sparse_categorical_accuracy(y_true: Tensor, y_pred: Tensor) -> Tensor:
    """1 where the largest of `y_pred` is at class `y_true`, an integer."""
    if y_true.size != y_pred.size // y_pred.shape[-1]:
        raise ShapeError(
            f"one label is needed for each prediction, got labels {y_true.shape} "
            f"and predictions {y_pred.shape}"
        )
    labels = reshape(y_true, y_pred.shape[:-1])
    return cast(equal(cast(labels, "float32"), _largest(y_pred)), "float32")


def mean_squared_error(y_true: Tensor, y_pred: Tensor) -> Tensor:
    """The squared differences."""
    difference = _like(y_true, y_pred) - y_pred
    return difference * difference


def mean_absolute_error(y_true: Tensor, y_pred: Tensor) -> Tensor:
    """The absolute differences."""
    return absolute(_like(y_true, y_pred) - y_pred)


METRICS: dict[str, Callable[..., Tensor]] = {
    "accuracy": accuracy,
    "acc": accuracy,
    "binary_accuracy": binary_accuracy,
    "categorical_accuracy": categorical_accuracy,
    "sparse_categorical_accuracy": sparse_categorical_accuracy,
    "mean_squared_error": mean_squared_error,
    "mse": mean_squared_error,
    "mean_absolute_error": mean_absolute_error,
    "mae": mean_absolute_error,
}
_THRESHOLDED = (accuracy, binary_accuracy)


def _like(y_true: Tensor, y_pred: Tensor) -> Any:
    """`y_true` in the shape and dtype of `y_pred`; (n,) against (n, 1) would broadcast to n x n."""
    if y_true.size != y_pred.size:
        raise ShapeError(
            f"as many targets as predictions are needed, got {y_true.shape} and {y_pred.shape}"
        )
    return cast(reshape(y_true, y_pred.shape), y_pred.dtype)


def _largest(x: Tensor) -> Tensor:
    """The position of the first largest element along the last axis, as float32."""
    classes = x.shape[-1]
    places: Any = broadcast_to(cast(arange(classes), "float32"), x.shape)
    hit = equal(x, max(x, -1, keepdims=True))
    # Counted from the end, so that the largest count is the first place.
    last: Any = max(where(hit, classes - places, 0.0), -1)
    return classes - last


class Metric:
    """A metric under the name that its numbers are reported by."""

    def __init__(self, name: str, function: Callable[..., Any]):
        self.name = name
        self.function = function

    def total(self, y_true: Tensor, y_pred: Tensor, from_logits: bool) -> tuple[Tensor, int]:
        """(sum of the values, how many values) over one batch.

        A function that gives one number for the whole batch counts once for each example.
        """
        if self.function in _THRESHOLDED:
            values = self.function(y_true, y_pred, from_logits)
        else:
            values = as_tensor(self.function(y_true, y_pred))
        if values.dtype.kind != "f":
            values = cast(values, "float32")
        if values.ndim:
            return sum(values), values.size
        count = y_pred.shape[0]
        return values * count, count


def find_metrics(given: Sequence[Any]) -> tuple[Metric, ...]:
    """The metrics that `compile` was given: names, or functions `(y_true, y_pred)`.

    UnknownNameError for a name that is none, ArgumentError for two under one name.
    """
    if isinstance(given, str) or not isinstance(given, Sequence):
        raise ArgumentError(
            f"metrics must be a list of names or functions, got {given!r}",
            mend='metrics=["accuracy"]',
        )
    found = []
    for each in given:
        if isinstance(each, str):
            if each not in METRICS:
                raise UnknownNameError("metric", each, METRICS)
            found.append(Metric(each, METRICS[each]))
        elif callable(each):
            found.append(Metric(getattr(each, "__name__", type(each).__name__), each))
        else:
            raise ArgumentError(f"a metric is a name or a function (y_true, y_pred), got {each!r}")
    names = ["loss", *[metric.name for metric in found]]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ArgumentError(f"each metric needs a name of its own, got twice: {', '.join(twice)}")
    return tuple(found)


class Totals:
    """Sums and counts of the loss and of each metric, added up over batches in float64."""

    def __init__(self, metrics: Sequence[Metric]):
        self.names = ["loss", *[metric.name for metric in metrics]]
        self.sums = [0.0] * len(self.names)
        self.counts = [0] * len(self.names)

    def add(self, sums: Sequence[float], counts: Sequence[int]) -> None:
        """One batch more."""
        for i, (value, count) in enumerate(zip(sums, counts, strict=True)):
            self.sums[i] += value
            self.counts[i] += count

    def means(self) -> dict[str, float]:
        """The mean of each so far; DataError before the first batch."""
        if not all(self.counts):
            raise DataError("no batch was counted, so there is no mean")
        rows = zip(self.names, self.sums, self.counts, strict=True)
        return {name: value / count for name, value, count in rows}
