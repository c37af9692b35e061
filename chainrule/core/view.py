"""A view: which element of a flat buffer each index of an array reads, as an affine map.

Movement and window ops lower to views, so a transpose, a broadcast or a sliding window costs
an address computation and no copy. Read next: `chainrule/compile/fuse.py`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from chainrule.core.op import Shape


def contiguous(shape: Sequence[int]) -> tuple[int, ...]:
    """Row-major strides, in elements.

    >>> contiguous((2, 3, 4))
    (12, 4, 1)
    """
    strides, step = [], 1
    for extent in reversed(shape):
        strides.append(step)
        step *= max(extent, 1)
    return tuple(reversed(strides))


class View(NamedTuple):
    """Element `i` stands at `offset + sum(i[d] * strides[d])`."""

    shape: Shape
    strides: tuple[int, ...]
    offset: int = 0

    @classmethod
    def whole(cls, shape: Shape) -> View:
        """The row-major view of a whole buffer."""
        return cls(tuple(shape), contiguous(shape))

    def transpose(self, axes: Sequence[int]) -> View:
        """Axis `d` of the result is axis `axes[d]`."""
        shape = tuple(self.shape[a] for a in axes)
        return View(shape, tuple(self.strides[a] for a in axes), self.offset)

    def broadcast_to(self, shape: Shape) -> View:
        """Repeat along new leading axes and along axes of extent 1."""
        lead = len(shape) - len(self.shape)
        strides = [0] * lead + [
            0 if mine == 1 and theirs != 1 else step
            for mine, theirs, step in zip(self.shape, shape[lead:], self.strides, strict=True)
        ]
        return View(tuple(shape), tuple(strides), self.offset)

    def slice(self, start: Sequence[int], stop: Sequence[int], step: Sequence[int]) -> View:
        """Every `step`-th element from `start` until before `stop`, per axis."""
        shape = tuple(-(-(b - a) // s) for a, b, s in zip(start, stop, step, strict=True))
        offset = self.offset + sum(a * t for a, t in zip(start, self.strides, strict=True))
        return View(shape, tuple(t * s for t, s in zip(self.strides, step, strict=True)), offset)

    def flip(self, axes: Sequence[int]) -> View:
        """The same elements counted from the end along `axes`."""
        ends = sum((self.shape[a] - 1) * self.strides[a] for a in axes if self.shape[a])
        strides = [-t if i in axes else t for i, t in enumerate(self.strides)]
        return View(self.shape, tuple(strides), self.offset + ends)

    def reshape(self, shape: Shape) -> View | None:
        """The same elements in row-major order under `shape`; None when no strides say so."""
        if 0 in shape:
            return View(tuple(shape), contiguous(shape), self.offset)
        merged: list[list[int]] = []
        for extent, step in zip(self.shape, self.strides, strict=True):
            if extent == 1:
                continue
            if merged and merged[-1][1] == extent * step:
                merged[-1] = [merged[-1][0] * extent, step]
            else:
                merged.append([extent, step])
        strides: list[int] = []
        for extent in reversed(shape):
            if extent == 1:
                strides.append(0)
                continue
            if not merged or merged[-1][0] % extent:
                return None
            count, step = merged.pop()
            strides.append(step)
            if count != extent:
                merged.append([count // extent, step * extent])
        return None if merged else View(tuple(shape), tuple(reversed(strides)), self.offset)

    def windows(self, windows: Sequence[tuple[int, int, int, int, int]]) -> View:
        """Slide along axes: one (axis, count, size, stride, dilation) per windowed axis.

        The window's own axes follow the last windowed axis.
        """
        shape, strides = list(self.shape), list(self.strides)
        at = max(axis for axis, *_ in windows) + 1
        inner_shape, inner_strides = [], []
        for axis, count, size, stride, dilation in windows:
            inner_shape.append(size)
            inner_strides.append(self.strides[axis] * dilation)
            shape[axis], strides[axis] = count, self.strides[axis] * stride
        shape[at:at], strides[at:at] = inner_shape, inner_strides
        return View(tuple(shape), tuple(strides), self.offset)

    def same_elements(self, other: View) -> bool:
        """Whether both read the same place at every index (axes of extent 1 do not count)."""
        if self.shape != other.shape or self.offset != other.offset:
            return False
        rows = zip(self.shape, self.strides, other.strides, strict=True)
        return all(extent == 1 or mine == theirs for extent, mine, theirs in rows)


class Named(NamedTuple):
    """A view that stands still along `axes`: there, another input (the one numbered `ids`) names
    the position, from 0 to extent-1, each `step` elements after the one before."""

    view: View
    axes: tuple[int, ...]
    step: int
    extent: int
    ids: int = 1

    @classmethod
    def along(cls, view: View, axis: int, shape: Shape) -> Named:
        """`view` with the axes of ids of that `shape` in place of axis `axis`.

        >>> Named.along(View.whole((5, 3)), 0, (2,)).view
        View(shape=(2, 3), strides=(0, 1), offset=0)
        """
        shapes = view.shape[:axis] + shape + view.shape[axis + 1 :]
        strides = view.strides[:axis] + (0,) * len(shape) + view.strides[axis + 1 :]
        axes = tuple(range(axis, axis + len(shape)))
        still = View(shapes, strides, view.offset)
        return cls(still, axes, view.strides[axis], view.shape[axis])


class Spread(NamedTuple):
    """What is no view but the transpose of one: the input numbered `source`, taken in `order` of
    axes, is put (or with `adds` added) where `view` and `named` say, into an output filled with
    `fill`; None fills nothing, for the spreads of a node that leave no place out and never meet.
    With `over` the output is the input of that number but for what is put into it; with `taken` the
    input of that number names which slice of the source along its first axis comes to each place.

    Where positions along the first axis of `order` never meet, threads may share it out.
    """

    order: tuple[int, ...]
    view: View
    fill: float | None = 0.0
    adds: bool = False
    source: int = 0
    named: Named | None = None
    over: int | None = None
    taken: int | None = None
