"""By path: every way through the units is one product, and the largest are found."""

from itertools import product

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn
from chainrule.core.errors import ArgumentError
from chainrule.explain.explain import explain

CLASSES = np.array([0, 2, 1, 1, 0])


def net(*layers, x, loss="sparse_categorical_crossentropy"):
    model = cr.Sequential(list(layers), seed=1)
    model.compile("sgd", loss)
    model(x)
    return model


def drawn(*shape):
    return np.random.default_rng(3).normal(size=shape).astype(np.float32)


def multiplied(model, x, y, i, j):
    """All paths of entry (i, j) of the first kernel of three layers, by loops over the units."""
    weights = {k: v.astype(np.float64) for k, v in model.get_weights().items()}
    x = x.astype(np.float64)
    h1 = np.tanh(x @ weights["dense/kernel"] + weights["dense/bias"])
    z2 = h1 @ weights["dense_1/kernel"] + weights["dense_1/bias"]
    o = np.maximum(z2, 0) @ weights["dense_2/kernel"] + weights["dense_2/bias"]
    p = np.exp(o) / np.exp(o).sum(axis=1, keepdims=True)
    g = (p - np.eye(o.shape[1])[y]) / len(x)
    found = {}
    for n, k, m in product(range(len(x)), range(z2.shape[1]), range(o.shape[1])):
        slopes = (1 - h1[n, j] ** 2) * weights["dense_1/kernel"][j, k] * (z2[n, k] > 0)
        found[n, f"{j}-{k}-{m}"] = x[n, i] * slopes * weights["dense_2/kernel"][k, m] * g[n, m]
    return found


def test_paths_are_the_products_along_all_ways():
    x = drawn(5, 4)
    model = net(nn.Dense(6, "tanh"), nn.Dense(5, "relu"), nn.Dense(3), x=x)
    expected = multiplied(model, x, CLASSES, 2, 4)
    found = explain(model, x, CLASSES, "dense/kernel", (2, 4), by="path", topk=7).partitions[0]
    sizes = sorted(map(abs, expected.values()), reverse=True)
    assert np.allclose([abs(part.value) for part in found.parts], sizes[:7], rtol=1e-9)
    for part in found.parts:
        at = dict(part.labels)
        assert np.isclose(part.value, expected[at["example"], at["path"]], rtol=1e-9)
        assert np.isclose(part.value, np.prod([f.value for f in part.factors]), rtol=1e-12)
    assert found.others.count == len(expected) - 7
    assert found.others.zeros == sizes.count(0.0) > 0
    assert np.isclose(found.mass, sum(sizes))
    assert np.isclose(found.coverage, sum(sizes[:7]) / sum(sizes))
    assert found.error <= 1e-9 * found.mass


MODELS = {
    "conv": lambda: (
        [nn.Conv2D(3, 3, activation="relu"), nn.Flatten(), nn.Dense(4, "tanh"), nn.Dense(3)],
        drawn(5, 5, 5, 2),
    ),
    "lstm": lambda: ([nn.LSTM(3), nn.Dense(4, "gelu"), nn.Dense(3)], drawn(5, 4, 2)),
    "penalty": lambda: ([nn.Dense(4, "tanh", kernel_regularizer="l2"), nn.Dense(3)], drawn(5, 2)),
    "norm": lambda: ([nn.Dense(4), nn.LayerNormalization(), nn.Dense(3)], drawn(5, 2)),
}


@pytest.mark.parametrize("name", MODELS)
def test_all_paths_of_a_model_make_the_gradient(name):
    layers, x = MODELS[name]()
    model = net(*layers, x=x)
    for path, tensor in model.named_parameters().items():
        index = tuple(n // 2 for n in tensor.shape)
        found = explain(model, x, CLASSES, path, index, by="path", topk=9999).partitions[0]
        assert found.others.count == found.others.zeros
        listed = sum(part.value for part in found.parts)
        assert np.isclose(listed + found.regulariser, found.gradient, rtol=1e-6, atol=1e-12)
        assert (found.regulariser != 0) == (name == "penalty" and path == "dense/kernel")


def test_product_is_shown_where_there_is_no_room_for_all_factors():
    x = drawn(5, 4)
    layers = [nn.Dense(40, "tanh") for _ in range(4)]
    model = net(*layers, nn.Dense(3), x=x)
    found = explain(model, x, CLASSES, "dense/kernel", (2, 4), by="path", check="none")
    text = found.to_text(80, "en")
    assert max(map(len, text.splitlines())) <= 80
    (head,) = [row for row in text.splitlines() if row.startswith("example ")]
    assert "path" in head and head.endswith("product")
    assert "others" in text and "hold only" in text
    assert "4-" in found.to_latex(lang="en")


def test_batch_statistics_allow_no_paths_in_training():
    x = drawn(5, 4)
    model = net(nn.Dense(4), nn.BatchNormalization(), nn.Dense(3), x=x)
    with pytest.raises(ArgumentError, match="examples meet"):
        explain(model, x, CLASSES, "dense/kernel", (0, 0), by="path")
    found = explain(model, x, CLASSES, "dense/kernel", (0, 0), by="path", training=False)
    assert found.partitions[0].error <= 1e-9


def test_paths_are_refused_where_they_tell_nothing():
    x = drawn(5, 4)
    deep = net(*[nn.Dense(4, "tanh") for _ in range(9)], x=x)
    with pytest.raises(ArgumentError, match="1 to 8 layers"):
        explain(deep, x, CLASSES, "dense/kernel", (0, 0), by="path")
    with pytest.raises(ArgumentError, match="has its example and units"):
        explain(deep, x, CLASSES, "dense/kernel", (0, 0), by=("example", "path"))
