"""Windows: a sliding view along axes, its transpose, and what is built of them.

Convolution is a contraction over windows, pooling a reduction over them; their gradients
follow from the parts. Read next: `index.py`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from chainrule.core.errors import ArgumentError, ShapeError
from chainrule.core.op import Op, Shape, Spec, register, sample
from chainrule.core.tensor import Tensor, as_tensor
from chainrule.core.view import Spread, View
from chainrule.ops.linear import contract
from chainrule.ops.move import pad
from chainrule.ops.reduce import max as largest

Pair = int | Sequence[int]


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
    view = View.whole(after).windows(_slides(after, **attrs)).transpose(order)
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
            sample((1, 2, 2, 2, 3, 1), extent=(5, 6), **_wide),
        ),
    )
)


def pair(value: Pair, what: str) -> tuple[int, int]:
    """Two positive ints from one or two."""
    both = (value, value) if isinstance(value, int) else tuple(value)
    if len(both) != 2 or any(not isinstance(n, int) or n < 1 for n in both):
        raise ArgumentError(f"{what} needs one or two positive integers, got {value!r}")
    return both


def margins(padding: Any, shape: Shape, size: Shape, stride: Shape, dilation: Shape) -> list:
    """(before, after) per spatial axis for "valid", "same" (Keras's: the odd one after) or given.

    "same" gives ceil(extent / stride) outputs.
    """
    if padding == "valid":
        return [(0, 0), (0, 0)]
    if padding == "same":
        out = []
        for n, w, s, d in zip(shape, size, stride, dilation, strict=True):
            total = max(0, (-(-n // s) - 1) * s + (w - 1) * d + 1 - n)
            out.append((total // 2, total - total // 2))
        return out
    if isinstance(padding, str) or len(padding) != 2:
        raise ArgumentError(f"padding is 'valid', 'same' or ((a, b), (a, b)), got {padding!r}")
    return [tuple(part) for part in padding]


def _sliding(
    x: Any, size: Pair, stride: Pair, padding: Any, dilation: Pair, value: float
) -> Tensor:
    x = as_tensor(x)
    if x.ndim != 4:
        raise ShapeError(
            f"images are (batch, height, width, channels), got shape {x.shape}",
            mend="x[..., None] adds a channel axis",
        )
    size, stride, dilation = pair(size, "size"), pair(stride, "stride"), pair(dilation, "dilation")
    width = margins(padding, x.shape[1:3], size, stride, dilation)
    if any(map(any, width)):
        x = pad(x, [(0, 0), *width, (0, 0)], value)
    return windows(x, axes=(1, 2), size=size, stride=stride, dilation=dilation)


def conv2d(
    x: Any, kernel: Any, stride: Pair = 1, padding: Any = "valid", dilation: Pair = 1
) -> Tensor:
    """Cross-correlation of (batch, height, width, channels) with (rows, columns, channels, out).

    ShapeError when the channels differ or the kernel does not fit.
    """
    kernel = as_tensor(kernel)
    if kernel.ndim != 4 or as_tensor(x).shape[-1:] != kernel.shape[2:3]:
        raise ShapeError(
            f"conv2d needs a (rows, columns, channels, out) kernel of the input's channels, got "
            f"input {as_tensor(x).shape} and kernel {kernel.shape}"
        )
    seen = _sliding(x, kernel.shape[:2], stride, padding, dilation, 0.0)
    return contract(seen, kernel, spec="nhwijc,ijco->nhwo")


def max_pool2d(
    x: Any, size: Pair = 2, stride: Pair | None = None, padding: Any = "valid"
) -> Tensor:
    """The largest element under each window; `stride` is the window's size when not given."""
    seen = _sliding(x, size, size if stride is None else stride, padding, 1, -np.inf)
    return largest(seen, axis=(3, 4))
