"""What cannot be trained on is refused before anything is computed, with what, where and a mend."""

from __future__ import annotations

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn
from chainrule.data import blobs
from chainrule.train import Model, Sequential
from chainrule.train.optim import SGD

nan, inf = float("nan"), float("inf")
X = np.zeros((4, 2), np.float32)
SPARSE = "sparse_categorical_crossentropy"


def model_for(loss: object, units: int = 3, end: str | None = None) -> Sequential:
    model = Sequential([nn.Dense(units, activation=end)], seed=0)
    model.compile("sgd", loss)
    return model


def broken(value: float) -> np.ndarray:
    x = X.copy()
    x[2, 1] = value
    return x


@pytest.mark.parametrize(
    ("x", "y", "error", "told"),
    [
        (X[:0], np.zeros(0, int), cr.DataError, "at least one example"),
        (broken(nan), [0, 1, 2, 0], cr.DataError, r"x has 1 NaN .* first at x\[2, 1\]"),
        (broken(inf), [0, 1, 2, 0], cr.DataError, "x has 1 infinite"),
        (X, [0, 1, 2], cr.ShapeError, "x has 4, y has 3"),
        (X, [0, 1, 2, 3], cr.DataError, r"labels must be in 0 .. 2 for 3 classes: .* y\[3\]"),
        (X, [0, -1, 2, 1], cr.DataError, "first -1 at y"),
        (X, [0, 0.5, 2, 1], cr.DataError, "labels must be whole numbers"),
        (X, np.eye(3)[[0, 1, 2, 0]], cr.ShapeError, "needs labels of shape"),
        (X, ["a", "b", "c", "d"], cr.DtypeError, "y must hold numbers"),
        (3.0, [0, 1], cr.ShapeError, "x is a single number"),
        ([[1.0], [1.0, 2.0]], [0, 1], cr.ShapeError, "x is not a rectangular array"),
    ],
)
def test_faulty_data_changes_nothing(x, y, error, told) -> None:
    model = model_for(SPARSE)
    model.build_for(X.shape)
    kept = model.get_weights()
    for call in (model.fit, model.evaluate):
        with pytest.raises(error, match=told):
            call(x, y)
    with pytest.raises(error, match=told):
        model.fit(X, [0, 1, 2, 0], validation_data=(x, y), verbose=0)
    assert all(np.array_equal(model.get_weights()[name], kept[name]) for name in kept)


@pytest.mark.parametrize(
    ("loss", "units", "y", "error", "told"),
    [
        ("mse", 3, [0, 1, 2, 0], cr.ShapeError, SPARSE),
        ("mse", 3, np.zeros((4, 2)), cr.ShapeError, "shaped like the outputs"),
        ("mse", 3, np.zeros(4), cr.ShapeError, "as many units as y has columns"),
        ("categorical_crossentropy", 3, [0, 1, 2, 0], cr.ShapeError, r"np.eye\(3\)\[y\]"),
        ("categorical_crossentropy", 3, np.ones((4, 3)), cr.DataError, "sum to 1"),
        ("binary_crossentropy", 1, [-1, 1, 1, -1], cr.DataError, "in 0 .. 1"),
        (SPARSE, 1, [0, 1, 1, 0], cr.ShapeError, "binary_crossentropy"),
        (SPARSE, 3, np.eye(4)[:, :3], cr.ShapeError, r"shape \(n,\) for outputs of shape \(n, 3\)"),
        (lambda y, p: p - y, 1, np.zeros((4, 1)), cr.ShapeError, "must give one number"),
    ],
)
def test_targets_must_suit_the_loss(loss, units, y, error, told) -> None:
    with pytest.raises(error) as caught:
        model_for(loss, units).fit(X, y, verbose=0)
    assert caught.match(told)
    assert "test_inputs.py" in str(caught.value)


@pytest.mark.parametrize(
    ("loss", "units", "y"),
    [
        ("mse", 1, [1.5, 2, 3, 4]),
        ("mse", 1, [[1], [2], [3], [4]]),
        ("mse", 3, np.zeros((4, 3), np.int64)),
        ("binary_crossentropy", 1, [True, False, True, False]),
        ("binary_crossentropy", 3, np.eye(4, 3)),
        ("categorical_crossentropy", 3, np.eye(3)[[0, 1, 2, 0]]),
        (SPARSE, 3, [[0], [1], [2], [0]]),
        (SPARSE, 3, [0.0, 1.0, 2.0, 0.0]),
        (SPARSE, 3, np.uint8([0, 1, 2, 0])),
        (lambda y, p: cr.mean((p - y) * (p - y)), 1, np.zeros((4, 1))),
    ],
)
def test_targets_that_suit_are_taken(loss, units, y) -> None:
    history = model_for(loss, units).fit(X, y, epochs=2, verbose=0)
    assert history.stopped == "epochs" and np.isfinite(history.history["loss"]).all()


def test_column_against_row_does_not_broadcast() -> None:
    x, model = np.float32([[1], [2], [3]]), Sequential([nn.Dense(1)])
    model.compile(SGD(0.0), "mse")
    y = np.float32([5, 7, 9])
    gap = model.predict(x)[:, 0] - y
    assert model.evaluate(x, y)["loss"] == pytest.approx(np.mean(gap**2), rel=1e-6)


@pytest.mark.parametrize("call", ["fit", "evaluate"])
def test_compile_comes_first(call: str) -> None:
    with pytest.raises(cr.ArgumentError, match="compile was not called") as caught:
        getattr(Sequential([nn.Dense(1)]), call)(X, np.zeros(4))
    assert "model.compile(" in caught.value.mend


def test_predict_needs_no_compile() -> None:
    assert Sequential([nn.Dense(5)]).predict(X).shape == (4, 5)


@pytest.mark.parametrize(
    ("arguments", "error", "told"),
    [
        (dict(optimizer="adm", loss="mse"), cr.UnknownNameError, "optimizer 'adm'"),
        (dict(optimizer="sgd", loss="msee"), cr.UnknownNameError, "loss 'msee'"),
        (dict(optimizer="sgd", loss="mse", metrics=["acc", "oops"]), cr.UnknownNameError, "oops"),
        (
            dict(optimizer=SGD, loss="mse"),
            cr.ArgumentError,
            r"got SGD, the class[^|]*optim\.SGD\(\)",
        ),
        (dict(optimizer="sgd", loss=None), cr.ArgumentError, "got None"),
        (dict(optimizer="sgd", loss="mse", metrics="mse"), cr.ArgumentError, "must be a list"),
    ],
)
def test_compile_refuses_what_it_cannot_use(arguments, error, told) -> None:
    with pytest.raises(error, match=told):
        Sequential([nn.Dense(1)]).compile(**arguments)


@pytest.mark.parametrize(
    ("arguments", "error", "told"),
    [
        (dict(batch_size=0), cr.ArgumentError, "batch_size must be an integer of at least 1"),
        (dict(epochs=-1), cr.ArgumentError, "epochs"),
        (dict(epochs=2.5), cr.ArgumentError, "epochs"),
        (dict(verbose=7), cr.ArgumentError, "verbose must be"),
        (dict(callbacks=[print]), cr.ArgumentError, "a callback is an object"),
        (dict(validation_split=1.0), cr.ArgumentError, "between 0 and 1"),
        (dict(validation_split=0.9), cr.DataError, "without a training part"),
        (dict(validation_data=X), cr.ArgumentError, "must be a pair"),
        (dict(validation_data=(X[:, :1], np.zeros(4))), cr.ShapeError, "examples of shape"),
        (
            dict(validation_data=(X, np.zeros(4)), validation_split=0.5),
            cr.ArgumentError,
            "both given",
        ),
    ],
)
def test_fit_refuses_arguments_out_of_range(arguments, error, told) -> None:
    with pytest.raises(error, match=told):
        model_for("mse", 1).fit(X, np.zeros(4), **{"verbose": 0, **arguments})


def test_learning_rate_must_stay_a_number() -> None:
    model = model_for("mse", 1)
    for rate in (nan, "fast"):
        model.optimizer.learning_rate = rate
        with pytest.raises(cr.ArgumentError, match="learning rate must be a finite number"):
            model.fit(X, np.zeros(4), verbose=0)


def test_features_of_another_width_are_refused() -> None:
    model = model_for("mse", 1)
    model.fit(X, np.zeros(4), verbose=0)
    for call in (model.predict, lambda x: model.fit(x, np.zeros(4), verbose=0)):
        with pytest.raises(cr.ShapeError, match="dense"):
            call(np.zeros((4, 5)))
    with pytest.raises(cr.DataError, match="x has 1 NaN"):
        model.predict(broken(nan))


def test_fit_inside_a_recording_is_refused() -> None:
    model = model_for("mse", 1)
    with cr.record(), pytest.raises(cr.GradientError, match="fit was called while something"):
        model.fit(X, np.zeros(4), verbose=0)


def test_models_that_fit_cannot_train_are_refused() -> None:
    class Sum(Model):
        def call(self, x):
            return cr.sum(x)

    class Words(Model):
        def call(self, x):
            return "words"

    for model, error, told in (
        (
            Sum(),
            cr.ShapeError,
            r"one output for each example: n examples of shape \(2,\) gave \(\)",
        ),
        (Words(), cr.ArgumentError, "a tuple or dict of tensors, got str"),
        (Sequential([nn.Flatten()]), cr.ArgumentError, "no parameters to train"),
    ):
        model.compile("sgd", "mse")
        with pytest.raises(error, match=told):
            model.fit(X, X, verbose=0)


def test_sequential_needs_layers() -> None:
    for wrong in ([nn.Dense], [nn.Dense(2), "relu"]):
        with pytest.raises(cr.ArgumentError, match="Sequential needs layers"):
            Sequential(wrong)
    with pytest.raises(cr.ArgumentError, match="seed must be an integer"):
        Sequential([nn.Dense(1)], seed=-1)
    with pytest.raises(cr.ArgumentError, match=r"needs a list of layers, got Dense\(2\)"):
        Sequential(nn.Dense(2), nn.Dense(1))


def test_tensors_and_lists_are_data_too() -> None:
    x, y = blobs(12)
    losses = []
    for form in (np.asarray, cr.Tensor, np.ndarray.tolist):
        model = model_for(SPARSE)
        losses.append(model.fit(form(x), form(y), verbose=0).history["loss"])
    assert losses[0] == losses[1] == losses[2]
