"""What is found of a value that is not finite: a record, and the table of its sentences by reason.

The record is plain data, so that it can be kept, sent, and told in another language. Read next:
`check.py`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from chainrule.core.errors import Place


class Told(NamedTuple):
    """What is told of a reason, and how to mend it; the names in braces are filled in."""

    says: str
    mend: str = ""


AWAY = "keep the divisor off 0: z + 1e-7, or cr.where around the divisor itself"
CAUSES = {
    "log_zero": Told(
        "the logarithm of 0",
        "cr.log(x + 1e-7); for probabilities a loss with from_logits=True",
    ),
    "log_negative": Told(
        "the logarithm of a negative number",
        "cr.maximum(x, 1e-7) inside; cr.softplus on an output that has to be positive",
    ),
    "zero_by_zero": Told("0 divided by 0", AWAY),
    "by_zero": Told("a division by 0", AWAY),
    "exp_overflow": Told(
        "{op}({first:.4g}) is more than {dtype} holds: {op} goes up to {limit:.4g}",
        "subtract the maximum first, as cr.softmax and cr.logsumexp do; or from_logits=True",
    ),
    "sqrt_negative": Told(
        "the root of a negative number", "cr.maximum(x, 1e-12) inside; look for a lost square"
    ),
    "power_negative": Told(
        "a negative number to a power that is not whole", "cr.abs(x) or cr.maximum(x, 1e-7) inside"
    ),
    "power_zero": Told("0 to a negative power", "x + 1e-7, or cr.maximum(x, 1e-7) inside"),
    "domain": Told("{op} outside of where it is defined", "cr.clip(x, -1 + 1e-6, 1 - 1e-6) inside"),
    "arccosh": Told("{op} of a number below 1", "cr.maximum(x, 1 + 1e-6) inside"),
    "inf_minus_inf": Told(
        "infinity minus infinity",
        "a large number, -1e9, in place of -inf in a mask; and leave rows out that are all masked",
    ),
    "zero_times_inf": Told("0 times infinity", "cr.where in place of a product with a mask of 0"),
    "inf_by_inf": Told("infinity divided by infinity", "divide numbers that are smaller"),
    "infinite": Told("an infinity of the program that reaches the result", "a large number, -1e9"),
    "overflow": Told(
        "a number larger than {dtype} holds ({most:.2g})",
        "smaller inputs (scale them), clipping, or dtype float64",
    ),
    "derivative": Told(
        "{of} has no finite derivative {at}",
        "{of} of x + 1e-7; where cr.where hides the value, choose its input with cr.where too",
    ),
    "undefined": Told("{op} is not defined there", "look at the inputs"),
    "data": Told(
        "the data itself is not finite",
        "leave that example out, or np.nan_to_num; beyond {most:.2g} {dtype} holds inf",
    ),
    "weights": Told(
        "the weight itself is not finite", "a smaller learning rate, or look at what set the weight"
    ),
    "exploding": Told(
        "the weights exploded", "a smaller learning rate, or clipnorm=1.0 in the optimiser"
    ),
    "squares": Told(
        "more than {dtype} holds ({most:.2g})",
        "a smaller learning rate, a loss that is a mean, or clipvalue=1.0 in the optimiser",
    ),
}
LARGE = ("overflow", "exp_overflow", "inf_minus_inf", "inf_by_inf", "squares", "weights")
# Ops whose derivatives have them; the first few at 0.
POLES = "log sqrt rsqrt power divide log1p arcsin arccos arccosh arctanh".split()
SAID = {"contract": "a sum of products"}
WIDTH = 70  # of a source line


class Operand(NamedTuple):
    """An input of the op: at the element, or where it reads many, from the least to the most."""

    value: float | None
    beside: tuple[float, ...]
    least: float
    most: float
    shape: tuple[int, ...]

    def __str__(self) -> str:
        if self.value is None:
            size = "x".join(map(str, self.shape)) or "1"
            return f"{size} numbers in {self.least:.4g} .. {self.most:.4g}"
        return f"{self.value:.6g}"


class Growth(NamedTuple):
    """A weight whose largest element is `now`, and was `before` so many steps ago.

    Where both are the same, it grew no one saw when, in `steps` at most.
    """

    name: str
    before: float
    now: float
    steps: int


@dataclass(frozen=True)
class Finding:
    """The first value that is not finite, and what made it; prints as a few sentences.

    `reason` is a key of `CAUSES`. `op` gave `value` at `index` of its result; it stands at `place`
    in `layer`, and with `gradient` it is the derivative of what stands there (of the op `of`).
    `leaf` is the argument when it came so. `times` are the steps of the loops around. `examples`
    are the places in the batch of `batch` examples where it is so, `number` the first's in the
    data.
    """

    reason: str
    op: str
    value: float
    dtype: str
    shape: tuple[int, ...]
    index: tuple[int, ...]
    count: int = 1  # elements that are so
    inputs: tuple[Operand, ...] = ()
    place: Place | None = None
    layer: str = ""
    gradient: bool = False
    of: str = ""
    leaf: str = ""
    times: tuple[int, ...] = ()
    examples: tuple[int, ...] = ()
    batch: int | None = None
    number: int | None = None
    growth: Growth | None = None

    @property
    def example(self) -> int | None:
        """The place in the batch of the first example where it is so."""
        return self.examples[0] if self.examples else None

    @property
    def message(self) -> str:
        """What was not finite first, in a sentence."""
        shape = f"{self.dtype}[{','.join(map(str, self.shape))}]"
        where = f" at [{', '.join(map(str, self.index))}] of {shape}" if self.shape else ""
        if self.leaf:
            return f"{self.leaf} came with {self.value:g}{where}: {self.cause}"
        who = (
            f"the derivative of {self.of or 'this line'}"
            if self.gradient
            else SAID.get(self.op, self.op)
        )
        return f"{who} gives {self.value:g}{where}: {self.cause}"

    @property
    def cause(self) -> str:
        """The reason in words."""
        return CAUSES[self.reason].says.format(**self._words)

    @property
    def mend(self) -> str:
        """How to mend it."""
        reason = "exploding" if self.growth else self.reason
        return CAUSES[reason].mend.format(**self._words)

    @property
    def _words(self) -> dict[str, object]:
        limits = np.finfo(self.dtype)
        first = self.inputs[0].value if self.inputs else None
        return {
            "op": self.op,
            "of": self.of,
            "dtype": self.dtype,
            "first": np.nan if first is None else first,
            "at": "at 0" if self.of in POLES[:5] else "there",
            "most": limits.max,
            "limit": np.log(limits.max) + (np.log(2) if self.op in ("sinh", "cosh") else 0),
        }

    def __str__(self) -> str:
        line = f"{self.place}  {_short(self.place.source)}".rstrip() if self.place else ""
        steps = ", ".join(map(str, self.times))
        rows = [
            f"first not finite: {self.message}",
            "    ".join(
                part
                for part in (
                    ("gradient of " if self.gradient else "") + line if line else "",
                    f"in {self.layer}" if self.layer else "",
                    f"at t = {steps}" if steps else "",
                )
                if part
            ),
            self._inputs(),
            self._examples(),
            self._growth(),
            f"mend: {self.mend}",
        ]
        return "\n  ".join(row for row in rows if row)

    def _inputs(self) -> str:
        if not self.inputs or self.leaf:
            return ""
        telling = [x.beside for x in self.inputs if {*x.beside} - {x.value}] or [()]
        beside = telling[-1]
        near = f"  (beside it {', '.join(f'{x:.4g}' for x in beside)})" if beside else ""
        return f"inputs: {' and '.join(map(str, self.inputs))}{near}"

    def _examples(self) -> str:
        if self.example is None:
            return ""
        number = "" if self.number is None else f", number {self.number} of the data"
        count = len(self.examples)
        if 1 < count == self.batch:
            return f"in all {count} examples of the batch"
        others = f"; so in {count} of {self.batch} examples" if count > 1 else ""
        return f"example {self.example} of the batch{number} (from 0){others}"

    def _growth(self) -> str:
        if self.growth is None:
            return ""
        name, before, now, steps = self.growth
        grew = (
            f"grew from {before:.2g} to {now:.2g}" if before < now else f"is as large as {now:.2g}"
        )
        return f"exploding rate: {name} {grew} in {steps} step{'s' * (steps != 1)}"


def _short(line: str) -> str:
    return line if len(line) <= WIDTH else line[: WIDTH - 3] + "..."
