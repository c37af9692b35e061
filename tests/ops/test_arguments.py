"""Axes, shapes and positions: taken as NumPy takes them, refused by errors of ours."""

from __future__ import annotations

import numpy as np
import pytest

import chainrule as cr

X = cr.Tensor(np.arange(6, dtype="float32").reshape(2, 3))
NUMPY_INT = np.int64(1)


@pytest.mark.parametrize(
    ("call", "wanted"),
    [
        (lambda: cr.sum(X, axis=NUMPY_INT), (2,)),
        (lambda: cr.max(X, axis=-2, keepdims=True), (1, 3)),
        (lambda: cr.mean(X, axis=(-1, 0)), ()),
        (lambda: cr.reshape(X, np.int64(6)), (6,)),
        (lambda: cr.reshape(X, 3, -1), (3, 2)),
        (lambda: X.reshape((1, np.int64(6))), (1, 6)),
        (lambda: cr.transpose(X, (-1, NUMPY_INT - 1)), (3, 2)),
        (lambda: cr.expand_dims(X, -1), (2, 3, 1)),
        (lambda: cr.take(X, [2, 0, 1, 1], axis=-1), (2, 4)),
        (lambda: cr.take(X, 1), (3,)),
        (lambda: X.T, (3, 2)),
    ],
)
def test_argument_is_taken(call, wanted):
    assert call().shape == wanted


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: cr.sum(X, axis=2), cr.ArgumentError, "axis 2 is out of range for 2 axes"),
        (lambda: cr.transpose(X, (0, 3)), cr.ArgumentError, "axis 3 is out of range"),
        (lambda: cr.transpose(X, (0, 0)), cr.ShapeError, "each axis of (2, 3) once"),
        (lambda: cr.expand_dims(X, 4), cr.ArgumentError, "axis 4 is out of range for 3 axes"),
        (lambda: cr.take(X, [0], axis=2), cr.ArgumentError, "axis 2 is out of range"),
        (lambda: cr.take(X, [0, 2]), cr.ArgumentError, "positions must lie in 0..1, got 2 at [1]"),
        (lambda: cr.take(X, [-1]), cr.ArgumentError, "positions must lie in 0..1, got -1"),
        (lambda: cr.take(X, [0.5]), cr.DtypeError, "integer positions"),
        (lambda: cr.take(X, [2]), cr.ArgumentError, "mend: a table of more rows than 2"),
        (lambda: cr.normal(0, (2,)), cr.ShapeError, "mend: cr.key(0) first, then the shape"),
        (lambda: bool(X), cr.ShapeError, "one element, got shape (2, 3)"),
        (lambda: cr.reshape(X, (-2, -3)), cr.ShapeError, "keeps the number of elements"),
        (lambda: cr.reshape(X, 4, -1), cr.ShapeError, "-1 stands for no whole number"),
        (lambda: cr.broadcast_to(X, (4, 3)), cr.ShapeError, "does not broadcast to (4, 3)"),
        (lambda: cr.pad(X, [(0, 1)]), cr.ArgumentError, "(before, after) per axis"),
        (lambda: cr.pad(X, [(0, -1), (0, 0)]), cr.ShapeError, "widths >= 0"),
        (lambda: X @ X, cr.ShapeError, "columns of a == rows of b, got (2, 3) @ (2, 3)"),
        (lambda: X @ 2.0, cr.ShapeError, "an axis in each"),
        (lambda: cr.contract(X, X, spec="ij,jk"), cr.ArgumentError, "reads 'ij,jk->ik'"),
        (lambda: cr.contract(X, X, spec="ii,ij->ij"), cr.ArgumentError, "stands twice"),
        (lambda: cr.contract(X, X, spec="ij,kl->ik"), cr.ArgumentError, "in one place only"),
        (lambda: cr.max(np.ones((0, 2)), axis=0), cr.ShapeError, "of no elements"),
        (lambda: cr.mean(np.ones((0, 2))), cr.ShapeError, "of no elements"),
        (lambda: cr.mean([1, 2]), cr.DtypeError, "cr.cast(x, 'float32')"),
        (lambda: X + np.ones((3, 2), "float32"), cr.ShapeError, "(2, 3) and (3, 2)"),
        (lambda: cr.exp([1, 2]), cr.DtypeError, "exp needs float inputs, got int64"),
        (lambda: cr.exp(X, X), cr.ArgumentError, "exp takes 1 tensors, got 2"),
        (lambda: cr.maximum(X), cr.ArgumentError, "maximum takes 2 tensors, got 1"),
        (lambda: cr.where(X, X, X), cr.DtypeError, "needs bool here"),
    ],
)
def test_argument_is_refused(call, error, message):
    with pytest.raises(error) as caught:
        call()
    assert message in str(caught.value)
    assert "test_arguments.py" in str(caught.value)


def test_leading_axes_of_a_product_must_broadcast():
    with pytest.raises(cr.ShapeError, match=r"\(2, 3, 4\) @ \(3, 4, 5\)"):
        np.ones((2, 3, 4)) @ cr.Tensor(np.ones((3, 4, 5)))


@pytest.mark.parametrize(
    "shapes",
    [((3,), (3,)), ((2, 3), (3,)), ((3,), (3, 4)), ((5, 2, 3), (3, 4)), ((3,), (5, 3, 2)),
     ((5, 2, 3), (5, 3, 4)), ((5, 1, 2, 3), (4, 3, 2)), ((2, 3), (5, 3, 2))],
    ids=str,
)  # fmt: skip
def test_matmul_is_numpys(shapes):
    rng = np.random.default_rng(0)
    a, b = (rng.normal(size=shape) for shape in shapes)
    np.testing.assert_allclose(cr.matmul(a, b).numpy(), a @ b, rtol=1e-12)
    np.testing.assert_allclose(cr.jit(cr.matmul)(a, b).numpy(), a @ b, rtol=1e-12)


@pytest.mark.parametrize("dtype", ["uint8", "int8", "int32", "int64"])
def test_batched_positions_are_counted_in_wide_integers(dtype):
    x, ids = np.arange(800.0).reshape(8, 100), np.full((8, 1), 99, dtype)
    found = cr.vmap(cr.take)(x, ids).numpy()
    np.testing.assert_array_equal(found[:, 0], x[:, 99])


@pytest.mark.parametrize("bad", [-1, 3])
def test_batched_position_out_of_range_does_not_read_another_example(bad):
    x, ids = np.ones((2, 3)), np.array([[0], [0]])
    for example in range(2):
        wrong = ids.copy()
        wrong[example] = bad
        with pytest.raises(cr.ArgumentError, match="positions must lie in"):
            cr.vmap(cr.take)(x, wrong)
        with pytest.raises(cr.ArgumentError, match="positions must lie in"):
            cr.vmap(cr.grad(lambda x, i: cr.sum(cr.take(x, i))))(x, wrong)


@pytest.mark.parametrize("ids", [[0], [[0, 1], [1, 0]], 1], ids=str)
def test_positions_of_any_shape_are_taken_in_batches(ids):
    x = np.arange(24.0).reshape(4, 2, 3)
    ids = np.asarray(ids)
    batch = np.stack([ids, 1 - ids, ids, ids])
    for fn in (lambda x, i: cr.take(x, i), cr.grad(lambda x, i: cr.sum(cr.take(x, i) ** 2))):
        found = cr.vmap(fn)(x, batch).numpy()
        loop = [fn(*row).numpy() for row in zip(x, batch)]
        np.testing.assert_array_equal(found, np.stack(loop))
