"""Examples: a user's x and y, checked once, and handed out in batches of the model's dtype.

Read next: `stream.py`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from chainrule.core.dtypes import DEFAULT
from chainrule.core.errors import ArgumentError, DataError, ShapeError
from chainrule.core.tree import flatten
from chainrule.data.batches import batch_indices, check_whole
from chainrule.data.checks import check_examples, numbers, places
from chainrule.grad.reverse import differentiable
from chainrule.nn.parts import held
from chainrule.train.ahead import read_ahead


def check_arrays(x: Any, y: Any = None) -> tuple[np.ndarray, np.ndarray | None]:
    """`x` and `y` as arrays that can be trained on; see `chainrule.data.check_examples`."""
    x = numbers("x", x)
    y = None if y is None else numbers("y", y)
    check_examples(x, y)
    return x, y


def check_pair(name: str, pair: Any) -> tuple[Any, Any, Any]:
    """`pair` as (x, y, weights or None); ArgumentError unless it is (x, y) or (x, y, weights)."""
    if not isinstance(pair, tuple | list) or len(pair) not in (2, 3):
        came = f"{len(pair)} parts" if isinstance(pair, tuple | list) else type(pair).__name__
        raise ArgumentError(
            f"{name} must be a pair (x, y), or (x, y, weights), got {came}",
            mend="a tuple (x, y)",
        )
    return pair[0], pair[1], pair[2] if len(pair) == 3 else None


def float_dtype(model: Any) -> np.dtype:
    """The dtype of the model's first float parameter; float32 where it has none."""
    leaves = [leaf for leaf in flatten(model)[0] if differentiable(leaf)]
    return leaves[0].dtype if leaves else DEFAULT


def keeps_integers(module: Any) -> bool:
    """Whether some layer reads integers as positions, so that they must stay integers."""
    parts = [part for _, part in held(module) if hasattr(part, "call")]
    return module.takes_integers or any(map(keeps_integers, parts))


Batch = tuple[Any, Any, Any, float]  # x, y, weights or None, their total or how many


class Examples:
    """`x`, and `y` and weights where given; batches of `x` come in `dtype`.

    Values are cast batch by batch, so that uint8 images take no four times larger copy, and
    memory-mapped arrays are read as they are needed; they are not scaled.
    """

    def __init__(self, x: np.ndarray, y: Any, dtype: np.dtype, integers: bool, weights: Any = None):
        self.x = x
        self.y = y
        self.weights = weights
        self.dtype = x.dtype if integers and x.dtype.kind in "iu" else dtype
        self.float = dtype

    def __len__(self) -> int:
        return len(self.x)

    def batch(self, index: Any) -> Batch:
        """The examples at `index`, an array of positions or a slice."""
        x = np.ascontiguousarray(self.x[index], self.dtype)
        y = None if self.y is None else self.y[index]
        if self.weights is None:
            return x, y, None, float(len(x))
        weights = np.asarray(self.weights[index], self.float)
        return x, y, weights, float(weights.sum()) or 1.0  # all 0: a loss of 0, not 0 / 0

    def batches(self, size: int) -> Iterator[Batch]:
        """All examples in order, `size` at a time."""
        check_whole("batch_size", size, 1)
        for start in range(0, len(self), size):
            yield self.batch(slice(start, start + size))

    def steps(self, plan: Any) -> int:
        """How many batches an epoch of `plan` has."""
        return -(-len(self) // plan.batch_size)

    def epoch(self, plan: Any, seed: int, number: int) -> Iterator[Batch]:
        """The batches of epoch `number`, in the order of the seed."""
        order = batch_indices(
            len(self), plan.batch_size, seed=seed, epoch=number, shuffle=plan.shuffle
        )
        found = map(self.batch, order)
        return read_ahead(found) if isinstance(self.x, np.memmap) else found


def weights_for(y: np.ndarray, sample_weight: Any, class_weight: Any) -> np.ndarray | None:
    """One weight for each example, the product of both kinds; None where none were given.

    ArgumentError, ShapeError or DataError for weights that are negative, not finite, too few, or
    of a class that does not occur.
    """
    found = None
    if sample_weight is not None:
        found = numbers("sample_weight", sample_weight).astype(np.float64)
        if found.shape not in ((len(y),), (len(y), 1)):
            raise ShapeError(
                f"sample_weight needs one number for each of {len(y)} examples, "
                f"got shape {found.shape}"
            )
        found = found.reshape(len(y))
        bad = ~(np.isfinite(found) & (found >= 0))
        if bad.any() or not found.any():
            told = places("sample_weight", found, bad) if bad.any() else "all are 0"
            raise DataError(f"sample_weight needs finite weights of at least 0: {told}")
    if class_weight is not None:
        by_class = _class_weights(y, class_weight)
        found = by_class if found is None else found * by_class
    return found


def _class_weights(y: np.ndarray, given: Any) -> np.ndarray:
    if not isinstance(given, dict) or not given:
        raise ArgumentError(
            f"class_weight must be a dict from classes to weights, got {given!r}",
            mend="class_weight={0: 1.0, 1: 5.0}",
        )
    labels = y.reshape(len(y), -1)
    labels = labels[:, 0] if labels.shape[1] == 1 else labels.argmax(axis=1)
    weights = np.ones(len(y))  # a class that is not named weighs 1, as in Keras
    for label, weight in given.items():
        if not isinstance(weight, int | float | np.number) or not 0 <= weight < np.inf:
            raise ArgumentError(
                f"class_weight[{label!r}] must be a number of at least 0, got {weight!r}"
            )
        hit = labels == label
        if not hit.any():
            raise ArgumentError(
                f"class_weight names class {label!r}, which y does not hold",
                mend="classes as they stand in y: " + ", ".join(map(str, np.unique(labels)[:9])),
            )
        weights[hit] = weight
    return weights


def check_features(x: np.ndarray, expected: tuple[int, ...], name: str) -> None:
    """ShapeError unless the examples in `x` have the shape that training has seen."""
    if x.shape[1:] != expected:
        raise ShapeError(f"{name} must have examples of shape {expected} like x, got {x.shape[1:]}")
