"""Layers that only arrange their input anew. Read next: `merge.py`."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from chainrule.core.errors import ArgumentError, UnknownNameError
from chainrule.core.tensor import Tensor
from chainrule.nn.checks import needs_axes
from chainrule.nn.module import Module
from chainrule.ops.move import pad, reshape, transpose
from chainrule.ops.resize import METHODS, resize
from chainrule.ops.window import AXES, Extents, extents, known_padding


class Flatten(Module):
    """All axes but the batch as one: (batch, a, b, ...) to (batch, a b ...)."""

    sample = dict(args=(), input=(2, 3, 4))

    def call(self, x: Tensor) -> Tensor:
        """One axis of features; an input of the batch alone gets one feature."""
        needs_axes(self, x.shape, "(batch, ...)", 1, more=True)
        return reshape(x, (x.shape[0], math.prod(x.shape[1:])))


class Reshape(Module):
    """Each example as `target_shape`; one extent may be -1."""

    sample = dict(args=((4, -1),), input=(2, 3, 8))

    def __init__(self, target_shape: Sequence[int], name: str | None = None):
        super().__init__(name)
        shape = tuple(target_shape)
        if not all(isinstance(n, int) and n >= -1 for n in shape) or shape.count(-1) > 1:
            raise ArgumentError(
                f"Reshape: target_shape needs integers >= 0, at most one -1, got {target_shape!r}"
            )
        self.target_shape = shape

    def call(self, x: Tensor) -> Tensor:
        """(batch, ...) to (batch, *target_shape)."""
        needs_axes(self, x.shape, "(batch, ...)", 1, more=True)
        return reshape(x, (x.shape[0], *self.target_shape))


class Permute(Module):
    """The axes of each example in the order `dims`, counted from 1: (2, 1) swaps two."""

    sample = dict(args=((2, 1),), input=(2, 3, 4))

    def __init__(self, dims: Sequence[int], name: str | None = None):
        super().__init__(name)
        self.dims = tuple(dims)
        if sorted(self.dims) != list(range(1, len(self.dims) + 1)):
            raise ArgumentError(
                f"Permute: dims needs each of 1..{len(self.dims)} once, got {dims!r}",
                mend="Permute((2, 1)) swaps the two axes after the batch",
            )

    def call(self, x: Tensor) -> Tensor:
        """Axis i of an example is axis dims[i - 1] of the input's."""
        needs_axes(
            self, x.shape, f"{len(self.dims)} axes after the batch", len(self.dims) + 1, False
        )
        return transpose(x, (0, *self.dims))


class ZeroPadding2D(Module):
    """Zeros around each image.

    `padding` is n, (rows, columns) or ((top, bottom), (left, right)).
    """

    sample = dict(args=(), kwargs=dict(padding=((1, 0), (2, 1))), input=(2, 3, 2, 2))

    def __init__(self, padding: Any = 1, name: str | None = None):
        super().__init__(name)
        sides = (padding, padding) if isinstance(padding, int) else tuple(padding)
        sides = tuple((n, n) if isinstance(n, int) else n for n in sides)
        self.padding = known_padding(sides, "ZeroPadding2D", names=())

    def call(self, x: Tensor) -> Tensor:
        """(batch, height, width, channels), larger by the padding."""
        needs_axes(self, x.shape, AXES[1], 4, more=False)
        return pad(x, [(0, 0), *self.padding, (0, 0)])


class UpSampling2D(Module):
    """Images `size` times (rows, columns) as large; `interpolation` is "nearest" or "bilinear"."""

    sample = dict(args=(), kwargs=dict(size=(2, 3), interpolation="bilinear"), input=(2, 3, 2, 2))

    def __init__(self, size: Extents = 2, interpolation: str = "nearest", name: str | None = None):
        super().__init__(name)
        self.size = extents(size, 2, "UpSampling2D: size")
        if interpolation not in METHODS:
            raise UnknownNameError("interpolation of UpSampling2D", interpolation, METHODS)
        self.interpolation = interpolation

    def call(self, x: Tensor) -> Tensor:
        """(batch, height, width, channels) to (batch, height rows, width columns, channels)."""
        needs_axes(self, x.shape, AXES[1], 4, more=False)
        rows, columns = self.size
        return resize(x, (x.shape[1] * rows, x.shape[2] * columns), self.interpolation)
