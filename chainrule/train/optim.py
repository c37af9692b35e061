r"""Optimisers: how a gradient becomes a step.

An optimiser holds settings and nothing that changes while it trains: `init(params)` makes its
state and `update(params, grads, state)` gives the new parameters and the new state, so both can
stand inside `cr.jit`. Read next: `metrics.py`.

>>> params = {"w": Tensor([1.0, 2.0])}
>>> opt = SGD(0.5)
>>> opt.update(params, {"w": Tensor([2.0, 2.0])}, opt.init(params))[0]
{'w': Tensor([0., 1.], dtype=float32)}
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from chainrule.core.errors import ArgumentError, UnknownNameError
from chainrule.core.tensor import Tensor, as_tensor
from chainrule.core.tree import flatten, tree_map, unflatten
from chainrule.grad.reverse import differentiable
from chainrule.ops.elementwise import cast, sqrt

OPTIMIZERS: dict[str, type[Optimizer]] = {}


class Optimizer:
    """What all optimisers have in common; a new one names its `slots` and writes `step`.

    A slot is a tensor kept beside each parameter, zero at first. `step(param, g, slots, rate)`
    gives the new parameter and the new slots; `rate` is what `step_rate` made of the learning
    rate and the count of updates. Its class name in small letters is its name in `compile`.
    """

    slots: ClassVar[tuple[str, ...]] = ()
    counts: ClassVar[bool] = False
    learning_rate: float

    def __init_subclass__(cls) -> None:
        OPTIMIZERS[cls.__name__.lower()] = cls

    def step(self, param: Any, g: Any, slots: tuple, rate: Any) -> tuple[Any, tuple]:
        """The new parameter and its new slots."""
        raise NotImplementedError

    def step_rate(self, learning_rate: Any, count: Any) -> Any:
        """The rate of update number `count` (from 1; None for an optimiser that counts none)."""
        return learning_rate

    def init(self, params: Any) -> dict[str, Any]:
        """The state before the first update: a pytree. Leaves without a gradient hold None."""
        state: dict[str, Any] = {"step": Tensor(np.int32(0))} if self.counts else {}
        for slot in self.slots:
            state[slot] = tree_map(_zeros, params)
        return state

    def update(
        self, params: Any, grads: Any, state: dict[str, Any], learning_rate: Any = None
    ) -> tuple[Any, dict[str, Any]]:
        """(new parameters, new state); leaves whose gradient is None stay as they are.

        `learning_rate` replaces the optimiser's own for this update. Inside `cr.jit` the
        optimiser's own is a constant of the compiled step, a float passed here is an argument.
        """
        rate = self.learning_rate if learning_rate is None else learning_rate
        new = dict(state)
        if self.counts:
            new["step"] = state["step"] + 1
        rate = self.step_rate(rate, new.get("step"))
        rows: list[tuple] = []
        tree_map(lambda *row: rows.append(row), params, grads, *[state[s] for s in self.slots])
        made = [self._leaf(row, rate) for row in rows]
        structure = flatten(params)[1]
        for i, slot in enumerate(self.slots):
            new[slot] = unflatten(structure, [slots[i] for _, slots in made])
        return unflatten(structure, [param for param, _ in made]), new

    def _leaf(self, row: tuple, rate: Any) -> tuple[Any, tuple]:
        param, g, *slots = row
        if g is None or not differentiable(param):
            return param, tuple(slots)
        return self.step(as_tensor(param), g, tuple(slots), _as(rate, param.dtype))


def _zeros(leaf: Any) -> Tensor | None:
    if not differentiable(leaf):
        return None
    param = as_tensor(leaf)
    return Tensor(np.zeros(param.shape, param.dtype))


def _as(rate: Any, dtype: np.dtype) -> Any:
    return cast(rate, dtype) if isinstance(rate, Tensor) and not rate.weak else rate


@dataclass(eq=False)
class SGD(Optimizer):
    r"""Gradient descent, with momentum when it is not 0.

    $p \leftarrow p - \eta g$ without momentum. With momentum $\mu$ and velocity $u$, 0 at first:
    $u \leftarrow \mu u - \eta g$, then $p \leftarrow p + u$, or with `nesterov`
    $p \leftarrow p + \mu u - \eta g$.

    Source: Sutskever, Martens, Dahl, Hinton, "On the importance of initialization and momentum in
    deep learning", ICML 2013, equations 1 to 4, with the velocity scaled as in Keras.
    """

    learning_rate: float = 0.01
    momentum: float = 0.0
    nesterov: bool = False

    def __post_init__(self) -> None:
        _check(self, "learning_rate", lambda x: x >= 0, "at least 0")
        _check(self, "momentum", lambda x: 0 <= x <= 1, "in 0 .. 1")
        if self.nesterov and not self.momentum:
            raise ArgumentError("SGD: nesterov needs a momentum, got 0", mend="momentum=0.9")

    @property
    def slots(self) -> tuple[str, ...]:  # type: ignore[override]
        """The velocity, where there is momentum."""
        return ("velocity",) if self.momentum else ()

    def step(self, param: Any, g: Any, slots: tuple, rate: Any) -> tuple[Any, tuple]:
        """The update of the class's formula."""
        if not slots:
            return param - g * rate, ()
        velocity = slots[0] * self.momentum - g * rate
        move = velocity * self.momentum - g * rate if self.nesterov else velocity
        return param + move, (velocity,)


@dataclass(eq=False)
class Adam(Optimizer):
    r"""Steps scaled by running means of the gradient and of its square.

    At update $t = 1, 2, \dots$, with $m$ and $v$ zero at first:
    $m \leftarrow m + (1 - \beta_1)(g - m)$, $v \leftarrow v + (1 - \beta_2)(g^2 - v)$,
    $\alpha = \eta \sqrt{1 - \beta_2^t} / (1 - \beta_1^t)$, and
    $p \leftarrow p - \alpha\, m / (\sqrt{v} + \epsilon)$. $\alpha$ is computed in float64.

    Source: Kingma, Ba, "Adam: A Method for Stochastic Optimization", ICLR 2015, the form at the
    end of section 2, whose epsilon is the one that Keras takes.
    """

    learning_rate: float = 1e-3
    beta_1: float = 0.9
    beta_2: float = 0.999
    epsilon: float = 1e-7

    slots: ClassVar[tuple[str, ...]] = ("m", "v")
    counts: ClassVar[bool] = True

    def __post_init__(self) -> None:
        _check(self, "learning_rate", lambda x: x >= 0, "at least 0")
        for name in ("beta_1", "beta_2"):
            _check(self, name, lambda x: 0 <= x < 1, "at least 0 and below 1")
        _check(self, "epsilon", lambda x: x > 0, "above 0")

    def step_rate(self, learning_rate: Any, count: Any) -> Any:
        """The rate with both means' start at zero made up for."""
        t: Any = cast(count, "float64")
        if isinstance(learning_rate, Tensor):
            learning_rate = cast(learning_rate, "float64")
        return sqrt(1 - self.beta_2**t) / (1 - self.beta_1**t) * learning_rate

    def step(self, param: Any, g: Any, slots: tuple, rate: Any) -> tuple[Any, tuple]:
        """The update of the class's formula."""
        m, v = slots
        m = m + (g - m) * (1 - self.beta_1)
        v = v + (g * g - v) * (1 - self.beta_2)
        return param - m * rate / (sqrt(v) + self.epsilon), (m, v)


def _check(optimizer: Any, name: str, holds: Callable[[float], bool], needed: str) -> None:
    value = getattr(optimizer, name)
    number = isinstance(value, int | float | np.number) and not isinstance(value, bool)
    if not number or not math.isfinite(value) or not holds(value):
        who = type(optimizer).__name__
        raise ArgumentError(f"{who}: {name} must be a number {needed}, got {value!r}")
    # A NumPy scalar has a dtype of its own, a Python float takes that of the parameter beside it.
    setattr(optimizer, name, float(value))


def find_optimizer(given: Any) -> Optimizer:
    """The optimiser that `compile` was given: one itself, or a name with its defaults."""
    if isinstance(given, str):
        if given.lower() not in OPTIMIZERS:
            raise UnknownNameError("optimizer", given, OPTIMIZERS)
        return OPTIMIZERS[given.lower()]()
    if isinstance(given, type) or not (hasattr(given, "init") and hasattr(given, "update")):
        name = getattr(given, "__name__", type(given).__name__)
        raise ArgumentError(
            f"compile needs an optimizer with init and update, got {name}",
            mend="optimizer=cr.optim.Adam(1e-3), or a name: " + ", ".join(sorted(OPTIMIZERS)),
        )
    return given
