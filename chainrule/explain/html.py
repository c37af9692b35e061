"""A page as one piece of HTML that needs nothing else: no script, no file, no network.

Text has the notebook's own colour, light or dark; the few other colours are readable on both.
Everything that is shown is escaped. Read next: `latex.py`.
"""

from __future__ import annotations

from html import escape

from chainrule.explain.notation import html
from chainrule.explain.page import Bar, Block, Cell, Line, Page, Row, Table, Tex

FRAME = "chainrule-page"
# Each rule names the frame, since a notebook's own rules for tables would win otherwise.
STYLE = """
.F{font:14px/1.45 system-ui,sans-serif;max-width:62em;overflow-x:auto}
.F p{min-height:.7em;margin:.15em 0;white-space:pre-wrap}
.F table{border-collapse:collapse;margin:.3em 0 .6em;font-variant-numeric:tabular-nums;border:0}
.F tr,.F tr:nth-child(n){background:none}
.F th,.F td{padding:.12em .9em .12em 0;border:0;text-align:left;vertical-align:baseline;
 color:inherit;white-space:nowrap}
.F th{font-weight:600;border-bottom:1px solid rgba(128,128,128,.6)}
.F .r{text-align:right}
.F tr.total td{font-weight:600;border-top:1px solid rgba(128,128,128,.6)}
.F .title{font-weight:600}
.F .title:first-of-type{font-size:1.15em}
.F .quiet{opacity:.7}
.F .good{color:#15934a}
.F .warn{color:#b0740f}
.F .bad{color:#dc2626;font-weight:600}
.F .bar{display:inline-block;height:.75em;background:#3b82f6}
.F .minus{background:#ef4444}
.F sub,.F sup{font-size:.75em;line-height:0}
""".replace(".F", f".{FRAME}").strip()
LONGEST_BAR = 6.0  # in widths of the letter m


def draw(page: Page) -> str:
    """The page as a `<div>` with its own style."""
    inside = "\n".join(block(each) for each in page.blocks)
    return f'<div class="{FRAME}" lang="{page.lang}"><style>{STYLE}</style>\n{inside}\n</div>'


def document(page: Page, title: str) -> str:
    """The page as a whole file, in the light or dark colours that its reader prefers."""
    head = (
        f'<!doctype html><html lang="{page.lang}"><meta charset="utf-8">'
        f'<meta name="color-scheme" content="light dark"><title>{escape(title)}</title>'
    )
    return f"{head}\n<body>{draw(page)}</body></html>"


def block(each: Block) -> str:
    """A line or a table."""
    return text(each) if isinstance(each, Line) else table(each)


def text(each: Line) -> str:
    """A paragraph in its tone."""
    return f'<p class="{each.tone}">{"".join(cell(piece) for piece in each.pieces)}</p>'


def table(each: Table) -> str:
    """A table."""
    heads = "".join(boxed("th", head, side) for head, side in zip(each.headings, each.align))
    rows = "\n".join(row(line, each.align) for line in each.rows)
    head = f"<thead><tr>{heads}</tr></thead>"
    return f"<table>{head}<tbody>\n{rows}\n</tbody></table>"


def row(each: Row, align: str) -> str:
    """A row of a table in its tone; missing last cells are empty."""
    cells = (*each.cells, *[""] * (len(align) - len(each.cells)))
    inside = "".join(boxed("td", piece, side) for piece, side in zip(cells, align))
    return f'<tr class="{each.tone}">{inside}</tr>'


def boxed(tag: str, each: Cell, side: str) -> str:
    """A cell of a table."""
    return f"<{tag}{' class=r' if side == 'r' else ''}>{cell(each)}</{tag}>"


def cell(each: Cell) -> str:
    """A piece of text: formulas with raised and lowered signs, bars by their width."""
    if isinstance(each, Bar):
        sign = "bar minus" if each.share < 0 else "bar"
        width = LONGEST_BAR * each.length
        return f'<span class="{sign}" style="width:{width:.2f}em"></span>'
    return html(each) if isinstance(each, Tex) else escape(each)
