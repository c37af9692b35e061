"""NumPy's functions given Tensors: recorded or refused, never a gradient silently too small."""

from __future__ import annotations

import numpy as np
import pytest

import chainrule as cr
from chainrule.core.op import NO_GRADIENT, OPS
from chainrule.ops.numpy_functions import RECORDED
from tests.op_checks import arrays_of

X = np.array([[0.5, 1.5, 2.0], [1.0, 0.25, 3.0]])
UFUNCS = [name for name in OPS if isinstance(getattr(np, name, None), np.ufunc)]


@pytest.mark.parametrize("name", UFUNCS)
def test_an_op_of_a_ufuncs_name_has_its_meaning_and_stands_for_it(name) -> None:
    function, op = getattr(np, name), OPS[name]
    assert function in RECORDED and function.nin == len(op.samples[0].args)
    arrays = arrays_of(op, op.samples[0])
    np.testing.assert_array_equal(function(*arrays), op.ref(*np.broadcast_arrays(*arrays)))
    with cr.record():
        found = function(*map(cr.Tensor, arrays))
        assert isinstance(found, cr.Tensor)
    np.testing.assert_array_equal(found, function(*arrays))
    if op.deriv is not NO_GRADIENT and found.dtype.kind == "f":
        assert cr.check_gradient(lambda *x: cr.sum(function(*x)), arrays)
        mixed = lambda x: cr.sum(function(x, *arrays[1:]))  # noqa: E731
        assert cr.check_gradient(mixed, arrays[:1])


CALLS = [
    lambda x: np.argmax(x, axis=1),
    lambda x: np.argmin(x),
    lambda x: np.argsort(x, 0),
    lambda x: np.count_nonzero(x > 1, axis=0, keepdims=True),
    lambda x: np.all(x > 0) & np.any(x > 2),
    lambda x: np.prod(x, axis=0),
    lambda x: np.std(x, 1, keepdims=True),
    lambda x: np.cumsum(x, 1) + np.cumprod(x, axis=1),
    lambda x: np.sort(x, axis=0),
    lambda x: np.take(x, [4, 0]) + np.take(x, [0, 2], axis=1),
    lambda x: np.take_along_axis(x, np.array([[0], [2]]), 1),
    lambda x: np.concatenate([x, x * x], axis=1),
    lambda x: np.stack((x, x), -1),
    lambda x: np.split(x, 3, axis=1),
    lambda x: np.flip(np.roll(x, 1, axis=1)),
    lambda x: np.tile(x, 2),
    lambda x: np.repeat(x, 2, axis=0),
    lambda x: np.squeeze(np.expand_dims(x, 0), axis=0),
    lambda x: np.triu(x, k=1) + np.tril(x),
    lambda x: np.meshgrid(x[0], x[1], indexing="ij"),
    lambda x: np.swapaxes(np.moveaxis(x, 0, 1), 0, 1),
    lambda x: np.clip(x, 0.75, 2.5),
    lambda x: np.einsum("ij,kj->ik", x, x),
    lambda x: np.tensordot(x, x, axes=([0, 1], [0, 1])),
    lambda x: np.linalg.norm(x) + np.linalg.norm(x, axis=1) + np.linalg.norm(x, 3, 1),
    lambda x: np.linalg.inv(x[:, :2]) @ np.linalg.solve(x[:, 1:], x),
    lambda x: np.linalg.slogdet(x[:, :2])[1],
    lambda x: np.linalg.cholesky(x @ x.T),
]


@pytest.mark.parametrize("call", CALLS)
def test_a_call_of_numpy_gives_the_same_recorded(call) -> None:
    wanted, found = call(X), cr.jit(call)(X)
    parts = list(wanted) if isinstance(wanted, list | tuple) else [wanted]
    for y, z in zip(cr.flatten(found)[0], parts, strict=True):
        assert y.dtype == z.dtype
        np.testing.assert_allclose(y, z, rtol=1e-12)
    if parts[0].dtype.kind == "f":
        total = lambda x: sum(cr.sum(y * y) for y in cr.flatten(call(x))[0])  # noqa: E731
        assert cr.check_gradient(total, [X])


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
    [
        np.cbrt,
        np.median,
        np.add.reduce,
        lambda x: np.sum(x, initial=1.0),
        lambda x: np.sum(x, 0, np.float64),
        lambda x: np.linalg.norm(x, 1),
        lambda x: np.sin(x, dtype=np.float64),
    ],
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
