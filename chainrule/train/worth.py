"""`worth_rows`: which tables are updated faster by rows.

Catching up takes time that grows with the rows that are read, the dense update with those that are
there. Read next: `rows.py`.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

# What a table needs, by what its rows have missed: elements, how many more for each that a step
# reads, and steps between looks at the whole. See `benchmarks/rows.py`.
NEEDED = {
    "nothing": (500_000, 20, 5),
    "known at once": (500_000, 20, 10),
    "factors": (1_000_000, 50, 20),
    "one update after the other": (4_000_000, 330, 1000),
}
_noticed: set[tuple[type, str]] = set()


def worth_rows(
    optimizer: Any, params: Mapping[str, Any], counts: Mapping[str, int], between: int | None = None
) -> tuple[str, ...]:
    """Which tables among `params` to update by rows, when a step reads `counts` rows of each.

    Somebody looks at the whole after every `between` steps, and all rows are caught up for that.
    Warns, once for each, of an optimiser whose rows depend on each other.
    """
    found = []
    for path, count in counts.items():
        table, missed = params[path], _missed(optimizer, path, params[path].dtype)
        least, more, steps = NEEDED[missed or "one update after the other"]
        width = table.size // max(1, table.shape[0])
        if table.size < least + more * count * width or (between or steps) < steps:
            continue
        if missed:
            found.append(path)
        elif (type(optimizer), path) not in _noticed:
            _noticed.add((type(optimizer), path))
            warnings.warn(
                f"{path!r} is a large table, and {type(optimizer).__name__} updates all of it at "
                "each step: its rows depend on each other, or wait for a later update",
                stacklevel=2,
            )
    return tuple(found)


def _missed(optimizer: Any, path: str, dtype: Any) -> str | None:
    """What rows of the table at `path` miss when they are left alone; None where they cannot be."""

    def says(what: str, *about: Any) -> Any:
        return getattr(optimizer, what, lambda *about: None)(path, *about)

    if says("rests"):
        return "nothing"
    if says("missed", dtype):
        return "known at once"
    fade = says("fades")
    return None if fade is None else "one update after the other" if fade else "factors"
