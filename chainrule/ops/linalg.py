r"""Linear algebra that NumPy runs, in float64 and rounded at the end; matrices are the last axes.

Derivatives: Giles, "Collected Matrix Derivative Results for Forward and Reverse Mode Algorithmic
Differentiation", 2008; Murray, "Differentiation of the Cholesky decomposition", 2016.
Read next: `random.py`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from chainrule.core.errors import ArgumentError, DtypeError, ShapeError
from chainrule.core.op import NO_GRADIENT, Op, Spec, register, sample
from chainrule.core.tensor import Tensor, as_tensor
from chainrule.ops.arrange import swapaxes, tril
from chainrule.ops.composite import min as smallest
from chainrule.ops.elementwise import absolute, cast, equal, power, where
from chainrule.ops.linear import matmul
from chainrule.ops.move import broadcast_to, reshape
from chainrule.ops.reduce import Axes, max as largest, normal_axes, sum as total
from chainrule.ops.statistics import count_nonzero, root


def _square(name: str, x: Any) -> None:
    if len(x.shape) < 2 or x.shape[-1] != x.shape[-2]:
        raise ShapeError(f"{name} needs square matrices, got shape {x.shape}")
    if x.dtype.kind != "f":
        raise DtypeError(f"{name} needs float matrices, got {x.dtype}", mend="cr.cast(x, ...)")


def _in_double(name: str, fn: Callable, *arrays: np.ndarray) -> np.ndarray:
    try:
        found = fn(*[x.astype("float64") for x in arrays])
    except np.linalg.LinAlgError as error:
        raise ArgumentError(f"{name} of shape {arrays[0].shape}: {error}") from None
    return np.asarray(found).astype(arrays[0].dtype)


def _infer_solve(a: Any, b: Any) -> Spec:
    _square("solve", a)
    if a.shape[:-1] != b.shape[:-1] or len(a.shape) != len(b.shape):
        raise ShapeError(f"solve needs as many rows in both, got {a.shape} and {b.shape}")
    if a.dtype != b.dtype:
        raise DtypeError(f"solve of {a.dtype} and {b.dtype}", mend=f"cr.cast(b, {a.dtype.name!r})")
    return Spec(tuple(b.shape), b.dtype)


def _vjp_solve(g: Tensor, y: Tensor, a: Tensor, b: Tensor) -> tuple:
    back = solve_op(swapaxes(a, -1, -2), g)
    return lambda: -matmul(back, swapaxes(y, -1, -2)), back


solve_op: Op = register(
    Op(
        name="solve",
        kind="host",
        tex="#1^{-1} #2",
        ref=lambda a, b: _in_double("solve", np.linalg.solve, a, b),
        infer=_infer_solve,
        vjp=_vjp_solve,
        jvp=lambda tangents, y, a, b: solve_op(a, tangents[1] - matmul(tangents[0], y)),
        samples=(sample((2, 2), (2, 3)), sample((2, 2, 2), (2, 2, 1))),
    )
)


def solve(a: Any, b: Any) -> Tensor:
    """x with a @ x = b, for a vector or matrix `b`; leading axes are a batch in both."""
    a, b = as_tensor(a), as_tensor(b)
    if b.ndim == 1:
        return reshape(solve(a, reshape(b, (-1, 1))), a.shape[:-1])
    try:
        lead = np.broadcast_shapes(a.shape[:-2], b.shape[:-2])
    except ValueError:
        raise ShapeError(f"solve needs batches that broadcast: {a.shape}, {b.shape}") from None
    return solve_op(*[broadcast_to(x, lead + x.shape[-2:]) for x in (a, b)])


def inv(x: Any) -> Tensor:
    """The inverse of square matrices; ArgumentError for a singular one."""
    x = as_tensor(x)
    _square("inv", x)
    return solve(x, np.eye(x.shape[-1], dtype=x.dtype))


def _infer_number(x: Any) -> Spec:
    _square("slogdet", x)
    return Spec(tuple(x.shape[:-2]), x.dtype)


logabsdet = register(
    Op(
        name="logabsdet",
        kind="host",
        tex=r"\ln\left|\det #1\right|",
        ref=lambda x: _in_double("slogdet", lambda x: np.linalg.slogdet(x)[1], x),
        infer=_infer_number,
        vjp=lambda g, y, x: (lambda: reshape(g, (*g.shape, 1, 1)) * swapaxes(inv(x), -1, -2),),
        jvp=lambda tangents, y, x: total(tangents[0] * swapaxes(inv(x), -1, -2), (-2, -1)),
        samples=(sample((2, 2)), sample((2, 3, 3))),
    )
)

detsign = register(
    Op(
        name="detsign",
        kind="host",
        tex=r"\mathrm{sign}\det #1",
        ref=lambda x: _in_double("slogdet", lambda x: np.linalg.slogdet(x)[0], x),
        infer=_infer_number,
        deriv=NO_GRADIENT,
        vjp=lambda g, y, x: (None,),
        jvp=lambda tangents, y, x: None,
        samples=(sample((2, 2)), sample((2, 3, 3))),
    )
)


def slogdet(x: Any) -> tuple[Tensor, Tensor]:
    """(sign, log|det x|) of square matrices; the sign has no gradient."""
    return detsign(x), logabsdet(x)


def _infer_cholesky(x: Any) -> Spec:
    _square("cholesky", x)
    return Spec(tuple(x.shape), x.dtype)


def _halved(x: Tensor) -> Tensor:
    """The lower triangle, its diagonal halved."""
    return tril(x, -1) + tril(x) * np.eye(x.shape[-1], dtype=x.dtype) * 0.5


def _evened(x: Tensor) -> Tensor:
    return (x + swapaxes(x, -1, -2)) * 0.5


def _vjp_cholesky(g: Tensor, y: Tensor, x: Tensor) -> tuple:
    upper = swapaxes(y, -1, -2)
    left = solve_op(upper, _halved(matmul(upper, g)))
    return (_evened(swapaxes(solve_op(upper, swapaxes(left, -1, -2)), -1, -2)),)


def _jvp_cholesky(tangents: list, y: Tensor, x: Tensor) -> Tensor:
    left = solve_op(y, _evened(tangents[0]))
    return matmul(y, _halved(solve_op(y, swapaxes(left, -1, -2))))


cholesky = register(
    Op(
        name="cholesky",
        kind="host",
        tex=r"\mathrm{chol}(#1)",
        ref=lambda x: _in_double(
            "cholesky", lambda x: np.linalg.cholesky((x + np.swapaxes(x, -1, -2)) / 2), x
        ),
        infer=_infer_cholesky,
        vjp=_vjp_cholesky,
        jvp=_jvp_cholesky,
        domain=(0.5, 2.0),
        samples=(sample((1, 1)), sample((3, 1, 1))),  # every draw positive definite
        doc="Lower triangular L with L L' = (x + x')/2; ArgumentError unless positive definite.",
    )
)


def norm(x: Any, axis: Axes = None, keepdims: bool = False, ord: Any = 2) -> Tensor:
    r"""The `ord`-norm of the elements along `axis`, of all when None.

    | `ord` | value |
    |---|---|
    | p > 0; 2 unless said | $(\sum |x|^p)^{1/p}$ |
    | inf, -inf | the largest, the smallest $|x|$ |
    | 0 | how many are not 0 |
    | "fro" | as 2, along two axes |

    The gradient takes the subgradient 0 at 0 and of elements that are 0; infinity shares it among
    ties. Matrix norms made of singular values are refused ("nuc").
    """
    x = as_tensor(x)
    if x.dtype.kind != "f":
        raise DtypeError(f"norm of {x.dtype}", mend="cr.cast(x, 'float32')")
    if isinstance(ord, str):
        ord = _frobenius(ord, normal_axes(axis, x.ndim))
    if ord == 2:
        return root(total(x * x, axis, keepdims))
    size = absolute(x)
    if ord == 1:
        return total(size, axis, keepdims)
    if abs(ord) == np.inf:
        return (largest if ord > 0 else smallest)(size, axis, keepdims)
    if ord == 0:
        return cast(count_nonzero(x, axis, keepdims), x.dtype)
    if not ord > 0:
        raise ArgumentError(
            f'norm\'s ord is a number > 0, 0, infinity, -infinity or "fro", got {ord!r}',
            mend="cr.power and cr.sum, for the norm-like sums of negative powers",
        )
    return _lifted(total(_lifted(size, ord), axis, keepdims), 1 / ord)


def _frobenius(name: str, axes: tuple[int, ...]) -> int:
    if name != "fro" or len(axes) != 2:
        raise ArgumentError(
            f'norm by name is "fro", along two axes; got {name!r} along {len(axes)} axes',
            mend="ord=2 along any axes; np.linalg.svd(x.numpy()), where no gradient is wanted",
        )
    return 2


def _lifted(x: Tensor, exponent: float) -> Tensor:
    """x to a power > 0 with the derivative 0 at 0."""
    flat = equal(x, 0)
    return where(flat, 0, power(where(flat, 1, x), float(exponent)))
