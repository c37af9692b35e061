"""What one pass over the data gives: `Totals`, the loss and the metrics, or `Predictions`.

Read next: `history.py`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from chainrule.core.errors import DataError
from chainrule.core.tree import Structure, flatten, unflatten
from chainrule.train.heads import OutputLoss
from chainrule.train.metrics import Metric


class Totals:
    """The loss and the parts of each metric, put together over batches in float64.

    Where outputs have losses of their own, each is a mean by its own weights, and `loss` here is
    what comes on top of them.
    """

    def __init__(self, metrics: Sequence[Metric]):
        self.metrics = metrics
        self.names = ["loss", *[metric.name for metric in metrics]]
        self.loss = self.weight = 0.0
        self.parts: list[list[Any]] = [[] for _ in metrics]

    def add(self, loss: float, weight: float, parts: Sequence[Sequence[Any]]) -> None:
        """One batch more: its mean loss, over what weight, and what each metric took from it."""
        for i, (metric, new) in enumerate(zip(self.metrics, parts, strict=True)):
            arrays = [np.asarray(part, np.float64) for part in new]
            if isinstance(metric, OutputLoss):
                loss -= metric.share * metric.result(*arrays)
            if not self.parts[i]:
                self.parts[i] = [[part] for part in arrays] if metric.gathers else arrays
            elif metric.gathers:
                for kept, part in zip(self.parts[i], arrays, strict=True):
                    kept.append(part)
            else:
                self.parts[i] = [a + b for a, b in zip(self.parts[i], arrays, strict=True)]
        self.loss += loss * weight
        self.weight += weight

    def means(self) -> dict[str, float]:
        """The number of each so far; DataError before the first batch."""
        if not self.weight:
            raise DataError(
                "no batch was counted, so there is no mean",
                mend="some examples whose weight is not 0",
            )
        found = {"loss": self.loss / self.weight}
        for metric, parts in zip(self.metrics, self.parts, strict=True):
            whole = [np.concatenate(part) for part in parts] if metric.gathers else parts
            found[metric.name] = metric.result(*whole)
            if isinstance(metric, OutputLoss):
                found["loss"] += metric.share * found[metric.name]
        return found


class Predictions:
    """The outputs of all batches one after another, in the structure that a batch has.

    Where it is known how many examples there are, `count`, they are written where they stay.
    """

    def __init__(self, count: int | None = None):
        self.count = count
        self.done = 0
        self.structure: Structure | None = None
        self.columns: list[Any] = []  # an array for each output, or a list of them

    def add(self, y: Any) -> None:
        """The output of one batch more."""
        tensors, self.structure = flatten(y)
        arrays = [tensor.numpy() for tensor in tensors]
        if not self.columns:
            self.columns = [self._room(array) for array in arrays]
        for column, array in zip(self.columns, arrays, strict=True):
            if self.count is None:
                column.append(array)
            else:
                column[self.done : self.done + len(array)] = array
        self.done += len(arrays[0])

    def _room(self, array: np.ndarray) -> Any:
        if self.count is None:
            return []
        return np.empty((self.count, *array.shape[1:]), array.dtype)

    def whole(self) -> Any:
        """All of them."""
        assert self.structure is not None
        if self.count is not None:
            return unflatten(self.structure, self.columns)
        return unflatten(self.structure, [np.concatenate(column) for column in self.columns])
