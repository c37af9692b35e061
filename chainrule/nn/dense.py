"""Dense. Read next: `conv.py`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from chainrule.core.errors import ArgumentError, ShapeError
from chainrule.core.tensor import Tensor
from chainrule.nn.activations import activation as activation_of
from chainrule.nn.initializers import initializer
from chainrule.nn.module import Module


def positive(value: Any, what: str) -> int:
    """`value` if it is an integer >= 1; ArgumentError otherwise."""
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise ArgumentError(f"{what} is an integer >= 1, got {value!r}")
    return value


class Dense(Module):
    r"""Affine map $y = x W + b$ of the last axis onto `units` features, then `activation`.

    `kernel` is (features, units), Glorot uniform; `bias` is (units,), zero.
    """

    sample = {"args": (4,), "input": (2, 3)}  # noqa: RUF012

    def __init__(
        self,
        units: int,
        activation: str | Callable | None = None,
        use_bias: bool = True,
        kernel_initializer: Any = "glorot_uniform",
        bias_initializer: Any = "zeros",
    ):
        self.units = positive(units, "Dense: units")
        activation_of(activation), initializer(kernel_initializer), initializer(bias_initializer)
        self.activation, self.use_bias = activation, use_bias
        self.kernel_initializer, self.bias_initializer = kernel_initializer, bias_initializer

    def build(self, shape: tuple[int, ...]) -> None:
        if len(shape) < 2:
            raise ShapeError(
                f"Dense needs (batch, ..., features), got shape {shape}", mend="x[None]"
            )
        self.kernel = self.parameter("kernel", (shape[-1], self.units), self.kernel_initializer)
        if self.use_bias:
            self.bias = self.parameter("bias", (self.units,), self.bias_initializer)

    def call(self, x: Tensor) -> Tensor:
        self.check_width(x, -1, self.kernel.shape[0])
        y = x @ self.kernel
        return activation_of(self.activation)(y + self.bias if self.use_bias else y)
