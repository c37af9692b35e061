"""Numbers as explanations print them, alike in every language. Read next: `page.py`."""

from __future__ import annotations

import math
from collections.abc import Sequence

BLOCKS = "▁▂▃▄▅▆▇█"
DIGITS = 5  # significant ones in a table


def number(value: float, digits: int = DIGITS) -> str:
    """A number with its sign; an exact zero is a bare 0.

    number(3.2e-9), number(0.0), number(12345.678)
    ('-0.0027650', '+3.2000e-09', '0', '+12346')
    """
    return column([value], digits)[0]


def column(values: Sequence[float], digits: int = DIGITS) -> list[str]:
    """Numbers below each other with the same decimals; those too small for them in powers of ten.

    >>> column([0.26977, -0.7, 0.0, 1e-7]), column([-0.7, 1.0])
    (['+0.26977', '-0.70000', '0', '+1.0e-07'], ['-0.7', '+1.0'])
    """
    sizes = [abs(value) for value in values if value and math.isfinite(value)]
    most = max(sizes, default=1.0)
    decimals = digits - 1 - math.floor(math.log10(most))
    if not -3 <= decimals <= digits + 2:
        return [f"{value:+.{digits - 1}e}" if value else "0" for value in values]
    decimals = max(decimals, 0)
    while decimals and all(round(value, decimals - 1) == value for value in values):
        decimals -= 1  # no number here needs the last zero
    return [one(value, decimals) for value in values]


def one(value: float, decimals: int) -> str:
    """`value` with so many decimals, or in powers of ten where they would show one digit of it."""
    if not value:
        return "0"
    if (
        math.isfinite(value)
        and 0 < abs(value) < 10 ** (1 - decimals)
        and (round(value, decimals) != value)
    ):
        return f"{value:+.1e}"
    return f"{value:+.{decimals}f}"


def size(value: float, digits: int = DIGITS) -> str:
    """A number without a sign, like a loss or a norm.

    >>> size(0.251709), size(0.0), size(2.5e-9, 3)
    ('0.25171', '0', '2.50e-09')
    """
    return number(abs(value), digits).removeprefix("+")


def rough(value: float) -> str:
    """The order of an error.

    >>> rough(3.14e-10), rough(0.0)
    ('3e-10', '0')
    """
    return f"{value:.0e}" if value else "0"


def percent(share: float) -> str:
    """A share for people; what is not all is never 100 %, and what is not nothing never 0 %.

    >>> [percent(share) for share in (0.0, 0.0004, 0.87, 0.9996, 1.0)]
    ['0 %', '< 0.1 %', '87 %', '> 99.9 %', '100 %']
    """
    if 0 < share < 0.001:
        return "< 0.1 %"
    if 0.999 < share < 1:
        return "> 99.9 %"
    shown = 100 * share
    return f"{shown:.1f} %" if 0 < shown < 9.95 or 99 < shown < 100 else f"{shown:.0f} %"


def percent_below(share: float) -> str:
    """A share that must not be rounded up.

    >>> percent_below(0.8999), percent_below(0.042)
    ('89.9 %', '4.2 %')
    """
    return percent(share) if share < 0.1 else f"{math.floor(1000 * share) / 10:g} %"


def place(index: Sequence[int]) -> str:
    """An index in square brackets, without spaces.

    >>> place((2, 0, 1, 1)), place(())
    ('[2,0,1,1]', '')
    """
    return f"[{','.join(str(i) for i in index)}]" if index else ""


def sparkline(values: Sequence[float], width: int = 48) -> str:
    """`values` as a line of blocks, the least lowest; longer ones are thinned out evenly.

    >>> sparkline([0.0, 0.5, 1.0])
    '▁▅█'
    """
    if len(values) > width:
        values = [values[i * (len(values) - 1) // (width - 1)] for i in range(width)]
    finite = [value for value in values if value - value == 0]
    low, high = min(finite, default=0.0), max(finite, default=0.0)
    scale = (len(BLOCKS) - 1) / (high - low) if high > low else 0.0
    marks = ["?" if v - v != 0 else BLOCKS[round((v - low) * scale)] for v in values]
    return "".join(marks)
