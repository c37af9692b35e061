"""What must hold of every optimiser with every one of its `samples`; see `test_optimizers.py`."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule.core.errors import ArgumentError
from chainrule.core.tensor import State, Tensor
from chainrule.grad.rows import Rows
from chainrule.train.rows import RowExact

STEPS = 7
IDLE = 70  # enough for a factor of 0.5 to leave nothing
SHAPES = {"b": (5,), "k": (2, 3, 2), "w": (4, 3)}
Settings = Mapping[str, Any]


def start(dtype: str) -> dict[str, np.ndarray]:
    rng = np.random.Generator(np.random.Philox(key=1))
    return {name: rng.normal(size=shape).astype(dtype) for name, shape in SHAPES.items()}


def gradients(dtype: str) -> list[dict[str, np.ndarray]]:
    rng = np.random.Generator(np.random.Philox(key=3))
    return [
        {name: rng.normal(size=shape).astype(dtype) for name, shape in SHAPES.items()}
        for _ in range(STEPS)
    ]


def trajectory(opt: Any, dtype: str, jitted: bool) -> dict[str, np.ndarray]:
    """The parameters after STEPS updates of `opt`."""
    update = cr.jit(opt.update) if jitted else opt.update
    params: Any = {name: Tensor(p) for name, p in start(dtype).items()}
    state = opt.init(params)
    for grads in gradients(dtype):
        params, state = update(params, {name: Tensor(g) for name, g in grads.items()}, state)
    assert state["step"].item() == STEPS and state["step"].dtype == np.int32
    assert all(p.dtype == np.dtype(dtype) for p in params.values())
    return {name: p.numpy() for name, p in params.items()}


def by_ref(opt: Any) -> dict[str, np.ndarray]:
    """The parameters after STEPS updates of `opt.ref`, in float64."""
    params, kept = start("float64"), {name: defaultdict(float) for name in SHAPES}
    for t, grads in enumerate(gradients("float64"), start=1):
        params = {name: opt.ref(p, grads[name], t, kept[name]) for name, p in params.items()}
    return params


def check_rule(cls: type, settings: Settings) -> None:
    """The update is that of `ref`: at once and compiled, in both dtypes."""
    opt = cls(**settings)
    expected = by_ref(opt)
    for dtype, close in (("float64", 1e-10), ("float32", 1e-4)):
        for jitted in (False, True):
            found = trajectory(opt, dtype, jitted)
            for name, value in expected.items():
                moved = np.abs(value - start("float64")[name]).max()
                assert moved > 0
                np.testing.assert_allclose(
                    found[name], value, rtol=close / 10, atol=close * max(moved, 1e-2)
                )


def check_rate(cls: type, settings: Settings) -> None:
    """A rate passed to `update` replaces the own, and so does a schedule; at rate 0 all stays."""
    own, other = cls(**settings), cls(**{**settings, "learning_rate": 0.123})
    scheduled = cls(**{**settings, "learning_rate": lambda step: step * 0.1 + 0.123})
    params = {name: Tensor(p) for name, p in start("float64").items()}
    grads = {name: Tensor(g) for name, g in gradients("float64")[0].items()}
    given, state = cr.jit(own.update)(params, grads, own.init(params), 0.123)
    expected, _ = other.update(params, grads, other.init(params))
    by_schedule, _ = scheduled.update(params, grads, scheduled.init(params))
    still, _ = own.update(params, grads, own.init(params), 0.0)
    for name in SHAPES:
        np.testing.assert_allclose(given[name].numpy(), expected[name].numpy(), rtol=1e-13)
        np.testing.assert_allclose(by_schedule[name].numpy(), expected[name].numpy(), rtol=1e-13)
        np.testing.assert_array_equal(still[name].numpy(), params[name].numpy())
    again, _ = scheduled.update(given, grads, state)
    expected, _ = other.update(given, grads, state, learning_rate=0.223)
    np.testing.assert_allclose(again["w"].numpy(), expected["w"].numpy(), rtol=1e-13)


def check_leaves(cls: type, settings: Settings) -> None:
    """Leaves without a gradient pass through, arguments stay as they were, state is a pytree."""
    opt = cls(**settings)
    counter, ids = State(np.float32(3)), Tensor(np.arange(2))
    params = {"a": Tensor([1.0]), "counter": counter, "ids": ids, "frozen": Tensor([[5.0]])}
    grads = {"a": Tensor([1.0]), "counter": None, "ids": None, "frozen": None}
    state = opt.init(params)
    new, after = opt.update(params, grads, state)
    assert new["counter"] is counter and new["ids"] is ids and new["frozen"] is params["frozen"]
    again, _ = opt.update(new, grads, after)
    assert again["frozen"].item() == 5.0 and again["a"].item() < new["a"].item() < 1.0
    assert params["a"].item() == 1.0 and state["step"].item() == 0
    assert cr.flatten(state)[1] == cr.flatten(after)[1]
    once = cr.tree_map(lambda leaf: leaf, after)
    assert cr.flatten(opt.update(new, grads, once))[1] == cr.flatten((again, after))[1]


def check_zero_gradient(cls: type, settings: Settings) -> None:
    """A gradient of zeros gives nothing that is not finite."""
    opt = cls(**settings)
    params = {name: Tensor(p) for name, p in start("float32").items()}
    zeros = {name: Tensor(np.zeros(shape, np.float32)) for name, shape in SHAPES.items()}
    new, state = cr.jit(opt.update)(params, zeros, opt.init(params))
    new, _ = opt.update(new, zeros, state)
    assert all(np.isfinite(p.numpy()).all() for p in new.values())


def check_fit(cls: type, settings: Settings) -> None:
    """`fit` trains with it: the loss of a linear model falls."""
    rng = np.random.Generator(np.random.Philox(key=5))
    x = rng.normal(size=(32, 3)).astype(np.float32)
    y = x @ np.float32([[1.0], [-2.0], [0.5]]) + 0.5
    model = cr.Sequential([cr.nn.Dense(1)], seed=1)
    model.compile(cls(**{**settings, "learning_rate": 0.02}), "mse")
    losses = model.fit(x, y, epochs=5, batch_size=16, verbose=0).history["loss"]
    assert losses[-1] < losses[0]


def check_rows(cls: type, settings: Settings) -> None:
    """A row left alone, then caught up, is what the dense optimiser made of it without gradient.

    An optimiser whose rows depend on each other is refused.
    """
    rates = [0.01 * (1 + t % 5) for t in range(STEPS + IDLE)]
    opt = cls(**settings)
    exact = RowExact(opt, ["w"])
    params = {"w": Tensor(start("float64")["w"])}
    if opt.fades("w") is None:
        with pytest.raises(ArgumentError, match="has no row rule for 'w'"):
            exact.init(params)
        return
    state, dense, kept = exact.init(params), params, opt.init(params)
    for t, rate in enumerate(rates):
        g = gradients("float64")[t]["w"] if t < STEPS else np.zeros((4, 3))
        g[1:] *= t < 2  # these are left alone
        touched = Rows([0, 0, *([1, 2, 3] if t < 2 else [])], _halves(g, t < 2), (4, 3))
        params, state = exact.update(params, {"w": touched}, state, rate)
        dense, kept = opt.update(dense, {"w": Tensor(g)}, kept, rate)
    last = [0] * 4 if opt.rests("w") else [STEPS + IDLE, 2, 2, 2]
    assert state["tables"]["w"]["last"].numpy().tolist() == last
    found = exact.current(params, state), exact.opened(state)
    for a, b in zip(cr.flatten(found)[0], cr.flatten((dense, kept))[0], strict=True):
        np.testing.assert_allclose(a.numpy(), b.numpy(), rtol=1e-12, atol=1e-14)


def _halves(g: np.ndarray, whole: bool) -> np.ndarray:
    """Row 0 in two halves, and with `whole` the other rows."""
    return np.concatenate([g[:1] / 4, g[:1] * 3 / 4, *([g[1:]] if whole else [])])


CHECKS = (check_rule, check_rate, check_leaves, check_zero_gradient, check_fit, check_rows)
