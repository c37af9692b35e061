r"""A model layer by layer, as its gradient sees it: one row for each layer, in the order of calls.

A row has the norm of the adjoint of the layer's output, $\|\partial L/\partial y\|$, its ratio to
that of the next row, the largest singular value of the layer's Jacobian
$\partial y/\partial x$ at this batch, and the share of its gates that are closed. A recurrent
layer has its curve over time. Read next: `layers.py`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from chainrule.core.op import Shape
from chainrule.explain import strip_page
from chainrule.explain.gates import Gates
from chainrule.explain.page import Page
from chainrule.explain.through_time import Curve
from chainrule.explain.views import Views


class Singular(NamedTuple):
    """The largest singular value of a layer's Jacobian, of the example where it is largest.

    The true one may be larger by the part `error` of it; the search took `steps` and `converged`
    unless it was ended before `error` was within the tolerance.
    """

    value: float
    error: float
    steps: int
    converged: bool


class Layer(NamedTuple):
    """A row of the strip: the layer at `path`, of class `kind`, with outputs of `shape`.

    `norm` is that of the adjoint of its output, 0 where the loss does not see it; `ratio` is
    `norm` over that of the next row, None in the last row and where that is 0. `singular` is None
    where the input is no float, `gates` where the layer has none; both are of the first
    `examples` of the batch.
    """

    path: str
    kind: str
    shape: Shape
    norm: float
    ratio: float | None
    singular: Singular | None
    gates: Gates | None
    examples: int


class Gap(NamedTuple):
    """Rows that were left out of a list: how many layers, and between which norms they lie."""

    layers: int
    smallest: float
    largest: float


@dataclass(frozen=True)
class Strip(Views):
    """The layers that `inside` calls ("" is the model), and the curves of the recurrent ones.

    `tolerance` is what the search for singular values was asked for.
    """

    layers: tuple[Layer, ...]
    curves: tuple[Curve, ...]
    inside: str
    loss: float
    examples: int
    training: bool
    tolerance: float

    def page(self, lang: str = "auto") -> Page:
        """A row for each layer, then the curves."""
        return strip_page.page(self, lang)

    def folded(self, rows: int = 20) -> list[Layer | Gap]:
        """About `rows` layers, the others as gaps of at least two between them.

        The first and the last rows stay, and those where norm, ratio, singular value or closed
        gates are largest or smallest.

        >>> layer = Layer("dense", "Dense", (8, 4), 1.0, 1.0, None, None, 8)
        >>> Strip((layer,) * 50, (), "", 0.5, 8, False, 0.01).folded(4)[2]
        Gap(layers=46, smallest=1.0, largest=1.0)
        """
        if len(self.layers) <= rows:
            return list(self.layers)
        kept = sorted(_telling(self.layers)[:rows])
        found: list[Layer | Gap] = []
        for before, at in zip([-1, *kept], [*kept, len(self.layers)], strict=True):
            norms = [layer.norm for layer in self.layers[before + 1 : at]]
            if len(norms) == 1:
                found.append(self.layers[at - 1])
            elif norms:
                found.append(Gap(len(norms), min(norms), max(norms)))
            if at < len(self.layers):
                found.append(self.layers[at])
        return found


def _telling(layers: Sequence[Layer]) -> list[int]:
    """All rows, those that tell most first: the ends, the extremes, then from the ends inwards."""
    columns = [
        [(layer.norm, i) for i, layer in enumerate(layers)],
        [(layer.ratio, i) for i, layer in enumerate(layers) if layer.ratio is not None],
        [(layer.singular.value, i) for i, layer in enumerate(layers) if layer.singular],
        [(layer.gates.share, i) for i, layer in enumerate(layers) if layer.gates],
    ]
    count = len(layers)
    order = [0, count - 1]
    order += [pick(rows)[1] for rows in columns if rows for pick in (min, max)]
    for i in range(count):
        order += [i, count - 1 - i]
    return list(dict.fromkeys(order))
