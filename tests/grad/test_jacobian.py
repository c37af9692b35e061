"""Jacobians, Hessians and per-example gradients beside differences and loops."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn
from chainrule.grad import jacobian as module
from chainrule.grad.jacobian import hessian, jacobian
from tests.nn.test_layers import OURS, example, make, weighted
from tests.op_checks import STEP

rng = np.random.default_rng(0)
W, X = rng.normal(size=(3, 2)), rng.normal(size=(4, 3))
EITHER = pytest.mark.parametrize("run", [lambda fn: fn, cr.jit], ids=["eager", "compiled"])


def layer(x: Any) -> cr.Tensor:
    return cr.tanh(x @ W)


def tall(x: Any) -> cr.Tensor:
    return cr.concatenate([cr.sin(x), x * x, cr.exp(x) * cr.sum(x)])


def square_sum(x: Any) -> cr.Tensor:
    return cr.sum(cr.tanh(x @ W) ** 2)


def differences(fn: Callable, x: np.ndarray) -> np.ndarray:
    """The Jacobian of `fn` by central differences."""
    sides = [
        (fn(x + STEP * one).numpy() - fn(x - STEP * one).numpy()) / (2 * STEP)
        for one in np.eye(x.size).reshape(-1, *x.shape)
    ]
    return np.stack(sides, axis=-1).reshape(*sides[0].shape, *x.shape)


@EITHER
@pytest.mark.parametrize(
    ("fn", "x"), [(layer, X), (tall, X[0]), (square_sum, X)], ids=["wide", "tall", "scalar"]
)
def test_a_jacobian_is_what_differences_say(fn, x, run) -> None:
    found = run(jacobian(fn))(x)
    assert found.shape == fn(x).shape + x.shape
    np.testing.assert_allclose(found, differences(fn, x), atol=1e-8)


@pytest.mark.parametrize(("fn", "used"), [(tall, "_columns"), (layer, "_rows")])
def test_the_direction_with_fewer_walks_is_taken(fn, used: str, monkeypatch) -> None:
    calls = []
    for name in ("_rows", "_columns"):
        real = getattr(module, name)
        kept = lambda *args, name=name, real=real: calls.append(name) or real(*args)  # noqa: E731
        monkeypatch.setattr(module, name, kept)
    jacobian(fn)(X[0])
    assert calls == [used]


def test_both_directions_agree_on_trees(monkeypatch) -> None:
    def fn(p):
        return {"a": cr.tanh(p["x"] @ p["w"]), "s": (cr.sum(p["x"]) * p["b"], p["b"])}

    given = {"x": X, "w": W, "b": np.float64(2), "n": 3}
    forth = jacobian(fn)(given)
    monkeypatch.setattr(module, "_columns", module._rows)
    back = jacobian(fn)(given)
    assert forth["a"]["w"].shape == (4, 2, 3, 2) and forth["s"][0]["x"].shape == (4, 3)
    assert forth["a"]["n"] is None and not np.any(forth["s"][1]["w"])
    cr.tree_map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-14), forth, back)


def test_argnums_choose_whose_jacobian() -> None:
    a, b = np.array([1.0, 2.0]), np.array([3.0, 4.0])
    both = jacobian(lambda a, b: a * b, argnums=(0, 1))(a, b)
    assert type(both) is tuple
    np.testing.assert_array_equal(both[0], np.diag(b))
    np.testing.assert_array_equal(jacobian(lambda a, b: a * b, argnums=1)(a, b), np.diag(a))


@EITHER
def test_a_hessian_is_the_jacobian_of_the_gradient(run) -> None:
    found = run(hessian(square_sum))(X)
    np.testing.assert_allclose(found, differences(cr.grad(square_sum), X), atol=1e-8)
    along = rng.normal(size=X.shape)
    product = cr.einsum("ijkl,kl->ij", found, along)
    np.testing.assert_allclose(product, cr.hvp(square_sum, [X], [along]), rtol=1e-10)


def test_blocks_of_a_hessian_stand_in_the_tree_twice() -> None:
    blocks = hessian(lambda p: cr.sum(p["a"] ** 2) * p["b"])({"a": np.ones(2), "b": np.float64(3)})
    np.testing.assert_allclose(blocks["a"]["a"], 6 * np.eye(2))
    np.testing.assert_allclose(blocks["a"]["b"], [2, 2])
    np.testing.assert_allclose(blocks["b"]["a"], [2, 2])
    assert blocks["b"]["b"].item() == 0


@EITHER
def test_a_jacobian_can_be_differentiated_again_and_batched(run) -> None:
    def size(x):
        return cr.sum(jacobian(layer)(x) ** 2)

    np.testing.assert_allclose(run(cr.grad(size))(X), differences(size, X), atol=1e-7)
    each = run(cr.vmap(jacobian(layer)))(X)
    np.testing.assert_allclose(each[2], jacobian(layer)(X[2]), rtol=1e-12)


def test_a_function_may_branch_on_numbers_and_renews_state_once() -> None:
    calls = cr.State(np.float32(0))

    def fn(x):
        calls.renew(calls + 1.0)
        return x if cr.sum(x) > 0 else -x

    np.testing.assert_array_equal(jacobian(fn)(np.float32([1, 2])), np.eye(2))
    assert calls.item() == 1


def test_a_custom_gradient_is_walked_its_own_way() -> None:
    @cr.custom_gradient
    def doubled(x):
        return x * 1.0, lambda g: g * 2.0

    np.testing.assert_array_equal(jacobian(doubled)(np.ones(2)), 2 * np.eye(2))


def test_empty_and_scalar_arguments_have_jacobians() -> None:
    assert jacobian(lambda x: x * 2)(np.zeros((0, 2))).shape == (0, 2, 0, 2)
    assert hessian(lambda x: x**3)(2.0).item() == 12


@pytest.mark.parametrize(
    ("fn", "x", "text"),
    [
        (lambda x: cr.argmax(x), X[0], r"needs float outputs, got int64\[\].*\n.*moves in jumps"),
        (lambda x: x.numpy(), X[0], r"got a ndarray, no Tensor(.|\n)*keep the Tensor"),
        (lambda x: None, X[0], r"got nothing \(None\)(.|\n)*return the loss"),
        (lambda x: x, np.arange(3), "the chosen arguments hold no float tensors"),
    ],
)
def test_what_has_no_jacobian_is_told(fn, x, text: str) -> None:
    with pytest.raises(cr.GradientError, match=text):
        jacobian(fn)(x)


@pytest.mark.parametrize("cls", OURS.values(), ids=OURS.keys())
def test_per_example_gradients_of_every_layer(cls) -> None:
    layer, x = make(cls), example(cls)
    with nn.random_scope(cr.key(3)):
        layer(x)

    def loss(layer, one):
        return weighted(layer, cr.tree_map(lambda t: cr.expand_dims(t, 0), one), False)

    argnums = (0,) if cls.takes_integers else (0, 1)
    found = cr.vmap(cr.grad(loss, argnums), (None, 0))(layer, x)
    last = len(cr.flatten(x)[0][0]) - 1
    alone = cr.grad(loss, argnums)(layer, cr.tree_map(lambda t: t[last], x))
    many, one = cr.flatten(found)[0], cr.flatten(alone)[0]
    assert len(many) == len(one) > 0
    for batch, single in zip(many, one, strict=True):
        np.testing.assert_allclose(batch[last], single, rtol=2e-4, atol=1e-5)


@EITHER
def test_per_example_gradients_of_images_and_of_words(run) -> None:
    images = cr.Sequential([nn.Conv2D(3, 3), nn.MaxPooling2D(2), nn.Flatten(), nn.Dense(4)])
    words = cr.Sequential([nn.Embedding(9, 3), nn.Flatten(), nn.Dense(4)])
    x = rng.normal(size=(3, 6, 6, 2)).astype(np.float32)
    ids, y = rng.integers(0, 9, (3, 5)), np.array([3, 0, 2])

    def loss(model, x, y):
        logits = model(cr.expand_dims(x, 0))
        return nn.losses.sparse_categorical_crossentropy(y.reshape(1), logits, from_logits=True)

    for model, batch in ((images, x), (words, ids)):
        model.build_for(batch.shape)
        found = run(cr.vmap(cr.grad(loss), (None, 0, 0)))(model, batch, y).named_parameters()
        for i in range(3):
            for path, g in cr.grad(loss)(model, batch[i], y[i]).named_parameters().items():
                np.testing.assert_allclose(found[path][i], g, rtol=1e-4, atol=1e-6)


def test_shared_state_is_read_under_vmap_and_not_renewed() -> None:
    norm = nn.BatchNormalization().build_for((1, 3))
    x = rng.normal(size=(4, 3)).astype(np.float32)
    loss = lambda n, x, training: cr.sum(n(x[None], training=training) ** 2)  # noqa: E731
    g = cr.vmap(cr.grad(lambda n, x: loss(n, x, False)), (None, 0))(norm, x)
    assert g.gamma.shape == (4, 3) and g.moving_mean is None
    with pytest.raises(cr.ArgumentError, match="cannot renew State"):
        cr.vmap(cr.grad(lambda n, x: loss(n, x, True)), (None, 0))(norm, x)
