"""`Stream`: batches from a Python iterable or generator, checked one by one as they come.

Only the batches in flight are in memory, so data may be larger than it. Read next: `objective.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from itertools import chain, islice
from typing import Any

from chainrule.core.errors import ArgumentError, ChainruleError, DataError
from chainrule.train.ahead import read_ahead
from chainrule.train.arrays import Features, check_features, count_of
from chainrule.train.examples import Batch, Examples, check_arrays, check_pair, weights_for

Convert = Callable[[Any, Any, Any], Examples]  # x, y, weights, checked


class Stream:
    """Batches (x, y) or (x, y, weights) of `given`; `name` is what errors call it.

    Each part may be an array or several, as `arrays.py` says. Without `targets`, as `predict`
    reads it, a batch is x alone.

    `given` may be iterated again for each epoch (a list of batches, an object with `__iter__`, or
    a function that gives a generator), or is a generator that goes on from epoch to epoch, and
    then `steps_per_epoch` says where one ends. Batches come in the order that `given` has.

    An object with a method `epoch(number, start=0)` is asked for the batches of each epoch, from
    `start` on, and with number None for all of them in an order of its own. So a fit that goes on
    from a backup begins where it was; all else is read again from its beginning up to there.
    """

    def __init__(
        self,
        given: Any,
        name: str = "x",
        steps_per_epoch: int | None = None,
        targets: bool = True,
    ):
        self.name = name
        self.targets = targets
        self.per_epoch = steps_per_epoch
        self.seek: Any = getattr(given, "epoch", None)
        self.length = len(given) if self.seek is not None and hasattr(given, "__len__") else None
        self.source = given if callable(given) else partial(iter, given)
        if self.seek is not None:
            self.source = partial(self.seek, None)
        try:
            found = self.source()
            self.once = not callable(given) and found is given
            self.open: Any = iter(found)
        except TypeError:
            needed, mend = self._needed()
            raise ArgumentError(
                f"{name} must be {needed}; got {type(given).__name__}", mend=mend
            ) from None
        first = next(self.open, None)
        if first is None:
            mend = "an iterable of pairs (x, y)" if targets else "an iterable of batches of x"
            raise DataError(f"{name} gave no batch", mend=mend)
        self.open = chain([first], self.open) if self.seek is None else None
        self.first = self._checked(0, first)
        self.convert: Convert | None = None
        self.class_weight: Any = None

    def _needed(self) -> tuple[str, str]:
        if not self.targets:
            return "an array, or an iterable of batches of x", "predict(x)"
        mend = "fit(x, y), or fit(batches) where batches yields pairs of arrays"
        return "an array with y, or an iterable of batches (x, y)", mend

    def features(self) -> Features:
        """What one example is."""
        return Features.of(self.first[0])

    def size(self, batch_size: int) -> int:
        """How many examples the first batch has, whatever `batch_size` is."""
        return count_of(self.first[0])

    def _checked(self, number: int, given: Any) -> tuple[Any, Any, Any]:
        name = f"batch {number} of {self.name}"
        try:
            x, y, weights = check_pair(name, given) if self.targets else (given, None, None)
            if y is None and self.targets:
                raise ArgumentError("no targets", mend="(x, y) in place of (x, None)")
            x, y = check_arrays(x, y)
            if number:
                check_features(x, self.features(), name)
        except ChainruleError as error:
            if name not in error.message:
                error.message = f"{name}: {error.message}"
            raise
        return x, y, weights

    def _batches(self, source: Iterator[Any], start: int = 0) -> Iterator[Batch]:
        assert self.convert is not None
        for number, given in enumerate(source, start):
            x, y, weights = self._checked(number, given)
            try:
                weights = weights_for(y, weights, self.class_weight)
                examples = self.convert(x, y, weights)
            except ChainruleError as error:
                error.message = f"batch {number} of {self.name}: {error.message}"
                raise
            yield examples.batch(slice(None))

    def steps(self, plan: Any) -> int | None:
        """How many batches an epoch has, where that is known."""
        return self.per_epoch or self.length

    def batches(self, size: int = 0) -> Iterator[Batch]:
        """The batches of one pass."""
        return self.epoch(None, 0, None)

    def forward(self, epochs: int, steps: int, check: Callable[[], None]) -> None:
        """Read past `epochs` epochs and `steps` steps of the next; `check` may raise to stop."""
        if self.seek is not None:
            return
        for _ in range(epochs):
            for _ in islice(self._pass(), self.per_epoch):
                check()
        self.open = self._pass()
        for _ in islice(self.open, steps):
            check()

    def epoch(self, plan: Any, seed: int, number: int | None, start: int = 0) -> Iterator[Batch]:
        """The batches of epoch `number` from `start` on, read ahead in a thread.

        What cannot seek goes on where it is, which is the same after `forward`.
        """
        left = None if self.per_epoch is None else max(self.per_epoch - start, 0)
        if not self.once:
            source = islice(self._pass(number, start), left)
            return self._some(read_ahead(self._batches(source, start)), number, start)
        if not hasattr(self, "reader"):
            # One reader for all epochs: what it has read ahead at the end of one is not lost.
            self.reader = read_ahead(self._batches(self._pass()))
        return self._some(islice(self.reader, left), number, start)

    def _pass(self, number: int | None = None, start: int = 0) -> Iterator[Any]:
        """The pass that is open, or else a new one."""
        if self.seek is not None:
            return iter(self.seek(number, start))
        found, self.open = self.open, None
        return iter(self.source()) if found is None else found

    def close(self) -> None:
        """End the thread that reads ahead."""
        if hasattr(self, "reader"):
            self.reader.close()  # type: ignore[attr-defined]

    def _some(self, batches: Iterator[Batch], number: int | None, start: int) -> Iterator[Batch]:
        empty = not start
        for batch in batches:
            empty = False
            yield batch
        if empty:
            at = 1 if number is None else number + 1
            raise DataError(
                f"{self.name} has no more batches for epoch {at}: a generator runs once",
                mend="pass the function that makes the generator, or steps_per_epoch=...",
            )
