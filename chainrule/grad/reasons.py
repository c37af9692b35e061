"""What `why_no_grad` can answer: a record, and the table of its sentences by reason.

A reason followed by an op's name is the same reason said for that op. Read next: `check.py`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from chainrule.core.errors import Place
from chainrule.core.node import Node


class Message(NamedTuple):
    """What is told of a reason, and how to mend it; the names in braces are filled in."""

    says: str
    mend: str = ""


MESSAGES = {
    "flows": Message("The gradient of {who} flows: its norm is {norm:.6g}."),
    "frozen": Message(
        "The gradient of {who} flows (its norm is {norm:.6g}), but {who} is frozen: fit leaves it.",
        "layer.trainable = True, and no None for its path in the optimiser's groups",
    ),
    "state": Message(
        "{who} is a State: calls renew it by assignment, and no gradient is taken of it.",
        "self.parameter(...) instead of self.state(...) in build",
    ),
    "integer": Message(
        "{who} holds whole numbers or truth values, which have no gradient.",
        "make it float32 where it is created, and cast where integers are needed",
    ),
    "empty": Message("{who} has no elements.", "a shape without 0"),
    "unused": Message(
        "{who} was not used while the loss was recorded.",
        "use this very Tensor inside `with cr.record():`; an update makes new ones, and"
        " np.asarray, .numpy() and float() copy",
    ),
    "used_elsewhere": Message(
        "{who} is used, last by {op}, but nothing of it reaches the loss.",
        "put that result into the loss",
    ),
    "copied": Message(
        "The loss knows {who} by number only: {op} takes a copy, which is a constant to the graph.",
        "use the Tensor itself; np.asarray, .numpy(), .item() and float() leave the graph",
    ),
    "stopped": Message(
        "stop_gradient lets the value of {who} pass, and no gradient back.",
        "leave stop_gradient out of one path at least",
    ),
    "integers": Message(
        "{op} makes whole numbers or truth values of what {who} gives: they move in jumps.",
        "a smooth form: softmax for argmax, sigmoid for a comparison, no cast to integers",
    ),
    "flat": Message(
        "{op} has derivative 0 everywhere: it moves in steps.",
        "leave it out in training, or x + cr.stop_gradient({op}(x) - x) to pass the gradient on",
    ),
    "no_derivative": Message(
        "{op} gives no gradient to this input.",
        "cr.custom_gradient(fn) to say what it is",
    ),
    "zero": Message(
        "The gradient of {who} is 0 everywhere: it ends at {op}, whose derivative here is all 0.",
        "look at the inputs of {op} there: they lie where it is flat",
    ),
    "zero/relu": Message(
        "The gradient of {who} is 0 everywhere: each unit of this relu that counts is closed"
        " (its input is not above 0).",
        "a lower learning rate, another initialisation, or leaky_relu",
    ),
    "zero/multiply": Message(
        "The gradient of {who} is 0 everywhere: it is multiplied by 0.",
        "a factor (a weight of the loss, a mask) that is not all 0",
    ),
    "zero/contract": Message(
        "The gradient of {who} is 0 everywhere: the other factor of this product is 0 where a"
        " gradient comes.",
        "weights that do not start at 0; inputs that are not all 0",
    ),
    "zero/where": Message(
        "The gradient of {who} is 0 everywhere: this where never chooses it.",
        "a condition that chooses it for some element",
    ),
    "zero/scan": Message(
        "The gradient of {who} is 0 everywhere: it ends inside the body of this loop.",
        "call the body once by itself under cr.record(), and ask there",
    ),
    "zero/choose": Message(
        "The gradient of {who} is 0 everywhere: it ends inside what cond or checkpoint runs here.",
        "call that function by itself under cr.record(), and ask there",
    ),
    "cancelled": Message(
        "The gradient of {who} is 0 everywhere: what comes from its several uses cancels at {op}.",
        "a loss that does not stay the same when {who} moves",
    ),
    "not_finite": Message(
        "The gradient of {who} is not finite: it is so from {op} on, going back from the loss.",
        "keep its input off the edge: cr.clip, an epsilon, or cr.where around the input too",
    ),
}


@dataclass(frozen=True)
class GradientPath:
    """What `why_no_grad` found. It is true when the gradient flows, and prints as sentences.

    `reason` is a key of `MESSAGES`; `node` is where the path is cut, `op` its name, `place` the
    user's line, `layer` the path of its layer; `others` counts the cuts of further paths.
    """

    reason: str
    who: str
    op: str = ""
    place: Place | None = None
    layer: str = ""
    node: Node | None = None
    norm: float | None = None
    others: int = 0

    def __bool__(self) -> bool:
        return self.reason == "flows"

    @property
    def message(self) -> str:
        """The reason in a sentence."""
        return self._told.says.format(**vars(self))

    @property
    def mend(self) -> str:
        """How to mend it, '' where nothing is wrong."""
        return self._told.mend.format(**vars(self))

    @property
    def _told(self) -> Message:
        return MESSAGES.get(f"{self.reason}/{self.op}", MESSAGES[self.reason])

    def __str__(self) -> str:
        line = f"{self.place}  {self.place.source}".rstrip() if self.place else ""
        rows = [
            self.message + (f" So end {self.others} more of its paths." if self.others else ""),
            "  ".join(part for part in (line, self.layer and f"in {self.layer}") if part),
            f"mend: {self.mend}" if self.mend else "",
        ]
        return "\n  ".join(row for row in rows if row)

    __repr__ = __str__
