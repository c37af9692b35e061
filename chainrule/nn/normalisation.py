"""Normalisation: by the batch, by the example, by groups of channels, by the mean square.

Read next: `regularisation.py`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from chainrule.core.errors import ArgumentError, ShapeError
from chainrule.core.tensor import Tensor
from chainrule.nn.checks import above_zero, keep_rules, needs_axes, needs_width, positive
from chainrule.nn.module import Module, is_frozen
from chainrule.ops.composite import var
from chainrule.ops.elementwise import add, cast, sqrt, stop_gradient
from chainrule.ops.move import reshape
from chainrule.ops.reduce import mean, normal_axes


class Affine(Module):
    """What normalisations share: `gamma` from 1 and `beta` from 0, as asked."""

    gamma: Tensor
    beta: Tensor

    def __init__(
        self,
        axis: int | Sequence[int] = -1,
        epsilon: float = 1e-3,
        center: bool = True,
        scale: bool = True,
        beta_initializer: Any = "zeros",
        gamma_initializer: Any = "ones",
        beta_regularizer: Any = None,
        gamma_regularizer: Any = None,
        beta_constraint: Any = None,
        gamma_constraint: Any = None,
        name: str | None = None,
    ):
        super().__init__(name)
        self.axis = axis if isinstance(axis, int) else tuple(axis)
        self.epsilon = above_zero(epsilon, f"{type(self).__name__}: epsilon")
        self.center, self.scale = bool(center), bool(scale)
        keep_rules(
            self,
            beta_initializer=beta_initializer,
            gamma_initializer=gamma_initializer,
            beta_regularizer=beta_regularizer,
            gamma_regularizer=gamma_regularizer,
            beta_constraint=beta_constraint,
            gamma_constraint=gamma_constraint,
        )

    def _make(self, shape: tuple[int, ...]) -> None:
        if self.scale:
            self.parameter("gamma", shape, self.gamma_initializer)
        if self.center:
            self.parameter("beta", shape, self.beta_initializer)

    def _scaled(self, y: Any, shape: tuple[int, ...]) -> Any:
        """`y` by gamma and beta of the extents that `shape` has along the axes that are theirs."""
        y = y * reshape(self.gamma, shape) if self.scale else y
        return y + reshape(self.beta, shape) if self.center else y

    def _width(self) -> tuple[int, ...] | None:
        known = self.gamma if self.scale else self.beta if self.center else None
        return None if known is None else known.shape

    def _needs_extents(self, shape: tuple[int, ...], axes: Sequence[int], what: str) -> None:
        wanted, found = self._width(), tuple(shape[a] for a in axes)
        if wanted is None or found == wanted:
            return
        if len(wanted) == len(axes) == 1 and axes[0] == len(shape) - 1:
            needs_width(self, shape, wanted[0], what)
        raise ShapeError(
            f"{type(self).__name__} was built for {wanted} {what} along axes {tuple(axes)}, got "
            f"{found} (input of shape {shape})",
            mend=f"a new {type(self).__name__} for {found}",
        )


class BatchNormalization(Affine):
    r"""$y = \gamma\,(x - \mu) / \sqrt{v + \epsilon} + \beta$ for each channel (the last axis).

    In training $\mu$ and $v$ are mean and variance over all other axes, and the moving ones
    follow them: moving = momentum * moving + (1 - momentum) * batch. Otherwise the moving ones
    are used and stay; so it is also where this layer, or one that holds it, has `trainable =
    False`. `gamma` starts at 1, `beta` at 0, the moving mean at 0 and variance at 1; without
    `scale` there is no gamma, without `center` no beta.

    Source: Ioffe, Szegedy, "Batch Normalization", ICML 2015, algorithm 1; $v$ divides by the
    number of elements in both uses.
    """

    sample = dict(args=(), input=(4, 3, 2))
    moving_mean: Any  # a State; what is assigned to it is any tensor
    moving_variance: Any

    def __init__(
        self,
        momentum: float = 0.99,
        epsilon: float = 1e-3,
        center: bool = True,
        scale: bool = True,
        beta_initializer: Any = "zeros",
        gamma_initializer: Any = "ones",
        beta_regularizer: Any = None,
        gamma_regularizer: Any = None,
        beta_constraint: Any = None,
        gamma_constraint: Any = None,
        name: str | None = None,
    ):
        super().__init__(
            -1,
            epsilon,
            center,
            scale,
            beta_initializer,
            gamma_initializer,
            beta_regularizer,
            gamma_regularizer,
            beta_constraint,
            gamma_constraint,
            name,
        )
        if not 0 <= momentum <= 1:
            raise ArgumentError(f"BatchNormalization: momentum must lie in 0..1, got {momentum!r}")
        self.momentum = float(momentum)

    def build(self, shape: tuple[int, ...]) -> None:
        """One number of each kind for each of `shape[-1]` channels."""
        needs_axes(self, shape, "(batch, ..., channels)", 2, more=True)
        self._make(shape[-1:])
        self.state("moving_mean", shape[-1:], 0.0)
        self.state("moving_variance", shape[-1:], 1.0)

    def call(self, x: Any, *, training: bool = False) -> Tensor:
        """An output of the input's shape; in training the moving statistics are renewed."""
        needs_axes(self, x.shape, "(batch, ..., channels)", 2, more=True)
        needs_width(self, x.shape, self.moving_mean.shape[0], "channels")
        moves = training and not is_frozen()
        mu, v = self._statistics(x) if moves else (self.moving_mean, self.moving_variance)
        gain: Any = self.gamma if self.scale else 1.0
        y: Any = (x - cast(mu, x.dtype)) * (gain / sqrt(add(cast(v, x.dtype), self.epsilon)))
        return y + self.beta if self.center else y

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


class LayerNormalization(Affine):
    r"""$y = \gamma\,(x - \mu) / \sqrt{v + \epsilon} + \beta$ over `axis` of each example.

    `gamma` and `beta` have the extents of the input along `axis`; as in Keras $\epsilon$ is 1e-3.

    Source: Ba, Kiros, Hinton, "Layer Normalization", 2016, equation 4.
    """

    sample = dict(args=(), input=(2, 3, 4))

    def build(self, shape: tuple[int, ...]) -> None:
        """One number of each kind for each element along `axis`."""
        needs_axes(self, shape, "(batch, ..., features)", 2, more=True)
        self._make(tuple(shape[a] for a in normal_axes(self.axis, len(shape))))

    def call(self, x: Any) -> Any:
        """An output of the input's shape."""
        needs_axes(self, x.shape, "(batch, ..., features)", 2, more=True)
        axes = normal_axes(self.axis, x.ndim)
        self._needs_extents(x.shape, axes, "features")
        centred = x - mean(x, axes, keepdims=True)
        v = mean(centred * centred, axes, keepdims=True)
        shape = tuple(n if i in axes else 1 for i, n in enumerate(x.shape))
        return self._scaled(centred / sqrt(v + self.epsilon), shape)


class GroupNormalization(Affine):
    r"""As `LayerNormalization` over all places and each of `groups` groups of channels.

    `gamma` and `beta` are (channels,); channels are the last axis, the only `axis` there is.
    `groups=-1` gives each channel a group of its own.

    Source: Wu, He, "Group Normalization", ECCV 2018, equations 1 to 3 and 7.
    """

    sample = dict(args=(2,), input=(2, 3, 2, 4))

    def __init__(
        self,
        groups: int = 32,
        epsilon: float = 1e-3,
        center: bool = True,
        scale: bool = True,
        beta_initializer: Any = "zeros",
        gamma_initializer: Any = "ones",
        beta_regularizer: Any = None,
        gamma_regularizer: Any = None,
        beta_constraint: Any = None,
        gamma_constraint: Any = None,
        name: str | None = None,
    ):
        super().__init__(
            -1,
            epsilon,
            center,
            scale,
            beta_initializer,
            gamma_initializer,
            beta_regularizer,
            gamma_regularizer,
            beta_constraint,
            gamma_constraint,
            name,
        )
        self.groups = -1 if groups == -1 else positive(groups, "GroupNormalization: groups")

    def build(self, shape: tuple[int, ...]) -> None:
        """One number of each kind for each channel."""
        self._count(shape)
        self._make(shape[-1:])

    def call(self, x: Any) -> Any:
        """An output of the input's shape."""
        groups = self._count(x.shape)
        self._needs_extents(x.shape, (x.ndim - 1,), "channels")
        parted = reshape(x, (*x.shape[:-1], groups, x.shape[-1] // groups))
        axes = (*range(1, x.ndim - 1), x.ndim)
        centred = parted - mean(parted, axes, keepdims=True)
        v = mean(centred * centred, axes, keepdims=True)
        y = reshape(centred / sqrt(v + self.epsilon), x.shape)
        return self._scaled(y, x.shape[-1:])

    def _count(self, shape: tuple[int, ...]) -> int:
        needs_axes(self, shape, "(batch, ..., channels)", 2, more=True)
        groups = shape[-1] if self.groups == -1 else self.groups
        if not groups or shape[-1] % groups:
            width = self._width() if self.built else None
            wanted = f"was built for {width[0]} channels" if width else f"has {groups} groups"
            raise ShapeError(
                f"GroupNormalization {wanted}, got {shape[-1]} channels (input of shape {shape})",
                mend=f"a number of groups that divides {shape[-1]}",
            )
        return groups


class RMSNormalization(Module):
    r"""$y = s\,x / \sqrt{\text{mean}(x^2) + \epsilon}$ over the last axis of each example.

    `scale` is (features,), from 1; as in Keras $\epsilon$ is 1e-6.

    Source: Zhang, Sennrich, "Root Mean Square Layer Normalization", NeurIPS 2019, equation 4.
    """

    sample = dict(args=(), input=(2, 3, 4))
    scale: Tensor

    def __init__(self, epsilon: float = 1e-6, name: str | None = None):
        super().__init__(name)
        self.epsilon = above_zero(epsilon, "RMSNormalization: epsilon")

    def build(self, shape: tuple[int, ...]) -> None:
        """One number for each feature."""
        needs_axes(self, shape, "(batch, ..., features)", 2, more=True)
        self.parameter("scale", shape[-1:], "ones")

    def call(self, x: Any) -> Any:
        """An output of the input's shape."""
        needs_axes(self, x.shape, "(batch, ..., features)", 2, more=True)
        needs_width(self, x.shape, self.scale.shape[0], "features")
        return x / sqrt(mean(x * x, -1, keepdims=True) + self.epsilon) * self.scale
