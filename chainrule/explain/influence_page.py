"""Influences as a page: for each example asked about, who helps it and who harms it.

Read next: `derivation.py`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from chainrule.explain.catalogue import Words
from chainrule.explain.numerals import column, size
from chainrule.explain.page import Bar, Block, Page, Row, Table, heading, line

if TYPE_CHECKING:
    from chainrule.explain.influence import Influence, Influences

COLUMNS, ROWS = 3, 5  # examples asked about that are shown, and rows of either sign for each


def page(found: Influences, lang: str = "auto") -> Page:
    """The influences in `lang`."""
    say = Words(lang)
    points = say("checkpoints", n=len(found.rates))
    blocks: list[Block] = [
        line(
            say("influence", n=found.examples),
            f"   {say('comma').join(['TracIn', points])}",
            tone="title",
        ),
        line(say("influence_sign"), tone="quiet"),
    ]
    for each in found.columns[:COLUMNS]:
        blocks += heading(say("influence_on", example=each.on), f"   L = {size(each.loss)}")
        blocks.append(rows_of(each, say))
    if left := len(found.columns) - COLUMNS:
        blocks += [line(say("left_columns", n=left), tone="quiet")] if left > 0 else []
    return Page(say.lang, tuple(blocks))


def rows_of(each: Influence, say: Words) -> Table:
    """Those that lower the loss most, those that raise it most, and the rest in a row."""
    shown = [*each.helpful(ROWS), *reversed(each.harmful(ROWS))]
    rest = sum(each.values) - sum(value for _, value in shown)
    values = column([*(value for _, value in shown), rest])
    most = max((abs(value) for _, value in shown), default=1.0) or 1.0
    rows = [
        Row((str(example), text, Bar(value / most)))
        for (example, value), text in zip(shown, values)
    ]
    if count := len(each.values) - len(shown):
        rows.append(Row((say("others", n=count), values[-1]), "quiet"))
    return Table((say("example"), say("influence_head"), ""), tuple(rows), "lrl", spare=(2,))
