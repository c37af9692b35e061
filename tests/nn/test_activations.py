"""Every registered activation: its derivative, extreme inputs, and its name."""

from __future__ import annotations

from statistics import NormalDist

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn
from chainrule.nn.activations import ACTIVATIONS, activate, activation_name

SELU_ALPHA = 1.6732632423543772
every_activation = pytest.mark.parametrize("name", ACTIVATIONS)


@every_activation
def test_an_activation_has_its_gradient(name):
    x = np.array([[-2.0, -0.7, 0.3, 1.9], [0.6, -1.1, 2.4, -0.2]])
    weights = np.random.default_rng(0).normal(size=x.shape)
    found = cr.check_gradient(lambda x: cr.sum(activate(name, x) * weights), [x])
    assert found, found


@every_activation
@pytest.mark.parametrize("size", [0.0, 100.0, 1000.0])
def test_extreme_inputs_have_finite_values_and_gradients(name, size):
    x = np.array([[size, -size]], np.float32)
    y, g = cr.value_and_grad(lambda x: cr.sum(activate(name, x)))(x)
    assert np.isfinite(y.item()) and np.isfinite(g.numpy()).all()


@every_activation
def test_a_function_is_kept_by_its_name(name):
    assert activation_name(ACTIVATIONS[name], "Dense") == name
    assert nn.Dense(2, activation=ACTIVATIONS[name]).activation == name


def test_a_function_without_a_name_is_kept_itself():
    def squared(x):
        return x * x

    layer = nn.Activation(squared)
    assert layer.activation is squared and repr(layer) == "Activation(squared)"
    np.testing.assert_array_equal(layer(np.array([3.0], np.float32)), [9])


@pytest.mark.parametrize(
    ("name", "formula"),
    [
        ("linear", lambda x: x),
        ("leaky_relu", lambda x: np.where(x > 0, x, 0.2 * x)),
        ("elu", lambda x: np.where(x > 0, x, np.expm1(x))),
        (
            "selu",
            lambda x: 1.0507009873554805 * np.where(x > 0, x, 1.6732632423543772 * np.expm1(x)),
        ),
        ("gelu", lambda x: x * np.vectorize(NormalDist().cdf)(x)),
        ("silu", lambda x: x / (1 + np.exp(-x))),
        ("softplus", lambda x: np.log1p(np.exp(x))),
    ],
)
def test_values(name, formula):
    x = np.linspace(-4, 4, 17)
    np.testing.assert_allclose(activate(name, cr.Tensor(x)), formula(x), rtol=1e-9, atol=1e-12)


def test_elu_has_slope_one_at_zero():
    assert cr.grad(lambda x: cr.sum(activate("elu", x)))(np.zeros(1)).item() == 1
