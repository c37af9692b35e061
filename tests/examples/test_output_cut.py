"""The terms at the output cut are right one by one, and add up to the engine's gradient."""

from __future__ import annotations

import re
import unicodedata

import numpy as np
import pytest

import chainrule as cr
from examples import output_cut
from examples.output_cut import SHAPES, cut, loss_of, make_problem, outputs

WEIGHTS = [(name, index) for name, shape in SHAPES.items() for index in np.ndindex(shape)]


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(("name", "index"), WEIGHTS)
def test_terms_add_up_to_the_gradient(seed: int, name: str, index: tuple[int, ...]) -> None:
    params, x, t = make_problem(seed)
    found = cut(params, x, t, name, index)
    assert found.d_loss.dtype == found.d_outputs.dtype == np.float64
    assert found.total == pytest.approx(found.engine, abs=1e-12, rel=0)
    assert found.central == pytest.approx(found.engine, abs=1e-9, rel=0)
    assert found.engine != 0


@pytest.mark.parametrize(("name", "index"), WEIGHTS)
def test_factors_are_those_of_numpy_and_of_reverse_mode(name: str, index: tuple) -> None:
    params, x, t = make_problem(1)
    found = cut(params, x, t, name, index)
    o, pullback = cr.vjp(lambda weights: outputs({**params, name: weights}, x), params[name])
    assert found.d_loss == pytest.approx(2 * (o.numpy() - t) / t.size, abs=1e-15)
    for n, k in np.ndindex(t.shape):
        one = np.zeros(t.shape)
        one[n, k] = 1.0
        (row,) = pullback(one)
        assert found.d_outputs[n, k] == pytest.approx(row.numpy()[index], abs=1e-14)


def test_weight_of_the_last_layer_moves_one_output_only() -> None:
    params, x, t = make_problem()
    found = cut(params, x, t, "W2", (0, 2))
    assert not found.d_outputs[:, :2].any() and found.d_outputs[:, 2].all()
    assert found.total == pytest.approx(found.engine, abs=1e-12, rel=0)


def test_outputs_and_their_loss_are_differentiated_rightly() -> None:
    params, x, t = make_problem(2)
    assert cr.check_gradient(lambda params: loss_of(outputs(params, x), t), [params])


def columns(text: str) -> int:
    """How many columns a terminal gives to `text`."""
    return sum(2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in text)


@pytest.mark.parametrize("lang", ["en", "zh"])
@pytest.mark.parametrize("weight", [("W1", "0", "1"), ("W2", "1", "0")])
def test_tables_are_aligned_and_their_numbers_add_up(
    lang: str, weight: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    found = output_cut.main(["--lang", lang, "--weight", *weight])
    words = output_cut.WORDS[lang]
    printed = capsys.readouterr().out
    terms, _, sums = printed.partition(words["quantity"])
    for table in (terms, words["quantity"].join(["  ", sums])):
        assert len({columns(line) for line in table.splitlines() if line.strip()}) == 1
    assert max(map(columns, printed.splitlines())) <= 80

    last = [re.split(r"\s+", line.strip())[-1] for line in terms.splitlines() if line.strip()]
    subtotals = [line for line in terms.splitlines() if words["over_k"] in line]
    assert len(subtotals) == 3 and len(last) == 2 + 1 + 9 + 3
    parts = [float(line.split()[-1]) for line in subtotals]
    assert sum(parts) == pytest.approx(found.total, abs=1e-9)
    assert f"{found.engine:+.15f}" in sums and f"{found.central:+.15f}" in sums


def test_both_languages_have_the_same_words() -> None:
    assert output_cut.WORDS["en"].keys() == output_cut.WORDS["zh"].keys()
    assert not any(
        unicodedata.east_asian_width(c) in "WF"
        for text in output_cut.WORDS["en"].values()
        for c in text
    )
    untranslated = [k for k, text in output_cut.WORDS["zh"].items() if text.isascii()]
    assert untranslated == []


@pytest.mark.parametrize("weight", [("W1", "0", "2"), ("W3", "0", "0"), ("W1", "x", "0")])
def test_weight_that_is_not_there_is_refused(
    weight: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        output_cut.main(["--weight", *weight])
    assert caught.value.code == 2
    assert f"got {' '.join(weight)}" in capsys.readouterr().err
