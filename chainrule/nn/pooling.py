"""Pooling over time and over images. Read next: `shape.py`."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np

from chainrule.core.errors import ShapeError
from chainrule.core.op import Shape
from chainrule.core.tensor import Tensor
from chainrule.nn.checks import known_padding, needs_axes
from chainrule.nn.module import Module
from chainrule.nn.sliding import AXES, Extents, extents, margins, slide
from chainrule.ops.elementwise import cast, maximum, where
from chainrule.ops.move import reshape
from chainrule.ops.reduce import max, mean, sum


class Pooling(Module):
    """What poolings share: `strides` is `pool_size` when not given."""

    axes: ClassVar[int] = 2

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
        given = strides is not None
        self.strides = extents(strides, self.axes, f"{who}: strides") if given else None
        self.padding = known_padding(padding, who, axes=self.axes)

    def call(self, x: Tensor) -> Tensor:
        """(batch, ..., channels) to (batch, places..., channels)."""
        needs_axes(self, x.shape, AXES[self.axes - 1], self.axes + 2, more=False)
        inner = tuple(range(1 + self.axes, 1 + 2 * self.axes))
        return self._pooled(x, self.strides or self.pool_size, (1,) * self.axes, inner)

    def _pooled(self, x: Tensor, strides: Shape, dilation: Shape, inner: Shape) -> Tensor:
        raise NotImplementedError


class MaximumPooling(Pooling):
    """The largest value under each window."""

    def _pooled(self, x: Tensor, strides: Shape, dilation: Shape, inner: Shape) -> Tensor:
        return max(slide(x, self.pool_size, strides, self.padding, dilation, -np.inf), inner)


class MeanPooling(Pooling):
    """The mean under each window; what a window has outside of the input does not count."""

    def _pooled(self, x: Tensor, strides: Shape, dilation: Shape, inner: Shape) -> Tensor:
        seen = slide(x, self.pool_size, strides, self.padding, dilation)
        width = margins(self.padding, x.shape[1:-1], self.pool_size, strides, dilation)
        if not any(map(any, width)):
            return mean(seen, inner)
        share = np.ones((1,) * x.ndim)
        places = zip(x.shape[1:-1], width, self.pool_size, strides, strict=True)
        for axis, (n, (before, after), size, stride) in enumerate(places, 1):
            at = np.arange(0, n + before + after - size + 1, stride) - before
            inside = np.minimum(at + size, n) - np.maximum(at, 0)
            if not inside.all():
                raise ShapeError(
                    f"{type(self).__name__}: a window of {self.pool_size} lies in the margin "
                    f"alone, with padding {self.padding}",
                    mend='padding="same"',
                )
            share = share / inside.reshape([-1 if i == axis else 1 for i in range(x.ndim)])
        return sum(seen, inner) * cast(share, x.dtype)


class MaxPooling1D(MaximumPooling):
    """The largest value under each window of time; `strides` is `pool_size` when not given."""

    axes = 1
    sample = dict(args=(2,), input=(2, 5, 3))


class MaxPooling2D(MaximumPooling):
    """The largest value under each window; `strides` is `pool_size` when not given."""

    sample = dict(args=(2,), input=(2, 4, 5, 2))


class AveragePooling1D(MeanPooling):
    """The mean under each window of time; `strides` is `pool_size` when not given.

    With "same", what a window has outside of the input does not count, as in Keras.
    """

    axes = 1
    sample = dict(args=(2,), input=(2, 5, 3))


class AveragePooling2D(MeanPooling):
    """The mean under each window; `strides` is `pool_size` when not given.

    With "same", what a window has outside of the input does not count, as in Keras.
    """

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
