"""What rows have missed, known at once: the dense result, in one native segment."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule.compile.plan import Code
from chainrule.core.tensor import Tensor
from chainrule.grad.reverse import value_and_grad
from chainrule.train import optim, schedules
from chainrule.train.missed import geometric, quotients
from chainrule.train.rows import RowExact
from tests.train.test_row_exact import batches, by_rows, densely, loss_of, ones, small, start

KNOWN = {
    "momentum": lambda rate: optim.SGD(rate, 0.9),
    "nesterov": lambda rate: optim.SGD(rate, 0.9, nesterov=True),
    "adam": lambda rate: optim.Adam(rate),
    "adam forgetful": lambda rate: optim.Adam(rate, 0.8, 0.99, 1e-4),
    "amsgrad": lambda rate: optim.Adam(rate, amsgrad=True),
}
AT_REST = {"sgd": lambda rate: optim.SGD(rate), "adagrad": lambda rate: optim.Adagrad(rate)}
RATES = {"float32": 1e-6, "float64": 1e-14}


def scheduled(name: str, steps: int) -> Any:
    """The optimiser with a warm-up, a decay and a global norm."""
    rate = schedules.warmup(schedules.cosine(0.02, steps), steps // 10)
    return optim.ClipByGlobalNorm({**KNOWN, **AT_REST}[name](rate), 1.0)


def assert_dense_twin(name: str, steps: int, atol: float) -> None:
    exact, params, state = by_rows(scheduled(name, steps), batches(steps))
    found = exact.current(params, state), exact.opened(state)
    wanted = densely(scheduled(name, steps), batches(steps))
    for ours, theirs in zip(cr.flatten(found)[0], cr.flatten(wanted)[0], strict=True):
        np.testing.assert_allclose(ours.numpy(), theirs.numpy(), rtol=1e-11, atol=atol)


@pytest.mark.parametrize("name", [*KNOWN, *AT_REST])
def test_rows_are_the_float64_twin_after_gaps(name: str) -> None:
    assert_dense_twin(name, 80, 1e-14)


@pytest.mark.heavy
@pytest.mark.parametrize("name", [*KNOWN, *AT_REST])
def test_rows_are_the_float64_twin_after_gaps_of_thousands(name: str) -> None:
    assert_dense_twin(name, 4000, 1e-13)


@pytest.mark.heavy
def test_float32_rows_are_as_near_the_twin_as_the_dense_float32_table_is() -> None:
    steps = 3000
    wanted = densely(scheduled("adam", steps), batches(steps))[0]["table"].numpy()
    data = batches(steps, "float32")
    exact, params, state = by_rows(scheduled("adam", steps), data, start("float32"))
    ours = exact.current(params, state)["table"].numpy()
    dense = densely(scheduled("adam", steps), data, start("float32"))[0]["table"].numpy()
    error, usual = (np.abs(each - wanted) for each in (ours, dense))
    assert error.max() < 2 * usual.max() and error.mean() < 2 * usual.mean()


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(
    ("fade", "root"), [(0.9, 0.999**0.5), (0.9, 0.998**0.5), (0.5, 0.999), (0.97, 0.9999), (0.9, 1)]
)
def test_what_the_factors_leave_out_is_below_an_eighth_of_rounding(
    fade: float, root: float, dtype: str
) -> None:
    factors = quotients(fade, root, np.dtype(dtype))
    assert factors is not None
    j = np.arange(1, 20_000, dtype=np.longdouble)
    left = np.longdouble(root) ** j
    for z in (0.0, 1e-3, 0.3, 0.9, 0.999999, 1.0):
        exact = np.longdouble(fade) ** j / (1 - z + z * left)
        powers = np.longdouble(z) ** np.arange(factors.shape[1])
        found = np.sum(factors * powers, axis=1, dtype=np.longdouble)
        off = np.abs(exact[: len(found)] - found).sum() + exact[len(found) :].sum()
        rounding = np.finfo(np.float64).eps * exact.sum() * factors.shape[1]  # of powers of x
        assert off < np.finfo(dtype).eps / 8 + rounding


def test_what_fades_too_slowly_or_not_at_all_has_no_factors() -> None:
    double = np.dtype("float64")
    assert geometric(0.9995, double) is None and geometric(1.0, double) is None
    assert quotients(0.9, 0.9, double) is None and quotients(0.9, 0.0, double) is None
    assert quotients(0.5, 0.9**0.5, double) is None  # too many terms
    assert optim.Adam(beta_1=0.5, beta_2=0.9).missed("w", double) is None


def test_what_is_said_of_one_step_is_not_said_of_another() -> None:
    @dataclass(eq=False)
    class Decaying(optim.SGD):
        def step(self, param: Any, g: Any, slots: tuple, rate: Any, t: Any) -> tuple:
            return super().step(param * 0.99, g, slots, rate, t)

        def ref(self, p: Any, g: Any, t: int, s: Any) -> Any:
            return super().ref(p * 0.99, g, t, s)

    del optim.OPTIMIZERS["decaying"]
    double = np.dtype("float64")
    assert optim.SGD().rests("w") and not Decaying().rests("w")
    assert optim.SGD(0.1, 0.9).missed("w", double)
    assert Decaying(0.1, 0.9).missed("w", double) is None
    assert optim.AdamW().missed("w", double) is None
    assert optim.Averaged("adam").missed("w", double) is None
    assert not optim.WeightDecay("sgd").rests("w") and optim.ClipByNorm("sgd", 1.0).rests("w")


@pytest.mark.parametrize("name", [*KNOWN, *AT_REST])
def test_a_step_by_rows_is_one_native_segment(name: str) -> None:
    exact = RowExact(scheduled(name, 100), ["table"])

    def step(params: Any, state: Any, ids: Any, y: Any) -> Any:
        now = exact.current(params, state)
        _, grads = value_and_grad(loss_of, rows=True)(now, ids, y)
        return exact.update(params, grads, state)

    compiled = cr.jit(step, donate=("state",))
    params, state = start("float32"), exact.init(start("float32"))
    for ids, y in batches(2, "float32"):
        params, state = compiled(params, state, ids, y)
    (entry,) = compiled.entries.values()
    assert [type(segment) for segment in entry.program.native.plan.segments] == [Code]
    order = entry.program.draft().graph.order
    whole = [n.op for n in order if n.shape[:1] == (40,) and n.op.kind != "movement"]
    assert {op.name for op in whole} <= {"input", "put_parts", "put_rows"}
    reads = [n for n in order if n.op.name == "take" and n.inputs[0].shape[:1] == (40,)]
    known = name in KNOWN
    parts = state["tables"]["table"]["rows"].shape[1]
    assert len(reads) == parts + known  # each part once, and when the rows were touched


@pytest.mark.parametrize("name", [*KNOWN, *AT_REST])
def test_all_that_two_tables_keep_is_renewed_where_it_lies(name: str) -> None:
    paths = ["items", "users"]
    exact = RowExact(scheduled(name, 100), paths)

    def step(state: Any, ids: Any) -> Any:
        now = exact.current(dict.fromkeys(paths), state)

        def loss(p: Any) -> Any:
            pairs = [cr.take(p[path], ids[:, i]) for i, path in enumerate(paths)]
            return cr.sum(pairs[0] * pairs[1])

        _, grads = value_and_grad(loss, rows=True)(now)
        return exact.update(dict.fromkeys(paths), grads, state)[1]

    sizes = {"items": 50, "users": 70}
    tables = {path: Tensor(np.ones((n, 4), np.float32)) for path, n in sizes.items()}
    compiled = cr.jit(step, donate=("state",))
    state = compiled(exact.init(tables), np.array([[1, 2], [3, 2]]))
    before = places(state)
    state = compiled(state, np.array([[1, 69], [49, 2]]))
    assert places(state) == before


def places(state: Any) -> dict[str, int]:
    """Where the arrays of the tables lie."""
    return {
        f"{path} {name}": leaf.numpy().ctypes.data
        for path, table in state["tables"].items()
        for name, leaf in table.items()
    }


def test_fit_by_rows_takes_many_steps_in_one_call(monkeypatch: pytest.MonkeyPatch) -> None:
    from chainrule.train import worth

    monkeypatch.setattr(worth, "NEEDED", dict.fromkeys(worth.NEEDED, (0, 1, 0)))
    rng = np.random.Generator(np.random.Philox(key=4))
    ids, y = rng.integers(0, 300, (64, 2)), rng.normal(size=(64, 8)).astype(np.float32)
    for opt in (optim.Adam(0.01), optim.Adagrad(0.1)):
        model = cr.Sequential([cr.nn.Embedding(300, 4), cr.nn.Flatten()], seed=1)
        model.compile(opt, "mse")
        model.fit(ids, y, batch_size=8, epochs=4, verbose=0)
        steps = model._setup.steps
        assert steps.by_rows
        for entry in steps.turns.turn.entries.values():
            assert [type(segment) for segment in entry.program.native.plan.segments] == [Code]


@pytest.mark.parametrize("donate", [(), ("state",)])
def test_the_table_of_sums_grows_and_a_full_one_is_refused(
    donate: tuple, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("chainrule.train.rows.STEPS_AT_FIRST", 2)
    exact, params, state = small(optim.Adam(0.1))
    step = cr.jit(lambda params, state: exact.update(params, ones(0), state), donate=donate)
    for _ in range(3):  # and one line for rows that the last of two has touched
        params, state = step(params, state)
    held = state["tables"]["table"]["rows"].numpy().copy()
    with pytest.raises(cr.ArgumentError, match=r"positions must lie in 0\.\."):
        step(params, state)
    np.testing.assert_array_equal(state["tables"]["table"]["rows"].numpy(), held)
    state = exact.grown(state)
    assert exact.grown(state) is state and exact.grown(state, 3) is not state
    params, state = step(params, state)
    assert state["step"].item() == 4 and state["trail"].shape[0] == 2


def test_an_optimiser_at_rest_keeps_no_trail_and_never_grows() -> None:
    exact, params, state = small(optim.Adagrad(0.1))
    before = exact.grown(state, 10**6)
    assert before is state
    for _ in range(3):
        params, state = exact.update(params, ones(1, 1, 2), state)
    assert not state["trail"].numpy().any()
    assert not state["tables"]["table"]["last"].numpy().any()
    assert isinstance(state["tables"]["table"]["rows"], Tensor)
