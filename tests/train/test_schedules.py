"""Every schedule against its `ref` in plain Python; alone, compiled, and inside an optimiser."""

from __future__ import annotations

import copy

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn
from chainrule.core.tensor import Tensor
from chainrule.data import blobs
from chainrule.train import optim, schedules
from chainrule.train.schedules import CHECKS, SCHEDULES

ROWS = [
    pytest.param(name, sample, id=f"{name}-{i}")
    for name, check in CHECKS.items()
    for i, sample in enumerate(check.samples)
]
LONG = 60


@pytest.mark.parametrize(("name", "sample"), ROWS)
def test_every_schedule_is_its_ref(name: str, sample: dict) -> None:
    schedule = SCHEDULES[name](**sample)
    expected = [CHECKS[name].ref(step, **sample) for step in range(LONG)]
    found = [float(schedule(step)) for step in range(LONG)]
    np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-15)
    whole = schedule(np.arange(LONG))
    np.testing.assert_allclose(whole.numpy(), expected, rtol=1e-12, atol=1e-15)
    native = cr.jit(schedule)
    counts = [Tensor(np.int32(step)) for step in range(LONG)]
    np.testing.assert_allclose([float(native(c)) for c in counts], expected, rtol=1e-9, atol=1e-14)
    assert native(counts[0]).dtype == np.float64 and len(native.entries) == 1


@pytest.mark.parametrize(("name", "sample"), ROWS)
def test_every_schedule_drives_an_optimiser(name: str, sample: dict) -> None:
    opt = optim.SGD(SCHEDULES[name](**sample))
    update = cr.jit(opt.update)
    params, grads = {"w": Tensor(np.float64([0.0]))}, {"w": Tensor(np.float64([1.0]))}
    state, moved = opt.init(params), []
    for _ in range(12):
        before = params["w"].item()
        params, state = update(params, grads, state)
        moved.append(before - params["w"].item())
    expected = [CHECKS[name].ref(step, **sample) for step in range(12)]
    np.testing.assert_allclose(moved, expected, rtol=1e-7, atol=1e-14)


def test_fit_follows_a_schedule_and_goes_on_with_it() -> None:
    x, y = blobs(40)

    def trained(opt, epochs):
        model = cr.Sequential([nn.Dense(3)], seed=1)
        model.compile(opt, "sparse_categorical_crossentropy")
        for n in epochs:
            model.fit(x, y, batch_size=10, epochs=n, verbose=0)
        return model.get_weights()["dense/kernel"]

    falling = optim.Adam(schedules.piecewise([3], [0.1, 0.0]))
    first = trained(optim.Adam(0.1), [1])
    np.testing.assert_array_equal(trained(falling, [1, 1]), first)
    np.testing.assert_array_equal(trained(copy.deepcopy(falling), [3]), first)


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (lambda: schedules.constant(-1.0), "constant: rate must be a finite number of at least 0"),
        (lambda: schedules.piecewise([3], [1.0]), "one rate more"),
        (lambda: schedules.piecewise([3, 3], [1.0, 2.0, 3.0]), "rising boundaries"),
        (lambda: schedules.exponential(0.1, 0, 0.5), "decay_steps must be an integer of at least"),
        (lambda: schedules.one_cycle(0.1, 10, rise=0.0), "rise must put the top"),
        (lambda: schedules.warmup(0.1, 0), "steps must be an integer"),
        (lambda: schedules.cosine(float("nan"), 5), "cosine: rate"),
    ],
)
def test_schedules_refuse_what_is_none(make, told: str) -> None:
    with pytest.raises(cr.ArgumentError, match=told):
        make()
