"""`check_gradient`: right passes, wrong is found, and a constant factor is named."""

from __future__ import annotations

import numpy as np
import pytest

import chainrule as cr

X = np.array([0.5, -1.0, 2.0])


def cube(x):
    return cr.sum(x * x * x)


def test_a_right_gradient_is_true_and_says_ok() -> None:
    found = cr.check_gradient(cube, [X])
    assert found and found.ok and str(found).endswith("ok")
    assert found.errors[0] < 1e-8 and found.names == ("args[0]",)


@pytest.mark.parametrize("factor", [2.0, -1.0, 0.5, 1 / 3])
def test_a_constant_factor_is_named(factor: float) -> None:
    found = cr.check_gradient(cube, [X], against=lambda x: factor * 3 * x * x)
    assert not found
    assert found.factors[0] == pytest.approx(factor, rel=1e-6)
    assert f"it is {factor:.6g} times right" in str(found)


def test_a_gradient_wrong_otherwise_names_no_factor() -> None:
    found = cr.check_gradient(cube, [X], against=lambda x: 3 * x * x + np.arange(3))
    assert not found and found.factors == (None,) and str(found).endswith("WRONG")


def test_only_the_wrong_array_is_marked() -> None:
    found = cr.check_gradient(
        lambda a, b: cr.sum(a * b), [X, X + 1], against=lambda a, b: (b, 3 * a)
    )
    rows = str(found).splitlines()
    assert "ok" in rows[0] and rows[1].endswith("WRONG  it is 3 times right")


def test_plain_numpy_and_given_gradients_will_do() -> None:
    assert cr.check_gradient(lambda x: np.sum(np.sin(x)), [X], against=np.cos)
    assert cr.check_gradient(lambda x: np.sum(np.sin(x)), [X], against=[np.cos(X)])
    assert not cr.check_gradient(lambda x: np.sum(np.sin(x)), [X], against=[-np.cos(X)])


def test_nan_is_wrong() -> None:
    assert not cr.check_gradient(cube, [X], against=lambda x: np.where(x > 1, np.nan, 3 * x * x))
    outside = cr.check_gradient(lambda x: cr.sum(cr.log(x)), [-np.ones(3)])
    assert not outside and "NaN: the gradient" in str(outside)


def test_float32_arguments_are_checked_in_float64() -> None:
    assert cr.check_gradient(cube, [X.astype(np.float32)]).errors[0] < 1e-8


def test_trees_and_integers_go_along() -> None:
    found = cr.check_gradient(
        lambda p, ids: cr.sum(cr.take(p["table"], ids) ** 2) * p["scale"],
        [{"table": np.ones((4, 2)), "scale": 2.0, "n": 3}, np.array([0, 3, 3])],
    )
    assert found and len(found.errors) == 2


@pytest.mark.parametrize(
    ("fn", "args", "against", "text"),
    [
        (cube, [np.array([1, 2])], None, "no float arrays"),
        (lambda x: x * 2, [X], None, "needs one float number"),
        (cube, [X], [X, X], "2 gradients were given for 1 float arrays"),
        (cube, [X], [X[:2]], r"shape \(2,\) for an array of \(3,\)"),
        (cube, X, None, r"a list of fn's arguments, got ndarray[\s\S]*check_gradient\(fn, \[x\]\)"),
    ],
)
def test_what_cannot_be_checked_is_told(fn, args, against, text: str) -> None:
    with pytest.raises(cr.ChainruleError, match=text):
        cr.check_gradient(fn, args, against=against)
