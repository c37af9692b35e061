"""Pooling over time and over images. Read next: `shape.py`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

from chainrule.core.op import Shape
from chainrule.core.tensor import Tensor
from chainrule.nn.checks import needs_axes
from chainrule.nn.module import Module
from chainrule.ops.elementwise import cast, maximum, where
from chainrule.ops.move import reshape
from chainrule.ops.pool import average_pool1d, average_pool2d, max_pool1d, max_pool2d
from chainrule.ops.reduce import max, mean, sum
from chainrule.ops.window import AXES, Extents, extents, known_padding


class Pooling(Module):
    """What poolings share: `strides` is `pool_size` when not given; `function` pools."""

    axes: ClassVar[int] = 2
    function: ClassVar[Callable[..., Tensor]]

    def __init__(
        self,
        pool_size: Extents = 2,
        strides: Extents | None = None,
        padding: Any = "valid",
        name: str | None = None,
    ):
        super().__init__(name)
        who = type(self).__name__
        self.pool_size = extents(pool_size, self.axes, f"{who}: pool_size")
        self.strides = None if strides is None else extents(strides, self.axes, f"{who}: strides")
        self.padding = known_padding(padding, who, axes=self.axes)

    def call(self, x: Tensor) -> Tensor:
        """(batch, ..., channels) to (batch, places..., channels)."""
        needs_axes(self, x.shape, AXES[self.axes - 1], self.axes + 2, more=False)
        return type(self).function(x, self.pool_size, self.strides, self.padding)


class MaxPooling1D(Pooling):
    """The largest value under each window of time; `strides` is `pool_size` when not given."""

    axes = 1
    function = staticmethod(max_pool1d)
    sample = dict(args=(2,), input=(2, 5, 3))


class MaxPooling2D(Pooling):
    """The largest value under each window; `strides` is `pool_size` when not given."""

    function = staticmethod(max_pool2d)
    sample = dict(args=(2,), input=(2, 4, 5, 2))


class AveragePooling1D(Pooling):
    """The mean under each window of time; `strides` is `pool_size` when not given.

    With "same", what a window has outside of the input does not count, as in Keras.
    """

    axes = 1
    function = staticmethod(average_pool1d)
    sample = dict(args=(2,), input=(2, 5, 3))


class AveragePooling2D(Pooling):
    """The mean under each window; `strides` is `pool_size` when not given.

    With "same", what a window has outside of the input does not count, as in Keras.
    """

    function = staticmethod(average_pool2d)
    sample = dict(args=(2,), kwargs=dict(strides=1, padding="same"), input=(2, 4, 3, 2))


class GlobalPooling(Module):
    """What poolings over all places share."""

    axes: ClassVar[int] = 2

    def __init__(self, keepdims: bool = False, name: str | None = None):
        super().__init__(name)
        self.keepdims = bool(keepdims)

    def _places(self, x: Tensor) -> Shape:
        needs_axes(self, x.shape, AXES[self.axes - 1], self.axes + 2, more=False)
        return tuple(range(1, 1 + self.axes))


class GlobalAveragePooling1D(GlobalPooling):
    """The mean over time; with a mask (batch, time), over the steps where it holds."""

    axes = 1
    sample = dict(args=(), input=(2, 3, 4))

    def call(self, x: Any, *, mask: Any = None) -> Tensor:
        """(batch, time, channels) to (batch, channels), or (batch, 1, channels) with `keepdims`.

        Where a mask holds nowhere, 0.
        """
        axes = self._places(x)
        if mask is None:
            return mean(x, axes, self.keepdims)
        kept: Any = cast(reshape(mask, (*mask.shape, 1)), x.dtype)
        count = maximum(sum(kept, axes, self.keepdims), 1.0)
        return sum(where(kept > 0, x, 0.0), axes, self.keepdims) / count

    def compute_mask(self, x: Any, mask: Any = None) -> Any:
        """None: the steps are gone."""


class GlobalMaxPooling1D(GlobalPooling):
    """The largest value over time of each channel."""

    axes = 1
    sample = dict(args=(), input=(2, 3, 4))

    def call(self, x: Tensor) -> Tensor:
        """(batch, time, channels) to (batch, channels), or (batch, 1, channels) with `keepdims`."""
        return max(x, self._places(x), self.keepdims)

    def compute_mask(self, x: Any, mask: Any = None) -> Any:
        """None: the steps are gone."""


class GlobalAveragePooling2D(GlobalPooling):
    """The mean over height and width of each channel."""

    sample = dict(args=(), input=(2, 3, 2, 4))

    def call(self, x: Tensor) -> Tensor:
        """(batch, height, width, channels) to (batch, channels), or with two axes of 1 kept."""
        return mean(x, self._places(x), self.keepdims)


class GlobalMaxPooling2D(GlobalPooling):
    """The largest value over height and width of each channel."""

    sample = dict(args=(), input=(2, 3, 2, 4))

    def call(self, x: Tensor) -> Tensor:
        """(batch, height, width, channels) to (batch, channels), or with two axes of 1 kept."""
        return max(x, self._places(x), self.keepdims)
