r"""Schedules made of half waves of a cosine. Read next: `metrics.py`."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from chainrule.core.errors import ArgumentError
from chainrule.core.tensor import Tensor
from chainrule.data.batches import check_whole
from chainrule.ops.angles import cos
from chainrule.ops.elementwise import less, maximum, where
from chainrule.ops.rounding import floor
from chainrule.train.rates import Schedule, check_rate, count_of, least, register


def _ref_cosine(
    step: int,
    rate: float,
    decay_steps: int,
    alpha: float = 0.0,
    restarts: bool = False,
    t_mul: int = 1,
    m_mul: float = 1.0,
) -> float:
    length, height = decay_steps, 1.0
    while restarts and step >= length:
        step, length, height = step - length, length * t_mul, height * m_mul
    wave = 0.5 * height * (1 + np.cos(np.pi * min(step / length, 1)))
    return rate * ((1 - alpha) * wave + alpha)


@register(
    dict(rate=0.3, decay_steps=20, alpha=0.1),
    dict(rate=0.3, decay_steps=7, restarts=True),
    dict(rate=0.3, decay_steps=4, alpha=0.2, restarts=True, t_mul=2, m_mul=0.7),
    ref=_ref_cosine,
)
def cosine(
    rate: float,
    decay_steps: int,
    alpha: float = 0.0,
    restarts: bool = False,
    t_mul: int = 1,
    m_mul: float = 1.0,
) -> Schedule:
    r"""$\eta\,(\frac{1 - \alpha}2 (1 + \cos(\pi t / T)) + \alpha)$ up to step $T$, `decay_steps`.

    Then it stays at $\eta\alpha$, or with `restarts` begins anew from $\eta$: each period `t_mul`
    times as long (a whole number) and `m_mul` times as high as the one before.

    Source: Loshchilov, Hutter, "SGDR: Stochastic Gradient Descent with Warm Restarts", ICLR 2017,
    equation 5.
    """
    check_rate("cosine", rate=rate, alpha=alpha, m_mul=m_mul)
    check_whole("decay_steps", decay_steps, 1)
    check_whole("t_mul", t_mul, 1)

    def schedule(step: Any) -> Tensor:
        done: Any = count_of(step) / float(decay_steps)
        height: Any = 1.0
        if restarts:
            start, period, height = _period(done, t_mul, m_mul)
            done = (done - start) / period
        wave = (cos(least(done, 1.0) * math.pi) + 1) * height * (0.5 * (1 - alpha))
        return (wave + float(alpha)) * float(rate)

    return schedule


def _period(done: Any, t_mul: int, m_mul: float) -> tuple[Any, Any, Any]:
    """(start, length, height) of the period that `done` lies in, the first being 1 long."""
    if t_mul == 1:
        start = floor(done)
        return start, 1.0, float(m_mul) ** start if m_mul != 1 else 1.0
    # 2^62 first periods at the least: no training gets there.
    start, period, height = done * 0, done * 0 + 1, done * 0 + 1
    begins, long, high = 1.0, float(t_mul), float(m_mul)
    while begins < 2.0**62:
        later = less(done, begins)
        start, period, height = [
            where(later, old, new) for old, new in ((start, begins), (period, long), (height, high))
        ]
        begins, long, high = begins + long, long * t_mul, high * m_mul
    return start, period, height


def _ref_one_cycle(
    step: int,
    peak: float,
    total_steps: int,
    rise: float = 0.3,
    start_factor: float = 25.0,
    end_factor: float = 1e4,
) -> float:
    top = rise * total_steps - 1
    low, high = peak / start_factor, peak / start_factor / end_factor
    if step <= top:
        a, b, share = low, peak, step / top
    else:
        a, b, share = peak, high, min((step - top) / (total_steps - 1 - top), 1)
    return b + (a - b) / 2 * (1 + np.cos(np.pi * share))


@register(
    dict(peak=0.3, total_steps=20),
    dict(peak=0.1, total_steps=30, rise=0.5, start_factor=10.0, end_factor=100.0),
    ref=_ref_one_cycle,
)
def one_cycle(
    peak: float,
    total_steps: int,
    rise: float = 0.3,
    start_factor: float = 25.0,
    end_factor: float = 1e4,
) -> Schedule:
    r"""Up from `peak / start_factor` to `peak` and down to `peak / (start_factor * end_factor)`.

    Both ways are half waves of a cosine; the top is at step `rise * total_steps - 1`, the end at
    `total_steps - 1`, and there it stays.

    Source: Smith, Topin, "Super-Convergence", 2018, with the shape of PyTorch's OneCycleLR.
    """
    check_rate("one_cycle", peak=peak)
    check_rate("one_cycle", 1e-12, start_factor=start_factor, end_factor=end_factor)
    check_whole("total_steps", total_steps, 2)
    top = rise * total_steps - 1
    if not 0 < top < total_steps - 1:
        raise ArgumentError(
            f"one_cycle: rise must put the top between step 0 and {total_steps - 1}, got {rise!r}"
        )
    first = peak / start_factor
    last = first / end_factor

    def schedule(step: Any) -> Tensor:
        t: Any = count_of(step)
        up = cos(least(t / top, 1.0) * math.pi) * ((first - peak) / 2) + (first + peak) / 2
        share: Any = least(maximum(t - top, 0.0) / (total_steps - 1 - top), 1.0)
        down = cos(share * math.pi) * ((peak - last) / 2) + (peak + last) / 2
        return where(less(t, top), up, down)

    return schedule
