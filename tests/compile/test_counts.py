"""One program for every number of examples: the same results, and None where that cannot be."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn
from chainrule.compile import program, sized
from chainrule.compile.program import Program
from chainrule.compile.sized import Sized
from chainrule.core.tree import flatten, tree_map

rng = np.random.default_rng(0)
W, K = rng.normal(size=(12, 5)), rng.normal(size=(3, 3, 2, 4))
KEY = cr.key(3)


def kernel_slope(x: Any) -> Any:
    """The gradients of a convolution's kernel and of a bias, through a maximum over windows."""

    def loss(kernel: Any, bias: Any) -> Any:
        y = cr.maximum(cr.conv2d(x, kernel, padding="same") + bias, 0.0)
        return cr.mean(cr.max_pool2d(y, 2) ** 2)

    return cr.grad(loss, argnums=(0, 1))(K, np.zeros(4))


def normalised(x: Any) -> Any:
    flat = cr.reshape(x, (-1, 12))
    mean = cr.mean(flat, axis=0)
    var = cr.sum((flat - mean) ** 2, axis=0) / (flat.shape[0] - 1)
    return (flat - mean) / cr.sqrt(var), mean


def looped_slope(x: Any) -> Any:
    """The gradient of a recurrent kernel, and of what a step adds."""

    def loss(w: Any, b: Any) -> Any:
        def step(h: Any, y: Any) -> Any:
            h = cr.tanh(h @ w + y + b)
            return h, cr.max(h, axis=0)

        h, largest = cr.scan(step, x[:, 0, 0] * 0.0, cr.swapaxes(x[:, :, 0], 0, 1))
        return cr.mean(h**2) + cr.sum(largest)

    return cr.value_and_grad(loss, argnums=(0, 1))(W[:2, :2], W[0, :2])


KNOWN: dict[str, Callable] = {
    "mean": lambda x: (cr.mean(x), cr.mean(x, axis=0), cr.mean(x, axis=(1, 2, 3))),
    "one for each": lambda x: cr.tanh(x) * 2,
    "number of examples": lambda x: cr.sum(x) * x.shape[0],
    "largest": lambda x: (cr.max(x), cr.min(x, axis=0), cr.max(x, axis=1)),
    "slope of a product": lambda x: cr.grad(lambda w: cr.mean((cr.reshape(x, (-1, 12)) @ w) ** 2))(
        W
    ),
    "slope of a convolution": kernel_slope,
    "normalised over examples": normalised,
    "several rows an example": lambda x: cr.mean(cr.reshape(x, (-1, 3)) @ W[:3], axis=0),
    "examples last": lambda x: cr.sum(cr.transpose(x) * 2, axis=-1),
    "padded elsewhere": lambda x: cr.pad(x, [(0, 0), (1, 2), (0, 0), (0, 0)], 3.0),
    "flipped elsewhere": lambda x: x[:, ::-1],
    "cut elsewhere": lambda x: cr.sum(x[:, 1:], axis=0),
    "running elsewhere": lambda x: cr.cumsum(x, axis=1),
    "numbers drawn": lambda x: x * cr.cast(cr.uniform(KEY, x.shape), "float64"),
    "rows of a table": lambda x: cr.sum(cr.take(W, cr.cast(cr.abs(x), "int64")), axis=0),
    "slope of a table": lambda x: cr.grad(
        lambda w: cr.mean(cr.take(w, cr.cast(cr.abs(x), "int64")) ** 2)
    )(W),
    "a loop": lambda x: cr.scan(
        lambda c, y: (c * 0.5 + y, cr.sum(c, axis=0)), x[:, 0] * 0.0, cr.swapaxes(x, 0, 1)
    ),
    "slope of a loop": looped_slope,
    "nothing of the examples": lambda x: cr.sort(W, axis=0),
}
MIXED: dict[str, Callable] = {
    "neighbours": lambda x: x[1:] - x[:-1],
    "running": lambda x: cr.cumsum(x, axis=0),
    "turned round": lambda x: x[::-1],
    "every pair": lambda x: cr.reshape(x, (-1, 12)) @ cr.transpose(cr.reshape(x, (-1, 12))),
    "halved and halved again": lambda x: cr.prod(x, axis=0),
    "sorted": lambda x: cr.sort(x, axis=0),
    "examples inside": lambda x: cr.reshape(cr.transpose(x), (-1,)),
    "as many as the size says": lambda x: x * (x.shape[0] ** 0.5),
    "a number of Python's": lambda x: float(x.shape[0]),
    "another way when there are many": lambda x: x * 2 if x.shape[0] > 5 else x + x,
}


def numbers(n: int) -> cr.Tensor:
    return cr.Tensor(rng.normal(size=(n, 3, 2, 2)))


@pytest.mark.parametrize("name", KNOWN)
def test_a_program_for_a_capacity_gives_what_one_for_the_size_does(name: str) -> None:
    fn = KNOWN[name]
    one = Sized(fn, ("x",))
    for n in (8, 5, 8, 1, 7, 2, 6):
        x = numbers(n)
        found, wanted = flatten(one(x))[0], flatten(fn(x))[0]
        for a, b in zip(found, wanted, strict=True):
            np.testing.assert_allclose(a.numpy(), b.numpy(), rtol=1e-11, atol=1e-12)
    assert len(one.entries) == 1
    assert [made is not None for made in one.found.values()] == [True]


@pytest.mark.parametrize("name", MIXED)
def test_where_rows_would_be_mixed_each_size_has_its_program(name: str) -> None:
    fn = MIXED[name]
    one = Sized(fn, ("x",))
    for n in (8, 5, 6):
        x = numbers(n)
        np.testing.assert_allclose(np.asarray(one(x)), np.asarray(fn(x)), rtol=1e-12)
    assert len(one.entries) == 3


def test_what_lies_beyond_the_count_is_never_seen() -> None:
    """The rows that fill up are the first example's: where that is not finite, no other is hurt."""
    one = Sized(lambda x: (cr.sum(cr.log(x), axis=1), cr.sum(x, axis=0)), ("x",))
    one(np.ones((8, 2)))
    x = np.full((5, 2), 2.0)
    rows, total = one(x)
    assert rows.shape == (5,) and (total.numpy() == 10).all()


NETS: dict[str, list] = {
    "dense": [nn.Flatten(), nn.Dense(9, activation="relu"), nn.Dropout(0.3), nn.Dense(3)],
    "convolutional": [
        nn.Conv2D(4, 2, padding="same", use_bias=False),
        nn.BatchNormalization(),
        nn.Activation("relu"),
        nn.MaxPooling2D(2, padding="same"),
        nn.Conv2D(3, 1, strides=1),
        nn.LayerNormalization(),
        nn.GlobalAveragePooling2D(),
        nn.Dense(3),
    ],
    "recurrent": [
        nn.Reshape((3, 4)),
        nn.LSTM(3, return_sequences=True),
        nn.GRU(4),
        nn.Dense(3),
    ],
}


@pytest.mark.parametrize("name", NETS)
def test_an_epoch_with_a_ragged_batch_compiles_once(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    layers = NETS[name]
    x, y = numbers(23).numpy(), rng.integers(0, 3, size=23)

    def fitted() -> tuple:
        built.clear()
        model = cr.Sequential(deepcopy(layers), seed=1)
        model.compile(
            "adam",
            loss="sparse_categorical_crossentropy",
            metrics=["accuracy", "sparse_top_k_categorical_accuracy"],
        )
        history = model.fit(x, y, batch_size=6, epochs=3, verbose=0).history
        weights = tree_map(lambda a: a.astype(np.float64), model.get_weights())
        return weights, history, len(built)

    built: list[Any] = []
    draft = Program.draft
    monkeypatch.setattr(Program, "draft", lambda self: built.append(1) or draft(self))
    monkeypatch.setattr(program, "kept_plan", lambda key: None)
    weights, history, programs = fitted()
    monkeypatch.setattr(sized, "counted", lambda *given: None)
    apart, expected, more = fitted()
    for key, values in history.items():
        np.testing.assert_allclose(values, expected[key], rtol=1e-5)
    for key in weights:
        np.testing.assert_allclose(weights[key], apart[key], rtol=1e-4, atol=1e-5)
    assert more == 2 * programs  # a loop's step is a program of its own
