"""Single facts about optimisers; what holds of every one is in `tests/test_optimizers.py`."""

from __future__ import annotations

import numpy as np
import pytest

import chainrule as cr
from chainrule.core.tensor import Tensor
from chainrule.train.optim import SGD, Adam, Lion, Muon, RMSprop, find_optimizer


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


def test_state_is_a_pytree_with_an_int32_step() -> None:
    opt = Adam()
    params = {"a": [Tensor([1.0, 2.0])], "b": Tensor(np.float64(3))}
    state = opt.init(params)
    _, state = opt.update(params, cr.tree_map(lambda p: p, params), state)
    assert state["step"].dtype == np.int32 and state["step"].item() == 1
    assert state["m"]["a"][0].shape == (2,) and state["v"]["b"].dtype == np.float64
    assert list(SGD().init(params)) == ["step"]


def test_update_needs_gradients_like_the_parameters_and_its_own_state() -> None:
    opt, params = Adam(), {"w": np.ones((3, 2))}
    with pytest.raises(cr.ShapeError, match=r"of shape \(3, 2\), got shape \(2,\)"):
        opt.update(params, {"w": np.ones(2)}, opt.init(params))
    with pytest.raises(cr.ArgumentError, match=r"takes \(params, grads, state\)"):
        opt.update(params, opt.init(params), params)


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
        (lambda: RMSprop(rho=1), "rho must be a number at least 0 and below 1"),
        (lambda: Muon(adam_lr_ratio=0), "adam_lr_ratio must be a number above 0"),
        (lambda: Muon(ns_steps=0), "ns_steps must be an integer of at least 1"),
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


def test_muon_brings_all_singular_values_near_one() -> None:
    rng = np.random.Generator(np.random.Philox(key=2))
    for shape in ((6, 4), (4, 6), (5, 5)):
        d = Tensor(rng.normal(size=shape))
        sizes = np.linalg.svd(Muon().orthogonal(d).numpy(), compute_uv=False)
        assert sizes.min() > 0.5 and sizes.max() < 1.3
    plain = Muon().init({"kernel": Tensor(np.zeros((2, 3))), "bias": Tensor(np.zeros(3))})
    assert plain["momentum"]["bias"] is None and plain["m"]["kernel"] is None


def test_lion_moves_every_element_by_the_rate() -> None:
    params = [Tensor([1.0, 1.0, 1.0])]
    opt = Lion(0.25)
    new, _ = opt.update(params, [Tensor([1e-6, -300.0, 0.0])], opt.init(params))
    assert new[0].numpy().tolist() == [0.75, 1.25, 1.0]
