"""`custom_gradient`: a function that brings its own derivative. Read next: `jacobian.py`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import wraps
from typing import Any

import numpy as np

from chainrule.core.errors import GradientError, ShapeError
from chainrule.core.node import Node, topological
from chainrule.core.op import Op, Spec, register, sample
from chainrule.core.recording import Recording, bind, paused
from chainrule.core.tensor import Tensor, as_tensor
from chainrule.grad.vmap import vmap
from chainrule.ops.elementwise import strong


def _ref(*arrays: Any, fn: Callable) -> Any:
    with paused():
        return _pair(fn, [Tensor(x) for x in arrays])[0].numpy()


def _pair(fn: Callable, inputs: Any) -> tuple[Tensor, Callable]:
    found = fn(*inputs)
    if not isinstance(found, tuple | list) or len(found) != 2 or not callable(found[1]):
        raise GradientError(
            f"custom_gradient needs (y, pullback) from {fn.__name__}, got {type(found).__name__}",
            mend="return y, lambda g: ...",
        )
    return as_tensor(found[0]), found[1]


def _infer(*inputs: Any, fn: Callable) -> Spec:
    with Recording(concrete=False) as recording:
        y = _pair(fn, [recording.input(Tensor(_blank(x))) for x in inputs])[0]
    return Spec(y.shape, y.dtype)


def _blank(x: Any) -> Any:
    return np.broadcast_to(np.zeros((), x.dtype), x.shape)


def _vjp(g: Tensor, y: Tensor, *inputs: Tensor, fn: Callable) -> tuple:
    parts = _pair(fn, inputs)[1](g)
    parts = parts if isinstance(parts, tuple | list) else (parts,)
    if len(parts) != len(inputs):
        raise GradientError(f"a custom gradient gave {len(parts)} parts for {len(inputs)} inputs")
    for part, x in zip(parts, inputs, strict=True):
        if part is not None and part.shape != x.shape:
            raise ShapeError(f"a custom gradient of shape {part.shape} for an input {x.shape}")
    return tuple(parts)


def _no_forward(tangents: Any, y: Tensor, *inputs: Tensor, fn: Callable) -> Tensor:
    raise GradientError(
        "forward mode through a custom_gradient, which knows reverse mode only",
        mend="cr.vjp or cr.grad",
    )


def _batch(op: Op, node: Node, inputs: list, flags: list, size: int) -> Tensor:
    fn, axes = node.attrs["fn"], [0 if flag else None for flag in flags]

    def over_batch(*batch: Tensor) -> tuple[Tensor, Callable]:
        def pullback(g: Tensor) -> tuple:
            parts = vmap(lambda g, *x: tuple(_parts(fn(*x)[1](g), x)), [0, *axes])(g, *batch)
            summed = zip(parts, flags, strict=True)
            return tuple(part if flag else part.sum(axis=0) for part, flag in summed)

        return vmap(lambda *x: fn(*x)[0], axes)(*batch), pullback

    return bind(custom, *inputs, fn=over_batch)


def _parts(parts: Any, inputs: Any) -> Any:
    parts = parts if isinstance(parts, tuple | list) else (parts,)
    return [x * 0 if part is None else part for part, x in zip(parts, inputs, strict=True)]


def _doubled(x: Tensor) -> tuple[Tensor, Callable]:
    return x + x, lambda g: g * 2


custom = register(
    Op(
        name="custom",
        kind="control",
        tex=r"f(#1)",
        ref=_ref,
        infer=_infer,
        vjp=_vjp,
        jvp=_no_forward,
        batch=_batch,
        samples=(sample((2, 3), fn=_doubled),),
    )
)


def inlined(outputs: Sequence[Node], recording: Recording) -> list[Node]:
    """`outputs` with each custom node replaced by what its function computes.

    It is for when all gradients are taken, and while `recording` is active: what the functions
    capture becomes an input of it.
    """
    ends = list(outputs)
    while any(node.op is custom for node in topological(ends)):
        found: dict[Node, Tensor] = {}
        for node in topological(ends):
            inputs = [found[source] for source in node.inputs]
            origin = recording.origin = recording.origins[node]
            if node.op is custom:
                found[node] = as_tensor(node.attrs["fn"](*inputs)[0])
            elif inputs:
                found[node] = recording.apply(node.op, inputs, node.attrs, origin=origin)
            else:
                found[node] = recording.tensor(node)
        ends = [recording.node_of(found[node]) for node in ends]
    recording.origin = None
    return ends


def custom_gradient(fn: Callable) -> Callable:
    """A function whose gradient is what it says itself.

    `fn(*tensors)` gives (y, pullback); `pullback(g)` gives one cotangent per tensor, or None.

    >>> @custom_gradient
    ... def straight_through(x):
    ...     return x * 0 + 1, lambda g: g
    >>> from chainrule.grad.reverse import grad
    >>> grad(lambda x: straight_through(x) * 3)(2.0)
    Tensor(3., dtype=float32)
    """

    @wraps(fn)
    def wrapped(*args: Any) -> Tensor:
        return bind(custom, *[strong(as_tensor(x)) for x in args], fn=fn)

    return wrapped
