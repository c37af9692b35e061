"""Convolution, pooling and flattening of images (batch, height, width, channels).

Read next: `normalisation.py`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from chainrule.core.errors import ShapeError
from chainrule.core.tensor import Tensor
from chainrule.nn.activations import activation as activation_of
from chainrule.nn.dense import positive
from chainrule.nn.initializers import initializer
from chainrule.nn.module import Module
from chainrule.ops.window import Pair, conv2d, max_pool2d, pair


class Conv2D(Module):
    r"""Cross-correlation $y_{hwo} = \sum_{ijc} x_{h+i,w+j,c} K_{ijco} + b_o$, then `activation`.

    `kernel` is (rows, columns, channels, filters), Glorot uniform; `bias` is (filters,), zero.
    `padding` is "valid", "same" or ((top, bottom), (left, right)).
    """

    sample = {"args": (3, 2), "input": (2, 4, 5, 2)}  # noqa: RUF012

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
    ):
        self.filters = positive(filters, "Conv2D: filters")
        self.kernel_size = pair(kernel_size, "Conv2D: kernel_size")
        self.strides = pair(strides, "Conv2D: strides")
        self.dilation_rate = pair(dilation_rate, "Conv2D: dilation_rate")
        self.padding, self.activation, self.use_bias = padding, activation, use_bias
        activation_of(activation), initializer(kernel_initializer), initializer(bias_initializer)
        self.kernel_initializer, self.bias_initializer = kernel_initializer, bias_initializer

    def build(self, shape: tuple[int, ...]) -> None:
        if len(shape) != 4:
            raise ShapeError(
                f"Conv2D needs (batch, height, width, channels), got shape {shape}",
                mend="x[..., None] adds a channel axis",
            )
        kernel = (*self.kernel_size, shape[-1], self.filters)
        self.kernel = self.parameter("kernel", kernel, self.kernel_initializer)
        if self.use_bias:
            self.bias = self.parameter("bias", (self.filters,), self.bias_initializer)

    def call(self, x: Tensor) -> Tensor:
        self.check_width(x, -1, self.kernel.shape[2])
        y = conv2d(x, self.kernel, self.strides, self.padding, self.dilation_rate)
        return activation_of(self.activation)(y + self.bias if self.use_bias else y)


class MaxPooling2D(Module):
    """The largest value under each window; `strides` is `pool_size` when not given."""

    sample = {"args": (2,), "input": (2, 4, 5, 2)}  # noqa: RUF012

    def __init__(self, pool_size: Pair = 2, strides: Pair | None = None, padding: Any = "valid"):
        self.pool_size = pair(pool_size, "MaxPooling2D: pool_size")
        self.strides = self.pool_size if strides is None else pair(strides, "strides")
        self.padding = padding

    def call(self, x: Tensor) -> Tensor:
        return max_pool2d(x, self.pool_size, self.strides, self.padding)


class Flatten(Module):
    """All axes but the batch as one."""

    sample = {"args": (), "input": (2, 3, 4)}  # noqa: RUF012

    def call(self, x: Tensor) -> Tensor:
        if not x.ndim:
            raise ShapeError("Flatten needs (batch, ...), got a scalar")
        count = 1
        for n in x.shape[1:]:
            count *= n
        return x.reshape((x.shape[0], count))  # type: ignore[attr-defined]
