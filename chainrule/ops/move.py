"""Movement ops: each output element is one input element (or a constant) from elsewhere.

All are linear, and all but `pad` lower to a view. Read next: `linear.py`.
"""

from __future__ import annotations

import operator
from collections.abc import Sequence
from typing import Any

import numpy as np

from chainrule.core.errors import ArgumentError, ShapeError
from chainrule.core.op import Op, Shape, Spec, register, sample
from chainrule.core.tensor import Tensor, as_tensor
from chainrule.core.view import Spread, View


def movement(name: str, tex: str, **fields: Any) -> Op:
    """Register a movement op of one input."""
    return register(Op(name=name, kind="movement", tex=tex, linear=(0,), **fields))


def normal_axis(axis: int, ndim: int) -> int:
    """`axis` counted from the first; ArgumentError when it is none of `ndim` axes."""
    if not -ndim <= axis < ndim:
        raise ArgumentError(f"axis {axis} is out of range for {ndim} axes")
    return int(axis % ndim)


def _infer_reshape(x: Any, shape: Shape) -> Spec:
    if min((*shape, 0)) < 0 or np.prod(shape, dtype=np.int64) != np.prod(x.shape, dtype=np.int64):
        raise ShapeError(f"reshape keeps the number of elements, got {x.shape} to {shape}")
    return Spec(shape, x.dtype)


reshape_op = movement(
    "reshape",
    "#1",
    ref=lambda x, shape: x.reshape(shape),
    infer=_infer_reshape,
    vjp=lambda g, y, x, shape: (reshape(g, x.shape),),
    lower=lambda view, shape: view.reshape(shape),
    samples=(sample((2, 6), shape=(3, 4)), sample((2, 3), shape=(6,)), sample((1,), shape=())),
)


def reshape(x: Any, *shape: Any) -> Tensor:
    """The same elements in row-major order under `shape`; one extent may be -1."""
    x = as_tensor(x)
    wanted = tuple(shape if len(shape) != 1 or hasattr(shape[0], "__index__") else shape[0])
    if -1 in wanted:
        rest = int(np.prod([n for n in wanted if n != -1], dtype=np.int64))
        if wanted.count(-1) > 1 or rest == 0 or x.size % rest:
            raise ShapeError(f"reshape of {x.shape} to {wanted}: -1 stands for no whole number")
        wanted = tuple(x.size // rest if n == -1 else n for n in wanted)
    return x if wanted == x.shape else reshape_op(x, shape=tuple(int(n) for n in wanted))


def _batch_after(op: Op, node: Any, inputs: list, flags: list, size: int) -> Tensor:
    x, z = inputs
    return op(x if flags[0] else broadcast_to(reshape(x, (1, *x.shape)), (size, *x.shape)), z)


after: Op = movement(
    "after",
    "#1",
    ref=lambda x, z: x,
    infer=lambda x, z: Spec(x.shape, x.dtype),
    vjp=lambda g, y, x, z: (g, None),
    lower=lambda view: view,
    batch=_batch_after,
    samples=(sample((2, 3), (4,)),),
    doc="x, read only when z is there: what is computed of it is not shared with what was before.",
)


def _infer_transpose(x: Any, axes: tuple[int, ...]) -> Spec:
    if sorted(axes) != list(range(len(x.shape))):
        raise ShapeError(f"transpose needs each axis of {x.shape} once, got {axes}")
    return Spec(tuple(x.shape[a] for a in axes), x.dtype)


transpose_op = movement(
    "transpose",
    r"#1^{\top}",
    ref=lambda x, axes: np.transpose(x, axes),
    infer=_infer_transpose,
    vjp=lambda g, y, x, axes: (transpose(g, [axes.index(i) for i in range(len(axes))]),),
    lower=lambda view, axes: view.transpose(axes),
    samples=(sample((2, 3), axes=(1, 0)), sample((2, 3, 4), axes=(2, 0, 1))),
)


def transpose(x: Any, axes: Sequence[int] | None = None) -> Tensor:
    """Axis `d` of the result is axis `axes[d]` of `x`; all reversed when not given."""
    x = as_tensor(x)
    order = range(x.ndim)[::-1] if axes is None else [normal_axis(a, x.ndim) for a in axes]
    return transpose_op(x, axes=tuple(order))


def _infer_broadcast(x: Any, shape: Shape) -> Spec:
    lead = len(shape) - len(x.shape)
    rows = zip(x.shape, shape[max(lead, 0) :], strict=False)
    if lead < 0 or any(mine not in (1, theirs) for mine, theirs in rows):
        raise ShapeError(f"{x.shape} does not broadcast to {shape}")
    return Spec(shape, x.dtype)


def _vjp_broadcast(g: Tensor, y: Tensor, x: Tensor, shape: Shape) -> tuple:
    from chainrule.ops.reduce import sum as total  # a broadcast's transpose is a sum

    lead = len(shape) - x.ndim
    axes = [i for i in range(len(shape)) if i < lead or x.shape[i - lead] != shape[i]]
    return (reshape(total(g, axis=tuple(axes)), x.shape),)


broadcast_op = movement(
    "broadcast_to",
    "#1",
    ref=lambda x, shape: np.broadcast_to(x, shape),
    infer=_infer_broadcast,
    vjp=_vjp_broadcast,
    lower=lambda view, shape: view.broadcast_to(shape),
    samples=(sample((3,), shape=(2, 3)), sample((2, 1), shape=(2, 3)), sample((), shape=(2,))),
)


def as_shape(shape: int | Sequence[int]) -> Shape:
    """A shape from one extent or several. ArgumentError for anything but integers >= 0.

    >>> as_shape(3), as_shape([2, 3])
    ((3,), (2, 3))
    """
    extents = (shape,) if hasattr(shape, "__index__") else shape
    try:
        found = tuple(operator.index(n) for n in extents)
    except TypeError:
        found = (-1,)
    if min(found, default=0) < 0:
        raise ArgumentError(f"a shape is one or more integers >= 0, got {shape!r}")
    return found


def broadcast_to(x: Any, shape: int | Sequence[int]) -> Tensor:
    """Repeat `x` along new leading axes and along axes of extent 1."""
    x, wanted = as_tensor(x), as_shape(shape)
    return x if x.shape == wanted else broadcast_op(x, shape=wanted)


def _infer_slice(x: Any, start: Shape, stop: Shape, step: Shape) -> Spec:
    if not len(start) == len(stop) == len(step) == len(x.shape):
        raise ShapeError(f"slice needs start, stop and step per axis of {x.shape}")
    for a, b, s, n in zip(start, stop, step, x.shape, strict=True):
        if not 0 <= a <= b <= n or s < 1:
            raise ShapeError(f"slice {a}:{b}:{s} does not lie within an axis of {n}")
    counts = [-(-(b - a) // s) for a, b, s in zip(start, stop, step, strict=True)]
    return Spec(tuple(counts), x.dtype)


def _ref_slice(x: np.ndarray, start: Shape, stop: Shape, step: Shape) -> np.ndarray:
    parts: Any = [slice(a, b, s) for a, b, s in zip(start, stop, step, strict=True)]
    return x[(*parts, ...)]  # the ellipsis keeps an array where there are no axes


def _vjp_slice(g: Tensor, y: Tensor, x: Tensor, start: Shape, stop: Shape, step: Shape) -> tuple:
    last = [a + max(n - 1, 0) * s + 1 for a, n, s in zip(start, y.shape, step, strict=True)]
    after = [n - b for n, b in zip(x.shape, last, strict=True)]
    if 0 in y.shape:
        return (broadcast_to(as_tensor(np.zeros((), x.dtype)), x.shape),)
    return (pad_op(g, low=start, high=tuple(after), gap=tuple(s - 1 for s in step), value=0.0),)


slice_op = movement(
    "slice",
    "#1",
    ref=_ref_slice,
    infer=_infer_slice,
    vjp=_vjp_slice,
    lower=lambda view, start, stop, step: view.slice(start, stop, step),
    samples=(
        sample((4, 5), start=(1, 0), stop=(3, 5), step=(1, 2)),
        sample((6,), start=(1,), stop=(6,), step=(3,)),
    ),
)


def _infer_pad(x: Any, low: Shape, high: Shape, gap: Shape, value: float) -> Spec:
    if not len(low) == len(high) == len(gap) == len(x.shape):
        raise ShapeError(f"pad needs low, high and gap per axis of {x.shape}")
    if min((*low, *high, *gap, 0)) < 0:
        raise ShapeError(f"pad needs widths >= 0, got low={low}, high={high}, gap={gap}")
    rows = zip(x.shape, low, high, gap, strict=True)
    return Spec(tuple(a + n + max(n - 1, 0) * q + b for n, a, b, q in rows), x.dtype)


def _ref_pad(x: np.ndarray, low: Shape, high: Shape, gap: Shape, value: float) -> np.ndarray:
    y = np.full(_infer_pad(x, low, high, gap, value).shape, value, x.dtype)
    inside = [
        slice(a, a + n + max(n - 1, 0) * q, q + 1)
        for n, a, q in zip(x.shape, low, gap, strict=True)
    ]
    y[tuple(inside)] = x
    return y


def _spread_pad(
    before: Shape, after: Shape, low: Shape, high: Shape, gap: Shape, value: float
) -> Spread:
    stop = tuple(a + n + max(n - 1, 0) * q for n, a, q in zip(before, low, gap, strict=True))
    inside = View.whole(after).slice(low, stop, tuple(q + 1 for q in gap))
    return Spread(tuple(range(len(before))), inside, value)


def _vjp_pad(
    g: Tensor, y: Tensor, x: Tensor, low: Shape, high: Shape, gap: Shape, value: float
) -> tuple:
    rows = zip(x.shape, low, gap, strict=True)
    stop = tuple(a + n + max(n - 1, 0) * q for n, a, q in rows)
    return (slice_op(g, start=low, stop=stop, step=tuple(q + 1 for q in gap)),)


pad_op: Op = movement(
    "pad",
    r"\mathrm{pad}(#1)",
    ref=_ref_pad,
    infer=_infer_pad,
    vjp=_vjp_pad,
    jvp=lambda tangents, y, x, **a: pad_op(tangents[0], **{**a, "value": 0.0}),
    spread=_spread_pad,
    samples=(
        sample((2, 3), low=(1, 0), high=(0, 2), gap=(0, 0), value=0.0),
        sample((3,), low=(1,), high=(0,), gap=(2,), value=1.0),
    ),
)


def pad(x: Any, width: Sequence[tuple[int, int]], value: float = 0.0) -> Tensor:
    """`value` put (before, after) each axis, as `width` says.

    >>> pad(np.ones(2, "float32"), [(1, 2)])
    Tensor([0., 1., 1., 0., 0.], dtype=float32)
    """
    x = as_tensor(x)
    if len(width) != x.ndim:
        raise ArgumentError(f"pad needs a (before, after) per axis of {x.shape}, got {width}")
    low, high = tuple(a for a, _ in width), tuple(b for _, b in width)
    return pad_op(x, low=low, high=high, gap=(0,) * x.ndim, value=value)


def _infer_flip(x: Any, axes: tuple[int, ...]) -> Spec:
    if any(not 0 <= a < len(x.shape) for a in axes):
        raise ShapeError(f"flip along {axes} of shape {x.shape}: no such axes")
    return Spec(tuple(x.shape), x.dtype)


flip_op: Op = movement(
    "flip",
    r"\mathrm{flip}(#1)",
    ref=lambda x, axes: np.flip(x, axes),
    infer=_infer_flip,
    vjp=lambda g, y, x, axes: (flip_op(g, axes=axes),),
    lower=lambda view, axes: view.flip(axes),
    batch=lambda op, node, inputs, flags, size: op(
        inputs[0], axes=tuple(a + 1 for a in node.attrs["axes"])
    ),
    samples=(sample((2, 3), axes=(1,)), sample((2, 3, 4), axes=(0, 2)), sample((40,), axes=(0,))),
)


def expand_dims(x: Any, axis: int | Sequence[int] = 0) -> Tensor:
    """New axes of extent 1, which stand at `axis` in the result."""
    x = as_tensor(x)
    given: Any = [axis] if hasattr(axis, "__index__") else axis
    ndim = x.ndim + len(given)
    new = {normal_axis(a, ndim) for a in given}
    if len(new) < len(given):
        raise ArgumentError(f"expand_dims at {axis} names an axis twice")
    rest = iter(x.shape)
    return reshape(x, [1 if i in new else next(rest) for i in range(ndim)])
