"""Normalisation. Read next: `regularisation.py`."""

from __future__ import annotations

from typing import Any

from chainrule.core.errors import ArgumentError, ShapeError
from chainrule.core.tensor import Tensor
from chainrule.nn.checks import needs_axes, needs_width
from chainrule.nn.module import Module
from chainrule.ops.composite import var
from chainrule.ops.elementwise import add, cast, sqrt, stop_gradient
from chainrule.ops.reduce import mean


class BatchNormalization(Module):
    r"""$y = \gamma\,(x - \mu) / \sqrt{v + \epsilon} + \beta$ for each channel (the last axis).

    In training $\mu$ and $v$ are mean and variance over all other axes, and the moving ones
    follow them: moving = momentum * moving + (1 - momentum) * batch. Otherwise the moving ones
    are used and stay. `gamma` starts at 1, `beta` at 0, the moving mean at 0 and variance at 1.

    Source: Ioffe, Szegedy, "Batch Normalization", ICML 2015, algorithm 1; $v$ divides by the
    number of elements in both uses.
    """

    sample = dict(args=(), input=(4, 3, 2))
    gamma: Tensor
    beta: Tensor
    moving_mean: Any  # a State; what is assigned to it is any tensor
    moving_variance: Any

    def __init__(self, momentum: float = 0.99, epsilon: float = 1e-3, name: str | None = None):
        super().__init__(name)
        if not 0 <= momentum <= 1:
            raise ArgumentError(f"BatchNormalization: momentum must lie in 0..1, got {momentum!r}")
        if not epsilon > 0:
            raise ArgumentError(f"BatchNormalization: epsilon must be above 0, got {epsilon!r}")
        self.momentum, self.epsilon = float(momentum), float(epsilon)

    def build(self, shape: tuple[int, ...]) -> None:
        """One number of each kind for each of `shape[-1]` channels."""
        needs_axes(self, shape, "(batch, ..., channels)", 2, more=True)
        self.parameter("gamma", shape[-1:], "ones")
        self.parameter("beta", shape[-1:], "zeros")
        self.state("moving_mean", shape[-1:], 0.0)
        self.state("moving_variance", shape[-1:], 1.0)

    def call(self, x: Any, *, training: bool = False) -> Tensor:
        """An output of the input's shape; in training the moving statistics are renewed."""
        needs_axes(self, x.shape, "(batch, ..., channels)", 2, more=True)
        needs_width(self, x.shape, self.gamma.shape[0], "channels")
        mu, v = self._statistics(x) if training else (self.moving_mean, self.moving_variance)
        scale = self.gamma / sqrt(add(cast(v, x.dtype), self.epsilon))
        return (x - cast(mu, x.dtype)) * scale + self.beta

    def _statistics(self, x: Tensor) -> tuple[Tensor, Tensor]:
        if x.size == 0:
            raise ShapeError(
                f"an empty batch has no mean to train on, got shape {x.shape}",
                mend="training=False, or at least one example",
            )
        axes = tuple(range(x.ndim - 1))
        mu, v = mean(x, axes), var(x, axes)
        self.moving_mean = self._moved(self.moving_mean, mu)
        self.moving_variance = self._moved(self.moving_variance, v)
        return mu, v

    def _moved(self, moving: Any, batch: Any) -> Tensor:
        batch = cast(stop_gradient(batch), moving.dtype)
        return moving * self.momentum + batch * (1 - self.momentum)
