"""What an explanation says, as a page: the gradient, its check, each partition, what is left out.

Read next: `terminal.py`.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

from chainrule.explain.axes import axes_of
from chainrule.explain.catalogue import Words
from chainrule.explain.numerals import column, number, percent, percent_below, place, rough, size
from chainrule.explain.page import (
    Bar,
    Block,
    Cell,
    Line,
    Page,
    Row,
    Table,
    Tex,
    Tone,
    heading,
    line,
)
from chainrule.explain.words import WORDS

if TYPE_CHECKING:
    from chainrule.explain.explanation import Check, Entry, Explanation, Part, Partition

MARKS: dict[str, tuple[str, Tone]] = {
    "ok": ("✓", "good"),
    "near": ("≈", "warn"),
    "wrong": ("✗", "bad"),
    "kink": ("∠", "warn"),
    "custom": ("✗", "warn"),
}
SUBSCRIPT = re.compile(r"_\{[^{}]*\}")
ENOUGH = 0.9  # a table whose rows hold less of the mass says so above them
MOST_COLUMNS = 6  # of factors beside each other
DIGITS = 8  # of the gradient and the difference beside it


def page(explanation: Explanation, lang: str = "auto") -> Page:
    """All that an explanation says, in `lang`."""
    say = Words(explanation.lang if lang == "auto" else lang)
    blocks: list[Block] = [*facts(explanation, say)]
    for each in explanation.partitions:
        blocks += partition(each, say, explanation.symbol)
    blocks += whole(explanation, say)
    for what, count in explanation.left_out:
        told = say(f"left_{what}", n=count) if f"left_{what}" in WORDS else f"{what}: {count:,}"
        blocks.append(line(told, tone="quiet"))
    return Page(say.lang, tuple(blocks))


def facts(explanation: Explanation, say: Words) -> list[Line]:
    """The gradient, the number beside it, and of what it is the gradient."""
    each = explanation
    parts = [each.kind, say("of_shape", shape=each.shape), each.dtype]
    layer = say("comma").join(part for part in parts if part)
    name = f"{each.parameter}{place(each.index or ())}"
    symbol = Tex(rf"\frac{{\partial L}}{{\partial {each.symbol}}}")
    if each.index is None:
        told = say("comma").join([each.parameter, layer])
        found = [line(symbol, " : ", told, tone="title")]
    else:
        assert each.gradient is not None and each.weight is not None
        value = number(each.gradient, DIGITS)
        found = [line(symbol, f" = {value}   ", name, tone="title")]
        if each.check:
            found.append(checked(each.check, say))
        found.append(line(f"w = {number(each.weight)}   {layer}"))
    parts = [each.loss_name, say("examples", n=each.examples)]
    if each.training is not None:
        parts.append(say("as_in_training" if each.training else "as_in_use"))
    about = say("comma").join(parts)
    found.append(line("L = ", size(each.loss), f"   {about}"))
    if not each.trainable:
        found.append(line(say("frozen"), tone="warn"))
    if not math.isfinite(each.loss):
        found.append(line(say("loss_not_finite"), tone="bad"))
    elif each.gradient is not None and not math.isfinite(each.gradient):
        found.append(line(say("gradient_not_finite"), tone="bad"))
    return found


def checked(check: Check, say: Words) -> Line:
    """The central difference beside the gradient, and what it tells."""
    sign, tone = MARKS[check.mark]
    told = say("check", value=number(check.difference, DIGITS), relative=rough(check.relative))
    return line(told, f"  {sign} {say(f'mark_{check.mark}')}", tone=tone)


def partition(each: Partition, say: Words, entry: str) -> list[Block]:
    """A table whose rows add up to the gradient, and how much of it they show.

    `entry` is the LaTeX of the entry, which headings call w.
    """
    axes = say("and").join(say.named(name) for name in each.by)
    where = say(f"cut_{each.cut}" if each.at else f"cut_{each.cut}_own", at=each.at)
    blocks = heading(say("by", axes=axes, where=where))
    if each.coverage < ENOUGH:
        total = len(each.parts) + each.others.count
        told = say("thin", n=len(each.parts), total=total, share=percent_below(each.coverage))
        blocks.append(line(told, tone="warn"))
    if not each.mass:
        return [*blocks, line(say("all_zero", n=each.others.count))]
    blocks.append(rows_of(each, say, entry))
    sums = {"coverage": percent(each.coverage), "cancellation": percent(each.cancellation)}
    told = say("sums", error=rough(each.error), **sums)
    zeros = [say("others_zero", n=each.others.zeros)] if each.others.zeros else []
    if zeros and each.others.zeros == each.others.count:
        zeros = [say("others_all_zero")]
    blocks.append(line(say("comma").join([told, *zeros]), tone="quiet"))
    return blocks


def rows_of(each: Partition, say: Words, entry: str) -> Table:
    """A partition's rows, the others, and the sum; numbers of a column fit each other."""
    rest = [(say("others", n=each.others.count), each.others.total, each.others.mass)]
    rest = rest if each.others.count else []
    for key, value in (("past", each.past), ("regulariser", each.regulariser)):
        rest += [(say(key), value, abs(value))] if value else []
    heads, places = labels(each, say)
    symbols, chains = factors(each.parts, say, entry)
    values = [*(part.value for part in each.parts), *(value for _, value, _ in rest), each.sum]
    products = column(values)
    rows = [
        Row((*where, *chain, product, *share(part.value, abs(part.value), each)))
        for where, chain, part, product in zip(places, chains, each.parts, products)
    ]
    gap = ("",) * (len(heads) - 1 + len(symbols))
    for (name, value, mass), product in zip(rest, products[len(each.parts) :]):
        rows.append(Row((name, *gap, product, *share(value, mass, each)), "quiet"))
    rows.append(Row((say("sum"), *gap, products[-1]), "total"))
    headings = (*heads, *symbols, say("product" if symbols else "part"), say("share"), "")
    sides = "".join("r" if isinstance(symbol, Tex) else "x" for symbol in symbols)
    align = f"{'l' * len(heads)}{sides}rrl"
    given = [len(heads) - 1] if any(part.given for part in each.parts) else []
    chain = [len(heads) + i for i, side in enumerate(sides) if side == "r"]
    spare = (len(align) - 1, len(align) - 2, *given, *reversed(chain))
    return Table(headings, tuple(rows), align, spare)


def labels(each: Partition, say: Words) -> tuple[list[str], list[list[str]]]:
    """Headings of the axes, and each part's places on them; the input too where it is small."""
    found = dict.fromkeys(name for part in each.parts for name, _ in part.labels)
    order = axes_of(each.by)
    axes = sorted(found, key=lambda name: order.index(name) if name in order else len(order))
    axes = axes or list(each.by)
    cells = [dict(part.labels) for part in each.parts]
    places = [[named(at[name], say) if name in at else "" for name in axes] for at in cells]
    heads = [say.named(name) for name in axes]
    if any(part.given for part in each.parts):
        heads.append(say("given"))
        for row, part in zip(places, each.parts):
            row.append(f"({', '.join(map(_feature, part.given))})")
    return heads, places


def _feature(value: float) -> str:
    return str(value) if isinstance(value, int) else f"{value:.3g}"  # a whole number may be an id


def factors(parts: tuple[Part, ...], say: Words, entry: str) -> tuple[list[Cell], list[list[Cell]]]:
    """Headings and cells of the factors: a column for each while they are few and alike.

    Else one column has each part's chain written out. A part that is a sum has no factors.
    """
    chains = [part for part in parts if part.factors]
    if not chains:
        return [], [[] for _ in parts]
    symbols = shared_symbols(chains)
    if not 0 < len(symbols) <= MOST_COLUMNS:
        return [say("chain")], [[chain(part)] for part in parts]
    columns = [column([part.factors[i].value for part in chains]) for i in range(len(symbols))]
    rows = zip(*columns)
    heads = [Tex(symbol.replace(rf"\partial {entry}", r"\partial w")) for symbol in symbols]
    return [*heads], [list(next(rows)) if part.factors else [""] * len(heads) for part in parts]


def chain(part: Part) -> str:
    """The factors' values one after the other."""
    return " × ".join(number(factor.value) for factor in part.factors)


def shared_symbols(parts: Sequence[Part]) -> list[str]:
    """The factors' symbols where they can head columns: all parts have the same.

    Indices are left out where only these differ.
    """
    for form in (str, unindexed):
        found = {tuple(form(factor.symbol) for factor in part.factors) for part in parts}
        if len(found) == 1:
            return list(found.pop())
    return []


def unindexed(symbol: str) -> str:
    r"""The symbol without what stands below the line.

    >>> unindexed(r"\frac{\partial L}{\partial z^{(2)}_{3}}")
    '\\frac{\\partial L}{\\partial z^{(2)}}'
    """
    return SUBSCRIPT.sub("", symbol)


def named(at: int | str, say: Words) -> str:
    """A place on an axis: a number, or a name that the catalogue may know."""
    if not isinstance(at, str):
        return str(at)
    own = not at or at.startswith("(")  # the model itself, which has no path
    return f"{say('the_model')} {at}".strip() if own else say.named(at)


def share(value: float, mass: float, each: Partition) -> tuple[Cell, Cell]:
    """The part of the mass that a row holds, as a number and as a bar."""
    part = mass / each.mass if each.mass else 0.0
    return percent(part), Bar(part if value >= 0 else -part)


def whole(explanation: Explanation, say: Words) -> list[Block]:
    """The summary of a whole tensor's gradient and its largest entries."""
    each = explanation.summary
    if each is None or not math.isfinite(explanation.loss):
        return []
    counts = say("zeros", n=each.zeros, total=each.count)
    if each.not_finite:
        counts = f"{counts}{say('comma')}{say('not_finite', n=each.not_finite)}"
    norms = say("norms", norm=size(each.norm), ratio=size(each.ratio, 2))
    spread = {"smallest": number(each.smallest), "largest": number(each.largest)}
    blocks: list[Block] = [line(norms)]
    if each.not_finite < each.count:
        blocks.append(line(say("spread", mean=number(each.mean), **spread)))
    blocks.append(line(counts, tone="bad" if each.not_finite else "plain"))
    if not explanation.entries:
        return blocks
    title = heading(say("largest_entries", n=len(explanation.entries)))
    return [*blocks, *title, entries(explanation.entries, say)]


def entries(found: tuple[Entry, ...], say: Words) -> Table:
    """Entries of a tensor with their gradients and the differences beside them."""
    weights = column([each.weight for each in found])
    gradients = column([each.gradient for each in found], DIGITS - 2)
    rows = []
    for each, weight, gradient in zip(found, weights, gradients):
        cells: list[Cell] = [place(each.index), weight, gradient]
        if each.check:
            sign, _ = MARKS[each.check.mark]
            mark = f"{sign} {say(f'mark_{each.check.mark}')}"
            cells += [number(each.check.difference, DIGITS - 2), rough(each.check.relative), mark]
        rows.append(Row(tuple(cells)))
    heads = ("entry", "weight_head", "gradient", "difference", "relative", "mark")
    headings = tuple(say(name) for name in heads)
    return Table(headings, tuple(rows), "lrrrrl")
