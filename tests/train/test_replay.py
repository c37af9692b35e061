"""A `fit` that meets a value that is not finite names the op, its line and the example."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn
from chainrule.compile import program, replay
from chainrule.grad.finding import CAUSES, Finding
from chainrule.train import Model, Sequential, optim, worth
from chainrule.train.replay import some
from tests.train import replay_cases
from tests.train.replay_cases import BAD, CASES, FEATURES, SIZE, Case, N, Times, log_loss

QUIET = {"verbose": 0}


@pytest.fixture
def by_numpy(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (program, replay):
        monkeypatch.setattr(module, "machine", lambda: None)


def fitted(model: Any, x: Any, y: Any, **options: Any) -> Any:
    with np.errstate(all="raise", over="ignore"):  # data may overflow when it is cast
        return model.fit(x, y, batch_size=SIZE, shuffle=False, **QUIET, **options)


def faults(case: Case, found: Finding | None) -> list[str]:
    """What is wrong in a finding, nothing where it is right."""
    if found is None:
        return ["nothing was found"]
    wanted = {"reason": case.reason, "number": case.example, **case.more}
    if case.op:
        wanted["op"] = case.op
    wrong = [
        f"{name} is {getattr(found, name)!r}, not {value!r}"
        for name, value in wanted.items()
        if getattr(found, name) != value
    ]
    if case.line:
        here = found.place is not None and found.place.file == replay_cases.__file__
        if not here or not found.place.source.endswith(case.line):  # type: ignore[union-attr]
            wrong.append(f"the line is {found.place}, not the one of {case.line!r}")
    if len(str(found).splitlines()) > 8:
        wrong.append("it is too long")
    return wrong


def check(case: Case) -> None:
    model, (x, y) = case.model(), case.data()
    model.build_for(x[:SIZE].shape)
    start = model.get_weights()
    history = fitted(model, x, y, epochs=2)
    assert history.stopped == "non-finite" and history.epoch == []
    assert not faults(case, history.finding), str(history.finding)
    assert history.reason.endswith(str(history.finding).splitlines()[0])
    for name, array in model.get_weights().items():  # one good step, by a rate of next to nothing
        np.testing.assert_allclose(array, start[name], rtol=1e-4)


@pytest.mark.parametrize("name", CASES)
def test_a_planted_fault_is_named_with_its_line_and_example(name: str, by_numpy: None) -> None:
    check(CASES[name])


@pytest.mark.parametrize("name", ["norm at 0", "in a recurrent cell"])
def test_a_planted_fault_is_named_in_a_compiled_fit(name: str) -> None:
    check(CASES[name])


@pytest.mark.heavy
@pytest.mark.parametrize("name", CASES)
def test_every_planted_fault_is_named_in_a_compiled_fit(name: str) -> None:
    check(CASES[name])


def test_there_are_enough_planted_faults_and_of_every_kind() -> None:
    assert len(CASES) >= 30
    elsewhere = {"inf_by_inf", "infinite", "arccosh", "undefined", "exploding"}
    assert {case.reason for case in CASES.values()} | elsewhere == set(CAUSES)


def test_a_rate_that_explodes_is_said_to(capsys: pytest.CaptureFixture) -> None:
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(N, FEATURES)), rng.normal(size=(N, 1))
    model = Sequential([nn.Dense(4), nn.Dense(1)], seed=0)
    model.compile(optim.SGD(1e4), "mse")
    history = fitted(model, x, y, epochs=20)
    growth = history.finding.growth
    assert growth.now > 1e3 * growth.before and growth.name.startswith("dense")
    assert growth.steps == history.steps % 3 or growth.steps == history.steps
    told = capsys.readouterr().err
    assert f"exploding rate: {growth.name} grew from" in told
    assert "mend: a smaller learning rate" in told and len(told.splitlines()) <= 10
    assert all(np.isfinite(array).all() for array in model.get_weights().values())


def test_a_weight_that_the_step_before_broke_is_named(by_numpy: None) -> None:
    model = Sequential([Times()], seed=0)
    model.compile(optim.SGD(3e38), lambda y, p: cr.mean(p) * 10)
    model.build_for((SIZE, FEATURES))
    history = fitted(model, np.ones((N, FEATURES)), np.ones((N, FEATURES)))
    found = history.finding
    assert (history.steps, found.reason, found.leaf) == (1, "weights", "times/w")
    assert found.growth.name == "times/w" and np.isinf(found.growth.now)
    np.testing.assert_array_equal(model.get_weights()["times/w"], np.ones(FEATURES))


def test_a_metric_that_is_not_finite_stops_nothing() -> None:
    def odd(y: Any, p: Any) -> Any:
        return cr.log(p - p)

    model = Sequential([Times()], seed=0)
    model.compile(optim.SGD(1e-3), "mse", metrics=[odd])
    x = np.ones((N, FEATURES))
    history = fitted(model, x, x)
    assert history.stopped == "epochs" and history.finding is None
    assert history.history["odd"] == [-np.inf]


class Two(Model):
    """One input to two outputs."""

    def __init__(self) -> None:
        super().__init__(seed=0)
        self.left, self.right = Times(), Times()

    def call(self, x: Any) -> Any:
        return {"a": self.left(x), "b": self.right(x)}


def test_of_several_outputs_the_one_at_fault_is_named(by_numpy: None) -> None:
    model = Two()
    model.compile(optim.SGD(1e-30), {"a": "mse", "b": log_loss})
    x = np.ones((N, FEATURES))
    x[BAD, 2] = 0
    found = fitted(model, x, {"a": x, "b": x}).finding
    assert (found.op, found.index, found.number) == ("log", (2, 2), BAD)
    assert found.place.source.endswith("# log")


def test_several_inputs_are_named_by_their_keys(by_numpy: None) -> None:
    class Sum(Model):
        def __init__(self) -> None:
            super().__init__(seed=0)
            self.scale = Times()

        def call(self, x: Any) -> Any:
            return self.scale(x["a"]) + x["b"]

    model = Sum()
    model.compile(optim.SGD(1e-30), "mse")
    ones = np.ones((N, FEATURES))
    far = ones.copy()
    far[BAD] = 1e200
    found = fitted(model, {"a": ones, "b": far}, ones).finding
    assert (found.reason, found.leaf, found.number) == ("data", "x['b']", BAD)


@pytest.fixture
def always_by_rows(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(worth, "NEEDED", dict.fromkeys(worth.NEEDED, (0, 1, 0)))
    yield


def test_a_step_by_rows_is_looked_into(always_by_rows: None, by_numpy: None) -> None:
    model = Sequential([nn.Embedding(100, FEATURES), nn.Flatten()], seed=1)
    model.compile(optim.Adam(0.01), lambda y, p: cr.mean(p * cr.log(y)))
    y = np.ones((N, FEATURES))
    y[BAD] = 0
    history = fitted(model, np.arange(N).reshape(N, 1), y)
    assert model._setup.steps.by_rows
    assert (history.finding.op, history.finding.number, history.steps) == ("log", BAD, 1)


def test_a_shuffled_fit_tells_the_number_in_the_data(by_numpy: None) -> None:
    x, y = CASES["log of 0"].data()
    model = CASES["log of 0"].model()
    history = model.fit(x, y, batch_size=5, epochs=4, **QUIET)
    found = history.finding
    assert found.number == BAD and 0 <= found.example < 5 and found.batch in (5, N % 5)


def test_a_stream_tells_the_place_in_its_batch(by_numpy: None) -> None:
    x, y = CASES["log of 0"].data()
    model = CASES["log of 0"].model()
    parts = [(x[i : i + SIZE], y[i : i + SIZE]) for i in range(0, N, SIZE)]
    found = model.fit(parts, **QUIET).finding
    assert (found.example, found.number) == (BAD % SIZE, None)


def test_the_replay_renews_no_state(by_numpy: None) -> None:
    model = Sequential([nn.BatchNormalization(), Times()], seed=0)
    model.compile(optim.SGD(1e-30), lambda y, p: cr.mean(p / y))
    x, y = np.random.default_rng(1).normal(size=(N, FEATURES)), np.ones((N, FEATURES))
    twin = Sequential([nn.BatchNormalization(), Times()], seed=0)
    twin.compile(optim.SGD(1e-30), lambda y, p: cr.mean(p / y))
    fitted(twin, x[:SIZE], y[:SIZE])
    y[BAD] = 0
    assert fitted(model, x, y).finding.reason == "by_zero"
    for name, state in model.named_states().items():
        np.testing.assert_array_equal(state.numpy(), twin.named_states()[name].numpy(), name)


def test_a_long_list_of_names_is_cut_short() -> None:
    assert some(["a", "b"]) == "a, b"
    assert some([*"abcdef"]) == "a, b, c, d and 2 more"


@pytest.mark.parametrize("loss", ["mse", log_loss])
def test_a_good_fit_has_no_finding(loss: str | Callable, by_numpy: None) -> None:
    model = Sequential([Times()], seed=0)
    model.compile(optim.SGD(1e-3), loss)
    x = np.ones((N, FEATURES))
    assert fitted(model, x, x).finding is None
