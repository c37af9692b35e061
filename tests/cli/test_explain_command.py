"""`chainrule explain`: every format and language on run folders, and usage errors in a line."""

import json
import re

import pytest

from chainrule.cli.explain import read_entry
from chainrule.core.errors import ArgumentError
from chainrule.explain.explanation import Explanation

ENTRY = "conv2d.kernel[1,2,0,2]"
WIDE = re.compile(r"[\u4e00-\u9fff]")


def test_explain_shows_gradient_check_and_partitions(chainrule, trained):
    answer = chainrule("explain", trained[0], ENTRY, "--lang", "en", "--topk", 3)
    assert answer.code == 0 and answer.err == ""
    first, second, *rest = answer.out.splitlines()
    assert re.fullmatch(r"∂L/∂W⁽¹⁾\[1,2,0,2\] = [-+][\d.e-]+   conv2d/kernel\[1,2,0,2\]", first)
    assert second.startswith("central difference") and second.endswith("agrees")
    assert sum(row.startswith("by ") for row in rest) >= 3
    assert "29 others" in answer.out and len(rest) <= 80


def test_explain_makes_a_table_for_each_by(chainrule, trained):
    words = ("--by", "output", "--by", "position,example", "--lang", "en")
    tables = [
        row
        for row in chainrule("explain", trained[0], ENTRY, *words).out.splitlines()
        if row.startswith("by ")
    ]
    assert tables == [
        "by output, at the output of dense_1",
        "by position and example, where conv2d reads the parameter",
    ]


def test_explain_speaks_chinese_when_asked_or_told_by_the_environment(
    chainrule, trained, monkeypatch
):
    asked = chainrule("explain", trained[0], ENTRY, "--by", "example", "--lang", "zh")
    monkeypatch.setenv("LC_ALL", "zh_CN.UTF-8")
    told = chainrule("explain", trained[0], ENTRY, "--by", "example")
    assert WIDE.search(asked.out) and asked.out == told.out


def test_explain_writes_json_that_reads_back(chainrule, trained):
    words = ("explain", trained[0], ENTRY, "--format", "json", "--examples", 8)
    answer = chainrule(*words)
    found = Explanation.from_json(answer.out)
    assert found.parameter == "conv2d/kernel" and found.index == (1, 2, 0, 2)
    assert found.examples == 8 and found.check.mark in ("ok", "kink")
    assert json.loads(answer.out)["schema"] == "chainrule.explanation"


def test_explain_writes_html_and_latex(chainrule, trained):
    page = chainrule("explain", trained[0], "dense/bias[2]", "--format", "html", "--lang", "zh")
    assert page.out.startswith('<!doctype html><html lang="zh">') and "</html>" in page.out
    latex = chainrule("explain", trained[0], "dense.bias[2]", "--format", "latex")
    assert latex.out.startswith("\\begin{align*}") and latex.code == page.code == 0


def test_explain_of_a_whole_kernel_stays_on_a_screen(chainrule, trained):
    answer = chainrule("explain", trained[0], "dense.kernel", "--lang", "en")
    assert answer.code == 0 and len(answer.out.splitlines()) <= 20
    assert "more entries are not listed" in answer.out


def test_explain_knows_lookups_of_texts_and_ratings(
    chainrule, small, trained_text, trained_recommend
):
    words = chainrule("explain", trained_text[0], "embedding.embeddings[3,1]", "--lang", "en")
    films = ("explain", trained_recommend[0], "factors.users.embeddings[3,1]", "--lang", "en")
    for answer in (words, chainrule(*films, "--examples", 200)):
        assert answer.code == 0, answer.err
        assert "by lookup" in answer.out


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["dense.kernl[0,0]"], "did you mean 'dense/kernel'"),
        (["dense.kernel[0]"], "kernel"),
        (["dense.kernel[0,99999]"], "kernel"),
        (["dense.kernel[0,"], "a path and perhaps a place"),
        (["dense.kernel[a,b]"], "a path and perhaps a place"),
        (["dense.kernel[0,0]", "--by", "tme"], "did you mean 'time'"),
        (["dense.kernel[0,0]", "--by", "time"], "time"),
        (["dense.kernel[0,0]", "--lang", "fr"], "language 'fr'"),
        (["dense.kernel[0,0]", "--format", "pdf"], "pdf"),
        (["dense.kernel[0,0]", "--topk", "0"], "topk"),
        (["dense.kernel[0,0]", "--examples", "0"], "examples"),
    ],
)
def test_wrong_use_of_explain_ends_with_two(chainrule, trained, words, told):
    answer = chainrule("explain", trained[0], *words)
    assert answer.code == 2 and answer.out == ""
    assert told in answer.err and "Traceback" not in answer.err


def test_explain_of_a_run_that_is_not_there_says_so(chainrule):
    answer = chainrule("explain", "mine", ENTRY)
    assert answer.code == 2 and "there is no run mine" in answer.err


@pytest.mark.parametrize("text", ["", "[1]", "a[1", "a]1[", "a[1,,2]", "a[1.5]"])
def test_entry_that_cannot_be_read_is_refused(text):
    with pytest.raises(ArgumentError, match="a path and perhaps a place"):
        read_entry(text)
