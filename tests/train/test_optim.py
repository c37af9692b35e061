"""Optimisers against their docstring's formula in plain NumPy, and their state as a pytree."""

from __future__ import annotations

import numpy as np
import pytest

import chainrule as cr
from chainrule.core.tensor import State, Tensor
from chainrule.train.optim import SGD, Adam, Optimizer, find_optimizer

STEPS = 7


def gradients(dtype: str) -> list[np.ndarray]:
    rng = np.random.Generator(np.random.Philox(key=3))
    return [rng.normal(size=(3, 2)).astype(dtype) for _ in range(STEPS)]


def start(dtype: str) -> np.ndarray:
    return np.linspace(-1, 1, 6).reshape(3, 2).astype(dtype)


def run(opt: Optimizer, dtype: str, jitted: bool) -> np.ndarray:
    update = cr.jit(opt.update) if jitted else opt.update
    params = {"w": Tensor(start(dtype))}
    state = opt.init(params)
    for g in gradients(dtype):
        params, state = update(params, {"w": Tensor(g)}, state)
    assert params["w"].dtype == np.dtype(dtype)
    return params["w"].numpy()


def sgd_by_hand(rate: float, momentum: float, nesterov: bool) -> np.ndarray:
    p, u = start("float64"), np.zeros((3, 2))
    for g in gradients("float64"):
        if momentum == 0:
            p = p - rate * g
            continue
        u = momentum * u - rate * g
        p = p + momentum * u - rate * g if nesterov else p + u
    return p


def adam_by_hand(rate: float, beta_1: float, beta_2: float, epsilon: float) -> np.ndarray:
    p, m, v = start("float64"), np.zeros((3, 2)), np.zeros((3, 2))
    for t, g in enumerate(gradients("float64"), start=1):
        m = m + (1 - beta_1) * (g - m)
        v = v + (1 - beta_2) * (g**2 - v)
        alpha = rate * np.sqrt(1 - beta_2**t) / (1 - beta_1**t)
        p = p - alpha * m / (np.sqrt(v) + epsilon)
    return p


@pytest.mark.parametrize("jitted", [False, True])
@pytest.mark.parametrize(("momentum", "nesterov"), [(0.0, False), (0.9, False), (0.8, True)])
def test_sgd_follows_its_formula(momentum: float, nesterov: bool, jitted: bool) -> None:
    expected = sgd_by_hand(0.1, momentum, nesterov)
    opt = SGD(0.1, momentum, nesterov)
    np.testing.assert_allclose(run(opt, "float64", jitted), expected, rtol=1e-13)


@pytest.mark.parametrize("jitted", [False, True])
@pytest.mark.parametrize("settings", [(1e-3, 0.9, 0.999, 1e-7), (0.1, 0.5, 0.9, 1e-2)])
def test_adam_follows_its_formula(settings: tuple, jitted: bool) -> None:
    expected = adam_by_hand(*settings)
    np.testing.assert_allclose(run(Adam(*settings), "float64", jitted), expected, rtol=1e-13)


def test_adam_first_step_is_the_rate_in_float32() -> None:
    # In float32 1 - 0.999 is wrong in its fifth digit; the correction is computed in float64.
    params, g = [Tensor(np.zeros(4, np.float32))], Tensor(np.float32([100, -200, 300, 4e4]))
    opt = Adam(1e-3)
    (new,), _ = opt.update(params, [g], opt.init(params))
    np.testing.assert_allclose(new.numpy(), [-1e-3, 1e-3, -1e-3, -1e-3], rtol=1e-6)


def test_learning_rate_argument_is_traced_and_replaces_the_own() -> None:
    opt = SGD(0.5)
    recorded = []

    @cr.jit
    def update(params, grads, rate):
        recorded.append(1)
        return opt.update(params, grads, opt.init(params), learning_rate=rate)[0]

    w, g = [Tensor([1.0])], [Tensor([2.0])]
    assert update(w, g, 0.25)[0].item() == 0.5
    assert update(w, g, 1.0)[0].item() == -1.0
    assert len(recorded) == 1


@pytest.mark.parametrize("opt", [SGD(0.1), SGD(0.1, 0.9), Adam(0.1)])
def test_leaves_without_gradient_pass_through(opt: Optimizer) -> None:
    counter, ids = State(np.float32(3)), Tensor(np.arange(2))
    params = {"a": Tensor([1.0]), "counter": counter, "ids": ids, "frozen": Tensor([5.0])}
    grads = {"a": Tensor([1.0]), "counter": None, "ids": None, "frozen": None}
    new, state = opt.update(params, grads, opt.init(params))
    assert new["a"].item() != 1.0
    assert new["counter"] is counter and new["ids"] is ids and new["frozen"] is params["frozen"]
    again, _ = opt.update(new, grads, state)
    assert again["frozen"].item() == 5.0 and again["a"].item() < new["a"].item()


def test_state_is_a_pytree_with_an_int32_step() -> None:
    opt = Adam()
    params = {"a": [Tensor([1.0, 2.0])], "b": Tensor(np.float64(3))}
    state = opt.init(params)
    _, state = opt.update(params, cr.tree_map(lambda p: p, params), state)
    assert state["step"].dtype == np.int32 and state["step"].item() == 1
    assert state["m"]["a"][0].shape == (2,) and state["v"]["b"].dtype == np.float64
    assert cr.flatten(SGD().init(params))[0] == []


def test_update_leaves_its_arguments_alone() -> None:
    opt, params = Adam(0.1), [Tensor([1.0])]
    state = opt.init(params)
    opt.update(params, [Tensor([1.0])], state)
    assert params[0].item() == 1.0 and state["step"].item() == 0 and state["m"][0].item() == 0.0


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (lambda: SGD(-1.0), "SGD: learning_rate must be a number at least 0, got -1.0"),
        (lambda: SGD(float("nan")), "got nan"),
        (lambda: SGD("0.1"), "got '0.1'"),
        (lambda: SGD(0.1, 1.5), r"momentum must be a number in 0 .. 1"),
        (lambda: SGD(0.1, nesterov=True), "needs a momentum"),
        (lambda: Adam(beta_1=1.0), "beta_1 must be a number at least 0 and below 1"),
        (lambda: Adam(epsilon=0), "epsilon must be a number above 0"),
    ],
)
def test_settings_outside_their_range_are_refused(make, told: str) -> None:
    with pytest.raises(cr.ArgumentError, match=told):
        make()


def test_numpy_scalar_settings_work_for_every_dtype() -> None:
    opt = SGD(np.float32(0.5))
    params = [Tensor(np.float64([1.0]))]
    assert opt.update(params, [Tensor(np.float64([1.0]))], opt.init(params))[0][0].item() == 0.5


def test_optimizers_are_found_by_name() -> None:
    assert isinstance(find_optimizer("adam"), Adam) and isinstance(find_optimizer("SGD"), SGD)
    mine = SGD(3.0)
    assert find_optimizer(mine) is mine
    with pytest.raises(cr.UnknownNameError, match="did you mean 'adam'"):
        find_optimizer("adm")
    with pytest.raises(cr.ArgumentError, match="got Adam"):
        find_optimizer(Adam)
