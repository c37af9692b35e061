"""Normalisations of each example, and noise in training, against NumPy."""

from __future__ import annotations

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn

rng = np.random.default_rng(8)
X = rng.normal(1.0, 2.0, size=(3, 5, 4, 6)).astype(np.float32)


def randomised(layer, shape):
    layer.build_for(shape)
    for tensor in layer.named_parameters().values():
        tensor.assign(rng.normal(size=tensor.shape).astype(np.float32))
    return layer


def normalised(x, axes, epsilon=1e-3):
    v = x.var(axes, keepdims=True)
    return (x - x.mean(axes, keepdims=True)) / np.sqrt(v + epsilon)


@pytest.mark.parametrize("axis", [-1, 3, (2, 3), (1, 2, 3), (-1, 1)])
def test_layer_normalisation_is_the_formula(axis):
    layer = randomised(nn.LayerNormalization(axis), X.shape)
    axes = tuple(sorted(a % 4 for a in (axis if isinstance(axis, tuple) else (axis,))))
    shape = [n if i in axes else 1 for i, n in enumerate(X.shape)]
    gamma, beta = (layer.gamma.numpy().reshape(shape), layer.beta.numpy().reshape(shape))
    wanted = normalised(X, axes) * gamma + beta
    np.testing.assert_allclose(layer(X), wanted, rtol=1e-3, atol=1e-4)


def test_centre_and_scale_may_be_left_out():
    plain = nn.LayerNormalization(center=False, scale=False, epsilon=0.1)
    np.testing.assert_allclose(plain(X), normalised(X, -1, 0.1), rtol=1e-4, atol=1e-5)
    assert not plain.named_parameters()
    assert list(nn.LayerNormalization(center=False).build_for((2, 3)).named_parameters()) == [
        "gamma"
    ]


@pytest.mark.parametrize("groups", [1, 2, 3, -1])
def test_group_normalisation_is_the_formula(groups):
    layer = randomised(nn.GroupNormalization(groups), X.shape)
    count = 6 if groups == -1 else groups
    parted = X.reshape(3, 5, 4, count, 6 // count)
    wanted = normalised(parted, (1, 2, 4)).reshape(X.shape)
    wanted = wanted * layer.gamma.numpy() + layer.beta.numpy()
    np.testing.assert_allclose(layer(X), wanted, rtol=1e-3, atol=1e-4)


def test_rms_normalisation_is_the_formula():
    layer = randomised(nn.RMSNormalization(), X.shape)
    wanted = X / np.sqrt((X**2).mean(-1, keepdims=True) + 1e-6) * layer.scale.numpy()
    np.testing.assert_allclose(layer(X), wanted, rtol=1e-4)


def test_other_extents_are_told():
    layer = nn.LayerNormalization((1, 2)).build_for((2, 3, 4))
    with pytest.raises(cr.ShapeError, match=r"built for \(3, 4\).*got \(5, 4\)"):
        layer(np.ones((2, 5, 4)))
    with pytest.raises(cr.ArgumentError, match="epsilon must be above 0"):
        nn.LayerNormalization(epsilon=0)


def in_training(layer, x):
    with nn.random_scope(cr.key(5)):
        return layer(x, training=True).numpy()


def test_spatial_dropout_drops_whole_channels():
    x = np.ones((40, 3, 4, 50), np.float32)
    y = in_training(nn.SpatialDropout2D(0.25), x)
    np.testing.assert_array_equal(y, np.broadcast_to(y[:, :1, :1], y.shape))
    np.testing.assert_allclose(np.unique(y), [0, 1 / 0.75], rtol=1e-6)
    assert abs((y[:, 0, 0] == 0).mean() - 0.25) < 0.03


def test_gaussian_noise_has_its_deviation():
    x = np.full((100, 100), 3.0, np.float32)
    noise = in_training(nn.GaussianNoise(0.5), x) - x
    assert abs(noise.mean()) < 0.02
    np.testing.assert_allclose(noise.std(), 0.5, rtol=0.03)
    np.testing.assert_array_equal(nn.GaussianNoise(0.5)(x), x)
    np.testing.assert_array_equal(in_training(nn.GaussianNoise(0.5), x) - x, noise)
