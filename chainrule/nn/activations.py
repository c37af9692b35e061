r"""Activations: functions of one tensor, known by name. Read next: `module.py`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from chainrule.core.errors import ArgumentError, UnknownNameError
from chainrule.core.tensor import Tensor, as_tensor
from chainrule.ops.composite import log_softmax, softmax, softplus
from chainrule.ops.elementwise import exp, greater, multiply, relu, sigmoid, tanh, where

ACTIVATIONS: dict[str, Callable[[Any], Tensor]] = {
    "log_softmax": log_softmax,
    "relu": relu,
    "sigmoid": sigmoid,
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


@activation
def leaky_relu(x: Any) -> Tensor:
    """x where it is positive, else 0.2 x, so that a gradient flows on both sides."""
    return where(greater(x, 0), x, multiply(x, 0.2))


@activation
def elu(x: Any) -> Tensor:
    r"""x where it is positive, else $e^x - 1$.

    Source: Clevert, Unterthiner, Hochreiter, "Fast and Accurate Deep Network Learning by
    Exponential Linear Units", ICLR 2016, equation 15, with $\alpha = 1$.
    """
    # The branch not taken is computed too: exp of a large x would give inf there, and 0 * inf
    # is NaN in the gradient.
    positive = greater(x, 0)
    return where(positive, x, exp(where(positive, 0.0, x)) - 1)


@activation
def silu(x: Any) -> Tensor:
    r"""$x\,\sigma(x)$."""
    return as_tensor(x) * sigmoid(x)


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
