"""Layers that are there for training alone. Read next: `augmentation.py`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from chainrule.core.tensor import Tensor
from chainrule.nn.checks import above_zero, needs_axes, rate_below_one
from chainrule.nn.module import Module
from chainrule.nn.randomness import layer_key
from chainrule.ops.draws import normal
from chainrule.ops.elementwise import cast, multiply, where
from chainrule.ops.random import bernoulli
from chainrule.ops.window import AXES


def drop(x: Tensor, rate: float, shape: tuple[int, ...] | None = None) -> Tensor:
    """`x` scaled by 1 / (1 - rate), and 0 where a mask of `shape` (x's own when None) says."""
    return same_drop(rate, x.shape if shape is None else shape)(x)


def same_drop(rate: float, shape: tuple[int, ...]) -> Callable[[Any], Tensor]:
    """A function that drops as `drop` does, by one mask of `shape` each time it is called."""
    keep = bernoulli(layer_key(), 1 - rate, shape)
    return lambda x: where(keep, multiply(x, 1 / (1 - rate)), 0.0)


class Dropout(Module):
    """In training each element becomes 0 with probability `rate`, the others x / (1 - rate).

    So the mean stays, and without training the output is the input. The mask is drawn from
    `layer_key()`: the same key gives the same mask, on every executor.

    Source: Srivastava et al., "Dropout", JMLR 2014, scaled in training rather than afterwards.
    """

    sample = dict(args=(0.4,), input=(4, 6))

    def __init__(self, rate: float, name: str | None = None):
        super().__init__(name)
        self.rate = rate_below_one(rate, "Dropout")

    def call(self, x: Tensor, *, training: bool = False) -> Tensor:
        """An output of the input's shape; ArgumentError in training outside `random_scope`."""
        return drop(x, self.rate) if training and self.rate else x


class SpatialDropout2D(Module):
    """As `Dropout`, but of whole channels of an image: neighbouring pixels tell the same.

    Source: Tompson et al., "Efficient Object Localization Using Convolutional Networks", 2015.
    """

    sample = dict(args=(0.4,), input=(2, 3, 2, 6))

    def __init__(self, rate: float, name: str | None = None):
        super().__init__(name)
        self.rate = rate_below_one(rate, "SpatialDropout2D")

    def call(self, x: Tensor, *, training: bool = False) -> Tensor:
        """An output of the input's shape; ArgumentError in training outside `random_scope`."""
        needs_axes(self, x.shape, AXES[1], 4, more=False)
        if not training or not self.rate:
            return x
        return drop(x, self.rate, (x.shape[0], 1, 1, x.shape[3]))


class GaussianNoise(Module):
    """In training each element plus a normal number of mean 0 and deviation `stddev`."""

    sample = dict(args=(0.3,), input=(4, 6))

    def __init__(self, stddev: float, name: str | None = None):
        super().__init__(name)
        self.stddev = above_zero(stddev, "GaussianNoise: stddev")

    def call(self, x: Any, *, training: bool = False) -> Tensor:
        """An output of the input's shape; ArgumentError in training outside `random_scope`."""
        if not training:
            return x
        return x + cast(normal(layer_key(), x.shape, 0.0, self.stddev), x.dtype)
