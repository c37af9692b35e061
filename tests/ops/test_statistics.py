"""Reductions made of ops, running sums, activations: NumPy's values and right gradients."""

from __future__ import annotations

import math

import numpy as np
import pytest

import chainrule as cr

RNG = np.random.default_rng(5)
X = RNG.normal(size=(3, 4, 5))
TIES = np.array([[1.0, 3, 3, 2], [0, 0, -1, -1], [np.nan, 5, np.nan, 1]])


@pytest.fixture(params=[lambda fn: fn, cr.jit], ids=["eager", "compiled"])
def run(request):
    return request.param


@pytest.mark.parametrize("axis", [None, 0, -1, (0, 2)], ids=str)
@pytest.mark.parametrize("keepdims", [False, True])
@pytest.mark.parametrize("name", ["prod", "std", "any", "all", "count_nonzero"])
def test_reduction_is_numpys(run, name, axis, keepdims):
    x = np.where(X > 1, 0, X)
    found = run(lambda x: getattr(cr, name)(x, axis=axis, keepdims=keepdims))(x).numpy()
    wanted = getattr(np, name)(x, axis=axis, keepdims=keepdims)
    assert found.dtype == wanted.dtype and found.shape == wanted.shape
    np.testing.assert_allclose(found, wanted, rtol=1e-12)


@pytest.mark.parametrize("axis", [None, 0, -1])
@pytest.mark.parametrize("keepdims", [False, True])
@pytest.mark.parametrize("name", ["argmax", "argmin"])
@pytest.mark.parametrize("x", [X[0], TIES, np.array([[3, 1], [3, 3]]), X[0] > 0], ids=range(4))
def test_position_is_numpys_first(run, name, axis, keepdims, x):
    found = run(lambda x: getattr(cr, name)(x, axis=axis, keepdims=keepdims))(x).numpy()
    wanted = getattr(np, name)(x, axis=axis, keepdims=keepdims)
    assert found.dtype == np.int64
    np.testing.assert_array_equal(found, wanted)


def test_any_and_all_of_nothing(run):
    empty = np.zeros((2, 0), bool)
    assert run(lambda x: cr.all(x, axis=1))(empty).numpy().all()
    assert not run(lambda x: cr.any(x, axis=1))(empty).numpy().any()
    assert run(cr.prod)(np.zeros((0,))).item() == 1


@pytest.mark.parametrize("axis", [None, 1, (0, 2)], ids=str)
def test_logsumexp_does_not_overflow(run, axis):
    found = run(lambda x: cr.logsumexp(x + 1000, axis))(X).numpy()
    np.testing.assert_allclose(found, np.log(np.sum(np.exp(X), axis)) + 1000, rtol=1e-12)
    ends = np.array([[-np.inf, -np.inf], [np.inf, 0], [-np.inf, 2]])
    np.testing.assert_array_equal(run(lambda x: cr.logsumexp(x, 1))(ends), [-np.inf, np.inf, 2])


@pytest.mark.parametrize("axis", [None, 0, -1])
@pytest.mark.parametrize("name", ["cumsum", "cumprod"])
def test_running_reduction_is_numpys(run, name, axis):
    for x in (X, np.arange(7) + 1, np.ones((1, 3), bool)):
        axis = None if x.ndim == 1 else axis
        found = run(lambda x: getattr(cr, name)(x, axis))(x).numpy()  # noqa: B023
        np.testing.assert_allclose(found, getattr(np, name)(x, axis), rtol=1e-12)


@pytest.mark.parametrize(
    "fn",
    [
        cr.prod, lambda x: cr.prod(x, (0, 2)), cr.cumprod, lambda x: cr.cumprod(x, 1),
        lambda x: cr.std(x, 1, correction=1), cr.logsumexp, cr.gelu, cr.selu, cr.silu, cr.elu,
        lambda x: cr.gelu(x, approximate=True), cr.leaky_relu, cr.cumsum,
    ],
    ids=range(13),
)  # fmt: skip
def test_gradient_of_two_orders_is_that_of_differences(fn):
    x = X[:2, :2, :3]
    weights = RNG.normal(size=fn(x).shape)
    first = lambda x: cr.sum(fn(x) * weights)  # noqa: E731
    assert cr.check_gradient(first, [x])
    assert cr.check_gradient(lambda x: cr.sum(cr.grad(first)(x) * x), [x])


@pytest.mark.parametrize("fn", [cr.prod, lambda x: cr.sum(cr.cumprod(x) * np.arange(1.0, 5))])
@pytest.mark.parametrize("zeros", [(1,), (0, 2), (0, 1, 3)], ids=str)
def test_products_with_zeros_have_gradients_of_two_orders(run, fn, zeros):
    x = np.array([2.0, 3, 5, 7])
    x[list(zeros)] = 0
    assert cr.check_gradient(fn, [x])
    slope = run(cr.grad(fn))
    assert cr.check_gradient(lambda x: cr.sum(slope(x) * np.array([1, -2, 3, 0.5])), [x])


def test_activations_are_their_formulas(run):
    x = np.array([-100.0, -3, -0.5, 0, 0.5, 3, 100])
    e = np.expm1(np.minimum(x, 0))
    phi = 0.5 * (1 + np.array([math.erf(v / math.sqrt(2)) for v in x]))
    by_tanh = 0.5 * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))
    wanted = {
        cr.elu: np.where(x > 0, x, e),
        cr.selu: 1.0507009873554805 * np.where(x > 0, x, 1.6732632423543772 * e),
        cr.silu: x / (1 + np.exp(-x)),
        cr.gelu: x * phi,
        cr.leaky_relu: np.where(x > 0, x, 0.2 * x),
    }
    for fn, y in wanted.items():
        np.testing.assert_allclose(run(fn)(x).numpy(), y, rtol=1e-12, atol=1e-40)
        assert np.isfinite(run(cr.grad(lambda x: cr.sum(fn(x))))(x)).all()  # noqa: B023
    found = run(lambda x: cr.gelu(x, approximate=True))(x).numpy()
    np.testing.assert_allclose(found, x * by_tanh, rtol=1e-12)


def test_std_needs_more_elements_than_its_correction():
    with pytest.raises(cr.ShapeError, match="1 elements with correction 1"):
        cr.std(np.ones((1, 3)), axis=0, correction=1)
