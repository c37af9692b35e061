"""Convolution over time (batch, time, channels) and images (batch, height, width, channels).

Read next: `depthwise.py`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

from chainrule.core.errors import ArgumentError
from chainrule.core.tensor import Tensor
from chainrule.nn.activations import activate, activation_name
from chainrule.nn.checks import keep_rules, needs_axes, needs_width, positive
from chainrule.nn.module import Module
from chainrule.ops.convolve import conv1d, conv2d, conv_transpose1d, conv_transpose2d
from chainrule.ops.window import AXES, Extents, extents, known_padding


class Convolution(Module):
    """What convolutions share: arguments, kernel and bias; `function` convolves."""

    axes: ClassVar[int] = 2
    function: ClassVar[Callable[..., Tensor]]
    paddings: ClassVar[tuple[str, ...]] = ("same", "valid")
    kernel: Tensor
    bias: Tensor

    def __init__(
        self,
        filters: int,
        kernel_size: Extents,
        strides: Extents = 1,
        padding: Any = "valid",
        dilation_rate: Extents = 1,
        activation: str | Callable | None = None,
        use_bias: bool = True,
        kernel_initializer: Any = "glorot_uniform",
        bias_initializer: Any = "zeros",
        kernel_regularizer: Any = None,
        bias_regularizer: Any = None,
        kernel_constraint: Any = None,
        bias_constraint: Any = None,
        groups: int = 1,
        name: str | None = None,
    ):
        super().__init__(name)
        who = type(self).__name__
        self.filters = positive(filters, f"{who}: filters")
        self.kernel_size = extents(kernel_size, self.axes, f"{who}: kernel_size")
        self.strides = extents(strides, self.axes, f"{who}: strides")
        self.dilation_rate = extents(dilation_rate, self.axes, f"{who}: dilation_rate")
        self.padding = known_padding(padding, who, self.paddings, self.axes)
        self.activation = activation_name(activation, who)
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
        self.groups = positive(groups, f"{who}: groups")
        if self.filters % self.groups:
            raise ArgumentError(f"{who}: {groups} groups do not share out {filters} filters")

    def build(self, shape: tuple[int, ...]) -> None:
        """The kernel for `shape[-1]` channels."""
        self._needs_axes(shape)
        if shape[-1] % self.groups:
            raise ArgumentError(
                f"{type(self).__name__}: {self.groups} groups do not share out {shape[-1]} channels"
            )
        self.parameter("kernel", self._kernel_shape(shape[-1]), self.kernel_initializer)
        if self.use_bias:
            self.parameter("bias", (self.filters,), self.bias_initializer)

    def call(self, x: Tensor) -> Tensor:
        """(batch, ..., channels) to (batch, places..., filters)."""
        self._needs_axes(x.shape)
        needs_width(self, x.shape, self._channels(), "channels")
        steps = (self.strides, self.padding, self.dilation_rate, self.groups)
        y: Any = type(self).function(x, self.kernel, *steps)
        return activate(self.activation, y + self.bias if self.use_bias else y)

    def _needs_axes(self, shape: tuple[int, ...]) -> None:
        needs_axes(self, shape, AXES[self.axes - 1], self.axes + 2, more=False)

    def _kernel_shape(self, channels: int) -> tuple[int, ...]:
        return (*self.kernel_size, channels // self.groups, self.filters)

    def _channels(self) -> int:
        return self.kernel.shape[-2] * self.groups


class Conv1D(Convolution):
    r"""Cross-correlation over time $y_{to} = \sum_{ic} x_{t+i,c} K_{ico} + b_o$, `activation`.

    `kernel` is (length, channels / groups, filters), Glorot uniform; `bias` is (filters,), zero.
    `padding` is "valid", "same" (ceil(extent / stride) outputs), "causal" (an output sees no
    later input) or ((before, after),).
    """

    axes = 1
    paddings = ("same", "causal", "valid")
    function = staticmethod(conv1d)
    sample = dict(args=(4, 3), kwargs=dict(padding="causal", groups=2), input=(2, 5, 2))


class Conv2D(Convolution):
    r"""Cross-correlation $y_{hwo} = \sum_{ijc} x_{h+i,w+j,c} K_{ijco} + b_o$, then `activation`.

    `kernel` is (rows, columns, channels / groups, filters), Glorot uniform; `bias` is (filters,),
    zero. `padding` is "valid", "same" (ceil(extent / stride) outputs) or ((top, bottom), (left,
    right)). With `groups`, each group of filters reads its own group of channels.
    """

    function = staticmethod(conv2d)
    sample = dict(args=(3, 2), kwargs=dict(padding="same", activation="tanh"), input=(2, 4, 5, 2))


class TransposedConvolution(Convolution):
    """A convolution whose kernel is (..., filters / groups, channels)."""

    def _kernel_shape(self, channels: int) -> tuple[int, ...]:
        return (*self.kernel_size, self.filters // self.groups, channels)

    def _channels(self) -> int:
        return self.kernel.shape[-1]


class Conv1DTranspose(TransposedConvolution):
    r"""The transpose of `Conv1D`: each input spreads a kernel, $y_{st+a} \mathrel{+}= x_t K_a$.

    `kernel` is (length, filters / groups, channels); as `Conv2DTranspose` in all else.
    """

    axes = 1
    function = staticmethod(conv_transpose1d)
    sample = dict(args=(2, 3), kwargs=dict(strides=2, padding="same"), input=(2, 3, 4))


class Conv2DTranspose(TransposedConvolution):
    r"""The transpose of `Conv2D`: each input spreads a kernel, $y_{si+a} \mathrel{+}= x_i K_a$.

    `kernel` is (rows, columns, filters / groups, channels). "same" gives extent * stride outputs,
    "valid" extent * stride + max(reach - stride, 0) where a kernel reaches (size - 1) * dilation +
    1 far; explicit margins are cut off what "valid" gives. Keras's `output_padding` is not there.
    """

    function = staticmethod(conv_transpose2d)
    sample = dict(args=(3, 3), kwargs=dict(strides=2, padding="same"), input=(2, 3, 2, 2))
