"""`fit` with several inputs, outputs and losses: what is refused, and what is said of it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn
from chainrule.train import Sequential, optim
from tests.train.several import (
    LOSS,
    SPARSE,
    TUPLE,
    N,
    Split,
    X,
    Y,
    batches,
    pair,
    split,
)


def fit_pair(x: Any = X, y: Any = Y, data: dict | None = None, **options: Any) -> None:
    pair(**options).fit(x, y, verbose=0, **(data or {}))


BOTH = "a dict of 'label', 'score'"


@pytest.mark.parametrize(
    ("options", "error", "told"),
    [
        (dict(loss={"score": "mse"}), cr.ArgumentError, f"loss lacks 'label'; .* {BOTH}"),
        (dict(loss={**LOSS, "lable": "mse"}), cr.ArgumentError, "'lable' .did you mean 'label'"),
        (dict(loss=["mse", "mse"]), cr.ArgumentError, "loss must be a dict like the outputs"),
        (dict(loss={"score": "msee", "label": "mse"}), cr.UnknownNameError, "loss 'msee'"),
        (dict(loss={"score": None, "label": None}), cr.ArgumentError, "no output has a loss"),
        (dict(loss_weights={"score": 1.0}), cr.ArgumentError, "loss_weights lacks 'label'"),
        (
            dict(loss_weights={"score": "a", "label": 1}),
            cr.ArgumentError,
            "finite numbers, got 'a'",
        ),
        (dict(metrics={"lable": ["mae"]}), cr.ArgumentError, "metrics has 'lable'"),
        (dict(metrics={"label": ["mae"]}), cr.ShapeError, "metric label_mae: .*, got .*32, 3"),
        (dict(metrics={"label": ["loss"]}), cr.UnknownNameError, "metric 'loss'"),
        (dict(y={"score": Y["score"]}), cr.ArgumentError, "y lacks targets for the output 'label'"),
        (dict(y={"score": None, "label": None}), cr.ArgumentError, "y holds no targets"),
        (dict(y={**Y, "lable": Y["score"]}), cr.ArgumentError, f"y has 'lable'.*{BOTH}"),
        (dict(y=Y["score"]), cr.ArgumentError, f"the model gives {BOTH}, and y is one array"),
        (dict(y=(Y["score"], Y["label"])), cr.ArgumentError, "y must be a dict like the outputs"),
        (dict(y={**Y, "label": Y["label"] + 1}), cr.DataError, "output 'label': labels must be in"),
        (dict(x={"words": X["words"]}), cr.ArgumentError, r"x\['words'\] \(6,\)\. KeyError: 'numb"),
        (
            dict(x=X["words"]),
            cr.ArgumentError,
            r"got 'words'\n.*a dict \{'words': array\} in place",
        ),
        (
            dict(x={**X, "words": X["words"][:9]}),
            cr.ShapeError,
            r"x\['words'\] has 9, x\['numbers'",
        ),
        (dict(x={**X, "words": [["a"]] * N}), cr.DtypeError, r"x\['words'\] must hold numbers"),
        (
            dict(x={**X, "numbers": X["numbers"] * np.nan}),
            cr.DataError,
            r"x\['numbers'\] has 100 N",
        ),
        (dict(y=None), cr.ArgumentError, "x came without y"),
        (dict(data=dict(class_weight={0: 1})), cr.ArgumentError, "class_weight goes with one"),
        (
            dict(data=dict(sample_weight={"score": np.ones(N)})),
            cr.ArgumentError,
            "sample_weight lacks 'label'",
        ),
        (
            dict(data=dict(sample_weight={"score": -np.ones(N), "label": None})),
            cr.DataError,
            r"sample_weight\['score'\] needs finite weights",
        ),
        (
            dict(data=dict(validation_data=({"words": X["words"]}, Y))),
            cr.ShapeError,
            r"validation_data must have .* like x, got validation_data\['words'\]",
        ),
    ],
)
def test_what_does_not_follow_the_model_is_refused(options: dict, error: Any, told: str) -> None:
    with pytest.raises(error, match=told) as caught:
        fit_pair(**options)
    assert "1009" not in str(caught.value)


@pytest.mark.parametrize(
    ("model", "x", "told"),
    [
        (Split, X["numbers"], "split could not take x, one array. ValueError: too many"),
        (Split, (X["numbers"],) * 3, r"several arrays: x\[0\] \(2,\), x\[1\] \(2,\), x\[2\]"),
        (Split, [X["numbers"], X["numbers"]], r"split could not take x, one array"),
        (lambda: Sequential([nn.Dense(1)]), TUPLE, r"sequential could not take x, several arrays"),
        (lambda: Sequential([nn.Dense(1)]), {"a": X["words"]}, r"x was several arrays: x\['a'\]"),
        (lambda: Sequential([nn.Concatenate()]), X["words"], r"needs several inputs, .* \(n, 6\)"),
        (lambda: Sequential([nn.Conv2D(1, 1)]), X["words"], r"got shape \(n, 6\)"),
    ],
)
def test_as_many_arrays_as_the_model_takes_are_needed(model: Any, x: Any, told: str) -> None:
    with pytest.raises(cr.ChainruleError, match=told):
        model().predict(x)


def test_a_list_that_was_stacked_is_told() -> None:
    with pytest.raises(cr.ShapeError, match="x has 2, y has 50") as caught:
        split().fit([X["numbers"], X["numbers"]], Y["score"], verbose=0)
    assert caught.value.mend.startswith("x=(a, b), a tuple")


def test_one_output_takes_one_target() -> None:
    model = Sequential([nn.Dense(1)], seed=1)
    for loss, y, told in (
        ("mse", {"a": Y["score"], "b": Y["score"]}, "gives one tensor, and y holds several: 'a'"),
        ({"a": "mse"}, Y["score"], "loss holds several .'a'. for what is one output"),
    ):
        model.compile("sgd", loss)
        with pytest.raises(cr.ArgumentError, match=told):
            model.fit(X["numbers"], y, verbose=0)


def test_batches_with_a_target_in_predict_are_refused() -> None:
    model = Sequential([nn.Dense(1)], seed=1)
    with pytest.raises(cr.ArgumentError, match="several arrays") as caught:
        model.predict(batches(X["numbers"], Y["score"]))
    assert "in predict without y" in caught.value.mend


def test_metrics_of_labels_say_which_goes_with_integers() -> None:
    model = Sequential([nn.Dense(10)], seed=1)
    model.compile("sgd", SPARSE, ["mae"])
    with pytest.raises(
        cr.ShapeError, match=r"metric mae: as many targets as predictions"
    ) as caught:
        model.fit(X["numbers"], Y["label"], verbose=0)
    assert caught.value.mend.startswith('"accuracy"')


def test_layers_that_go_on_from_batch_to_batch_train_with_batches_of_one_size() -> None:
    class Sums(nn.Module):
        stateful = True

        def build(self, shape):
            self.w = self.parameter("w", shape[1:], "ones")
            self.seen = self.state("seen", shape)

        def call(self, x):
            self.seen = self.seen + x
            return self.seen * self.w

    model = Sequential([Sums()], seed=1)
    model.compile(optim.SGD(0.0), lambda y, p: cr.sum(p))
    options = dict(batch_size=25, shuffle=False, verbose=0)
    ones = np.ones((N, 2))
    history = model.fit(ones, ones, validation_data=(ones[:25], ones[:25]), **options).history
    assert history == {"loss": [75.0], "val_loss": [150.0]}  # 1 and 2, then 3 of 50 numbers
    with pytest.raises(cr.ChainruleError):
        model.predict(ones)


def test_an_optimiser_given_as_a_class_is_told_how_to_make_one() -> None:
    with pytest.raises(cr.ArgumentError, match="got Adam, the class") as caught:
        Split().compile(optim.Adam, "mse")
    assert caught.value.mend.startswith("optimizer=cr.optim.Adam(), or a name")
