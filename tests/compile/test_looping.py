"""Steps taken many times in one native call: every kind of carry, and every way to end."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn
from chainrule.compile import turns
from chainrule.compile.looping import Call, Looping
from chainrule.core.errors import ArgumentError
from chainrule.core.tensor import State, Tensor
from chainrule.core.tree import tree_map

rng = np.random.default_rng(0)
OPTIMIZER = cr.optim.Adam(1e-2)


def net(params: Any, x: Any) -> Any:
    return cr.tanh(x @ params["w"] + params["b"]) @ params["v"]


def train(params: Any, state: Any, data: Any, ids: Any, rate: Any) -> tuple:
    x, y = cr.take(data[0], ids), cr.take(data[1], ids)
    loss, grads = cr.value_and_grad(lambda p: cr.mean((net(p, x) - y) ** 2))(params)
    params, state = OPTIMIZER.update(params, grads, state, learning_rate=rate)
    return params, state, cr.isfinite(loss), loss, {"y": y}


def start(width: int, dtype: str) -> tuple:
    own = np.random.default_rng(1)
    shapes = {"w": (20, width), "b": (width,), "v": (width, 3)}
    params = {name: Tensor(own.normal(size=s).astype(dtype)) for name, s in shapes.items()}
    return params, OPTIMIZER.init(params)


def data(dtype: str, rows: int = 500) -> tuple:
    return rng.normal(size=(rows, 20)).astype(dtype), rng.normal(size=(rows, 3)).astype(dtype)


@pytest.mark.parametrize("counters", [1, turns.COUNTERS])
@pytest.mark.parametrize("width", [7, 300])
def test_turns_are_the_steps_bit_for_bit(
    width: int, counters: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(turns, "COUNTERS", counters)
    tables, ids = data("float32"), rng.integers(0, 500, size=(9, 128))
    loop = Looping(train, ("params", "state"), ("ids",), ("data",))
    step = cr.jit(train)
    params, state = start(width, "float32")
    losses, targets = [], []
    for row in ids:
        params, state, _, loss, aux = step(params, state, tables, row, 1e-2)
        losses.append(loss.item())
        targets.append(aux["y"].numpy())
    taken = loop(*start(width, "float32"), tables, ids, 1e-2)
    assert (taken.done, taken.error) == (9, None)
    np.testing.assert_array_equal(taken.rest[0], np.float32(losses))
    np.testing.assert_array_equal(taken.rest[1]["y"], targets)
    tree_map(np.testing.assert_array_equal, taken.carry, (params, state))


def test_turns_are_one_native_call(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: Any) -> None:
        raise AssertionError("a turn was taken from Python")

    monkeypatch.setattr(Call, "one_by_one", refused)
    loop = Looping(train, ("params", "state"), ("ids",), ("data",))
    taken = loop(*start(300, "float32"), data("float32"), rng.integers(0, 500, (5, 64)), 1e-2)
    assert taken.done == 5


def test_one_program_serves_tables_of_many_lengths() -> None:
    loop = Looping(train, ("params", "state"), ("ids",), ("data",))
    for rows in (300, 512, 257):
        loop(*start(7, "float32"), data("float32", rows), rng.integers(0, rows, (3, 8)), 1e-2)
    assert len(loop.turn.entries) == 1


def test_carry_is_given_away() -> None:
    params, state = start(7, "float32")
    Looping(train, ("params", "state"), ("ids",), ("data",))(
        params, state, data("float32"), rng.integers(0, 500, (3, 8)), 1e-2
    )
    with pytest.raises(cr.DonatedError):
        params["w"].numpy()


WAYS: dict[str, Callable] = {
    "swapped": lambda c, x: ((c[1], c[0] + x), c[0][0] < 99, c[0]),
    "kept": lambda c, x: ((c[0], c[1] * x), c[1][0] < 99, c[0]),
    "written only": lambda c, x: ((c[0] * 0 + x, c[1] - x), x < 99, c[1]),
    "a constant": lambda c, x: ((c[0] + 1, np.float32([7, 7])), x < 99, x),
    "two alike": lambda c, x: ((c[0] + x, c[0] + x), x < 99, c[0] + x),
}


@pytest.mark.parametrize("way", WAYS)
def test_carries_and_results_of_every_kind(way: str) -> None:
    step, carry = WAYS[way], (Tensor(np.float32([1, 2])), Tensor(np.float32([3, 4])))
    x = np.float32([1, 2, 3, 5, 8])
    c, rests = carry, []
    for each in x:
        c, _, rest = step(c, np.float32(each))
        rests.append(np.asarray(rest))
    taken = Looping(step, ("c",), ("x",))(tree_map(lambda t: Tensor(t.numpy().copy()), carry), x)
    tree_map(np.testing.assert_array_equal, taken.carry[0], tree_map(np.asarray, c))
    np.testing.assert_array_equal(taken.rest[0], rests)


def test_a_carry_stays_where_it_is_from_call_to_call() -> None:
    turns = Looping(lambda total, x: (total + x, cr.isfinite(x), x), carry=("total",), along=("x",))
    total = Tensor(np.zeros((300, 200), np.float32))  # enough for threads to share
    places = set()
    for _ in range(3):
        ((total,), _, _, _) = turns(total, np.float32([1, 2, 3]))
        places.add(total.numpy().ctypes.data)
    assert len(places) == 1 and total.numpy()[7, 7] == 18


@pytest.mark.parametrize("last", [0, 1, 4, 5])
@pytest.mark.parametrize("width", [3, 30_000])
def test_a_turn_that_says_so_is_the_last(last: int, width: int) -> None:
    def step(c: Any, x: Any) -> tuple:
        return c + x, cr.sum(x) < 5.0 * width, cr.sum(c)

    x = np.zeros((6, width), np.float32)
    x[last] = 9
    taken = Looping(step, ("c",), ("x",))(Tensor(np.ones(width, np.float32)), x)
    assert taken.done == last + 1 == len(taken.rest[0])
    np.testing.assert_array_equal(taken.carry[0], np.full(width, 10, np.float32))


@pytest.mark.parametrize("width", [7, 300])
@pytest.mark.parametrize("bad", [0, 1, 4])
def test_ids_outside_end_the_turns_before_their_step(bad: int, width: int) -> None:
    tables, ids = data("float32", 512), rng.integers(0, 512, size=(6, 32))
    ids[bad, 3] = 512
    loop = Looping(train, ("params", "state"), ("ids",), ("data",))
    taken = loop(*start(width, "float32"), tables, ids, 1e-2)
    assert taken.done == bad and isinstance(taken.error, ArgumentError)
    if bad:
        whole = loop(*start(width, "float32"), tables, ids[:bad], 1e-2)
        tree_map(np.testing.assert_array_equal, taken.carry, whole.carry)


def test_states_that_a_step_renews_are_carried() -> None:
    total = State(np.float32([0, 10]))

    def step(c: Any, x: Any) -> tuple:
        total.renew(total + x)
        return c + total, x < 99, total * 1

    taken = Looping(step, ("c",), ("x",))(Tensor(np.float32([0, 0])), np.float32([1, 2, 3]))
    np.testing.assert_array_equal(total.numpy(), [6, 16])
    np.testing.assert_array_equal(taken.carry[0], [10, 40])
    np.testing.assert_array_equal(taken.rest[0], [[1, 11], [3, 13], [6, 16]])


def test_steps_that_need_numpy_are_taken_one_by_one() -> None:
    def step(c: Any, i: Any) -> tuple:
        return cr.sort(c) + cr.take(c, i), c[0] < 7, c[0]

    start = np.float32([2, 1])
    loop = Looping(step, ("c",), ("i",))
    taken = loop(Tensor(start.copy()), np.array([1, 0, 0, 1, 1]))
    np.testing.assert_array_equal(taken.carry[0], [17, 18])
    np.testing.assert_array_equal(taken.rest[0], [2, 2, 4, 8])
    for bad in (0, 1):
        ids = np.array([0, 0, 0])
        ids[bad] = 2
        taken = loop(Tensor(start.copy()), ids)
        assert taken.done == bad == len(taken.rest[0]) and isinstance(taken.error, ArgumentError)


def test_fit_is_the_same_in_strides_and_step_by_step() -> None:
    x, y = rng.normal(size=(210, 6)), rng.integers(0, 3, size=210)

    def fitted(**more: Any) -> Any:
        model = cr.Sequential([nn.Dense(9), nn.BatchNormalization(), nn.Dropout(0.2), nn.Dense(3)])
        model.compile("adam", loss="sparse_categorical_crossentropy", metrics=["accuracy"])
        history = model.fit(x, y, batch_size=20, epochs=4, verbose=0, **more)
        return model.get_weights(), history.history

    weights, history = fitted()
    looked, slow = fitted(callbacks=cr.LambdaCallback(on_train_batch_end=lambda batch, logs: None))
    assert history == slow
    tree_map(np.testing.assert_array_equal, weights, looked)
