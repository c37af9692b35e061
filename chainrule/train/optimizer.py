r"""What every optimiser shares: its settings, its state, and the walk over the parameters.

An optimiser holds settings and nothing that changes while it trains: `init(params)` makes its
state and `update(params, grads, state)` gives the new parameters and the new state, so both can
stand inside `cr.jit`. The rules themselves are in `momentum.py` and `adaptive.py`; what goes
around a rule (clipping, decay, averages, groups) is in `around.py`. Read next: `momentum.py`.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import numpy as np

from chainrule.core.errors import ArgumentError, ShapeError, UnknownNameError
from chainrule.core.tensor import Tensor, as_tensor
from chainrule.core.tree import flatten, tree_map, unflatten
from chainrule.grad.reverse import differentiable
from chainrule.ops.elementwise import cast
from chainrule.train.missed import Missed

Range = tuple[Callable[[float], bool], str]
POSITIVE: Range = (lambda x: x > 0, "above 0")
NOT_NEGATIVE: Range = (lambda x: x >= 0, "at least 0")
FRACTION: Range = (lambda x: 0 <= x < 1, "at least 0 and below 1")
RANGES: dict[str, Range] = {
    "learning_rate": NOT_NEGATIVE,
    "momentum": (lambda x: 0 <= x <= 1, "in 0 .. 1"),
    "rho": FRACTION,
    "beta_1": FRACTION,
    "beta_2": FRACTION,
    "epsilon": POSITIVE,
    "weight_decay": NOT_NEGATIVE,
}
OPTIMIZERS: dict[str, type[Optimizer]] = {}
Kept = defaultdict[str, Any]


class Optimizer:
    """What all optimisers have in common; a new one is a dataclass with `slots`, `step`, `ref`.

    A slot is a tensor kept beside each parameter, zero at first or what `initial` says.
    `step(param, g, slots, rate, t)` gives the new parameter and the new slots, where `rate` is
    the learning rate and `t` the number of this update, counted from 1 and in float64; `like`
    brings what is computed from them to the parameter's dtype. `ref` is the same rule in NumPy,
    which the tests hold it against, with each of the settings in `samples`. `ranges` says which
    numbers a setting takes where `RANGES` does not. The class's name in small letters is its
    name in `compile`. ImportError for a class that lacks `step` or `ref`.
    """

    slots: ClassVar[tuple[str, ...]] = ()
    ranges: ClassVar[Mapping[str, Range]] = {}
    samples: ClassVar[tuple[Mapping[str, Any], ...]] = ({},)
    learning_rate: Any

    def __init_subclass__(cls) -> None:
        own = [name for name in ("step", "ref") if getattr(cls, name) is getattr(Optimizer, name)]
        if own:
            raise ImportError(f"optimiser {cls.__name__} lacks {', '.join(own)}")
        for name in ("rests", "missed"):  # what was said of another step is not said of this one
            if "step" in vars(cls) and name not in vars(cls):
                setattr(cls, name, getattr(Optimizer, name))
        OPTIMIZERS[cls.__name__.lower()] = cls

    def __post_init__(self) -> None:
        for name, allowed in {**RANGES, **self.ranges}.items():
            if hasattr(self, name) and not callable(getattr(self, name)):  # a schedule is
                check_setting(self, name, allowed)

    def step(self, param: Any, g: Any, slots: tuple, rate: Any, t: Any) -> tuple[Any, tuple]:
        """The new parameter and its new slots."""
        raise NotImplementedError

    def ref(self, p: np.ndarray, g: np.ndarray, t: int, s: Kept) -> np.ndarray:
        """The new parameter in NumPy; `s` holds what is kept from step to step, 0.0 at first."""
        raise NotImplementedError

    def initial(self, slot: str, param: Tensor) -> Any:
        """What `slot` of `param` holds at first; None where this parameter has no such slot."""
        return np.zeros(param.shape, param.dtype)

    def fades(self, path: str) -> float | None:
        """How far, at most, a step without gradient shrinks from one update to the next, at one
        rate: 0 where there is none. None where rows cannot be left alone and caught up later.

        An optimiser that gives a number works element by element, and each of its slots times
        itself alone is what an update without gradient leaves of it. See `idle.py`.
        """
        return None

    def rests(self, path: str) -> bool:
        """Whether an update without gradient changes neither the parameter nor its slots."""
        return False

    def missed(self, path: str, dtype: np.dtype) -> Missed | None:
        """What updates without gradient come to at once; None where they are made one by one."""
        return None

    def init(self, params: Any) -> dict[str, Any]:
        """The state before the first update: a pytree. Leaves without a gradient hold None."""

        def start(slot: str, leaf: Any) -> Tensor | None:
            filled = self.initial(slot, as_tensor(leaf)) if differentiable(leaf) else None
            return None if filled is None else Tensor(filled)

        state: dict[str, Any] = {"step": Tensor(np.int32(0))}
        for slot in self.slots:
            state[slot] = tree_map(lambda leaf, slot=slot: start(slot, leaf), params)
        return state

    def rate(self, state: Mapping[str, Any], learning_rate: Any = None) -> Any:
        """The learning rate of the next update: the one given, or the optimiser's own.

        An own rate may be a schedule, a function of how many updates were made before (in float64).
        """
        rate = self.learning_rate if learning_rate is None else learning_rate
        return rate(cast(state["step"], "float64")) if callable(rate) else rate

    def update(
        self, params: Any, grads: Any, state: dict[str, Any], learning_rate: Any = None
    ) -> tuple[Any, dict[str, Any]]:
        """(new parameters, new state); leaves whose gradient is None stay as they are.

        `learning_rate` replaces the optimiser's own for this update. Inside `cr.jit` the
        optimiser's own is a constant of the compiled step, a float passed here is an argument.
        """
        if not isinstance(state, Mapping) or "step" not in state:
            raise ArgumentError(
                f"{type(self).__name__}.update takes (params, grads, state), and the state that "
                "came was not made by init",
                mend="state = opt.init(params); params, state = opt.update(params, grads, state)",
            )
        rate = self.rate(state, learning_rate)
        new = {**state, "step": state["step"] + 1}
        t = cast(new["step"], "float64")
        rows: list[tuple] = []
        tree_map(lambda *row: rows.append(row), params, grads, *[state[s] for s in self.slots])
        made = [self._leaf(row, rate, t) for row in rows]
        structure = flatten(params)[1]
        for i, slot in enumerate(self.slots):
            new[slot] = unflatten(structure, [slots[i] for _, slots in made])
        return unflatten(structure, [param for param, _ in made]), new

    def _leaf(self, row: tuple, rate: Any, t: Any) -> tuple[Any, tuple]:
        param, g, *slots = row
        if g is None or not differentiable(param):
            return param, tuple(slots)
        param, g = as_tensor(param), as_tensor(g)
        if g.shape != param.shape:
            raise ShapeError(
                f"{type(self).__name__}.update needs a gradient like its parameter of shape "
                f"{param.shape}, got shape {g.shape}",
                mend="params and grads in one order, as cr.grad gives them",
            )
        return self.step(param, g, tuple(slots), like(rate, param), t)


def like(number: Any, param: Any) -> Any:
    """`number` so that it can meet `param`: a tensor in its dtype, a Python number as it is."""
    param = as_tensor(param)
    return cast(number, param.dtype) if isinstance(number, Tensor) else number


def check_setting(owner: Any, name: str, allowed: Range) -> None:
    """Make the attribute `name` a float; ArgumentError unless it is a finite number `allowed`."""
    value = getattr(owner, name)
    holds, needed = allowed
    number = isinstance(value, int | float | np.number) and not isinstance(value, bool)
    if not number or not math.isfinite(value) or not holds(value):
        who = type(owner).__name__
        raise ArgumentError(f"{who}: {name} must be a number {needed}, got {value!r}")
    # A NumPy scalar has a dtype of its own, a Python float takes that of the parameter beside it.
    setattr(owner, name, float(value))


def find_optimizer(given: Any) -> Any:
    """The optimiser that `compile` was given: one itself, or a name with its defaults."""
    if isinstance(given, str):
        if given.lower() not in OPTIMIZERS:
            raise UnknownNameError("optimizer", given, OPTIMIZERS)
        return OPTIMIZERS[given.lower()]()
    if isinstance(given, type) or not (hasattr(given, "init") and hasattr(given, "update")):
        name = getattr(given, "__name__", type(given).__name__)
        known = isinstance(given, type) and given in OPTIMIZERS.values()
        raise ArgumentError(
            f"compile needs an optimizer with init and update, got {name}"
            + (", the class and not an object of it" if known else ""),
            mend=f"optimizer=cr.optim.{name if known else 'Adam'}(), or a name: "
            + ", ".join(sorted(OPTIMIZERS)),
        )
    return given
