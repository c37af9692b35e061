"""Recurrent layers: values, masks, states from call to call, cells of one's own, wrong input."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn

RNG = np.random.default_rng
LAYERS = {"SimpleRNN": nn.SimpleRNN, "LSTM": nn.LSTM, "GRU": nn.GRU}
KINDS: dict[str, Callable[..., nn.RNN]] = {
    **LAYERS,
    "GRU before": lambda *args, **options: nn.GRU(*args, reset_after=False, **options),
}
every_kind = pytest.mark.parametrize("make", KINDS.values(), ids=KINDS.keys())
X = RNG(0).normal(size=(2, 5, 3))
RIGHT = np.array([[1, 1, 1, 0, 0], [1, 1, 1, 1, 1]], bool)
HOLES = np.array([[0, 1, 0, 0, 1], [1, 0, 1, 1, 0]], bool)


def ready(layer: Any, shape: tuple[int, ...] = X.shape, seed: int = 1) -> Any:
    """The layer in float64 with random weights."""
    rng = RNG(seed)
    layer.build_for(shape)

    def drawn(leaf: Any) -> Any:
        values = np.zeros(leaf.shape) if isinstance(leaf, cr.State) else rng.normal(size=leaf.shape)
        return type(leaf)(values)

    return cr.tree_map(drawn, layer)


def plain(layer: nn.RNN, x: np.ndarray, mask: Any = None, h: Any = None, c: Any = None) -> tuple:
    """(outputs, h, c) by the textbook's equations, one step and one gate after another."""
    w = {name: np.array(value) for name, value in layer.cell.named_parameters().items()}
    size = layer.cell.units
    h = np.zeros((len(x), size)) if h is None else h
    c = np.zeros((len(x), size)) if c is None else c
    y, ys = np.zeros_like(h), []
    for t in range(x.shape[1]):
        on = np.ones((len(x), 1), bool) if mask is None else mask[:, t, None]
        new, memory = GATES[type(layer.cell).__name__](layer.cell, x[:, t], h, c, w)
        h, c, y = np.where(on, new, h), np.where(on, memory, c), np.where(on, new, y)
        ys.append(y)
    return np.stack(ys, 1), h, c


def sigmoid(z: Any) -> Any:
    return 1 / (1 + np.exp(-z))


def simple(cell: Any, x: Any, h: Any, c: Any, w: dict) -> tuple:
    return np.tanh(x @ w["kernel"] + h @ w["recurrent_kernel"] + w["bias"]), c


def lstm(cell: Any, x: Any, h: Any, c: Any, w: dict) -> tuple:
    i, f, g, o = np.split(x @ w["kernel"] + h @ w["recurrent_kernel"] + w["bias"], 4, -1)
    c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
    return sigmoid(o) * np.tanh(c), c


def gru(cell: Any, x: Any, h: Any, c: Any, w: dict) -> tuple:
    k, u, n = w["kernel"], w["recurrent_kernel"], cell.units
    b, b2 = w["bias"] if cell.reset_after else (w["bias"], np.zeros_like(w["bias"]))
    z = sigmoid(x @ k[:, :n] + b[:n] + h @ u[:, :n] + b2[:n])
    r = sigmoid(x @ k[:, n : 2 * n] + b[n : 2 * n] + h @ u[:, n : 2 * n] + b2[n : 2 * n])
    last = x @ k[:, 2 * n :] + b[2 * n :]
    if cell.reset_after:
        new = np.tanh(last + r * (h @ u[:, 2 * n :] + b2[2 * n :]))
    else:
        new = np.tanh(last + (r * h) @ u[:, 2 * n :])
    return z * h + (1 - z) * new, c


GATES = {"SimpleRNNCell": simple, "LSTMCell": lstm, "GRUCell": gru}


def close(found: Any, wanted: Any) -> None:
    np.testing.assert_allclose(np.asarray(found), wanted, rtol=1e-10, atol=1e-12)


@every_kind
@pytest.mark.parametrize("mask", [None, RIGHT, HOLES], ids=["all", "right", "holes"])
def test_recurrent_layers_are_their_equations(make, mask):
    layer = ready(make(4, return_sequences=True, return_state=True))
    ys, h, c = plain(layer, X, mask)
    y, *states = layer(X, mask=mask)
    close(y, ys)
    for state, wanted in zip(states, (h, c), strict=False):
        close(state, wanted)
    assert len(states) == (2 if isinstance(layer, nn.LSTM) else 1)
    short = ready(make(4))
    close(short(X, mask=mask), ys[:, -1])


@every_kind
def test_going_backwards_is_reading_the_mirrored_steps(make):
    for sequences in (True, False):
        ahead = ready(make(4, return_sequences=sequences))
        back = ready(make(4, return_sequences=sequences, go_backwards=True))
        for mask, mirrored in ((None, None), (HOLES, HOLES[:, ::-1])):
            close(back(X[:, ::-1], mask=mirrored), ahead(X, mask=mask))


@every_kind
def test_gradients_go_through_time_and_masks(make):
    x, first, mask = X[:, :3, :2], RNG(2).normal(size=(2, 2)), HOLES[:, :3]

    def loss(layer: Any, x: Any, first: Any) -> Any:
        states = (first,) * (2 if isinstance(layer, nn.LSTM) else 1)
        y = layer(x, initial_state=states, mask=mask)
        return cr.sum(y * y * y)

    for options in ({}, {"go_backwards": True, "zero_output_for_mask": True}):
        layer = ready(make(2, return_sequences=True, **options), x.shape)
        found = cr.check_gradient(loss, [layer, x, first])
        assert found, found
        hidden = np.array(cr.grad(loss, argnums=1)(layer, x, first))[~mask]
        assert not hidden.any()


def test_what_a_right_mask_hides_changes_nothing():
    layer = ready(nn.LSTM(4))
    garbage = np.where(RIGHT[..., None], X, 1e3)
    close(layer(garbage, mask=RIGHT), np.array(layer(X, mask=RIGHT)))
    close(layer(X, mask=RIGHT)[0:1], np.array(layer(X[:1, :3])))


def test_masked_steps_repeat_the_output_or_give_zero():
    y = np.array(ready(nn.GRU(4, return_sequences=True))(X, mask=HOLES))
    assert not y[0, 0].any() and np.array_equal(y[0, 1], y[0, 2])
    assert np.array_equal(y[0, 2], y[0, 3]) and not np.array_equal(y[0, 3], y[0, 4])
    zeros = np.array(
        ready(nn.GRU(4, return_sequences=True, zero_output_for_mask=True))(X, mask=HOLES)
    )
    close(zeros, np.where(HOLES[..., None], y, 0))


def test_numbers_can_be_a_mask():
    layer = ready(nn.GRU(4))
    close(layer(X, mask=HOLES.astype(np.float32)), np.array(layer(X, mask=HOLES)))


@every_kind
def test_states_go_on_as_one_long_sequence(make):
    whole = ready(make(4, return_sequences=True))
    layer = ready(make(4, return_sequences=True, stateful=True), (2, 3, 3))
    y = np.array(whole(X))
    for _ in range(2):
        close(layer(X[:, :3]), y[:, :3])
        close(layer(X[:, 3:]), y[:, 3:])
        layer.reset_states()
    step = cr.jit(lambda layer, x: layer(x))
    close(step(layer, X[:, :3]), y[:, :3])
    close(step(layer, X[:, 3:]), y[:, 3:])
    state = ready(make(4, return_state=True))(X)[1:]
    for name, kept in zip(layer.named_states(), state, strict=True):
        close(layer.named_states()[name], np.array(kept))


def test_gradients_cross_calls_within_one_recording_only():
    whole, kept = ready(nn.LSTM(3)), ready(nn.LSTM(3, stateful=True))

    def twice(layer: Any, x: Any) -> Any:
        layer.reset_states()
        layer(x[:, :3])
        return cr.sum(layer(x[:, 3:]) ** 2)

    found = cr.check_gradient(lambda x: twice(kept, x), [X])
    assert found, found
    through = cr.grad(lambda layer, x: cr.sum(layer(x) ** 2), argnums=1)(whole, X)
    close(cr.grad(twice, argnums=1)(kept, X), np.array(through))

    kept.reset_states()
    kept(X[:, :3])
    states = [np.array(state) for state in kept.named_states().values()]
    truncated = cr.grad(lambda layer, x: cr.sum(layer(x) ** 2), argnums=1)(kept, X[:, 3:])
    alone = cr.grad(lambda x: cr.sum(whole(x, initial_state=states) ** 2))(X[:, 3:])
    close(truncated, np.array(alone))


def test_an_initial_state_continues_what_another_layer_ended():
    encoder = ready(nn.LSTM(4, return_sequences=True, return_state=True))
    ys, *states = encoder(X[:, :2])
    assert ys.shape == (2, 2, 4)
    rest = encoder(X[:, 2:], initial_state=states)[0]
    close(rest, np.array(encoder(X)[0])[:, 2:])
    gru = ready(nn.GRU(4))
    first = RNG(5).normal(size=(2, 4))
    close(gru(X, initial_state=first), np.array(gru(X, first)))
    close(gru(X, initial_state=[first]), plain(gru, X, h=first)[1])


def test_transforms_see_a_recurrent_layer_like_any_function():
    layer = ready(nn.GRU(3, return_sequences=True))
    many = RNG(4).normal(size=(3, *X.shape))
    y = np.stack([np.array(layer(x, mask=RIGHT)) for x in many])
    close(cr.vmap(lambda x: layer(x, mask=RIGHT))(many), y)
    _, moved = cr.jvp(lambda x: layer(x, mask=RIGHT), [many[0]], [many[1]])
    step = 1e-6
    ahead, before = (np.array(layer(many[0] + s * many[1], mask=RIGHT)) for s in (step, -step))
    np.testing.assert_allclose(moved, (ahead - before) / (2 * step), rtol=1e-6, atol=1e-8)


def test_one_mask_of_dropout_serves_all_steps():
    options = dict(kernel_initializer="ones", recurrent_initializer="zeros", activation=None)
    layer = nn.SimpleRNN(1, dropout=0.5, return_sequences=True, **options)
    x = np.ones((50, 4, 1), np.float32)
    with nn.random_scope(cr.key(1)):
        y = layer(x, training=True).numpy()
        again = layer(x, training=True).numpy()
    assert set(np.unique(y)) == {0.0, 2.0} and (y == y[:, :1]).all()
    assert not np.array_equal(y, again)
    options["recurrent_initializer"] = "ones"
    layer = nn.SimpleRNN(1, recurrent_dropout=0.5, return_sequences=True, **options)
    with nn.random_scope(cr.key(1)):
        y = layer(x, training=True).numpy()[..., 0]
    assert {tuple(row) for row in y} == {(1, 1, 1, 1), (1, 3, 7, 15)}


def test_initial_weights_are_those_of_keras():
    layer = nn.LSTM(4).build_for((1, 3, 5))
    assert list(layer.named_parameters()) == ["cell/kernel", "cell/recurrent_kernel", "cell/bias"]
    np.testing.assert_array_equal(layer.cell.bias, np.repeat([0, 1, 0, 0], 4))
    u = np.array(layer.cell.recurrent_kernel, np.float64)
    np.testing.assert_allclose(u @ u.T, np.eye(4), atol=1e-6)
    assert np.abs(layer.cell.kernel).max() <= np.sqrt(6 / (5 + 16))
    bare = nn.LSTM(4, unit_forget_bias=False, bias_initializer="ones").build_for((1, 3, 5))
    np.testing.assert_array_equal(bare.cell.bias, np.ones(16))
    assert nn.GRU(2).build_for((1, 3, 5)).cell.bias.shape == (2, 6)
    assert nn.GRU(2, reset_after=False).build_for((1, 3, 5)).cell.bias.shape == (6,)
    assert "bias" not in vars(nn.GRU(2, use_bias=False).build_for((1, 3, 5)).cell)


@every_kind
def test_a_layer_can_do_without_bias(make):
    layer, biased = ready(make(3, use_bias=False)), ready(make(3))
    given = {**layer.named_parameters(), "cell/bias": np.zeros(biased.cell.bias.shape)}
    for name, tensor in biased.named_parameters().items():
        tensor.assign(np.array(given[name]))
    close(layer(X), np.array(biased(X)))


def test_regularizers_and_constraints_reach_the_kernels():
    layer = nn.GRU(2, kernel_regularizer="l1", recurrent_regularizer=nn.regularizers.L2(0.5))
    layer.build_for((1, 2, 3))
    wanted = (
        0.01 * np.abs(layer.cell.kernel).sum()
        + 0.5 * (np.square(layer.cell.recurrent_kernel)).sum()
    )
    np.testing.assert_allclose(nn.penalty(layer).item(), wanted, rtol=1e-5)
    bounded = nn.GRU(2, recurrent_constraint="non_neg").build_for((1, 2, 3))
    assert list(nn.constraints.projections(bounded)) == [id(bounded.cell.recurrent_kernel)]


class Decay(nn.Module):
    """A cell of two states: a matrix that gathers, and how many steps it saw; it gives both."""

    state_size = ((2, 3), 1)

    def __init__(self) -> None:
        super().__init__()
        self.dense = nn.Dense(3)

    def call(self, x: Any, states: tuple) -> tuple:
        memory, count = states
        memory = 0.5 * memory + cr.expand_dims(self.dense(x), 1)
        return cr.sum(memory, axis=1), (memory, count + 1.0)

    def get_initial_state(self, batch_size: int) -> tuple:
        return np.full((batch_size, 2, 3), 2.0), np.zeros((batch_size, 1))


def test_a_cell_of_ones_own_runs_and_learns():
    layer = ready(nn.RNN(Decay(), return_state=True))
    assert list(layer.named_parameters()) == ["cell/dense/kernel", "cell/dense/bias"]
    y, memory, count = layer(X, mask=RIGHT)
    w, b = (np.array(p) for p in layer.named_parameters().values())
    wanted = np.full((2, 3), 2.0)
    for t in range(3):
        wanted = 0.5 * wanted + X[0, t] @ w + b
    close(memory[0], wanted)
    close(y[0], wanted.sum(0))
    close(count, [[3], [5]])
    found = cr.check_gradient(lambda m, x: cr.sum(m(x, mask=HOLES)[0] ** 2), [layer, X])
    assert found, found
    close(cr.jit(lambda m, x: m(x))(layer, X)[0], np.array(layer(X)[0]))


def test_a_layer_is_rnn_of_its_cell():
    layer, whole = ready(nn.LSTM(3)), ready(nn.RNN(nn.LSTMCell(3)))
    close(whole(X), np.array(layer(X)))
    cell, states = layer.cell, (np.zeros((2, 3)), np.zeros((2, 3)))
    for t in range(5):
        y, states = cell(X[:, t], states)
    close(y, np.array(layer(X)))


def test_recurrent_weights_are_saved_and_loaded(tmp_path):
    def made(seed: int) -> Any:
        chain = [nn.Bidirectional(nn.LSTM(3, return_sequences=True)), nn.GRU(2, stateful=True)]
        return cr.Sequential(chain, seed=seed).build_for(X.shape)

    first, second = made(0), made(1)
    first(X)
    first.save_weights(tmp_path / "w.safetensors")
    second.load_weights(tmp_path / "w.safetensors")
    assert "gru/state_0" in first.get_weights()
    np.testing.assert_array_equal(first(X), second(X))


def raised(error: Any, function: Callable[[], Any]) -> str:
    with pytest.raises(error) as caught:
        function()
    return str(caught.value)


def test_wrong_recurrent_input_is_told_with_its_layer():
    model = cr.Sequential([nn.LSTM(4, return_sequences=True), nn.GRU(2)])
    assert "lstm: LSTM needs (batch, time, features)" in raised(cr.ShapeError, lambda: model(X[0]))
    model(X)
    text = raised(cr.ShapeError, lambda: model(X[..., :2]))
    assert "lstm: LSTM was built for 3 features, got 2" in text and "test_recurrent.py" in text
    text = raised(cr.ShapeError, lambda: model(X, mask=RIGHT[:, :3]))
    assert "lstm: LSTM needs a mask of shape (2, 5), (batch, time), got (2, 3)" in text
    layer = model.layers[0]
    text = raised(cr.ShapeError, lambda: layer(X, initial_state=np.zeros((2, 4))))
    assert "needs states of shape (2, 4) and (2, 4), got (2, 4)" in text


def test_a_stateful_layer_keeps_its_batch_size():
    layer = nn.LSTM(4, stateful=True)
    layer(X)
    text = raised(cr.ShapeError, lambda: layer(np.concatenate([X, X])))
    assert "LSTM is stateful and was built for batches of 2, got one of 4" in text
    assert "batch_size=2, and as many examples as fill whole batches" in text
    assert "reset_states needs a stateful layer" in raised(
        cr.ArgumentError, lambda: nn.GRU(3).reset_states()
    )


def test_a_stateful_model_is_fitted_in_its_batches():
    x = RNG(0).normal(size=(8, 5, 3)).astype(np.float32)
    model = cr.Sequential([nn.GRU(4, stateful=True), nn.Dense(1)])
    model.compile("adam", loss="mse")
    model.fit(x, x.sum((1, 2)), batch_size=4, shuffle=False, verbose=0)
    gru = model.layers[0]
    gru.reset_states()
    first, again = (model.predict(x, batch_size=4) for _ in range(2))
    assert not np.allclose(first, again)
    gru.reset_states()
    np.testing.assert_array_equal(model.predict(x, batch_size=4), first)
    text = raised(cr.ShapeError, lambda: model.predict(x))
    assert "gru: GRU is stateful and was built for batches of 4, got one of 8" in text


def test_what_is_no_cell_is_refused():
    for wrong in (nn.LSTMCell, nn.Dense(3), "lstm"):
        assert "RNN needs a cell" in raised(cr.ArgumentError, partial(nn.RNN, wrong))
    assert "units must be an integer" in raised(cr.ArgumentError, lambda: nn.LSTM(0))
    typo = partial(nn.LSTM, 3, return_sequence=True)
    text = raised(cr.UnknownNameError, typo)
    assert "unknown argument of LSTM 'return_sequence' (did you mean 'return_sequences'?)" in text
    assert "dropout: rate must lie" in raised(cr.ArgumentError, lambda: nn.GRU(2, dropout=1.5))


class Odd(nn.Module):
    """A cell that gives what it is told to."""

    state_size = 2

    def __init__(self, give: Callable) -> None:
        super().__init__()
        self.give = give

    def call(self, x: Any, states: tuple) -> Any:
        return self.give(x, states[0])


def test_a_cell_that_breaks_its_promise_is_told():
    x = np.ones((1, 2, 3), np.float32)
    text = raised(cr.ArgumentError, lambda: nn.RNN(Odd(lambda x, h: h))(x))
    assert "Odd must give (y, states), got Tensor" in text
    text = raised(cr.ShapeError, lambda: nn.RNN(Odd(lambda x, h: (x, (x,))))(x))
    assert "states of the shapes that it took, (1, 2), gave (1, 3)" in text


def echo(count: int, steps: int, back: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Random bits, and at each step the bit `back` steps before."""
    bits = RNG(seed).integers(0, 2, (count, steps, 1)).astype(np.float32)
    return bits, np.concatenate([np.zeros((count, back, 1)), bits[:, :-back]], axis=1)


def test_a_small_layer_learns_to_echo():
    x, y = echo(256, 10, 2, seed=0)
    model = cr.Sequential([nn.GRU(12, return_sequences=True), nn.Dense(1)], seed=0)
    model.compile(cr.optim.Adam(0.03), "binary_crossentropy", ["accuracy"])
    model.fit(x, y, epochs=15, batch_size=32, verbose=0)
    fresh = model.evaluate(*echo(64, 10, 2, seed=1))
    assert fresh["accuracy"] > 0.99


@pytest.mark.heavy
@pytest.mark.parametrize("make", [nn.LSTM, nn.GRU])
def test_gates_learn_to_add_two_marked_numbers(make):
    """The adding problem: the sum of the two numbers of 30 that are marked; chance is 1/6."""

    def draw(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
        rng = RNG(seed)
        numbers, marks = rng.uniform(size=(count, 30)), np.zeros((count, 30))
        marks[np.arange(count), rng.integers(0, 15, count)] = 1
        marks[np.arange(count), rng.integers(15, 30, count)] = 1
        return np.stack([numbers, marks], -1).astype(np.float32), (numbers * marks).sum(1)

    x, y = draw(2000, 0)
    model = cr.Sequential([make(32), nn.Dense(1)], seed=0)
    model.compile(cr.optim.Adam(5e-3), "mse")
    model.fit(x, y, epochs=25, batch_size=32, verbose=0)
    assert model.evaluate(*draw(500, 1))["loss"] < 0.02
