"""Layer strips and influences as pages: within a screen, in both languages, saying what is left."""

import re

import numpy as np
import pytest
from rich.cells import cell_len

import chainrule as cr
from chainrule import nn
from chainrule.explain.influence import Influence, Influences
from chainrule.explain.strip import Layer, Singular, Strip
from chainrule.explain.through_time import Curve


def deep(layers: int = 50, converged: bool = True) -> Strip:
    """The strip of a deep net whose adjoints fade, with the curve of a recurrent layer."""
    fields = Layer._fields
    rows = []
    for i in range(layers):
        known = {
            "path": f"dense_{i}",
            "kind": "Dense",
            "shape": (32, 16),
            "norm": 0.7 ** (layers - i),
            "ratio": 0.7 if i < layers - 1 else None,
            "singular": Singular(1.5, 0.01, 9, converged),
            "gates": None,
            "examples": 16,
        }
        rows.append(Layer(**{name: known[name] for name in fields}))
    times = tuple(range(0, 40, 2))
    norms = tuple(0.8 ** (39 - t) for t in times)
    curve = Curve("lstm", "LSTM", 40, times, norms, (0.0,) * len(times), 24, True, True, 4)
    return Strip(tuple(rows), (curve,), "", 1.25, 32, False, 0.01)


def found_influences(columns: int) -> Influences:
    values = tuple(float(v) for v in np.sin(np.arange(40)))
    return Influences(tuple(Influence(j, 0.5, values) for j in range(columns)), 40, (0.1,))


PAGES = {"strip": deep, "influences": lambda: found_influences(6)}


@pytest.mark.parametrize("lang", ["en", "zh"])
@pytest.mark.parametrize("name", PAGES)
def test_page_fits_a_screen_in_either_language(name, lang):
    text = PAGES[name]().to_text(80, lang)
    rows = text.splitlines()
    assert len(rows) <= 48 and max(map(cell_len, rows)) <= 80
    assert bool(re.search(r"[\u4e00-\u9fff]", text)) == (lang == "zh")


@pytest.mark.parametrize("name", PAGES)
def test_page_round_trips_through_json_and_shows_in_html(name):
    record = PAGES[name]()
    assert type(record).from_json(record.to_json()) == record
    assert record._repr_html_().startswith('<div class="chainrule-page"')


def test_strip_names_the_ends_and_how_many_layers_it_folds():
    text = deep().to_text(80, "en")
    assert "dense_0 " in text and "dense_49 " in text
    folded = [int(n) for n in re.findall(r"… (\d+) layers?", text)]
    assert sum(folded) + text.count("Dense") == 50
    assert "t = 0 … 38 of 40 steps: 1.66e-04 … 0.8" in text


def test_strip_marks_values_whose_search_was_ended():
    assert "≥" not in deep(3).to_text(80, "en")
    text = deep(3, converged=False).to_text(80, "en")
    assert text.count("≥ 1.5") == 3 and "was ended before it was known to 1.0 %" in text


def test_influences_say_who_helps_who_harms_and_what_is_left_out():
    text = found_influences(6).to_text(80, "en")
    assert text.count("on example") == 3 and "3 more examples asked about are not listed" in text
    column = text.split("on example 0")[1].split("on example")[0]
    values = [
        float(v) for v in re.findall(r"^\d+(?: others)? +([+-]\d[\d.]*)", column, re.MULTILINE)
    ]
    assert len(values) == 11 and values[:10] == sorted(values[:10], reverse=True)
    assert sum(values) == pytest.approx(np.sin(np.arange(40)).sum(), abs=1e-3)


def test_results_of_real_models_show_themselves():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(6, 3)), rng.normal(size=(6, 1))
    model = cr.Sequential([nn.Dense(4, "relu"), nn.Dense(1)], seed=1)
    model.compile("sgd", "mse")
    assert "dense_1" in cr.layer_strip(model, x, y).to_text(lang="en")
    assert "on example 0" in cr.influence(model, x, y, on=(x[:1], y[:1])).to_text(lang="en")


def test_strip_of_a_value_that_is_not_a_number_has_no_bound():
    singular = Singular(float("nan"), 1.0, 60, False)
    layer = Layer("dense", "Dense", (4, 2), 1.0, None, singular, None, 4)
    text = Strip((layer,), (), "", 1.0, 4, True, 0.01).to_text(lang="en")
    assert "nan" in text and "≥ nan" not in text
