"""Windows: a sliding view along axes, its transpose, and the margins of Keras.

Convolution is a contraction over windows, pooling a reduction over them; their gradients
follow from the parts. Read next: `convolve.py`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from chainrule.core.errors import ArgumentError, ShapeError, UnknownNameError
from chainrule.core.op import Op, Shape, Spec, register, sample
from chainrule.core.tensor import Tensor, as_tensor
from chainrule.core.view import Spread, View
from chainrule.ops.move import pad

AXES = ("(batch, time, channels)", "(batch, height, width, channels)")
Extents = int | Sequence[int]


def _slides(shape: Shape, axes: Shape, size: Shape, stride: Shape, dilation: Shape) -> list:
    """One (axis, count, size, stride, dilation) per windowed axis; ShapeError if none fits."""
    found = []
    _within(axes, shape)
    for axis, w, s, d in zip(axes, size, stride, dilation, strict=True):
        count = (shape[axis] - (w - 1) * d - 1) // s + 1
        if count < 1:
            raise ShapeError(
                f"a window of {size} (dilation {dilation}) does not fit into {shape}",
                mend="padding='same', or a smaller window",
            )
        found.append((axis, count, w, s, d))
    return found


def _within(axes: Shape, shape: Shape) -> None:
    if max(axes) >= len(shape):
        raise ShapeError(f"windows along axes {axes} need more axes than {shape} has")


def _view(shape: Shape, **attrs: Any) -> View:
    return View.whole(shape).windows(_slides(shape, **attrs))


def _ref_windows(x: np.ndarray, **attrs: Any) -> np.ndarray:
    item = x.itemsize
    flat = np.ascontiguousarray(x)
    view = _view(x.shape, **attrs)
    strides = [s * item for s in view.strides]
    return np.lib.stride_tricks.as_strided(flat, view.shape, strides, writeable=False)


def _infer_windows(x: Any, **attrs: Any) -> Spec:
    return Spec(_view(x.shape, **attrs).shape, x.dtype)


def _ref_unwindows(x: np.ndarray, extent: Shape, **attrs: Any) -> np.ndarray:
    shape = _folded(x.shape, extent, attrs["axes"])
    y = np.zeros(shape, x.dtype)
    slides = _slides(shape, **attrs)
    at = max(attrs["axes"]) + 1
    for position in np.ndindex(*attrs["size"]):
        where = [slice(None)] * len(shape)
        for (axis, count, _, s, d), i in zip(slides, position, strict=True):
            where[axis] = slice(i * d, i * d + (count - 1) * s + 1, s)
        y[tuple(where)] += x[(slice(None),) * at + position]
    return y


def _spread_unwindows(before: Shape, after: Shape, extent: Shape, **attrs: Any) -> Spread:
    """Windows outside, so that each position is one walk over the images."""
    at, many = max(attrs["axes"]) + 1, len(attrs["axes"])
    lead = min(attrs["axes"])
    inner = range(at, at + many)
    order = (*range(lead), *inner, *range(lead, at), *range(at + many, len(before)))
    slides = _slides(after, **attrs)
    view = View.whole(after).windows(slides).transpose(order)
    if all(s == w and d == 1 and count * w == n for (_, count, w, s, d), n in zip(slides, extent)):
        return Spread(order, view, None)  # the windows lie side by side
    return Spread(order, view, 0.0, adds=True)


def _infer_unwindows(x: Any, extent: Shape, **attrs: Any) -> Spec:
    shape = _folded(x.shape, extent, attrs["axes"])
    if x.shape != (wanted := _view(shape, **attrs).shape):
        raise ShapeError(f"unwindows to {shape} needs windows of shape {wanted}, got {x.shape}")
    return Spec(shape, x.dtype)


def _folded(shape: Shape, extent: Shape, axes: Shape) -> Shape:
    _within(axes, shape)
    at = max(axes) + 1
    rest = list(shape[:at] + shape[at + len(axes) :])
    for axis, n in zip(axes, extent, strict=True):
        rest[axis] = n
    return tuple(rest)


_two = {"axes": (1, 2), "size": (2, 2), "stride": (1, 1), "dilation": (1, 1)}
_apart = {"axes": (1, 2), "size": (2, 2), "stride": (2, 2), "dilation": (1, 1)}
_wide = {"axes": (1, 2), "size": (2, 3), "stride": (2, 1), "dilation": (1, 2)}

windows = register(
    Op(
        name="windows",
        kind="window",
        tex=r"\mathrm{win}(#1)",
        ref=_ref_windows,
        infer=_infer_windows,
        linear=(0,),
        vjp=lambda g, y, x, **a: (unwindows(g, extent=tuple(x.shape[i] for i in a["axes"]), **a),),
        lower=lambda view, **a: view.windows(_slides(view.shape, **a)),
        samples=(sample((2, 4, 3, 2), **_two), sample((1, 5, 6, 1), **_wide)),
    )
)

unwindows: Op = register(
    Op(
        name="unwindows",
        kind="window",
        tex=r"\mathrm{win}^{\top}(#1)",
        ref=_ref_unwindows,
        infer=_infer_unwindows,
        linear=(0,),
        vjp=lambda g, y, x, extent, **a: (windows(g, **a),),
        spread=_spread_unwindows,
        samples=(
            sample((2, 3, 2, 2, 2, 2), extent=(4, 3), **_two),
            sample((2, 2, 3, 2, 2, 2), extent=(4, 6), **_apart),
            sample((1, 2, 2, 2, 3, 1), extent=(5, 6), **_wide),
        ),
    )
)


def extents(value: Extents, axes: int, what: str) -> Shape:
    """`axes` positive integers, from one for all or from one for each axis."""
    found = (value,) * axes if isinstance(value, int) else tuple(value)
    whole = all(isinstance(n, int) and not isinstance(n, bool) and n >= 1 for n in found)
    if len(found) != axes or not whole:
        wanted = "one positive integer" if axes == 1 else "one or two positive integers"
        raise ArgumentError(f"{what} needs {wanted}, got {value!r}")
    return found


def known_padding(value: Any, who: str, names: tuple = ("same", "valid"), axes: int = 2) -> Any:
    """`value` if it is a padding; a list of margins becomes a tuple, which is hashable."""
    if isinstance(value, str):
        if value not in names:
            raise UnknownNameError(f"padding of {who}", value, names)
        return value
    try:
        sides = tuple(tuple(int(n) for n in side) for side in value)
    except TypeError:
        sides = ()
    if [len(side) for side in sides] != [2] * axes or any(n < 0 for side in sides for n in side):
        wanted = ("((before, after),)", "((top, bottom), (left, right))")[axes - 1]
        raise ArgumentError(
            f"{who}: padding must be {', '.join(map(repr, reversed(names)))} or {wanted}, "
            f"got {value!r}"
        )
    return sides


def spans(size: Shape, dilation: Shape) -> Shape:
    """How far a window of `size` reaches."""
    return tuple((w - 1) * d + 1 for w, d in zip(size, dilation, strict=True))


def margins(padding: Any, shape: Shape, size: Shape, stride: Shape, dilation: Shape) -> list:
    """(before, after) for each axis; "same" puts the odd one after, "causal" all before.

    "same" gives ceil(extent / stride) outputs.
    """
    if padding == "valid":
        return [(0, 0)] * len(shape)
    if padding == "causal":
        return [(span - 1, 0) for span in spans(size, dilation)]
    if padding != "same":
        return list(padding)
    found = []
    for n, span, s in zip(shape, spans(size, dilation), stride, strict=True):
        total = max(0, (-(-n // s) - 1) * s + span - n)
        found.append((total // 2, total - total // 2))
    return found


def slide(
    x: Tensor, size: Shape, stride: Shape, padding: Any, dilation: Shape, value: float = 0.0
) -> Tensor:
    """(batch, ..., channels) to (batch, places..., window..., channels); `value` in the margins."""
    axes = tuple(range(1, len(size) + 1))
    width = margins(padding, x.shape[1 : len(size) + 1], size, stride, dilation)
    if any(map(any, width)):
        x = pad(x, [(0, 0), *width, *[(0, 0)] * (x.ndim - 1 - len(size))], value)
    return windows(x, axes=axes, size=size, stride=stride, dilation=dilation)


def placed(x: Any, axes: int) -> Tensor:
    """`x` as a tensor; ShapeError unless it has `axes` axes between batch and channels."""
    x = as_tensor(x)
    if x.ndim != axes + 2:
        what = ("series", "images")[axes - 1]
        raise ShapeError(
            f"{what} are {AXES[axes - 1]}, got shape {x.shape}",
            mend="x[..., None] adds a channel axis",
        )
    return x
