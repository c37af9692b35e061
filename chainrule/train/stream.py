"""`Stream`: batches from a Python iterable or generator, checked one by one as they come.

Only the batches in flight are in memory, so data may be larger than it. Read next: `objective.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import chain, islice
from typing import Any

import numpy as np

from chainrule.core.errors import ArgumentError, ChainruleError, DataError
from chainrule.train.ahead import read_ahead
from chainrule.train.examples import (
    Batch,
    Examples,
    check_arrays,
    check_features,
    check_pair,
    weights_for,
)

Convert = Callable[[np.ndarray, Any], tuple[Any, np.dtype, bool]]


class Stream:
    """Batches (x, y) or (x, y, weights) of `given`; `name` is what errors call it.

    `given` may be iterated again for each epoch (a list of batches, an object with `__iter__`, or
    a function that gives a generator), or is a generator that goes on from epoch to epoch, and
    then `steps_per_epoch` says where one ends. Batches come in the order that `given` has.
    """

    def __init__(self, given: Any, name: str = "x", steps_per_epoch: int | None = None):
        self.name = name
        self.per_epoch = steps_per_epoch
        self.source = given if callable(given) else lambda: iter(given)
        try:
            found = self.source()
            self.once = not callable(given) and found is given
            self.open: Any = iter(found)
        except TypeError:
            raise ArgumentError(
                f"{name} must be an array with y, or an iterable of batches (x, y); got "
                f"{type(given).__name__}",
                mend="fit(x, y), or fit(batches) where batches yields pairs of arrays",
            ) from None
        first = next(self.open, None)
        if first is None:
            raise DataError(f"{name} gave no batch", mend="an iterable of pairs (x, y)")
        self.open = chain([first], self.open)
        self.first = self._checked(0, first)
        self.convert: Convert | None = None
        self.class_weight: Any = None

    def features(self) -> tuple[int, ...]:
        """The shape of one example."""
        return self.first[0].shape[1:]

    def _checked(self, number: int, given: Any) -> tuple[np.ndarray, Any, Any]:
        name = f"batch {number} of {self.name}"
        try:
            x, y, weights = check_pair(name, given)
            if y is None:
                raise ArgumentError("no targets", mend="(x, y) in place of (x, None)")
            x, y = check_arrays(x, y)
            if number:
                check_features(x, self.features(), name)
        except ChainruleError as error:
            if name not in error.message:
                error.message = f"{name}: {error.message}"
            raise
        return x, y, weights

    def _batches(self, source: Iterator[Any]) -> Iterator[Batch]:
        assert self.convert is not None
        for number, given in enumerate(source):
            x, y, weights = self._checked(number, given)
            try:
                weights = weights_for(y, weights, self.class_weight)
                targets, dtype, integers = self.convert(x, y)
            except ChainruleError as error:
                error.message = f"batch {number} of {self.name}: {error.message}"
                raise
            yield Examples(x, targets, dtype, integers, weights).batch(slice(None))

    def steps(self, plan: Any) -> int | None:
        """How many batches an epoch has, where that is known."""
        return self.per_epoch

    def batches(self, size: int = 0) -> Iterator[Batch]:
        """The batches of one pass."""
        return self.epoch(None, 0, 0)

    def epoch(self, plan: Any, seed: int, number: int) -> Iterator[Batch]:
        """The batches of the next epoch, read ahead in a thread."""
        if self.open is None:
            self.open = iter(self.source())
        if not self.once:
            source, self.open = islice(self.open, self.per_epoch), None
            return self._some(read_ahead(self._batches(source)), number)
        if not hasattr(self, "reader"):
            # One reader for all epochs: what it has read ahead at the end of one is not lost.
            self.reader = read_ahead(self._batches(self.open))
        return self._some(islice(self.reader, self.per_epoch), number)

    def close(self) -> None:
        """End the thread that reads ahead."""
        if hasattr(self, "reader"):
            self.reader.close()  # type: ignore[attr-defined]

    def _some(self, batches: Iterator[Batch], number: int) -> Iterator[Batch]:
        empty = True
        for batch in batches:
            empty = False
            yield batch
        if empty:
            raise DataError(
                f"{self.name} has no more batches for epoch {number + 1}: a generator runs once",
                mend="pass the function that makes the generator, or steps_per_epoch=...",
            )
