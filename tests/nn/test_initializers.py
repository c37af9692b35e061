"""Every registered initializer: shape, dtype, determinism; and the spreads of the named ones."""

from __future__ import annotations

import math

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn
from chainrule.nn.initializers import INITIALIZERS, constant, fans, find_initializer


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
