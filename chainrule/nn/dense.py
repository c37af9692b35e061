"""Dense and Activation. Read next: `conv.py`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from chainrule.core.tensor import Tensor
from chainrule.nn.activations import activate, activation_name
from chainrule.nn.checks import keep_rules, needs_axes, needs_width, positive
from chainrule.nn.module import Module
from chainrule.ops.linear import matmul


class Dense(Module):
    r"""Affine map $y = x W + b$ of the last axis onto `units` features, then `activation`.

    `kernel` is (features, units), Glorot uniform; `bias` is (units,), zero.
    ShapeError for an input of other features than it was built for.
    """

    sample = dict(args=(4,), kwargs=dict(activation="tanh"), input=(2, 3))
    kernel: Tensor
    bias: Tensor

    def __init__(
        self,
        units: int,
        activation: str | Callable | None = None,
        use_bias: bool = True,
        kernel_initializer: Any = "glorot_uniform",
        bias_initializer: Any = "zeros",
        kernel_regularizer: Any = None,
        bias_regularizer: Any = None,
        kernel_constraint: Any = None,
        bias_constraint: Any = None,
        name: str | None = None,
    ):
        super().__init__(name)
        self.units = positive(units, "Dense: units")
        self.activation = activation_name(activation, "Dense")
        self.use_bias = bool(use_bias)
        keep_rules(
            self,
            kernel_initializer=kernel_initializer,
            bias_initializer=bias_initializer,
            kernel_regularizer=kernel_regularizer,
            bias_regularizer=bias_regularizer,
            kernel_constraint=kernel_constraint,
            bias_constraint=bias_constraint,
        )

    def build(self, shape: tuple[int, ...]) -> None:
        """The kernel for `shape[-1]` features."""
        needs_axes(self, shape, "(batch, ..., features)", 2, more=True)
        self.parameter("kernel", (shape[-1], self.units), self.kernel_initializer)
        if self.use_bias:
            self.parameter("bias", (self.units,), self.bias_initializer)

    def call(self, x: Tensor) -> Tensor:
        """(batch, ..., features) to (batch, ..., units)."""
        needs_axes(self, x.shape, "(batch, ..., features)", 2, more=True)
        needs_width(self, x.shape, self.kernel.shape[0], "features")
        y: Any = matmul(x, self.kernel)
        return activate(self.activation, y + self.bias if self.use_bias else y)


class Activation(Module):
    """The function `activation` of each element (of each row for softmax); no parameters."""

    sample = dict(args=("sigmoid",), input=(2, 3))

    def __init__(self, activation: str | Callable, name: str | None = None):
        super().__init__(name)
        self.activation = activation_name(activation, "Activation")

    def call(self, x: Tensor) -> Tensor:
        """An output of the input's shape."""
        return activate(self.activation, x)
