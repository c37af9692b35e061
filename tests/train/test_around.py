"""What goes around an optimiser: clipping, decay, averages, accumulation, groups, freezing."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn
from chainrule.core.tensor import Tensor
from chainrule.data import blobs
from chainrule.train import optim

SHAPES = {"a/kernel": (3, 4), "a/bias": (4,), "b/kernel": (4, 2)}


def drawn(seed: int, scale: float = 1.0, dtype: str = "float64") -> dict[str, Any]:
    rng = np.random.Generator(np.random.Philox(key=seed))
    return {n: Tensor((scale * rng.normal(size=s)).astype(dtype)) for n, s in SHAPES.items()}


def norm(tree: Any) -> float:
    return float(np.sqrt(sum(np.sum(t.numpy() ** 2) for t in tree.values())))


def run(opt: Any, grads: list, params: Any = None, jitted: bool = True, **options: Any) -> Any:
    params = drawn(0) if params is None else params
    update = cr.jit(opt.update) if jitted else opt.update
    state = opt.init(params)
    for g in grads:
        params, state = update(params, g, state, **options)
    return params, state


def assert_same(a: Any, b: Any, rtol: float = 1e-12) -> None:
    assert a.keys() == b.keys()
    for name in a:
        np.testing.assert_allclose(a[name].numpy(), b[name].numpy(), rtol=rtol, err_msg=name)


def clipped_by_value(g: dict) -> dict:
    return {n: np.clip(t.numpy(), -0.5, 0.5) for n, t in g.items()}


def clipped_by_norm(g: dict) -> dict:
    sizes = {n: np.linalg.norm(t.numpy()) for n, t in g.items()}
    return {n: t.numpy() * min(1, 0.5 / max(sizes[n], 1e-30)) for n, t in g.items()}


def clipped_by_global_norm(g: dict) -> dict:
    return {n: t.numpy() * min(1, 0.5 / max(norm(g), 1e-30)) for n, t in g.items()}


CLIPS = [
    (optim.ClipByValue, clipped_by_value),
    (optim.ClipByNorm, clipped_by_norm),
    (optim.ClipByGlobalNorm, clipped_by_global_norm),
]


@pytest.mark.parametrize("scale", [0.0, 0.01, 10.0])
@pytest.mark.parametrize(("make", "expected"), CLIPS)
def test_clipping_changes_the_gradient_that_the_optimiser_sees(make, expected, scale) -> None:
    grads = drawn(1, scale)
    by_hand = {name: Tensor(g) for name, g in expected(grads).items()}
    plain = optim.SGD(0.1, 0.9)
    clipped, _ = run(make(plain, 0.5), [grads, grads])
    assert_same(clipped, run(plain, [by_hand, by_hand])[0])
    if scale == 0.01:
        assert_same(clipped, run(plain, [grads, grads])[0])


@pytest.mark.parametrize("make", [optim.ClipByValue, optim.ClipByNorm, optim.ClipByGlobalNorm])
def test_clipping_lets_none_pass_and_nan_through(make) -> None:
    params = {"w": Tensor([1.0, 2.0]), "frozen": Tensor([3.0])}
    opt = make("sgd", 1.0)
    new, _ = opt.update(params, {"w": Tensor([np.nan, 1.0]), "frozen": None}, opt.init(params))
    assert new["frozen"] is params["frozen"] and np.isnan(new["w"].numpy()[0])
    with pytest.raises(cr.ArgumentError, match="limit must be a number above 0, got 0"):
        make("adam", 0)


def test_weight_decay_around_adam_is_adamw() -> None:
    grads = [drawn(i) for i in (1, 2, 3)]
    wrapped = optim.WeightDecay(optim.Adam(0.1), 0.05)
    assert_same(run(wrapped, grads)[0], run(optim.AdamW(0.1, weight_decay=0.05), grads)[0])
    faster = run(wrapped, grads, learning_rate=0.2)[0]
    assert_same(faster, run(optim.AdamW(0.2, weight_decay=0.05), grads)[0])
    scheduled = optim.WeightDecay(optim.Adam(lambda step: step * 0.1 + 0.1), 0.05)
    by_hand, state = drawn(0), optim.AdamW().init(drawn(0))
    for i, g in enumerate(grads):
        opt = optim.AdamW(0.1 * (i + 1), weight_decay=0.05)
        by_hand, state = opt.update(by_hand, g, state)
    assert_same(run(scheduled, grads)[0], by_hand)


def test_average_follows_the_parameters_and_leaves_them_alone() -> None:
    grads = [drawn(i) for i in (1, 2, 3)]
    opt = optim.Averaged(optim.SGD(0.1), 0.7)
    average = {n: t.numpy() for n, t in drawn(0).items()}
    params, state = run(opt, grads)
    assert_same(params, run(optim.SGD(0.1), grads)[0])
    for i in range(3):
        now = run(optim.SGD(0.1), grads[: i + 1])[0]
        average = {n: 0.7 * a + 0.3 * now[n].numpy() for n, a in average.items()}
    assert_same(state["average"], {n: Tensor(a) for n, a in average.items()})


@pytest.mark.parametrize("inner", [optim.SGD(0.1, 0.9), optim.AdamW(0.1)])
def test_accumulated_gradients_are_the_mean_of_all(inner) -> None:
    grads = [drawn(i) for i in range(1, 7)]
    means = [
        {n: Tensor(np.mean([g[n].numpy() for g in grads[i : i + 3]], axis=0)) for n in SHAPES}
        for i in (0, 3)
    ]
    opt = optim.Accumulate(inner, 3)
    assert_same(run(opt, grads)[0], run(inner, means)[0])
    assert_same(run(opt, grads[:5])[0], run(inner, means[:1])[0])
    assert_same(run(opt, grads[:2])[0], drawn(0))


def test_accumulation_weighs_each_gradient() -> None:
    opt = optim.Accumulate(optim.SGD(1.0), 2)
    params = {"w": Tensor(np.float64([0.0]))}
    state = opt.init(params)
    for g, weight in ((4.0, 3.0), (8.0, 1.0)):
        params, state = opt.update(params, {"w": Tensor(np.float64([g]))}, state, weight=weight)
    assert params["w"].item() == -5.0 and state["inner"]["step"].item() == 1


def test_micro_batches_equal_the_big_batch_in_fit() -> None:
    x, y = blobs(50)  # 50 = 12 + 12 + 12 + 14 is no multiple: the last micro-batch is smaller
    weights = []
    for opt, size in ((optim.Adam(0.01), 48), (optim.Accumulate(optim.Adam(0.01), 4), 12)):
        model = cr.Sequential([nn.Dense(8, "tanh"), nn.Dense(3)], seed=1)
        model.compile(opt, "sparse_categorical_crossentropy")
        model.fit(x[:48], y[:48], batch_size=size, epochs=3, shuffle=False, verbose=0)
        weights.append(model.get_weights())
    for name, expected in weights[0].items():
        np.testing.assert_allclose(weights[1][name], expected, rtol=1e-4, atol=1e-6)


def test_ragged_micro_batches_equal_the_big_batch_in_fit() -> None:
    x, y = blobs(25)
    weights = []
    for opt, size in ((optim.SGD(0.1), 25), (optim.Accumulate(optim.SGD(0.1), 3), 10)):
        model = cr.Sequential([nn.Dense(3)], seed=1)
        model.compile(opt, "sparse_categorical_crossentropy")
        model.fit(x, y, batch_size=size, epochs=2, shuffle=False, verbose=0)
        weights.append(model.get_weights())
    for name, expected in weights[0].items():
        np.testing.assert_allclose(weights[1][name], expected, rtol=1e-5, atol=1e-7)


def test_groups_have_settings_of_their_own() -> None:
    grads = [drawn(i) for i in (1, 2)]
    opt = optim.Groups(
        optim.Adam(0.1), {"a/bias": None, "a": {"learning_rate": 0.01}, "b": optim.SGD(0.5)}
    )
    new, _ = run(opt, grads)
    assert_same({"a/bias": new["a/bias"]}, {"a/bias": drawn(0)["a/bias"]})
    slow = run(optim.Adam(0.01), grads)[0]
    assert_same({"a/kernel": new["a/kernel"]}, {"a/kernel": slow["a/kernel"]})
    sgd = run(optim.SGD(0.5), grads)[0]
    assert_same({"b/kernel": new["b/kernel"]}, {"b/kernel": sgd["b/kernel"]})


def test_a_rate_passed_scales_all_groups() -> None:
    grads = [drawn(1)]
    opt = optim.Groups(optim.SGD(0.1), {"*/bias": {"learning_rate": 0.2}})
    new, _ = run(opt, grads, learning_rate=0.3)
    assert_same({"k": new["a/kernel"]}, {"k": run(optim.SGD(0.3), grads)[0]["a/kernel"]})
    assert_same({"k": new["a/bias"]}, {"k": run(optim.SGD(0.6), grads)[0]["a/bias"]})
    opt.learning_rate = 0.3
    assert_same(new, run(opt, grads)[0])


def test_groups_refuse_what_they_do_not_know() -> None:
    with pytest.raises(cr.UnknownNameError, match="did you mean 'learning_rate'"):
        optim.Groups("adam", {"a": {"learning_rat": 1.0}})
    with pytest.raises(cr.ArgumentError, match="holds another optimiser"):
        optim.Groups(optim.ClipByNorm("adam", 1.0), {"a": {"learning_rate": 1.0}})
    x, y = blobs(10)
    model = cr.Sequential([nn.Dense(3)], seed=1)
    model.compile(optim.Groups("adam", {"dens": None}), "sparse_categorical_crossentropy")
    with pytest.raises(cr.ArgumentError, match="'dens' fits no parameter"):
        model.fit(x, y, verbose=0)


def test_paths_of_a_tree_and_of_a_module() -> None:
    from chainrule.train.groups import leaf_paths

    tree = {"b": [Tensor([1.0]), {"c": Tensor([1.0])}], "a": Tensor([1.0]), "n": None}
    assert leaf_paths(tree) == ["a", "b/0", "b/1/c"]
    model = cr.Sequential([nn.Dense(3), nn.BatchNormalization()]).build_for((None, 2))
    assert leaf_paths(model)[:2] == ["dense/kernel", "dense/bias"]
    assert len(leaf_paths(model)) == len(cr.flatten(model)[0])


@pytest.mark.parametrize("way", ["layer", "path"])
def test_frozen_layers_keep_their_weights(way: str) -> None:
    x, y = blobs(20)
    model = cr.Sequential([nn.Dense(4, "tanh"), nn.Dense(3)], seed=1)
    opt: Any = optim.Adam(0.05)
    if way == "path":
        opt = optim.ClipByGlobalNorm(optim.Groups(opt, {"dense": None}), 1.0)
    model.compile(opt, "sparse_categorical_crossentropy")
    if way == "layer":
        model.layers[0].trainable = False
    model.build_for(x.shape)
    before = model.get_weights()
    model.fit(x, y, epochs=2, verbose=0)
    after = model.get_weights()
    moved = [name for name in before if not np.array_equal(before[name], after[name])]
    assert moved == ["dense_1/kernel", "dense_1/bias"]
    steps = model._setup.steps
    assert steps is not None and steps.names == moved
    if way == "layer":
        model.layers[0].trainable = True
        model.fit(x, y, epochs=1, verbose=0)
        assert not np.array_equal(model.get_weights()["dense/kernel"], after["dense/kernel"])


def test_learning_rate_is_that_of_the_one_within() -> None:
    opt = optim.ClipByNorm(optim.WeightDecay(optim.Adam(0.1), 0.2), 1.0)
    twin = copy.deepcopy(opt)
    opt.learning_rate = 0.5
    assert (opt.inner.inner.learning_rate, twin.learning_rate) == (0.5, 0.1)
    assert repr(twin).startswith("ClipByNorm(WeightDecay(Adam(learning_rate=0.1")
    assert repr(twin).endswith("weight_decay=0.2), limit=1.0)")


def test_all_of_them_together_train() -> None:
    x, y = blobs(60)
    inner = optim.Averaged(optim.Groups("muon", {"*/bias": optim.SGD(0.05)}), 0.9)
    opt = optim.Accumulate(optim.ClipByGlobalNorm(optim.WeightDecay(inner), 1.0), 2)
    model = cr.Sequential([nn.Dense(8, "tanh"), nn.Dense(3)], seed=1)
    model.compile(opt, "sparse_categorical_crossentropy", ["accuracy"])
    history = model.fit(x, y, epochs=6, batch_size=10, verbose=0)
    assert history.history["loss"][-1] < history.history["loss"][0]
    average = model.optimizer_state["inner"]["average"]
    assert average.keys() == model.named_parameters().keys()
