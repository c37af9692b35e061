"""Examples: a user's x and y, checked once, and handed out in batches of the model's dtype.

Read next: `stream.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from chainrule.core.dtypes import DEFAULT
from chainrule.core.errors import ArgumentError, DataError, ShapeError
from chainrule.core.tree import flatten
from chainrule.data.batches import batch_indices, check_whole
from chainrule.data.checks import check_examples, places
from chainrule.grad.reverse import differentiable
from chainrule.train.ahead import read_ahead
from chainrule.train.arrays import (
    Arrays,
    count_of,
    is_mapped,
    is_several,
    picking,
    read_arrays,
)


def check_arrays(x: Any, y: Any = None) -> tuple[Arrays, Arrays]:
    """`x` and `y` as arrays that can be trained on; see `chainrule.data.check_examples`."""
    read = read_arrays("x", x), None if y is None else read_arrays("y", y, gaps=True)
    if y is not None and not flatten(read[1])[0]:
        raise ArgumentError("y holds no targets", mend="an array for each output with a loss")
    try:
        check_examples(*read)
    except ShapeError as error:
        stacked = [name for name, each in (("x", x), ("y", y)) if _is_list_of_arrays(each)]
        if stacked and len({len(array) for array in flatten(read)[0] if array.ndim}) > 1:
            error.mend = f"{stacked[0]}=(a, b), a tuple, for several arrays; a list was stacked"
        raise
    return read


def _is_list_of_arrays(given: Any) -> bool:
    """Whether it may have been meant as several, and was read as one."""
    arrays = isinstance(given, list) and all(getattr(part, "shape", ()) for part in given)
    return arrays and not is_several(given)


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


AT_HAND = (
    "bool",
    "uint8",
    "int8",
    "uint16",
    "int16",
    "int32",
    "uint32",
    "int64",
    "float32",
    "float64",
)
Batch = tuple[Any, Any, Any, float]  # x, y, weights or None, their total or how many


class Examples:
    """`x`, and `y` and weights where given; batches of `x` come in `dtype`.

    Each may be an array or several, as `arrays.py` says, `y` and weights with None among them.
    Values are cast batch by batch, so that uint8 images take no four times larger copy, and
    memory-mapped arrays are read as they are needed; they are not scaled.
    """

    def __init__(self, x: Arrays, y: Arrays, dtype: np.dtype, integers: bool, weights: Any = None):
        self.x = x
        self.y = y
        self.weights = weights
        self.count = count_of(x)

        def cast(array: np.ndarray, index: Any) -> np.ndarray:
            kept = integers and array.dtype.kind in "iu"
            return np.ascontiguousarray(array[index], array.dtype if kept else dtype)

        self.pick_x = picking(x, cast)
        self.pick_y = picking(y, lambda array, index: array[index])
        self.pick_weights = picking(weights, lambda w, index: np.asarray(w[index], dtype))

    def __len__(self) -> int:
        return self.count

    def batch(self, index: Any) -> Batch:
        """The examples at `index`, an array of positions or a slice."""
        weights = self.pick_weights(index)
        return self.pick_x(index), self.pick_y(index), weights, self._total(weights, index)

    @property
    def tables(self) -> tuple[Arrays, Arrays, Any]:
        """x, y and weights as they came, of which a compiled step can gather its batch."""
        return self.x, self.y, self.weights

    @property
    def in_memory(self) -> bool:
        """Whether a compiled step can read all of it where it lies."""
        return all(map(_is_at_hand, flatten(self.tables)[0]))

    def totals(self, ids: np.ndarray) -> np.ndarray:
        """How much each batch counts, whose examples the rows of `ids` name."""
        if isinstance(self.weights, np.ndarray):
            return np.array([self._total(self.pick_weights(row), row) for row in ids])
        return np.full(len(ids), float(ids.shape[1]))

    def _total(self, weights: Any, index: Any) -> float:
        """How much the batch counts: where outputs have weights of their own, its examples."""
        if isinstance(weights, np.ndarray):
            return float(weights.sum()) or 1.0  # all 0: a loss of 0, not 0 / 0
        if isinstance(index, slice):
            return float(len(range(*index.indices(self.count))))
        return float(len(index))

    def part(self, index: slice) -> Examples:
        """The examples at `index`, with targets as they came."""
        part = [
            picking(tree, lambda array, at: array[at])(index)
            for tree in (self.x, self.y, self.weights)
        ]
        return Examples(part[0], part[1], DEFAULT, False, part[2])

    def size(self, batch_size: int) -> int:
        """How many examples the first batch has."""
        check_whole("batch_size", batch_size, 1)
        return min(batch_size, self.count)

    def batches(self, size: int) -> Iterator[Batch]:
        """All examples in order, `size` at a time."""
        for start in range(0, len(self), size):
            yield self.batch(slice(start, start + size))

    def steps(self, plan: Any) -> int:
        """How many batches an epoch of `plan` has."""
        return -(-len(self) // plan.batch_size)

    def forward(self, epochs: int, steps: int, check: Callable[[], None]) -> None:
        """Nothing: any epoch can be begun anywhere."""

    def epoch(self, plan: Any, seed: int, number: int, start: int = 0) -> Iterator[Batch]:
        """The batches of epoch `number` from `start` on, in the order of the seed."""
        order = batch_indices(
            len(self), plan.batch_size, seed=seed, epoch=number, shuffle=plan.shuffle
        )
        found = map(self.batch, order[start:])
        return read_ahead(found) if any(map(is_mapped, flatten(self.x)[0])) else found


def _is_at_hand(array: np.ndarray) -> bool:
    plain = array.dtype.isnative and array.dtype.name in AT_HAND
    return plain and array.flags.c_contiguous and not is_mapped(array)


def weights_for(y: Arrays, sample_weight: Any, class_weight: Any) -> Arrays:
    """One weight for each example, the product of both kinds; None where none were given.

    `sample_weight` may be a dict or tuple like `y`, for as many outputs. ArgumentError, ShapeError
    or DataError for weights that are negative, not finite, too few, or of a class that does not
    occur.
    """
    found = None
    if sample_weight is not None:
        read = read_arrays("sample_weight", sample_weight, gaps=True)
        found = _checked("sample_weight", read, count_of(y))
    if class_weight is not None:
        if not isinstance(y, np.ndarray) or isinstance(found, dict | tuple):
            raise ArgumentError(
                "class_weight goes with one output, and here are several targets or weights",
                mend="sample_weight={name: weights}, one weight for each example of an output",
            )
        by_class = _class_weights(y, class_weight)
        found = by_class if found is None else found * by_class
    return found


def _checked(name: str, given: Arrays, count: int) -> Arrays:
    if given is None:
        return None
    if isinstance(given, dict):
        return {key: _checked(f"{name}[{key!r}]", each, count) for key, each in given.items()}
    if isinstance(given, tuple):
        return tuple(_checked(f"{name}[{i}]", each, count) for i, each in enumerate(given))
    found = given.astype(np.float64)
    if found.shape not in ((count,), (count, 1)):
        raise ShapeError(
            f"{name} needs one number for each of {count} examples, got shape {found.shape}"
        )
    found = found.reshape(count)
    bad = ~(np.isfinite(found) & (found >= 0))
    if bad.any() or not found.any():
        told = places(name, found, bad) if bad.any() else "all are 0"
        raise DataError(f"{name} needs finite weights of at least 0: {told}")
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
