"""Training loops as the README has them keep their memory flat, eager and compiled."""

from __future__ import annotations

import gc
import tracemalloc
import weakref

import numpy as np
import pytest

import chainrule as cr

X = np.linspace(-1, 1, 16, dtype=np.float32).reshape(8, 2)
Y = (X[:, :1] * X[:, 1:]).astype(np.float32)


def loss_fn(params, x, y):
    h = cr.tanh(x @ params["w1"] + params["b1"])
    return cr.mean((h @ params["w2"] - y) ** 2)


def start() -> dict:
    rng = np.random.default_rng(0)
    shapes = {"w1": (2, 4), "b1": (4,), "w2": (4, 1)}
    return {n: cr.Tensor(rng.normal(size=s).astype(np.float32)) for n, s in shapes.items()}


def functional(params, x, y):
    loss, grads = cr.value_and_grad(loss_fn)(params, x, y)
    return cr.tree_map(lambda p, g: p - 0.1 * g, params, grads), loss


def recorded(params, x, y):
    with cr.record():
        loss = loss_fn(params, x, y)
    grads = cr.gradient(loss, params)
    return cr.tree_map(lambda p, g: p - 0.1 * g, params, grads), loss


def grown(step, steps: int) -> tuple[int, float]:
    """(bytes that stay after `steps` steps and did not after the first tenth, the last loss)."""
    params, loss = start(), None
    sizes = []
    gc.collect()
    tracemalloc.start()
    try:
        for count in (steps // 10, steps - steps // 10):
            for _ in range(count):
                params, loss = step(params, X, Y)
            gc.collect()
            sizes.append(tracemalloc.get_traced_memory()[0])
    finally:
        tracemalloc.stop()
    return sizes[1] - sizes[0], loss.item()


STEPS = {"functional": functional, "recorded": recorded, "compiled": functional}


@pytest.mark.parametrize("way", STEPS)
@pytest.mark.parametrize("steps", [500, pytest.param(10_000, marks=pytest.mark.heavy)])
def test_a_loop_keeps_its_memory_flat(way: str, steps: int) -> None:
    step = cr.jit(functional, donate=("params",)) if way == "compiled" else STEPS[way]
    growth, loss = grown(step, steps)
    assert growth < 20_000, f"{growth} bytes more after {steps} steps"
    assert np.isfinite(loss)


def test_the_three_ways_train_alike() -> None:
    compiled = cr.jit(functional)
    finals = []
    for step in (functional, recorded, compiled):
        params = start()
        for _ in range(50):
            params, loss = step(params, X, Y)
        finals.append(loss.item())
    assert finals[0] == finals[1] == pytest.approx(finals[2], rel=1e-4)
    assert finals[0] < loss_fn(start(), X, Y).item()


def test_a_recording_is_freed_with_its_last_tensor() -> None:
    w = cr.Tensor(np.ones(3))
    with cr.record() as recording:
        loss = cr.sum(w * 2.0)
    alive = weakref.ref(recording)
    del recording, loss
    gc.collect()
    assert alive() is None


def test_a_result_of_grad_keeps_no_graph() -> None:
    loss, g = cr.value_and_grad(lambda x: cr.sum(x * x))(np.ones(3))
    assert loss.node is None and g.node is None and g.recording is None


def test_eager_ops_keep_nothing() -> None:
    y = cr.exp(cr.Tensor(np.ones(3)) * 2)
    assert y.node is None and y.recording is None
