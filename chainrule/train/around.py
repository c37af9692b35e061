r"""What goes around an optimiser's update: clipping, weight decay, averages, accumulation.

Each is an optimiser that holds another, so they combine: the outermost sees the gradient first
and the new parameters last. `Accumulate` therefore stands outside of all that is to happen once
for each update of the weights. Read next: `groups.py`.

>>> opt = ClipByGlobalNorm(WeightDecay("lion", 0.1), 1.0)
>>> opt.learning_rate
0.001
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from chainrule.core.tensor import Tensor, as_tensor
from chainrule.core.tree import tree_map
from chainrule.data.batches import check_whole
from chainrule.grad.reverse import differentiable
from chainrule.ops.elementwise import cast, equal, greater, maximum, negative, sqrt, where
from chainrule.ops.reduce import sum
from chainrule.train.missed import Missed
from chainrule.train.optimizer import (
    FRACTION,
    NOT_NEGATIVE,
    POSITIVE,
    check_setting,
    find_optimizer,
    like,
)


class Around:
    """An optimiser that holds another; a new one overrides `before` or `update`.

    Its learning rate is that of the one within. `weighs` says that some optimiser within needs
    `weight`, the total weight of the examples that a gradient is the mean over; `keeps_zeros` that
    all it does is to change gradients, of which zeros stay zeros.
    """

    keeps_zeros = False

    def __init__(self, inner: Any):
        self.inner = find_optimizer(inner)

    @property
    def learning_rate(self) -> Any:
        """The learning rate of the optimiser within."""
        return self.inner.learning_rate

    @learning_rate.setter
    def learning_rate(self, rate: Any) -> None:
        self.inner.learning_rate = rate

    @property
    def weighs(self) -> bool:
        """Whether `update` needs `weight`."""
        return getattr(self.inner, "weighs", False)

    def stays(self, path: str) -> bool:
        """Whether the parameter at `path` is frozen."""
        return getattr(self.inner, "stays", lambda path: False)(path)

    def check_paths(self, paths: Sequence[str]) -> None:
        """ArgumentError when settings were given for a path that is not among `paths`."""
        getattr(self.inner, "check_paths", lambda paths: None)(paths)

    def fades(self, path: str) -> float | None:
        """What `Optimizer.fades` says of the optimiser within."""
        return getattr(self.inner, "fades", lambda path: None)(path)

    def rests(self, path: str) -> bool:
        """What `Optimizer.rests` says of the optimiser within, if only gradients are changed."""
        return self.keeps_zeros and getattr(self.inner, "rests", lambda path: False)(path)

    def missed(self, path: str, dtype: np.dtype) -> Missed | None:
        """What `Optimizer.missed` says of the optimiser within, if only gradients are changed."""
        of = getattr(self.inner, "missed", lambda path, dtype: None)
        return of(path, dtype) if self.keeps_zeros else None

    def before(self, params: Any, grads: Any, rate: Any) -> tuple[Any, Any]:
        """The parameters and gradients that the optimiser within gets."""
        return params, grads

    def rate(self, state: Mapping[str, Any], learning_rate: Any = None) -> Any:
        """The learning rate of the next update."""
        return self.inner.rate(state, learning_rate)

    def init(self, params: Any) -> dict[str, Any]:
        """The state before the first update."""
        return self.inner.init(params)

    def update(
        self, params: Any, grads: Any, state: Any, learning_rate: Any = None, **weight: Any
    ) -> tuple[Any, Any]:
        """(new parameters, new state)."""
        grads = tree_map(lambda _, g: None if g is None else as_tensor(g), params, grads)
        params, grads = self.before(params, grads, self.rate(state, learning_rate))
        return self.inner.update(params, grads, state, learning_rate, **weight)

    def __repr__(self) -> str:
        rest = [f"{name}={value!r}" for name, value in vars(self).items() if name != "inner"]
        return f"{type(self).__name__}({', '.join([repr(self.inner), *rest])})"


class ClipByValue(Around):
    r"""Each element of the gradient is kept in $-c \dots c$: Keras's `clipvalue`."""

    keeps_zeros = True

    def __init__(self, inner: Any, limit: float):
        super().__init__(inner)
        self.limit = limit
        check_setting(self, "limit", POSITIVE)

    def before(self, params: Any, grads: Any, rate: Any) -> tuple[Any, Any]:
        """The clipped gradients."""

        def clip(g: Any) -> Any:
            return negative(maximum(negative(maximum(g, -self.limit)), -self.limit))

        return params, tree_map(clip, grads)


class ClipByNorm(Around):
    r"""The gradient of each parameter is scaled to a norm of at most $c$: Keras's `clipnorm`.

    $g \leftarrow g\, c / \max(|g|, c)$.
    """

    keeps_zeros = True

    def __init__(self, inner: Any, limit: float):
        super().__init__(inner)
        self.limit = limit
        check_setting(self, "limit", POSITIVE)

    def before(self, params: Any, grads: Any, rate: Any) -> tuple[Any, Any]:
        """The scaled gradients."""

        def clip(g: Any) -> Any:
            norm: Any = maximum(sqrt(sum(g * g)), self.limit)
            return g * (self.limit / norm)

        return params, tree_map(clip, grads)


class ClipByGlobalNorm(Around):
    r"""All gradients are scaled alike, so that their common norm is at most $c$.

    $g_i \leftarrow g_i\, c / \max(\sqrt{\sum_j |g_j|^2}, c)$: Keras's `global_clipnorm`.
    """

    keeps_zeros = True

    def __init__(self, inner: Any, limit: float):
        super().__init__(inner)
        self.limit = limit
        check_setting(self, "limit", POSITIVE)

    def before(self, params: Any, grads: Any, rate: Any) -> tuple[Any, Any]:
        """The scaled gradients."""
        squares: list[Any] = []
        tree_map(lambda g: squares.append(sum(g * g)), grads)
        if not squares:
            return params, grads
        total = cast(squares[0], "float64")
        for square in squares[1:]:
            total = total + cast(square, "float64")
        scale = self.limit / maximum(sqrt(total), self.limit)
        return params, tree_map(lambda g: g * like(scale, g), grads)


class WeightDecay(Around):
    r"""Decoupled decay: $p \leftarrow p - \eta\lambda p$ before the update within.

    $\lambda$ is `weight_decay`; the gradient, and so the optimiser's memory of it, never sees it.
    Parameters without a gradient do not decay. To spare biases: `Groups`.

    Source: Loshchilov, Hutter, "Decoupled Weight Decay Regularization", ICLR 2019.
    """

    def __init__(self, inner: Any, weight_decay: float = 0.004):
        super().__init__(inner)
        self.weight_decay = weight_decay
        check_setting(self, "weight_decay", NOT_NEGATIVE)

    def before(self, params: Any, grads: Any, rate: Any) -> tuple[Any, Any]:
        """The parameters after their decay."""

        def decay(param: Any, g: Any) -> Any:
            if g is None or not differentiable(param):
                return param
            return param - param * (like(rate, param) * self.weight_decay)

        return tree_map(decay, params, grads), grads


class Averaged(Around):
    r"""Beside the parameters their exponential moving average: Keras's `use_ema`.

    $a \leftarrow \mu a + (1 - \mu) p$ after each update, with $a$ the parameters at first and
    $\mu$ `momentum`. The average is `state["average"]`, in the tree of the parameters; training
    is not changed by it. `UseAverage` is the callback that puts it into the model.
    """

    def __init__(self, inner: Any, momentum: float = 0.99):
        super().__init__(inner)
        self.momentum = momentum
        check_setting(self, "momentum", FRACTION)

    def init(self, params: Any) -> dict[str, Any]:
        """The state within, and the average."""
        return {"inner": self.inner.init(params), "average": tree_map(_copied, params)}

    def rate(self, state: Mapping[str, Any], learning_rate: Any = None) -> Any:
        """The learning rate of the next update."""
        return self.inner.rate(state["inner"], learning_rate)

    def update(
        self, params: Any, grads: Any, state: Any, learning_rate: Any = None, **weight: Any
    ) -> tuple[Any, Any]:
        """(new parameters, new state)."""
        new, inner = self.inner.update(params, grads, state["inner"], learning_rate, **weight)
        mu = self.momentum
        average = tree_map(
            lambda p, a: None if a is None else a * mu + p * (1 - mu), new, state["average"]
        )
        return new, {"inner": inner, "average": average}


class Accumulate(Around):
    r"""One update for every `steps` gradients, by their mean.

    In `fit` the mean is weighted by how many examples each gradient stands for (their sample
    weights, where given), so `steps` micro-batches of any sizes give the update of the one large
    batch. Elsewhere pass `weight=` to `update`; without it all weigh alike. What is left at the
    end of an epoch goes on in the next.
    """

    weighs = True

    def fades(self, path: str) -> float | None:
        """None: rows of earlier gradients wait for the update too."""
        return None

    def __init__(self, inner: Any, steps: int):
        super().__init__(inner)
        check_whole("steps", steps, 1)
        self.steps = int(steps)

    def init(self, params: Any) -> dict[str, Any]:
        """The state within, the sums of the gradients, their weight and how many there are."""
        blank = tree_map(_zeros, params)
        return {
            "inner": self.inner.init(params),
            "sum": blank,
            "weight": Tensor(np.float64(0)),
            "count": Tensor(np.int32(0)),
        }

    def rate(self, state: Mapping[str, Any], learning_rate: Any = None) -> Any:
        """The learning rate of the next update."""
        return self.inner.rate(state["inner"], learning_rate)

    def update(
        self,
        params: Any,
        grads: Any,
        state: Any,
        learning_rate: Any = None,
        *,
        weight: Any = 1.0,
        **rest: Any,
    ) -> tuple[Any, Any]:
        """(new parameters, new state); both stay but for the sums when none is due."""
        if isinstance(weight, Tensor):
            weight = cast(weight, "float64")

        def added(total: Any, g: Any) -> Any:
            return total if g is None else total + as_tensor(g) * like(weight, g)

        total: Any = state["weight"] + weight
        sums = tree_map(added, state["sum"], grads)
        count = state["count"] + 1
        due = equal(count, self.steps)
        share = 1 / where(greater(total, 0.0), total, 1.0)

        def mean(s: Any, g: Any) -> Any:
            return None if g is None else s * like(share, s)

        made, inner = self.inner.update(
            params, tree_map(mean, sums, grads), state["inner"], learning_rate
        )

        def choose(new: Any, old: Any) -> Any:
            return old if new is old else where(due, new, old)

        return tree_map(choose, made, params), {
            "inner": tree_map(choose, inner, state["inner"]),
            "sum": tree_map(lambda s: where(due, 0.0, s), sums),
            "weight": where(due, 0.0, total),
            "count": where(due, 0, count),
        }


def _zeros(leaf: Any) -> Any:
    if not differentiable(leaf):
        return None
    leaf = as_tensor(leaf)
    return Tensor(np.zeros(leaf.shape, leaf.dtype))


def _copied(leaf: Any) -> Any:
    """A tensor of its own, since a compiled step may take the memory of the parameters."""
    if not differentiable(leaf):
        return None
    leaf = as_tensor(leaf)
    return Tensor(np.array(leaf.numpy())) if leaf.known else leaf
