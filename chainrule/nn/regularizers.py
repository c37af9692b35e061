r"""Regularisers: functions of one parameter whose value `fit` adds to the loss, known by name.

Which parameter has which is a matter of names. `kernel` goes by the layer's `kernel_regularizer`;
`depthwise_kernel` by `depthwise_regularizer` where the layer has that attribute, else by
`kernel_regularizer`; `query_bias` by `query_bias_regularizer` or `bias_regularizer`. So a layer
of your own has one as soon as it has an attribute of that name. Read next: `constraints.py`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from chainrule.core.errors import ArgumentError, UnknownNameError
from chainrule.core.tensor import State, Tensor
from chainrule.nn.parts import held
from chainrule.ops.reduce import sum


@dataclass(frozen=True)
class L1:
    r"""$\lambda \sum |w|$."""

    l1: float = 0.01

    def __post_init__(self) -> None:
        _check_factors(self)

    def __call__(self, w: Any) -> Any:
        return sum(abs(w)) * self.l1


@dataclass(frozen=True)
class L2:
    r"""$\lambda \sum w^2$, without a half, as in Keras."""

    l2: float = 0.01

    def __post_init__(self) -> None:
        _check_factors(self)

    def __call__(self, w: Any) -> Any:
        return sum(w * w) * self.l2


@dataclass(frozen=True)
class L1L2:
    r"""$\lambda_1 \sum |w| + \lambda_2 \sum w^2$."""

    l1: float = 0.0
    l2: float = 0.0

    def __post_init__(self) -> None:
        _check_factors(self)

    def __call__(self, w: Any) -> Any:
        return sum(abs(w)) * self.l1 + sum(w * w) * self.l2


def _check_factors(regularizer: L1 | L2 | L1L2) -> None:
    for name, value in vars(regularizer).items():
        number = isinstance(value, int | float) and not isinstance(value, bool)
        if not number or not 0 <= value < math.inf:
            raise ArgumentError(
                f"{type(regularizer).__name__}: {name} must be a number of at least 0, "
                f"got {value!r}"
            )


REGULARIZERS: dict[str, Callable[[Any], Tensor]] = {
    "l1": L1(),
    "l2": L2(),
    "l1_l2": L1L2(0.01, 0.01),
}


def find_regularizer(given: Any, who: str) -> Callable[[Any], Tensor] | None:
    """The regulariser of a name, the function itself, or None for None."""
    if isinstance(given, str):
        if given not in REGULARIZERS:
            raise UnknownNameError("regularizer", given, REGULARIZERS)
        return REGULARIZERS[given]
    if given is None or (callable(given) and not isinstance(given, type)):
        return given
    raise ArgumentError(
        f"{who}: a regularizer is a name or a function of one parameter, got {given!r}",
        mend="nn.regularizers.L2(1e-4), or one of " + ", ".join(sorted(REGULARIZERS)),
    )


def penalty(module: Any) -> Any:
    """The sum of all regularisers of `module` and what it holds; None where there are none.

    >>> from chainrule import nn
    >>> layer = nn.Dense(1, kernel_initializer="ones", kernel_regularizer="l2")
    >>> print(f"{penalty(layer.build_for((1, 3))).item():.2f}")
    0.03
    """
    total: Any = None
    for _, tensor, given in rules(module, "regularizer"):
        part = find_regularizer(given, module.name)(tensor)  # type: ignore[misc]
        total = part if total is None else total + part
    return total


def rules(module: Any, kind: str) -> Iterator[tuple[str, Tensor, Any]]:
    """(attribute, parameter, its rule of that kind), each parameter once, where it has one."""
    seen: set[int] = set()

    def walk(part: Any) -> Iterator[tuple[str, Tensor, Any]]:
        for name, value in held(part):
            if not isinstance(value, Tensor):
                yield from walk(value)
            elif not isinstance(value, State) and id(value) not in seen:
                seen.add(id(value))
                if (given := rule_of(part, name, kind)) is not None:
                    yield name, value, given

    yield from walk(module)


def rule_of(module: Any, name: str, kind: str) -> Any:
    """What the attributes of `module` say for its parameter `name`."""
    values = vars(module)
    for stem in (name.removesuffix("_kernel"), name, name.rpartition("_")[2]):
        if f"{stem}_{kind}" in values:
            return values[f"{stem}_{kind}"]
    return None
