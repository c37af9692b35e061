r"""What is known of a gradient: plain numbers and names, which every renderer reads.

A gradient is a sum over any cut of the graph, $dL/dw = \sum_k (dL/do_k)(do_k/dw)$. An
`Explanation` is of one entry (`index` is there, and so are `partitions` of its gradient) or of a
whole tensor (`index` is None, and `summary` and the largest `entries` are there). Nothing here
holds a tensor or a graph. Read next: `explain.py`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple

from chainrule.explain import latex, report
from chainrule.explain.numerals import number, place
from chainrule.explain.page import Page
from chainrule.explain.views import Views

Mark = Literal["ok", "near", "wrong", "kink", "custom"]
Label = tuple[str, int | str]  # an axis and the place on it: ("example", 3), ("gate", "f")


class Factor(NamedTuple):
    r"""One factor of a chain: its LaTeX, like `\frac{\partial h_{2}}{\partial z_{2}}`."""

    symbol: str
    value: float


class Part(NamedTuple):
    """One term of the sum: where it is, its value, and where it is one product, its factors.

    `factors` go from the loss to the parameter and multiply to `value`; they are empty where the
    part is itself a sum. `given` are the example's input features where these are few.
    """

    labels: tuple[Label, ...]
    value: float
    factors: tuple[Factor, ...] = ()
    given: tuple[int | float, ...] = ()


class Others(NamedTuple):
    """What the rows leave out: how many parts, their sum, the sum of their sizes |part|.

    `zeros` of them are exactly 0.
    """

    count: int  # type: ignore[assignment]  # a tuple has a method of this name
    total: float
    mass: float
    zeros: int


@dataclass(frozen=True)
class Partition:
    """The gradient as a sum over `by`, at a cut of the graph.

    `by` are names of axes: "example", "output", "unit", "position", "time", "gate", "lookup";
    `at` is the path of the layer that is cut ("" for the loss) and `cut` says how: "use" where
    the parameter is read, which every path passes, or "output" of a later layer. `parts` are
    the rows with the largest |value|, largest first; `others` is all the rest. `past` is what
    reaches the loss without passing the cut, `regulariser` what the loss takes from the
    parameter directly; both are 0 as a rule.
    """

    by: tuple[str, ...]
    at: str
    cut: Literal["use", "output"]
    parts: tuple[Part, ...]
    others: Others
    gradient: float
    past: float = 0.0
    regulariser: float = 0.0

    @property
    def sum(self) -> float:
        """The sum of all rows, which is the gradient."""
        shown = sum(part.value for part in self.parts)
        return shown + self.others.total + self.past + self.regulariser

    @property
    def mass(self) -> float:
        """The sum of the sizes |part| of all rows."""
        rest = self.others.mass + abs(self.past) + abs(self.regulariser)
        return sum(abs(part.value) for part in self.parts) + rest

    @property
    def coverage(self) -> float:
        """The share of the mass that the rows hold which are named; 1 where all is 0."""
        return 1 - self.others.mass / self.mass if self.mass else 1.0

    @property
    def cancellation(self) -> float:
        """1 - |sum| / mass: 0 where all parts have one sign, near 1 where they cancel."""
        return 1 - abs(self.sum) / self.mass if self.mass else 0.0

    @property
    def error(self) -> float:
        """|sum - gradient|."""
        return abs(self.sum - self.gradient)


class Check(NamedTuple):
    """The central difference (L(w + step) - L(w - step)) / 2 step in float64, beside the gradient.

    `relative` is |difference - gradient| over the larger of the two sizes. `mark` is "ok" up to
    1e-6, or where both are so small that the loss has no digit for them. Above, it is "near" while
    the difference is not known better itself, and "wrong" where it is; "custom" where the way
    passes a `custom_gradient`, whose author may have meant another; and "kink" where a mask or a
    choice flips within the step, so that no derivative is defined there to compare with.
    """

    difference: float
    relative: float
    step: float
    mark: Mark


class Entry(NamedTuple):
    """One entry of a tensor: its place, its value, its gradient, and the check beside it."""

    index: tuple[int, ...]  # type: ignore[assignment]  # a tuple has a method of this name
    weight: float
    gradient: float
    check: Check | None = None


class Summary(NamedTuple):
    """The gradient of a whole tensor in a line.

    `norm` is the Euclidean norm; `ratio` is it over the norm of the weights; `zeros` and
    `not_finite` count entries.
    """

    count: int  # type: ignore[assignment]  # a tuple has a method of this name
    norm: float
    ratio: float
    mean: float
    smallest: float
    largest: float
    zeros: int
    not_finite: int


@dataclass(frozen=True, repr=False)
class Explanation(Views):
    """What the gradient of one parameter is made of, for one batch.

    `parameter` is its path ("conv2d/kernel"), `symbol` its LaTeX; `kind` is the class of its
    layer. `loss` is the number that was differentiated, `loss_name` what it is called;
    `training` says whether layers ran as in training, None where a recorded loss does not tell.
    `left_out` are (what, how many) of what was not listed; `trainable` says whether `fit` moves
    the parameter. Where the loss is not finite there are no partitions, entries and checks.
    """

    parameter: str
    symbol: str
    kind: str
    shape: tuple[int, ...]
    dtype: str
    index: tuple[int, ...] | None
    weight: float | None
    gradient: float | None
    loss: float
    loss_name: str
    training: bool | None
    examples: int
    check: Check | None = None
    partitions: tuple[Partition, ...] = ()
    summary: Summary | None = None
    entries: tuple[Entry, ...] = ()
    left_out: tuple[tuple[str, int], ...] = ()
    lang: str = "auto"
    trainable: bool = True

    def page(self, lang: str = "auto") -> Page:
        """Lines and tables; "auto" is the language that was asked for when this was made."""
        return report.page(self, lang)

    def to_latex(self, lang: str = "auto", *, annotated: bool = True) -> str:
        """`align*` blocks for amsmath; evaluated, their sums are the gradient to 1e-6."""
        return latex.to_latex(self, lang, annotated=annotated)

    def __repr__(self) -> str:
        name = f"{self.parameter}{place(self.index or ())}"
        about = f"shape {self.shape}" if self.gradient is None else number(self.gradient)
        return f"<explanation of {name}, {about}; print() shows it>"
