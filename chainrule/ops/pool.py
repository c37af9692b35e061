"""Pooling: the largest or the mean under each window, over time and over images.

`stride` is the window's size when not given; `padding` is "valid", "same" (ceil(extent / stride)
outputs, as in Keras) or margins (before, after) for each axis. What a window has outside of the
input does not count. Read next: `resize.py`.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from chainrule.core.errors import DtypeError, ShapeError
from chainrule.core.op import Shape
from chainrule.core.tensor import Tensor
from chainrule.ops.elementwise import cast
from chainrule.ops.reduce import max as largest, mean, sum as total
from chainrule.ops.window import Extents, extents, known_padding, margins, placed, slide


def max_pool1d(
    x: Any, size: Extents = 2, stride: Extents | None = None, padding: Any = "valid"
) -> Tensor:
    """The largest element under each window of (batch, time, channels)."""
    return _largest("max_pool1d", x, 1, size, stride, padding)


def max_pool2d(
    x: Any, size: Extents = 2, stride: Extents | None = None, padding: Any = "valid"
) -> Tensor:
    """The largest element under each window of (batch, height, width, channels)."""
    return _largest("max_pool2d", x, 2, size, stride, padding)


def average_pool1d(
    x: Any, size: Extents = 2, stride: Extents | None = None, padding: Any = "valid"
) -> Tensor:
    """The mean under each window of (batch, time, channels)."""
    return _mean("average_pool1d", x, 1, size, stride, padding)


def average_pool2d(
    x: Any, size: Extents = 2, stride: Extents | None = None, padding: Any = "valid"
) -> Tensor:
    """The mean under each window of (batch, height, width, channels).

    >>> image = np.arange(8, dtype="float32").reshape(1, 2, 4, 1)
    >>> average_pool2d(image).reshape(-1)
    Tensor([2.5, 4.5], dtype=float32)
    """
    return _mean("average_pool2d", x, 2, size, stride, padding)


def _largest(who: str, x: Any, axes: int, *steps: Any) -> Tensor:
    x, size, stride, padding = _checked(who, x, axes, *steps)
    _shares(who, x.shape[1:-1], size, stride, padding)
    seen = slide(x, size, stride, padding, (1,) * axes, -np.inf)
    return largest(seen, _window(axes))


def _mean(who: str, x: Any, axes: int, *steps: Any) -> Tensor:
    x, size, stride, padding = _checked(who, x, axes, *steps)
    shares = _shares(who, x.shape[1:-1], size, stride, padding)
    seen = slide(x, size, stride, padding, (1,) * axes)
    if shares is None:
        return mean(seen, _window(axes))
    y: Any = total(seen, _window(axes))
    return y * cast(shares, x.dtype)


def _window(axes: int) -> Shape:
    """The axes of what `slide` gives that run over a window."""
    return tuple(range(1 + axes, 1 + 2 * axes))


def _checked(
    who: str, x: Any, axes: int, size: Extents, stride: Extents | None, padding: Any
) -> tuple[Tensor, Shape, Shape, Any]:
    x = placed(x, axes)
    if x.dtype.kind != "f":
        raise DtypeError(f"{who} needs float input, got {x.dtype}", mend="cr.cast(x, 'float32')")
    size = extents(size, axes, f"{who}: size")
    stride = size if stride is None else extents(stride, axes, f"{who}: stride")
    return x, size, stride, known_padding(padding, who, axes=axes)


def _shares(who: str, shape: Shape, size: Shape, stride: Shape, padding: Any) -> np.ndarray | None:
    """1 / (elements of the input) of each window, (1, places..., 1); None without margins.

    ShapeError where a window has no element of the input.
    """
    width = margins(padding, shape, size, stride, (1,) * len(size))
    if not any(map(any, width)):
        return None
    shares = np.ones((1,) * (len(shape) + 2))
    for axis, (n, (before, after), w, s) in enumerate(
        zip(shape, width, size, stride, strict=True), 1
    ):
        at = np.arange(0, n + before + after - w + 1, s) - before
        inside = np.minimum(at + w, n) - np.maximum(at, 0)
        if (inside < 1).any():
            raise ShapeError(
                f"{who}: a window of {size} lies in the margin alone, with padding {padding}",
                mend='padding="same"',
            )
        shares = shares / inside.reshape([-1 if i == axis else 1 for i in range(shares.ndim)])
    return shares
