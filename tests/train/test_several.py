"""`fit` with several inputs, outputs and losses: what is computed, and how it is told.

One array in and one out are in `test_fit.py`, `test_given.py` and `test_inputs.py`; what is refused
in `test_several_refused.py`.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn
from chainrule.train import Model, Sequential, optim
from chainrule.train.arrays import is_mapped, is_several, read_arrays
from tests.train.several import (
    LOSS,
    SHARES,
    TARGETS,
    TUPLE,
    N,
    Pair,
    X,
    Y,
    batches,
    pair,
    same,
    split,
)


def test_a_step_with_two_losses_is_the_one_by_hand() -> None:
    model, twin = pair(), pair()
    twin.predict(X)

    def loss_fn(twin, x):
        z = twin(x)
        gap = z["score"][:, 0] - Y["score"].astype("f4")
        label = nn.losses.sparse_categorical_crossentropy(Y["label"], z["label"], from_logits=True)
        return cr.mean(gap * gap) + 0.2 * label

    value, g = cr.value_and_grad(loss_fn)(twin, X)
    history = model.fit(X, Y, batch_size=N, verbose=0).history
    assert history["loss"][0] == pytest.approx(value.item(), rel=1e-6)
    step = {
        name: w - 0.1 * np.asarray(g.named_parameters()[name].numpy())
        for name, w in twin.get_weights().items()
    }
    for name, w in model.get_weights().items():
        np.testing.assert_allclose(w, step[name], rtol=1e-5, atol=1e-7)


def test_history_names_the_numbers_of_each_output() -> None:
    model = pair(metrics={"label": ["accuracy", "sparse_top_k_categorical_accuracy"]})
    history = model.fit(X, Y, epochs=2, validation_split=0.2, verbose=0).history
    names = ["loss", "label_loss", "score_loss", "label_accuracy"]
    names += ["label_sparse_top_k_categorical_accuracy"]
    assert list(history) == names + [f"val_{name}" for name in names]
    for kind in ("", "val_"):
        parts = zip(history[f"{kind}score_loss"], history[f"{kind}label_loss"], strict=True)
        for whole, (score, label) in zip(history[f"{kind}loss"], parts, strict=True):
            assert whole == pytest.approx(score + 0.2 * label, rel=1e-6)
    found, z = model.evaluate(X, Y, batch_size=7), model.predict(X)
    assert found["label_accuracy"] == np.mean(z["label"].argmax(-1) == Y["label"])
    assert found["score_loss"] == pytest.approx(np.mean((z["score"][:, 0] - Y["score"]) ** 2), 1e-5)


def test_iterables_of_trees_train_like_the_trees() -> None:
    for trees in ((X, Y), (X, Y, {"score": np.linspace(0, 1, N), "label": None})):
        arrays, streamed = pair(), pair()
        options = dict(zip(("x", "y", "sample_weight"), trees, strict=False))
        a = arrays.fit(**options, batch_size=10, shuffle=False, validation_data=trees, verbose=0)
        b = streamed.fit(
            lambda trees=trees: batches(*trees),
            validation_data=lambda trees=trees: batches(*trees, size=N),
            verbose=0,
        )
        assert same(arrays, streamed) and a.history == b.history
        assert arrays.evaluate(list(batches(*trees))) == streamed.evaluate(**options, batch_size=10)


def test_tuples_are_named_by_place_and_one_loss_is_for_all() -> None:
    model = split(metrics=["mae"])
    history = model.fit(TUPLE, TARGETS, validation_data=(TUPLE, TARGETS), verbose=0).history
    names = ["loss", "output_0_loss", "output_1_loss", "output_0_mae", "output_1_mae"]
    assert list(history) == names + [f"val_{name}" for name in names]
    assert [z.shape for z in model.predict(TUPLE)] == [(N, 1), (N, 2)]
    again = split(["mse", "mae"], metrics=[["mae"], None], loss_weights=[2, 0.5])
    found = again.evaluate(TUPLE, TARGETS)
    assert list(found) == ["loss", "output_0_loss", "output_1_loss", "output_0_mae"]
    assert found["loss"] == pytest.approx(2 * found["output_0_loss"] + found["output_1_loss"] / 2)


def test_output_without_a_loss_needs_no_target_and_does_not_train() -> None:
    model = pair(loss={"score": "mse", "label": None}, metrics=["mae"], loss_weights=None)
    model.predict(X)
    before = model.get_weights()
    for y in ({"score": Y["score"]}, {"score": Y["score"], "label": None}, Y):
        history = model.fit(X, y, verbose=0).history
        assert list(history) == ["loss", "score_loss", "score_mae"]
        assert history["loss"] == history["score_loss"]
    after = model.get_weights()
    assert np.array_equal(before["label/kernel"], after["label/kernel"])
    assert not np.array_equal(before["score/kernel"], after["score/kernel"])
    judged = pair(loss={"score": "mse", "label": None})
    assert "label_accuracy" in judged.evaluate(X, Y)


@pytest.mark.parametrize("size", [N, 7])
def test_each_output_has_the_mean_by_its_own_weights(size: int) -> None:
    model, ramp = pair(), np.linspace(0, 2, N)
    model.predict(X)
    z = model.predict(X)
    gaps = (z["score"][:, 0] - Y["score"]) ** 2
    logs = z["label"] - np.log(np.exp(z["label"]).sum(-1, keepdims=True))
    cross = -logs[np.arange(N), Y["label"]]
    some = (np.arange(N) < 9).astype(float)  # later batches have no weight at all
    for given, ours, theirs in (
        (ramp, ramp, ramp),
        ({"score": ramp, "label": some}, ramp, some),
        ({"score": None, "label": some}, np.ones(N), some),
    ):
        found = model.evaluate(X, Y, batch_size=size, sample_weight=given)
        score, label = np.average(gaps, weights=ours), np.average(cross, weights=theirs)
        assert found["score_loss"] == pytest.approx(score, rel=1e-5)
        assert found["label_loss"] == pytest.approx(label, rel=1e-5)
        assert found["loss"] == pytest.approx(score + 0.2 * label, rel=1e-5)


def test_micro_batches_of_two_losses_equal_the_big_batch() -> None:
    weights, found = np.linspace(0.1, 3, N), []
    for opt, size in ((optim.SGD(0.1), N), (optim.Accumulate(optim.SGD(0.1), 5), 11)):
        model = Pair()
        model.compile(opt, LOSS, loss_weights=SHARES)
        model.fit(X, Y, batch_size=size, shuffle=False, sample_weight=weights, epochs=2, verbose=0)
        found.append(model.get_weights())
    for name, w in found[0].items():
        np.testing.assert_allclose(found[1][name], w, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("loss", ["triplet", nn.losses.Triplet(margin=0.3)])
def test_weights_of_a_loss_of_the_whole_batch_are_its_own(loss: Any) -> None:
    model = Sequential([nn.Dense(4)], seed=1)
    model.compile("sgd", loss)
    weights = np.linspace(0, 1, N)
    function = nn.losses.loss(loss)
    expected = function(Y["label"], model.predict(X["numbers"]), weights=weights).item()
    found = model.evaluate(X["numbers"], Y["label"], sample_weight=weights)
    assert expected > 0 and found["loss"] == pytest.approx(expected, rel=1e-6)


def test_a_loss_of_ones_own_may_take_the_weights() -> None:
    def spread(y_true, y_pred, weights=None):
        w = 1.0 if weights is None else weights
        return cr.sum(w * (y_pred[:, 0] - cr.mean(y_pred)) ** 2)

    model = Sequential([nn.Dense(1)], seed=1)
    model.compile("sgd", spread)
    z, weights = model.predict(X["numbers"])[:, 0], np.linspace(0, 1, N)
    found = model.evaluate(X["numbers"], Y["score"], sample_weight=weights)["loss"]
    assert found == pytest.approx(np.sum(weights * (z - z.mean()) ** 2), rel=1e-5)


def test_a_chain_that_joins_takes_a_tuple_or_a_dict() -> None:
    wide = nn.Residual([nn.Dense(8, "tanh"), nn.Dense(8)])
    model = Sequential([nn.Concatenate(), wide, nn.Dense(1)], seed=1)
    model.compile("adam", "mse", ["mae"])
    history = model.fit(TUPLE, Y["score"], epochs=3, validation_split=0.1, verbose=0).history
    assert list(history) == ["loss", "mae", "val_loss", "val_mae"]
    assert history["loss"][-1] < history["loss"][0]
    z = model.predict(TUPLE)
    for x in (dict(zip("ab", TUPLE, strict=True)), list(TUPLE)):
        np.testing.assert_array_equal(model.predict(x), z)


def test_trees_may_be_nested_and_keep_their_dtypes() -> None:
    seen = []

    class Deep(Model):
        def __init__(self):
            super().__init__(seed=1)
            self.words, self.mean = nn.Embedding(20, 1), nn.GlobalAveragePooling1D()

        def call(self, x):
            words, (flags, numbers) = x["text"]["words"], x["more"]
            seen.append([words.dtype.name, flags.dtype.name, numbers.dtype.name])
            return {"a": (self.mean(self.words(words)), cr.sum(numbers, 1))}

    x = {"more": (X["numbers"] > 0, X["numbers"]), "text": {"words": X["words"].astype("u1")}}
    model = Deep()
    model.compile("sgd", {"a": ("mse", "mse")})
    assert list(model.fit(x, {"a": (Y["score"], Y["score"])}, verbose=0).history) == [
        *["loss", "a_0_loss", "a_1_loss"]
    ]
    assert seen[-1] == ["uint8", "float32", "float32"]
    z = model.predict(x)["a"]
    np.testing.assert_allclose(z[1], X["numbers"].sum(1), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("given", "several"),
    [
        ([1, 2, 3], False),
        ([[1.0, 2.0], [3.0, 4.0]], False),
        ((1, 2, 3), False),
        (((1, 2), (3, 4)), False),
        ([np.float32(1), np.float32(2)], False),
        ([np.zeros(3), np.zeros(3)], False),  # rows
        ([np.zeros((5, 3)), np.zeros((5, 2))], True),
        ([np.zeros(3), np.zeros(2)], False),  # ragged rows
        ((np.zeros(3), np.zeros(3)), True),
        ((np.zeros(3), [1, 2, 3]), True),
        ({"a": [1, 2]}, True),
    ],
)
def test_lists_and_tuples_are_read_as_documented(given: Any, several: bool) -> None:
    assert is_several(given) is several


def test_predict_of_batches_is_predict_of_all() -> None:
    model = pair()
    whole = model.predict(X)
    source = [x for (x,) in batches(X, size=20)]
    for given in (iter(source), lambda: iter(source)):
        found = model.predict(given)
        assert found.keys() == whole.keys()
        for name in whole:
            np.testing.assert_allclose(found[name], whole[name], rtol=1e-5, atol=1e-6)


def test_predict_of_a_labelled_data_set_takes_x_alone() -> None:
    class Set:
        shape = (2,)

        def epoch(self, number, start=0):
            return iter(
                [(X["numbers"][:20], Y["label"][:20]), (X["numbers"][20:], Y["label"][20:])]
            )

    model = Sequential([nn.Dense(2)], seed=1)
    found, whole = model.predict(Set()), model.predict(X["numbers"])
    np.testing.assert_allclose(found, whole, rtol=1e-5, atol=1e-6)


def test_mapped_arrays_among_others_stay_mapped(tmp_path) -> None:
    mapped = np.memmap(tmp_path / "x", np.float32, "w+", shape=(N, 2))
    mapped[:] = X["numbers"]
    read = read_arrays("x", {"words": X["words"], "numbers": mapped})
    assert is_mapped(read["numbers"]) and not is_mapped(read["words"])
    a, b = pair(), pair()
    history = a.fit({**X, "numbers": mapped}, Y, epochs=2, verbose=0).history
    assert history == b.fit(X, Y, epochs=2, verbose=0).history and same(a, b)


def test_summary_of_several_inputs() -> None:
    model = pair()
    shapes = {"words": (6,), "numbers": (2,)}
    before = model.summary(shapes, show=False)
    model.fit(X, Y, verbose=0)
    seen = model.summary(show=False)
    assert before.parameters == seen.parameters == 20 * 4 + 3 * 4 + 9 + 9 * 3
    assert [row.output for row in seen.rows][-2:] == [(1,), (3,)] and before.rows == seen.rows


def test_two_epochs_of_the_same_seed_give_the_same_bits() -> None:
    a, b = pair(), pair()
    whole = a.fit(X, Y, epochs=3, verbose=0).history["loss"]
    parts = [b.fit(X, Y, epochs=n, verbose=0).history["loss"] for n in (1, 2)]
    assert whole == parts[0] + parts[1] and same(a, b)
