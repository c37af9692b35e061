"""No argument of `explain` is ignored, and each error is one of ours; what its words say."""

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn
from chainrule.core.errors import ArgumentError, DataError, ShapeError, UnknownNameError
from chainrule.explain.explain import explain
from chainrule.explain.explanation import Explanation
from chainrule.explain.influence import influence
from chainrule.explain.layers import layer_strip
from tests.explain.pieces import one, two_two_one

X = np.random.default_rng(0).normal(size=(6, 3)).astype(np.float32)
Y = X[:, :2]


@pytest.fixture(scope="module")
def model():
    made = cr.Sequential([nn.Dense(3, "relu"), nn.Dense(2)], seed=0)
    made.compile("sgd", "mse")
    made.predict(X)
    return made


@pytest.mark.parametrize(
    ("error", "says", "index", "options"),
    [
        (ArgumentError, "comes twice", (0, 1), {"by": ("example", "example")}),
        (ArgumentError, "comes twice", (0, 1), {"by": ("output", "output")}),
        (ArgumentError, "comes twice", (0, 1), {"by": ("lookup", "example")}),
        (ArgumentError, "stands alone", (0, 1), {"by": ["auto", "example"]}),
        (ArgumentError, "at least one axis", (0, 1), {"by": []}),
        (UnknownNameError, "unknown axis None", (0, 1), {"by": None}),
        (ArgumentError, "at='dense_1' says where", (0, 1), {"by": "example", "at": "dense_1"}),
        (ArgumentError, "of one entry", None, {"by": "example"}),
        (ArgumentError, "of one entry", None, {"at": "dense_1"}),
        (ArgumentError, "not used along", (0, 1), {"by": ("output", "time")}),
        (ArgumentError, "extent of its shape", (slice(None), 0), {}),
    ],
)
def test_argument_that_means_nothing_here_is_refused(model, error, says, index, options):
    with pytest.raises(error, match=says):
        explain(model, X, Y, "dense/kernel", index, **options)


def test_layer_before_the_parameter_is_no_place_to_cut(model):
    with pytest.raises(ArgumentError, match="at='dense': the loss gets nothing of dense_1/kernel"):
        explain(model, X, Y, "dense_1/kernel", (0, 1), at="dense")


def test_parameter_or_index_of_another_kind_says_what_is_needed(model):
    with pytest.raises(ArgumentError, match="a path or a parameter of the model, got another int"):
        explain(model, X, Y, 3, (0, 0))
    with pytest.raises(ShapeError, match="an index needs 1 place, got"):
        explain(model, X, Y, "dense/bias", (0, 1))


def test_auto_in_a_list_is_auto(model):
    found = explain(model, X, Y, "dense/kernel", (0, 1), by=["auto"])
    assert found == explain(model, X, Y, "dense/kernel", (0, 1))


def test_views_strip_and_influence_refuse_what_is_none(model):
    with pytest.raises(DataError, match="no JSON"):
        Explanation.from_json(5)
    with pytest.raises(ArgumentError, match="width"):
        two_two_one().to_text("a")
    with pytest.raises(ArgumentError, match="tolerance"):
        layer_strip(model, X, Y, tolerance="a")
    with pytest.raises(ArgumentError, match="rates"):
        influence(model, X, Y, (X, Y), rates="a")
    with pytest.raises(ArgumentError, match="checkpoints needs a list"):
        influence(model, X, Y, (X, Y), checkpoints=3)


def test_class_weight_is_that_of_fit():
    model = cr.Sequential([nn.Dense(3)], seed=0)
    model.compile("sgd", "sparse_categorical_crossentropy")
    y = np.array([0, 1, 2, 0, 1, 2])
    weighted = explain(model, X, y, "dense/kernel", (0, 1), class_weight={0: 1.0, 1: 3.0, 2: 0.5})
    by_hand = np.array([1.0, 3.0, 0.5])[y]
    same = explain(model, X, y, "dense/kernel", (0, 1), sample_weight=by_hand)
    assert weighted.gradient == pytest.approx(same.gradient, rel=1e-7)
    assert weighted.gradient != explain(model, X, y, "dense/kernel", (0, 1)).gradient


def test_frozen_layer_is_said_to_be_frozen():
    frozen = nn.Dense(3)
    frozen.trainable = False
    model = cr.Sequential([frozen, nn.Dense(2)], seed=0)
    model.compile("sgd", "mse")
    model.predict(X)
    told = explain(model, X, Y, "dense/kernel", (0, 1), lang="en")
    assert not told.trainable and "frozen (trainable=False)" in told.to_text()
    moved = explain(model, X, Y, "dense_1/kernel", (0, 1), lang="en")
    assert moved.trainable and "frozen" not in moved.to_text()


def test_facts_without_a_layer_have_no_empty_places():
    for found in (one(0.0, (), kind=""), one(None, (), kind="", index=None, weight=None)):
        text = found.to_text()
        assert "shape (2, 2), float64" in text
        assert " ," not in text and ", ," not in text


def test_latex_of_parts_that_are_all_zero_says_so(model):
    dead = {path: np.array(each) for path, each in model.get_weights().items()}
    dead["dense/bias"][:] = -100
    twin = cr.Sequential([nn.Dense(3, "relu"), nn.Dense(2)], seed=0)
    twin.compile("sgd", "mse")
    twin.predict(X)
    twin.set_weights(dead)
    latex = explain(twin, X, Y, "dense/kernel", (0, 1), by="example", lang="en").to_latex()
    assert r"\text{all 6 parts are 0}" in latex and "others" not in latex
