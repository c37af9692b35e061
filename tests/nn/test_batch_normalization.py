"""BatchNormalization: its formula, and that its statistics move in training and only there."""

from __future__ import annotations

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn

x = np.random.default_rng(5).normal(2.0, 3.0, size=(6, 4, 3)).astype(np.float32)
MEAN, VARIANCE = x.mean(axis=(0, 1)), x.var(axis=(0, 1))


def loss(layer, x, training):
    y = layer(x, training=training)
    return cr.mean(y * y * y)


def eagerly(layer, x, training):
    loss(layer, x, training)


def under_grad(layer, x, training):
    cr.grad(lambda m: loss(m, x, training))(layer)


def under_grad_of_the_input(layer, x, training):
    cr.grad(lambda x: loss(layer, x, training))(x)


def under_jit(layer, x, training):
    cr.jit(lambda m, x: loss(m, x, training))(layer, x)


def under_jit_captured(layer, x, training):
    cr.jit(lambda x: loss(layer, x, training))(x)


def under_jit_of_grad(layer, x, training):
    cr.jit(cr.grad(lambda m, x: loss(m, x, training)))(layer, x)


def under_grad_of_jit(layer, x, training):
    cr.grad(cr.jit(lambda m, x: loss(m, x, training)))(layer, x)


def under_record(layer, x, training):
    with cr.record():
        found = loss(layer, x, training)
    cr.gradient(found, layer.gamma)


every_way = pytest.mark.parametrize(
    "way",
    [
        eagerly,
        under_grad,
        under_grad_of_the_input,
        under_jit,
        under_jit_captured,
        under_jit_of_grad,
        under_grad_of_jit,
        under_record,
    ],
)


def built(**options):
    return nn.BatchNormalization(**options).build_for(x.shape)


@every_way
def test_statistics_move_in_training(way):
    layer = built(momentum=0.9)
    held = layer.moving_mean, layer.moving_variance
    way(layer, x, True)
    np.testing.assert_allclose(layer.moving_mean, 0.1 * MEAN, rtol=1e-5)
    np.testing.assert_allclose(layer.moving_variance, 0.9 + 0.1 * VARIANCE, rtol=1e-5)
    way(layer, x, True)
    np.testing.assert_allclose(layer.moving_mean, 0.19 * MEAN, rtol=1e-5)
    assert (layer.moving_mean, layer.moving_variance)[0] is held[0]
    assert layer.moving_variance is held[1] and isinstance(held[1], cr.State)


@every_way
def test_statistics_stay_otherwise(way):
    layer = built()
    way(layer, x, False)
    np.testing.assert_array_equal(layer.moving_mean, np.zeros(3))
    np.testing.assert_array_equal(layer.moving_variance, np.ones(3))


def test_one_compiled_step_keeps_moving_them():
    layer, twin = built(), built()
    step = cr.jit(lambda m, x: m(x, training=True))
    for i in range(4):
        y = step(layer, x + i)
        np.testing.assert_allclose(y, twin(x + i, training=True), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(layer.moving_mean, twin.moving_mean, rtol=1e-5)
    np.testing.assert_allclose(layer.moving_variance, twin.moving_variance, rtol=1e-5)


def test_training_normalises_by_the_batch():
    layer = built()
    layer.gamma.assign(np.array([1, 2, 3], np.float32))
    layer.beta.assign(np.array([0, -1, 1], np.float32))
    wanted = (x - MEAN) / np.sqrt(VARIANCE + 1e-3) * [1, 2, 3] + [0, -1, 1]
    np.testing.assert_allclose(layer(x, training=True), wanted, rtol=1e-4, atol=1e-5)


def test_evaluating_normalises_by_the_moving_statistics():
    layer = built(epsilon=0.1)
    layer.moving_mean = np.array([1, 2, 3], np.float32)
    layer.moving_variance = np.array([4, 5, 6], np.float32)
    wanted = (x - [1, 2, 3]) / np.sqrt(np.array([4, 5, 6]) + 0.1)
    np.testing.assert_allclose(layer(x), wanted, rtol=1e-5, atol=1e-5)


def test_no_gradient_flows_to_the_statistics():
    g = cr.grad(lambda m: loss(m, x, True))(built())
    assert g.moving_mean is None and g.moving_variance is None
    assert g.gamma.shape == g.beta.shape == (3,)


def test_a_second_use_in_one_call_continues_from_the_first():
    layer = built(momentum=0.5)

    def twice(x):
        first = cr.mean(layer(x, training=True))
        return cr.add(first, cr.mean(layer(x * 3, training=True)))

    cr.jit(cr.grad(twice))(x)
    np.testing.assert_allclose(layer.moving_mean, 0.25 * MEAN + 1.5 * MEAN, rtol=1e-5)


def test_evaluating_after_training_in_one_call_has_constant_statistics():
    layer, after = built(momentum=0.5), built(momentum=0.5)
    after(x, training=True)

    def both(x):
        layer(x, training=True)
        return loss(layer, x, False)

    wanted = cr.grad(lambda x: loss(after, x, False))(x)
    np.testing.assert_allclose(cr.grad(both)(x), wanted, rtol=1e-5, atol=1e-6)


def test_a_constant_batch_stays_finite():
    y = built()(np.full((4, 3), 7.0, np.float32), training=True)
    np.testing.assert_allclose(y, np.zeros((4, 3)), atol=1e-3)


def test_an_empty_batch_cannot_be_trained_on():
    with pytest.raises(cr.ShapeError, match="batch_normalization: an empty batch has no mean"):
        built()(np.zeros((0, 3)), training=True)
    assert built()(np.zeros((0, 3))).shape == (0, 3)


@pytest.mark.parametrize("center", [True, False])
@pytest.mark.parametrize("scale", [True, False])
def test_gamma_and_beta_are_there_as_asked(center, scale):
    layer = built(center=center, scale=scale, gamma_initializer="ones")
    names = [name for name, asked in (("gamma", scale), ("beta", center)) if asked]
    assert list(layer.named_parameters()) == names
    for name in names:
        getattr(layer, name).assign(np.array([1, 2, 3], np.float32))
    wanted = (x - MEAN) / np.sqrt(VARIANCE + 1e-3) * (layer.gamma.numpy() if scale else 1)
    wanted = wanted + (layer.beta.numpy() if center else 0)
    np.testing.assert_allclose(layer(x, training=True), wanted, rtol=1e-4, atol=1e-5)
    assert ("scale=False" in repr(layer)) != scale
    with pytest.raises(cr.ShapeError, match="was built for 3 channels, got 2"):
        layer(x[..., :2])


@every_way
def test_frozen_statistics_stay_and_are_used(way):
    layer = built(momentum=0.5)
    layer(x, training=True)
    held = layer.moving_mean.numpy().copy()
    layer.trainable = False
    np.testing.assert_array_equal(layer(x, training=True), layer(x))
    way(layer, x, True)
    np.testing.assert_array_equal(layer.moving_mean, held)
    layer.trainable = True
    way(layer, x, True)
    assert not np.array_equal(layer.moving_mean, held)


@pytest.mark.parametrize("frozen", ["norm", "body"])
def test_fit_moves_no_frozen_statistics(frozen):
    class Body(nn.Module):
        def __init__(self):
            super().__init__()
            self.norm = nn.BatchNormalization()

        def call(self, x, *, training=False):
            return self.norm(x, training=training)

    body = Body()
    model = cr.Sequential([body, nn.Flatten(), nn.BatchNormalization(), nn.Dense(1)])
    model.compile("sgd", loss="mse")
    (body.norm if frozen == "norm" else body).trainable = False
    model.fit(x, np.zeros(6), epochs=2, batch_size=3, verbose=0)
    states = model.named_states()
    moved = {name: bool(np.any(t.numpy() != 0)) for name, t in states.items() if "mean" in name}
    assert moved == {name: not name.startswith("body") for name in moved} and len(moved) == 2
