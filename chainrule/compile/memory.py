"""The memory plan: every buffer of a program at an offset of one arena, reused after its last
reader. Read next: `kernel.py`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from chainrule.core.node import Node

ALIGN = 64


class Life(NamedTuple):
    """A buffer: its size in bytes, the first step that writes and the last that reads it."""

    node: Node | str  # a node, or the name of what one works in
    size: int
    first: int
    last: int


def rounded(size: int) -> int:
    """`size` up to whole cache lines."""
    return -(-size // ALIGN) * ALIGN


def plan(lives: Sequence[Life]) -> tuple[dict[Node | str, int], int]:
    """An offset for each buffer so that no two alive at once overlap, and the arena's size.

    Largest first, each at the lowest place free for its whole life.
    """
    placed: list[tuple[int, int, Life]] = []
    offsets: dict[Node | str, int] = {}
    total = 0
    for life in sorted(lives, key=lambda x: (-x.size, x.first)):
        size = rounded(life.size)
        busy = sorted(
            (start, end)
            for start, end, other in placed
            if other.first <= life.last and life.first <= other.last
        )
        at = 0
        for start, end in busy:
            if start >= at + size:
                break
            at = max(at, end)
        placed.append((at, at + size, life))
        offsets[life.node] = at
        total = max(total, at + size)
    return offsets, total
