"""Batch normalisation. Read next: `randomness.py`."""

from __future__ import annotations

from chainrule.core.tensor import Tensor
from chainrule.nn.module import Module
from chainrule.ops.composite import var
from chainrule.ops.elementwise import sqrt, stop_gradient
from chainrule.ops.reduce import mean


class BatchNormalization(Module):
    r"""$y = \gamma (x - \mu) / \sqrt{v + \epsilon} + \beta$ per channel (the last axis).

    In training $\mu, v$ are the batch's, and the moving ones follow them:
    `moving = momentum * moving + (1 - momentum) * batch`. Otherwise the moving ones are used.
    Ioffe and Szegedy 2015, algorithm 1; defaults are Keras's.
    """

    sample = {"args": (), "input": (4, 3, 2)}  # noqa: RUF012

    def __init__(self, momentum: float = 0.99, epsilon: float = 1e-3):
        self.momentum, self.epsilon = momentum, epsilon

    def build(self, shape: tuple[int, ...]) -> None:
        channels = (shape[-1],)
        self.gamma = self.parameter("gamma", channels, "ones")
        self.beta = self.parameter("beta", channels, "zeros")
        self.moving_mean = self.state("moving_mean", channels, 0.0)
        self.moving_variance = self.state("moving_variance", channels, 1.0)

    def call(self, x: Tensor, *, training: bool = False) -> Tensor:
        self.check_width(x, -1, self.gamma.shape[0])
        mu: Tensor = self.moving_mean
        v: Tensor = self.moving_variance
        if training:
            axes = tuple(range(x.ndim - 1))
            mu, v = mean(x, axes), var(x, axes)
            for name, batch in (("moving_mean", mu), ("moving_variance", v)):
                moving = getattr(self, name)
                kept = moving * self.momentum
                setattr(self, name, kept + stop_gradient(batch).astype(moving.dtype)
                        * (1 - self.momentum))
        scale = self.gamma / sqrt(v.astype(x.dtype) + self.epsilon)
        return (x - mu.astype(x.dtype)) * scale + self.beta
