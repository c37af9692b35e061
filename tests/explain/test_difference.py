"""The check beside a gradient: it calls right what is right, wrong what is wrong, and no more."""

import warnings

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn
from chainrule.explain.cut import Flow
from chainrule.explain.difference import check_entry
from chainrule.explain.explain import explain
from chainrule.explain.subject import subject_of_loss, subject_of_model

X = np.random.default_rng(0).normal(size=(4, 3)).astype(np.float32)


def flow_at(scale):
    model = cr.Sequential([nn.Dense(3, "tanh"), nn.Dense(1)], seed=1)
    model.compile("sgd", "mse")
    return Flow(subject_of_model(model, X, X[:, :1] * scale, "dense/kernel", True, None))


@pytest.mark.parametrize("scale", [1, 1e3])
@pytest.mark.parametrize("factor", [1.0009, 1.0001, 1.00001, -1.0, 0.5])
def test_gradient_that_is_a_little_wrong_is_called_wrong(factor, scale):
    flow = flow_at(scale)
    assert check_entry(flow, (0, 1)).mark == "ok"
    flow.gradient = flow.gradient * factor
    assert check_entry(flow, (0, 1)).mark == "wrong"


@pytest.mark.parametrize("factor", [1.0009, 1.0001, -1.0, 0.5])
def test_wrong_gradient_of_a_huge_loss_is_not_hidden_by_its_rounding(factor):
    flow = flow_at(1e6)  # a loss of 1e12, whose differences are known to 1e-6 of the gradient
    assert check_entry(flow, (0, 1)).mark == "near"
    flow.gradient = flow.gradient * 1.00001
    assert check_entry(flow, (0, 1)).mark != "ok"
    flow.gradient = flow.gradient * factor
    assert check_entry(flow, (0, 1)).mark == "wrong"


def test_gradient_that_rounding_hides_is_near_and_not_called_right():
    w = cr.Tensor([0.5, 2.0])
    with cr.record():
        loss = cr.sum(w * w) * 0.5 + 1e12
    flow = Flow(subject_of_loss(loss, w))
    found = check_entry(flow, (0,))
    assert found.mark == "near"
    assert found.relative > 1e-6
    flow.gradient = np.float64([100.0, 2.0])
    assert check_entry(flow, (0,)).mark == "wrong"


def test_mark_ok_means_six_digits():
    flow = flow_at(1)
    for index in np.ndindex(flow.parameter.shape):
        found = check_entry(flow, index)
        assert found.mark == "ok"
        assert found.relative <= 1e-6


class Gated(cr.Model):
    """A gate of its own input through which no gradient flows, and a rounding straight through."""

    def __init__(self):
        super().__init__(seed=1)
        self.first, self.last = nn.Dense(3), nn.Dense(1)

    def call(self, x, training=False):
        z = self.first(x)
        z = z * cr.stop_gradient(cr.sigmoid(z))
        z = z + cr.stop_gradient(cr.round(z) - z)
        return self.last(z)


def test_what_stop_gradient_stops_is_constant_in_the_difference():
    model = Gated()
    model.compile("sgd", "mse")
    found = explain(model, X, X[:, :1], "first/kernel", (0, 1))
    assert found.gradient != 0
    assert found.check.mark == "ok"


def spoilt(value):
    """A model whose weight is not finite, and its data."""
    model = cr.Sequential([nn.Dense(3, "relu"), nn.Dense(1)], seed=0)
    model.compile("sgd", "mse")
    model.predict(X)
    weights = {path: np.array(each) for path, each in model.get_weights().items()}
    weights["dense/kernel"][0, 1] = value
    model.set_weights(weights)
    return model


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("index", [None, (0, 1)])
def test_loss_that_is_not_finite_is_said_in_one_line(value, index):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = explain(spoilt(value), X, X[:, :1], "dense/kernel", index, lang="en")
    text = found.to_text(100)
    assert "The loss is not finite" in text and "cr.find_nonfinite" in text
    assert (found.check, found.partitions, found.entries) == (None, (), ())
    assert "central difference" not in text and "entries from" not in text
    assert r"\text{" in found.to_latex()


def test_gradient_alone_that_is_not_finite_is_said_without_a_check():
    w = cr.Tensor([0.0, 4.0])
    with cr.record():
        loss = cr.sum(cr.sqrt(cr.relu(w)))
    found = explain(loss, w, index=0, lang="en")
    assert not np.isfinite(found.gradient)
    assert found.check is None
    assert "The gradient is not finite" in found.to_text(100)
    assert explain(loss, w).entries[0].check is None
