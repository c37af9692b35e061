"""Regularisers and constraints: their formulas, whose they are, and that `fit` heeds them."""

from __future__ import annotations

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn
from chainrule.nn.constraints import CONSTRAINTS, MaxNorm, NonNeg, UnitNorm
from chainrule.nn.regularizers import L1, L1L2, L2, REGULARIZERS

rng = np.random.default_rng(3)
W = rng.normal(size=(4, 3))
X, Y = rng.normal(size=(32, 4)).astype(np.float32), rng.normal(size=(32, 3)).astype(np.float32)


@pytest.mark.parametrize(
    ("rule", "wanted"),
    [
        (L1(0.3), 0.3 * np.abs(W).sum()),
        (L2(0.3), 0.3 * (W**2).sum()),
        (L1L2(0.1, 0.2), 0.1 * np.abs(W).sum() + 0.2 * (W**2).sum()),
        (REGULARIZERS["l1_l2"], 0.01 * np.abs(W).sum() + 0.01 * (W**2).sum()),
    ],
)
def test_formulas(rule, wanted):
    np.testing.assert_allclose(rule(cr.Tensor(W)), wanted, rtol=1e-12)
    assert cr.check_gradient(rule, [W])


def test_max_norm_shortens_what_is_too_long():
    w = np.array([[3.0, 0.3, 0.0], [4.0, 0.4, 0.0]])
    np.testing.assert_allclose(MaxNorm(2.0)(cr.Tensor(w)), w * [0.4, 1, 1], rtol=1e-6)
    kernel = rng.normal(size=(3, 3, 2, 4)) * 3
    lengths = np.sqrt((MaxNorm(1.5, (0, 1, 2))(cr.Tensor(kernel)).numpy() ** 2).sum((0, 1, 2)))
    np.testing.assert_allclose(lengths, 1.5, rtol=1e-6)
    unit = UnitNorm()(cr.Tensor(W)).numpy()
    np.testing.assert_allclose(np.linalg.norm(unit, axis=0), 1, rtol=1e-6)
    np.testing.assert_array_equal(NonNeg()(cr.Tensor(W)), np.maximum(W, 0))


def test_names_and_functions_are_rules():
    layer = nn.Dense(2, kernel_regularizer="l2", kernel_constraint="non_neg")
    assert "kernel_regularizer='l2', kernel_constraint='non_neg'" in repr(layer)
    assert set(CONSTRAINTS) == {"max_norm", "non_neg", "unit_norm"}
    with pytest.raises(cr.UnknownNameError, match="unknown regularizer 'l3'"):
        nn.Dense(2, kernel_regularizer="l3")
    with pytest.raises(cr.UnknownNameError, match="unknown constraint 'maxnorm'"):
        nn.Conv2D(2, 3, bias_constraint="maxnorm")
    with pytest.raises(cr.ArgumentError, match="Dense: a regularizer is a name or a function"):
        nn.Dense(2, kernel_regularizer=L2)
    with pytest.raises(cr.ArgumentError, match="Dense: a constraint is a name or a function"):
        nn.Dense(2, bias_constraint=3)


class Tied(nn.Module):
    """One layer in two places, an attention, and a parameter of its own with a rule."""

    gain_regularizer = None

    def __init__(self):
        super().__init__()
        self.first = nn.Dense(4, kernel_regularizer=L2(0.5), bias_regularizer=L1(2.0))
        self.second = self.first
        self.gain_regularizer = L1(3.0)

    def build(self, shape):
        self.parameter("gain", shape[-1:], "ones")

    def call(self, x):
        return self.second(self.first(x)) * self.gain


def test_the_penalty_counts_each_parameter_once():
    model = Tied().build_for(X.shape)
    model.first.bias.assign(np.full(4, -1, np.float32))
    kernel = model.first.kernel.numpy()
    np.testing.assert_allclose(
        nn.penalty(model), 0.5 * (kernel**2).sum() + 2 * 4 + 3 * 4, rtol=1e-6
    )
    assert nn.penalty(nn.Dense(2).build_for(X.shape)) is None


def test_parameters_find_their_rules_by_name():
    shape = (1, 5, 5, 2)
    layer = nn.SeparableConv2D(3, 3, depthwise_regularizer=L2(1.0)).build_for(shape)
    wanted = (layer.depthwise_kernel.numpy() ** 2).sum()
    np.testing.assert_allclose(nn.penalty(layer), wanted, rtol=1e-6)
    heads = nn.MultiHeadAttention(2, 3, kernel_regularizer=L2(1.0)).build_for((1, 4, 6))
    kernels = [t.numpy() for n, t in heads.named_parameters().items() if n.endswith("kernel")]
    np.testing.assert_allclose(nn.penalty(heads), sum((k**2).sum() for k in kernels), rtol=1e-6)
    rows = nn.Embedding(4, 2, embeddings_regularizer="l1").build_for((1, 3))
    wanted = 0.01 * np.abs(rows.embeddings.numpy()).sum()
    np.testing.assert_allclose(nn.penalty(rows), wanted, rtol=1e-6)
    norm = nn.LayerNormalization(gamma_regularizer=L1(1.0)).build_for((2, 3))
    np.testing.assert_allclose(nn.penalty(norm), 3)


def fitted(**options):
    model = cr.Sequential([nn.Dense(3, **options)], seed=1)
    model.compile(cr.optim.SGD(0.1), loss="mse")
    history = model.fit(X, Y, batch_size=32, epochs=1, shuffle=False, verbose=0)
    return model, history.history["loss"][0]


def test_fit_adds_the_penalty_to_the_loss_and_its_gradient():
    plain, lower = fitted()
    start = cr.Sequential([nn.Dense(3)], seed=1).build_for(X.shape).get_weights()["dense/kernel"]
    ruled, higher = fitted(kernel_regularizer=L2(0.2))
    np.testing.assert_allclose(higher - lower, 0.2 * (start**2).sum(), rtol=1e-4)
    moved = plain.get_weights()["dense/kernel"] - ruled.get_weights()["dense/kernel"]
    np.testing.assert_allclose(moved, 0.1 * 2 * 0.2 * start, rtol=1e-3, atol=1e-6)
    np.testing.assert_allclose(
        ruled.evaluate(X, Y)["loss"] - 0.2 * (ruled.get_weights()["dense/kernel"] ** 2).sum(),
        np.mean((ruled.predict(X) - Y) ** 2),
        rtol=1e-4,
    )


def test_fit_keeps_to_the_constraint():
    model, _ = fitted(kernel_constraint=MaxNorm(0.5), bias_constraint="non_neg")
    weights = model.get_weights()
    assert np.linalg.norm(weights["dense/kernel"], axis=0).max() <= 0.5 + 1e-6
    free, _ = fitted()
    assert np.linalg.norm(free.get_weights()["dense/kernel"], axis=0).max() > 0.5
    assert weights["dense/bias"].min() >= 0 > free.get_weights()["dense/bias"].min()


@pytest.mark.parametrize("wrong", [-1, np.nan, np.inf, "l2", True])
def test_factor_of_a_regularizer_is_a_number_of_at_least_0(wrong):
    for make in (L1, L2, L1L2, lambda l1: L1L2(l2=l1)):
        with pytest.raises(cr.ArgumentError, match="must be a number of at least 0, got"):
            make(wrong)
