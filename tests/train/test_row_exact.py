"""Row-exact optimisers against the dense optimiser: after any gaps, the same to rounding."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule.core.tensor import Tensor
from chainrule.grad.reverse import grad, value_and_grad
from chainrule.grad.rows import Rows
from chainrule.train import optim, schedules
from chainrule.train.rows import RowExact

ROWS, WIDTH = 40, 3
GAPS = (1, 2, 3, 7, 20, 55, 150, 400, 1100, 1500)
OPTIMIZERS = {
    "sgd": optim.SGD(0.05),
    "momentum": optim.SGD(0.02, 0.9),
    "nesterov": optim.SGD(0.02, 0.9, nesterov=True),
    "rmsprop": optim.RMSprop(0.01),
    "rmsprop centered": optim.RMSprop(0.005, momentum=0.8, centered=True),
    "adagrad": optim.Adagrad(0.05),
    "adam": optim.Adam(0.01),
    "adamw": optim.AdamW(0.01, weight_decay=0.1),
    "adamax": optim.Adamax(0.01),
    "nadam": optim.Nadam(0.01),
    "amsgrad": optim.Adam(0.01, amsgrad=True),
    "lion": optim.Lion(0.001),
}


def around(opt: Any, steps: int) -> Any:
    """The optimiser with a schedule, a global norm, decoupled decay and an average."""
    kind = type(opt)
    rate = schedules.warmup(schedules.cosine(opt.learning_rate, steps), steps // 10)
    inner = kind(**{**vars(opt), "learning_rate": rate})
    return optim.Averaged(optim.WeightDecay(optim.ClipByGlobalNorm(inner, 1.0), 0.02), 0.97)


def loss_of(params: Any, ids: Any, y: Any) -> Tensor:
    return cr.mean((cr.take(params["table"], ids) @ params["kernel"] - y) ** 2) * 5


def batches(steps: int, dtype: str = "float64") -> list[tuple[np.ndarray, np.ndarray]]:
    """Six ids a step, some of them twice: row i of GAPS comes once in GAPS[i] steps."""
    rng = np.random.Generator(np.random.Philox(key=2))
    found = []
    for t in range(steps):
        due = [i for i, gap in enumerate(GAPS) if t % gap == gap // 2]
        ids = np.resize([*due[::-1], 0], 6)
        found.append((ids, rng.normal(size=(6, 1)).astype(dtype)))
    return found


def start(dtype: str = "float64") -> dict[str, Any]:
    rng = np.random.Generator(np.random.Philox(key=1))
    table = rng.normal(size=(ROWS, WIDTH)).astype(dtype)
    return {"kernel": Tensor(table[:3, :1].copy()), "table": Tensor(table)}


def by_rows(opt: Any, data: list, params: Any = None) -> tuple[RowExact, Any, Any]:
    """(optimiser, parameters, state) after a compiled step for each of `data`."""
    exact = RowExact(opt, ["table"])

    @cr.jit
    def step(params: Any, state: Any, ids: Any, y: Any) -> Any:
        now = exact.current(params, state)
        _, grads = value_and_grad(loss_of, rows=True)(now, ids, y)
        assert isinstance(grads["table"], Rows)
        return exact.update(params, grads, state)

    params = start() if params is None else params
    state = exact.init(params)
    for ids, y in data:
        params, state = step(params, exact.grown(state), ids, y)
    return exact, params, state


def densely(opt: Any, data: list, params: Any = None) -> tuple[Any, Any]:
    @cr.jit
    def step(params: Any, state: Any, ids: Any, y: Any) -> Any:
        _, grads = value_and_grad(loss_of)(params, ids, y)
        return opt.update(params, grads, state)

    params = start() if params is None else params
    state = opt.init(params)
    for ids, y in data:
        params, state = step(params, state, ids, y)
    return params, state


def assert_twins(name: str, steps: int, atol: float) -> None:
    """Parameters, averages and slots of every row, after catching up, are the dense twin's."""
    data = batches(steps)
    exact, params, state = by_rows(around(OPTIMIZERS[name], steps), data)
    assert state["tables"]["table"]["last"].numpy().tolist().count(0) >= ROWS - len(GAPS)
    found = exact.current(params, state), exact.opened(state)
    wanted = densely(around(OPTIMIZERS[name], steps), data)
    moved = np.abs(wanted[0]["table"].numpy() - start()["table"].numpy()).max(axis=1)
    assert moved.min() > 0 and moved[0] > 0.01
    ours, theirs = cr.flatten(found), cr.flatten(wanted)
    assert ours[1] == theirs[1]
    for a, b in zip(ours[0], theirs[0], strict=True):
        np.testing.assert_allclose(a.numpy(), b.numpy(), rtol=1e-11, atol=atol)


@pytest.mark.parametrize("name", ["adamw", "nadam", "rmsprop centered", "lion"])
def test_sixty_steps_by_rows_are_sixty_dense_steps(name: str) -> None:
    assert_twins(name, 60, 1e-14)


@pytest.mark.heavy
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_two_thousand_steps_by_rows_are_the_dense_ones(name: str) -> None:
    assert_twins(name, 2000, 1e-13)


def test_float32_rows_are_within_rounding_of_the_float64_twin() -> None:
    data = batches(300, "float32")
    exact, params, state = by_rows(around(OPTIMIZERS["adam"], 300), data, start("float32"))
    wanted, _ = densely(around(OPTIMIZERS["adam"], 300), batches(300))
    found = exact.current(params, state)["table"].numpy()
    np.testing.assert_allclose(found, wanted["table"].numpy(), atol=5e-6)


def small(opt: Any = None) -> tuple[RowExact, Any, Any]:
    params = {"table": Tensor(np.ones((8, 2), np.float32)), "b": Tensor(np.zeros(2, np.float32))}
    exact = RowExact(optim.SGD(0.1, 0.5) if opt is None else opt, ["table"])
    return exact, params, exact.init(params)


def ones(*ids: int) -> dict[str, Any]:
    values = np.ones((len(ids), 2), np.float32)
    return {"table": Rows(np.array(ids, np.int64), values, (8, 2)), "b": None}


def test_two_reads_of_one_table_are_caught_up_and_added() -> None:
    def both(params: Any, i: Any, j: Any) -> Any:
        left, right = cr.take(params["table"], i), params["table"][j]
        return cr.sum(left * cr.sum(right, axis=0)) + cr.sum(params["b"] ** 2)

    opt = optim.Adam(0.1)
    exact, params, state = small(opt)
    dense, kept = params, opt.init(params)

    @cr.jit
    def step(params: Any, state: Any, i: Any, j: Any) -> Any:
        _, grads = value_and_grad(both, rows=True)(exact.current(params, state), i, j)
        assert isinstance(grads["table"], Rows)
        return exact.update(params, grads, state)

    for i, j in (([1], [1, 2]), ([3], [2, 0]), ([7], [1, 1]), ([2], [3, 7])):
        i, j = np.array(i), np.array(j)
        params, state = step(params, state, i, j)
        _, grads = value_and_grad(both)(dense, i, j)
        dense, kept = opt.update(dense, grads, kept)
    found = exact.current(params, state)["table"].numpy()
    np.testing.assert_allclose(found, dense["table"].numpy(), atol=1e-6)


@pytest.mark.parametrize(("opt", "caught"), [(optim.Adam(0.1), 0), (optim.Nadam(0.1), 1)])
def test_a_compiled_step_names_no_pass_over_the_table_and_keeps_its_memory(
    opt: Any, caught: int
) -> None:
    exact, params, state = small(opt)

    def step(state: Any, params: Any, ids: Any) -> Any:
        now = exact.current(params, state)
        grads = grad(lambda p: cr.sum(cr.take(p["table"], ids) ** 2), rows=True)(now)
        return exact.update(params, grads, state)[1]

    compiled = cr.jit(step, donate=("state",))
    state = compiled(state, params, np.array([1, 2]))
    before = state["tables"]["table"]["rows"].numpy().ctypes.data
    state = compiled(state, params, np.array([1, 2]))
    assert state["tables"]["table"]["rows"].numpy().ctypes.data == before
    (entry,) = compiled.entries.values()
    order = entry.program.draft().graph.order
    whole = [n.op for n in order if n.shape[:1] == (8,) and n.op.kind != "movement"]
    assert {op.name for op in whole} == {"input", "put_parts", "put_rows"}
    found = [n for n in order if n.op.name == "caught_up"]
    assert len(found) == caught  # what is read and what is updated is caught up once


def test_no_ids_only_pass_the_time() -> None:
    exact, params, state = small()
    _, state = exact.update(params, ones(3), state)
    _, state = exact.update(params, ones(), state)
    _, other = exact.update(params, ones(3), exact.init(params))
    zero = {"table": Tensor(np.zeros((8, 2), np.float32)), "b": None}
    _, other = exact.update(params, zero, other)
    assert state["tables"]["table"]["last"].numpy().tolist() == [0, 0, 0, 1, 0, 0, 0, 0]
    assert other["tables"]["table"]["last"].numpy().tolist() == [2] * 8
    for each in (state, other):
        now = exact.current(params, each)["table"].numpy()
        np.testing.assert_allclose(now[3], 1 - 0.1 - 0.05, rtol=1e-6)
        np.testing.assert_array_equal(np.delete(now, 3, axis=0), 1)


def test_a_table_without_a_gradient_stays_as_it_is_in_that_step() -> None:
    exact, params, state = small()
    _, state = exact.update(params, ones(3), state)
    before = exact.current(params, state)["table"].numpy()
    _, state = exact.update(params, {"table": None, "b": None}, state)
    np.testing.assert_array_equal(exact.current(params, state)["table"].numpy(), before)


def test_params_may_hold_none_for_a_table() -> None:
    exact, params, state = small()
    new, state = exact.update({**params, "table": None}, ones(0), state)
    assert new["table"] is None and new["b"] is params["b"]
    assert exact.current(new, state)["table"].numpy()[0, 0] == np.float32(0.9)


@pytest.mark.parametrize("donate", [(), ("state",)])
def test_a_trail_grows_and_a_full_one_is_refused(
    donate: tuple, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("chainrule.train.rows.STEPS_AT_FIRST", 2)
    exact, params, state = small(optim.Nadam(0.1))
    step = cr.jit(lambda params, state: exact.update(params, ones(0), state), donate=donate)
    for _ in range(2):
        params, state = step(params, state)
    with pytest.raises(cr.ArgumentError, match="has room for 2, and all of it is taken"):
        step(params, state)
    state = exact.grown(state)
    assert state["trail"].shape[0] == 4 and exact.grown(state) is state
    params, state = step(params, state)
    assert state["step"].item() == 3


def test_what_is_no_row_of_the_table_is_refused_and_nothing_is_lost() -> None:
    exact, params, state = small()
    with pytest.raises(cr.ArgumentError, match=r"positions must lie in 0\.\.7, got 8"):
        exact.update(params, ones(8), state)
    with pytest.raises(cr.ShapeError, match=r"gradient of 'table' needs shape \(8, 2\)"):
        exact.update(params, {"table": Rows([0], np.ones((1, 3), np.float32), (8, 3))}, state)
    with pytest.raises(cr.UnknownNameError, match="unknown table 'tabel'"):
        RowExact("adam", ["tabel"]).init(params)
    for opt in (
        optim.Muon(),
        optim.Accumulate(optim.Adam(), 2),
        optim.Groups("adam", {"t*": "muon"}),
    ):
        with pytest.raises(cr.ArgumentError, match="has no row rule for 'table'"):
            RowExact(opt, ["table"]).init(params)
    np.testing.assert_array_equal(exact.current(params, state)["table"].numpy(), 1)
