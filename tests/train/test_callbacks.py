"""Callbacks that save, log, set the rate and stop."""

from __future__ import annotations

import csv

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn
from chainrule.data import blobs
from chainrule.train import (
    CSVLogger,
    LambdaCallback,
    LearningRateScheduler,
    ModelCheckpoint,
    ReduceLROnPlateau,
    TerminateOnNaN,
    UseAverage,
    optim,
    schedules,
)

X, Y = blobs(40)


def model_for(opt: object = None) -> cr.Sequential:
    model = cr.Sequential([nn.Dense(3)], seed=1)
    model.compile(opt or optim.SGD(0.1), "sparse_categorical_crossentropy", ["accuracy"])
    return model


def fit(model: cr.Sequential, *callbacks: object, epochs: int = 3, **options: object):
    return model.fit(X, Y, epochs=epochs, callbacks=callbacks, verbose=0, **options)


def test_checkpoint_saves_each_epoch_under_its_numbers(tmp_path) -> None:
    model = model_for()
    fit(model, ModelCheckpoint(tmp_path / "{epoch:02d}-{val_loss:.2f}.st"), validation_split=0.2)
    assert [path.name[:3] for path in sorted(tmp_path.iterdir())] == ["01-", "02-", "03-"]
    kept = model.get_weights()
    model.load_weights(max(tmp_path.iterdir()))
    assert all(np.array_equal(kept[name], w) for name, w in model.get_weights().items())
    with pytest.raises(cr.ArgumentError, match="names 'val_los', which is not measured"):
        fit(model, ModelCheckpoint(tmp_path / "{val_los}"))


def test_checkpoint_of_the_best_keeps_the_best(tmp_path) -> None:
    rates = [0.1, 0.1, 500.0]  # the last epoch is made worse
    model, best = model_for(), ModelCheckpoint(tmp_path / "best", "loss", save_best_only=True)
    seen: list = []
    keep = LambdaCallback(on_epoch_end=lambda epoch, logs: seen.append(model.get_weights()))
    history = fit(model, LearningRateScheduler(lambda epoch: rates[epoch]), keep, best)
    losses = history.history["loss"]
    assert min(losses) == losses[1] == best.best
    model.load_weights(tmp_path / "best")
    assert np.array_equal(model.get_weights()["dense/kernel"], seen[1]["dense/kernel"])
    untouched = ModelCheckpoint(
        tmp_path / "no", "loss", save_best_only=True, initial_value_threshold=0.0
    )
    fit(model, untouched)
    assert untouched.saved is None and not (tmp_path / "no").exists()
    with pytest.raises(cr.ArgumentError, match="has no validation data"):
        fit(model, ModelCheckpoint(tmp_path / "x", save_best_only=True))


def test_checkpoint_by_steps(tmp_path) -> None:
    fit(model_for(), ModelCheckpoint(tmp_path / "{epoch}-{batch}", save_freq=3), batch_size=10)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["1-3", "2-2", "3-1", "3-4"]


def test_csv_has_a_line_for_each_epoch(tmp_path) -> None:
    path = tmp_path / "log.csv"
    model = model_for()
    history = fit(model, CSVLogger(path), validation_split=0.2)
    fit(model, CSVLogger(path, append=True), epochs=1, validation_split=0.2)
    rows = list(csv.DictReader(path.open()))
    assert [row["epoch"] for row in rows] == ["0", "1", "2", "0"]
    assert [float(row["val_loss"]) for row in rows[:3]] == history.history["val_loss"]
    with pytest.raises(cr.FileError, match="CSVLogger cannot write"):
        fit(model, CSVLogger(tmp_path / "none" / "log.csv"))


def test_rate_is_set_before_each_epoch() -> None:
    model, seen = model_for(), []
    note = LambdaCallback(on_epoch_end=lambda e, logs: seen.append(model.optimizer.learning_rate))
    fit(model, LearningRateScheduler(lambda epoch, rate: rate * 0.5), note)
    assert seen == [0.05, 0.025, 0.0125]
    fit(model, LearningRateScheduler(lambda epoch: 0.1 + epoch), note)
    assert seen[3:] == [0.1, 1.1, 2.1]
    for wrong in (float("nan"), None, "fast", -1.0):
        with pytest.raises(cr.ArgumentError, match=f"epoch 0 needs a rate .* got {wrong!r}"):
            fit(model, LearningRateScheduler(lambda epoch, wrong=wrong: wrong))
    scheduled = model_for(optim.SGD(schedules.constant(0.1)))
    with pytest.raises(cr.ArgumentError, match="a schedule does so already"):
        fit(scheduled, LearningRateScheduler(lambda epoch: 0.1))


def test_plateau_cuts_the_rate_as_keras_does() -> None:
    values = [1.0, 0.9, 0.9, 0.95, 0.91, 0.9, 0.9, 0.9, 0.9, 0.9, 0.5]
    model = model_for()
    callback = ReduceLROnPlateau("loss", 0.5, patience=2, cooldown=1, min_lr=0.02)
    callback.model, callback.params = model, {"metrics": ["loss"]}
    callback.on_train_begin()
    for epoch, value in enumerate(values):
        callback.on_epoch_end(epoch, {"loss": value})
    # Counted by hand: two epochs without progress, one of rest, and again.
    assert callback.cuts == [(3, 0.05), (5, 0.025), (7, 0.02)]
    assert model.optimizer.learning_rate == 0.02


def test_plateau_in_fit_follows_a_score_upwards() -> None:
    model, plateau = model_for(optim.SGD(0.0)), ReduceLROnPlateau("accuracy", patience=1)
    model.optimizer.learning_rate = 1e-9
    fit(model, plateau, epochs=4)
    assert [epoch for epoch, _ in plateau.cuts] == [1, 2, 3]
    with pytest.raises(cr.ArgumentError, match="factor must lie between"):
        ReduceLROnPlateau(factor=1.0)


def test_nan_of_the_validation_ends_the_fit() -> None:
    model = cr.Sequential([nn.Dense(1)], seed=1)
    big = np.full((4, 2), 1e30, np.float32)
    model.compile(optim.SGD(0.01), "mse")
    x, y = X[:8, :2], np.zeros(8, np.float32)
    history = model.fit(
        x, y, epochs=3, validation_data=(big, y[:4]), callbacks=[TerminateOnNaN()], verbose=0
    )
    assert history.stopped == "callback" and history.reason == "val_loss was inf in epoch 1"


def test_lambda_callback_takes_the_names_of_methods() -> None:
    batches: list = []
    fit(model_for(), LambdaCallback(on_train_batch_end=lambda b, logs: batches.append(b)), epochs=1)
    assert batches == [0, 1]
    assert not LambdaCallback(on_epoch_end=print).each_batch
    with pytest.raises(cr.UnknownNameError, match="did you mean 'on_epoch_end'"):
        LambdaCallback(on_epoch_ends=print)


def test_average_is_put_into_the_model() -> None:
    model, use = model_for(optim.Accumulate(optim.Averaged("adam", 0.5), 2)), UseAverage()
    fit(model, use)
    average = model.optimizer_state["inner"]["average"]["dense/kernel"].numpy()
    assert np.array_equal(model.get_weights()["dense/kernel"], average)
    assert not np.array_equal(use.weights["dense/kernel"], average)
    with pytest.raises(cr.ArgumentError, match="an optimiser that keeps an average"):
        fit(model_for(), UseAverage())
