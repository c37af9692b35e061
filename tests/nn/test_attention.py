"""Attention, embeddings, masks along a chain, and layers of several inputs."""

from __future__ import annotations

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn

rng = np.random.default_rng(6)
X = rng.normal(size=(2, 5, 6)).astype(np.float32)


def softmax(z):
    e = np.exp(z - z.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def attend(layer, query, value, key, allowed):
    """Each head by itself."""
    w = {name: tensor.numpy() for name, tensor in layer.named_parameters().items()}
    total = w["output_bias"]
    for h in range(layer.num_heads):
        q, k, v = (
            x @ w[f"{name}_kernel"][:, h] + w[f"{name}_bias"][h]
            for x, name in ((query, "query"), (key, "key"), (value, "value"))
        )
        scores = q @ k.swapaxes(1, 2) / np.sqrt(layer.key_dim)
        total = total + softmax(np.where(allowed, scores, -1e9)) @ v @ w["output_kernel"][h]
    return total


def made(*shapes, **options):
    layer = nn.MultiHeadAttention(2, 3, **options)
    layer.build_for(list(shapes) if len(shapes) > 1 else shapes[0])
    for name, tensor in layer.named_parameters().items():
        if name.endswith("bias"):
            tensor.assign(rng.normal(size=tensor.shape).astype(np.float32))
    return layer


def test_self_attention_is_the_formula():
    layer = made(X.shape)
    np.testing.assert_allclose(layer(X), attend(layer, X, X, X, True), rtol=1e-4, atol=1e-5)


def test_masks_and_causality_hide_keys():
    layer, mask = made(X.shape, causal=True), np.array([[1, 1, 1, 0, 1], [1, 0, 1, 1, 1]], bool)
    allowed = mask[:, None, :] & np.tri(5, dtype=bool)
    wanted = attend(layer, X, X, X, allowed)
    np.testing.assert_allclose(layer(X, mask=mask), wanted, rtol=1e-4, atol=1e-5)
    whole = np.broadcast_to(mask[:, None, :], (2, 5, 5))
    np.testing.assert_allclose(layer(X, mask=whole), wanted, rtol=1e-4, atol=1e-5)
    late = X.copy()
    late[:, 3:] = 7
    np.testing.assert_array_equal(layer(late).numpy()[:, :3], layer(X).numpy()[:, :3])


def test_query_value_and_key_may_differ():
    value, key = rng.normal(size=(2, 4, 3)), rng.normal(size=(2, 4, 2))
    layer = made(X.shape, value.shape, key.shape, value_dim=4, output_shape=7)
    assert layer.value_kernel.shape == (3, 2, 4) and layer.output_kernel.shape == (2, 4, 7)
    found = layer((X, value, key)).numpy()
    assert found.shape == (2, 5, 7)
    np.testing.assert_allclose(found, attend(layer, X, value, key, True), rtol=1e-4, atol=1e-5)


def test_what_hides_all_keys_leaves_numbers():
    layer, nothing = made(X.shape), np.zeros((2, 5), bool)
    y, g = cr.value_and_grad(lambda x: cr.sum(layer(x, mask=nothing) ** 2.0))(X)
    assert np.isfinite(y.item()) and np.isfinite(g.numpy()).all()


def test_a_mask_of_another_shape_is_told():
    with pytest.raises(cr.ShapeError, match=r"multi_head_attention: .*mask of shape \(2, 5\)"):
        made(X.shape)(X, mask=np.ones((2, 4), bool))
    with pytest.raises(cr.ShapeError, match="got 4 inputs"):
        nn.MultiHeadAttention(2, 3)((X, X, X, X))


def test_the_rate_of_dropout_is_that_of_the_weights():
    layer = made(X.shape, dropout=0.5)
    with nn.random_scope(cr.key(0)):
        dropped = layer(X, training=True).numpy()
    assert not np.allclose(dropped, layer(X).numpy())


def test_embedding_reads_rows():
    layer, ids = nn.Embedding(7, 3), np.array([[0, 6, 2], [2, 2, 1]])
    y = layer(ids).numpy()
    np.testing.assert_array_equal(y, layer.embeddings.numpy()[ids])
    assert np.abs(y).max() <= 0.05
    g = cr.grad(lambda m: cr.sum(m(ids)))(layer)
    np.testing.assert_array_equal(g.embeddings.numpy()[:, 0], [1, 1, 3, 0, 0, 0, 1])


def test_ids_are_integers_in_range():
    layer = nn.Embedding(7, 3)
    with pytest.raises(cr.DtypeError, match=r"embedding: Embedding needs integer ids"):
        layer(np.ones((2, 2)))
    with pytest.raises(cr.ArgumentError, match=r"0\.\.6, got 7 at \[0, 1\]"):
        layer(np.array([[1, 7]]))


def test_a_mask_goes_along_a_chain():
    ids = np.array([[3, 2, 0], [1, 0, 0]])
    chain = [nn.Embedding(5, 4, mask_zero=True), nn.Dense(4), nn.GlobalAveragePooling1D()]
    y, mask = nn.run_chain(chain, ids)
    assert mask is None
    rows = chain[1](chain[0](ids)).numpy()
    np.testing.assert_allclose(y, [rows[0, :2].mean(0), rows[1, 0]], rtol=1e-5, atol=1e-7)
    plain, none = nn.run_chain([nn.Embedding(5, 4), nn.Dense(4)], ids)
    assert none is None and plain.shape == (2, 3, 4)
    inner = [nn.Embedding(5, 6, mask_zero=True), nn.Residual([nn.MultiHeadAttention(1, 2)])]
    y, mask = nn.run_chain(inner, ids)
    np.testing.assert_array_equal(mask, ids != 0)
    other = ids.copy()
    other[0, 2] = 4  # not masked any more, so the others read it
    assert not np.allclose(nn.run_chain(inner, other)[0].numpy()[0, 0], y.numpy()[0, 0])


def test_a_mask_nobody_takes_is_refused():
    with pytest.raises(cr.ArgumentError, match="Dense takes no mask"):
        nn.Dense(2)(X, mask=np.ones((2, 5), bool))


def test_merges():
    a, b = X[0], X[1]
    np.testing.assert_array_equal(nn.Add()((a, b, a)), a + b + a)
    np.testing.assert_array_equal(nn.Subtract()((a, b)), a - b)
    np.testing.assert_array_equal(nn.Multiply()({"one": a, "two": b}), a * b)
    np.testing.assert_allclose(nn.Average()((a, b, b)), (a + b + b) / 3, rtol=1e-5, atol=1e-7)
    np.testing.assert_array_equal(nn.Maximum()((a, b)), np.maximum(a, b))
    np.testing.assert_array_equal(nn.Concatenate()((a, b[:, :2])), np.hstack([a, b[:, :2]]))
    np.testing.assert_array_equal(nn.Concatenate(axis=0)((a, b[:2])), np.vstack([a, b[:2]]))


@pytest.mark.parametrize(
    ("layer", "given", "text"),
    [
        (nn.Add(), X, "add: Add needs several inputs, got one of shape"),
        (nn.Add(), (X,), "Add needs several inputs, got 1"),
        (nn.Subtract(), (X, X, X), "Subtract needs two inputs, got 3"),
        (nn.Concatenate(), (X, X[0]), "Concatenate along axis -1 needs equal other extents"),
        (nn.Concatenate(1), (X, X[..., :2]), "Concatenate along axis 1"),
        (nn.Residual([nn.Dense(2)]), X, r"the chain gives \(2, 5, 2\).*\(2, 5, 6\)"),
    ],
)
def test_inputs_that_do_not_go_together(layer, given, text):
    with pytest.raises(cr.ShapeError, match=text):
        layer(given)


def test_residual_adds_what_goes_beside():
    plain = nn.Residual([nn.Dense(6, "relu"), nn.Dense(6)])
    plain.build_for(X.shape)
    inner = plain.layers[1](plain.layers[0](X)).numpy()
    np.testing.assert_allclose(plain(X), inner + X, rtol=1e-5, atol=1e-6)
    beside = nn.Residual([nn.Dense(3)], shortcut=nn.Dense(3, use_bias=False))
    y = beside(X).numpy()
    wanted = beside.layers[0](X).numpy() + X @ beside.shortcut.kernel.numpy()
    np.testing.assert_allclose(y, wanted, rtol=1e-4, atol=1e-5)
    assert list(beside.named_parameters()) == ["dense/kernel", "dense/bias", "shortcut/kernel"]


class TwoTowers(cr.Model):
    """Two inputs by name, two outputs by name."""

    def __init__(self):
        super().__init__()
        self.words, self.numbers = nn.Embedding(9, 4, mask_zero=True), nn.Dense(4, "tanh")
        self.mean, self.joined = nn.GlobalAveragePooling1D(), nn.Concatenate()
        self.score, self.label = nn.Dense(1), nn.Dense(3)

    def call(self, x):
        ids = x["ids"]
        text = self.mean(self.words(ids), mask=self.words.compute_mask(ids))
        both = self.joined((text, self.numbers(x["numbers"])))
        return {"score": self.score(both), "label": self.label(both)}


def test_a_model_of_several_inputs_and_outputs_is_a_call():
    model = TwoTowers()
    shapes, dtypes = {"ids": (1, 5), "numbers": (1, 2)}, {"ids": "int64", "numbers": "float32"}
    model.build_for(shapes, dtypes)
    x = {"ids": np.array([[1, 2, 0, 0, 0], [8, 1, 1, 3, 0]]), "numbers": rng.normal(size=(2, 2))}
    eager = model(x)
    compiled = cr.jit(lambda m, x: m(x))(model, x)
    assert {name: y.shape for name, y in eager.items()} == {"score": (2, 1), "label": (2, 3)}
    for name, y in eager.items():
        np.testing.assert_allclose(compiled[name], y, rtol=1e-5, atol=1e-6)

    def loss(m, x):
        y = m(x)
        label = nn.losses.sparse_categorical_crossentropy([0, 2], y["label"], from_logits=True)
        return label + nn.losses.mean_squared_error([1.0, 2.0], y["score"])

    found = cr.check_gradient(loss, [model, x], tolerance=1e-3)
    assert found, found
