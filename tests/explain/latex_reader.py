r"""A small reader of the LaTeX that explanations print: it evaluates numbers, sums and products.

    sum     = [+ -] product { (+ -) product }
    product = factor { [\times \cdot] factor }
    factor  = atom [^ group]
    atom    = number | ( sum ) | \left( sum \right) | { sum } | \frac group group | symbol

A symbol is whatever else stands there (`W^{(1)}_{1,2}`, `\frac{\partial L}{\partial o_{3}}`); its
value comes from `names`, which is asked for the text without spaces.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

TOKEN = re.compile(r"\\[a-zA-Z]+|\\.|\d+(?:\.\d+)?|\.\d+|[^\s]")
SPACING = re.compile(
    r"\\[,;:!]|\\quad|\\qquad|&|~|\\left|\\right|\\bigl?|\\bigr?|\\(?:display|text)style"
)


def evaluate(text: str, names: Mapping[str, float] | None = None) -> float:
    """The number that a LaTeX expression stands for; ValueError where it is none."""
    reader = Reader(SPACING.sub(" ", text), names or {})
    value = reader.sum()
    if reader.rest:
        raise ValueError(f"cannot read {' '.join(reader.rest)!r} in {text!r}")
    return value


def sides(equation: str) -> list[str]:
    """What stands between the equals signs of an equation that may run over several lines."""
    inner = re.sub(r"\\(?:begin|end)\{[a-z*]+\}(?:\{[a-z]+\})?", " ", equation)
    return [side.strip() for side in inner.replace(r"\\", " ").split("=")]


class Reader:
    """The tokens that are still to be read."""

    def __init__(self, text: str, names: Mapping[str, float]):
        self.names = {re.sub(r"\s", "", name): value for name, value in names.items()}
        self.rest = TOKEN.findall(text)

    def next(self) -> str:
        return self.rest[0] if self.rest else ""

    def take(self, *wanted: str) -> str:
        if not self.rest or (wanted and self.rest[0] not in wanted):
            raise ValueError(f"expected {wanted or 'more'}, got {self.rest[:5]}")
        return self.rest.pop(0)

    def sum(self) -> float:
        sign = -1.0 if self.next() == "-" else 1.0
        if self.next() in ("+", "-"):
            self.take()
        value = sign * self.product()
        while self.next() in ("+", "-"):
            sign = -1.0 if self.take() == "-" else 1.0
            value += sign * self.product()
        return value

    def product(self) -> float:
        value = self.factor()
        while self.rest and self.next() not in ("+", "-", ")", "}", "]"):
            if self.next() in (r"\times", r"\cdot"):
                self.take()
            value *= self.factor()
        return value

    def factor(self) -> float:
        if (found := self.symbol()) is not None:
            return found
        value = self.atom()
        if self.next() == "^":
            self.take()
            value **= self.atom()
        return value

    def symbol(self) -> float | None:
        """The longest run of tokens that `names` knows, read."""
        for size in range(len(self.rest), 0, -1):
            if (text := "".join(self.rest[:size])) in self.names:
                del self.rest[:size]
                return self.names[text]
        return None

    def atom(self) -> float:
        token = self.take()
        if token in ("(", "{"):
            value = self.sum()
            self.take({"(": ")", "{": "}"}[token])
            return value
        if token in (r"\frac", r"\tfrac", r"\dfrac"):
            return self.atom() / self.atom()
        return float(token)
