"""NumPy's functions given Tensors: recorded or refused, never a gradient silently too small."""

from __future__ import annotations

import numpy as np
import pytest

import chainrule as cr
from chainrule.ops.numpy_functions import RECORDED

X = np.array([[0.5, 1.5, 2.0], [1.0, 0.25, 3.0]])
UNARY = [f for f in RECORDED if isinstance(f, np.ufunc) and f.nin == 1]
BINARY = [np.add, np.subtract, np.multiply, np.divide, np.power, np.maximum]


@pytest.mark.parametrize("function", UNARY, ids=lambda f: f.__name__)
def test_gradient_goes_through_unary(function) -> None:
    assert cr.check_gradient(lambda x: cr.sum(function(x) * x), [X])


@pytest.mark.parametrize("function", BINARY, ids=lambda f: f.__name__)
def test_gradient_goes_through_both_sides_of_binary(function) -> None:
    assert cr.check_gradient(lambda x, z: cr.sum(function(x, z)), [X, X[::-1] + 0.125])
    assert cr.check_gradient(lambda x: cr.sum(function(X[::-1] + 0.125, x)), [X])


@pytest.mark.parametrize(
    "fn",
    [
        lambda x: np.sum(x * x),
        lambda x: np.mean(np.max(x, axis=1)),
        lambda x: np.min(x) + np.var(x),
        lambda x: np.sum(np.dot(x, np.transpose(x))) + np.dot(x[0], x[1]),
        lambda x: np.sum(np.where(x > 1.2, x * x, 0.0)),
        lambda x: np.sum(np.outer(x[0], x[1])),
        lambda x: np.sum(np.reshape(x, (3, 2)) @ X) * np.size(x) / np.shape(x)[0] / np.ndim(x),
        lambda x: np.sum(np.broadcast_to(np.expand_dims(x, 0), (4, 2, 3)) * np.ones_like(x)),
    ],
)
def test_gradient_goes_through_functions(fn) -> None:
    assert cr.check_gradient(fn, [X])
    np.testing.assert_allclose(cr.jit(cr.grad(fn))(X), cr.grad(fn)(X), rtol=1e-12)


@pytest.mark.parametrize(
    "function",
    [np.sin, np.std, np.linalg.norm, np.add.reduce, lambda x: np.sum(x, initial=1.0)],
)
def test_floats_that_lost_their_gradient_are_refused(function) -> None:
    with pytest.raises(cr.GradientError, match=r"np\..*would be lost[\s\S]*x\.numpy\(\)"):
        cr.grad(lambda x: cr.sum(function(x) * x))(X)


def test_answers_without_gradient_are_numpys() -> None:
    with cr.record():
        x = cr.Tensor(X)
        assert np.argmax(x) == 5 and np.isnan(x).sum() == 0 and np.allclose(x, X)


def test_nothing_recorded_gives_arrays_and_operators_tensors() -> None:
    x = cr.Tensor(X)
    assert type(np.exp(x)) is np.ndarray and type(np.concatenate([x, x])) is np.ndarray
    assert float(np.sum(x)) == X.sum()
    for y in (X + x, X @ x.T, np.greater(X, x), np.float64(2) * x):
        assert isinstance(y, cr.Tensor)
    total = np.zeros((2, 3))
    total += x
    assert np.array_equal(total, X)
