r"""An explanation in LaTeX: sums of products that a document sets and a parser evaluates.

Every number has as many digits as the sum needs to give the gradient to 1e-6, cancellation
included. It needs `amsmath`, and for Chinese words a font, as `ctex` sets it up. Read next:
`schema.py`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from chainrule.explain.catalogue import Words
from chainrule.explain.numerals import percent
from chainrule.explain.report import named, shared_symbols
from chainrule.explain.writing import indexed

if TYPE_CHECKING:
    from chainrule.explain.explanation import Entry, Explanation, Part, Partition

INDICES = dict(
    zip("example output unit position time gate lookup use path".split(), "nkjptgiur", strict=True)
)
ACCURACY = 1e-7  # what rounding may add up to, of the gradient
LEAST_DIGITS, MOST_DIGITS = 6, 17
NAMED = {"\\": "backslash", "^": "asciicircum", "~": "asciitilde", "<": "less", ">": "greater"}
SPECIAL = str.maketrans(
    {sign: f"\\{sign}" for sign in "#$%&_{}"}
    | {sign: rf"\text{name}{{}}" for sign, name in NAMED.items()}
)


def to_latex(explanation: Explanation, lang: str = "auto", *, annotated: bool = True) -> str:
    """One `align*` for each partition, or for a whole tensor's largest entries.

    `annotated` says beside each term which part it is; without, only formulas are left.
    """
    say = Words(explanation.lang if lang == "auto" else lang)
    derivative = rf"\frac{{\partial L}}{{\partial {explanation.symbol}}}"
    if explanation.index is None:
        return aligned(whole(explanation, derivative, say, annotated))
    if not explanation.partitions:
        return aligned([f"{derivative} &= {number(explanation.gradient or 0.0, LEAST_DIGITS + 2)}"])
    return "\n\n".join(
        aligned(partition(each, derivative, say, annotated)) for each in explanation.partitions
    )


def aligned(rows: Sequence[str]) -> str:
    """Rows below each other."""
    inside = " \\\\\n".join(f"  {row}" for row in rows)
    return f"\\begin{{align*}}\n{inside}\n\\end{{align*}}"


def partition(each: Partition, derivative: str, say: Words, annotated: bool) -> list[str]:
    """The derivative as a formula, as numbers term by term, and as their sum."""
    digits = digits_for(each)
    sides = []
    if symbols := shared_symbols(each.parts):
        indices = ",".join(INDICES.get(name, name) for name in each.by)
        rest = r" + \dots" if each.past or each.regulariser else ""
        sides.append(rf"\sum_{{{indices}}} " + r" \cdot ".join(symbols) + rest)
    terms = [(product(part, digits), labels(part, say)) for part in each.parts]
    if each.others.count:
        rest = say("others", n=each.others.count)
        terms.append((number(each.others.total, digits), words(rest)))
    for value, key in ((each.past, "past"), (each.regulariser, "regulariser")):
        if value:
            terms.append((number(value, digits), words(say(key))))
    if not each.mass:
        terms = [("0", words(say("all_zero", n=each.others.count)))]
    (first, note), *more = terms or [("0", "")]
    total = words(say("cancelled", share=percent(each.cancellation)))

    def beside(formula: str, note: str) -> str:
        return f"{formula} && {note}" if annotated and note else formula

    rows = [*(f"&= {side}" for side in sides), beside(f"&= {first}", note)]
    for term, note in more:
        rows.append(beside(rf"& \quad {term}" if term[0] == "-" else rf"& \quad + {term}", note))
    rows.append(beside(f"&= {number(each.gradient, digits)}", total))
    return [f"{derivative} {rows[0]}", *rows[1:]]


def product(part: Part, digits: int) -> str:
    """A part as its factors' product, or as a number where it is a sum itself."""
    if not part.factors:
        return number(part.value, digits)
    first, *rest = (number(factor.value, digits) for factor in part.factors)
    return r" \times ".join([first, *(bracketed(value) for value in rest)])


def bracketed(value: str) -> str:
    """A number as a factor."""
    return rf"\left({value}\right)" if value.startswith("-") or "^" in value else value


def number(value: float, digits: int) -> str:
    r"""A number with so many significant digits.

    >>> number(-0.00027650, 4), number(2.5e-9, 3), number(0.0, 5), number(1.0, 8)
    ('-0.0002765', '2.5 \\times 10^{-9}', '0', '1')
    """
    if not value or not math.isfinite(value):
        return rf"\text{{{value}}}" if value else "0"
    mantissa, exponent = f"{value:.{digits - 1}e}".split("e")
    power = int(exponent)
    if -5 < power < digits:
        fixed = f"{value:.{max(digits - 1 - power, 0)}f}"
        return fixed.rstrip("0").rstrip(".") if "." in fixed else fixed
    return rf"{mantissa.rstrip('0').rstrip('.')} \times 10^{{{power}}}"


def digits_for(each: Partition) -> int:
    """How many digits each number needs for the sum to be right to `ACCURACY`."""
    factors = max((len(part.factors) for part in each.parts), default=1) or 1
    worst = factors * each.mass / (ACCURACY * abs(each.gradient)) if each.gradient else 1.0
    if not math.isfinite(worst):
        return LEAST_DIGITS
    return min(max(math.ceil(math.log10(worst)) + 1, LEAST_DIGITS), MOST_DIGITS)


def labels(part: Part, say: Words) -> str:
    """Which part it is: its places on the axes."""
    return words(", ".join(f"{say.named(name)} {named(at, say)}" for name, at in part.labels))


def words(text: str) -> str:
    """Text inside a formula."""
    return rf"\text{{{escaped(text)}}}" if text else ""


def escaped(text: str) -> str:
    r"""Text for LaTeX, whose own signs are no commands there.

    >>> escaped("a_b & 5 %")
    'a\\_b \\& 5 \\%'
    """
    return text.translate(SPECIAL)


def whole(explanation: Explanation, derivative: str, say: Words, annotated: bool) -> list[str]:
    """The norm of a whole tensor's gradient and its largest entries."""
    assert explanation.summary is not None
    note = f" && {words(say('largest_entries', n=len(explanation.entries)))}" if annotated else ""
    norm = number(explanation.summary.norm, LEAST_DIGITS + 2)
    first = rf"\left\lVert {derivative} \right\rVert &= {norm}{note}"
    return [first, *(entry(each, explanation.symbol) for each in explanation.entries)]


def entry(each: Entry, symbol: str) -> str:
    """An entry and its gradient."""
    index = ",".join(str(i) for i in each.index)
    of = rf"\frac{{\partial L}}{{\partial {indexed(symbol, index)}}}"
    return f"{of} &= {number(each.gradient, LEAST_DIGITS + 2)}"
