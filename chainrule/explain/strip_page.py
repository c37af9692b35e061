r"""The layer strip as a page: a row for each layer, and the curves of the recurrent ones.

Read next: `influence.py`.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from chainrule.explain import strip as records  # a module, since it imports this one
from chainrule.explain.catalogue import Words
from chainrule.explain.numerals import percent, size, sparkline
from chainrule.explain.page import Bar, Block, Cell, Page, Row, Table, Tex, Tone, heading, line

if TYPE_CHECKING:
    from chainrule.explain.strip import Gap, Layer, Strip
    from chainrule.explain.through_time import Curve

DIGITS = 3
ROWS = 20  # layers in the table; the strip folds the rest
NORM = Tex(r"\lVert\partial L/\partial y\rVert")
STEEPEST = Tex(r"\sigma(\partial y/\partial x)")
REACH = Tex(r"\lVert\partial s_{T}/\partial s_{t}\rVert")


def page(strip: Strip, lang: str = "auto") -> Page:
    """The strip in `lang`."""
    say = Words(lang)
    mode = say("as_in_training" if strip.training else "as_in_use")
    of = say("strip_inside", path=strip.inside) if strip.inside else say("strip")
    about = say("comma").join([say("examples", n=strip.examples), mode])
    blocks: list[Block] = [line(of, tone="title"), line(f"L = {size(strip.loss)}   {about}")]
    blocks.append(line(""))
    blocks.append(layers(strip, say))
    if any(each.singular and not each.singular.converged for each in strip.layers):
        blocks.append(line(say("strip_open", tolerance=percent(strip.tolerance)), tone="warn"))
    blocks.append(line(say("strip_columns"), tone="quiet"))
    for each in strip.curves:
        blocks += curve(each, say)
    return Page(say.lang, tuple(blocks))


def layers(strip: Strip, say: Words) -> Table:
    """A row for each layer, those between them folded; bars are on a logarithmic scale."""
    depths = [math.log(each.norm) for each in strip.layers if each.norm > 0]
    low, high = min(depths, default=0.0), max(depths, default=0.0)
    rows = []
    for each in strip.folded(ROWS):
        if isinstance(each, records.Gap):
            rows.append(Row(gap(each, say), "quiet"))
        else:
            depth = (math.log(each.norm) - low + 1) / (high - low + 1) if each.norm > 0 else 0.0
            rows.append(Row((*row(each), Bar(depth))))
    named = [say(name) for name in ("layer", "kind", "shape")]
    heads = (*named, NORM, say("ratio"), STEEPEST, say("closed"), "")
    return Table(heads, tuple(rows), "lllrrrrl", spare=(7, 2, 1))


def row(each: Layer) -> tuple[Cell, ...]:
    """Where, what, and the four numbers; one that there is not is left empty."""
    steepest = size(each.singular.value, DIGITS) if each.singular else ""
    if each.singular and not each.singular.converged and math.isfinite(each.singular.value):
        steepest = f"≥ {steepest}"
    return (
        each.path,
        each.kind,
        f"({', '.join(map(str, each.shape))})",
        size(each.norm, DIGITS),
        size(each.ratio, DIGITS) if each.ratio is not None else "",
        steepest,
        percent(each.gates.share) if each.gates else "",
    )


def gap(each: Gap, say: Words) -> tuple[Cell, ...]:
    """How many layers are folded here, and between which norms theirs lie."""
    return (
        say("folded", n=each.layers),
        "",
        "",
        f"{size(each.smallest, 2)} … {size(each.largest, 2)}",
    )


def curve(each: Curve, say: Words) -> list[Block]:
    """How far the gradient reaches back: the norms over time, on a logarithmic scale."""
    depths = [math.log10(norm) if norm > 0 else -math.inf for norm in each.norms]
    floor = min((depth for depth in depths if math.isfinite(depth)), default=0.0)
    marks = sparkline([depth if math.isfinite(depth) else floor for depth in depths])
    blocks = heading(each.path, "   ", REACH)
    facts = {"first": each.times[0], "last": each.times[-1], "steps": each.steps}
    ends = {"start": size(each.norms[0], DIGITS), "end": size(each.norms[-1], DIGITS)}
    blocks.append(line(f"{marks}   ", say("curve", **facts, **ends)))
    how = say("curve_exact" if each.exact else "curve_searched", n=each.examples, state=each.state)
    tone: Tone = "quiet" if each.exact or each.converged else "warn"
    return [*blocks, line(how, tone=tone)]
