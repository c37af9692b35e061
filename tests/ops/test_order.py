"""Order, linear algebra and draws: NumPy's values, right gradients, right distributions."""

from __future__ import annotations

import math
import re

import numpy as np
import pytest

import chainrule as cr

RNG = np.random.default_rng(8)
X = RNG.normal(size=(3, 4, 5))
TIES = np.array([[2, 1, 2, 1, 3], [0, 0, 0, 0, 0]])


@pytest.fixture(params=[lambda fn: fn, cr.jit], ids=["eager", "compiled"])
def run(request):
    return request.param


@pytest.mark.parametrize("axis", [0, 1, -1])
@pytest.mark.parametrize("descending", [False, True])
def test_sort_is_numpys(run, axis, descending):
    found = run(lambda x: cr.sort(x, axis, descending))(X).numpy()
    wanted = np.sort(X, axis)
    np.testing.assert_array_equal(found, np.flip(wanted, axis) if descending else wanted)
    w = RNG.normal(size=X.shape)
    assert cr.check_gradient(lambda x: cr.sum(cr.sort(x, axis, descending) ** 2 * w), [X])


def test_ties_keep_their_order(run):
    found = run(lambda x: cr.argsort(x, descending=True))(TIES).numpy()
    np.testing.assert_array_equal(found, [[4, 0, 2, 1, 3], [0, 1, 2, 3, 4]])
    found = run(cr.argsort)(TIES).numpy()
    np.testing.assert_array_equal(found, np.argsort(TIES, kind="stable"))
    values, ids = run(lambda x: cr.top_k(x, 2))(TIES)
    assert values.numpy().tolist() == [[3, 2], [0, 0]] and ids.numpy().tolist() == [[4, 0], [0, 1]]


def test_top_k_passes_gradients_to_the_largest(run):
    g = run(cr.grad(lambda x: cr.sum(cr.top_k(x, 2, 0)[0])))(X).numpy()
    np.testing.assert_array_equal(g, np.sort(X, 0)[-2] <= X)


@pytest.mark.parametrize("axis", [0, 1, -1])
def test_take_along_axis_is_numpys(run, axis):
    ids = RNG.integers(-3, 3, (3, 4, 5))
    found = run(lambda x, i: cr.take_along_axis(x, i, axis))(X, ids).numpy()
    np.testing.assert_array_equal(found, np.take_along_axis(X, ids, axis))
    assert cr.check_gradient(lambda x: cr.sum(cr.take_along_axis(x, ids, axis) ** 2), [X])
    rows = np.stack([np.take_along_axis(x, i, -1) for x, i in zip(X, ids)])
    np.testing.assert_array_equal(cr.vmap(cr.take_along_axis)(X, ids).numpy(), rows)
    with pytest.raises(cr.ArgumentError, match="positions must lie"):
        cr.take_along_axis(X, np.full((3, 4, 5), 5), axis)


def test_segment_sum_adds_rows_of_one_id(run):
    ids = np.array([2, 0, 2])
    found = run(lambda x: cr.segment_sum(x, ids, 4))(X).numpy()
    np.testing.assert_allclose(found, [X[1], 0 * X[0], X[0] + X[2], 0 * X[0]])


A = RNG.normal(size=(2, 3, 3)) + 2 * np.eye(3)
SPD = A @ A.swapaxes(-1, -2) + np.eye(3)


def test_linear_algebra_is_numpys(run):
    b = RNG.normal(size=(2, 3, 4))
    pairs = [
        (cr.solve, (A, b), np.linalg.solve(A, b)),
        (cr.solve, (A[0], b[0, :, 0]), np.linalg.solve(A[0], b[0, :, 0])),
        (cr.solve, (A[0], b), np.linalg.solve(A[0], b)),
        (cr.inv, (A,), np.linalg.inv(A)),
        (cr.cholesky, (SPD,), np.linalg.cholesky(SPD)),
        (lambda x: cr.slogdet(x)[0], (-A,), np.linalg.slogdet(-A)[0]),
        (lambda x: cr.slogdet(x)[1], (-A,), np.linalg.slogdet(-A)[1]),
        (cr.norm, (X,), np.linalg.norm(X.ravel())),
        (lambda x: cr.norm(x, 1), (X,), np.linalg.norm(X, axis=1)),
        (lambda x: cr.norm(x, -1, ord=1), (X,), np.linalg.norm(X, 1, axis=-1)),
        (lambda x: cr.norm(x, 0, True, np.inf), (X,), np.linalg.norm(X, np.inf, 0, True)),
    ]
    for fn, args, wanted in pairs:
        found = run(lambda *x: fn(*x))(*args).numpy()  # noqa: B023
        np.testing.assert_allclose(found, wanted, rtol=1e-10)


@pytest.mark.parametrize(
    "fn",
    [
        lambda x: cr.cholesky(x @ cr.swapaxes(x, -1, -2) + np.eye(3)), cr.inv,
        lambda x: cr.slogdet(x)[1], lambda x: cr.solve(x, x[..., :2] ** 2),
        *(lambda x, p=p: cr.norm(x, 1, ord=p) for p in (1, 2, 3, 1.5, np.inf, -np.inf)),
    ],
    ids="cholesky inv slogdet solve 1 2 3 1.5 inf -inf".split(),
)  # fmt: skip
def test_linear_algebra_has_gradients_of_two_orders_and_a_forward_mode(fn):
    w = RNG.normal(size=fn(cr.Tensor(A)).shape)
    loss = lambda x: cr.sum(fn(x) * w)  # noqa: E731
    slope = cr.grad(loss)
    v = RNG.normal(size=A.shape)
    assert cr.check_gradient(loss, [A])
    assert cr.check_gradient(lambda x: cr.sum(slope(x) * v), [A])
    moved = cr.jvp(loss, [A], [v])[1].item()
    assert math.isclose(moved, np.sum(slope(A).numpy() * v), rel_tol=1e-9)


@pytest.mark.parametrize("ord", [0, 1, 2, 3, 0.5, 1.5, np.inf, -np.inf])
@pytest.mark.parametrize("axis", [0, -1])
def test_norm_is_numpys(ord, axis):
    x = np.where(RNG.uniform(size=(3, 4)) < 0.2, 0, RNG.normal(size=(3, 4)))
    for keepdims in (False, True):
        found = cr.norm(x, axis, keepdims, ord)
        np.testing.assert_allclose(found, np.linalg.norm(x, ord, axis, keepdims), rtol=1e-12)
    np.testing.assert_allclose(cr.norm(x, ord="fro"), np.linalg.norm(x, "fro"), rtol=1e-12)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: cr.inv(np.zeros((2, 2))), cr.ArgumentError, "Singular"),
        (lambda: cr.cholesky(-np.eye(2)), cr.ArgumentError, "not positive definite"),
        (lambda: cr.inv(np.ones((2, 3))), cr.ShapeError, "square matrices"),
        (lambda: cr.solve(np.eye(2), np.ones((3, 1))), cr.ShapeError, "as many rows"),
        (lambda: cr.norm(X, ord=-1), cr.ArgumentError, "ord is a number > 0, 0, infinity"),
        (lambda: cr.norm(X, ord="nuc"), cr.ArgumentError, "'nuc' along 3 axes"),
        (lambda: cr.norm(X, 0, ord="fro"), cr.ArgumentError, "'fro' along 1 axes"),
        (lambda: cr.norm(np.arange(3)), cr.DtypeError, "norm of int64"),
        (lambda: cr.top_k(X, 6), cr.ArgumentError, "top_k of 6"),
        (lambda: cr.randint(cr.key(0), (2,), 3, 3), cr.ArgumentError, "randint"),
    ],
)
def test_argument_outside_of_the_domain_is_refused(call, error, message):
    with pytest.raises(error) as caught:
        call()
    assert re.search(message, caught.value.message)  # the whole text would show this file's line


KEY = cr.key(3)
COUNT = 40_000


def cumulative(x):
    return 0.5 * (1 + np.array([math.erf(v / math.sqrt(2)) for v in x]))


def kolmogorov(drawn, distribution):
    """The largest distance between the drawn and the wanted distribution function."""
    return np.max(np.abs(distribution(np.sort(drawn)) - (np.arange(COUNT) + 0.5) / COUNT))


def test_normal_draws_are_normal(run):
    drawn = run(lambda key: cr.normal(key, (COUNT,)))(KEY).numpy()
    assert drawn.dtype == np.float32
    assert kolmogorov(drawn, cumulative) < 1.95 / math.sqrt(COUNT)  # exceeded once in 1000
    moved = run(lambda key: cr.normal(key, (COUNT,), 5.0, 2.0))(KEY).numpy()
    np.testing.assert_allclose(moved, drawn * 2 + 5, rtol=1e-5)


def test_truncated_draws_are_normal_between_the_ends(run):
    drawn = run(lambda key: cr.truncated_normal(key, (COUNT,), low=-1.0, high=3.0))(KEY).numpy()
    assert drawn.min() >= -1 and drawn.max() <= 3
    low, high = cumulative([-1, 3])
    between = lambda x: (cumulative(x) - low) / (high - low)  # noqa: E731
    assert kolmogorov(drawn, between) < 1.95 / math.sqrt(COUNT)


def test_classes_are_drawn_with_their_probability(run):
    logits = np.float32([0.0, 1.0, -1.0, -np.inf])
    rows = np.broadcast_to(logits, (COUNT, 4))
    drawn = run(lambda key, x: cr.categorical(key, x))(KEY, rows).numpy()
    wanted = np.exp(logits) / np.exp(logits).sum()
    np.testing.assert_allclose(np.bincount(drawn, minlength=4) / COUNT, wanted, atol=0.01)


def test_integers_are_even_and_within_their_range(run):
    drawn = run(lambda key: cr.randint(key, (COUNT,), -3, 4))(KEY).numpy()
    assert drawn.dtype == np.int64 and drawn.min() == -3 and drawn.max() == 3
    np.testing.assert_allclose(np.bincount(drawn + 3) / COUNT, 1 / 7, atol=0.01)


def test_permutation_holds_everything_once(run):
    drawn = run(lambda key: cr.permutation(key, 100))(KEY).numpy()
    assert sorted(drawn) == list(range(100)) and list(drawn) != list(range(100))
    rows = run(lambda key, x: cr.permutation(key, x))(KEY, np.arange(100) * 2).numpy()
    np.testing.assert_array_equal(rows, drawn * 2)


def test_draws_in_a_batch_of_keys_are_those_of_each_key():
    keys = np.stack([cr.key(i).numpy() for i in range(3)])
    for draw in (cr.normal, cr.truncated_normal, lambda k, s: cr.randint(k, s, 0, 9)):
        rows = np.stack([draw(cr.Tensor(k), (4,)).numpy() for k in keys])
        found = cr.vmap(lambda k: draw(k, (4,)))(keys).numpy()  # noqa: B023
        np.testing.assert_array_equal(found, rows)
