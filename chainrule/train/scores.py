r"""Metrics that are no mean of single values: precision, recall, F1, AUC, R2, RMSE.

They come from sums that can be added over batches (counts of a confusion matrix, sums of
squares), and the area under the curve from all predictions, so all are exact. Read next:
`history.py`.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from chainrule.core.errors import DataError, ShapeError, UnknownNameError
from chainrule.ops.elementwise import cast, greater
from chainrule.ops.index import one_hot
from chainrule.ops.linear import matmul
from chainrule.ops.move import reshape, transpose
from chainrule.ops.reduce import sum
from chainrule.train.metrics import Metric, largest, like, register

AVERAGES = ("macro", "micro", "weighted")


def confusion_matrix(y_true: Any, y_pred: Any, classes: int | None = None) -> np.ndarray:
    """How often each class (row) was taken for each class (column), as int64.

    `y_true` and `y_pred` are integer classes of one shape; `classes` is one more than the largest
    unless given. ShapeError or DataError for what is none.

    >>> confusion_matrix([0, 1, 1, 2], [0, 1, 2, 2])
    array([[1, 0, 0],
           [0, 1, 1],
           [0, 0, 1]])
    """
    true, pred = np.asarray(y_true), np.asarray(y_pred)
    if true.shape != pred.shape or not true.size:
        raise ShapeError(
            f"as many labels as predictions are needed, got {true.shape} and {pred.shape}",
            mend="y_pred.argmax(axis=-1) for the predictions of a model",
        )
    count = int(max(true.max(), pred.max())) + 1 if classes is None else classes
    for name, each in (("y_true", true), ("y_pred", pred)):
        if each.dtype.kind not in "iub" or each.min() < 0 or each.max() >= count:
            raise DataError(f"{name} must hold integers in 0 .. {count - 1}, got {each.dtype}")
    pairs = true.reshape(-1).astype(np.int64) * count + pred.reshape(-1)
    return np.bincount(pairs, minlength=count * count).reshape(count, count)


def counted(y_true: Any, y_pred: Any, from_logits: bool) -> Any:
    """The confusion matrix of a batch, recorded; outputs of one unit are classes 0 and 1."""
    if y_pred.ndim < 2 or y_pred.shape[-1] == 1:
        true: Any = cast(greater(like(y_true, y_pred), 0.5), "int64")
        guess: Any = cast(greater(y_pred, 0.0 if from_logits else 0.5), "int64")
        classes = 2
    else:
        classes = y_pred.shape[-1]
        sparse = y_true.ndim < y_pred.ndim or y_true.shape[-1] == 1
        true = cast(y_true if sparse else largest(like(y_true, y_pred)), "int64")
        guess = cast(largest(y_pred), "int64")
    rows, columns = [
        one_hot(reshape(ids, (ids.size,)), classes, "float32") for ids in (true, guess)
    ]
    return matmul(transpose(rows), columns)


class Counted(Metric):
    """A number of the confusion matrix.

    Of one output, where the prediction is a probability (or a logit), it is that of class 1. Of
    several classes it is averaged: "macro", all classes alike; "weighted", by how often each
    occurs; "micro", over all decisions, where it is the accuracy. A class of which there is
    nothing to divide by has 0. (Keras's F1Score averages only where it is told to.)
    """

    def __init__(self, average: str = "macro", name: str | None = None):
        if average not in AVERAGES:
            raise UnknownNameError("average", average, AVERAGES)
        self.average = average
        self.name = name or type(self).name

    def parts(self, y_true: Any, y_pred: Any, from_logits: bool) -> tuple:
        """The confusion matrix, and 1 for a batch of one output."""
        single = y_pred.ndim < 2 or y_pred.shape[-1] == 1
        return counted(y_true, y_pred, from_logits), float(single)

    def result(self, *parts: Any) -> float:
        """The number of the matrix."""
        matrix, single = parts
        hits, guessed, true = matrix.diagonal(), matrix.sum(axis=0), matrix.sum(axis=1)
        if single:
            return float(self.of(hits[1], guessed[1], true[1]))
        if self.average == "micro":
            return float(self.of(hits.sum(), guessed.sum(), true.sum()))
        weights = true if self.average == "weighted" else np.ones(len(true))
        return float(np.average(self.of(hits, guessed, true), weights=weights))

    def of(self, hits: Any, guessed: Any, true: Any) -> Any:
        """The number of a class that was right `hits`, guessed and true so often."""
        raise NotImplementedError


def _share(part: Any, whole: Any) -> Any:
    return np.where(whole > 0, part / np.where(whole > 0, whole, 1), 0.0)


def _ref_of(number: Any) -> Any:
    """The mean over the classes of `number(true positives, false positives, false negatives)`."""

    def ref(y: Any, p: Any) -> Any:
        guess = p.argmax(-1)
        rows = []
        for c in range(p.shape[-1]):
            tp = np.sum((guess == c) & (y == c))
            rows.append(number(tp, np.sum(guess == c) - tp, np.sum(y == c) - tp))
        return np.mean(rows)

    return ref


@register(targets="classes", ref=_ref_of(lambda tp, fp, fn: tp / (tp + fp) if tp else 0))
class Precision(Counted):
    """Of what was guessed to be of a class, the share that is."""

    name = "precision"

    def of(self, hits: Any, guessed: Any, true: Any) -> Any:
        """Hits by guesses."""
        return _share(hits, guessed)


@register(targets="classes", ref=_ref_of(lambda tp, fp, fn: tp / (tp + fn) if tp else 0))
class Recall(Counted):
    """Of what is of a class, the share that was guessed."""

    name = "recall"

    def of(self, hits: Any, guessed: Any, true: Any) -> Any:
        """Hits by examples."""
        return _share(hits, true)


@register(targets="classes", ref=_ref_of(lambda tp, fp, fn: 2 * tp / (2 * tp + fp + fn)))
class F1Score(Counted):
    r"""The harmonic mean of precision and recall."""

    name = "f1_score"

    def of(self, hits: Any, guessed: Any, true: Any) -> Any:
        """Twice the hits by guesses and examples together."""
        return _share(2 * hits, guessed + true)


def _ref_auc(y: Any, p: Any) -> Any:
    better = p[y == 1][:, None] - p[y == 0][None, :]
    return np.mean(np.where(better > 0, 1.0, np.where(better == 0, 0.5, 0.0)))


@register(targets="flags", ref=_ref_auc)
class AUC(Metric):
    """The area under the ROC curve: how likely a 1 scores above a 0, ties counting half.

    It is exact, where Keras's is of 200 thresholds; all predictions are kept for it. NaN when
    only one of the labels occurs, or a prediction is NaN.
    """

    gathers = True
    name = "auc"

    def parts(self, y_true: Any, y_pred: Any, from_logits: bool) -> tuple:
        """Labels and predictions."""
        flat = (y_pred.size,)
        return reshape(like(y_true, y_pred), flat), reshape(y_pred, flat)

    def result(self, *parts: Any) -> float:
        """From the ranks of the ones among all."""
        y, p = parts
        ones = y > 0.5
        many, few = int(ones.sum()), int((~ones).sum())
        if not many or not few or np.isnan(p).any():
            return float("nan")
        _, place, counts = np.unique(p, return_inverse=True, return_counts=True)
        ranks = (np.cumsum(counts) - (counts - 1) / 2)[place]
        return float((ranks[ones].sum() - many * (many + 1) / 2) / (many * few))


@register("rmse", targets="values", ref=lambda y, p: np.sqrt(np.mean((y - p) ** 2)))
class RootMeanSquaredError(Metric):
    """The root of the mean of the squared differences."""

    name = "root_mean_squared_error"

    def parts(self, y_true: Any, y_pred: Any, from_logits: bool) -> tuple:
        """(sum of the squares, how many)."""
        gap: Any = like(y_true, y_pred) - y_pred
        return sum(gap * gap), float(y_pred.size)

    def result(self, *parts: Any) -> float:
        """The root of their quotient."""
        return float(np.sqrt(parts[0] / parts[1]))


def _ref_r2(y: Any, p: Any) -> Any:
    y, p = y.reshape(len(y), -1), p.reshape(len(p), -1)
    rest, spread = np.sum((y - p) ** 2, axis=0), np.sum((y - y.mean(0)) ** 2, axis=0)
    return np.mean(1 - rest / spread)


@register("r2", targets="values", ref=_ref_r2)
class R2Score(Metric):
    """1 less the share of the targets' variance that is left; the mean over the outputs."""

    name = "r2_score"

    def parts(self, y_true: Any, y_pred: Any, from_logits: bool) -> tuple:
        """The sums that it is made of, for each output, in float64: their difference is small."""
        columns = (y_pred.shape[0], y_pred.size // y_pred.shape[0])
        y: Any = cast(reshape(like(y_true, y_pred), columns), "float64")
        gap = y - cast(reshape(y_pred, columns), "float64")
        return sum(gap * gap, 0), sum(y, 0), sum(y * y, 0), float(columns[0])

    def result(self, *parts: Any) -> float:
        """From the four sums; NaN where the targets are all alike."""
        rest, total, squares, count = parts
        spread = squares - total * total / count
        with np.errstate(all="ignore"):
            return float(np.mean(np.where(spread > 0, 1 - rest / spread, np.nan)))
