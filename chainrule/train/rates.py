r"""Schedules that hold, fall or rise: constant, piecewise, exponential, polynomial, warm-up.

Read next: `waves.py`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np

from chainrule.core.errors import ArgumentError
from chainrule.core.tensor import Tensor, as_tensor
from chainrule.data.batches import check_whole
from chainrule.ops.elementwise import cast, less, maximum, where
from chainrule.ops.rounding import floor

Schedule = Callable[[Any], Tensor]


class Check(NamedTuple):
    """What the tests need: arguments to make one with, and its rate in NumPy from those."""

    samples: Sequence[Mapping[str, Any]]
    ref: Callable[..., float]


SCHEDULES: dict[str, Callable[..., Schedule]] = {}
CHECKS: dict[str, Check] = {}


def register(*samples: Mapping[str, Any], ref: Callable[..., float]) -> Callable:
    """Register a schedule; `ref(step, **sample)` is its rate at one step, in plain Python."""

    def registered(make: Callable[..., Schedule]) -> Callable[..., Schedule]:
        SCHEDULES[make.__name__] = make
        CHECKS[make.__name__] = Check(samples, ref)
        return make

    return registered


def count_of(step: Any) -> Any:
    """The count of steps in float64."""
    return cast(as_tensor(step), "float64")


def least(x: Any, z: Any) -> Any:
    """The smaller of both."""
    return -maximum(-x, -z)


def check_rate(who: str, lowest: float = 0.0, **numbers: Any) -> None:
    """ArgumentError unless the named arguments of `who` are finite and not below `lowest`."""
    for name, value in numbers.items():
        number = isinstance(value, int | float | np.number) and not isinstance(value, bool)
        if not number or not math.isfinite(value) or value < lowest:
            raise ArgumentError(
                f"{who}: {name} must be a finite number of at least {lowest:g}, got {value!r}"
            )


@register(dict(rate=0.3), ref=lambda step, rate: rate)
def constant(rate: float) -> Schedule:
    """`rate` at every step."""
    check_rate("constant", rate=rate)
    return lambda step: count_of(step) * 0 + float(rate)


def _ref_piecewise(step: int, boundaries: Sequence[int], rates: Sequence[float]) -> float:
    return rates[int(np.searchsorted(boundaries, step, side="left"))]


@register(dict(boundaries=[3, 10], rates=[0.3, 0.2, 0.01]), ref=_ref_piecewise)
def piecewise(boundaries: Sequence[int], rates: Sequence[float]) -> Schedule:
    """`rates[0]` up to and including step `boundaries[0]`, then `rates[1]`, and so on.

    As Keras's PiecewiseConstantDecay. ArgumentError unless there is one rate more than
    boundaries and these rise.
    """
    if len(rates) != len(boundaries) + 1 or any(b <= a for a, b in pairwise(boundaries)):
        raise ArgumentError(
            "piecewise needs rising boundaries and one rate more than those, got "
            f"{list(boundaries)} and {list(rates)}",
            mend="piecewise([1000, 2000], [0.1, 0.01, 0.001])",
        )
    for rate in rates:
        check_rate("piecewise", rate=rate)

    def schedule(step: Any) -> Tensor:
        t: Any = count_of(step)
        found: Any = t * 0 + float(rates[-1])
        for boundary, rate in reversed(list(zip(boundaries, rates))):
            found = where(less(float(boundary), t), found, float(rate))
        return found

    return schedule


def _ref_exponential(
    step: int, rate: float, decay_steps: int, decay_rate: float, staircase: bool = False
) -> float:
    exponent = step // decay_steps if staircase else step / decay_steps
    return rate * decay_rate**exponent


@register(
    dict(rate=0.3, decay_steps=10, decay_rate=0.5),
    dict(rate=0.3, decay_steps=7, decay_rate=0.9, staircase=True),
    ref=_ref_exponential,
)
def exponential(
    rate: float, decay_steps: int, decay_rate: float, staircase: bool = False
) -> Schedule:
    r"""$\eta\, r^{t / T}$ with $r$ `decay_rate`, $T$ `decay_steps`.

    With `staircase` the exponent is a whole number, so the rate falls by steps.
    """
    check_rate("exponential", rate=rate, decay_rate=decay_rate)
    check_whole("decay_steps", decay_steps, 1)

    def schedule(step: Any) -> Tensor:
        exponent = count_of(step) / float(decay_steps)
        return float(decay_rate) ** (floor(exponent) if staircase else exponent) * float(rate)

    return schedule


def _ref_polynomial(
    step: int, rate: float, decay_steps: int, end: float = 1e-4, power: float = 1.0
) -> float:
    return (rate - end) * (1 - min(step, decay_steps) / decay_steps) ** power + end


@register(
    dict(rate=0.3, decay_steps=20),
    dict(rate=0.3, decay_steps=8, end=0.1, power=2.0),
    ref=_ref_polynomial,
)
def polynomial(rate: float, decay_steps: int, end: float = 1e-4, power: float = 1.0) -> Schedule:
    r"""$(\eta - e)(1 - t/T)^p + e$ up to step $T$, `decay_steps`, and $e$, `end`, afterwards."""
    check_rate("polynomial", rate=rate, end=end, power=power)
    check_whole("decay_steps", decay_steps, 1)

    def schedule(step: Any) -> Tensor:
        left: Any = 1 - least(count_of(step), float(decay_steps)) / float(decay_steps)
        # 0 ** power is taken apart: natively it would be exp(power * log 0).
        part = where(less(0.0, left), maximum(left, 1e-300) ** float(power), 0.0 ** float(power))
        return part * float(rate - end) + float(end)

    return schedule


@register(
    dict(after=lambda step: step * 0.01 + 0.2, steps=5),
    dict(after=0.3, steps=4),
    ref=lambda step, after, steps: (
        (after(step - steps) if callable(after) else after)
        if step >= steps
        else (after(0) if callable(after) else after) * (step + 1) / steps
    ),
)
def warmup(after: Any, steps: int) -> Schedule:
    """Evenly up to the first rate of `after` in `steps` steps, then `after` from its own start.

    `after` is a schedule or a number. The first step has the rate `after(0) / steps`, not 0.
    """
    check_whole("steps", steps, 1)
    then = after if callable(after) else constant(after)

    def schedule(step: Any) -> Tensor:
        t: Any = count_of(step)
        rising = then(t * 0) * ((t + 1) / float(steps))
        return where(less(t, float(steps)), rising, then(maximum(t - float(steps), 0.0)))

    return schedule
