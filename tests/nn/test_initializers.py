"""Every registered initializer: shape, dtype, determinism; and the spreads of the named ones."""

from __future__ import annotations

import math
from statistics import NormalDist

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn
from chainrule.nn.initializers import (
    INITIALIZERS,
    Orthogonal,
    RandomNormal,
    RandomUniform,
    TruncatedNormal,
    constant,
    fans,
    find_initializer,
)
from chainrule.ops.draws import normal, truncated_normal


@pytest.mark.parametrize("name", INITIALIZERS)
@pytest.mark.parametrize("shape", [(), (4,), (3, 5), (3, 2, 4, 5), (0, 3)])
def test_it_fills_any_shape_from_its_key(name, shape):
    init = find_initializer(name, "test")
    values, same, other = (init(cr.key(seed), shape) for seed in (1, 1, 2))
    assert values.shape == shape and values.dtype == np.float32
    np.testing.assert_array_equal(values, same)
    spread = values.numpy().size > 1 and np.ptp(values.numpy()) > 0
    assert spread == (not np.array_equal(values, other) and values.size > 1)


@pytest.mark.parametrize(
    ("name", "limit"),
    [
        ("glorot_uniform", math.sqrt(6 / (27 * 40 + 27 * 50))),
        ("he_uniform", math.sqrt(6 / (27 * 40))),
        ("lecun_uniform", math.sqrt(3 / (27 * 40))),
    ],
)
def test_uniform_ones_fill_their_range_evenly(name, limit):
    values = find_initializer(name, "test")(cr.key(0), (9, 3, 40, 50)).numpy()
    assert np.abs(values).max() <= limit
    np.testing.assert_allclose(values.std(), limit / math.sqrt(3), rtol=0.01)
    np.testing.assert_allclose([values.min(), values.max()], [-limit, limit], rtol=0.01)
    assert abs(values.mean()) < 0.01 * limit


@pytest.mark.parametrize(
    ("name", "variance"),
    [
        ("glorot_normal", 2 / (27 * 40 + 27 * 50)),
        ("he_normal", 2 / (27 * 40)),
        ("lecun_normal", 1 / (27 * 40)),
    ],
)
def test_normal_ones_have_their_variance_and_no_tails(name, variance):
    values = find_initializer(name, "test")(cr.key(0), (9, 3, 40, 50)).numpy()
    np.testing.assert_allclose(values.var(), variance, rtol=0.02)
    assert np.abs(values).max() <= 2 * math.sqrt(variance) / 0.8796 * 1.0001
    np.testing.assert_allclose(np.abs(values).max(), 2 * math.sqrt(variance) / 0.8796, rtol=0.01)


@pytest.mark.parametrize("shape", [(6, 4), (4, 6), (3, 2, 5, 4), (2, 9)])
def test_orthogonal_ones_are(shape):
    values = Orthogonal(2.0)(cr.key(3), shape).numpy().astype(np.float64)
    w = values.reshape(-1, shape[-1]) / 2
    inner = w.T @ w if w.shape[0] >= w.shape[1] else w @ w.T
    np.testing.assert_allclose(inner, np.eye(len(inner)), atol=1e-5)


def test_orthogonal_ones_lean_to_no_side():
    draws = [Orthogonal()(cr.key(seed), (2, 2)).numpy() for seed in range(400)]
    assert np.abs(np.mean(draws, 0)).max() < 0.15


def test_draws_are_normal():
    values = np.sort(normal(cr.key(4), (20_000,), 1.0, 3.0).numpy())
    areas = np.array([NormalDist(1.0, 3.0).cdf(float(v)) for v in values])
    gap = np.abs(areas - (np.arange(20_000) + 0.5) / 20_000).max()
    assert gap < 1.95 / math.sqrt(20_000)  # Kolmogorov's bound at one in a thousand
    cut = truncated_normal(cr.key(4), (20_000,), 1.0, 3.0).numpy()
    assert -5 <= cut.min() < -4.9 and 6.9 < cut.max() <= 7
    np.testing.assert_allclose(cut.std(), 3 * 0.8796, rtol=0.02)


def test_named_spreads_are_those_of_keras():
    key = cr.key(2)
    for name, made in [
        ("random_uniform", RandomUniform(-0.05, 0.05)),
        ("random_normal", RandomNormal(0.0, 0.05)),
        ("truncated_normal", TruncatedNormal(0.0, 0.05)),
        ("orthogonal", Orthogonal(1.0)),
    ]:
        assert find_initializer(name, "test") == made
        np.testing.assert_array_equal(
            made(key, (5, 4)), find_initializer(name, "test")(key, (5, 4))
        )
    np.testing.assert_allclose(RandomNormal(2.0, 0.1)(key, (5000,)).numpy().mean(), 2, atol=0.01)


def test_fans_count_the_receptive_field():
    assert fans((3, 5)) == (3, 5)
    assert fans((3, 2, 4, 5)) == (24, 30)
    assert fans((7,)) == (7, 7) and fans(()) == (1, 1)


def test_numbers_and_functions_are_initializers():
    np.testing.assert_array_equal(find_initializer(0.5, "test")(cr.key(0), (2,)), [0.5, 0.5])
    assert constant(2) == constant(2.0) and hash(constant(2)) == hash(constant(2.0))

    def counted(key, shape):
        return np.arange(math.prod(shape), dtype=np.float32).reshape(shape)

    layer = nn.Dense(2, kernel_initializer=counted).build_for((1, 3))
    np.testing.assert_array_equal(layer.kernel, [[0, 1], [2, 3], [4, 5]])


def test_one_of_another_shape_is_told():
    with pytest.raises(
        cr.ShapeError, match=r"dense: .*kernel is needed as \(3, 2\), and is \(3,\)"
    ):
        nn.Dense(2, kernel_initializer=lambda key, shape: np.zeros(3, np.float32))(np.ones((1, 3)))
