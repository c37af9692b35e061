"""Weights of examples and classes; batches from iterables, generators and memory-mapped arrays."""

from __future__ import annotations

import gc
import threading
import time
import tracemalloc
from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn
from chainrule.data import blobs
from chainrule.train import optim
from chainrule.train.ahead import read_ahead

X, Y = blobs(50)
SPARSE = "sparse_categorical_crossentropy"


# Some forty batches of 256 KB wait for Python's collector of cycles; the whole would be 64 MB.
MOST = 24_000_000


def model_for(loss: Any = SPARSE, units: int = 3) -> cr.Sequential:
    model = cr.Sequential([nn.Dense(units)], seed=1)
    model.compile(optim.SGD(0.1), loss, ["mae"] if loss == "mse" else ["accuracy"])
    return model


def fitted(*args: Any, **options: Any) -> tuple[np.ndarray, dict]:
    model = model_for()
    history = model.fit(*args, epochs=2, verbose=0, **options)
    return model.get_weights()["dense/kernel"], history.history


def batches(size: int = 10):
    for start in range(0, len(X), size):
        yield X[start : start + size], Y[start : start + size]


def test_weight_two_is_an_example_given_twice() -> None:
    weights = np.where(Y == 1, 2.0, 1.0)
    twice = np.concatenate([np.arange(50), np.flatnonzero(Y == 1)])
    expected, whole = fitted(X[twice], Y[twice], batch_size=99)
    for options in (dict(sample_weight=weights), dict(class_weight={1: 2.0})):
        found, logs = fitted(X, Y, batch_size=99, **options)
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-7)
        np.testing.assert_allclose(logs["loss"], whole["loss"], rtol=1e-5)


def test_weight_zero_is_an_example_left_out() -> None:
    weights = (np.arange(50) % 2).astype(float)
    found, _ = fitted(X, Y, batch_size=50, sample_weight=weights)
    expected, _ = fitted(X[1::2], Y[1::2], batch_size=50)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("loss", ["mse", lambda y, p: cr.mean((y - p) ** 2)])
def test_weighted_evaluate_is_the_weighted_mean(loss: Any) -> None:
    rng = np.random.Generator(np.random.Philox(key=1))
    y, weights = rng.normal(size=(50, 2)), rng.uniform(size=50)
    model = model_for(loss, 2)
    gaps = np.mean((model.predict(X) - y) ** 2, axis=1)
    for size in (50, 7):
        found = model.evaluate(X, y, batch_size=size, sample_weight=weights)
        assert found["loss"] == pytest.approx(np.average(gaps, weights=weights), rel=1e-5)


def test_weights_and_accumulation_equal_the_big_batch() -> None:
    weights = np.linspace(0.1, 3, 50)
    found = []
    for opt, size in ((optim.SGD(0.1), 50), (optim.Accumulate(optim.SGD(0.1), 5), 11)):
        model = cr.Sequential([nn.Dense(3, kernel_regularizer="l2")], seed=1)
        model.compile(opt, SPARSE)
        model.fit(X, Y, batch_size=size, shuffle=False, sample_weight=weights, epochs=2, verbose=0)
        found.append(model.get_weights()["dense/kernel"])
    np.testing.assert_allclose(found[0], found[1], rtol=1e-5, atol=1e-7)


def test_regularisers_and_constraints_of_layers_are_kept_in_fit() -> None:
    layer = nn.Dense(3, kernel_regularizer="l2", kernel_constraint=nn.constraints.MaxNorm(0.1))
    model = cr.Sequential([layer], seed=1)
    model.compile(optim.SGD(0.1), SPARSE)
    model.fit(X, Y, epochs=2, verbose=0)
    kernel = model.get_weights()["dense/kernel"]
    assert np.linalg.norm(kernel, axis=0).max() <= 0.1 * (1 + 1e-6)
    plain = model_for()
    plain.build_for(X.shape)
    plain.set_weights(model.get_weights())
    extra = model.evaluate(X, Y)["loss"] - plain.evaluate(X, Y)["loss"]
    assert extra == pytest.approx(0.01 * np.sum(kernel**2), rel=1e-3)


@pytest.mark.parametrize(
    ("options", "error", "told"),
    [
        (dict(sample_weight=np.ones(3)), cr.ShapeError, "one number for each of 50"),
        (dict(sample_weight=-np.ones(50)), cr.DataError, "at least 0"),
        (dict(sample_weight=np.zeros(50)), cr.DataError, "all are 0"),
        (dict(class_weight=[1, 2]), cr.ArgumentError, "must be a dict"),
        (dict(class_weight={7: 1.0}), cr.ArgumentError, "class 7, which y does not hold"),
        (dict(class_weight={0: -1.0}), cr.ArgumentError, r"class_weight\[0\] must be a number"),
        (dict(steps_per_epoch=3), cr.ArgumentError, "not with arrays"),
    ],
)
def test_weights_that_are_none_are_refused(options: dict, error: Any, told: str) -> None:
    with pytest.raises(error, match=told):
        model_for().fit(X, Y, verbose=0, **options)


@pytest.mark.parametrize("given", [lambda: list(batches()), lambda: batches])
def test_iterables_train_like_the_arrays(given: Any) -> None:
    expected, logs = fitted(X, Y, batch_size=10, shuffle=False)
    found, streamed = fitted(given(), validation_data=batches)
    np.testing.assert_array_equal(found, expected)
    assert streamed["loss"] == logs["loss"] and len(streamed["val_loss"]) == 2
    assert model_for().evaluate(given()) == model_for().evaluate(X, Y, batch_size=10)


def test_generator_goes_on_from_epoch_to_epoch() -> None:
    def endless():
        while True:
            yield from batches()

    found, _ = fitted(endless(), steps_per_epoch=5)
    np.testing.assert_array_equal(found, fitted(X, Y, batch_size=10, shuffle=False)[0])
    with pytest.raises(cr.DataError, match="no more batches for epoch 2: a generator runs once"):
        fitted(batches())


def test_batches_carry_weights() -> None:
    weights = np.linspace(0, 1, 50)
    parts = [(x, y, weights[10 * i : 10 * i + 10]) for i, (x, y) in enumerate(batches())]
    expected, _ = fitted(X, Y, batch_size=10, shuffle=False, sample_weight=weights)
    np.testing.assert_array_equal(fitted(parts)[0], expected)


@pytest.mark.parametrize(
    ("given", "options", "error", "told"),
    [
        (X, {}, cr.ArgumentError, "x came without y"),
        (3, {}, cr.ArgumentError, "an iterable of batches"),
        ([], {}, cr.DataError, "x gave no batch"),
        ([X], {}, cr.ArgumentError, r"batch 0 of x must be a pair \(x, y\)"),
        ([(X, Y), (X[:, :1], Y)], {}, cr.ShapeError, "batch 1 of x must have examples of shape"),
        ([(X, Y), (X, Y + 9)], {}, cr.DataError, "batch 1 of x: labels must be in 0 .. 2"),
        ([(X, Y), (X * np.nan, Y)], {}, cr.DataError, "batch 1 of x: data must be finite"),
        ([(X, Y)], dict(validation_split=0.1), cr.ArgumentError, "needs arrays"),
        ([(X, Y)], dict(sample_weight=Y), cr.ArgumentError, "from the iterable"),
    ],
)
def test_streams_that_do_not_fit_are_refused(given, options, error, told) -> None:
    with pytest.raises(error, match=told):
        model_for().fit(given, verbose=0, **options)


def test_error_of_the_users_generator_is_raised_as_it_is() -> None:
    def broken():
        yield from batches()
        raise ZeroDivisionError("mine")

    with pytest.raises(ZeroDivisionError, match="mine"):
        fitted(broken)


def test_reading_runs_ahead_and_its_thread_ends() -> None:
    made: list[int] = []

    def source():
        for i in range(100):
            made.append(i)
            yield i

    reader = read_ahead(source(), depth=2)
    assert next(reader) == 0
    deadline = time.monotonic() + 5
    while len(made) < 4 and time.monotonic() < deadline:
        time.sleep(0.001)
    assert made == [0, 1, 2, 3]  # one taken, two waiting, one on its way
    before = threading.active_count()
    reader.close()
    assert threading.active_count() == before - 1


def test_memory_mapped_arrays_train_with_flat_memory(tmp_path) -> None:
    path, shape = tmp_path / "x", (16384, 1024)
    x = np.memmap(path, np.float32, "w+", shape=shape)  # 64 MB
    x[:] = 1.0
    x.flush()
    read = np.memmap(path, np.float32, "r", shape=shape)
    y = np.zeros(len(x), np.int64)
    model = cr.Sequential([nn.Dense(2)], seed=1)
    model.compile("sgd", SPARSE)
    model.fit(read[:64], y[:64], batch_size=64, verbose=0)
    gc.collect()
    tracemalloc.start()
    try:
        model.fit(read, y, batch_size=64, verbose=0)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < MOST


def test_a_long_generator_trains_with_flat_memory() -> None:
    def long():
        for _ in range(256):
            yield np.ones((64, 1024), np.float32), np.zeros(64, np.int64)  # 64 MB in all

    model = cr.Sequential([nn.Dense(2)], seed=1)
    model.compile("sgd", SPARSE)
    model.fit([next(long())], verbose=0)
    tracemalloc.start()
    try:
        model.fit(long, verbose=0)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < MOST
