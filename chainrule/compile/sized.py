"""`Sized`: a compiled function for any number of examples, which compiles little anew.

The first number that comes is compiled for as it is; the second for a capacity, which then serves
all others up to it. Read next: `counts.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import zip_longest
from typing import Any

import numpy as np

from chainrule.compile.counts import Along, counted
from chainrule.compile.jit import MADE, Entry, Jitted, kind_of
from chainrule.compile.program import Program
from chainrule.core.errors import ChainruleError
from chainrule.core.recording import current
from chainrule.core.tensor import Tensor
from chainrule.core.tree import flatten, tree_map, unflatten

WASTE = 8  # a capacity of so many times the number of examples is not used for it
CHEAP = 64  # unless it is no more than this


class Counting(Jitted):
    """A function of which one program can serve several numbers of examples."""

    def __init__(self, fn: Callable, donate: Sequence[str], static: Sequence[str]):
        super().__init__(fn, donate, static)
        self.found: dict[Any, tuple[Entry, list[Along | None]] | None] = {}

    def counted(
        self, shown: list[dict[str, Any]], sizes: tuple[int, int]
    ) -> tuple[Entry, list[Along | None]] | None:
        """One program for all numbers of examples up to sizes[0], from arguments of both sizes,
        and the axes of its outputs that run over examples; None where there can be none."""
        opened = [self._open((), named) for named in shown]
        shapes = tuple(kind_of(leaf, opened[0][0]) for leaf in opened[0][0])
        key = (opened[0][1], shapes, self.reading.now(), sizes)
        if key not in self.found:
            self.found[key] = self._count(shown, opened, sizes)
        return self.found[key]

    def _count(self, shown: list, opened: list, sizes: tuple[int, int]) -> Any:
        if sizes[1] < 2 or sizes[1] >= sizes[0]:
            return None
        try:
            full, other = (
                self._record(leaves, structure, named)
                for named, (leaves, structure, _) in zip(shown, opened, strict=True)
            )
        except ChainruleError:  # what wants a size of its own says so when it gets another
            return None
        if list(map(_told, full.ends)) != list(map(_told, other.ends)):
            return None
        made = counted(full.program.graph, other.program.graph, sizes)
        if made is None:
            return None
        graph, axes = made
        program = Program(graph, [*full.program.donated, False])
        return full._replace(program=program, sources=[*full.sources, len(opened[0][0])]), axes


def _told(end: Any) -> Any:
    """What an output leaf is that no program computes, to be compared."""
    return end if end is MADE else (end[0], id(end[1]) if isinstance(end[1], Tensor) else end[1])


class Sized(Counting):
    """`fn`, whose arguments `examples` hold arrays with as many rows as there are examples.

    >>> import chainrule as cr
    >>> mean = Sized(lambda x: (cr.mean(x), x * 2), ("x",))
    >>> for n in (4, 3, 1, 2):
    ...     found, twice = mean(np.arange(n, dtype="float32"))
    >>> found, twice, len(mean.entries), len(mean.found)
    (Tensor(0.5, dtype=float32), Tensor([0., 2.], dtype=float32), 1, 1)
    """

    def __init__(self, fn: Callable, examples: Sequence[str]):
        super().__init__(fn, (), ())
        self.examples = tuple(examples)
        self.capacities: dict[Any, list[int]] = {}
        self.exact: dict[Any, set[int]] = {}

    def __call__(self, *args: Any) -> Any:
        """The result, for as many examples as there are."""
        named = dict(zip(self.names, args, strict=True))
        rows = [leaf for name in self.examples for leaf in flatten(named[name])[0] if _is_row(leaf)]
        if current() is not None or not rows:
            return super().__call__(*args)
        count = len(rows[0])
        kind = self._kind(named)
        exact = self.exact.setdefault(kind, set())
        found = None if not exact or count in exact else self._counted(named, kind, count)
        if found is None:
            exact.add(count)
            return super().__call__(*args)
        (entry, axes), capacity = found
        leaves = flatten(self._of_size(named, capacity))[0]
        made, structure = flatten(self.run(entry, [*leaves, np.int64(count)]))
        ends = [
            Tensor.of(of_examples(end.numpy(), own, count, 0), None, None) if own else end
            for end, own in zip_longest(made, axes[: len(made)])
        ]
        return unflatten(structure, ends)

    def _kind(self, named: dict) -> Any:
        """What a program is made for besides the number of examples."""
        leaves, structure = flatten(self._of_size(named, 1))
        return structure, tuple(kind_of(leaf, leaves) for leaf in leaves)

    def _of_size(self, named: dict, size: int) -> dict:
        """The arguments with `size` examples: the first of them, or the first one again."""
        return {
            name: tree_map(lambda x: _resized(x, size), value) if name in self.examples else value
            for name, value in named.items()
        }

    def _counted(self, named: dict, kind: Any, count: int) -> Any:
        capacities = self.capacities.setdefault(kind, [])
        fitting = [n for n in capacities if count <= n <= max(CHEAP, WASTE * count)]
        near = [n for n in self.exact[kind] if count <= n <= max(CHEAP, WASTE * count)]
        capacity = min(fitting) if fitting else min(near, default=1 << (count - 1).bit_length())
        sizes = capacity, capacity // 2 + 1
        found = self.counted([self._of_size(named, size) for size in sizes], sizes)
        if found is None:
            return None
        if capacity not in capacities:
            capacities.append(capacity)
        return found, capacity


def _is_row(leaf: Any) -> bool:
    return bool(getattr(leaf, "shape", ()))


def _resized(x: Any, size: int) -> Any:
    if not _is_row(x) or len(x) == size:
        return x
    array = np.asarray(x)
    if size < len(array):
        return array[:size]
    return np.concatenate(
        [array, np.broadcast_to(array[:1], (size - len(array), *array.shape[1:]))]
    )


def of_examples(array: np.ndarray, own: Along | None, count: int, before: int) -> np.ndarray:
    """What was computed for the examples that there were; `before` axes stand before a node's."""
    if own is None:
        return array
    return array[(slice(None),) * (own.axis + before) + (slice(count * own.each),)]
