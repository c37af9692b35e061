"""`fit`, `evaluate`, `predict`: what they compute; the same seed gives the same bits."""

from __future__ import annotations

import copy

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn
from chainrule.core.tensor import Tensor
from chainrule.data import batch_indices, blobs, two_moons, xor
from chainrule.train import Callback, Model, Sequential
from chainrule.train.optim import SGD, Adam
from chainrule.train.strides import step_keys

QUIET = dict(verbose=0)


def classifier(seed: int = 0, rate: float = 0.0, normalised: bool = False) -> Sequential:
    extra = [nn.Dropout(rate)] if rate else []
    extra += [nn.BatchNormalization()] if normalised else []
    model = Sequential([nn.Dense(8, activation="tanh"), *extra, nn.Dense(3)], seed=seed)
    model.compile(Adam(0.01), "sparse_categorical_crossentropy", ["accuracy"])
    return model


def same(a: dict[str, np.ndarray], b: dict[str, np.ndarray]) -> bool:
    return a.keys() == b.keys() and all(np.array_equal(a[name], b[name]) for name in a)


@pytest.mark.parametrize("end", [None, "sigmoid"])
def test_xor_is_learnt(end: str | None) -> None:
    x, y = xor()
    model = Sequential([nn.Dense(8, activation="tanh"), nn.Dense(1, activation=end)], seed=2)
    model.compile(Adam(0.05), "binary_crossentropy", ["accuracy"])
    history = model.fit(x, y, epochs=200, batch_size=4, **QUIET)
    assert history.history["loss"][-1] < 0.02 and history.history["accuracy"][-1] == 1
    assert history.stopped == "epochs" and history.reason == "all 200 epochs were run"
    threshold = 0.0 if end is None else 0.5
    np.testing.assert_array_equal(model.predict(x)[:, 0] > threshold, y == 1)
    assert model.evaluate(x, y)["accuracy"] == 1


def test_softmax_at_the_end_trains_like_logits() -> None:
    x, y = blobs(60)
    losses = []
    for end in ([nn.Dense(3)], [nn.Dense(3), nn.Activation("softmax")], [nn.Dense(3, "softmax")]):
        model = Sequential(end, seed=1)
        model.compile(SGD(0.1), "sparse_categorical_crossentropy")
        losses.append(model.fit(x, y, epochs=3, **QUIET).history["loss"])
    np.testing.assert_allclose(losses[0], losses[1], rtol=1e-4)
    assert losses[1] == losses[2]


def test_loss_object_says_itself_what_it_reads() -> None:
    x, y = xor()
    for logits in (True, False):
        model = Sequential([nn.Dense(1)], seed=1)
        model.compile("sgd", nn.losses.BinaryCrossentropy(from_logits=logits))
        z = model.predict(x)[:, 0].astype(np.float64)
        p = 1 / (1 + np.exp(-z)) if logits else np.clip(z, 1e-7, 1 - 1e-7)
        expected = -np.mean(np.where(y == 1, np.log(p), np.log(1 - p)))
        assert model.evaluate(x, y)["loss"] == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("kind", ["dropout", "normalised"])
def test_same_seed_gives_the_same_bits(kind: str) -> None:
    x, y = blobs(70)
    options = {"rate": 0.5} if kind == "dropout" else {"normalised": True}
    runs = []
    for seed in (5, 5, 6):
        model = classifier(seed, **options)
        history = model.fit(x, y, epochs=3, validation_split=0.2, **QUIET)
        runs.append((model.get_weights(), history.history))
    assert same(runs[0][0], runs[1][0]) and runs[0][1] == runs[1][1]
    assert not same(runs[0][0], runs[2][0])


def test_two_and_three_epochs_are_five() -> None:
    x, y = blobs(50)
    whole, parts = classifier(rate=0.5), classifier(rate=0.5)
    five = whole.fit(x, y, epochs=5, **QUIET).history["loss"]
    two = parts.fit(x, y, epochs=2, **QUIET).history["loss"]
    three = parts.fit(x, y, epochs=3, **QUIET).history["loss"]
    assert five == two + three and same(whole.get_weights(), parts.get_weights())


def test_compile_forgets_what_the_optimiser_gathered() -> None:
    x, y = blobs(40)
    model = classifier()
    start = None
    losses = []
    for _ in range(2):
        model.compile(Adam(0.05), "sparse_categorical_crossentropy")
        model.fit(x, y, epochs=0, **QUIET)
        start = start or model.get_weights()
        model.set_weights(start)
        losses.append(model.fit(x, y, epochs=2, **QUIET).history["loss"])
    assert losses[0] == losses[1]


def test_fit_is_the_loop_one_would_write() -> None:
    x, y = blobs(40)
    model = classifier(seed=3)
    model.fit(x, y, epochs=0, **QUIET)
    params = [Tensor(t.numpy().astype(np.float64)) for t in model.named_parameters().values()]

    def loss_fn(params, x, y):
        w0, b0, w1, b1 = params
        z = cr.tanh(x @ w0 + b0) @ w1 + b1
        return -cr.mean(cr.sum(cr.one_hot(y, 3, "float64") * cr.log_softmax(z), -1))

    opt = Adam(0.01)
    state, losses = opt.init(params), []
    for epoch in range(2):
        total = 0.0
        for index in batch_indices(40, 16, seed=3, epoch=epoch):
            loss, grads = cr.value_and_grad(loss_fn)(params, x[index].astype("f8"), y[index])
            params, state = opt.update(params, grads, state)
            total += loss.item() * len(index)
        losses.append(total / 40)
    history = model.fit(x, y, epochs=2, batch_size=16, **QUIET)
    np.testing.assert_allclose(history.history["loss"], losses, rtol=1e-5)
    for mine, theirs in zip(model.named_parameters().values(), params, strict=True):
        np.testing.assert_allclose(mine.numpy(), theirs.numpy(), atol=1e-5)


def test_evaluate_weighs_a_ragged_last_batch_by_its_size() -> None:
    x, y = blobs(50)
    model = classifier()
    whole = model.evaluate(x, y, batch_size=50)
    parts = model.evaluate(x, y, batch_size=7)
    assert whole.keys() == parts.keys() == {"loss", "accuracy"}
    assert parts["loss"] == pytest.approx(whole["loss"], rel=1e-5)
    assert parts["accuracy"] == whole["accuracy"] == np.mean(model.predict(x).argmax(-1) == y)


def test_predict_gives_an_own_array_whatever_the_batch() -> None:
    x, _ = blobs(50)
    model = classifier()
    z = model.predict(x)
    assert type(z) is np.ndarray and z.shape == (50, 3) and z.dtype == np.float32
    np.testing.assert_allclose(model.predict(x, batch_size=7), z, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(np.asarray(model(x)), z, rtol=1e-5, atol=1e-6)
    z[:] = 0


def test_history_has_a_number_for_each_epoch_and_name() -> None:
    x, y = two_moons(60)
    model = Sequential([nn.Dense(4, activation="relu"), nn.Dense(1)])
    model.compile("adam", "binary_crossentropy", ["accuracy", "mse"])
    history = model.fit(x, y, epochs=3, validation_data=(x[:10], y[:10]), **QUIET)
    assert list(history.history) == [
        *["loss", "accuracy", "mse"],
        *["val_loss", "val_accuracy", "val_mse"],
    ]
    assert all(len(values) == 3 for values in history.history.values())
    assert history.epoch == [0, 1, 2] and history.steps == 6
    last = {name: values[-1] for name, values in history.history.items()}
    again = model.evaluate(x[:10], y[:10])
    assert {f"val_{name}": value for name, value in again.items()}.items() <= last.items()


def test_validation_split_is_the_last_part_and_is_not_trained_on() -> None:
    x, y = blobs(50)
    split, given = classifier(), classifier()
    a = split.fit(x, y, epochs=2, validation_split=0.2, **QUIET)
    b = given.fit(x[:40], y[:40], epochs=2, validation_data=(x[40:], y[40:]), **QUIET)
    assert a.history == b.history and same(split.get_weights(), given.get_weights())


def test_images_of_bytes_are_cast_and_not_scaled() -> None:
    images = np.arange(48, dtype=np.uint8).reshape(3, 4, 4, 1)
    model = Sequential([nn.Flatten(), nn.Dense(1, kernel_initializer="ones")])
    model.compile(SGD(0.0), "mse")
    np.testing.assert_array_equal(model.predict(images)[:, 0], images.sum(axis=(1, 2, 3)))
    assert model.fit(images, np.zeros(3), **QUIET).history["loss"][0] > 10000
    doubles = images.astype(np.float64)
    assert model.predict(doubles).dtype == np.float32


def test_tensors_keep_their_identity_and_stay_readable() -> None:
    x, y = blobs(40)
    model = classifier()
    model.build_for(x.shape)
    before = model.named_parameters()
    arrays = {name: tensor.numpy() for name, tensor in before.items()}
    copies = {name: array.copy() for name, array in arrays.items()}
    model.fit(x, y, epochs=2, **QUIET)
    assert all(model.named_parameters()[name] is tensor for name, tensor in before.items())
    assert all(np.array_equal(arrays[name], copies[name]) for name in arrays)
    assert not np.array_equal(before["dense/kernel"].numpy(), copies["dense/kernel"])


def test_arrays_read_in_a_callback_stay_what_they_were() -> None:
    class Look(Callback):
        def __init__(self) -> None:
            self.seen: list[tuple[np.ndarray, np.ndarray]] = []

        def on_train_batch_end(self, batch, logs=None):
            arrays = [tensor.numpy() for tensor in self.model.named_parameters().values()]
            self.seen += [(array, array.copy()) for array in arrays]

    x, y = blobs(40)
    look = Look()
    classifier().fit(x, y, batch_size=10, epochs=2, callbacks=[look], **QUIET)
    assert len(look.seen) == 2 * 4 * 4
    assert all(np.array_equal(array, copied) for array, copied in look.seen)


def test_batch_norm_states_follow_the_data() -> None:
    x = np.random.Generator(np.random.Philox(key=1)).normal(5, 2, (64, 2)).astype(np.float32)
    model = Sequential([nn.BatchNormalization(momentum=0.5), nn.Dense(1)])
    model.compile(SGD(0.0), "mse")
    model.fit(x, np.zeros(64), epochs=1, batch_size=64, **QUIET)
    states = model.named_states()
    np.testing.assert_allclose(
        states["batch_normalization/moving_mean"].numpy(), x.mean(0) / 2, rtol=1e-5
    )
    np.testing.assert_allclose(
        states["batch_normalization/moving_variance"].numpy(), (1 + x.var(0)) / 2, rtol=1e-5
    )
    kept = model.get_weights()
    model.evaluate(x, np.zeros(64)), model.predict(x)
    assert same(model.get_weights(), kept)


def test_step_keys_are_folded_one_by_one() -> None:
    keys = step_keys(9, 4, 3)
    one = cr.fold_in(cr.fold_in(cr.fold_in(cr.key(9), "fit"), 4), 2)
    np.testing.assert_array_equal(keys[2], one.numpy())
    assert len({tuple(k) for k in (*keys, *step_keys(9, 5, 3), *step_keys(8, 4, 3))}) == 9


def test_shuffle_off_keeps_the_order() -> None:
    seen = []

    class Spy(Model):
        def build(self, shape):
            self.w = self.parameter("w", (1,), "zeros")

        def call(self, x):
            return x * self.w

    def loss(y_true, y_pred):
        return cr.mean(y_true) + cr.sum(y_pred) * 0

    class Note(Callback):
        def on_train_batch_end(self, batch, logs=None):
            seen.append(logs["loss"])

    model = Spy()
    model.compile("sgd", loss)
    y = np.arange(6, dtype=np.float32)
    model.fit(y[:, None], y, batch_size=2, shuffle=False, callbacks=[Note()], **QUIET)
    assert seen == [0.5, 1.5, 2.5]  # means over the epoch so far


def test_shared_layer_is_updated_once() -> None:
    class Twice(Model):
        def __init__(self):
            super().__init__(seed=1)
            self.inner = nn.Dense(2, use_bias=False)

        def call(self, x):
            return self.inner(self.inner(x))

    x, model = np.float32([[1, 2]]), Twice()
    model.compile(SGD(0.1), "mse")
    model.build_for(x.shape)
    w = model.inner.kernel.numpy().astype(np.float64)
    difference = x @ w @ w  # targets are 0; the loss is the mean of two squares
    gradient = x.T @ difference @ w.T + (x @ w).T @ difference
    model.fit(x, np.zeros((1, 2)), **QUIET)
    assert list(model.named_parameters()) == ["inner/kernel"]
    np.testing.assert_allclose(model.inner.kernel.numpy(), w - 0.1 * gradient, rtol=1e-4)


def test_learning_rate_may_be_set_while_it_trains() -> None:
    class Freeze(Callback):
        def on_epoch_end(self, epoch, logs=None):
            self.model.optimizer.learning_rate = 0.0
            self.after = getattr(self, "after", None) or self.model.get_weights()

    x, y = blobs(40)
    model, freeze = classifier(), Freeze()
    model.fit(x, y, epochs=3, callbacks=[freeze], **QUIET)
    assert same(model.get_weights(), freeze.after)


def test_what_a_callback_assigns_is_trained_on() -> None:
    class Reset(Callback):
        def on_epoch_end(self, epoch, logs=None):
            self.model.set_weights({n: w * 0 for n, w in self.model.get_weights().items()})

    x, y = blobs(40)
    model = classifier()
    losses = model.fit(x, y, epochs=2, batch_size=40, callbacks=[Reset()], **QUIET).history["loss"]
    assert losses[1] == pytest.approx(np.log(3), rel=1e-6)


def test_changed_configuration_is_compiled_anew() -> None:
    x, _ = blobs(10)
    model = Sequential([nn.Dense(3), nn.Activation("relu")])
    before = model.predict(x)
    model.layers[1].activation = "tanh"
    np.testing.assert_allclose(model.predict(x), np.tanh(np.asarray(model.layers[0](x))), rtol=1e-4)
    assert not np.allclose(model.predict(x), before)


def test_sequential_numbers_its_layers_and_grows() -> None:
    model = Sequential([nn.Dense(4), nn.Dense(3), nn.Activation("relu")], seed=1)
    model.add(nn.Dense(2))
    x, _ = blobs(5)
    assert model.predict(x).shape == (5, 2)
    assert [name.split("/")[0] for name in model.named_parameters()][::2] == [
        "dense",
        "dense_1",
        "dense_2",
    ]
    assert not np.array_equal(
        *[classifier(seed).predict(x) for seed in (1, 2)],
    )
    assert "Dense(4)" in repr(model)


def test_initial_weights_depend_on_seed_and_path_alone() -> None:
    x, _ = blobs(5)
    first, second = classifier(4), classifier(4)
    first.build_for((None, 2))
    second.predict(x)
    with cr.record():
        third = classifier(4)
        third(x)
    assert same(first.get_weights(), second.get_weights())
    assert same(first.get_weights(), third.get_weights())


def test_copied_model_trains_on_its_own() -> None:
    x, y = blobs(40)
    model = classifier()
    model.fit(x, y, epochs=1, **QUIET)
    kept, twin = model.get_weights(), copy.deepcopy(model)
    twin.fit(x, y, epochs=1, **QUIET)
    assert same(model.get_weights(), kept) and not same(twin.get_weights(), kept)
    model.fit(x, y, epochs=1, **QUIET)
    assert same(model.get_weights(), twin.get_weights())


def test_a_mask_goes_along_a_sequential() -> None:
    """Padded places change nothing behind an Embedding that masks 0."""
    layers = [
        cr.nn.Embedding(5, 4, mask_zero=True),
        cr.nn.MultiHeadAttention(2, 2),
        cr.nn.GlobalAveragePooling1D(),
    ]
    model = cr.Sequential(layers, seed=0)
    short = model(np.array([[1, 2, 0, 0]])).numpy()
    long = model(np.array([[1, 2, 0, 0, 0, 0]])).numpy()
    np.testing.assert_allclose(short, long, rtol=1e-5, atol=1e-6)
