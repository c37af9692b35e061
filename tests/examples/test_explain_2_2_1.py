"""The page of the 2-2-1 network: nine derivatives that are right, in two languages, by pencil."""

from __future__ import annotations

import re

import numpy as np
import pytest

import chainrule as cr
from examples import explain_2_2_1
from examples.explain_2_2_1 import WEIGHTS, data, entries, main, network


@pytest.fixture(scope="module")
def pages() -> dict[str, tuple[list[cr.Explanation], str]]:
    """What is explained and printed, by language."""
    found = {}
    for lang in ("en", "zh"):
        with pytest.MonkeyPatch.context() as patch:
            lines: list[str] = []
            patch.setattr(
                explain_2_2_1,
                "print",
                lambda *parts, sep="\n", to=lines: to.append(sep.join(map(str, parts))),
                raising=False,
            )
            found[lang] = (main(["--lang", lang]), "\n".join(lines))
    return found


def test_nine_derivatives_are_those_of_plain_numpy(pages):
    w1, b1, w2, b2 = (np.float64(values) for values in WEIGHTS.values())
    x, y = data()
    h = 1 / (1 + np.exp(-(x @ w1 + b1)))
    o = 1 / (1 + np.exp(-(h @ w2 + b2)))
    delta2 = 2 / len(x) * (o - y) * o * (1 - o)
    delta1 = delta2 @ w2.T * h * (1 - h)
    expected = [*(x.T @ delta1).ravel(), *delta1.sum(0), *(h.T @ delta2).ravel(), *delta2.sum(0)]
    found = [each.gradient for each in pages["en"][0]]
    assert len(found) == 9
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    assert all(each.check.mark == "ok" for each in pages["en"][0])


def test_every_example_has_its_chain_of_factors(pages):
    for each in pages["en"][0]:
        (partition,) = each.partitions
        assert len(partition.parts) + partition.others.zeros == 4
        for part in partition.parts:
            product = np.prod([factor.value for factor in part.factors])
            assert len(part.factors) in (3, 5) and product == pytest.approx(part.value, rel=1e-9)


def test_printed_rows_multiply_to_their_product_with_a_pencil(pages):
    rows = [
        [float(cell) for cell in re.findall(r"[+-]\d+(?:\.\d+)?", line)]
        for line in pages["en"][1].splitlines()
        if re.match(r"[0-3]  +\([01], [01]\)", line)
    ]
    assert len(rows) >= 26
    for row in rows:
        (count,) = {n for n in (3, 5) if len(row) == n + 1}
        assert np.prod(row[:count]) == pytest.approx(row[count], rel=2e-4)


def test_page_is_whole_in_both_languages(pages):
    english, chinese = pages["en"][1], pages["zh"][1]
    for text in (english, chinese):
        assert "δ⁽¹⁾ = δ⁽¹⁾ₕ ⊙ h⁽¹⁾ ⊙ (1 - h⁽¹⁾)" in text and "∂L/∂W⁽¹⁾ = xᵀ δ⁽¹⁾" in text
        assert all(f"{path}[{','.join(map(str, index))}]" in text for path, index in entries())
        assert max(map(len, text.splitlines())) <= 88
    assert "the factor 2/N is missing" in english and "缺少因子 2/N" in chinese
    assert not re.search(r"[\u4e00-\u9fff]", english) and "反向传播" in chinese


def test_page_is_about_the_network_that_it_prints():
    assert network().derivation(x_shape=(2,)).layers[-1].forward[-1].left == "L"
