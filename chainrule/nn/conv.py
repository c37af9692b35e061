"""Convolution and pooling of images (batch, height, width, channels). Read next: `shape.py`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from chainrule.core.tensor import Tensor
from chainrule.nn.activations import activate, activation_name
from chainrule.nn.checks import known_padding, needs_axes, needs_width, positive
from chainrule.nn.initializers import find_initializer
from chainrule.nn.module import Module
from chainrule.ops.window import Pair, conv2d, max_pool2d, pair

IMAGES = "(batch, height, width, channels)"


class Conv2D(Module):
    r"""Cross-correlation $y_{hwo} = \sum_{ijc} x_{h+i,w+j,c} K_{ijco} + b_o$, then `activation`.

    `kernel` is (rows, columns, channels, filters), Glorot uniform; `bias` is (filters,), zero.
    `padding` is "valid", "same" (ceil(extent / stride) outputs) or ((top, bottom), (left, right)).
    """

    sample = dict(args=(3, 2), kwargs=dict(padding="same", activation="tanh"), input=(2, 4, 5, 2))
    kernel: Tensor
    bias: Tensor

    def __init__(
        self,
        filters: int,
        kernel_size: Pair,
        strides: Pair = 1,
        padding: Any = "valid",
        dilation_rate: Pair = 1,
        activation: str | Callable | None = None,
        use_bias: bool = True,
        kernel_initializer: Any = "glorot_uniform",
        bias_initializer: Any = "zeros",
        name: str | None = None,
    ):
        super().__init__(name)
        self.filters = positive(filters, "Conv2D: filters")
        self.kernel_size = pair(kernel_size, "Conv2D: kernel_size")
        self.strides = pair(strides, "Conv2D: strides")
        self.dilation_rate = pair(dilation_rate, "Conv2D: dilation_rate")
        self.padding = known_padding(padding, "Conv2D")
        self.activation = activation_name(activation, "Conv2D")
        self.use_bias = bool(use_bias)
        for given in (kernel_initializer, bias_initializer):
            find_initializer(given, "Conv2D")
        self.kernel_initializer, self.bias_initializer = kernel_initializer, bias_initializer

    def build(self, shape: tuple[int, ...]) -> None:
        """The kernel for `shape[-1]` channels."""
        needs_axes(self, shape, IMAGES, 4, more=False)
        kernel = (*self.kernel_size, shape[-1], self.filters)
        self.parameter("kernel", kernel, self.kernel_initializer)
        if self.use_bias:
            self.parameter("bias", (self.filters,), self.bias_initializer)

    def call(self, x: Tensor) -> Tensor:
        """(batch, height, width, channels) to (batch, rows, columns, filters)."""
        needs_axes(self, x.shape, IMAGES, 4, more=False)
        needs_width(self, x.shape, self.kernel.shape[2], "channels")
        y: Any = conv2d(x, self.kernel, self.strides, self.padding, self.dilation_rate)
        return activate(self.activation, y + self.bias if self.use_bias else y)


class MaxPooling2D(Module):
    """The largest value under each window; `strides` is `pool_size` when not given."""

    sample = dict(args=(2,), input=(2, 4, 5, 2))

    def __init__(
        self,
        pool_size: Pair = 2,
        strides: Pair | None = None,
        padding: Any = "valid",
        name: str | None = None,
    ):
        super().__init__(name)
        self.pool_size = pair(pool_size, "MaxPooling2D: pool_size")
        self.strides = None if strides is None else pair(strides, "MaxPooling2D: strides")
        self.padding = known_padding(padding, "MaxPooling2D")

    def call(self, x: Tensor) -> Tensor:
        """(batch, height, width, channels) to (batch, rows, columns, channels)."""
        needs_axes(self, x.shape, IMAGES, 4, more=False)
        return max_pool2d(x, self.pool_size, self.strides, self.padding)
