"""What readers see of an explanation: terminal, HTML, LaTeX and JSON, in both languages."""

import json
import re
from dataclasses import fields, replace
from html.parser import HTMLParser
from io import StringIO

import pytest
from rich.console import Console

from chainrule.core.errors import DataError
from chainrule.explain.explanation import (
    Check,
    Explanation,
    Factor,
    Others,
    Part,
    Partition,
)
from tests.explain.latex_reader import evaluate, sides
from tests.explain.pieces import chained, one, two_two_one, whole_kernel

ALL = [two_two_one, whole_kernel]
CHINESE = re.compile(r"[\u4e00-\u9fff]")


def thin() -> Explanation:
    """Three of 3,200 parts are listed, they hold a small share, and one path goes by the cut."""
    parts = tuple(Part((("example", n), ("position", f"{n},7")), 0.1 / (n + 1)) for n in range(3))
    rest = Others(3_197, -1.5, 4.0, 11)
    total = sum(part.value for part in parts) - 1.5 + 0.25 + 0.03
    split = Partition(
        ("example", "position"), "conv2d", "output", parts, rest, total, past=0.25, regulariser=0.03
    )
    return one(total, (split,), Check(total, 2e-5, 1e-4, "kink"))


@pytest.mark.parametrize("width", [80, 100, 200])
@pytest.mark.parametrize("lang", ["en", "zh"])
@pytest.mark.parametrize("make", [two_two_one, whole_kernel, thin])
def test_explanation_fits_the_terminal(make, lang, width):
    console = Console(width=width)
    lines = make().to_text(width, lang).splitlines()
    assert len(lines) <= 40
    assert all(console.measure(row).maximum <= width for row in lines)
    assert bool(CHINESE.search("".join(lines))) == (lang == "zh")


def test_table_shows_the_chain_the_sum_and_the_check():
    text = two_two_one().to_text()
    first, second, *_ = text.splitlines()
    assert first.startswith("∂L/∂W⁽¹⁾[0,1] = -0.00276474") and first.endswith("dense/kernel[0,1]")
    assert "relative difference 3e-10  ✓ agrees" in second
    row = next(row for row in text.splitlines() if row.startswith("3 "))
    assert row.split() == "3 (1, 1) +0.26977 +0.24844 -0.7 +0.24984 +1 -0.011721 57 %".split()
    assert "2 others" in text and "cancellation 87 %" in text and "coverage 100 %" in text
    assert next(r for r in text.splitlines() if r.startswith("sum")).split()[-1] == "-0.002765"


def test_thin_rows_say_how_little_they_hold():
    text = thin().to_text()
    assert "The 3 rows shown of 3,200 hold only 10.3 % of all parts' sizes." in text
    for told in ("3,197 others", "past the cut", "regulariser", "kink"):
        assert told in text


def test_wide_terminal_adds_bars_and_puts_headings_on_one_line():
    narrow, wide = two_two_one().to_text(80), two_two_one().to_text(120)
    assert "█" not in narrow and "∂h₂/∂z⁽¹⁾₂" not in narrow
    assert "█" in wide and "∂h₂/∂z⁽¹⁾₂" in wide


def test_chain_of_many_factors_is_one_column():
    factors = tuple(Factor(rf"\frac{{a_{{{i}}}}}{{b}}", 1.5) for i in range(9))
    part = Part((("example", 0),), 1.5**9, factors)
    split = Partition(("example",), "dense", "use", (part,), Others(0, 0.0, 0.0, 0), 1.5**9)
    rows = one(1.5**9, (split,)).to_text(80).splitlines()
    assert "+1.5 × +1.5" in "".join(rows) and max(map(len, rows)) <= 80


def test_part_that_is_a_sum_has_no_factors_beside_chains():
    parts = (chained(0, (), 0.5, 1.0, 1.0, 1.0, 2.0), Part((("example", 1),), 0.25))
    split = Partition(("example",), "dense", "use", parts, Others(0, 0.0, 0.0, 0), 1.25)
    rows = one(1.25, (split,)).to_text(100).splitlines()
    assert [row.split() for row in rows if row[:2] in ("0 ", "1 ")] == [
        "0 +0.5 +1 +1 +1 +2 +1.00 80 % ████▊".split(),
        "1 +0.25 20 % █▎".split(),
    ]


def test_partition_without_rows_or_labels_still_adds_up():
    past = Partition(("unit",), "dense", "output", (), Others(3, 0.0, 0.0, 3), 0.25, past=0.25)
    text = one(0.25, (past,)).to_text()
    assert "past the cut" in text and "+0.25" in text.splitlines()[-2]
    used = Partition(("use",), "dense", "use", (Part((), 0.5),), Others(0, 0.0, 0.0, 0), 0.5)
    row = one(0.5, (used,)).to_text().splitlines()[-4]
    assert row.split()[:1] == ["+0.5"]


def test_gradient_of_zero_needs_no_table():
    split = Partition(("example",), "dense", "use", (), Others(32, 0.0, 0.0, 32), 0.0)
    text = one(0.0, (split,)).to_text()
    assert "all 32 parts are 0" in text and "sum" not in text


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_gradient_that_is_not_finite_is_shown_all_the_same(value):
    parts = (Part((("example", 3),), value), Part((("example", 1),), 0.5))
    split = Partition(("example",), "dense", "use", parts, Others(1, 0.25, 0.25, 0), value)
    explanation = one(value, (split,), Check(value, value, 1e-5, "wrong"))
    assert str(value) in explanation.to_text() and str(value) in explanation.to_html()
    assert rf"\text{{{value}}}" in explanation.to_latex()
    assert Explanation.from_json(explanation.to_json()).to_text() == explanation.to_text()


class Tags(HTMLParser):
    """Which tags a page has, and its text."""

    VOID = ("meta",)

    def __init__(self):
        super().__init__()
        self.open, self.seen, self.text = [], [], ""

    def handle_starttag(self, tag, attrs):
        self.seen.append(tag)
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data


@pytest.mark.parametrize("lang", ["en", "zh"])
@pytest.mark.parametrize("make", [*ALL, thin])
def test_html_is_whole_and_needs_nothing_else(make, lang):
    page = make().to_html(lang)
    tags = Tags()
    tags.feed(page)
    assert tags.open == []
    assert not {"script", "img", "link", "iframe"} & set(tags.seen)
    assert not re.search(r"https?:|url\(|\bon\w+=|javascript", page)
    assert bool(CHINESE.search(page)) == (lang == "zh")


def test_html_escapes_every_name():
    planted = '<b onclick="x">&\'</b>'
    part = Part((("example", planted),), 1.0, (Factor(planted, 1.0),))
    split = Partition((planted,), planted, "use", (part,), Others(0, 0.0, 0.0, 0), 1.0)
    spoilt = one(1.0, (split,), parameter=planted, symbol=planted, kind=planted)
    spoilt = replace(spoilt, loss_name=planted, dtype=planted, left_out=((planted, 1),))
    page = spoilt.to_html()
    tags = Tags()
    tags.feed(page)
    assert tags.open == [] and "b" not in tags.seen
    assert "<b" not in page and page.count("&lt;b") >= 7


def test_notebook_and_terminal_find_their_methods():
    explanation = two_two_one()
    assert explanation._repr_html_() == explanation.to_html()
    console = Console(width=80, record=True, file=StringIO())
    console.print(explanation)
    drawn = "\n".join(row.rstrip() for row in console.export_text().splitlines())
    assert drawn.strip() == str(explanation).strip()
    assert repr(explanation) == ("<explanation of dense/kernel[0,1], -0.0027647; print() shows it>")


def numeric_sides(latex: str) -> list[float]:
    """What the sides of an equation are worth that hold numbers only; notes are cut off."""
    bare = re.sub(r"&&[^\n]*?(?= \\\\|\n)", "", latex)
    return [evaluate(side) for side in sides(bare) if r"\partial" not in side]


@pytest.mark.parametrize("annotated", [True, False])
@pytest.mark.parametrize("make", [two_two_one, thin])
def test_printed_latex_evaluates_to_the_gradient(make, annotated):
    explanation = make()
    terms, total = numeric_sides(explanation.to_latex(annotated=annotated))
    assert terms == pytest.approx(explanation.gradient, rel=1e-6)
    assert total == pytest.approx(explanation.gradient, rel=1e-6)


@pytest.mark.parametrize("cancelled", [1e-3, 1e-6, 1e-9])
def test_latex_keeps_the_digits_that_cancellation_needs(cancelled):
    parts = (chained(0, (), 1 / 3, 0.7, 1.1, 1.3, 1.7), chained(1, (), -1 / 3, 0.7, 1.1, 1.3, 1.7))
    parts = (parts[0], parts[1]._replace(factors=(), value=parts[1].value + cancelled))
    total = parts[0].value + parts[1].value
    split = Partition(("example",), "dense", "use", parts, Others(0, 0.0, 0.0, 0), total)
    terms, _ = numeric_sides(one(total, (split,)).to_latex())
    assert terms == pytest.approx(total, rel=1e-6)


def test_latex_words_are_escaped_and_translated():
    part = Part((("example", "50%_{x}"),), 1.0)
    split = Partition(("example",), "dense", "use", (part,), Others(0, 0.0, 0.0, 0), 1.0)
    assert r"\text{样本 50\%\_\{x\}}" in one(1.0, (split,)).to_latex("zh")


def test_latex_of_a_whole_tensor_has_norm_and_largest_entries():
    text = whole_kernel().to_latex()
    assert r"\frac{\partial L}{\partial W^{(1)}_{1,7}} &= -0.25" in text
    assert text.count(r"\\") == 5


@pytest.mark.parametrize("make", [*ALL, thin])
def test_json_round_trip_loses_nothing(make):
    explanation = make()
    text = explanation.to_json()
    assert json.loads(text)["version"] == 1
    assert Explanation.from_json(text) == explanation


def test_json_keeps_what_is_not_finite():
    explanation = replace(two_two_one(), gradient=float("inf"), loss=float("-inf"))
    text = explanation.to_json()
    assert "Infinity" not in text
    again = Explanation.from_json(text)
    assert (again.gradient, again.loss) == (float("inf"), float("-inf"))


def damage(name: str, value: object) -> str:
    content = json.loads(two_two_one().to_json())
    content[name] = value
    return json.dumps(content)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "no JSON"),
        ("[" * 10_000, "no JSON"),
        ("[]", "schema"),
        (damage("schema", "other"), "schema"),
        (damage("version", 2), "version 1 is read, got 2"),
        (damage("extra", 1), "must hold"),
        (damage("gradient", "many"), "gradient"),
        (damage("loss", True), "loss"),
        (damage("index", [0, "a"]), r"index\[1\]"),
        (damage("check", {"mark": "ok"}), "check must hold"),
        (damage("partitions", [3]), r"partitions\[0\]"),
        (damage("shape", 3), "shape"),
    ],
)
def test_json_that_is_no_explanation_is_refused(text, told):
    with pytest.raises(DataError, match=told):
        Explanation.from_json(text)


def test_json_names_every_field():
    names = {field.name for field in fields(Explanation)}
    assert set(json.loads(two_two_one().to_json())) == names | {"schema", "version"}
