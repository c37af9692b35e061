"""Several inputs to one output, and a chain beside a short cut. Read next: `normalisation.py`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import reduce
from typing import Any, ClassVar

from chainrule.core.errors import ArgumentError, ShapeError
from chainrule.core.tensor import Tensor
from chainrule.nn.dense import Dense
from chainrule.nn.module import Module
from chainrule.nn.names import number_names
from chainrule.nn.regularisation import Dropout
from chainrule.ops import elementwise
from chainrule.ops.arrange import concatenate
from chainrule.ops.move import normal_axis


class Merge(Module):
    """What merges share: a tuple of two or more tensors of one shape, taken in order."""

    operation: ClassVar[Callable[[Any, Any], Any]]

    def call(self, x: Any) -> Any:
        """A tuple of tensors of one shape, or of shapes that broadcast, to one."""
        return reduce(type(self).operation, _several(self, x))


class Add(Merge):
    """The sum of the inputs."""

    sample = dict(args=(), input=[(2, 3), (2, 3), (2, 3)])
    operation = staticmethod(elementwise.add)


class Subtract(Merge):
    """The first of two inputs minus the second."""

    sample = dict(args=(), input=[(2, 3), (2, 3)])
    operation = staticmethod(elementwise.subtract)

    def call(self, x: Any) -> Any:
        """Two tensors to one; ShapeError for more."""
        if len(_several(self, x)) != 2:
            raise ShapeError(f"Subtract needs two inputs, got {len(x)}")
        return super().call(x)


class Multiply(Merge):
    """The product of the inputs, element by element."""

    sample = dict(args=(), input=[(2, 3), (2, 3)])
    operation = staticmethod(elementwise.multiply)


class Maximum(Merge):
    """The largest of the inputs, element by element; a tie shares the gradient."""

    sample = dict(args=(), input=[(2, 3), (2, 3)])
    operation = staticmethod(elementwise.maximum)


class Average(Merge):
    """The mean of the inputs, element by element."""

    sample = dict(args=(), input=[(2, 3), (2, 3)])
    operation = staticmethod(elementwise.add)

    def call(self, x: Any) -> Any:
        """A tuple of tensors of one shape to one."""
        return super().call(x) * (1.0 / len(x))


class Concatenate(Module):
    """The inputs one after another along `axis`; their other extents are equal."""

    sample = dict(args=(), input=[(2, 3), (2, 1), (2, 4)])

    def __init__(self, axis: int = -1, name: str | None = None):
        super().__init__(name)
        if not isinstance(axis, int):
            raise ArgumentError(f"Concatenate: axis must be an integer, got {axis!r}")
        self.axis = axis

    def call(self, x: Any) -> Tensor:
        """A tuple of tensors to one that is as long along `axis` as all of them."""
        parts = _several(self, x)
        axis = normal_axis(self.axis, parts[0].ndim)
        rest = {(*p.shape[:axis], *p.shape[axis + 1 :]) for p in parts if p.ndim > axis}
        if len({p.ndim for p in parts}) > 1 or len(rest) > 1:
            raise ShapeError(
                f"Concatenate along axis {self.axis} needs equal other extents, got "
                + " and ".join(str(p.shape) for p in parts)
            )
        return concatenate(parts, axis)


def _several(layer: Any, x: Any) -> tuple:
    x = tuple(x.values()) if isinstance(x, dict) else x
    if not isinstance(x, tuple) or len(x) < 2 or not all(isinstance(p, Tensor) for p in x):
        came = f"{len(x)}" if isinstance(x, tuple) else f"one of shape {x.shape}"
        raise ShapeError(
            f"{type(layer).__name__} needs several inputs, got {came}",
            mend=f"{type(layer).__name__}()((a, b))",
        )
    return x


class Residual(Module):
    """`layers` one after another, and their input added to what they give.

    Where the chain changes the shape, `shortcut` is the layer that the input goes through, such
    as a Conv2D of size 1. Masks go along.

    Source: He et al., "Deep Residual Learning for Image Recognition", CVPR 2016, equation 1.
    """

    sample = dict(args=lambda: ([Dense(4, "tanh"), Dropout(0.4), Dense(3)],), input=(2, 3))

    def __init__(
        self, layers: Sequence[Module], shortcut: Module | None = None, name: str | None = None
    ):
        super().__init__(name)
        chain = list(layers)
        number_names(chain)
        self.layers = tuple(chain)
        self.shortcut = shortcut

    def call(self, x: Any, *, training: bool = False, mask: Any = None) -> Any:
        """An output of the shape that the chain gives; ShapeError if the short cut has another."""
        y, _ = run_chain(self.layers, x, training, mask)
        beside = x if self.shortcut is None else self.shortcut(x, training=training)
        if y.shape != beside.shape:
            raise ShapeError(
                f"Residual: the chain gives {y.shape}, beside it there is {beside.shape}",
                mend="shortcut=a layer that gives the chain's shape, Dense(units) or Conv2D(n, 1)",
            )
        return y + beside


def run_chain(
    layers: Sequence[Module], x: Any, training: bool = False, mask: Any = None
) -> tuple[Any, Any]:
    """(output, its mask) of `layers`, each fed by the one before; those that take a mask get it."""
    for layer in layers:
        found = layer.compute_mask(x, mask)
        given = {"mask": mask} if layer.takes_mask and mask is not None else {}
        x, mask = layer(x, training=training, **given), found
    return x, mask
