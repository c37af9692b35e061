"""Influence against its definition: gradients of single examples, and a step of descent."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn
from chainrule.core.errors import ArgumentError, ShapeError
from chainrule.core.tree import tree_map
from chainrule.explain import influence as influence_file
from chainrule.explain.explanation import Others, Part, Partition
from chainrule.explain.influence import Beside, Influence, influence

RNG = np.random.default_rng(11)
MSE, CLASSES = "mse", "sparse_categorical_crossentropy"


def compiled(layers: list, loss: str, seed: int = 0) -> cr.Sequential:
    model = cr.Sequential(layers, seed=seed)
    model.compile("sgd", loss)
    return model


def wide(model: cr.Sequential, x: Any, loss: str) -> cr.Sequential:
    """The model in float64."""
    model(x[:1])
    twin = tree_map(lambda t: cr.cast(t, "float64") if t.dtype.kind == "f" else t, model)
    twin.compile("sgd", loss)
    return twin


def loss_of(model: Any, loss: str, x: Any, y: Any) -> Any:
    """The loss of one example alone."""
    function = nn.losses.loss(loss)
    options = {"from_logits": True} if loss == CLASSES else {}
    return function(y, model(x), **options)


def gradients(model: Any, loss: str, x: Any, y: Any) -> np.ndarray:
    """The flat gradient of each example's own loss."""
    rows = []
    for i in range(len(x)):
        found = cr.grad(lambda m, i=i: loss_of(m, loss, x[i : i + 1], y[i : i + 1]))(model)
        parts = [np.ravel(leaf) for leaf in cr.flatten(found)[0] if leaf is not None]
        rows.append(np.concatenate(parts))
    return np.stack(rows)


def values(found: Any) -> np.ndarray:
    return np.array([column.values for column in found.columns])


MODELS = {
    "dense": (lambda: [nn.Dense(5, "tanh"), nn.Dense(2)], (4,), MSE),
    "conv": (lambda: [nn.Conv2D(3, 3), nn.Flatten(), nn.Dense(3)], (5, 5, 2), CLASSES),
    "norm": (lambda: [nn.Dense(4), nn.BatchNormalization(), nn.Dense(3)], (3,), CLASSES),
    "dropout": (lambda: [nn.Dense(4, "relu"), nn.Dropout(0.5), nn.Dense(2)], (3,), MSE),
    "embedding": (lambda: [nn.Embedding(7, 3), nn.GRU(3), nn.Dense(3)], (4,), CLASSES),
}


def data(name: str, count: int) -> tuple[np.ndarray, np.ndarray]:
    _, shape, loss = MODELS[name]
    drawn = RNG.normal(size=(count, *shape)).astype(np.float32)
    x = RNG.integers(0, 7, (count, *shape)) if name == "embedding" else drawn
    y = RNG.integers(0, 3, count) if loss == CLASSES else RNG.normal(size=(count, 2)).astype("f4")
    return x, y


@pytest.mark.parametrize("name", MODELS)
def test_influence_is_the_product_of_two_gradients(name: str) -> None:
    make, _, loss = MODELS[name]
    x, y = data(name, 6)
    x2, y2 = data(name, 2)
    model = compiled(make(), loss)
    model(x)
    found = influence(model, x, y, on=(x2, y2))
    expected = gradients(model, loss, x2, y2) @ gradients(model, loss, x, y).T
    np.testing.assert_allclose(values(found), expected, rtol=1e-4, atol=1e-5)
    for i, column in enumerate(found.columns):
        alone = loss_of(model, loss, x2[i : i + 1], y2[i : i + 1]).item()
        assert (column.on, column.loss) == (i, pytest.approx(alone, rel=1e-5))


@pytest.mark.parametrize("seed", range(3))
def test_influence_is_what_a_step_of_descent_does(seed: int) -> None:
    rng = np.random.default_rng(seed)
    x, y = rng.normal(size=(4, 3)), rng.integers(0, 3, 4)
    model = wide(compiled([nn.Dense(4, "tanh"), nn.Dense(3)], CLASSES, seed), x, CLASSES)
    found = values(influence(model, x, y, on=(x[:2], y[:2])))
    rate = 1e-5
    for i in range(4):
        g = cr.grad(lambda m, i=i: loss_of(m, CLASSES, x[i : i + 1], y[i : i + 1]))(model)
        moved = [tree_map(lambda p, d, s=s: p - s * rate * d, model, g) for s in (1, -1)]
        for j in range(2):
            down, up = (loss_of(m, CLASSES, x[j : j + 1], y[j : j + 1]).item() for m in moved)
            assert found[j, i] == pytest.approx((up - down) / (2 * rate), rel=1e-6, abs=1e-9)


def test_influence_is_the_same_from_both_sides() -> None:
    x, y = data("dense", 5)
    model = compiled(MODELS["dense"][0](), MSE)
    forth = values(influence(model, x, y, on=(x[:2], y[:2])))
    back = values(influence(model, x[:2], y[:2], on=(x, y)))
    np.testing.assert_allclose(forth, back.T, rtol=1e-4, atol=1e-6)


def test_examples_are_taken_some_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    x, y = data("dense", 7)
    model = compiled(MODELS["dense"][0](), MSE)
    whole = values(influence(model, x, y, on=(x[:1], y[:1])))
    monkeypatch.setattr(influence_file, "TOGETHER", 3)
    parts = values(influence(model, x, y, on=(x[:1], y[:1])))
    np.testing.assert_allclose(parts, whole, rtol=1e-5)


def test_checkpoints_add_up_by_their_rates(tmp_path: Path) -> None:
    x, y = data("norm", 5)
    one, other = (compiled(MODELS["norm"][0](), CLASSES, seed) for seed in (1, 2))
    on = (x[:2], y[:2])
    a, b = (values(influence(model, x, y, on=on)) for model in (one, other))
    before = one.get_weights()
    file = other.save_weights(tmp_path / "later.safetensors")
    for later in (other, other.get_weights(), file):
        found = influence(one, x, y, on=on, checkpoints=[before, later], rates=[0.1, 0.01])
        np.testing.assert_allclose(values(found), 0.1 * a + 0.01 * b, rtol=1e-4, atol=1e-6)
        assert found.rates == (0.1, 0.01)
    for name, array in one.get_weights().items():
        np.testing.assert_array_equal(array, before[name])


def test_frozen_layer_and_penalty_have_no_part() -> None:
    x, y = data("dense", 4)
    layers = [nn.Dense(5, "tanh"), nn.Dense(2, kernel_regularizer="l2")]
    layers[0].trainable = False
    model = compiled(layers, MSE)
    found = values(influence(model, x, y, on=(x[:1], y[:1])))[0]
    model.layers[0].trainable = True
    hidden = np.asarray(model.layers[0](x))
    last = compiled([nn.Dense(2)], MSE)
    last(hidden)
    for name, array in zip(("kernel", "bias"), ("kernel", "bias"), strict=True):
        getattr(last.layers[0], name).assign(getattr(model.layers[1], array))
    expected = gradients(last, MSE, hidden, y)
    np.testing.assert_allclose(found, expected @ expected[0], rtol=1e-4)


def test_influence_works_for_several_inputs_and_outputs() -> None:
    class Pair(cr.Model):
        def __init__(self) -> None:
            super().__init__()
            self.joined, self.score, self.label = nn.Concatenate(), nn.Dense(1), nn.Dense(3)

        def call(self, x: Any) -> Any:
            h = self.joined((x["a"], x["b"]))
            return {"score": self.score(h), "label": self.label(h)}

    model = Pair()
    model.compile(
        "sgd", {"score": MSE, "label": CLASSES}, loss_weights={"score": 2.0, "label": 1.0}
    )
    x = {"a": RNG.normal(size=(4, 2)), "b": RNG.normal(size=(4, 1))}
    y = {"score": RNG.normal(size=4), "label": RNG.integers(0, 3, 4)}
    matrix = values(influence(model, x, y, on=(x, y)))
    np.testing.assert_allclose(matrix, matrix.T, rtol=1e-4, atol=1e-5)
    assert np.linalg.eigvalsh(matrix).min() > -1e-4 and (np.diag(matrix) > 0).all()


def test_helpful_and_harmful_examples_are_apart() -> None:
    column = Influence(0, 1.0, (0.5, -2.0, 0.0, 3.0))
    assert column.helpful() == [(3, 3.0), (0, 0.5)]
    assert column.harmful() == [(1, -2.0)]


def test_influence_stands_beside_a_contribution_and_is_not_added() -> None:
    x, y = data("dense", 3)
    model = compiled(MODELS["dense"][0](), MSE)
    found = influence(model, x, y, on=(x[:1], y[:1]))
    parts = (Part((("example", 2),), 0.25), Part((("example", 0),), -0.5))
    whole = Partition(("example",), "", "use", parts, Others(1, 0.0, 0.0, 1), -0.25)
    column = found.columns[0].values
    expected = [Beside(2, 0.25, column[2]), Beside(0, -0.5, column[0])]
    assert found.beside(whole) == expected
    other = Partition(("unit",), "", "use", parts, whole.others, -0.25)
    with pytest.raises(ArgumentError, match=r"by example, got one by \('unit',\)"):
        found.beside(other)


def test_wrong_arguments_of_influence_say_what_is_needed() -> None:
    x, y = data("dense", 3)
    model = compiled(MODELS["dense"][0](), MSE)
    with pytest.raises(ArgumentError, match=r"on=\(x"):
        influence(model, x, y, on=x)
    with pytest.raises(ArgumentError, match="one for each of 2 checkpoints"):
        influence(model, x, y, on=(x, y), checkpoints=[model, model], rates=[1, 2, 3])
    with pytest.raises(ArgumentError, match="a list of weights, got dict"):
        influence(model, x, y, on=(x, y), checkpoints=model.get_weights())
    with pytest.raises(ShapeError):
        influence(model, x, y, on=(x[:, :2], y))
    with pytest.raises(ArgumentError, match="influence needs a loss"):
        influence(cr.Sequential([nn.Dense(1)]), x, y, on=(x, y))
