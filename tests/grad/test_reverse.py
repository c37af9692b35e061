"""Reverse mode: depth, shared values, nesting, what is differentiated and what is refused."""

from __future__ import annotations

import numpy as np
import pytest

import chainrule as cr


def test_a_chain_of_ten_thousand_ops_differentiates() -> None:
    def chain(x):
        for _ in range(5_000):
            x = x * 1.0001 + 0.0001
        return x

    value, slope = cr.value_and_grad(chain)(np.float64(1.0))
    assert value.item() == pytest.approx(2 * 1.0001**5_000 - 1, rel=1e-10)
    assert slope.item() == pytest.approx(1.0001**5_000, rel=1e-10)


def test_a_value_used_twice_adds_its_gradients() -> None:
    x = np.array([1.0, 2.0, 3.0])
    g = cr.grad(lambda x: cr.sum(x * x + 3 * x - x))(x)
    np.testing.assert_allclose(g, 2 * x + 2, rtol=1e-15)


def test_a_shared_intermediate_adds_its_gradients() -> None:
    def fn(x):
        h = cr.exp(x)
        return cr.sum(h * cr.tanh(h)) + cr.sum(h)

    assert cr.check_gradient(fn, [np.array([-1.0, 0.3, 0.7])])


def test_many_uses_of_one_value_cost_no_more_than_their_number() -> None:
    def fn(x):
        for _ in range(60):
            x = x + x
        return x

    assert cr.grad(fn)(np.float64(1.0)).item() == 2.0**60


@pytest.mark.parametrize(("order", "value"), [(1, 5 * 16), (2, 20 * 8), (3, 60 * 4), (4, 120 * 2)])
def test_gradients_of_gradients(order: int, value: float) -> None:
    def fn(x):
        return x * x * x * x * x

    for _ in range(order):
        fn = cr.grad(fn)
    assert fn(2.0).item() == pytest.approx(value, rel=1e-6)
    assert cr.jit(fn)(2.0).item() == pytest.approx(value, rel=1e-6)


def test_third_order_of_functions_whose_derivative_is_their_output() -> None:
    third = cr.grad(cr.grad(cr.grad(lambda x: cr.tanh(x) + cr.exp(x) + cr.sigmoid(x))))
    x = 0.4
    t, s, e = np.tanh(x), 1 / (1 + np.exp(-x)), np.exp(x)
    wanted = (-2 + 8 * t**2 - 6 * t**4) + e + s * (1 - s) * (1 - 6 * s + 6 * s**2)
    assert third(np.float64(x)).item() == pytest.approx(wanted, rel=1e-12)


def test_an_inner_gradient_sees_the_outer_variable() -> None:
    def fn(x):
        return x * cr.grad(lambda y: x * y * y)(x)  # x * 2 x^2

    assert cr.grad(fn)(3.0).item() == pytest.approx(54.0)


def test_an_outer_variable_is_constant_to_the_inner_gradient() -> None:
    def fn(x):
        return cr.grad(lambda y: x + y)(1.0) * x

    assert cr.grad(fn)(3.0).item() == 1.0


def test_argnums_choose_arguments() -> None:
    def fn(a, b, c):
        return cr.sum(a * b) + cr.sum(c)

    a, b, c = np.ones(2), np.full(2, 3.0), np.ones(4)
    np.testing.assert_array_equal(cr.grad(fn, argnums=1)(a, b, c), a)
    ga, gc = cr.grad(fn, argnums=(0, 2))(a, b, c)
    np.testing.assert_array_equal(ga, b)
    np.testing.assert_array_equal(gc, np.ones(4))


def test_argnums_out_of_range_are_told() -> None:
    with pytest.raises(cr.ArgumentError, match="argnums 2 needs more than 1 arguments"):
        cr.grad(lambda x: x, argnums=2)(1.0)
    with pytest.raises(cr.GradientError, match=r"model\.build_for\(x\.shape\) for a model"):
        cr.grad(lambda layer: cr.sum(layer(np.ones((2, 3)))))(cr.nn.Dense(1))
    with pytest.raises(cr.ArgumentError, match="needs the places of arguments, got 'x'"):
        cr.grad(lambda x: x, argnums="x")(1.0)


def test_gradients_come_in_the_tree_of_the_argument() -> None:
    params = {"w": [np.ones((2, 2)), (np.ones(3), None)], "n": 3, "b": np.array(2.0)}
    g = cr.grad(lambda p: cr.sum(p["w"][0]) * p["n"] + p["b"] * cr.sum(p["w"][1][0]))(params)
    assert list(g) == ["b", "n", "w"] and g["n"] is None and g["w"][1][1] is None
    np.testing.assert_array_equal(g["w"][0], np.full((2, 2), 3.0))
    np.testing.assert_array_equal(g["w"][1][0], np.full(3, 2.0))
    assert g["b"].item() == 3.0


def test_what_is_not_used_has_gradient_zero() -> None:
    used, unused = cr.grad(lambda a, b: cr.sum(a), argnums=(0, 1))(np.ones(2), np.ones((2, 3)))
    np.testing.assert_array_equal(used, np.ones(2))
    np.testing.assert_array_equal(unused, np.zeros((2, 3)))


def test_has_aux_carries_values_along() -> None:
    def fn(x):
        h = cr.exp(x)
        return cr.sum(h), {"h": h, "text": "seen", "count": 3}

    x = np.array([0.0, 1.0])
    (loss, aux), g = cr.value_and_grad(fn, has_aux=True)(x)
    assert loss.item() == pytest.approx(1 + np.e) and (aux["text"], aux["count"]) == ("seen", 3)
    np.testing.assert_allclose(aux["h"], np.exp(x))
    np.testing.assert_allclose(g, np.exp(x))
    alone, aux = cr.grad(fn, has_aux=True)(x)
    np.testing.assert_array_equal(alone, g)
    assert cr.sum(aux["h"]).item() == loss.item(), "what comes out is an ordinary tensor"


def test_closures_are_constants() -> None:
    factor = cr.Tensor(np.array([2.0, 3.0]))

    def fn(x):
        return cr.sum(x * factor)

    np.testing.assert_array_equal(cr.grad(fn)(np.ones(2)), factor)


def test_keyword_arguments_go_through() -> None:
    g = cr.grad(lambda x, *, factor: cr.sum(x * factor))(np.ones(2), factor=3)
    np.testing.assert_array_equal(g, [3, 3])


def test_float32_gradients_stay_float32() -> None:
    g = cr.grad(lambda x: cr.sum(cr.cast(x, "float64") ** 2))(np.float32([1, 2]))
    assert g.dtype == np.float32
    np.testing.assert_array_equal(g, [2, 4])


def test_integer_results_pass_no_gradient() -> None:
    g = cr.grad(lambda x: cr.sum(x * cr.cast(cr.cast(x, "int32"), "float64")))(np.array([1.5, 2.5]))
    np.testing.assert_array_equal(g, [1, 2])


def test_stop_gradient_keeps_the_value_and_stops_the_gradient() -> None:
    def fn(x):
        return cr.sum(x * cr.stop_gradient(x * x))

    x = np.array([2.0, 3.0])
    value, g = cr.value_and_grad(fn)(x)
    assert value.item() == 35.0
    np.testing.assert_array_equal(g, x * x)
    np.testing.assert_array_equal(cr.jit(cr.grad(fn))(x), x * x)
    np.testing.assert_array_equal(cr.jvp(fn, [x], [np.ones(2)])[1], np.sum(x * x))


def test_a_python_branch_on_a_value_is_followed() -> None:
    def fn(x):
        return x * 2 if x > 0 else x * 5

    assert cr.grad(fn)(1.0).item() == 2.0
    assert cr.grad(fn)(-1.0).item() == 5.0


@pytest.mark.parametrize(
    ("fn", "came", "mend"),
    [
        (lambda x: x, r"float64\[3\]", "cr.mean(loss)"),
        (lambda x: cr.cast(cr.sum(x), "int32"), r"int32\[\]", "cr.mean(loss)"),
        (lambda x: cr.sum(x).item(), "a float, no Tensor", "keep the Tensor"),
        (lambda x: None, "nothing", "return the loss"),
        (lambda x: (cr.sum(x), x), "a tuple, no Tensor", "has_aux=True"),
    ],
)
def test_a_gradient_of_no_float_scalar_is_refused(fn, came: str, mend: str) -> None:
    with pytest.raises(cr.GradientError, match=f"needs one float number.*{came}") as caught:
        cr.grad(fn)(np.ones(3))
    assert f"mend: {mend}" in str(caught.value)


def test_a_gradient_of_integers_alone_is_refused() -> None:
    with pytest.raises(cr.GradientError, match="hold no float tensors"):
        cr.grad(lambda x: x)(3)


def test_vjp_pulls_back_several_outputs_again_and_again() -> None:
    def fn(a, b):
        return {"product": a * b, "sum": cr.sum(a)}

    a, b = np.array([1.0, 2.0]), np.array([3.0, 4.0])
    y, pullback = cr.vjp(fn, a, b)
    np.testing.assert_array_equal(y["product"], a * b)
    for scale in (1.0, 2.0):
        ga, gb = pullback({"product": scale * np.ones(2), "sum": np.float64(scale)})
        np.testing.assert_array_equal(ga, scale * (b + 1))
        np.testing.assert_array_equal(gb, scale * a)


def test_a_cotangent_of_another_shape_is_refused() -> None:
    pullback = cr.vjp(lambda x: x * 2, np.ones(3))[1]
    with pytest.raises(cr.ShapeError, match=r"cotangent of a \(3,\) output came with shape \(2,\)"):
        pullback(np.ones(2))


def test_the_same_array_given_twice_has_two_gradients() -> None:
    x = cr.Tensor(np.array([1.0, 2.0]))
    a, b = cr.grad(lambda a, b: cr.sum(a * a * b), argnums=(0, 1))(x, x)
    np.testing.assert_array_equal(a, 2 * x.numpy() ** 2)
    np.testing.assert_array_equal(b, x.numpy() ** 2)


def test_gradient_of_the_argument_itself() -> None:
    assert cr.grad(lambda x: x)(3.0).item() == 1.0
    assert cr.jit(cr.grad(lambda x: x))(3.0).item() == 1.0
