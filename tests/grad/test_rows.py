"""`Rows`: what keeps the form, what makes it dense, and which gradients come in it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule.core.tensor import Tensor
from chainrule.grad.reverse import grad, value_and_grad
from chainrule.grad.rows import Rows

TABLE = np.arange(1, 25, dtype=np.float32).reshape(8, 3) / 10
IDS = np.array([5, 1, 5])
VALUES = np.float32([[1, -2, 3], [4, 5, -6], [0.5, 0.5, 0.5]])


def made(ids: Any = IDS, values: Any = VALUES) -> Rows:
    return Rows(ids, values, (8, 3))


def dense(ids: Any = IDS, values: Any = VALUES) -> np.ndarray:
    whole = np.zeros((8, 3), np.float32)
    np.add.at(whole, ids, values)
    return whole


KEEPS: dict[str, tuple[Callable, Callable]] = {
    "sum": (lambda g: g + made([0, 1], VALUES[:2]), lambda w: w + dense([0, 1], VALUES[:2])),
    "difference": (lambda g: g - made([0], VALUES[:1]), lambda w: w - dense([0], VALUES[:1])),
    "number": (lambda g: 2.5 * g, lambda w: 2.5 * w),
    "tensor of one number": (lambda g: g * Tensor(np.float32(2.5)), lambda w: 2.5 * w),
    "quotient": (lambda g: g / 4, lambda w: w / 4),
    "negative": (lambda g: -g, lambda w: -w),
    "cast": (lambda g: g.astype("float64"), lambda w: w.astype("float64")),
    "clip": (lambda g: g.clip(-2, 1.25), lambda w: np.clip(w, -2, 1.25)),
    "summed": (lambda g: g.sum_rows(), lambda w: w),
    "tree": (lambda g: cr.tree_map(lambda leaf: leaf, g), lambda w: w),
}
SPREADS: dict[str, tuple[Callable, Callable]] = {
    "with a tensor": (lambda g: g + Tensor(TABLE), lambda w: w + TABLE),
    "to a tensor": (lambda g: Tensor(TABLE) + g, lambda w: w + TABLE),
    "from a tensor": (lambda g: Tensor(TABLE) - g, lambda w: TABLE - w),
    "from a number": (lambda g: 1.0 - g, lambda w: 1.0 - w),
    "less a number": (lambda g: g - 1.0, lambda w: w - 1.0),
    "product": (lambda g: g * Tensor(TABLE), lambda w: w * TABLE),
    "square": (lambda g: g * g, lambda w: w * w),
    "quotient of tensors": (lambda g: g / Tensor(TABLE), lambda w: w / TABLE),
    "an op": (cr.exp, np.exp),
    "a matrix product": (lambda g: cr.matmul(Tensor(TABLE.T), g), lambda w: TABLE.T @ w),
}


@pytest.mark.parametrize("name", KEEPS)
def test_what_keeps_rows_rows_is_right(name: str) -> None:
    op, wanted = KEEPS[name]
    found = op(made())
    assert isinstance(found, Rows) and found.shape == (8, 3)
    np.testing.assert_allclose(found.numpy(), wanted(dense()), rtol=1e-6)
    assert found.dtype == found.numpy().dtype


@pytest.mark.parametrize("name", SPREADS)
def test_what_makes_rows_dense_is_right(name: str) -> None:
    op, wanted = SPREADS[name]
    found = op(made())
    assert isinstance(found, Tensor)
    np.testing.assert_allclose(found.numpy(), wanted(dense()), rtol=1e-6)


def test_norms_add_the_rows_of_an_id_first() -> None:
    g = made()
    assert g.norm().item() == pytest.approx(np.linalg.norm(dense()))
    assert g.square_sum().item() == pytest.approx(np.sum(dense() ** 2))
    summed = g.sum_rows()
    np.testing.assert_array_equal(summed.values.numpy()[2], 0)
    assert summed.sum_rows() is summed
    np.testing.assert_array_equal(np.asarray(g), dense())


def test_rows_of_nothing_are_zero() -> None:
    g = Rows(np.zeros(0, np.int64), np.zeros((0, 3), np.float32), (8, 3))
    assert g.norm().item() == 0 and not g.numpy().any()
    np.testing.assert_array_equal((g + made()).numpy(), dense())


def test_rows_that_fit_no_table_are_refused() -> None:
    with pytest.raises(cr.DtypeError, match="Rows needs integer ids, got float32"):
        Rows(np.float32([1]), VALUES[:1], (8, 3))
    with pytest.raises(cr.ShapeError, match=r"of a table \(8, 3\) needs ids \(n,\) and values"):
        Rows([1, 2], VALUES, (8, 3))
    with pytest.raises(cr.ShapeError, match="one shape and dtype"):
        made() + Rows([0], np.ones((1, 3), np.float32), (9, 3))
    with pytest.raises(cr.ArgumentError, match=r"positions must lie in 0\.\.7, got 8"):
        made([8, 0, 0]).dense()
    with pytest.raises(cr.ArgumentError, match="clip of Rows needs low <= 0 <= high"):
        made().clip(1, 2)


def squares(table: Any, ids: Any) -> Tensor:
    return cr.sum(cr.take(table, ids) ** 2)


READS: dict[str, Callable] = {
    "take": lambda t, i: cr.sum(cr.take(t, i) ** 2),
    "index": lambda t, i: cr.sum(t[i] ** 3),
    "two": lambda t, i: cr.sum(cr.take(t, i) ** 2) + cr.sum(t[i[:1]]),
    "matrix of ids": lambda t, i: cr.sum(cr.take(t, cr.reshape(i, (3, 1))) ** 2),
    "one id": lambda t, i: cr.sum(cr.take(t, i[0]) ** 2),
}


@pytest.mark.parametrize("name", READS)
@pytest.mark.parametrize("jitted", [False, True])
def test_a_table_that_take_alone_reads_has_rows_as_its_gradient(name: str, jitted: bool) -> None:
    slope = grad(READS[name], rows=True)
    ids = IDS if name != "two" else IDS[:2]
    found = (cr.jit(slope) if jitted else slope)(TABLE, ids)
    assert isinstance(found, Rows)
    np.testing.assert_allclose(found.numpy(), grad(READS[name])(TABLE, ids).numpy(), rtol=1e-6)


WHOLE: dict[str, Callable] = {
    "read otherwise too": lambda t, i: squares(t, i) + cr.sum(t * t),
    "along another axis": lambda t, i: cr.sum(cr.take(t, i[1:2], axis=1) ** 2),
    "changed before": lambda t, i: squares(t * 2, i),
    "too many ids": lambda t, i: squares(t, cr.concatenate([i, i])),
    "not at all": lambda t, i: cr.sum(cr.take(Tensor(TABLE), i)) + 0 * cr.sum(t),
}


@pytest.mark.parametrize("name", WHOLE)
def test_any_other_table_has_a_dense_gradient(name: str) -> None:
    found = grad(WHOLE[name], rows=True)(TABLE, IDS)
    assert isinstance(found, Tensor)
    np.testing.assert_allclose(found.numpy(), grad(WHOLE[name])(TABLE, IDS).numpy(), rtol=1e-6)


def test_gradients_are_dense_unless_rows_are_asked_for() -> None:
    assert isinstance(grad(squares)(TABLE, IDS), Tensor)
    loss, grads = value_and_grad(lambda p: squares(p["t"], IDS) + p["b"] ** 2, rows=True)(
        {"t": TABLE, "b": np.float32(3)}
    )
    assert loss.item() == pytest.approx(np.sum(TABLE[IDS] ** 2) + 9, rel=1e-6)
    assert isinstance(grads["t"], Rows) and grads["b"].item() == 6


def test_the_gradient_of_a_norm_of_rows_is_that_of_the_dense_norm() -> None:
    found = grad(lambda t: grad(squares, rows=True)(t, IDS).square_sum())(TABLE)
    wanted = grad(lambda t: cr.sum(grad(squares)(t, IDS) ** 2))(TABLE)
    np.testing.assert_allclose(found.numpy(), wanted.numpy(), rtol=1e-6)


@pytest.mark.parametrize("make", [cr.optim.SGD, cr.optim.Adam, cr.optim.Muon])
def test_an_optimiser_alone_takes_rows_as_the_dense_gradient(make: Callable) -> None:
    params = {"t": Tensor(TABLE)}
    for opt in (make(0.1), cr.optim.Accumulate(cr.optim.ClipByGlobalNorm(make(0.1), 1.0), 1)):
        found, _ = opt.update(params, {"t": made()}, opt.init(params))
        wanted, _ = opt.update(params, {"t": Tensor(dense())}, opt.init(params))
        np.testing.assert_allclose(found["t"].numpy(), wanted["t"].numpy(), rtol=1e-6)
