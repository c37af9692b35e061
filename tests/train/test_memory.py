"""A training loop in user code keeps nothing from step to step."""

from __future__ import annotations

import gc
import resource
import sys
import tracemalloc
from collections.abc import Callable

import numpy as np
import pytest

import chainrule as cr
from chainrule.core.tensor import Tensor
from chainrule.train.optim import Adam


def traced_bytes() -> int:
    gc.collect()
    return tracemalloc.get_traced_memory()[0]


def peak_bytes() -> int:
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def growth(steps: int, warm: int, measure: Callable[[], int]) -> int:
    """How much `measure` rises over a loop of eager steps, once `warm` of them are over."""
    rng = np.random.Generator(np.random.Philox(key=0))
    x = rng.normal(size=(8, 4)).astype(np.float32)
    y = x[:, :1] * 2
    params = {"w": Tensor(np.zeros((4, 1), np.float32))}
    opt = Adam(0.05)
    state = opt.init(params)

    def loss_fn(params, x, y):
        gap = x @ params["w"] - y
        return cr.mean(gap * gap)

    before, first = 0, None
    for step in range(steps):
        if step == warm:
            before = measure()
        loss, grads = cr.value_and_grad(loss_fn)(params, x, y)
        params, state = opt.update(params, grads, state)
        first = loss.item() if first is None else first
    assert loss.item() < first
    return measure() - before


def test_short_loop_has_flat_memory() -> None:
    tracemalloc.start()
    try:
        # A step records some twenty nodes: one graph kept a step would be a megabyte here.
        assert growth(220, 20, traced_bytes) < 100_000
    finally:
        tracemalloc.stop()


@pytest.mark.heavy
def test_long_loop_has_flat_memory() -> None:
    assert growth(10_000, 500, peak_bytes) < 8_000_000
