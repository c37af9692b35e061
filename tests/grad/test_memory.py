"""Training loops as the README has them keep their memory flat, eager and compiled."""

from __future__ import annotations

import gc
import tracemalloc
import weakref

import numpy as np
import pytest

import chainrule as cr
from chainrule.core.node import Node
from chainrule.core.recording import Recording

X = np.linspace(-1, 1, 16, dtype=np.float32).reshape(8, 2)
Y = (X[:, :1] * X[:, 1:]).astype(np.float32)


def loss_fn(params, x, y):
    return cr.mean((cr.tanh(x @ params["w"]) - y) ** 2)


def start() -> dict:
    return {"w": cr.Tensor(np.float32([[0.5], [-0.25]]))}


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


FLAT = 60_000  # bytes, for any number of steps: NumPy's own small caches; one kept step is as much
WAYS = {"functional": functional, "recorded": recorded, "compiled": functional}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("steps", [200, pytest.param(10_000, marks=pytest.mark.heavy)])
def test_a_loop_keeps_its_memory_flat(way: str, steps: int) -> None:
    step = cr.jit(functional, donate=("params",)) if way == "compiled" else WAYS[way]
    growth, loss = grown(step, steps)
    assert growth < FLAT, f"{growth} bytes more after {steps} steps"
    assert np.isfinite(loss)


@pytest.mark.parametrize("step", [functional, recorded])
def test_no_node_outlives_its_step(step) -> None:
    def alive() -> dict:
        gc.collect()
        kinds = [type(x) for x in gc.get_objects()]
        return {kind: kinds.count(kind) for kind in (Node, Recording, cr.Tensor)}

    params = start()
    for _ in range(2):
        params, loss = step(params, X, Y)
    before = alive()
    for _ in range(1_000):
        params, loss = step(params, X, Y)
    assert alive() == before and np.isfinite(loss.item())


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
