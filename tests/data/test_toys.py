"""The made-up sets, and every docstring example of chainrule.data."""

import doctest
import importlib
import pkgutil

import numpy as np
import pytest

import chainrule.data
from chainrule.core.errors import ArgumentError
from chainrule.data.toys import blobs, linear_regression, two_moons, xor

MADE = [two_moons, blobs, linear_regression]
MODULES = [module.name for module in pkgutil.iter_modules(chainrule.data.__path__)]


@pytest.mark.parametrize("name", MODULES)
def test_docstring_examples_of_data_run(name):
    failed, _ = doctest.testmod(importlib.import_module(f"chainrule.data.{name}"))
    assert failed == 0


@pytest.mark.parametrize("make", MADE)
def test_same_arguments_give_the_same_numbers(make):
    first, again, other = make(40, seed=5), make(40, seed=5), make(40, seed=6)
    assert all(np.array_equal(a, b) for a, b in zip(first, again))
    assert not np.array_equal(first.x, other.x)
    assert first.x.dtype == np.float32 and len(first.x) == len(first.y) == 40


@pytest.mark.parametrize("make", [two_moons, blobs])
def test_any_tail_holds_all_classes(make):
    _, y = make(60)
    assert y.dtype == np.int64 and set(y[-3:]) == set(y)


def test_xor_is_not_linearly_separable():
    x, y = xor()
    assert y.tolist() == (x[:, 0] != x[:, 1]).astype(int).tolist()


def test_moons_without_noise_lie_on_their_circles():
    x, y = two_moons(101, noise=0.0)
    outer, inner = x[y == 0], x[y == 1]
    assert np.allclose((outer**2).sum(axis=1), 1, atol=1e-5) and outer[:, 1].min() > -1e-5
    assert np.allclose(((inner - [1, 0.5]) ** 2).sum(axis=1), 1, atol=1e-5)
    assert inner[:, 1].max() < 0.5 + 1e-5


def test_blobs_are_as_wide_as_asked():
    x, y = blobs(4000, classes=4, features=3, spread=0.25)
    assert x.shape == (4000, 3)
    for label in range(4):
        assert np.allclose(x[y == label].std(axis=0), 0.25, atol=0.03)


def test_regression_noise_is_what_is_left():
    x, y, kernel, bias = linear_regression(5000, noise=0.3)
    left = y - x @ kernel - bias
    assert abs(left.std() - 0.3) < 0.02 and abs(left.mean()) < 0.02


@pytest.mark.parametrize("make", MADE)
def test_no_examples_or_no_seed_is_refused(make):
    with pytest.raises(ArgumentError, match="n must be an integer of at least 1"):
        make(0)
    with pytest.raises(ArgumentError, match="seed"):
        make(10, seed=-1)
