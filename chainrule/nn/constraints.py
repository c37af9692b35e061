r"""Constraints: functions that put a parameter back where it may be, after each update.

Which parameter has which follows from names, as with regularisers. Read next: `dense.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from chainrule.core.errors import ArgumentError, UnknownNameError
from chainrule.core.tensor import Tensor
from chainrule.nn.regularizers import rules
from chainrule.ops.elementwise import relu, sqrt
from chainrule.ops.reduce import sum
from chainrule.ops.rounding import minimum

EDGE = 1e-7  # Keras's, added to a norm that something is divided by


def norm(w: Any, axis: int | Sequence[int]) -> Any:
    """The Euclidean length of `w` along `axis`, which is kept with extent 1."""
    return sqrt(sum(w * w, axis, keepdims=True))


@dataclass(frozen=True)
class MaxNorm:
    """Shortens what is longer than `max_value` along `axis`, and leaves the rest.

    With axis 0, the weights into each unit of a Dense kernel; for Conv2D it is (0, 1, 2).
    """

    max_value: float = 2.0
    axis: int | tuple[int, ...] = 0

    def __call__(self, w: Any) -> Any:
        length = norm(w, self.axis)
        return w * (minimum(length, float(self.max_value)) / (length + EDGE))


@dataclass(frozen=True)
class UnitNorm:
    """Length 1 along `axis`."""

    axis: int | tuple[int, ...] = 0

    def __call__(self, w: Any) -> Any:
        return w / (norm(w, self.axis) + EDGE)


@dataclass(frozen=True)
class NonNeg:
    """0 where it is below 0."""

    def __call__(self, w: Any) -> Any:
        return relu(w)


CONSTRAINTS: dict[str, Callable[[Any], Tensor]] = {
    "max_norm": MaxNorm(),
    "non_neg": NonNeg(),
    "unit_norm": UnitNorm(),
}


def find_constraint(given: Any, who: str) -> Callable[[Any], Tensor] | None:
    """The constraint of a name, the function itself, or None for None."""
    if isinstance(given, str):
        if given not in CONSTRAINTS:
            raise UnknownNameError("constraint", given, CONSTRAINTS)
        return CONSTRAINTS[given]
    if given is None or (callable(given) and not isinstance(given, type)):
        return given
    raise ArgumentError(
        f"{who}: a constraint is a name or a function of one parameter, got {given!r}",
        mend="nn.constraints.MaxNorm(2.0), or one of " + ", ".join(sorted(CONSTRAINTS)),
    )


def projections(module: Any) -> dict[int, Callable[[Any], Tensor]]:
    """The constraint of each parameter that has one, by the parameter's `id`."""
    found = {}
    for _, tensor, given in rules(module, "constraint"):
        project = find_constraint(given, module.name)
        assert project is not None
        found[id(tensor)] = project
    return found
