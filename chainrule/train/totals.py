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
        self.extend([loss], [weight], [[np.asarray(part)[None] for part in new] for new in parts])

    def extend(self, losses: Any, weights: Any, parts: Sequence[Sequence[Any]]) -> None:
        """Some batches more, a row for each: the mean losses, over what weights, and what each
        metric took from them. The sums are the same whether batches come together or alone."""
        losses = np.array(losses, np.float64)
        for i, (metric, new) in enumerate(zip(self.metrics, parts, strict=True)):
            arrays = [np.asarray(part, np.float64) for part in new]
            if isinstance(metric, OutputLoss):
                losses -= [metric.share * metric.result(*row) for row in zip(*arrays, strict=True)]
            if not self.parts[i]:
                self.parts[i] = [[] if metric.gathers else 0.0 for _ in arrays]
            if metric.gathers:
                for kept, rows in zip(self.parts[i], arrays, strict=True):
                    kept.extend(rows)
            else:
                self.parts[i] = [running(a, b) for a, b in zip(self.parts[i], arrays, strict=True)]
        self.loss = running(self.loss, losses * weights)
        self.weight = running(self.weight, weights)

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


def running(total: Any, rows: Any) -> Any:
    """`total` + rows[0] + rows[1] + ..., added in this order."""
    rows = np.asarray(rows, np.float64)
    start = np.broadcast_to(np.asarray(total, np.float64), rows.shape[1:])
    found = np.cumsum(np.concatenate([start[None], rows]), axis=0)[-1]
    return found if found.shape else found.item()


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
