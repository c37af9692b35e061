"""What a reader sees, before any medium: lines and tables whose cells are text, formulas, bars.

A page is made once in the reader's language; `terminal.py` and `html.py` each draw it, and know
nothing of what it is about. Read next: `report.py`.
"""

from __future__ import annotations

from typing import Literal, NamedTuple, TypeAlias

Tone = Literal["plain", "title", "quiet", "good", "warn", "bad", "total"]


class Tex(str):
    """A formula in the LaTeX that `notation.py` reads."""


class Bar(NamedTuple):
    """A bar of length |share|, 1 at most; the sign gives its colour."""

    share: float

    @property
    def length(self) -> float:
        """From 0 to 1; 0 for what is not a number."""
        return min(abs(self.share), 1.0) if self.share == self.share else 0.0


Cell: TypeAlias = str | Tex | Bar


class Line(NamedTuple):
    """Text and formulas one after the other; long lines are wrapped."""

    pieces: tuple[Cell, ...]
    tone: Tone = "plain"


class Row(NamedTuple):
    """The cells of a table's row; missing last ones are empty."""

    cells: tuple[Cell, ...]
    tone: Tone = "plain"


class Table(NamedTuple):
    """Rows under headings; a column is flush left, "l" in `align`, right, "r", or long text, "x".

    `spare` are columns that may be left out where there is no room, in that order: what they
    say follows from the others.
    """

    headings: tuple[Cell, ...]
    rows: tuple[Row, ...]
    align: str
    spare: tuple[int, ...] = ()


Block: TypeAlias = Line | Table


class Page(NamedTuple):
    """Blocks below each other, in the language of `lang`."""

    lang: str
    blocks: tuple[Block, ...]


def line(*pieces: Cell, tone: Tone = "plain") -> Line:
    """A line of these pieces."""
    return Line(pieces, tone)


def heading(*pieces: Cell) -> list[Block]:
    """The heading of a table, with room above it."""
    return [line(""), line(*pieces, tone="title")]
