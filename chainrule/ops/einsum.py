"""Sums of products by letters: einsum of any spec, made of diagonals, sums and contractions.

Read next: `window.py`.
"""

from __future__ import annotations

from collections.abc import Sequence
from string import ascii_letters
from typing import Any

from chainrule.core.errors import ArgumentError, ShapeError
from chainrule.core.tensor import Tensor, as_tensor
from chainrule.ops.linear import contract
from chainrule.ops.move import broadcast_to, normal_axis, reshape, slice_op, transpose
from chainrule.ops.reduce import sum as total


def einsum(spec: str, *operands: Any) -> Tensor:
    """The sum of products that `spec` names, such as "bij,bjk->bik", "ii->i" or "...i,i".

    A letter repeated inside an operand reads its diagonal; one that stands in one operand only
    is summed first; operands are joined from left to right. Without "->" the letters that occur
    once are kept, in alphabetical order. ArgumentError for a bad spec, ShapeError where extents
    differ.
    """
    tensors = [as_tensor(x) for x in operands]
    terms, out = _letters(spec, tensors)
    extents: dict[str, int] = {}
    for term, x in zip(terms, tensors, strict=True):
        for q, n in zip(term, x.shape, strict=True):
            if extents.setdefault(q, n) not in (n, 1) and n != 1:
                shapes = [x.shape for x in tensors]
                raise ShapeError(f"einsum {spec!r} needs equal extents for {q!r}, got {shapes}")
            extents[q] = n if extents[q] == 1 else extents[q]
    pairs = [_diagonal(term, x, extents) for term, x in zip(terms, tensors, strict=True)]
    term, x = pairs[0]
    for i, (other, z) in enumerate(pairs[1:], 1):
        needed = set(out).union(*[later for later, _ in pairs[i + 1 :]])
        term, x = _summed(term, x, needed | set(other))
        other, z = _summed(other, z, needed | set(term))
        joined = "".join(q for q in dict.fromkeys(term + other) if q in needed)
        term, x = joined, contract(x, z, spec=f"{term},{other}->{joined}")
    term, x = _summed(term, x, set(out))
    x = transpose(x, [term.index(q) for q in out if q in term])
    shape = [extents[q] for q in out]
    return broadcast_to(reshape(x, [extents[q] if q in term else 1 for q in out]), shape)


def _letters(spec: str, tensors: Sequence[Tensor]) -> tuple[list[str], str]:
    """One string of letters per operand, and the result's; "..." written out."""
    inputs, arrow, out = spec.replace(" ", "").partition("->")
    terms = inputs.split(",")
    if len(terms) != len(tensors):
        raise ArgumentError(f"einsum {spec!r} names {len(terms)} operands, got {len(tensors)}")
    free = [q for q in ascii_letters if q not in spec]
    hidden = [x.ndim - len(t.replace("...", "")) for t, x in zip(terms, tensors, strict=True)]
    if any(n < 0 or (n and "..." not in t) for n, t in zip(hidden, terms, strict=True)):
        shapes = [x.shape for x in tensors]
        raise ShapeError(f"einsum {spec!r} needs as many axes as letters, got {shapes}")
    widest = max((n for n, t in zip(hidden, terms, strict=True) if "..." in t), default=0)
    names = "".join(free[:widest])
    terms = [t.replace("...", names[widest - n :]) for t, n in zip(terms, hidden, strict=True)]
    if not arrow:
        joined = "".join(terms)
        out = names + "".join(sorted(q for q in set(joined) - set(names) if joined.count(q) == 1))
    out = out.replace("...", names)
    bad = [q for q in "".join(terms) + out if q not in ascii_letters]
    if bad or len(set(out)) < len(out) or not set(out) <= set("".join(terms)):
        raise ArgumentError(
            f"einsum needs letters, each result's once and from the operands: {spec!r}"
        )
    return terms, out


def _diagonal(term: str, x: Tensor, extents: dict[str, int]) -> tuple[str, Tensor]:
    """Each letter once: repeats read the diagonal, and an extent of 1 beside a larger goes."""
    drop = [i for i, q in enumerate(term) if x.shape[i] == 1 and extents[q] != 1]
    x = reshape(x, [n for i, n in enumerate(x.shape) if i not in drop])
    term = "".join(q for i, q in enumerate(term) if i not in drop)
    while len(set(term)) < len(term):
        q = next(q for q in term if term.count(q) > 1)
        first, second = term.index(q), term.index(q, term.index(q) + 1)
        rest = [i for i in range(x.ndim) if i not in (first, second)]
        n = x.shape[first]
        x = reshape(transpose(x, [*rest, first, second]), [*(x.shape[i] for i in rest), n * n])
        last, shape = x.ndim - 1, x.shape
        x = slice_op(  # every (n + 1)-th element of an n x n block stands on its diagonal
            x, start=(0,) * x.ndim, stop=shape, step=(*[1] * last, n + 1)
        )
        term = "".join(term[i] for i in rest) + q
    return term, x


def _summed(term: str, x: Tensor, needed: set[str]) -> tuple[str, Tensor]:
    """Without the letters nobody else needs."""
    axes = [i for i, q in enumerate(term) if q not in needed]
    return "".join(q for q in term if q in needed), total(x, axes) if axes else x


def tensordot(x: Any, z: Any, axes: int | Sequence[Any] = 2) -> Tensor:
    """Products summed over the last `axes` axes of `x` and first of `z`, or over given pairs."""
    x, z = as_tensor(x), as_tensor(z)
    if isinstance(axes, int):
        if not 0 <= axes <= min(x.ndim, z.ndim):
            raise ShapeError(f"tensordot over {axes} axes of {x.shape} and {z.shape}")
        pairs = [(x.ndim - axes + i, i) for i in range(axes)]
    else:
        left, right = [[a] if isinstance(a, int) else list(a) for a in axes]
        if len(left) != len(right):
            raise ArgumentError(f"tensordot needs as many axes of each, got {left} and {right}")
        pairs = [
            (normal_axis(a, x.ndim), normal_axis(b, z.ndim))
            for a, b in zip(left, right, strict=True)
        ]
    a, b = ascii_letters[: x.ndim], list(ascii_letters[26 : 26 + z.ndim])
    for i, j in pairs:
        b[j] = a[i]
    out = "".join(q for q in [*a, *b] if (q in a) != (q in b))
    return contract(x, z, spec=f"{a},{''.join(b)}->{out}")


def vecdot(x: Any, z: Any, axis: int = -1) -> Tensor:
    """Inner products along `axis` of both; the other axes broadcast."""
    x, z = as_tensor(x), as_tensor(z)
    parts = []
    for t in (x, z):
        at = normal_axis(axis, t.ndim)
        parts.append(transpose(t, [*[i for i in range(t.ndim) if i != at], at]))
    return einsum("...i,...i->...", *parts)
