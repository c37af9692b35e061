"""A long step is left soon after it is asked to stop, and nothing of it has happened."""

from __future__ import annotations

import os
import signal
import threading
import time
from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn
from chainrule.compile import threads
from chainrule.compile.threads import pool

rng = np.random.default_rng(0)


def update(state: Any, x: Any) -> Any:
    for _ in range(8):
        x = x @ x
    return state + cr.sum(x) * 0, cr.mean(x)


step = cr.jit(update, donate=("state",))
SIZE = 1000


def arguments() -> tuple:
    return cr.Tensor(np.ones(5, np.float32)), np.eye(SIZE, dtype=np.float32)


@pytest.fixture
def halted_later() -> Any:
    """Ask the step that runs 30 ms from now to stop; when that was."""
    told: list[float] = []

    def ask() -> None:
        time.sleep(0.03)
        told.append(time.perf_counter())
        threads.halt[0] = 1

    asking = threading.Thread(target=ask)
    yield lambda: asking.start() or told
    asking.join()
    threads.halt[0] = 0


@pytest.mark.parametrize("count", [1, 2])
def test_halt_leaves_a_step_with_nothing_written(
    count: int, halted_later: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = step(*arguments())[0].numpy()
    native = next(iter(step.entries.values())).program.native
    with threads.lock:
        monkeypatch.setattr(native, "threads", min(count, pool().count))
    state, x = arguments()
    told = halted_later()
    with pytest.raises(KeyboardInterrupt):
        step(state, x)
    assert time.perf_counter() - told[0] < 0.2
    np.testing.assert_array_equal(state.numpy(), np.ones(5, np.float32))
    threads.halt[0] = 0
    np.testing.assert_array_equal(step(state, x)[0].numpy(), wanted)


def test_ctrl_c_in_a_long_step_of_fit_keeps_the_weights() -> None:
    model = cr.Sequential([nn.Conv2D(24, 5, activation="relu"), nn.Conv2D(24, 5), nn.Flatten()])
    model.compile("sgd", loss="mse")
    x = rng.normal(size=(16, 64, 64, 3)).astype(np.float32)
    y = np.zeros((16, 56 * 56 * 24), np.float32)
    model.fit(x, y, batch_size=16, shuffle=False, verbose=0)
    before = model.get_weights()
    threading.Timer(0.05, lambda: os.kill(os.getpid(), signal.SIGINT)).start()
    history = model.fit(x, y, batch_size=16, epochs=1000, shuffle=False, verbose=0)
    assert history.stopped == "interrupted"
    twin = cr.Sequential([nn.Conv2D(24, 5, activation="relu"), nn.Conv2D(24, 5), nn.Flatten()])
    twin.compile("sgd", loss="mse")
    twin.build_for(x.shape)
    twin.set_weights(before)
    if history.steps:
        twin.fit(x, y, batch_size=16, epochs=history.steps, shuffle=False, verbose=0)
    for name, array in model.get_weights().items():
        np.testing.assert_array_equal(array, twin.get_weights()[name])
