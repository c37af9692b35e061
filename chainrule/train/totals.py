"""`Totals`: the loss and the metrics of one pass over the data. Read next: `history.py`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from chainrule.core.errors import DataError
from chainrule.train.metrics import Metric


class Totals:
    """The loss and the parts of each metric, put together over batches in float64."""

    def __init__(self, metrics: Sequence[Metric]):
        self.metrics = metrics
        self.names = ["loss", *[metric.name for metric in metrics]]
        self.loss = self.weight = 0.0
        self.parts: list[list[Any]] = [[] for _ in metrics]

    def add(self, loss: float, weight: float, parts: Sequence[Sequence[Any]]) -> None:
        """One batch more: its mean loss, over what weight, and what each metric took from it."""
        self.loss += loss * weight
        self.weight += weight
        for i, (metric, new) in enumerate(zip(self.metrics, parts, strict=True)):
            arrays = [np.asarray(part, np.float64) for part in new]
            if not self.parts[i]:
                self.parts[i] = [[part] for part in arrays] if metric.gathers else arrays
            elif metric.gathers:
                for kept, part in zip(self.parts[i], arrays, strict=True):
                    kept.append(part)
            else:
                self.parts[i] = [a + b for a, b in zip(self.parts[i], arrays, strict=True)]

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
        return found
