"""Convolution of each channel by itself, and its separable form. Read next: `pooling.py`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from chainrule.core.tensor import Tensor
from chainrule.nn.activations import activate, activation_name
from chainrule.nn.checks import keep_rules, needs_axes, needs_width, positive
from chainrule.nn.module import Module
from chainrule.ops.convolve import depthwise_conv2d
from chainrule.ops.linear import matmul
from chainrule.ops.move import reshape
from chainrule.ops.window import AXES, Extents, extents, known_padding


class DepthwiseConv2D(Module):
    r"""Each channel by itself: $y_{hw,cm} = \sum_{ij} x_{h+i,w+j,c} K_{ijcm} + b_{cm}$.

    `depthwise_kernel` is (rows, columns, channels, depth_multiplier), Glorot uniform; `bias` is
    (channels * depth_multiplier,), zero.
    """

    sample = dict(args=(3,), kwargs=dict(padding="same", depth_multiplier=2), input=(2, 4, 3, 2))
    depthwise_kernel: Tensor
    bias: Tensor

    def __init__(
        self,
        kernel_size: Extents,
        strides: Extents = 1,
        padding: Any = "valid",
        depth_multiplier: int = 1,
        dilation_rate: Extents = 1,
        activation: str | Callable | None = None,
        use_bias: bool = True,
        depthwise_initializer: Any = "glorot_uniform",
        bias_initializer: Any = "zeros",
        depthwise_regularizer: Any = None,
        bias_regularizer: Any = None,
        depthwise_constraint: Any = None,
        bias_constraint: Any = None,
        name: str | None = None,
    ):
        super().__init__(name)
        _keep_windows(self, kernel_size, strides, padding, depth_multiplier, dilation_rate)
        self.activation = activation_name(activation, "DepthwiseConv2D")
        self.use_bias = bool(use_bias)
        keep_rules(
            self,
            depthwise_initializer=depthwise_initializer,
            bias_initializer=bias_initializer,
            depthwise_regularizer=depthwise_regularizer,
            bias_regularizer=bias_regularizer,
            depthwise_constraint=depthwise_constraint,
            bias_constraint=bias_constraint,
        )

    def build(self, shape: tuple[int, ...]) -> None:
        """The kernel for `shape[-1]` channels."""
        needs_axes(self, shape, AXES[1], 4, more=False)
        kernel = (*self.kernel_size, shape[-1], self.depth_multiplier)
        self.parameter("depthwise_kernel", kernel, self.depthwise_initializer)
        if self.use_bias:
            self.parameter("bias", (shape[-1] * self.depth_multiplier,), self.bias_initializer)

    def call(self, x: Tensor) -> Tensor:
        """(batch, height, width, channels) to (batch, rows, columns, channels * multiplier)."""
        y: Any = _depthwise(self, x)
        return activate(self.activation, y + self.bias if self.use_bias else y)


class SeparableConv2D(Module):
    r"""`DepthwiseConv2D` without bias, then a product over the channels, bias and `activation`.

    `depthwise_kernel` is (rows, columns, channels, depth_multiplier), `pointwise_kernel` (1, 1,
    channels * depth_multiplier, filters), both Glorot uniform; `bias` is (filters,), zero.
    """

    sample = dict(args=(3, 2), kwargs=dict(depth_multiplier=2), input=(2, 4, 3, 2))
    depthwise_kernel: Tensor
    pointwise_kernel: Tensor
    bias: Tensor

    def __init__(
        self,
        filters: int,
        kernel_size: Extents,
        strides: Extents = 1,
        padding: Any = "valid",
        dilation_rate: Extents = 1,
        depth_multiplier: int = 1,
        activation: str | Callable | None = None,
        use_bias: bool = True,
        depthwise_initializer: Any = "glorot_uniform",
        pointwise_initializer: Any = "glorot_uniform",
        bias_initializer: Any = "zeros",
        depthwise_regularizer: Any = None,
        pointwise_regularizer: Any = None,
        bias_regularizer: Any = None,
        depthwise_constraint: Any = None,
        pointwise_constraint: Any = None,
        bias_constraint: Any = None,
        name: str | None = None,
    ):
        super().__init__(name)
        self.filters = positive(filters, "SeparableConv2D: filters")
        _keep_windows(self, kernel_size, strides, padding, depth_multiplier, dilation_rate)
        self.activation = activation_name(activation, "SeparableConv2D")
        self.use_bias = bool(use_bias)
        keep_rules(
            self,
            depthwise_initializer=depthwise_initializer,
            pointwise_initializer=pointwise_initializer,
            bias_initializer=bias_initializer,
            depthwise_regularizer=depthwise_regularizer,
            pointwise_regularizer=pointwise_regularizer,
            bias_regularizer=bias_regularizer,
            depthwise_constraint=depthwise_constraint,
            pointwise_constraint=pointwise_constraint,
            bias_constraint=bias_constraint,
        )

    def build(self, shape: tuple[int, ...]) -> None:
        """Both kernels for `shape[-1]` channels."""
        needs_axes(self, shape, AXES[1], 4, more=False)
        kernel = (*self.kernel_size, shape[-1], self.depth_multiplier)
        self.parameter("depthwise_kernel", kernel, self.depthwise_initializer)
        mixed = (1, 1, shape[-1] * self.depth_multiplier, self.filters)
        self.parameter("pointwise_kernel", mixed, self.pointwise_initializer)
        if self.use_bias:
            self.parameter("bias", (self.filters,), self.bias_initializer)

    def call(self, x: Tensor) -> Tensor:
        """(batch, height, width, channels) to (batch, rows, columns, filters)."""
        mixed = reshape(self.pointwise_kernel, self.pointwise_kernel.shape[2:])
        y: Any = matmul(_depthwise(self, x), mixed)
        return activate(self.activation, y + self.bias if self.use_bias else y)


def _keep_windows(
    layer: Any, kernel_size: Any, strides: Any, padding: Any, multiplier: Any, dilation: Any
) -> None:
    who = type(layer).__name__
    layer.kernel_size = extents(kernel_size, 2, f"{who}: kernel_size")
    layer.strides = extents(strides, 2, f"{who}: strides")
    layer.dilation_rate = extents(dilation, 2, f"{who}: dilation_rate")
    layer.padding = known_padding(padding, who)
    layer.depth_multiplier = positive(multiplier, f"{who}: depth_multiplier")


def _depthwise(layer: Any, x: Tensor) -> Tensor:
    needs_axes(layer, x.shape, AXES[1], 4, more=False)
    needs_width(layer, x.shape, layer.depthwise_kernel.shape[2], "channels")
    steps = (layer.strides, layer.padding, layer.dilation_rate)
    return depthwise_conv2d(x, layer.depthwise_kernel, *steps)
