"""Rows of a table: which ids come first, putting rows back, and rows brought up to date.

A table that is read by id is large, and a step touches few of its rows: these ops work on the
rows that are named. Read next: `chainrule/grad/rows.py`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from chainrule.core.errors import ArgumentError, DtypeError, ShapeError
from chainrule.core.node import Node
from chainrule.core.op import NO_GRADIENT, Op, Shape, Spec, register, sample
from chainrule.core.recording import literal
from chainrule.core.tensor import Tensor, as_tensor
from chainrule.core.view import Named, Spread, View
from chainrule.ops.arrange import stack
from chainrule.ops.elementwise import cast, less, where
from chainrule.ops.index import arange, take_op, within
from chainrule.ops.move import broadcast_to, reshape

SPREADING = 0x9E3779B97F4A7C15  # 2**64 over the golden ratio: neighbours come to lie far apart


def _check_ids(who: str, ids: Any) -> None:
    if ids.dtype.kind not in "iu":
        raise DtypeError(f"{who} needs integer ids, got {ids.dtype}")


def _infer_first(ids: Any) -> Spec:
    _check_ids("first_places", ids)
    if not ids.shape:
        raise ShapeError("first_places needs an axis of ids, got a single one")
    return Spec(tuple(ids.shape), np.dtype("int64"))


def _ref_first(ids: np.ndarray) -> np.ndarray:
    places = np.empty(ids.shape, np.int64)
    for at in np.ndindex(ids.shape[:-1]):
        _, first, which = np.unique(ids[at], return_index=True, return_inverse=True)
        places[at] = first[which]
    return places


def _room(places: int) -> int:
    """A hash table at most half full."""
    return max(64, 1 << (2 * places - 1).bit_length())


def _body_first(k: Any, y: Any, x: Callable, places: int, room: Any) -> None:
    """Each id is looked up in a hash table of the places, counted from 1, of those before it."""
    size = _room(places)
    none = k.spread(k.constant(0, "int32"), k.lanes)
    k.loop(0, size, k.lanes, [], lambda i: k.store(k.advance(room, i, 1), none, k.lanes))

    def id_at(place: Any) -> Any:
        return k.convert(k.load(x(place), 1, 1, 1), "int64")

    def each(i: Any) -> None:
        own = id_at(i)
        mixed = k.bitcast(own, "uint64") * SPREADING
        start = k.bitcast(k.shift_right(mixed, 64 - (size.bit_length() - 1)), "int64")

        def look(at: Any, _: Any) -> tuple[Any, list[Any]]:
            found = k.convert(k.load(k.advance(room, at, 1), 1, 1, 1), "int64")
            free = k.equal(found, 0)
            first = k.select(free, i, found - 1)
            same = k.equal(id_at(first), own)  # so it is where the slot is free
            after = k.whole("rem", at + 1, size)
            return same ^ True, [k.select(same, at, after), first]

        at, first = k.repeat([start, i], look)
        k.store(k.advance(room, at, 1), k.convert(first + 1, "int32"), 1)
        k.store(k.advance(y, i, 1), first, 1)

    k.loop(0, places, 1, [], each)


first_places = register(
    Op(
        name="first_places",
        kind="line",
        tex=r"\mathrm{first}(#1)",
        ref=_ref_first,
        infer=_infer_first,
        deriv=NO_GRADIENT,
        vjp=lambda g, y, ids: (None,),
        jvp=lambda tangents, y, ids: None,
        body=_body_first,
        room=_room,
        samples=(sample(np.array([2, 1, 2, 0, 1])), sample(np.array([[3, 3], [0, 1]]))),
        doc="For each id along the last axis the place where that id stands first.",
    )
)


def _infer_put(x: Any, ids: Any, rows: Any) -> Spec:
    _check_ids("put_rows", ids)
    if not x.shape or len(ids.shape) != 1 or tuple(rows.shape) != (*ids.shape, *x.shape[1:]):
        raise ShapeError(
            f"put_rows needs a row for each id of one axis, got {tuple(rows.shape)} for "
            f"{tuple(ids.shape)} ids of a table {tuple(x.shape)}"
        )
    if rows.dtype != x.dtype:
        raise DtypeError(f"put_rows needs rows of {x.dtype} like the table, got {rows.dtype}")
    return Spec(tuple(x.shape), x.dtype)


def _ref_put(x: np.ndarray, ids: np.ndarray, rows: np.ndarray) -> np.ndarray:
    y = x.copy()
    y[within(ids, len(x))] = rows
    return y


def _spread_put(x: Shape, ids: Shape, rows: Shape, after: Shape) -> Spread:
    named = Named.along(View.whole(after), 0, ids)
    return Spread(tuple(range(len(rows))), named.view, None, source=2, named=named, over=0)


def _put_moved(tangents: Any, y: Tensor, x: Tensor, ids: Tensor, rows: Tensor) -> Tensor:
    table, _, given = tangents
    return put_rows(
        _zeros(x) if table is None else table, ids, _zeros(rows) if given is None else given
    )


def _zeros(x: Tensor) -> Tensor:
    return literal(value=0, shape=x.shape, dtype=x.dtype.name)


def _put_batch(op: Op, node: Node, inputs: list, flags: list, size: int) -> Tensor:
    """The batch's tables as one tall table."""
    x, ids, rows = _all_batched(inputs, flags, size)
    tall = _tall_ids(ids, x.shape[1])
    y = put_rows(_tall(x), tall, _tall(rows))
    return reshape(y, x.shape)


def _all_batched(inputs: list, flags: list, size: int) -> list[Tensor]:
    return [
        z if flag else broadcast_to(reshape(z, (1, *z.shape)), (size, *z.shape))
        for z, flag in zip(inputs, flags, strict=True)
    ]


def _tall(x: Tensor) -> Tensor:
    """A batch of tables, one below the other."""
    return reshape(x, (x.shape[0] * x.shape[1], *x.shape[2:]))


def _tall_ids(ids: Tensor, extent: int) -> Tensor:
    """A batch of ids as those of the tall table; none may name a row of a neighbour's."""
    ids = cast(ids, "int64")
    own: Any = where(less(ids, 0), -1, where(less(ids, extent), ids, -1))
    start = reshape(arange(ids.shape[0]) * extent, (ids.shape[0], 1))
    return _tall(where(less(own, 0), own, own + start))


put_rows: Op = register(
    Op(
        name="put_rows",
        kind="index",
        tex=r"\mathrm{put}(#1, #2, #3)",
        ref=_ref_put,
        infer=_infer_put,
        vjp=lambda g, y, x, ids, rows: (
            put_rows(g, ids, _zeros(rows)),
            None,
            take_op(g, ids, axis=0),
        ),
        jvp=_put_moved,
        batch=_put_batch,
        spread=_spread_put,
        samples=(
            sample((4, 3), np.array([2, 0]), (2, 3)),
            sample((3,), np.array([1, 2]), (2,)),
        ),
        doc="`x` with `rows` in place of those that `ids` name. An id that comes twice must bring "
        "the same row both times.",
    )
)


def _infer_parts(x: Any, ids: Any, places: Any, *parts: Any) -> Spec:
    _check_ids("put_parts", ids)
    _check_ids("put_parts", places)
    shape = tuple(ids.shape)
    rows = [(*shape, *x.shape[2:])] * (x.shape[1] if len(x.shape) > 1 else -1)
    if not rows or len(shape) != 1 or places.shape != shape or [p.shape for p in parts] != rows:
        raise ShapeError(
            f"put_parts needs a row for each id and part of a table (rows, parts, ...), got "
            f"{[tuple(p.shape) for p in parts]} at {tuple(places.shape)} places for {shape} ids of "
            f"a table {tuple(x.shape)}"
        )
    for part in parts:
        if part.dtype != x.dtype:
            raise DtypeError(f"put_parts needs rows of {x.dtype} like the table, got {part.dtype}")
    return Spec(tuple(x.shape), x.dtype)


def _ref_parts(x: np.ndarray, ids: np.ndarray, places: np.ndarray, *parts: Any) -> np.ndarray:
    y = x.copy()
    y[within(ids, len(x))] = np.stack(parts, axis=1)[within(places, len(ids))]
    return y


def _spread_parts(x: Shape, ids: Shape, places: Shape, *rest: Shape) -> list[Spread]:
    *parts, after = rest
    whole, found = View.whole(after), []
    for i, rows in enumerate(parts):
        own = View((after[0], *after[2:]), whole.strides[:1] + whole.strides[2:])
        named = Named.along(own._replace(offset=i * whole.strides[1]), 0, ids)
        order = tuple(range(len(rows)))
        found.append(Spread(order, named.view, None, source=3 + i, named=named, over=0, taken=2))
    return found


def _parts_batch(op: Op, node: Node, inputs: list, flags: list, size: int) -> Tensor:
    x, ids, places, *parts = _all_batched(inputs, flags, size)
    rows = _tall(stack(parts, axis=2))
    rows = take_op(rows, _tall_ids(places, ids.shape[1]), axis=0)
    return reshape(put_rows(_tall(x), _tall_ids(ids, x.shape[1]), rows), x.shape)


put_parts: Op = register(
    Op(
        name="put_parts",
        kind="index",
        tex=r"\mathrm{put}(#1, #2, #4_{#3})",
        ref=_ref_parts,
        infer=_infer_parts,
        deriv=NO_GRADIENT,
        vjp=lambda g, y, *inputs: (None,) * len(inputs),
        jvp=lambda tangents, y, *inputs: None,
        batch=_parts_batch,
        spread=_spread_parts,
        samples=(
            sample((4, 2, 3), np.array([2, 0, 2]), np.array([0, 1, 0]), (3, 3), (3, 3)),
            sample((3, 1), np.array([1, 2]), np.array([1, 1]), (2,)),
        ),
        doc="`x`, (rows, parts, ...), with row `places[i]` of each part in place of the one that "
        "`ids[i]` names. An id that comes twice must bring the same both times.",
    )
)


def _infer_caught(
    stored: Any, last: Any, ids: Any, history: Any, step: Any, rule: Callable
) -> Spec:
    _check_ids("caught_up", ids)
    if len(stored.shape) < 2 or last.shape != stored.shape[:1]:
        raise ShapeError(
            f"caught_up needs rows (n, parts, ...) and the last update (n,) of each, got "
            f"{stored.shape} and {last.shape}"
        )
    return Spec((stored.shape[1], *ids.shape, *stored.shape[2:]), stored.dtype)


def _ref_caught(
    stored: np.ndarray,
    last: np.ndarray,
    ids: np.ndarray,
    history: np.ndarray,
    step: np.ndarray,
    rule: Callable,
) -> np.ndarray:
    if step >= len(history):
        raise ArgumentError(
            f"the trail of the steps has room for {len(history)}, and all of it is taken",
            mend="state = optimizer.grown(state) before each compiled step",
        )
    if ids.shape == last.shape and np.array_equal(ids, np.arange(len(last))):
        return np.moveaxis(rule(stored, last, history, int(step)), 1, 0)
    wanted, which = np.unique(within(ids, len(stored)), return_inverse=True)
    rows = rule(stored[wanted], last[wanted], history, int(step))
    parts = np.moveaxis(rows, 1, 0)
    return parts[:, which.reshape(ids.shape)]


caught_up_op = register(
    Op(
        name="caught_up",
        kind="control",
        tex=r"\mathrm{now}(#1)_{#3}",
        ref=_ref_caught,
        infer=_infer_caught,
        deriv=NO_GRADIENT,
        vjp=lambda g, y, *inputs, rule: (None,) * len(inputs),
        jvp=lambda tangents, y, *inputs, rule: None,
    )
)


def caught_up(stored: Any, last: Any, ids: Any, history: Any, step: Any, rule: Callable) -> Tensor:
    """(parts, *ids, *row): the rows that `ids` name, as they stand before update `step`.

    `stored` is (rows, parts, *row), each row as of its update `last`; `rule(rows, last, history,
    step)` brings NumPy rows up to date, each id once. `ids` None names all rows in order; reading
    such a table by `take` brings up only what is read, once compiled; by `rule.parts(stored, last,
    ids, history, step)`, the parts as tensors, if there is such. It has no gradient.
    """
    stored = as_tensor(stored)
    ids = arange(stored.shape[0]) if ids is None else ids
    return caught_up_op(stored, last, ids, history, step, rule=rule)
