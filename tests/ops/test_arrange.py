"""Joining, turning, masking and indexing are NumPy's, eager and compiled, with right gradients."""

from __future__ import annotations

import numpy as np
import pytest

import chainrule as cr

X = np.arange(24.0).reshape(2, 3, 4) + 0.5
Z = -np.arange(8.0).reshape(2, 1, 4)

CALLS = {
    "concatenate": lambda m, x: m.concatenate([x, Z, x], 1),
    "concatenate flat": lambda m, x: m.concatenate([x, Z], None),
    "stack": lambda m, x: m.stack([x, x * 2, x, x, x * 3], -1),
    "split equal": lambda m, x: m.split(x, 2, 2)[1],
    "split cuts": lambda m, x: m.split(x, [1, 3], -1)[1],
    "flip": lambda m, x: m.flip(x, (0, 2)),
    "flip all": lambda m, x: m.flip(x),
    "roll": lambda m, x: m.roll(x, (1, -2), (0, 2)),
    "roll flat": lambda m, x: m.roll(x, 5),
    "tile": lambda m, x: m.tile(x, (2, 1, 2)),
    "tile fewer": lambda m, x: m.tile(x, 3),
    "tile more": lambda m, x: m.tile(x, (2, 1, 1, 2)),
    "repeat": lambda m, x: m.repeat(x, 2, 1),
    "repeat flat": lambda m, x: m.repeat(x, 3),
    "repeat each": lambda m, x: m.repeat(x, [2, 0, 1], 1),
    "squeeze": lambda m, x: m.squeeze(m.expand_dims(x, (0, 2, -1)), (0, 2)),
    "triu": lambda m, x: m.triu(x, 1),
    "tril": lambda m, x: m.tril(x, -1),
    "meshgrid": lambda m, x: m.meshgrid(x[0, 0], x[0, :, 0])[0],
    "meshgrid ij": lambda m, x: m.meshgrid(x[0, 0], x[0, :, 0], x[:, 0, 0], indexing="ij")[1],
    "swapaxes": lambda m, x: m.swapaxes(x, 0, -1),
    "moveaxis": lambda m, x: m.moveaxis(x, (0, 1), (-1, 0)),
    "reflect": lambda m, x: m.pad(x, [(0, 0), (2, 1), (3, 0)], mode="reflect"),
    "edge": lambda m, x: m.pad(x, [(1, 0), (2, 5), (0, 0)], mode="edge"),
    "steps": lambda m, x: x[:, ::-2, 3:0:-1],
    "nothing back": lambda m, x: x[:, 0:2:-1],
    "array": lambda m, x: x[:, [2, 0, -1, 0]],
    "array of two axes": lambda m, x: x[0, np.array([[1, 2], [-1, 0]])],
    "arrays together": lambda m, x: x[[0, 1], [2, -1]],
    "arrays apart": lambda m, x: x[[0, 1, 1], :, [2, -1, 0]],
    "array and integer": lambda m, x: x[1, :, [0, 3]],
    "array and new axis": lambda m, x: x[:, None, [0, 2], ::-1],
    "arrays that broadcast": lambda m, x: x[np.array([[0], [1]]), np.array([0, 2, 1])],
    "mask": lambda m, x: x[X > 7],
    "mask of rows": lambda m, x: x[:, np.array([True, False, True])],
    "ellipsis and array": lambda m, x: x[..., [3, 0]],
}


def eager(fn):
    return lambda *x: fn(*map(cr.Tensor, x))


@pytest.fixture(params=[eager, cr.jit], ids=["eager", "compiled"])
def run(request):
    return request.param


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_movement_is_numpys(run, call):
    found = run(lambda x: call(cr, x))(X).numpy()
    np.testing.assert_array_equal(found, call(np, X))


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_movement_has_the_gradient_of_differences(call):
    y = call(np, X)
    if not y.size:
        assert not cr.grad(lambda x: cr.sum(call(cr, x)))(X).numpy().any()
        return
    w = np.random.default_rng(0).normal(size=y.shape)
    loss = lambda x: cr.sum(call(cr, x) ** 2 * w)  # noqa: E731
    assert cr.check_gradient(loss, [X])
    slope = cr.grad(loss)
    np.testing.assert_allclose(cr.jit(slope)(X).numpy(), slope(X).numpy(), rtol=1e-12)
    batch = np.stack([X, X * 2])
    rows = np.stack([slope(x).numpy() for x in batch])
    np.testing.assert_allclose(cr.vmap(slope)(batch).numpy(), rows, rtol=1e-12)


@pytest.mark.parametrize("dtype", ["int32", "bool", "float32", "uint8"])
def test_any_dtype_is_joined(run, dtype):
    x, z = (X > 3).astype(dtype), (X < 9).astype(dtype)
    found = run(lambda x, z: cr.concatenate([x, z, x], 1))(x, z).numpy()
    assert found.dtype == dtype
    np.testing.assert_array_equal(found, np.concatenate([x, z, x], 1))


def test_reversed_views_feed_products_sums_and_numpy_kernels(run):
    a, b = np.random.default_rng(1).normal(size=(2, 33, 33))
    fn = lambda a, b: (  # noqa: E731
        a[::-1] @ b[:, ::-1], cr.sum(a[::-1, ::-2], axis=1), cr.cumsum(a[:, ::-1] * 2, 1),
        a[::-1].reshape(11, 99), cr.max(b[::-1], axis=0), cr.cumsum(b[::-1, ::-3], 0),
    )  # fmt: skip
    wanted = (
        a[::-1] @ b[:, ::-1], np.sum(a[::-1, ::-2], axis=1), np.cumsum(a[:, ::-1] * 2, 1),
        a[::-1].reshape(11, 99), np.max(b, axis=0), np.cumsum(b[::-1, ::-3], 0),
    )  # fmt: skip
    for found, exact in zip(run(fn)(a, b), wanted):
        np.testing.assert_allclose(found.numpy(), exact, rtol=1e-10, atol=1e-12)


def test_traced_integer_reads_a_position():
    found = cr.jit(lambda x, i: x[:, i])(X, cr.Tensor(np.int64(-1)))
    np.testing.assert_array_equal(found.numpy(), X[:, -1])


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda x: x[[0, 2]], cr.ArgumentError, "positions must lie in 0..1, got 2 at [1]"),
        (lambda x: x[[0, -3]], cr.ArgumentError, "positions must lie in 0..1, got -1 at [1]"),
        (lambda x: x[[0, 1], [0, 3]], cr.ArgumentError, "positions must lie in"),
        (lambda x: x[[0, 1], [0, 1, 2]], cr.ShapeError, "shapes that broadcast"),
        (lambda x: x[np.array([True])], cr.ShapeError, "a mask of extent 1 for axis 0"),
        (lambda x: x[0.5], cr.ArgumentError, "an index is an integer"),
        (lambda x: x[np.array([0.5])], cr.ArgumentError, "an index is an integer"),
        (lambda x: x[0, 0, 0, [0]], cr.ArgumentError, "4 indices"),
        (lambda x: cr.concatenate([x, X[:1]], 1), cr.ShapeError, "concatenate along 1"),
        (lambda x: cr.concatenate([x, X.astype("float32")]), cr.DtypeError, "cr.cast"),
        (lambda x: cr.stack([x, X[0]]), cr.ShapeError, "stack needs equal shapes"),
        (lambda x: cr.split(x, 2, 1), cr.ShapeError, "2 equal parts"),
        (lambda x: cr.squeeze(x, 0), cr.ShapeError, "not all extents are 1"),
        (lambda x: cr.pad(x, [(0, 0), (3, 0), (0, 0)], mode="reflect"), cr.ShapeError, "reflect"),
        (lambda x: cr.pad(x, [(0, 0)] * 3, mode="wrap"), cr.ArgumentError, "'edge'"),
        (lambda x: cr.moveaxis(x, (0, 0), (1, 2)), cr.ArgumentError, "each axis once"),
        (lambda x: cr.expand_dims(x, (0, 0)), cr.ArgumentError, "names an axis twice"),
    ],
)
def test_movement_is_refused(call, error, message):
    with pytest.raises(error) as caught:
        call(cr.Tensor(X))
    assert message in str(caught.value)


def test_mask_cannot_be_traced():
    with pytest.raises(cr.TraceError, match=r"cr\.where"):
        cr.jit(lambda x: x[x > 1])(X)
