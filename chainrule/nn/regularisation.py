"""Layers that are there for training alone. Read next: `losses.py`."""

from __future__ import annotations

from chainrule.core.errors import ArgumentError
from chainrule.core.tensor import Tensor
from chainrule.nn.module import Module
from chainrule.nn.randomness import layer_key
from chainrule.ops.elementwise import multiply, where
from chainrule.ops.random import bernoulli


class Dropout(Module):
    """In training each element becomes 0 with probability `rate`, the others x / (1 - rate).

    So the mean stays, and without training the output is the input. The mask is drawn from
    `layer_key()`: the same key gives the same mask, on every executor.

    Source: Srivastava et al., "Dropout", JMLR 2014, scaled in training rather than afterwards.
    """

    sample = dict(args=(0.4,), input=(4, 6))

    def __init__(self, rate: float, name: str | None = None):
        super().__init__(name)
        if not isinstance(rate, int | float) or not 0 <= rate < 1:
            raise ArgumentError(
                f"Dropout: rate must lie in 0..1, below 1, got {rate!r}",
                mend="Dropout(0.5) drops half of the elements",
            )
        self.rate = float(rate)

    def call(self, x: Tensor, *, training: bool = False) -> Tensor:
        """An output of the input's shape; ArgumentError in training outside `random_scope`."""
        if not training or self.rate == 0:
            return x
        keep = bernoulli(layer_key(), 1 - self.rate, x.shape)
        return where(keep, multiply(x, 1 / (1 - self.rate)), 0.0)
