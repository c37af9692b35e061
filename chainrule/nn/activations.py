r"""Activations: functions of one tensor, known by name. Read next: `module.py`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from chainrule.core.errors import ArgumentError, UnknownNameError
from chainrule.core.tensor import Tensor, as_tensor
from chainrule.ops.activations import elu, gelu, leaky_relu, selu, silu
from chainrule.ops.composite import log_softmax, softmax, softplus
from chainrule.ops.elementwise import relu, sigmoid, tanh

ACTIVATIONS: dict[str, Callable[[Any], Tensor]] = {
    "elu": elu,
    "gelu": gelu,
    "leaky_relu": leaky_relu,
    "log_softmax": log_softmax,
    "relu": relu,
    "selu": selu,
    "sigmoid": sigmoid,
    "silu": silu,
    "softmax": softmax,
    "softplus": softplus,
    "tanh": tanh,
}


def activation(function: Callable[[Any], Tensor]) -> Callable[[Any], Tensor]:
    """Register `function` under its name."""
    ACTIVATIONS[function.__name__] = function
    return function


@activation
def linear(x: Any) -> Tensor:
    """x itself."""
    return as_tensor(x)


def activation_name(given: Any, who: str) -> Any:
    """`given` as a layer keeps it: the name where it has one, else the function; None stays.

    A name is what can be compared, written to a file and shown. UnknownNameError for a name
    that is none.
    """
    if given is None:
        return None
    if isinstance(given, str):
        if given not in ACTIVATIONS:
            raise UnknownNameError("activation", given, ACTIVATIONS)
        return given
    for name, function in ACTIVATIONS.items():
        if given is function:
            return name
    if callable(given) and not isinstance(given, type):
        return given
    raise ArgumentError(
        f"{who}: an activation is a name or a function of one tensor, got {given!r}",
        mend="one of " + ", ".join(sorted(ACTIVATIONS)),
    )


def activate(name: Any, x: Tensor) -> Tensor:
    """The activation that `activation_name` gave, of `x`."""
    if name is None:
        return x
    return (ACTIVATIONS[name] if isinstance(name, str) else name)(x)
