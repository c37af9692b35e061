r"""What the updates that a row has missed come to, at once, however many there are.

A row last touched by update $a$ has slots that fade by known factors, so that update $a + j$ moves
its parameter by $\kappa_{a+j} w_j(x)$ with a scale $\kappa$ that all rows share. Where
$w_j(x) = \sum_q W_{jq} \phi_q(x)$ in a few terms, the whole is $\sum_q T_q(a) \phi_q(x)$, and
$T_q(a) = \sum_j \kappa_{a+j} W_{jq}$ is one number for all rows that $a$ touched last. It stands
in a table with a line for each update; a new update adds to the lines of the last few hundred,
since what is older moves nothing any more. Read next: `idle.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from chainrule.compile.jit import jit
from chainrule.core.recording import paused
from chainrule.core.tensor import Tensor, as_tensor
from chainrule.ops.arrange import stack
from chainrule.ops.elementwise import cast
from chainrule.ops.index import arange, take_op
from chainrule.ops.move import reshape
from chainrule.ops.rows import put_rows

MOST_TERMS, MOST_UPDATES = 24, 2048  # of more, update by update is the faster way
SMALLEST, AT_ONCE = 16, 1 << 12  # rows that are brought up to date together: what a cache holds


class Missed(NamedTuple):
    """How an optimiser moves a row that sees no gradient.

    `factors` are the numbers W, (updates since the row's last, terms); `scale(rate, t)` is the
    factor of update number t, in float64; `move(slots, sums)` the sum over the terms, to be taken
    from the parameter, from the slots as the last update left them; `keeps` what an update leaves
    of each slot. What W leaves out comes to less than an eighth of the rounding of the largest
    single move.
    """

    factors: np.ndarray
    scale: Callable[[Any, Any], Any]
    move: Callable[[Sequence[Any], Sequence[Any]], Any]
    keeps: tuple[float, ...]


def geometric(fade: float, dtype: np.dtype) -> np.ndarray | None:
    r"""The factors of a move that shrinks by $f$, `fade`, at each update: $W_{j0} = f^j$.

    As many updates as it takes for $\sum_{j > n} f^j = f^{n+1} / (1 - f)$ to be small. None where
    these are too many.
    """
    return quotients(fade, 1.0, dtype)


def quotients(fade: float, root: float, dtype: np.dtype) -> np.ndarray | None:
    r"""The factors of the move $f^j m / (r^j s + \epsilon)$, of which `root` is $r$.

    With $z = s / (s + \epsilon)$ and $x_j = 1 - r^j$ it is
    $\frac{m}{s + \epsilon} \frac{f^j}{1 - z x_j}$, so $W_{jq} = f^j x_j^q$ and
    $\phi_q = \frac{m}{s + \epsilon} z^q$. Since $0 \le z \le 1$, what $Q$ terms of $n$ updates
    leave out is at most $\sum_{j \le n} f^j x_j^Q / r^j + \sum_{j > n} (f / r)^j$ times
    $|m| / (s + \epsilon)$: both sums are made small. None where that takes too many.
    """
    small = np.finfo(dtype).eps / 16  # each of two
    ratio = fade / root if root else 1.0
    if not 0 < ratio < 1:
        return None
    count = int(np.ceil(np.log(small * (1 - ratio)) / np.log(ratio)))
    if count > MOST_UPDATES:
        return None
    j = np.arange(1, max(1, count) + 1, dtype=np.float64)
    x = -np.expm1(j * np.log(root))
    for terms in range(1, MOST_TERMS + 1):
        if np.sum(ratio**j * x**terms) <= small:
            return fade ** j[:, None] * x[:, None] ** np.arange(terms)
    return None


def horner(z: Any, sums: Sequence[Any]) -> Any:
    """The polynomial of z with coefficients `sums`, the constant first."""
    *rest, total = sums
    for each in reversed(rest):
        total = total * z + each
    return total


class AtOnce:
    """The rule of `caught_up` whose history is the table of the sums T, a line for each update.

    A line of it is for the rows that the update of that number touched last, 0 for those that none
    has. Before these stand as many as there are `factors`, so that the last few hundred are there.
    """

    def __init__(self, missed: Missed):
        self.missed = missed
        self.window, self.terms = missed.factors.shape
        self.before = self.window + 1  # lines that are there before any update
        self.factors = Tensor(missed.factors)
        self.compiled = jit(self._together)

    def blank(self, steps: int) -> Tensor:
        """The table with room for so many updates."""
        return Tensor(np.zeros((self.before + steps, self.terms)))

    def advanced(self, sums: Tensor, step: Any, rate: Any, t: Any) -> Tensor:
        """The table after the update that follows `step` ones, number t for the optimiser."""
        lines = cast(step, "int64") + self.window - arange(self.window)
        more = self.factors * self.missed.scale(rate, t)
        return put_rows(sums, lines, take_op(sums, lines, axis=0) + more)

    def parts(self, stored: Any, last: Any, ids: Any, history: Any, step: Any) -> list[Tensor]:
        """The rows `ids` and what is kept of them, as they are after `step` updates."""
        param, *slots = (take_op(stored[:, i], ids, axis=0) for i in range(stored.shape[1]))
        since = take_op(last, ids, axis=0)
        lines = cast(since, "int64") + self.window
        sums = cast(take_op(history, lines, axis=0), param.dtype)
        wide = (ids.shape[0],) + (1,) * (param.ndim - 1)
        by_term = [reshape(sums[:, q], wide) for q in range(self.terms)]
        idle = cast(step - since, "float64")
        kept = [
            slot * reshape(cast(keep**idle, param.dtype), wide) if keep < 1 else slot
            for slot, keep in zip(slots, self.missed.keeps, strict=True)
        ]
        return [param - self.missed.move(slots, by_term), *kept]

    def __call__(
        self, rows: np.ndarray, last: np.ndarray, history: np.ndarray, step: int
    ) -> np.ndarray:
        """NumPy rows (n, parts, *row), each as of update `last`, as they are after `step`."""
        found = np.empty_like(rows)
        now, sums = Tensor(np.int32(step)), Tensor(history)
        with paused():
            for start in range(0, len(rows), AT_ONCE):
                some = rows[start : start + AT_ONCE]
                room = SMALLEST
                while room < len(some):
                    room *= 4  # few sizes, so that few are compiled
                given = np.zeros((room, *rows.shape[1:]), rows.dtype)
                given[: len(some)] = some
                since = np.full(room, step, last.dtype)
                since[: len(some)] = last[start : start + AT_ONCE]
                made = self.compiled(given, since, sums, now)
                found[start : start + AT_ONCE] = made.numpy()[: len(some)]
        return found

    def _together(self, rows: Any, last: Any, sums: Any, step: Any) -> Any:
        rows = as_tensor(rows)
        return stack(self.parts(rows, last, arange(rows.shape[0]), sums, step), axis=1)
