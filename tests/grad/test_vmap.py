"""vmap beside a Python loop: axes, per-example gradients, nesting, compositions and errors."""

from __future__ import annotations

import numpy as np
import pytest

import chainrule as cr

rng = np.random.default_rng(0)
X, W, B = rng.normal(size=(5, 3)), rng.normal(size=(3, 2)), rng.normal(size=2)


def loss_fn(params, x, y):
    w, b = params
    return cr.sum((cr.tanh(x @ w + b) - y) ** 2)


def test_per_example_gradients_are_those_of_each_example() -> None:
    y = rng.normal(size=(5, 2))
    per_example = cr.vmap(cr.grad(loss_fn), in_axes=(None, 0, 0))
    for fn in (per_example, cr.jit(per_example)):
        gw, gb = fn((W, B), X, y)
        assert gw.shape == (5, 3, 2) and gb.shape == (5, 2)
        for i in range(5):
            one_w, one_b = cr.grad(loss_fn)((W, B), X[i], y[i])
            np.testing.assert_allclose(gw[i], one_w, rtol=1e-12, atol=1e-14)
            np.testing.assert_allclose(gb[i], one_b, rtol=1e-12, atol=1e-14)
    whole = cr.grad(loss_fn)((W, B), X, y)[0]
    np.testing.assert_allclose(cr.sum(gw, axis=0), whole, rtol=1e-12)


@pytest.mark.parametrize("axis", [0, 1, 2, -1])
def test_a_batch_may_stand_at_any_axis(axis: int) -> None:
    x = rng.normal(size=(4, 3, 5))
    found = cr.vmap(lambda x: cr.sum(x, axis=0) * 2, in_axes=axis)(x).numpy()
    rows = [np.sum(part, axis=0) * 2 for part in np.moveaxis(x, axis, 0)]
    np.testing.assert_allclose(found, np.stack(rows))


def test_a_shared_argument_is_not_batched() -> None:
    found = cr.vmap(lambda x, w: x @ w, in_axes=(0, None))(X, W)
    np.testing.assert_allclose(found, X @ W, rtol=1e-13)


def test_vmap_nests() -> None:
    a, b = rng.normal(size=4), rng.normal(size=3)
    table = cr.vmap(lambda x: cr.vmap(lambda z: x * cr.exp(z))(b))(a)
    np.testing.assert_allclose(table, np.outer(a, np.exp(b)), rtol=1e-14)


def test_a_jacobian_by_vmap_of_the_pullback() -> None:
    def fn(x):
        return cr.tanh(x @ W)

    x = X[0]
    y, pullback = cr.vjp(fn, x)
    rows = cr.vmap(lambda g: pullback(g)[0])(np.eye(2))
    np.testing.assert_allclose(rows, ((1 - y.numpy() ** 2) * W).T, rtol=1e-13)


def test_gradient_of_a_vmapped_function() -> None:
    def fn(w):
        return cr.sum(cr.vmap(lambda x: cr.max(cr.exp(x @ w)))(X))

    assert cr.check_gradient(fn, [W])


def test_results_that_do_not_depend_on_the_batch_are_repeated() -> None:
    a, b = cr.vmap(lambda x: (x, cr.Tensor(np.arange(2.0)) * 3))(X)
    np.testing.assert_array_equal(a, X)
    np.testing.assert_array_equal(b, np.tile([0.0, 3.0], (5, 1)))


def test_trees_go_in_and_come_out() -> None:
    out = cr.vmap(lambda p: {"s": p["a"] + p["b"][0], "n": None})({"a": X, "b": [X * 2]})
    np.testing.assert_allclose(out["s"], X * 3)
    assert out["n"] is None


def test_a_batch_of_convolutions_and_pools() -> None:
    x, k = rng.normal(size=(3, 2, 5, 5, 2)), rng.normal(size=(3, 2, 2, 2, 4))

    def fn(x, k):
        return cr.max_pool2d(cr.conv2d(x, k, padding="same"), 2)

    for axes in ((0, 0), (0, None), (None, 0)):
        given = [a if axis == 0 else a[0] for a, axis in zip((x, k), axes)]
        found = cr.vmap(fn, axes)(*given).numpy()
        for i in range(3):
            one = fn(*[a[i] if axis == 0 else a for a, axis in zip(given, axes)]).numpy()
            np.testing.assert_allclose(found[i], one, rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize(
    ("axes", "arrays", "error", "text"),
    [
        (None, [np.ones(3)], cr.ArgumentError, "nothing batched"),
        ((0,), [np.ones(3), np.ones(3)], cr.ArgumentError, "one entry per argument, got 2"),
        (0, [np.ones((3, 2)), np.ones((4, 2))], cr.ShapeError, r"one batch size, got \[3, 4\]"),
        (0, [np.float64(3)], cr.ShapeError, "needs a batch axis, got a scalar"),
        (2, [np.ones((3, 2))], cr.ChainruleError, "axis"),
    ],
)
def test_what_cannot_be_batched_is_told(axes, arrays, error, text: str) -> None:
    with pytest.raises(error, match=text):
        cr.vmap(lambda *x: x[0], in_axes=axes)(*arrays)


def test_a_branch_on_an_example_is_refused() -> None:
    with pytest.raises(cr.TraceError, match="not known here"):
        cr.vmap(lambda x: x if x > 0 else -x)(np.ones(3))
