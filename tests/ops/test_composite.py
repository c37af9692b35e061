"""Functions made of ops: right values, right gradients, also where formulas overflow or kink."""

from __future__ import annotations

import re

import numpy as np
import pytest

import chainrule as cr

RNG = np.random.default_rng(4)
X = RNG.normal(size=(3, 5)) * 3


@pytest.fixture(params=[lambda fn: fn, cr.jit], ids=["eager", "compiled"])
def run(request):
    return request.param


def test_softmax_sums_to_one_and_is_exp_over_sum(run):
    for axis in (0, -1):
        y = run(lambda x: cr.softmax(x, axis))(X).numpy()  # noqa: B023
        e = np.exp(X)
        np.testing.assert_allclose(y, e / e.sum(axis, keepdims=True), rtol=1e-12)
        z = run(lambda x: cr.log_softmax(x, axis))(X).numpy()  # noqa: B023
        np.testing.assert_allclose(z, np.log(y), rtol=1e-12)


def test_softmax_of_huge_numbers_stays_finite(run):
    x = np.float32([[1e30, 0, -1e30], [1000, 1000, 999]])
    np.testing.assert_allclose(run(cr.softmax)(x).numpy()[1], [0.4223, 0.4223, 0.1554], atol=1e-4)
    assert run(cr.softmax)(x).numpy()[0].tolist() == [1, 0, 0]
    g = run(cr.grad(lambda x: cr.sum(cr.log_softmax(x)[:, 0])))(x).numpy()
    assert np.isfinite(g).all()


@pytest.mark.parametrize("fn", [cr.softmax, cr.log_softmax, cr.softplus, cr.var, cr.min])
def test_composite_has_the_gradient_of_differences(fn):
    weights = np.resize(RNG.normal(size=15), cr.jit(fn)(X).shape)
    assert cr.check_gradient(lambda x: cr.sum(fn(x) * weights), [X])


def test_softplus_has_no_kink_at_zero(run):
    first, second = cr.grad(cr.softplus), cr.grad(cr.grad(cr.softplus))
    third = cr.grad(second)
    for x in (0.0, -0.0):
        x = np.float64(x)
        found = [run(fn)(x).item() for fn in (cr.softplus, first, second, third)]
        np.testing.assert_allclose(found, [np.log(2), 0.5, 0.25, 0], atol=1e-15)


def test_softplus_neither_overflows_nor_hides_nan(run):
    x = np.array([1000.0, -1000.0, np.inf, -np.inf, np.nan])
    np.testing.assert_array_equal(run(cr.softplus)(x).numpy(), [1000, 0, np.inf, 0, np.nan])
    slopes = run(cr.grad(lambda x: cr.sum(cr.softplus(x))))(x[:2]).numpy()
    np.testing.assert_array_equal(slopes, [1, 0])


def test_tied_extremes_share_the_gradient(run):
    x = np.array([[1.0, 3, 3], [2, 2, 2]])
    g = run(cr.grad(lambda x: cr.sum(cr.max(x, axis=1))))(x).numpy()
    np.testing.assert_allclose(g, [[0, 0.5, 0.5], [1 / 3] * 3])
    g = run(cr.grad(lambda x: cr.sum(cr.min(x, axis=1))))(x).numpy()
    np.testing.assert_allclose(g, [[1, 0, 0], [1 / 3] * 3])
    gx, gz = run(cr.grad(lambda x, z: cr.sum(cr.maximum(x, z)), argnums=(0, 1)))(x, x * 1)
    np.testing.assert_allclose(gx.numpy(), 0.5)
    np.testing.assert_allclose(gz.numpy(), 0.5)


def test_kinks_have_gradient_zero(run):
    for fn in (cr.relu, cr.abs):
        assert run(cr.grad(fn))(0.0).item() == 0


def convolved(x, kernel, stride, margins, dilation):
    """Cross-correlation by its definition, one output at a time."""
    x = np.pad(x, [(0, 0), *margins, (0, 0)])
    rows, columns = kernel.shape[:2]
    counts = [
        (n - (k - 1) * d - 1) // s + 1
        for n, k, d, s in zip(x.shape[1:3], (rows, columns), dilation, stride)
    ]
    y = np.zeros((len(x), *counts, kernel.shape[-1]))
    for i, j, a, b in np.ndindex(*counts, rows, columns):
        at = x[:, i * stride[0] + a * dilation[0], j * stride[1] + b * dilation[1]]
        y[:, i, j] += at @ kernel[a, b]
    return y


@pytest.mark.parametrize(
    ("padding", "stride", "dilation", "margins"),
    [
        ("valid", (1, 1), (1, 1), [(0, 0), (0, 0)]),
        ("same", (1, 1), (1, 1), [(1, 1), (0, 1)]),
        ("same", (2, 3), (1, 1), [(1, 1), (0, 1)]),
        (((2, 0), (1, 3)), (2, 1), (1, 2), [(2, 0), (1, 3)]),
    ],
)
def test_conv2d_is_its_definition(run, padding, stride, dilation, margins):
    x, kernel = RNG.normal(size=(2, 5, 7, 3)), RNG.normal(size=(3, 2, 3, 4))
    fn = lambda x, k: cr.conv2d(x, k, stride, padding, dilation)  # noqa: E731
    wanted = convolved(x, kernel, stride, margins, dilation)
    np.testing.assert_allclose(run(fn)(x, kernel).numpy(), wanted, rtol=1e-10, atol=1e-12)


def test_max_pool2d_is_the_largest_under_each_window(run):
    x = RNG.normal(size=(2, 5, 6, 3))
    y = run(lambda x: cr.max_pool2d(x, (2, 3)))(x).numpy()
    wanted = x[:, :4].reshape(2, 2, 2, 2, 3, 3).max((2, 4))
    np.testing.assert_array_equal(y, wanted)
    same = run(lambda x: cr.max_pool2d(x, 3, 1, "same"))(x).numpy()
    assert same.shape == x.shape and (same >= x).all()
    assert cr.check_gradient(lambda x: cr.sum(cr.max_pool2d(x, 3, 2, "same") ** 2), [x])


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: cr.conv2d(np.ones((2, 5, 5)), np.ones((3, 3, 5, 1))), "batch, height, width"),
        (lambda: cr.conv2d(np.ones((2, 5, 5, 2)), np.ones((3, 3, 5, 1))), "input's channels"),
        (lambda: cr.conv2d(np.ones((2, 2, 5, 2)), np.ones((3, 3, 2, 1))), "does not fit into"),
        (lambda: cr.max_pool2d(np.ones((2, 5, 5, 2)), 0), "positive integers"),
        (lambda: cr.max_pool2d(np.ones((2, 5, 5, 2)), 2, padding="full"), "same, valid"),
    ],
)
def test_windows_that_do_not_fit_are_refused(call, message):
    with pytest.raises(cr.ChainruleError) as caught:
        call()
    assert re.search(message, str(caught.value).replace(caught.value.place.source, ""))
