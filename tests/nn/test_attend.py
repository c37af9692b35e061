"""Attention of queries, keys and values: at once, in causal parts, by blocks."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest

import chainrule as cr
from chainrule.nn import attend

rng = np.random.default_rng(8)


def given(queries=70, keys=70, batch=2, heads=3, features=5, values=4, dtype=np.float64):
    return [
        rng.normal(size=(batch, steps, heads, width)).astype(dtype)
        for steps, width in ((queries, features), (keys, features), (keys, values))
    ]


def plainly(q, k, v, allowed=True):
    scores = np.einsum("nqhd,nkhd->nhqk", q, k) / np.sqrt(q.shape[-1])
    scores = np.where(allowed, scores, -1e9)
    e = np.exp(scores - scores.max(-1, keepdims=True))
    return np.einsum("nhqk,nkhd->nqhd", e / e.sum(-1, keepdims=True), v)


def loss_of(**options):
    weight = np.random.default_rng(9).normal(size=(4,))

    def loss(q, k, v):
        y = attend.dot_product_attention(q, k, v, **options)
        return cr.sum(y * y * weight.astype(y.dtype.name))

    return cr.value_and_grad(loss, argnums=(0, 1, 2))


def read(found):
    return [x.numpy() for x in (found[0], *found[1])]


def near(found, wanted, tolerance=1e-9):
    for x, z in zip(found, wanted, strict=True):
        np.testing.assert_allclose(x, z, rtol=tolerance, atol=tolerance)


@pytest.fixture
def short(monkeypatch):
    """Blocks and parts for contexts that a test can afford."""
    monkeypatch.setattr(attend, "LONG", 33)
    monkeypatch.setattr(attend, "PART", 16)
    monkeypatch.setattr(attend, "PARTS", 2)


MASKS = {
    "all keys": dict(),
    "causal": dict(causal=True),
    "keys masked": dict(mask=rng.random((2, 70)) < 0.7),
    "pairs masked, causal": dict(mask=rng.random((2, 70, 70)) < 0.7, causal=True),
    "nothing to read": dict(mask=np.zeros((2, 70), bool)),
}


@pytest.mark.parametrize("options", MASKS.values(), ids=MASKS)
def test_blocks_and_parts_give_what_all_scores_at_once_give(options, monkeypatch, short):
    inputs = given()
    found = read(cr.jit(loss_of(**options))(*inputs))
    monkeypatch.setattr(attend, "LONG", 71)
    monkeypatch.setattr(attend, "PART", 71)
    near(found, read(loss_of(**options)(*inputs)))


@pytest.mark.parametrize(
    ("queries", "keys", "features", "causal"),
    [(40, 64, 1, True), (64, 40, 48, True), (33, 65, 7, False), (96, 96, 16, True)],
)
def test_any_head_size_and_unequal_lengths(queries, keys, features, causal, short):
    inputs = given(queries, keys, features=features)
    allowed = np.tri(queries, keys, keys - queries, dtype=bool) if causal else True
    y = attend.dot_product_attention(*inputs, causal=causal)
    np.testing.assert_allclose(y, plainly(*inputs, allowed), rtol=1e-9, atol=1e-12)
    if features == 7:
        near(read(cr.jit(loss_of())(*inputs)), read(loss_of()(*inputs)))


def test_a_later_key_changes_nothing_before_it(short):
    q, k, v = given(dtype=np.float32)
    other = [x.copy() for x in (k, v)]
    for x in other:
        x[:, 50:] = 7
    before = attend.dot_product_attention(q, k, v, causal=True).numpy()
    after = attend.dot_product_attention(q, *other, causal=True).numpy()
    np.testing.assert_array_equal(after[:, :50], before[:, :50])
    assert not np.allclose(after[:, 50:], before[:, 50:])


def test_blocks_go_forward_backward_and_over_examples(short):
    inputs = given(40, 40)
    along = given(40, 40)

    def loss(q, k, v):
        return cr.sum(attend.dot_product_attention(q, k, v, causal=True) ** 2.0)

    slope = cr.jvp(loss, inputs, along)[1].item()
    grads = cr.grad(loss, argnums=(0, 1, 2))(*inputs)
    wanted = sum(float((g.numpy() * x).sum()) for g, x in zip(grads, along, strict=True))
    assert slope == pytest.approx(wanted, rel=1e-9)

    one = [x[None] for x in inputs]
    mapped = cr.vmap(lambda q, k, v: attend.dot_product_attention(q, k, v, causal=True))
    wanted = attend.dot_product_attention(*inputs, causal=True)
    np.testing.assert_allclose(mapped(*one).numpy()[0], wanted, rtol=1e-9, atol=1e-12)


def test_blocks_have_a_second_derivative(short):
    x = rng.normal(size=(1, 34, 1, 2))

    def loss(x):
        return cr.sum(attend.dot_product_attention(x, x, x, causal=True) ** 2.0)

    way, step = rng.normal(size=x.shape), 1e-5
    curve = cr.hvp(loss, [x], [way])
    ahead, behind = (cr.grad(loss)(x + s * step * way).numpy() for s in (1, -1))
    np.testing.assert_allclose(curve, (ahead - behind) / (2 * step), rtol=1e-5, atol=1e-6)


def test_backward_drops_the_weights_that_forward_dropped(short):
    q, k, v = given(40, 40, batch=1, heads=2)
    options = dict(dropout=0.4, dropout_key=cr.key(3))
    found = read(cr.jit(loss_of(**options))(q, k, v))
    near(found, read(loss_of(**options)(q, k, v)))
    step = 1e-6
    way = rng.normal(size=v.shape)
    ahead, behind = (read(loss_of(**options)(q, k, v + s * step * way))[0] for s in (1, -1))
    slope = float((found[3] * way).sum())
    assert slope == pytest.approx((ahead - behind) / (2 * step), rel=1e-6)
    assert found[0] != pytest.approx(read(loss_of()(q, k, v))[0])


def test_dropped_weights_are_the_rate_of_all_and_others_in_each_block(short):
    q, k, v = given(64, 200, batch=1, heads=1, values=200)
    v = np.eye(200)[None, :, None]  # what is read is the weights
    rate = dict(dropout=0.25, dropout_key=cr.key(1))
    weights = attend.dot_product_attention(q * 0, k, v, **rate).numpy()[0, :, 0]
    assert (weights == 0).mean() == pytest.approx(0.25, abs=0.02)
    np.testing.assert_allclose(weights[weights > 0], 1 / 200 / 0.75)
    assert ((weights[:32] == 0) != (weights[32:] == 0)).any()


def peak(steps, **options):
    """The most bytes of arrays that a compiled step has at once, its arenas with them."""
    inputs = given(steps, steps, batch=1, heads=2, features=8, values=4, dtype=np.float32)
    cr.jit(loss_of(**options))(*inputs)  # so that all is compiled
    tracemalloc.start()
    try:
        cr.jit(loss_of(**options))(*inputs)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_memory_grows_as_the_context_does(short):
    scores = 2 * 1024 * 1024 * 4
    assert peak(1024) < 2.2 * peak(512) < scores


@pytest.mark.heavy
def test_memory_of_8192_steps_is_twice_that_of_4096():
    scores = 2 * 8192 * 8192 * 4
    assert peak(8192, causal=True) < 2.2 * peak(4096, causal=True) < scores / 4


def test_the_layer_reads_a_long_context_by_blocks(monkeypatch, short):
    layer = cr.nn.MultiHeadAttention(2, 3, causal=True)
    x = rng.normal(size=(2, 70, 6)).astype(np.float32)
    layer.build_for(x.shape)
    loops = []
    monkeypatch.setattr(attend, "scan", lambda *given: loops.append(given) or cr.scan(*given))
    found = layer(x).numpy()
    assert loops
    monkeypatch.setattr(attend, "LONG", 71)
    np.testing.assert_allclose(found, layer(x), rtol=1e-5, atol=1e-6)


def test_what_does_not_go_together_is_told():
    q, k, v = given(4, 6)
    with pytest.raises(cr.ShapeError, match=r"mask of shape \(2, 6\) or \(2, 4, 6\), got \(6,\)"):
        attend.dot_product_attention(q, k, v, mask=np.ones(6, bool))
    with pytest.raises(cr.ShapeError, match="as many values as keys"):
        attend.dot_product_attention(q, k, v[:, :5])
    with pytest.raises(cr.ShapeError, match="equal batches and equal heads"):
        attend.dot_product_attention(q, k[:, :, :2], v)
    with pytest.raises(cr.ShapeError, match="features to be a query's"):
        attend.dot_product_attention(q, k[..., :2], v)
    with pytest.raises(cr.ShapeError, match=r"axes .batch, steps"):
        attend.dot_product_attention(q[0], k[0], v[0])
    with pytest.raises(cr.ArgumentError, match="no key was given"):
        attend.dot_product_attention(q, k, v, dropout=0.1)
