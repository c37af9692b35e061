r"""`RowExact`: an optimiser that updates only the rows of a table that a step has read.

A table's rows and what the optimiser keeps beside them stand together, (rows, parts, *row), each
row as of the update it was last touched in. Reading a row brings it up to date first (`idle.py`),
so every number is what the dense optimiser would have, to rounding. The optimiser within is run
as it is, on a tree in which the touched rows stand for the table: clipping, decay, averages and
groups need no rule of their own. Read next: `idle.py`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from copy import deepcopy
from typing import Any

import numpy as np

from chainrule.core.errors import ShapeError, UnknownNameError
from chainrule.core.recording import current
from chainrule.core.tensor import Tensor, as_tensor, weak_tensor
from chainrule.core.tree import flatten, unflatten
from chainrule.grad.rows import Rows
from chainrule.ops.arrange import stack
from chainrule.ops.elementwise import cast
from chainrule.ops.index import arange, take_op
from chainrule.ops.move import broadcast_to, reshape
from chainrule.ops.rows import caught_up, first_places, put_parts, put_rows
from chainrule.train.around import Around
from chainrule.train.groups import leaf_paths
from chainrule.train.idle import Idle

STEPS_AT_FIRST = 1024  # the trail holds so many, then twice as many, and so on


class RowExact(Around):
    """`inner`, with the parameters at the paths `tables` updated row by row.

    The tables live in the state from `init` on: `current(params, state)` are the parameters to
    compute with, and what `params` holds in a table's place is neither read nor renewed, and may
    be None. A gradient that is `Rows` touches its rows; any other gradient touches all of them.
    Inside `jit`, `state = grown(state)` is due before each call. UnknownNameError for a table that
    is no parameter, ArgumentError for an optimiser whose rows depend on each other.

    >>> opt = RowExact("adam", ["table"])
    >>> params = {"table": Tensor(np.ones((4, 2), np.float32))}
    >>> state = opt.init(params)
    >>> g = Rows([1, 1], np.ones((2, 2), np.float32), (4, 2))
    >>> params, state = opt.update(params, {"table": g}, state)
    >>> opt.current(params, state)["table"][:, 0]
    Tensor([1.   , 0.999, 1.   , 1.   ], dtype=float32)
    """

    def __init__(self, inner: Any, tables: Iterable[str]):
        super().__init__(inner)
        self.tables = tuple(tables)
        self._rules: dict[Any, Idle] = {}

    def __repr__(self) -> str:
        return f"RowExact({self.inner!r}, {list(self.tables)})"

    def __deepcopy__(self, memo: dict) -> RowExact:
        return RowExact(deepcopy(self.inner, memo), self.tables)

    def init(self, params: Any) -> dict[str, Any]:
        """The state before the first update, with the tables in it."""
        return self.closed(params, self.inner.init(_named(params)))

    def closed(self, params: Any, inner: Any) -> dict[str, Any]:
        """The state that holds the tables of `params` and the state `inner` of the optimiser
        within, all of them up to date."""
        flat, kept, tables = _named(params), _named(inner), {}
        for path in self.tables:
            if path not in flat:
                raise UnknownNameError("table", path, flat)
            rule = self._rule(path, flat[path])
            parts = [flat[path], *[kept.pop(name) for name in rule.slots]]
            rows = np.stack([as_tensor(part).numpy() for part in parts], axis=1)
            last = np.zeros(len(rows), np.int32)
            tables[path] = {"rows": Tensor(rows), "last": Tensor(last)}
            if rule.at_once:
                tables[path]["sums"] = rule.at_once.blank(STEPS_AT_FIRST)
        state = {"inner": _without(inner, kept), "tables": tables}
        trail = np.zeros((STEPS_AT_FIRST, 1 + len(self._shared(state))))
        return {**state, "trail": Tensor(trail), "step": Tensor(np.int32(0))}

    def opened(self, state: Any) -> Any:
        """The state of the optimiser within as a copy that is dense and up to date."""
        kept: dict[str, Any] = {}
        for path in self.tables:
            parts = self._parts(path, state)
            slots = self._idle(path, state).slots
            kept |= {name: parts[i] for i, name in enumerate(slots, start=1)}
        return _filled(state["inner"], kept)

    def current(self, params: Any, state: Any) -> Any:
        """`params`, the tables as they are now; a compiled `take` of one reads its rows only."""
        now = {path: self._parts(path, state)[0] for path in self.tables}
        return _like(params, {**_named(params), **now})

    def adopted(self, params: Any, state: Any) -> Any:
        """`state`, with the tables of `params` where somebody has changed one; for between steps.

        What rows have missed until then is made up for in all of them first.
        """
        flat = _named(params)
        same = (
            np.array_equal(self._parts(path, state)[0].numpy(), as_tensor(flat[path]).numpy())
            for path in self.tables
        )
        return state if all(same) else self.closed(params, self.opened(state))

    def rate(self, state: Mapping[str, Any], learning_rate: Any = None) -> Any:
        """The learning rate of the next update."""
        return self.inner.rate(state["inner"], learning_rate)

    def grown(self, state: Any, steps: int = 1) -> Any:
        """`state` with room for so many updates more; the same object where there is, or where
        no row ever misses anything."""
        needed, tables = int(state["step"]) + steps, dict(state["tables"])
        for path, table in state["tables"].items():
            if rule := self._idle(path, state).at_once:
                sums = _longer(table["sums"], needed, rule.before)
                tables[path] = table if sums is table["sums"] else {**table, "sums": sums}
        trail = _longer(state["trail"], needed) if self._told(state) else state["trail"]
        same = all(tables[path] is table for path, table in state["tables"].items())
        if same and trail is state["trail"]:
            return state
        return {**state, "tables": tables, "trail": trail}

    def update(
        self, params: Any, grads: Any, state: Any, learning_rate: Any = None, **weight: Any
    ) -> tuple[Any, Any]:
        """(new parameters, new state); `params` may hold None for the tables."""
        if current() is None:
            state = self.grown(state)
        own, slopes = _named(params), _named(grads)
        flat, kept, touched = dict(own), dict[str, Any](), {}
        for path in self.tables:
            ids, places, slopes[path] = self._touched(path, slopes.get(path), state)
            now = self._parts(path, state, ids)
            flat[path], touched[path] = now[0], (ids, places)
            kept |= {n: now[i] for i, n in enumerate(self._idle(path, state).slots, start=1)}
        trail = self._written(state, learning_rate)
        made, inner = self.inner.update(
            flat,
            {**dict.fromkeys(flat), **slopes},
            _filled(state["inner"], kept),
            learning_rate,
            **weight,
        )
        after, tables = _named(inner), {}
        for path, where in touched.items():
            slots = [after.pop(name) for name in self._idle(path, state).slots]
            tables[path] = self._put(state, path, *where, [made[path], *slots])
            if rule := self._idle(path, state).at_once:
                sums, rate, t = state["tables"][path]["sums"], *self._pace(state, learning_rate)
                tables[path]["sums"] = rule.advanced(sums, state["step"], rate, t)
        new = {path: own.get(path) if path in touched else each for path, each in made.items()}
        return _like(params, new), {
            "inner": _without(inner, after),
            "tables": tables,
            "trail": trail,
            "step": state["step"] + 1,
        }

    def _written(self, state: Any, learning_rate: Any) -> Tensor:
        """The trail with the line of the next update: its rate, and the numbers that rows share.

        As it is where no row will ever ask.
        """
        if not self._told(state):
            return state["trail"]
        kept = _named(state["inner"])
        numbers = [weak_tensor(self.rate(state, learning_rate))]
        numbers += [kept[name] for name in self._shared(state)]
        row = reshape(stack([cast(x, "float64") for x in numbers]), (1, len(numbers)))
        return put_rows(state["trail"], reshape(state["step"], 1), row)

    def _told(self, state: Any) -> bool:
        """Whether the rows of some table will ask what the steps were like."""
        rules = (self._idle(path, state) for path in self.tables)
        return any(not (rule.rests or rule.at_once) for rule in rules)

    def _pace(self, state: Any, learning_rate: Any) -> tuple[Tensor, Tensor]:
        """The rate and the number of the next update, in float64."""
        rate = cast(weak_tensor(self.rate(state, learning_rate)), "float64")
        return rate, cast(_named(state["inner"])["step"], "float64") + 1

    def _touched(self, path: str, g: Any, state: Any) -> tuple[Tensor, Tensor, Any]:
        """The ids that `g` touches, where each stands first, and for each id what the optimiser is
        to see as its gradient: at all places but the first zeros."""
        shape = _shape(state["tables"][path]["rows"])
        if g is not None and g.shape != shape:
            raise ShapeError(f"the gradient of {path!r} needs shape {shape}, got {tuple(g.shape)}")
        if not isinstance(g, Rows):
            return arange(shape[0]), arange(shape[0]), g
        g = g.sum_rows()
        return g.ids, first_places(g.ids), g.values

    def _parts(self, path: str, state: Any, ids: Any = None) -> Any:
        """(parts, n, *row): the rows `ids` of the table at `path`, up to date; None is all."""
        table = state["tables"][path]
        rule = self._idle(path, state)
        if rule.rests:
            parts = [table["rows"][:, i] for i in range(1 + len(rule.slots))]
            return parts if ids is None else [take_op(part, ids, axis=0) for part in parts]
        if rule.at_once:
            about = table["rows"], table["last"], ids, table["sums"], state["step"]
            return caught_up(*about, rule.at_once) if ids is None else rule.at_once.parts(*about)
        return caught_up(table["rows"], table["last"], ids, state["trail"], state["step"], rule)

    def _put(
        self, state: Any, path: str, ids: Tensor, places: Tensor, parts: list
    ) -> dict[str, Tensor]:
        """The table with the rows of `parts`, of which an id's first had its whole gradient."""
        table = state["tables"][path]
        rows, last = put_parts(table["rows"], ids, places, *parts), table["last"]
        if not self._idle(path, state).rests:
            last = put_rows(last, ids, broadcast_to(state["step"] + 1, ids.shape))
        return {"rows": rows, "last": last}

    def _idle(self, path: str, state: Any) -> Idle:
        """The rule of the table at `path`; one object, so that equal reads are one."""
        rule = self._rule(path, state["tables"][path]["rows"], packed=True)
        if not rule.columns:
            rule.columns = {name: i for i, name in enumerate(self._shared(state), start=1)}
        return rule

    def _rule(self, path: str, table: Any, packed: bool = False) -> Idle:
        key = path, len(table.shape) - packed, table.dtype
        if key not in self._rules:
            self._rules[key] = Idle(self.inner, *key)
        return self._rules[key]

    def _shared(self, state: Any) -> list[str]:
        """The numbers that the rows of some table share, in the order of the trail."""
        rules = [self._rule(path, t["rows"], packed=True) for path, t in state["tables"].items()]
        return sorted({name for rule in rules for name in rule.shared})


def _named(tree: Any) -> dict[str, Any]:
    """The leaves of `tree` by their paths, as `leaf_paths` has them; `Rows` is one."""
    if isinstance(tree, dict):
        parts: Any = [(key, tree[key]) for key in sorted(tree, key=str)]
    elif isinstance(tree, list | tuple):
        parts = enumerate(tree)
    elif isinstance(tree, Rows):
        return {"": tree}
    else:
        return dict(zip(leaf_paths(tree), flatten(tree)[0], strict=True))
    return {
        "/".join(filter(None, (str(key), path))): leaf
        for key, part in parts
        for path, leaf in _named(part).items()
    }


def _like(params: Any, leaves: Mapping[str, Any]) -> Any:
    """`leaves` in the tree of `params`, which may hold None for some where it is a flat dict."""
    if isinstance(params, dict) and leaves.keys() <= params.keys():
        return {**params, **leaves}
    return unflatten(flatten(params)[1], [leaves[path] for path in leaf_paths(params)])


def _without(inner: Any, kept: Mapping[str, Any]) -> Any:
    """`inner` with None for every leaf that is not among `kept`."""
    return unflatten(flatten(inner)[1], [kept.get(name) for name in leaf_paths(inner)])


def _filled(inner: Any, kept: Mapping[str, Any], path: str = "") -> Any:
    """`inner` with the leaves `kept` where it holds None at their paths."""

    def below(key: Any, part: Any) -> Any:
        return _filled(part, kept, "/".join(filter(None, (path, str(key)))))

    if isinstance(inner, dict):
        return {key: below(key, part) for key, part in inner.items()}
    if isinstance(inner, list | tuple):
        return type(inner)(below(i, part) for i, part in enumerate(inner))
    return kept.get(path) if inner is None else inner


def _longer(history: Tensor, needed: int, before: int = 0) -> Tensor:
    """`history` with a line for each of `needed` updates, behind so many `before` the first; the
    same object where they are there."""
    room = history.shape[0] - before
    if needed <= room:
        return history
    while room < needed:
        room *= 2
    more = np.zeros((before + room, *history.shape[1:]))
    more[: history.shape[0]] = history.numpy()
    return Tensor(more)


def _shape(rows: Any) -> tuple[int, ...]:
    """The shape of a table whose rows have parts."""
    return (rows.shape[0], *rows.shape[2:])
