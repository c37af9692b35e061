r"""Rows that saw no gradient for a while, brought to where a dense optimiser would have them.

Between two touches a row's gradient is zero, so what the optimiser, whatever it is made of, does
to it is known: `Idle` makes the missed updates with the rates of their steps, on the rows that are
wanted only. Once all that is still to come moves no element by half a unit in its last place,
parameters, slots and averages only shrink and mix by factors that all rows of a step share, and
their products put the rest in one stroke. Read next: `steps.py`.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from chainrule.compile.jit import jit
from chainrule.core.errors import ArgumentError
from chainrule.core.recording import literal, paused
from chainrule.core.tensor import Tensor
from chainrule.core.tree import flatten, unflatten
from chainrule.ops.arrange import stack
from chainrule.ops.elementwise import cast, where
from chainrule.ops.move import reshape
from chainrule.train.groups import leaf_paths
from chainrule.train.missed import AtOnce

PARAM = ""  # where the parameter stands among what is kept of it
AT_ONCE = 8  # updates in one compiled call
LOOK = 3  # calls from one look at whether the rest matters to the next
SMALLEST, MOST = 16, 4096  # rows that are updated together: what a core's cache holds


class Idle:
    """The updates without gradient of the parameter at `path` under `optimizer`.

    `slots` are the paths of what the optimiser keeps for each row, `shared` of the numbers that
    all rows share, which `history` holds for each step behind its rate: a float64 row (rate,
    *numbers before the update) with the numbers at `columns`. Where `rests` holds, none are missed
    and nobody asks; where there is `at_once`, that is asked instead. ArgumentError where rows
    cannot be told apart or cannot be left alone.
    """

    def __init__(self, optimizer: Any, path: str, ndim: int, dtype: np.dtype):
        fade = getattr(optimizer, "fades", lambda path: None)(path)
        if fade is None:
            raise ArgumentError(
                f"{type(optimizer).__name__} has no row rule for {path!r}: its update of a row "
                "needs more than that row",
                mend="one of SGD, RMSprop, Adagrad, Adam, AdamW, Adamax, Nadam, Lion",
            )
        self.optimizer, self.path, self.fade = optimizer, path, fade
        self.rests = getattr(optimizer, "rests", lambda path: False)(path)
        missed = getattr(optimizer, "missed", lambda path, dtype: None)(path, dtype)
        self.at_once = AtOnce(missed) if missed else None
        with paused():
            one, two = (
                optimizer.init({path: Tensor(np.zeros((n, *[1] * (ndim - 1)), dtype))})
                for n in (1, 2)
            )
        leaves, self.structure = flatten(one)
        self.names = leaf_paths(one)
        pairs = zip(self.names, leaves, flatten(two)[0], strict=True)
        grows = {name: a.shape != b.shape for name, a, b in pairs}
        self.slots = [name for name in self.names if grows[name]]
        self.shared = [name for name in self.names if not grows[name]]
        self.dtypes = [leaf.dtype for leaf in leaves]
        self.columns: dict[str, int] = {}
        self.compiled = jit(self._updated)

    def __call__(
        self, rows: np.ndarray, last: np.ndarray, history: np.ndarray, step: int
    ) -> np.ndarray:
        """`rows` (n, 1 + slots, *row), each as of update `last`, as they are after `step`."""
        place = np.flatnonzero(last < step)
        place = place[np.argsort(last[place], kind="stable")]  # neighbours end at about one time
        found = rows.copy() if len(place) else rows
        with np.errstate(all="ignore"), paused():
            for start in range(0, len(place), MOST):
                self._catch_up(found, place[start : start + MOST], last, history[:step])
        return found

    def _catch_up(
        self, rows: np.ndarray, place: np.ndarray, last: np.ndarray, history: np.ndarray
    ) -> None:
        """Bring the rows at `place` to the end of `history`."""
        first = int(last[place[0]])  # the steps are counted from this one
        history, now, at = history[first:], rows[place], last[place].astype(np.int64) - first
        count = 0
        while len(place):
            look = self.fade < 1 and count % LOOK == 0
            still = self._settled(now, at, history) if look else np.zeros(len(at), bool)
            if still.any():
                now[still] = self._rest(now[still], at[still], history)
                at[still] = len(history)
            else:
                now = self._update(now, at, history, AT_ONCE)
                at = np.minimum(at + AT_ONCE, len(history))
            count += 1
            done = at == len(history)
            if done.any():
                rows[place[done]] = now[done]
                now, at, place = now[~done], at[~done], place[~done]

    def _update(
        self, now: np.ndarray, at: np.ndarray, history: np.ndarray, count: int = 1
    ) -> np.ndarray:
        """`count` updates without gradient, from the steps `at` on, but none beyond `history`."""
        size = len(now)
        room = SMALLEST
        while room < size:
            room *= 4  # few sizes, so that few are compiled
        steps = _filled_up(at, room)[:, None] + np.arange(count)
        numbers = history[np.minimum(steps, len(history) - 1)]
        due = steps < len(history)
        return self.compiled(_filled_up(now, room), numbers, due).numpy()[:size].copy()

    def _updated(self, rows: Any, numbers: Any, due: Any) -> Any:
        """`_update` as ops: in update j row i has the rate and numbers `numbers[i, j]`, if due."""
        wide = (rows.shape[0],) + (1,) * (rows.ndim - 2)
        parts = {name: rows[:, i] for i, name in enumerate([PARAM, *self.slots])}
        for j in range(due.shape[1]):
            told = [reshape(numbers[:, j, i], wide) for i in range(numbers.shape[2])]
            leaves = [
                parts[name] if name in parts else cast(told[self.columns[name]], dtype)
                for name, dtype in zip(self.names, self.dtypes, strict=True)
            ]
            zero = literal(value=0, shape=parts[PARAM].shape, dtype=rows.dtype.name)
            made, after = self.optimizer.update(
                {self.path: parts[PARAM]},
                {self.path: zero},
                unflatten(self.structure, leaves),
                learning_rate=told[0],
            )
            kept = dict(zip(self.names, flatten(after)[0], strict=True))
            new = {name: kept.get(name, made[self.path]) for name in parts}
            chosen = reshape(due[:, j], wide)
            parts = {name: where(chosen, new[name], parts[name]) for name in parts}
        return stack(list(parts.values()), axis=1)

    def _settled(self, now: np.ndarray, at: np.ndarray, history: np.ndarray) -> np.ndarray:
        """Which rows' parameters no update to come will move, but for decay."""
        if self.fade == 0:
            return np.ones(len(at), bool)
        most = np.maximum.accumulate(np.abs(history[::-1, 0]))[::-1]  # of the rates to come
        from_zero = now.copy()
        from_zero[:, 0] = 0  # decay has nothing to take there, so what is left is the move
        # Bias corrections are largest at an end; of the rates the largest will do.
        told = history[np.concatenate([at, np.full_like(at, len(history) - 1)])]
        told[:, 0] = np.tile(most[at], 2)
        both = np.concatenate([from_zero, from_zero])
        moved = np.abs(self._update(both, np.arange(len(both)), told)[:, 0])
        largest = np.maximum(moved[: len(at)], moved[len(at) :])
        small = largest / (1 - self.fade) <= np.spacing(np.abs(now[:, 0])) / 2
        return small.reshape(len(at), -1).all(axis=1)

    def _rest(self, now: np.ndarray, at: np.ndarray, history: np.ndarray) -> np.ndarray:
        """The rows at the end, when nothing moves: all is shared factors, of a part on another."""
        parts = now.shape[1]
        units = np.broadcast_to(np.eye(parts), (len(history), parts, parts))
        made = self._update(units, np.arange(len(history)), history)  # (step, part, of which)
        keeps = made[:, 0, 0]
        wide = (len(at),) + (1,) * (now.ndim - 2)
        out = np.empty_like(now)
        out[:, 0] = now[:, 0] * _products(keeps)[at].reshape(wide)
        for part in range(1, parts):
            factors = _products(made[:, part, part])
            out[:, part] = now[:, part] * factors[at].reshape(wide)
            if made[:, part, 0].any():  # an average takes from the parameter
                taken = _taken(made[:, part, 0], keeps, factors)
                out[:, part] += now[:, 0] * taken[at].reshape(wide)
        return out


def _filled_up(array: np.ndarray, room: int) -> np.ndarray:
    """`array` with zeros behind it, up to `room` rows."""
    found = np.zeros((room, *array.shape[1:]), array.dtype)
    found[: len(array)] = array
    return found


def _products(factors: np.ndarray) -> np.ndarray:
    """The product of all from each place on."""
    return np.cumprod(factors[::-1])[::-1]


def _taken(shares: np.ndarray, keeps: np.ndarray, factors: np.ndarray) -> np.ndarray:
    """What of a parameter has gone into its average by the end, from each place on."""
    after = np.append(factors[1:], 1.0)
    found, total = np.empty(len(shares)), 0.0
    rows = zip(after.tolist(), shares.tolist(), keeps.tolist(), strict=True)
    for i, (factor, share, keep) in reversed(list(enumerate(rows))):
        total = found[i] = factor * share + total * keep
    return found
