"""What layers demand of their arguments and inputs; `Module` adds the layer's path to an error.

Read next: `dense.py`.
"""

from __future__ import annotations

from typing import Any

from chainrule.core.errors import ArgumentError, ShapeError
from chainrule.nn.constraints import find_constraint
from chainrule.nn.initializers import find_initializer
from chainrule.nn.regularizers import find_regularizer

FINDERS = {
    "initializer": find_initializer,
    "regularizer": find_regularizer,
    "constraint": find_constraint,
}


def keep_rules(layer: Any, **given: Any) -> None:
    """Check and keep a layer's `..._initializer`, `..._regularizer` and `..._constraint`."""
    for name, value in given.items():
        FINDERS[name.rpartition("_")[2]](value, type(layer).__name__)
        setattr(layer, name, value)


def positive(value: Any, what: str) -> int:
    """`value` if it is an integer >= 1; ArgumentError otherwise."""
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise ArgumentError(f"{what} must be an integer >= 1, got {value!r}")
    return value


def rate_below_one(value: Any, who: str) -> float:
    """`value` if it is a share in 0..1, below 1; ArgumentError otherwise."""
    if not isinstance(value, int | float) or not 0 <= value < 1:
        raise ArgumentError(
            f"{who}: rate must lie in 0..1, below 1, got {value!r}",
            mend=f"{who}(0.5) drops half of the elements",
        )
    return float(value)


def above_zero(value: Any, what: str) -> float:
    """`value` if it is a number above 0; ArgumentError otherwise."""
    if not isinstance(value, int | float) or isinstance(value, bool) or not value > 0:
        raise ArgumentError(f"{what} must be above 0, got {value!r}")
    return float(value)


def needs_axes(layer: Any, shape: tuple[int, ...], axes: str, count: int, more: bool) -> None:
    """ShapeError unless `shape` has the `count` axes that `axes` names (or `more`)."""
    if len(shape) == count or (more and len(shape) > count):
        return
    few = "; x[None] and x[..., None] add an axis of 1" if len(shape) < count else ""
    raise ShapeError(
        f"{type(layer).__name__} needs {axes}, got shape {tuple(shape)}",
        mend=f"x.reshape(...) to {axes}{few}",
    )


def needs_width(layer: Any, shape: tuple[int, ...], wanted: int, what: str) -> None:
    """ShapeError unless the last extent is the one that `layer` was built for."""
    if shape[-1] != wanted:
        raise ShapeError(
            f"{type(layer).__name__} was built for {wanted} {what}, got {shape[-1]} "
            f"(input of shape {tuple(shape)})",
            mend=f"give it {wanted} {what} along the last axis, or a new "
            f"{type(layer).__name__} for {shape[-1]}",
        )
