"""A page in the terminal, by rich: for 80 columns and more, in colours or without.

Read next: `html.py`.
"""

from __future__ import annotations

import re

from rich.box import Box
from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, JustifyMethod, RenderResult
from rich.table import Table as RichTable
from rich.text import Text

from chainrule.explain.notation import plain
from chainrule.explain.page import Bar, Cell, Line, Page, Table, Tex

STYLES = {
    "plain": "",
    "title": "bold",
    "quiet": "dim",
    "good": "green",
    "warn": "yellow",
    "bad": "bold red",
    "total": "bold",
}
EIGHTHS = " ▏▎▍▌▋▊▉"
# Rules below the headings and above a total, and no more.
RULES = Box("    \n    \n ── \n    \n ── \n    \n    \n    \n")
FRACTION = re.compile(r"^(∂[^/]*)/(?=∂[^/]*$)")
CLOSER = 2  # so many spare columns go before the others come closer to each other
LONGEST_BAR = 6  # columns
WIDTH = 80


class Drawn:
    """The page for rich; tables leave out what they can spare where the console is narrow."""

    def __init__(self, page: Page):
        self.page = page

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        for each in self.page.blocks:
            yield text(each) if isinstance(each, Line) else table(each, options.max_width)


def to_text(page: Page, width: int = WIDTH) -> str:
    """The page as text without colours, `width` columns at most."""
    console = Console(width=width, color_system=None, markup=False, highlight=False, emoji=False)
    with console.capture() as captured:
        console.print(Drawn(page))
    return "\n".join(row.rstrip() for row in captured.get().splitlines())


def text(each: Line) -> Text:
    """A line in its tone."""
    return Text.assemble(*(cell(piece) for piece in each.pieces), style=STYLES[each.tone])


def table(each: Table, width: int) -> RichTable:
    """A table as narrow as its cells; a total has a rule above it."""
    lines = [[cell(piece) for piece in row.cells] for row in each.rows]
    heads = [cell(piece) for piece in each.headings]
    kept, heads, gap = fitted(heads, lines, each.spare, width)
    padding = (0, 0, 0, gap - 1)  # a rule's own space is the other column between two cells
    drawn = RichTable(box=RULES, pad_edge=False, padding=padding, show_edge=False)
    for i in kept:
        justify: JustifyMethod = "right" if each.align[i] == "r" else "left"
        least = None if each.align[i] == "x" else widest(lines, i)
        drawn.add_column(heads[i], justify=justify, overflow="fold", min_width=least)
    for row, after, cells in zip(each.rows, [*each.rows[1:], None], lines):
        rule = after is not None and after.tone == "total" and row.tone != "total"
        inside = [cells[i] if i < len(cells) else "" for i in kept]
        drawn.add_row(*inside, style=STYLES[row.tone], end_section=rule)
    return drawn


def fitted(
    heads: list[Text], lines: list[list[Text]], spare: tuple[int, ...], width: int
) -> tuple[list[int], list[Text], int]:
    """(the columns to draw, their headings, the gap between them), so that all fits in `width`.

    Where there is no room, fractions in headings take two lines, then the next spare column goes.
    """
    stacked = [Text(FRACTION.sub(r"\1\n/", head.plain)) for head in heads]
    for count in range(len(spare) + 1):
        kept = [i for i in range(len(heads)) if i not in spare[:count]]
        for tried, gap in ((heads, 2), (stacked, 2), (stacked, 1)):
            needed = sum(widest([tried, *lines], i) for i in kept) + gap * (len(kept) - 1)
            if needed <= width and (gap > 1 or count >= CLOSER):
                return kept, tried, gap
    return kept, stacked, 1


def widest(lines: list[list[Text]], i: int) -> int:
    """The columns of the terminal that cell i of these lines needs at most."""
    parts = [part for line in lines if i < len(line) for part in line[i].plain.split("\n")]
    return max(map(cell_len, parts), default=0)


def cell(each: Cell) -> Text:
    """A piece of text: formulas in one line, bars as blocks."""
    if isinstance(each, Bar):
        return Text(blocks(each.length), style="red" if each.share < 0 else "blue")
    return Text(plain(each) if isinstance(each, Tex) else each)


def blocks(length: float) -> str:
    """A bar of `length`, 0 to 1, in eighths of a column.

    >>> blocks(0.5), blocks(0.02)
    ('███', '▏')
    """
    whole, rest = divmod(round(8 * LONGEST_BAR * length), 8)
    return "█" * whole + EIGHTHS[rest].strip()
