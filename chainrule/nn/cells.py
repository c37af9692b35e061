r"""Cells: one step of a recurrent layer, from an input and the states to an output and states.

A cell of your own is a Module with `state_size` and `call(x, states) -> (y, states)`. Those here
say a step in two parts: `prepare(x)` is what depends on the input alone, done once for all steps,
and gives the function that does the rest. Read next: `recurrent.py`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np

from chainrule.core.tensor import Tensor
from chainrule.nn.activations import activate, activation_name
from chainrule.nn.checks import keep_rules, needs_axes, needs_width, positive, rate_below_one
from chainrule.nn.initializers import find_initializer
from chainrule.nn.module import Module
from chainrule.nn.regularisation import same_drop
from chainrule.nn.signatures import takes_also
from chainrule.ops.arrange import split
from chainrule.ops.elementwise import cast
from chainrule.ops.linear import matmul

Step = Callable[[Any, tuple], tuple[Any, tuple]]


class Cell(Module):
    r"""What the cells here share: $x W + b$ for all gates at once, and a recurrent product.

    `kernel` is (features, gates * units), Glorot uniform; `recurrent_kernel` (units, gates *
    units), orthogonal; `bias` (gates * units,), zero. In training `dropout` makes some of the
    features 0 and `recurrent_dropout` some of the units, as the recurrent product reads them; one
    mask serves all gates, and in a layer all steps. (Keras draws one for each gate as soon as
    there is `recurrent_dropout`.)

    Source of the dropout: Gal and Ghahramani, "A Theoretically Grounded Application of Dropout in
    Recurrent Neural Networks", NIPS 2016.
    """

    gates: ClassVar[int] = 1
    kernel: Tensor
    recurrent_kernel: Tensor
    bias: Tensor

    def __init__(
        self,
        units: int,
        activation: str | Callable | None = "tanh",
        *,
        use_bias: bool = True,
        kernel_initializer: Any = "glorot_uniform",
        recurrent_initializer: Any = "orthogonal",
        bias_initializer: Any = "zeros",
        kernel_regularizer: Any = None,
        recurrent_regularizer: Any = None,
        bias_regularizer: Any = None,
        kernel_constraint: Any = None,
        recurrent_constraint: Any = None,
        bias_constraint: Any = None,
        dropout: float = 0.0,
        recurrent_dropout: float = 0.0,
        name: str | None = None,
    ):
        super().__init__(name)
        who = type(self).__name__
        self.units = positive(units, f"{who}: units")
        self.activation = activation_name(activation, who)
        self.use_bias = bool(use_bias)
        keep_rules(
            self,
            kernel_initializer=kernel_initializer,
            recurrent_initializer=recurrent_initializer,
            bias_initializer=bias_initializer,
            kernel_regularizer=kernel_regularizer,
            recurrent_regularizer=recurrent_regularizer,
            bias_regularizer=bias_regularizer,
            kernel_constraint=kernel_constraint,
            recurrent_constraint=recurrent_constraint,
            bias_constraint=bias_constraint,
        )
        self.dropout = rate_below_one(dropout, f"{who}: dropout")
        self.recurrent_dropout = rate_below_one(recurrent_dropout, f"{who}: recurrent_dropout")

    @property
    def state_size(self) -> int | tuple[int, ...]:
        """The width of each state: the last output alone."""
        return self.units

    def build(self, shape: tuple[int, ...]) -> None:
        """Kernels and bias for the features of one step, `shape` (batch, features)."""
        needs_axes(self, shape, "(batch, features)", 2, more=False)
        wide = self.gates * self.units
        self.parameter("kernel", (shape[-1], wide), self.kernel_initializer)
        self.parameter("recurrent_kernel", (self.units, wide), self.recurrent_initializer)
        if self.use_bias:
            self.build_bias(wide)

    def build_bias(self, wide: int) -> None:
        """The bias of all gates, which are `wide` together."""
        self.parameter("bias", (wide,), self.bias_initializer)

    def call(self, x: Tensor, states: tuple, *, training: bool = False) -> tuple[Tensor, tuple]:
        """(batch, features) and states to (batch, units) and new states."""
        needs_axes(self, x.shape, "(batch, features)", 2, more=False)
        needs_width(self, x.shape, self.kernel.shape[0], "features")
        z, step = self.prepare(x, training=training)
        return step(z, states)

    def prepare(self, x: Tensor, *, training: bool = False) -> tuple[Any, Step]:
        """(what the steps read of `x`, the step): `x` is (batch, features), or has steps first."""
        x = cast(x, self.kernel.dtype)
        if training and self.dropout:
            x = same_drop(self.dropout, x.shape[-2:])(x)
        z: Any = matmul(x, self.kernel)
        bias = self.bias_of_input()
        if training and self.recurrent_dropout:
            read = same_drop(self.recurrent_dropout, (x.shape[-2], self.units))
        else:
            read = _itself
        return z if bias is None else z + bias, lambda z, states: self.step(z, states, read)

    def bias_of_input(self) -> Tensor | None:
        """What is added to the input's product, None for nothing."""
        return self.bias if self.use_bias else None

    def step(self, z: Any, states: tuple, read: Callable[[Any], Any]) -> tuple[Any, tuple]:
        """(output, states) of one step; `read(h)` is `h` as the recurrent product sees it."""
        raise NotImplementedError


class SimpleRNNCell(Cell):
    r"""$h' = \tanh(x W + h U + b)$; the one state is the output."""

    def step(self, z: Any, states: tuple, read: Callable[[Any], Any]) -> tuple[Any, tuple]:
        """One step of the plain recurrence."""
        (h,) = states
        y = activate(self.activation, z + matmul(read(h), self.recurrent_kernel))
        return y, (y,)


class LSTMCell(Cell):
    r"""Long short-term memory; states $h$, the output, and $c$.

    $$c' = \sigma(f) c + \sigma(i) \tanh(g), \quad h' = \sigma(o) \tanh(c'), \quad
    (i, f, g, o) = x W + h U + b$$

    $\sigma$ is `recurrent_activation`, tanh `activation`. With `unit_forget_bias` the bias of $f$
    starts at 1.

    Source: Hochreiter and Schmidhuber, Neural Computation 1997; the forget gate: Gers et al.,
    2000; its bias: Jozefowicz et al., ICML 2015.
    """

    gates = 4

    @takes_also(Cell.__init__)
    def __init__(
        self,
        units: int,
        activation: str | Callable | None = "tanh",
        recurrent_activation: str | Callable | None = "sigmoid",
        *,
        unit_forget_bias: bool = True,
        **options: Any,
    ):
        super().__init__(units, activation, **options)
        self.recurrent_activation = activation_name(recurrent_activation, type(self).__name__)
        self.unit_forget_bias = bool(unit_forget_bias)

    @property
    def state_size(self) -> tuple[int, ...]:
        """The widths of $h$ and $c$."""
        return self.units, self.units

    def build_bias(self, wide: int) -> None:
        """Gates in the order i, f, c, o."""

        def values(key: Tensor, shape: tuple[int, ...]) -> Tensor:
            drawn = np.array(find_initializer(self.bias_initializer, self.name)(key, shape))
            if self.unit_forget_bias:
                drawn[self.units : 2 * self.units] = 1.0
            return Tensor(drawn)

        self.parameter("bias", (wide,), values)

    def step(self, z: Any, states: tuple, read: Callable[[Any], Any]) -> tuple[Any, tuple]:
        """One step of the equations above."""
        h, c = states
        gates = split(z + matmul(read(h), self.recurrent_kernel), 4, axis=-1)
        i, f, o = (activate(self.recurrent_activation, gates[at]) for at in (0, 1, 3))
        c = f * c + i * activate(self.activation, gates[2])
        y = o * activate(self.activation, c)
        return y, (y, c)


class GRUCell(Cell):
    r"""Gated recurrent unit; the one state is the output.

    $$h' = \sigma(z) h + (1 - \sigma(z)) \tanh(n), \quad
    n = x W_h + b_h + \sigma(r) (h U_h + b'_h)$$

    with $z$ and $r$ as $x W + b + h U + b'$. So it is with `reset_after`, and `bias` holds $b$ and
    $b'$ as its two rows. Without, $n = x W_h + (\sigma(r) h) U_h + b_h$ and `bias` is one row.

    Source: Cho et al., EMNLP 2014, in version 1 (`reset_after`) and 3 of the paper.
    """

    gates = 3

    @takes_also(Cell.__init__)
    def __init__(
        self,
        units: int,
        activation: str | Callable | None = "tanh",
        recurrent_activation: str | Callable | None = "sigmoid",
        *,
        reset_after: bool = True,
        **options: Any,
    ):
        super().__init__(units, activation, **options)
        self.recurrent_activation = activation_name(recurrent_activation, type(self).__name__)
        self.reset_after = bool(reset_after)

    def build_bias(self, wide: int) -> None:
        """Gates in the order z, r, h."""
        shape = (2, wide) if self.reset_after else (wide,)
        self.parameter("bias", shape, self.bias_initializer)

    def bias_of_input(self) -> Any:
        """The first row, where there are two."""
        return self.bias[0] if self.use_bias and self.reset_after else super().bias_of_input()

    def step(self, z: Any, states: tuple, read: Callable[[Any], Any]) -> tuple[Any, tuple]:
        """One step of the equations above."""
        (h,) = states
        seen, both = read(h), 2 * self.units
        last = self.recurrent_kernel[:, both:]
        if self.reset_after:
            inner: Any = matmul(seen, self.recurrent_kernel)
            parts = split(inner + self.bias[1] if self.use_bias else inner, 3, axis=-1)
        else:
            parts = split(matmul(seen, self.recurrent_kernel[:, :both]), 2, axis=-1)
        given = split(z, 3, axis=-1)
        update, reset = (
            activate(self.recurrent_activation, a + b)
            for a, b in zip(given[:2], parts[:2], strict=True)
        )
        after = reset * parts[2] if self.reset_after else matmul(reset * seen, last)
        y = update * h + (1.0 - update) * activate(self.activation, given[2] + after)
        return y, (y,)


def _itself(h: Any) -> Any:
    return h
