"""The terms of a cut, summed over all axes but those asked for, and the largest of the sums.

Read next: `paths.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import groupby
from typing import Any, Literal, NamedTuple

import numpy as np

from chainrule.explain.axes import axes_of
from chainrule.explain.cut import Terms
from chainrule.explain.explanation import Label, Others, Part, Partition


class Member(NamedTuple):
    """Terms in a group: their axis for each axis of the group, and the place where it starts."""

    terms: Terms
    axes: tuple[int, ...]
    starts: tuple[int, ...]


class Group(NamedTuple):
    """Sums over all axes but `names`, of all terms that share `labels`; `there` is where any is."""

    values: np.ndarray
    there: np.ndarray
    names: tuple[str, ...]
    labels: tuple[Label, ...]
    members: list[Member]

    def labels_at(self, place: tuple[int, ...]) -> tuple[Label, ...]:
        """The labels of one element; places of one name are joined, "3,4"."""
        named: list[Label] = []
        for name, pairs in groupby(zip(self.names, place, strict=True), key=lambda pair: pair[0]):
            places = [int(i) for _, i in pairs]
            named.append((name, places[0] if len(places) == 1 else ",".join(map(str, places))))
        return (*self.labels, *named)

    def element(self, place: tuple[int, ...]) -> tuple[Terms, tuple[int, ...]] | None:
        """The one term that the sum at `place` consists of, None where there are several.

        It is given with its place in the node.
        """
        found = []
        for terms, axes, starts in self.members:
            at: list[Any] = [slice(None)] * terms.tangent.ndim
            for axis, i, start in zip(axes, place, starts, strict=True):
                at[axis] = slice(i - start, i - start + 1) if i >= start else slice(0)
            inside = np.argwhere(terms.tangent[tuple(at)])
            if len(inside) > 1:
                return None
            for row in inside:
                whole = [int(i) + (part.start or 0) for i, part in zip(row, at, strict=True)]
                flat = np.ravel_multi_index(whole, terms.tangent.shape)
                found.append((terms, tuple(map(int, np.unravel_index(flat, terms.node.shape)))))
        return found[0] if len(found) == 1 else None


def grouped(terms: Sequence[Terms], by: Sequence[str]) -> list[Group]:
    """The terms summed over all axes that `by` does not name; "lookup" is example and position.

    Terms of one group are added where their labels are the same, on whichever axes of their nodes
    these are, so that no two sums have the same labels.
    """
    wanted = axes_of(by)
    found: dict[tuple[tuple[Label, ...], tuple[str, ...]], list[tuple[Member, np.ndarray]]] = {}
    for given in terms:
        each, counts = _opened(given)
        axes = tuple(i for name in wanted for i, axis in enumerate(each.axes) if axis == name)
        names = tuple(each.axes[i] for i in axes)
        labels = tuple(label for label in each.labels if label[0] in wanted)
        rest = tuple(i for i in range(len(each.axes)) if i not in axes)
        summed, kept = each.values.sum(axis=rest), sorted(axes)
        values = np.transpose(summed, [kept.index(i) for i in axes]) if axes else summed
        starts = tuple(counts[i] if i < len(counts) else 0 for i in axes)
        found.setdefault((labels, names), []).append((Member(each, axes, starts), values))
    return [_added(*key, members) for key, members in found.items()]


def _opened(terms: Terms) -> tuple[Terms, list[int]]:
    """The terms with an axis for each label that counts, like the time, and where these start."""
    counts = [(name, at) for name, at in terms.labels if isinstance(at, int)]
    shape = (1,) * len(counts) + terms.values.shape
    opened = terms._replace(
        values=terms.values.reshape(shape),
        tangent=terms.tangent.reshape(shape),
        axes=(*(name for name, _ in counts), *terms.axes),
        labels=tuple(label for label in terms.labels if not isinstance(label[1], int)),
    )
    return opened, [at for _, at in counts]


def _added(
    labels: tuple[Label, ...],
    names: tuple[str, ...],
    members: Sequence[tuple[Member, np.ndarray]],
) -> Group:
    """Arrays summed up, each from its own place on."""
    ends = [np.add(each.starts, values.shape) for each, values in members]
    total = np.zeros(np.max(ends, axis=0).astype(int)) if names else np.zeros(())
    there = np.zeros(total.shape, bool)
    for each, values in members:
        at = tuple(slice(i, i + n) for i, n in zip(each.starts, values.shape, strict=True))
        total[at] += values
        there[at] = True
    return Group(total, there, names, labels, [each for each, _ in members])


def partition(
    groups: Sequence[Group],
    by: tuple[str, ...],
    at: str,
    cut: Literal["use", "output"],
    gradient: float,
    topk: int,
    detail: Callable[[Group, tuple[int, ...], Part], Part],
    regulariser: float = 0.0,
    leaky: bool = False,
) -> Partition:
    """The `topk` largest of the sums, `detail` added to each, and what is left.

    Where the cut is `leaky`, what does not pass it is what the gradient has more.
    """
    flat = np.concatenate([np.zeros(0), *[group.values[group.there] for group in groups]])
    starts = np.cumsum([0, *[np.count_nonzero(group.there) for group in groups]])
    best = largest(np.abs(flat), topk)
    rows = []
    for i in best:
        which = int(np.searchsorted(starts, i, side="right")) - 1
        group = groups[which]
        place = tuple(int(j) for j in np.argwhere(group.there)[i - starts[which]])
        rows.append(detail(group, place, Part(group.labels_at(place), float(flat[i]))))
    rest = np.delete(flat, best)
    others = Others(
        rest.size, float(rest.sum()), float(np.abs(rest).sum()), int(np.count_nonzero(rest == 0))
    )
    past = gradient - float(flat.sum()) - regulariser if leaky else 0.0
    return Partition(by, at, cut, tuple(rows), others, gradient, past, regulariser)


def largest(sizes: np.ndarray, count: int) -> list[int]:
    """The places of the `count` largest that are not 0, largest first; not-a-numbers come first."""
    sizes = np.where(np.isnan(sizes), np.inf, sizes)
    count = min(count, int(np.count_nonzero(sizes)))
    if not count:
        return []
    best = np.argpartition(-sizes, count - 1)[:count]
    return [int(i) for i in best[np.lexsort((best, -sizes[best]))]]
