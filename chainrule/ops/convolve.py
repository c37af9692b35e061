"""Convolution over time and over images, its transpose, and that of each channel by itself.

Each is a contraction over windows, so it has gradients of any order, a batched form and native
code. `stride` and `dilation` are a number, or one for each axis; `padding` is "valid", "same"
(ceil(extent / stride) outputs, as in Keras), margins (before, after) for each axis, and over time
"causal" (an output sees no later input). `groups` groups of filters each read their own channels.
Read next: `pool.py`.
"""

from __future__ import annotations

from typing import Any

from chainrule.core.errors import ArgumentError, ShapeError
from chainrule.core.op import Shape
from chainrule.core.tensor import Tensor, as_tensor
from chainrule.ops.linear import contract
from chainrule.ops.move import pad, reshape
from chainrule.ops.window import (
    Extents,
    extents,
    known_padding,
    margins,
    placed,
    slide,
    spans,
    unwindows,
)

KERNELS = ("(length, ", "(rows, columns, ")


def conv1d(
    x: Any,
    kernel: Any,
    stride: Extents = 1,
    padding: Any = "valid",
    dilation: Extents = 1,
    groups: int = 1,
) -> Tensor:
    r"""$y_{to} = \sum_{ic} x_{t+i,c} K_{ico}$ for (batch, time, channels).

    `kernel` is (length, channels / groups, out). ShapeError when the channels differ or the
    kernel does not fit.
    """
    return _convolve("conv1d", x, kernel, 1, (stride, padding, dilation), groups)


def conv2d(
    x: Any,
    kernel: Any,
    stride: Extents = 1,
    padding: Any = "valid",
    dilation: Extents = 1,
    groups: int = 1,
) -> Tensor:
    r"""$y_{hwo} = \sum_{ijc} x_{h+i,w+j,c} K_{ijco}$ for (batch, height, width, channels).

    `kernel` is (rows, columns, channels / groups, out). ShapeError when the channels differ or
    the kernel does not fit.
    """
    return _convolve("conv2d", x, kernel, 2, (stride, padding, dilation), groups)


def depthwise_conv2d(
    x: Any, kernel: Any, stride: Extents = 1, padding: Any = "valid", dilation: Extents = 1
) -> Tensor:
    r"""Each channel by itself: $y_{hw,cm} = \sum_{ij} x_{h+i,w+j,c} K_{ijcm}$.

    `kernel` is (rows, columns, channels, multiplier); channel c gives the outputs c multiplier to
    (c + 1) multiplier - 1. ShapeError when the channels differ or the kernel does not fit.
    """
    who = "depthwise_conv2d"
    x, kernel = placed(x, 2), as_tensor(kernel)
    if kernel.ndim != 4 or kernel.shape[2] != x.shape[-1]:
        raise _unfit(who, "(rows, columns, channels, multiplier)", x, kernel)
    seen = slide(x, kernel.shape[:2], *_checked(who, 2, (stride, padding, dilation)))
    y = contract(seen, kernel, spec="nhwijc,ijcm->nhwcm")
    return reshape(y, (*y.shape[:-2], y.shape[-2] * y.shape[-1]))


def conv_transpose1d(
    x: Any,
    kernel: Any,
    stride: Extents = 1,
    padding: Any = "valid",
    dilation: Extents = 1,
    groups: int = 1,
) -> Tensor:
    r"""The transpose of `conv1d`: each input spreads a kernel, $y_{st+a} \mathrel{+}= x_t K_a$.

    `kernel` is (length, out / groups, channels). The number of outputs is that of
    `conv_transpose2d`.
    """
    return _spread("conv_transpose1d", x, kernel, 1, (stride, padding, dilation), groups)


def conv_transpose2d(
    x: Any,
    kernel: Any,
    stride: Extents = 1,
    padding: Any = "valid",
    dilation: Extents = 1,
    groups: int = 1,
) -> Tensor:
    r"""The transpose of `conv2d`: each input spreads a kernel, $y_{si+a} \mathrel{+}= x_i K_a$.

    `kernel` is (rows, columns, out / groups, channels), the layout of Keras. "same" gives extent *
    stride outputs, "valid" extent * stride + max(reach - stride, 0) where a kernel reaches
    (size - 1) * dilation + 1 far; explicit margins are cut off what "valid" gives. ShapeError when
    the channels differ or the margins leave nothing.
    """
    return _spread("conv_transpose2d", x, kernel, 2, (stride, padding, dilation), groups)


def _checked(who: str, axes: int, steps: tuple, causal: bool = False) -> tuple:
    """(stride, padding, dilation) as one for each axis."""
    stride, padding, dilation = steps
    names = ("same", "causal", "valid") if causal else ("same", "valid")
    return (
        extents(stride, axes, f"{who}: stride"),
        known_padding(padding, who, names, axes),
        extents(dilation, axes, f"{who}: dilation"),
    )


def _unfit(who: str, wanted: str, x: Tensor, kernel: Tensor) -> ShapeError:
    return ShapeError(
        f"{who} needs a {wanted} kernel of the input's channels, got input {x.shape} and kernel "
        f"{kernel.shape}"
    )


def _check_groups(who: str, groups: Any, **shared: int) -> None:
    whole = isinstance(groups, int) and not isinstance(groups, bool) and groups >= 1
    if not whole or any(n % groups for n in shared.values()):
        counts = " and ".join(f"{n} {name}" for name, n in shared.items())
        raise ArgumentError(f"{who}: {groups} groups do not share out {counts}")


def _convolve(who: str, x: Any, kernel: Any, axes: int, steps: tuple, groups: int) -> Tensor:
    x, kernel = placed(x, axes), as_tensor(kernel)
    if kernel.ndim != axes + 2 or kernel.shape[-2] * groups != x.shape[-1]:
        wanted = "channels" if groups == 1 else f"channels / {groups}"
        raise _unfit(who, f"{KERNELS[axes - 1]}{wanted}, out)", x, kernel)
    _check_groups(who, groups, channels=x.shape[-1], filters=kernel.shape[-1])
    place = (kernel.shape[:axes], *_checked(who, axes, steps, causal=axes == 1))
    out, inner, g = "hw"[:axes], "ij"[:axes], "g"[: groups > 1]
    seen, parted = slide(_parted(x, groups), *place), _parted(kernel, groups)
    y = contract(seen, parted, spec=f"n{out}{inner}{g}c,{inner}c{g}o->n{out}{g}o")
    return reshape(y, (*y.shape[: axes + 1], kernel.shape[-1]))


def _parted(x: Tensor, groups: int) -> Tensor:
    """The last axis as (groups, rest), where there are groups."""
    return x if groups == 1 else reshape(x, (*x.shape[:-1], groups, x.shape[-1] // groups))


def _spread(who: str, x: Any, kernel: Any, axes: int, steps: tuple, groups: int) -> Tensor:
    x, kernel = placed(x, axes), as_tensor(kernel)
    if kernel.ndim != axes + 2 or kernel.shape[-1] != x.shape[-1]:
        wanted = "out" if groups == 1 else f"out / {groups}"
        raise _unfit(who, f"{KERNELS[axes - 1]}{wanted}, channels)", x, kernel)
    _check_groups(who, groups, channels=x.shape[-1])
    size = kernel.shape[:axes]
    stride, padding, dilation = _checked(who, axes, steps)
    out, inner, g = "hw"[:axes], "ij"[:axes], "g"[: groups > 1]
    spec = f"n{out}{g}c,{inner}o{g}c->n{out}{inner}{g}o"
    y: Any = contract(_parted(x, groups), _parted(kernel, groups), spec=spec)
    y = reshape(y, (*y.shape[: 2 * axes + 1], groups * kernel.shape[-2]))
    rows = list(zip(x.shape[1:-1], stride, spans(size, dilation), strict=True))
    covered = tuple((n - 1) * s + r for n, s, r in rows)
    # What no kernel reaches, where it is shorter than the stride, still counts as output.
    whole = tuple((n - 1) * s + max(r, s) for n, s, r in rows)
    at = tuple(range(1, axes + 1))
    y = unwindows(y, axes=at, extent=covered, size=size, stride=stride, dilation=dilation)
    y = pad(y, [(0, 0), *[(0, w - c) for w, c in zip(whole, covered, strict=True)], (0, 0)])
    target = tuple(n * s for n, s, _ in rows)
    return _cut(who, y, margins(padding, target, size, stride, dilation), whole)


def _cut(who: str, y: Tensor, width: list, whole: Shape) -> Tensor:
    """`y` without its margins."""
    if any(a + b >= n for (a, b), n in zip(width, whole, strict=True)):
        raise ShapeError(f"{who}: margins of {width} leave nothing of {whole} outputs")
    inside = [slice(a, n - b) for (a, b), n in zip(width, whole, strict=True)]
    return y[(slice(None), *inside)]
