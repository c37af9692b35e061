"""A student's expression is read as arithmetic and nothing else, within bounds."""

import numpy as np
import pytest

from chainrule.core.errors import ArgumentError
from chainrule.explain.expression import FUNCTIONS, NotDefined, evaluate, parsed

NAMES = {"x": 1.0, "W1": 1.0}
FORBIDDEN = [
    "__import__('os').system('true')",
    "x.__class__",
    "x.dtype",
    "(lambda: x)()",
    "[x for x in W1]",
    "exec('x')",
    "open('/etc/passwd')",
    "np.load('a.npy')",
    "np.linalg.inv(W1)",
    "np.exp.__globals__",
    "f'{x}'",
    "x if x else x",
    "(y := x)",
    "x and W1",
    "~x",
    "x // 2",
    "{'a': x}",
    "'text'",
    "1e30 * x",
    "1j * x",
    "np.sum(x, out=W1)",
    "np.sum(x, dtype='float32')",
    "x.tofile('a')",
    "x; x",
    "x = 1",
    "*x",
    "x.T(",
    "",
    "x" * 2000,
    "+".join(["x"] * 300),
    "(" * 400 + "x" + ")" * 400,
    "-" * 900 + "x",
]


@pytest.mark.parametrize("text", FORBIDDEN, ids=range(len(FORBIDDEN)))
def test_nothing_but_arithmetic_gets_past_the_reader(text):
    with pytest.raises(ArgumentError):
        parsed(text, NAMES)


@pytest.mark.parametrize(("text", "column"), [("x.T @", 6), ("x @ ) + 1", 5)])
def test_broken_syntax_is_told_with_a_column_counted_from_1(text, column):
    with pytest.raises(ArgumentError, match=f"not an expression: .* column {column}\n"):
        parsed(text, NAMES)


@pytest.mark.parametrize(("text", "column"), [("x + W1.dtype", 5), ("x @ (x & x)", 6)])
def test_refusal_says_what_and_at_which_column(text, column):
    with pytest.raises(ArgumentError, match=f"not allowed in an expression: .* column {column}"):
        parsed(text, NAMES)


@pytest.mark.parametrize(
    "text",
    [
        "np.outer(np.outer(np.outer(a, a), np.outer(a, a)), np.outer(a, a))",
        "np.einsum('a,b,c,d->abcd', a, a, a, a)",
        "a[:, None, None, None] * a[None, :, None, None] * a[None, None, :, None] * a",
        "np.multiply(a[:, None, None, None], a[None, :, None, None] * a[None, None, :, None] * a)",
    ],
)
def test_result_that_would_be_huge_is_not_made(text):
    names = {"a": np.ones(100)}
    with pytest.raises(NotDefined, match="elements"):
        evaluate(parsed(text, names), names)


def test_power_tower_ends_in_infinity_and_not_in_a_long_number():
    assert evaluate(parsed("9 ** 9 ** 9 ** 9", []), {}) == float("inf")
    assert "eval" not in FUNCTIONS


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("np.sum(x, axis=0, keepdims=True)", [[4.0, 6.0]]),
        ("x.sum(axis=1).dot(x[:, 0])", 24.0),
        ("x.T @ x - x[0] * x[..., None, 1].sum() + len(x)", [[6.0, 4.0], [10.0, 10.0]]),
        ("np.where(x > 2, x, -x) / x.shape[0]", [[-0.5, -1.0], [1.5, 2.0]]),
        ("sigmoid(0 * x) + relu(-x) + np.einsum('ij,ij->', x, x)", [[30.5] * 2] * 2),
    ],
)
def test_expression_means_what_numpy_means(text, value):
    names = {"x": np.float64([[1, 2], [3, 4]])}
    np.testing.assert_allclose(evaluate(parsed(text, names), names), value)
