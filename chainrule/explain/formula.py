r"""Terms: what stands on a page, as letters, sums, products and templates of ops.

Sums and products put themselves in order: like terms join, numbers come first, a factor above
and below a fraction's line goes. Read next: `reading.py`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any, NamedTuple, TypeAlias

N = 1009  # the batch size in what is recorded: a prime, so that 1 / N shows in a literal


CONSTANT, LARGEST = r"\overline{#1}", r"\max_{k} \, #1"
OVER_LAST = r"\sum_{k} \, #1"  # a sum over the last axis


class Symbol(NamedTuple):
    r"""A letter of the page: $h^{(2)}$ is base h of layer 2; $c_{t-1}$ has the time -1.

    `time` is an offset from t, or a fixed step as text; `delta` makes it $\delta_h$, the
    derivative of the loss in it.
    """

    base: str
    layer: int | None = None
    sub: str = ""
    time: int | str | None = None
    delta: bool = False

    def at(self, time: int | str | None) -> Symbol:
        """The same letter at another step."""
        return self._replace(time=time)

    @property
    def adjoint(self) -> Symbol:
        """The derivative of the loss in it."""
        return self._replace(delta=True)


class Number(NamedTuple):
    """A rational or float, times a power of the batch size."""

    value: Fraction | float = Fraction(1)
    batch: int = 0

    def times(self, other: Number) -> Number:
        """The product."""
        return Number(self.value * other.value, self.batch + other.batch)


ONE, ZERO, MINUS = Number(), Number(Fraction(0)), Number(Fraction(-1))


@dataclass(frozen=True)
class Apply:
    """A template with terms for its #1, #2, ..."""

    template: str
    parts: tuple[Term, ...] = ()


@dataclass(frozen=True)
class Product:
    """`number` times `top`, over `bottom`, element by element."""

    number: Number = ONE
    top: tuple[Term, ...] = ()
    bottom: tuple[Term, ...] = ()


@dataclass(frozen=True)
class Sum:
    """Several products, added."""

    terms: tuple[Product, ...] = ()


Term: TypeAlias = Symbol | Apply | Product | Sum


def number_of(value: Any) -> Number:
    """A literal: with the batch size as a letter where it stands in there.

    >>> number_of(2 / (1009 * 3)), number_of(0.25)
    (Number(value=Fraction(2, 3), batch=-1), Number(value=Fraction(1, 4), batch=0))
    """
    value = float(value)
    for batch, scaled, limit in ((0, value, 1000), (-1, value * N, 10**5), (1, value / N, 100)):
        if scaled != scaled or abs(scaled) == float("inf"):
            break
        found = Fraction(scaled).limit_denominator(limit)
        close = abs(found - Fraction(scaled)) <= abs(found) * Fraction(1, 10**13)
        if found and close and (not batch or abs(found.numerator) < 1000):
            return Number(found, batch)
    return Number(Fraction(0) if value == 0 else value)


def as_product(term: Term) -> Product:
    """`term` as one product."""
    return term if isinstance(term, Product) else Product(top=(term,))


def product(*terms: Term, over: Sequence[Term] = ()) -> Term:
    """The product of `terms`, divided by those of `over`; equal factors above and below go."""
    above = [as_product(term) for term in terms]
    below = [as_product(term) for term in over]
    number = ONE
    for part in above:
        number = number.times(part.number)
    for part in below:
        number = number.times(Number(1 / part.number.value, -part.number.batch))
    top = [f for part in above for f in part.top] + [f for part in below for f in part.bottom]
    bottom = [f for part in above for f in part.bottom] + [f for part in below for f in part.top]
    for factor in list(bottom):
        if factor in top:
            top.remove(factor)
            bottom.remove(factor)
    if number.value == 0:
        return Product(ZERO)
    for whole in list(bottom):  # e^x over the sum of all e^x is known by a name
        power = _inside(whole, OVER_LAST)
        of = _inside(power, "e^{#1}")
        if power in top and of is not None:
            bottom.remove(whole)
            top[top.index(power)] = Apply(r"\mathrm{softmax}(#1)", (_unshifted(of),))
    return _simple(Product(number, tuple(top), tuple(bottom)))


def _inside(term: Term | None, template: str) -> Term | None:
    """What the template is of, None for another one."""
    return term.parts[0] if isinstance(term, Apply) and term.template == template else None


def _unshifted(term: Term) -> Term:
    """What a softmax is of, without the largest that is taken away from all."""
    if not isinstance(term, Sum):
        return term
    return total(*(part for part in term.terms if not _is_largest(part)))


def _is_largest(part: Product) -> bool:
    """Whether it is a constant: the largest value along the last axis."""
    held = part.top[0] if len(part.top) == 1 and not part.bottom else None
    return _inside(_inside(held, CONSTANT), LARGEST) is not None


def total(*terms: Term) -> Term:
    """The sum of `terms`; those that differ in their number alone become one."""
    found: dict[tuple, Product] = {}
    for term in terms:
        for part in term.terms if isinstance(term, Sum) else (as_product(term),):
            key = (part.top, part.bottom, part.number.batch)
            value = part.number.value + (found[key].number.value if key in found else 0)
            found[key] = replace(part, number=Number(value, part.number.batch))
    kept = tuple(part for part in found.values() if part.number.value != 0)
    if len(kept) == 1:
        return _simple(kept[0])
    return Sum(kept) if kept else Product(ZERO)


def _simple(term: Product) -> Term:
    alone = term.number == ONE and len(term.top) == 1 and not term.bottom
    if alone:
        return term.top[0]
    inner = term.top[0] if len(term.top) == 1 and not term.bottom else None
    if isinstance(inner, Sum) and term.number == MINUS:
        return Sum(tuple(replace(t, number=t.number.times(MINUS)) for t in inner.terms))
    return term


def factored(term: Term) -> tuple[Number, Term]:
    """The number in front, and the rest."""
    if not isinstance(term, Product):
        return ONE, term
    return term.number, _simple(replace(term, number=ONE))
