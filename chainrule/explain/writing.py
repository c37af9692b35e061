r"""Terms as LaTeX, in the small language that `notation.py` also shows as plain text and HTML.

An op's template says by its own text how tightly it binds, so brackets are put where a reader
needs them and nowhere else. Read next: `equations.py`.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from functools import cache

from chainrule.explain.formula import Apply, Number, Product, Sum, Symbol, Term

RELATION, SUM, PRODUCT, PREFIX, MATRIX, SCRIPT, ATOM = range(7)  # from the loosest on
TIGHTNESS = (  # of the signs that stand in a template outside of all brackets
    (RELATION, ("=", "<", r"\le", r"\ne", r"\wedge", r"\vee", r"\gg", r"\bmod")),
    (SUM, (" + ", " - ")),
    (PRODUCT, (r"\cdot",)),
    (PREFIX, (r"\sum", r"\max", r"\ln", r"\neg")),
    (MATRIX, (r"\,",)),
    (SCRIPT, ("^", "_")),
)
SIGNS = [  # a command ends where its letters end, so that \le is not \left
    (level, re.compile("|".join(re.escape(m) + r"(?![a-z])" * m[-1].isalpha() for m in marks)))
    for level, marks in TIGHTNESS
]
TIMES, THIN = r" \odot ", r" \, "
Layers = Callable[[int], str]  # what stands for the number of a layer


def latex(term: Term, layer: Layers = str) -> str:
    """The term as LaTeX.

    >>> latex(Product(Number(Fraction(2), -1), (Symbol("z", 1), Symbol("b"))))
    '\\\\frac{2}{N} \\\\, z^{(1)} \\\\odot b'
    """
    return _written(term, layer)[0]


def _written(term: Term, layer: Layers) -> tuple[str, int]:
    """The text, and how tightly it binds."""
    if isinstance(term, Symbol):
        return symbol(term, layer), ATOM if term.layer is None else SCRIPT
    if isinstance(term, Apply):
        return _applied(term, layer)
    if isinstance(term, Sum):
        return _added(term, layer), SUM
    return _multiplied(term, layer)


def _within(term: Term, least: int, layer: Layers) -> str:
    """The text, in brackets where it binds less tightly than `least`."""
    text, tightness = _written(term, layer)
    return text if tightness >= least else _bracketed(text)


def _bracketed(text: str) -> str:
    return rf"\left({text}\right)"


def _applied(term: Apply, layer: Layers) -> tuple[str, int]:
    texts: list[str] = []

    def held(found: re.Match) -> str:
        part, mark, below = term.parts[int(found[1]) - 1], found[2], found[3]
        if mark and isinstance(part, Symbol):
            text = symbol(part, layer, below or "", transposed=not below)
        else:
            text = _within(part, needed(term.template, int(found[1])), layer) + mark
        texts.append(text)
        return f"#{len(texts)}"

    # A letter takes a transpose or an index to what stands above and below it already.
    template = re.sub(r"#(\d)(\^\{\\top\}|_\{([^{}]*)\}|)", held, term.template)
    text = re.sub(r"#(\d)", lambda found: texts[int(found[1]) - 1], template)
    return text, tightness_of(term.template)


def _added(term: Sum, layer: Layers) -> str:
    text = ""
    for part in sorted(term.terms, key=lambda part: part.number.value < 0):
        negative = part.number.value < 0
        sign = "-" if negative else "+"
        shown = _within(_size(part), PRODUCT, layer)
        text += f" {sign} {shown}" if text else shown if not negative else f"-{shown}"
    return text


def _size(term: Product) -> Term:
    """The product without its minus sign."""
    value = term.number.value
    number = Number(-value if value < 0 else value, term.number.batch)
    alone = number == Number() and len(term.top) == 1 and not term.bottom
    return term.top[0] if alone else replace(term, number=number)


def _multiplied(term: Product, layer: Layers) -> tuple[str, int]:
    if term.number.value < 0:
        return "-" + _within(_size(term), PRODUCT, layer), SUM
    number = _number(term.number)
    above = _factors(term.top, layer, alone=bool(term.bottom))
    below = _factors(term.bottom, layer, alone=True)
    if not above and not below:
        return number, ATOM
    if not below:
        single = number == "1" and len(set(term.top)) == 1
        text = above if number == "1" else number + THIN + above
        return text, MATRIX if single else PRODUCT
    over = rf"\frac{{{above or number}}}{{{below}}}"
    return (over, SCRIPT) if number == "1" or not above else (number + THIN + over, PRODUCT)


def _factors(terms: tuple[Term, ...], layer: Layers, alone: bool = False) -> str:
    """Factors in a row, the loss's derivative first; `alone` they stand in a fraction."""
    count = Counter(terms)
    ordered = sorted(count, key=lambda part: not has_delta(part))
    if alone and len(terms) == 1:
        return latex(terms[0], layer)
    texts = []
    for part in ordered:
        # What a sign in front reaches over must not swallow the factors behind it.
        least = PREFIX if part is ordered[-1] else MATRIX
        power = count[part]
        text = _within(part, least if power == 1 else ATOM, layer)
        texts.append(text if power == 1 else f"{text}^{{{power}}}")
    return TIMES.join(texts)


def _number(number: Number) -> str:
    value, power = number.value, abs(number.batch)
    batch = "N" if power < 2 else f"N^{{{power}}}"
    above, below = batch * (number.batch > 0), batch * (number.batch < 0)
    if isinstance(value, float) or abs(value.numerator) >= 10**6:
        value = float(value)
        return rf"\frac{{{_float(value)}}}{{{below}}}" if below else _float(value) + above
    top = f"{value.numerator}{above}" if value.numerator != 1 or not above else above
    bottom = rf"{value.denominator} \, {below}" if value.denominator != 1 and below else ""
    bottom = bottom or below or str(value.denominator)
    if bottom == "1":
        return top
    short = _float(float(value))
    decimal = not above and not below and Fraction(short) == value and len(short) <= 6
    return short if decimal else rf"\frac{{{top}}}{{{bottom}}}"


def _float(value: float) -> str:
    mantissa, _, exponent = f"{value:.7g}".partition("e")
    if not exponent:
        return mantissa
    power = rf"10^{{{int(exponent)}}}"
    return power if mantissa == "1" else rf"{mantissa} \cdot {power}"


def symbol(each: Symbol, layer: Layers = str, index: str = "", transposed: bool = False) -> str:
    """A letter with its layer above and all else below."""
    below = [each.sub] if each.sub else []
    base = each.base
    if each.delta:
        below = [base, *below] if base != "z" or below else below
        base = r"\delta"
    if each.time is not None:
        step = each.time
        below.append(step if isinstance(step, str) else f"t{step:+d}" if step else "t")
    upper = f"({layer(each.layer)})" if each.layer is not None else ""
    upper += r"\top" if transposed else ""
    lower = ",".join([*map(_word, below), *([index] if index else [])])
    return base + (f"^{{{upper}}}" if upper else "") + (f"_{{{lower}}}" if lower else "")


def indexed(letter: str, index: str) -> str:
    r"""One entry of a letter in LaTeX: its index stands behind what is below it already.

    >>> indexed("b^{(1)}", "0"), indexed(r"W_{\mathrm{query}}", "0,1")
    ('b^{(1)}_{0}', 'W_{\\mathrm{query},0,1}')
    """
    below = re.fullmatch(r"(.*_\{(?:[^{}]|\{[^{}]*\})*)\}", letter)
    return f"{below[1]},{index}}}" if below else f"{letter}_{{{index}}}"


def _word(text: str) -> str:
    return rf"\mathrm{{{text}}}" if re.fullmatch(r"[a-zA-Z]{2,}", text) else text


def has_delta(term: Term) -> bool:
    """Whether the derivative of the loss stands in it."""
    if isinstance(term, Symbol):
        return term.delta
    if isinstance(term, Apply):
        return any(map(has_delta, term.parts))
    parts = term.terms if isinstance(term, Sum) else (*term.top, *term.bottom)
    return any(map(has_delta, parts))


@cache
def tightness_of(template: str) -> int:
    """How tightly a template binds: as its loosest sign outside of brackets.

    >>> tightness_of("#1 + #2") < tightness_of(r"#1 \\cdot #2") < tightness_of(r"\\tanh(#1)")
    True
    """
    outer = _outside(template)
    if outer.lstrip().startswith("-"):
        return SUM
    return next((level for level, sign in SIGNS if sign.search(outer)), ATOM)


@cache
def needed(template: str, part: int) -> int:
    """How tightly what goes in for `#part` must bind to need no brackets there."""
    if inner := re.fullmatch(r"\\left\[(.*)\\right\]_\{\w+\}", template):
        return needed(inner[1], part)
    outer, at = _outside(template), template.find(f"#{part}")
    if at < 0 or outer[at] != "#":
        return RELATION
    if outer[at + 2 : at + 3] in ("^", "_", "["):
        return SCRIPT if outer[at + 2] == "[" else ATOM
    own = tightness_of(template)
    return MATRIX if own == PREFIX else own + (own < ATOM)


def _outside(template: str) -> str:
    """The template with what stands in brackets blanked."""
    depth, shown = 0, []
    for i, c in enumerate(template):
        closes = c in ")]}" or template.startswith((r"\right|", r"\rfloor", r"\rceil"), i)
        depth -= closes
        shown.append(" " if depth else c)
        depth += c in "([{" or template.startswith((r"\left|", r"\lfloor", r"\lceil"), i)
    return "".join(shown)
