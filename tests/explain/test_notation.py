"""Formulas as text and HTML, and numbers in columns: nothing is lost, nothing gets through."""

import math
import re

import pytest
from hypothesis import given, settings, strategies as st

from chainrule.explain.notation import html, plain
from chainrule.explain.numerals import column, number, percent, sparkline

PIECES = [
    *r"\frac \partial \delta ^ _ { } ( ) x W 12 + - \cdot \odot \text \sum & \\ < > \sigma".split(),
    "^{(1)}",
    r"\frac{a}{b}",
    "<b>",
    '"',
    " ",
]


@settings(max_examples=300, deadline=None)
@given(st.lists(st.sampled_from(PIECES), max_size=20).map("".join))
def test_any_formula_is_read_and_escaped(tex):
    shown = html(tex)
    assert plain(tex) == plain(tex).strip()
    left = re.sub(r"</?su[bp]>|&(?:lt|gt|amp|quot|#x27);", "", shown)
    assert not set('<>&"') & set(left)
    assert shown.count("<sub>") == shown.count("</sub>")


@pytest.mark.parametrize(
    ("tex", "text"),
    [
        (r"z^{(1)} = x W^{(1)} + b^{(1)}", "z⁽¹⁾ = x W⁽¹⁾ + b⁽¹⁾"),
        (r"\left(\delta^{(2)} W^{(2)\top}\right) \odot \sigma'(z)", "(δ⁽²⁾ W⁽²⁾ᵀ) ⊙ σ'(z)"),
        (r"\frac{2}{N}(o - y)", "(2/N)(o - y)"),
        (r"\frac{1}{1 + e^{-x}}", "1/(1 + e^(-x))"),
        (r"\sum_{n} x_{n,i}", "Σₙ x[n,i]"),
        (r"h_{t-1}", "hₜ₋₁"),
        (r"\mathrm{relu}(z) \le \unknown x", "relu(z) ≤ unknown x"),
    ],
)
def test_formula_reads_as_a_line_of_text(tex, text):
    assert plain(tex) == text


def test_formula_of_senseless_depth_is_shown_as_it_is():
    deep = "{" * 100_000
    assert plain(deep) == deep == html(deep)


numbers = st.floats(-1e300, 1e300)


@settings(max_examples=300, deadline=None)
@given(st.lists(numbers, min_size=1, max_size=6))
def test_column_of_numbers_keeps_sign_and_size(values):
    for value, text in zip(values, column(values)):
        assert (text == "0") == (value == 0)
        assert math.isclose(float(text), value, rel_tol=0.06)
        assert not value or text[0] == "-+"[value > 0]


@given(numbers)
def test_number_alone_has_its_digits(value):
    assert math.isclose(float(number(value)), value, rel_tol=1e-4)


@given(st.floats(0, 1))
def test_percent_of_a_part_is_never_nothing_and_never_all(share):
    text = percent(share)
    assert (text == "0 %") == (share == 0)
    assert (text == "100 %") == (share == 1)


def test_sparkline_has_one_mark_for_each_number():
    assert sparkline([1.0, float("nan"), 3.0]) == "▁?█"
