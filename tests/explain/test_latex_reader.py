"""The reader that judges printed LaTeX is itself right, and refuses what it cannot read."""

import pytest

from tests.explain.latex_reader import evaluate, sides


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1.5", 1.5),
        ("-2 + 3", 1),
        (r"2 \times 3 - 4 \cdot 5", -14),
        ("(2)(-3)(0.5)", -3),
        (r"\left(+0.5\right)\times\left(-2\right)", -1),
        (r"\frac{1}{4} + \frac{-3}{4}", -0.5),
        (r"1.2 \times 10^{-3}", 0.0012),
        (r"2\,\times\,(1 + (3 - 1)) &", 6),
        (r"-10^{2}", -100),
    ],
)
def test_latex_numbers_are_evaluated(text, value):
    assert evaluate(text) == pytest.approx(value)


def test_latex_symbols_take_their_values():
    names = {r"\frac{\partial L}{\partial o_{1}}": 3.0, "W_{1,2}": 0.5}
    assert evaluate(r"\frac{\partial L}{\partial o_{1}} \cdot W_{1,2} - 1", names) == 0.5


@pytest.mark.parametrize("text", ["", "1 +", "(1", r"\alpha", "1)", "1 2 )"])
def test_latex_that_is_no_number_is_refused(text):
    with pytest.raises(ValueError):
        evaluate(text)


def test_equation_falls_into_its_sides():
    text = r"\begin{aligned} a &= 1 + 2 \\ &= 3 \end{aligned}"
    assert [evaluate(side) for side in sides(text)[1:]] == [3, 3]
