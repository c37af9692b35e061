"""The layers of a derivation as they are written: those that repeat are written once.

Layers repeat where their equations are the same but for the number l; a size that differs is
written as one that varies. Read next: `expression.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from chainrule.explain.backward import Written
from chainrule.explain.formula import N, Symbol
from chainrule.explain.letters import Place
from chainrule.explain.writing import latex, symbol

Shape = tuple[int | str, ...]
LONGEST_PERIOD, LEAST_TIMES = 8, 3  # of layers that repeat
VARIES = "…"  # an extent that is another one in each of them


class Equation(NamedTuple):
    """`left` = `right` in LaTeX, of `shape`, where "N" is the number of examples.

    `kind` is "value", "delta" or "gradient".
    """

    kind: str
    left: str
    right: str
    shape: Shape


class Letter(NamedTuple):
    """What a letter stands for: a parameter's path, "x", "y", or "c" for a constant."""

    symbol: str
    path: str
    shape: Shape


class LayerPage(NamedTuple):
    """A layer: its letters, its equations, its part of the backward pass.

    `numbers` are the layers that it stands for; where there are several, l is any of them.
    `number` is None for the loss.
    """

    number: int | None
    path: str
    kind: str
    numbers: tuple[int, ...]
    letters: tuple[Letter, ...]
    forward: tuple[Equation, ...]
    backward: tuple[Equation, ...]

    @property
    def varies(self) -> bool:
        """Whether an extent differs from one of these layers to the next."""
        shapes = [each.shape for each in (*self.forward, *self.backward)]
        return any(VARIES in shape for shape in [*shapes, *(each.shape for each in self.letters)])


class Raw(NamedTuple):
    """A layer before it is written: l can still be its number or a letter."""

    place: Place
    kind: str
    letters: list[tuple[Symbol, str, Shape]]
    forward: list[Written]
    backward: list[Written]


def folded(layers: Sequence[Raw]) -> list[LayerPage]:
    """The layers written out, those that repeat as one group each."""
    keys = [_key(layer) for layer in layers]
    made: list[LayerPage] = []
    at = 0
    while at < len(layers):
        period, times = _repeats(keys, at)
        for i in range(at, at + period):
            made.append(_written([layers[i + period * q] for q in range(times)]))
        at += period * times
    return made


def _repeats(keys: Sequence[Any], at: int) -> tuple[int, int]:
    """(how many layers from `at` on repeat, how many times): those that save the most."""
    best = (1, 1)
    for period in range(1, LONGEST_PERIOD + 1):
        times = 1
        while keys[at : at + period] == keys[at + period * times : at + period * (times + 1)]:
            times += 1
        if times >= LEAST_TIMES and period * (times - 1) > best[0] * (best[1] - 1):
            best = (period, times)
    return best


def _key(layer: Raw) -> Any:
    number = layer.place.number
    if number is None:
        return object()
    write = _relative(number)
    return (
        layer.kind,
        [(symbol(letter, write), len(shape)) for letter, _, shape in layer.letters],
        [
            _equation(each, write)._replace(shape=("",) * len(each.shape))
            for each in (*layer.forward, *layer.backward)
        ],
    )


def _relative(number: int) -> Callable[[int], str]:
    return lambda k: f"l{k - number:+d}" if k != number else "l"


def _written(alike: Sequence[Raw]) -> LayerPage:
    """The first of layers that are alike, for all of them."""
    first = alike[0]
    numbers = tuple(each.place.number for each in alike if each.place.number is not None)
    write = _relative(numbers[0]) if len(alike) > 1 else str

    def equations(parts: Sequence[Sequence[Written]]) -> tuple[Equation, ...]:
        return tuple(
            _equation(same[0], write)._replace(shape=_common([shape_of(e.shape) for e in same]))
            for same in zip(*parts, strict=True)
        )

    letters = tuple(
        Letter(symbol(same[0][0], write), same[0][1], _common([shape for _, _, shape in same]))
        for same in zip(*(each.letters for each in alike), strict=True)
    )
    number, path, _ = first.place
    forward = equations([each.forward for each in alike])
    backward = equations([each.backward for each in alike])
    return LayerPage(number, path, first.kind, numbers, letters, forward, backward)


def _common(shapes: Sequence[Shape]) -> Shape:
    """The shape that all have, with `VARIES` where they differ."""
    return tuple(n[0] if len(set(n)) == 1 else VARIES for n in zip(*shapes, strict=True))


def _equation(each: Written, write: Callable[[int], str]) -> Equation:
    left = symbol(each.left, write)
    if each.kind == "delta":
        left = symbol(each.left.adjoint, write)
    elif each.kind == "gradient":
        left = rf"\frac{{\partial L}}{{\partial {left}}}"
    return Equation(each.kind, left, latex(each.right, write), shape_of(each.shape))


def shape_of(shape: Sequence[int]) -> Shape:
    """A shape with the number of examples as N."""
    return tuple("N" if n == N else n for n in shape)
