"""Contractions: one bilinear op carries matmul, outer products, dot and convolution.

Its spec is einsum's notation without repeats inside an operand. Its derivative in each input
is a contraction, batching it adds a letter, and every orientation of a product is one spec.
Read next: `window.py`.
"""

from __future__ import annotations

from string import ascii_lowercase
from typing import Any, NamedTuple

import numpy as np

from chainrule.core.errors import ArgumentError, DtypeError, ShapeError
from chainrule.core.op import Op, Spec, register, sample
from chainrule.core.tensor import Tensor, as_tensor
from chainrule.ops.move import broadcast_to, reshape


class Letters(NamedTuple):
    """A spec taken apart: each string lists letters in the order of `out` (or of `a`)."""

    a: str
    b: str
    out: str
    batch: str  # in all three
    rows: str  # in a and out
    columns: str  # in b and out
    summed: str  # in a and b


def letters(spec: str) -> Letters:
    """Take a spec apart; ArgumentError where it is not one."""
    try:
        inputs, out = spec.split("->")
        a, b = inputs.split(",")
    except ValueError:
        raise ArgumentError(f"a contraction's spec reads 'ij,jk->ik', got {spec!r}") from None
    for part in (a, b, out):
        if len(set(part)) != len(part):
            raise ArgumentError(f"a letter stands twice in {part!r} of {spec!r}")
    lost = (set(a) ^ set(b)) - set(out) | set(out) - set(a + b)
    if lost:
        raise ArgumentError(f"letters {sorted(lost)} of {spec!r} stand in one place only")
    return Letters(
        a,
        b,
        out,
        "".join(q for q in out if q in a and q in b),
        "".join(q for q in out if q not in b),
        "".join(q for q in out if q not in a),
        "".join(q for q in a if q in b and q not in out),
    )


def extents(spec: str, a: Any, b: Any) -> dict[str, int]:
    """How far each letter runs; ShapeError where the operands disagree."""
    part = letters(spec)
    if len(part.a) != len(a.shape) or len(part.b) != len(b.shape):
        raise ShapeError(f"contract {spec!r} needs as many axes as letters: {a.shape}, {b.shape}")
    found = dict(zip(part.a, a.shape, strict=True))
    for q, n in zip(part.b, b.shape, strict=True):
        if found.setdefault(q, n) != n:
            raise ShapeError(
                f"contract {spec!r} needs equal extents for {q!r}, got {a.shape} and {b.shape}"
            )
    return found


def _infer(a: Any, b: Any, spec: str) -> Spec:
    found = extents(spec, a, b)
    if a.dtype != b.dtype:
        raise DtypeError(
            f"a product of {a.dtype} and {b.dtype}: two dtypes do not mix by themselves",
            mend=f"cr.cast(x, {a.dtype.name!r})",
        )
    return Spec(tuple(found[q] for q in letters(spec).out), a.dtype)


def _ref(a: np.ndarray, b: np.ndarray, spec: str) -> np.ndarray:
    part = letters(spec)
    size = extents(spec, a, b)

    def matrix(x: np.ndarray, own: str, first: str, second: str) -> np.ndarray:
        order = [own.index(q) for q in part.batch + first + second]
        groups = [int(np.prod([size[q] for q in g], dtype=np.int64)) for g in (first, second)]
        return x.transpose(order).reshape([size[q] for q in part.batch] + groups)

    y = matrix(a, part.a, part.rows, part.summed) @ matrix(b, part.b, part.summed, part.columns)
    order = part.batch + part.rows + part.columns
    return y.reshape([size[q] for q in order]).transpose([order.index(q) for q in part.out])


contract = register(
    Op(
        name="contract",
        kind="contraction",
        tex=r"\sum #1 \cdot #2",
        ref=_ref,
        infer=_infer,
        linear=(0, 1),
        vjp=lambda g, y, a, b, spec: _vjp(g, a, b, letters(spec)),
        lower=letters,
        samples=(
            sample((2, 3), (3, 4), spec="ij,jk->ik"),
            sample((3, 2), (4, 3), spec="ji,kj->ik"),
            sample((2, 3), (2, 4), spec="bi,bo->io"),
            sample((2, 3, 4), (2, 4, 5), spec="bij,bjk->bik"),
            sample((3,), (3,), spec="i,i->"),
            sample((2,), (3,), spec="i,j->ij"),
            sample((2, 3, 2, 2), (2, 2, 4), spec="nhij,ijo->nho"),
        ),
    )
)


def _vjp(g: Tensor, a: Tensor, b: Tensor, part: Letters) -> tuple:
    return (
        lambda: contract(g, b, spec=f"{part.out},{part.b}->{part.a}"),
        lambda: contract(a, g, spec=f"{part.a},{part.out}->{part.b}"),
    )


def matmul(x: Any, z: Any) -> Tensor:
    """The matrix product over the last axis of `x` and the last but one of `z`.

    Leading axes broadcast, a vector counts as a row on the left and a column on the right.
    ShapeError when columns of x differ from rows of z.
    """
    x, z = as_tensor(x), as_tensor(z)
    if not x.ndim or not z.ndim:
        raise ShapeError(f"matmul needs an axis in each, got {x.shape} @ {z.shape}")
    rows = z.shape[-2] if z.ndim > 1 else z.shape[0]
    if x.shape[-1] != rows:
        raise ShapeError(
            f"matmul needs columns of a == rows of b, got {x.shape} @ {z.shape}",
            mend=f"the right side needs {x.shape[-1]} rows, or the left {rows} columns",
        )
    if z.ndim == 1:
        lead = ascii_lowercase[: x.ndim - 1]
        return contract(x, z, spec=f"{lead}z,z->{lead}")
    if z.ndim == 2:
        lead = ascii_lowercase[: x.ndim - 1]
        return contract(x, z, spec=f"{lead}z,zy->{lead}y")
    if x.ndim == 1:
        lead = ascii_lowercase[: z.ndim - 2]
        return contract(x, z, spec=f"z,{lead}zy->{lead}y")
    try:
        shape = np.broadcast_shapes(x.shape[:-2], z.shape[:-2])
    except ValueError:
        raise ShapeError(
            f"matmul needs leading axes that broadcast, got {x.shape} @ {z.shape}",
            mend="axes before the last two must be equal or 1, counted from the last",
        ) from None
    x, z = broadcast_to(x, shape + x.shape[-2:]), broadcast_to(z, shape + z.shape[-2:])
    lead = ascii_lowercase[: len(shape)]
    return contract(x, z, spec=f"{lead}xz,{lead}zy->{lead}xy")


def dot(x: Any, z: Any) -> Tensor:
    """The inner product of two vectors."""
    return contract(x, z, spec="i,i->")


def outer(x: Any, z: Any) -> Tensor:
    """Every product of an element of `x` and one of `z`, both flattened."""
    return contract(reshape(x, -1), reshape(z, -1), spec="i,j->ij")
