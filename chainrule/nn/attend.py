r"""`dot_product_attention`: $\text{softmax}(Q K^\top) V$, of long contexts a block at a time.

T queries of T keys have T x T scores, and these are what attention costs in memory. Of a long
context they are made for `BLOCK` queries at a time, in a loop that keeps none of them: the
backward loop makes them again. So memory grows as T does. Read next: `attention.py`.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from chainrule.core.errors import ArgumentError, ShapeError
from chainrule.core.tensor import Tensor, as_tensor
from chainrule.grad.branches import checkpoint
from chainrule.grad.scan import scan
from chainrule.nn.checks import rate_below_one
from chainrule.ops.arrange import concatenate
from chainrule.ops.elementwise import exp, greater, less, multiply, stop_gradient, where
from chainrule.ops.linear import contract
from chainrule.ops.logic import logical_and
from chainrule.ops.move import broadcast_to, expand_dims, pad, reshape, transpose
from chainrule.ops.random import bernoulli, fold_in
from chainrule.ops.reduce import max, sum

HIDDEN = -1e9  # a score that softmax makes 0, and finite where all of a row is masked
LONG = 1024  # queries and keys from which scores are made by blocks
BLOCK = 32  # queries of a block
PART = 64  # queries of a causal part at least, and for which keys by queries is the quick order
PARTS = 4  # causal parts at most: each has code of its own


def dot_product_attention(
    query: Any,
    key: Any,
    value: Any,
    mask: Any = None,
    causal: bool = False,
    scale: float | None = None,
    dropout: float = 0.0,
    dropout_key: Tensor | None = None,
) -> Tensor:
    r"""$\text{softmax}(s\,Q K^\top) V$: the values, weighed by how well their keys fit a query.

    `query` is (batch, queries, heads, features), `key` (batch, keys, heads, features), `value`
    (batch, keys, heads, values), the result (batch, queries, heads, values); `scale` s is
    features^-1/2 when not given. A `mask` is (batch, keys) or (batch, queries, keys), True or
    above 0 where a key may be read; where a query may read none, all keys weigh alike. With
    `causal` the last query reads all keys, and each before it one fewer. `dropout` is the rate
    of weights that become 0, those that `dropout_key` says.

    From 1,024 queries and keys on, memory grows as their number does, not as its square.
    ShapeError where shapes do not go together; ArgumentError for a rate without a key.

    Source: Vaswani et al., "Attention Is All You Need", 2017, equation 1. By blocks: Rabe and
    Staats, "Self-attention does not need O(n^2) memory", 2021.

    >>> x = np.float32([[[[1, 0]], [[0, 1]]]])  # two steps, one head
    >>> dot_product_attention(x, x, x, causal=True, scale=1000.0)[0, :, 0]
    Tensor([[1., 0.],
            [0., 1.]], dtype=float32)
    """
    q, k, v = as_tensor(query), as_tensor(key), as_tensor(value)
    _check(q, k, v)
    drop = _dropping(dropout, dropout_key)
    allowed = None if mask is None else _readable(as_tensor(mask), q.shape, k.shape)
    q = multiply(q, q.shape[-1] ** -0.5 if scale is None else scale)
    k, v = transpose(k, (0, 2, 1, 3)), transpose(v, (0, 2, 1, 3))
    queries, keys = q.shape[1], k.shape[2]
    read = _at_once if queries < LONG or keys < LONG else _by_blocks
    ahead = keys - queries
    if not causal or allowed is not None or ahead < 0:  # a query may then read none, so all
        return read(q, k, v, allowed, ahead if causal else None, drop)
    parts = []
    for first, last in _parts(queries):
        seen = k[:, :, : last + ahead], v[:, :, : last + ahead]
        own = drop and drop.of(first)
        parts.append(read(q[:, first:last], *seen, None, first + ahead, own))
    return parts[0] if len(parts) == 1 else concatenate(parts, axis=1)


def _check(q: Tensor, k: Tensor, v: Tensor) -> None:
    shapes = f"query {q.shape}, key {k.shape}, value {v.shape}"
    if {q.ndim, k.ndim, v.ndim} != {4}:
        raise ShapeError(f"attention needs axes (batch, steps, heads, features), got {shapes}")
    if not q.shape[::2] == k.shape[::2] == v.shape[::2]:
        raise ShapeError(f"attention needs equal batches and equal heads, got {shapes}")
    if k.shape[1] != v.shape[1]:
        raise ShapeError(f"attention needs as many values as keys, got {shapes}")
    if q.shape[3] != k.shape[3]:
        raise ShapeError(f"attention needs a key's features to be a query's, got {shapes}")


class Drop(NamedTuple):
    """Weights become 0 at `rate`, those that `key` says."""

    rate: float
    key: Tensor

    def of(self, number: Any) -> Drop:
        """The same for one of several parts."""
        return Drop(self.rate, fold_in(self.key, number))

    def __call__(self, weights: Any) -> Tensor:
        keep = bernoulli(self.key, 1 - self.rate, weights.shape)
        return where(keep, multiply(weights, 1 / (1 - self.rate)), 0.0)


def _dropping(rate: float, key: Tensor | None) -> Drop | None:
    if not rate_below_one(rate, "dot_product_attention"):
        return None
    if key is None:
        raise ArgumentError(
            "dropout of attention draws random numbers, and no key was given",
            mend="dropout_key=cr.key(0)",
        )
    return Drop(rate, key)


def _readable(mask: Tensor, query: tuple[int, ...], key: tuple[int, ...]) -> Tensor:
    """The mask as bool, (batch, 1 or queries, keys)."""
    n, queries, keys = query[0], query[1], key[1]
    if mask.shape not in ((n, keys), (n, queries, keys)):
        raise ShapeError(
            f"attention needs a mask of shape {(n, keys)} or {(n, queries, keys)}, got {mask.shape}"
        )
    return reshape(mask if mask.dtype.kind == "b" else greater(mask, 0), (n, -1, keys))


def _parts(queries: int) -> list[tuple[int, int]]:
    """Where the causal parts begin and end; each reads only the keys up to its end."""
    count = min(PARTS, queries // PART) or 1
    each = -(-queries // (count * BLOCK)) * BLOCK
    return [(i, min(i + each, queries)) for i in range(0, queries, each)]


def _at_once(q: Any, k: Any, v: Any, allowed: Any, before: int | None, drop: Drop | None) -> Tensor:
    """What the queries read; the first of them `before` keys and one more, if it is given."""
    order = "kq" if q.shape[1] <= PART else "qk"
    if allowed is not None and order == "kq":
        allowed = transpose(allowed, (0, 2, 1))
    if before is not None:
        last = np.arange(before, before + q.shape[1], dtype=np.int32)
        allowed = _and(allowed, _no_later(last, k.shape[2], order))
    return _weighed(q, k, v, allowed, drop, order)


def _no_later(last: Any, keys: int, order: str) -> Tensor:
    """Which keys stand no later than the `last` of each query, axes in `order`."""
    along = [(1, -1, 1), (1, 1, -1)]
    at = np.arange(keys, dtype=np.int32).reshape(along[order.index("k")])
    return less(at, reshape(last + 1, along[order.index("q")]))


def _and(allowed: Any, also: Any) -> Any:
    return also if allowed is None else logical_and(allowed, also)


def _weighed(q: Any, k: Any, v: Any, allowed: Any, drop: Drop | None, order: str) -> Tensor:
    """The values, weighed by softmax of the scores.

    The last axes of scores and of `allowed` stand in `order`. Where keys stand before queries,
    no product, forward or backward, has to write out keys or values in another order; softmax
    then goes down columns, which is quick while they are few. It divides what was summed, which
    is less than the weights are.
    """
    if order == "kq":
        scores: Any = contract(k, q, spec="nhkd,nqhd->nhkq")
    else:
        scores = contract(q, k, spec="nqhd,nhkd->nhqk")
    if allowed is not None:
        scores = where(broadcast_to(expand_dims(allowed, 1), scores.shape), scores, HIDDEN)
    axis = order.index("k") - 2
    weights: Any = exp(scores - stop_gradient(max(scores, axis, keepdims=True)))
    total = reshape(sum(weights, axis), (*scores.shape[:2], -1, 1))
    summed = contract(drop(weights) if drop else weights, v, spec=f"nh{order},nhkd->nqhd")
    return summed / transpose(total, (0, 2, 1, 3))


def _by_blocks(
    q: Any, k: Any, v: Any, allowed: Any, before: int | None, drop: Drop | None
) -> Tensor:
    """As `_at_once`, in a loop over examples, whose keys and values then stay in cache, and in
    each over blocks of queries."""
    x = {"q": q, "k": k, "v": v, "number": np.arange(q.shape[0], dtype=np.uint32)}
    if allowed is not None:
        x["allowed"] = allowed

    def example(_: Any, x: dict) -> tuple:
        q, k, v = x["q"][None], x["k"][None], x["v"][None]
        allowed = x["allowed"][None] if "allowed" in x else None
        return (), _blocks(q, k, v, allowed, before, drop and drop.of(x["number"]))[0]

    return scan(example, (), x)[1]


def _blocks(q: Any, k: Any, v: Any, allowed: Any, before: int | None, drop: Drop | None) -> Tensor:
    queries, keys, count = q.shape[1], k.shape[2], -(-q.shape[1] // BLOCK)
    x = {"q": _cut(q, count), "number": np.arange(count, dtype=np.uint32)}
    shared = None if allowed is None else transpose(allowed, (0, 2, 1))
    if shared is not None and shared.shape[2] > 1:
        x["allowed"], shared = transpose(_cut(allowed, count), (0, 1, 3, 2)), None

    def rows(x: dict, k: Any, v: Any, shared: Any) -> Tensor:
        allowed = x.get("allowed", shared)
        if before is not None:
            first = BLOCK * x["number"].astype("int32") + before
            last = first + np.arange(BLOCK, dtype=np.int32)
            allowed = _and(allowed, _no_later(last, keys, "kq"))
        own = drop and drop.of(x["number"])
        return _weighed(x["q"], k, v, allowed, own, "kq")

    again = checkpoint(rows)
    _, y = scan(lambda _, x: ((), again(x, k, v, shared)), (), x)
    y = transpose(y, (1, 0, 2, 3, 4))
    return reshape(y, (y.shape[0], count * BLOCK, *y.shape[3:]))[:, :queries]


def _cut(x: Any, count: int) -> Any:
    """(batch, queries, ...) as `count` blocks, (blocks, batch, `BLOCK`, ...)."""
    more = count * BLOCK - x.shape[1]
    if more:
        x = pad(x, [(0, 0), (0, more), *[(0, 0)] * (x.ndim - 2)])
    cut = reshape(x, (x.shape[0], count, BLOCK, *x.shape[2:]))
    return transpose(cut, (1, 0, *range(2, cut.ndim)))
