"""`custom_gradient`: what it says is what is used, under every transform."""

from __future__ import annotations

import numpy as np
import pytest

import chainrule as cr


@cr.custom_gradient
def clipped(x):
    """x, whose gradient is kept within -1..1."""
    return x + 0, lambda g: cr.maximum(cr.negative(cr.maximum(-g, -1.0)), -1.0)


@cr.custom_gradient
def scaled(x, w):
    """x w, with gradients that are wrong on purpose: 10 and 100 times the true ones."""
    return x * w, lambda g: (g * w * 10, g * x * 100)


X, W = np.array([[1.0, -2.0], [3.0, 0.5]]), np.array([2.0, -4.0])


def test_its_own_gradient_is_used() -> None:
    assert clipped(3.0).item() == 3.0
    g = cr.grad(lambda x: cr.sum(clipped(x) * np.array([0.5, 5.0, -7.0])))(np.ones(3))
    np.testing.assert_array_equal(g, [0.5, 1.0, -1.0])


def wrong(x, w):
    return cr.sum(scaled(x, w) ** 2)


def wanted(x, w):
    return 10 * 2 * x * w * w, 100 * 2 * x * x * w


@pytest.mark.parametrize("way", [lambda fn: fn, cr.jit])
def test_custom_gradient_eager_and_compiled(way) -> None:
    found = way(cr.grad(wrong, argnums=(0, 1)))(X[0], W)
    for g, right in zip(found, wanted(X[0], W)):
        np.testing.assert_allclose(g, right, rtol=1e-14)
    np.testing.assert_allclose(way(scaled)(X[0], W), X[0] * W)


@pytest.mark.parametrize("way", [lambda fn: fn, cr.jit])
@pytest.mark.parametrize("axes", [(0, None), (0, 0), (None, 0)])
def test_custom_gradient_under_vmap(way, axes) -> None:
    batches = (X, np.stack([W, W + 1]))
    given = [a if axis == 0 else a[0] for a, axis in zip(batches, axes)]
    found = way(cr.vmap(cr.grad(wrong, argnums=(0, 1)), axes))(*given)
    for i in range(2):
        one = wanted(*[a[i] if axis == 0 else a for a, axis in zip(given, axes)])
        for g, right in zip(found, one):
            np.testing.assert_allclose(g[i], right, rtol=1e-13)


def test_gradient_of_vmap_of_a_custom_function_sums_over_what_is_shared() -> None:
    g = cr.grad(lambda w: cr.sum(cr.vmap(lambda x: scaled(x, w))(X)))(W)
    np.testing.assert_allclose(g, 100 * X.sum(axis=0))


def test_second_order_differentiates_the_pullback() -> None:
    second = cr.grad(cr.grad(lambda x: scaled(x, 3.0)))  # its slope is 10 w, a constant in x
    assert second(2.0).item() == 0.0
    mixed = cr.grad(lambda w: cr.grad(scaled)(2.0, w))
    assert mixed(3.0).item() == 10.0


def test_none_is_no_gradient() -> None:
    @cr.custom_gradient
    def half(x, w):
        return x * w, lambda g: (g * w, None)

    gx, gw = cr.grad(lambda x, w: cr.sum(half(x, w)), argnums=(0, 1))(X[0], W)
    np.testing.assert_array_equal(gx, W)
    np.testing.assert_array_equal(gw, np.zeros(2))


def test_forward_mode_is_refused_with_a_mend() -> None:
    with pytest.raises(cr.GradientError, match="reverse mode only") as caught:
        cr.jvp(clipped, [1.0], [1.0])
    assert "cr.vjp or cr.grad" in str(caught.value)


@pytest.mark.parametrize(
    ("pullback", "error", "text"),
    [
        (lambda g: (g, g), cr.GradientError, "2 parts for 1 inputs"),
        (lambda g: cr.sum(g), cr.ShapeError, r"shape \(\) for an input \(3,\)"),
    ],
)
def test_a_pullback_that_does_not_fit_is_told(pullback, error, text: str) -> None:
    broken = cr.custom_gradient(lambda x: (x * 2, pullback))
    with pytest.raises(error, match=text):
        cr.grad(lambda x: cr.sum(broken(x)))(np.ones(3))


@pytest.mark.parametrize("result", [lambda x: x, lambda x: (x, x), lambda x: (x,)])
def test_a_function_without_a_pullback_is_told(result) -> None:
    with pytest.raises(cr.GradientError, match=r"needs \(y, pullback\) from <lambda>"):
        cr.grad(cr.custom_gradient(result))(2.0)


@pytest.mark.parametrize("way", [lambda fn: fn, cr.jit])
def test_what_a_custom_function_captures_is_read(way) -> None:
    fixed = cr.Tensor(W)

    def f(x, w):
        @cr.custom_gradient
        def product(x):
            return x * w * fixed, lambda g: g * w

        return cr.sum(product(x) * 2)

    np.testing.assert_allclose(way(f)(X[0], W), np.sum(X[0] * W * W * 2))
    np.testing.assert_allclose(way(cr.grad(f))(X[0], W), 2 * W)
