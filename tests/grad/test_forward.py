"""Forward mode, and the Hessian products made of both modes."""

from __future__ import annotations

import numpy as np
import pytest

import chainrule as cr

rng = np.random.default_rng(0)
W = rng.normal(size=(4, 4))


def energy(x):
    return cr.sum(cr.tanh(x @ W) ** 2) + cr.log(1 + cr.sum(cr.exp(x)))


def dense_hessian(x: np.ndarray, h: float = 1e-5) -> np.ndarray:
    """Second differences of the value alone; no derivative of chainrule takes part."""
    n = len(x)
    found, eye = np.zeros((n, n)), np.eye(n) * h * 100
    for i in range(n):
        for j in range(n):
            ends = [energy(x + a * eye[i] + b * eye[j]).item() for a in (1, -1) for b in (1, -1)]
            found[i, j] = (ends[0] - ends[1] - ends[2] + ends[3]) / (4 * (h * 100) ** 2)
    return found


def test_hvp_is_the_dense_hessian_times_the_vector() -> None:
    x = rng.normal(size=4) * 0.5
    hessian = dense_hessian(x)
    np.testing.assert_allclose(hessian, hessian.T, atol=1e-6)
    for v in (*np.eye(4), rng.normal(size=4)):
        for fn in (cr.hvp, cr.jit(lambda x, v: cr.hvp(energy, [x], [v]))):
            found = fn(energy, [x], [v]) if fn is cr.hvp else fn(x, v)
            np.testing.assert_allclose(found, hessian @ v, rtol=1e-5, atol=1e-5)


def test_forward_over_reverse_is_reverse_over_reverse() -> None:
    x, v = rng.normal(size=4), rng.normal(size=4)
    twice = cr.grad(lambda x: cr.sum(cr.grad(energy)(x) * v))(x)
    np.testing.assert_allclose(cr.hvp(energy, [x], [v]), twice, rtol=1e-11, atol=1e-13)


def test_forward_over_forward() -> None:
    def along(x):
        return cr.jvp(lambda x: x * x * x, [x], [1.0])[1]

    value, slope = cr.jvp(along, [2.0], [1.0])
    assert (value.item(), slope.item()) == (12.0, 12.0)


def test_tangents_come_in_the_tree_of_the_result() -> None:
    x, v = np.array([1.0, 2.0]), np.array([1.0, -1.0])
    y, moved = cr.jvp(lambda x: {"a": x * x, "b": (cr.sum(x), cr.stop_gradient(x))}, [x], [v])
    np.testing.assert_array_equal(y["a"], x * x)
    np.testing.assert_array_equal(moved["a"], 2 * x * v)
    assert moved["b"][0].item() == 0.0
    np.testing.assert_array_equal(moved["b"][1], np.zeros(2))


def test_a_tangent_of_another_shape_is_refused() -> None:
    with pytest.raises(cr.ShapeError, match=r"tangent of a \(2,\) primal came with shape \(3,\)"):
        cr.jvp(lambda x: x, [np.ones(2)], [np.ones(3)])


def test_a_jacobian_by_vmap_of_tangents() -> None:
    x = rng.normal(size=4)
    columns = cr.vmap(lambda v: cr.jvp(lambda x: cr.tanh(x @ W), [x], [v])[1])(np.eye(4))
    np.testing.assert_allclose(columns, (1 - np.tanh(x @ W) ** 2) * W, rtol=1e-12)


@pytest.mark.parametrize(
    ("primals", "tangents", "text"),
    [
        (np.ones(2), np.ones(2), "a tuple of primals"),
        ((2,), (1.0,), "0 float primals and 1 tangents"),
        ((2.0, 3.0), (1.0,), "2 float primals and 1 tangents"),
    ],
)
def test_what_jvp_cannot_pair_is_told(primals, tangents, text: str) -> None:
    with pytest.raises(cr.ArgumentError, match=text):
        cr.jvp(lambda *xs: xs[0], primals, tangents)
