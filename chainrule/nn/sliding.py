"""Windows over the axes between batch and channels, however many there are; Keras's margins.

Read next: `conv.py`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from chainrule.core.errors import ArgumentError
from chainrule.core.op import Shape
from chainrule.core.tensor import Tensor
from chainrule.ops.move import pad
from chainrule.ops.window import windows

AXES = ("(batch, time, channels)", "(batch, height, width, channels)")
Extents = int | Sequence[int]


def extents(value: Any, axes: int, what: str) -> Shape:
    """`axes` positive integers, from one for all or from one for each axis."""
    found = (value,) * axes if isinstance(value, int) else tuple(value)
    whole = all(isinstance(n, int) and not isinstance(n, bool) and n >= 1 for n in found)
    if len(found) != axes or not whole:
        wanted = "one positive integer" if axes == 1 else "one or two positive integers"
        raise ArgumentError(f"{what} needs {wanted}, got {value!r}")
    return found


def spans(size: Shape, dilation: Shape) -> Shape:
    """How far a window of `size` reaches."""
    return tuple((w - 1) * d + 1 for w, d in zip(size, dilation, strict=True))


def margins(padding: Any, shape: Shape, size: Shape, strides: Shape, dilation: Shape) -> list:
    """(before, after) for each axis; "same" puts the odd one after, "causal" all before."""
    if padding == "valid":
        return [(0, 0)] * len(shape)
    if padding == "causal":
        return [(span - 1, 0) for span in spans(size, dilation)]
    if padding != "same":
        return list(padding)
    found = []
    for n, span, s in zip(shape, spans(size, dilation), strides, strict=True):
        total = max(0, (-(-n // s) - 1) * s + span - n)
        found.append((total // 2, total - total // 2))
    return found


def slide(
    x: Tensor, size: Shape, strides: Shape, padding: Any, dilation: Shape, value: float = 0.0
) -> Tensor:
    """(batch, ..., channels) to (batch, places..., window..., channels); `value` in the margins."""
    axes = tuple(range(1, len(size) + 1))
    width = margins(padding, x.shape[1:-1][: len(size)], size, strides, dilation)
    if any(map(any, width)):
        x = pad(x, [(0, 0), *width, *[(0, 0)] * (x.ndim - 1 - len(size))], value)
    return windows(x, axes=axes, size=size, stride=strides, dilation=dilation)
