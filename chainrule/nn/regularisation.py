"""Dropout. Read next: `activations.py`."""

from __future__ import annotations

from chainrule.core.errors import ArgumentError
from chainrule.core.tensor import Tensor
from chainrule.nn.module import Module
from chainrule.nn.randomness import layer_key
from chainrule.ops.elementwise import where
from chainrule.ops.random import bernoulli


class Dropout(Module):
    """In training each value is 0 with probability `rate`, the others divided by 1 - rate.

    Srivastava et al. 2014; the mask compares integers, so every executor draws the same one.
    """

    sample = {"args": (0.5,), "input": (4, 6)}  # noqa: RUF012

    def __init__(self, rate: float):
        if not isinstance(rate, int | float) or not 0 <= rate < 1:
            raise ArgumentError(f"Dropout: rate lies in [0, 1), got {rate!r}")
        self.rate = float(rate)

    def call(self, x: Tensor, *, training: bool = False) -> Tensor:
        if not training or self.rate == 0:
            return x
        keep = bernoulli(layer_key(), 1 - self.rate, x.shape)
        return where(keep, x * (1 / (1 - self.rate)), 0.0)
