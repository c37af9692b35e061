"""A training loop in user code keeps nothing from step to step."""

from __future__ import annotations

import gc
import tracemalloc

import numpy as np
import pytest

import chainrule as cr
from chainrule.core.tensor import Tensor
from chainrule.train.optim import Adam


def grown(steps: int) -> int:
    """The bytes that a loop of eager steps holds more at its end than when it was warm."""
    rng = np.random.Generator(np.random.Philox(key=0))
    x = rng.normal(size=(8, 4)).astype(np.float32)
    y = x[:, :1] * 2
    params = {"w": Tensor(np.zeros((4, 1), np.float32))}
    opt = Adam(0.01)
    state = opt.init(params)

    def loss_fn(params, x, y):
        gap = x @ params["w"] - y
        return cr.mean(gap * gap)

    warm = 0
    tracemalloc.start()
    try:
        for step in range(steps):
            if step == 20:
                gc.collect()
                warm = tracemalloc.get_traced_memory()[0]
            loss, grads = cr.value_and_grad(loss_fn)(params, x, y)
            params, state = opt.update(params, grads, state)
        gc.collect()
        return tracemalloc.get_traced_memory()[0] - warm
    finally:
        tracemalloc.stop()
        assert loss.item() < 10


def test_short_loop_has_flat_memory() -> None:
    assert grown(220) < 20_000  # 100 bytes a step; one kept node is more than that


@pytest.mark.heavy
def test_long_loop_has_flat_memory() -> None:
    assert grown(10_000) < 50_000
