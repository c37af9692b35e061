"""What the compiler's tests share: skipping where no native code is made, and a small step."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys

import numpy as np
import pytest

import chainrule as cr
from chainrule.compile.runtime import machine


@pytest.fixture(autouse=True)
def native() -> None:
    """These tests are about machine code."""
    if machine() is None:
        pytest.skip("no native code on this machine, or CHAINRULE_EXECUTOR=numpy")


@pytest.fixture
def python():
    """Run a program text in a fresh interpreter with environment settings; its stdout."""

    def run(text: str, timeout: float = 60, **settings: str) -> str:
        done = subprocess.run(
            [sys.executable, "-c", text],
            env={**os.environ, **settings},
            capture_output=True,
            text=True,
            timeout=timeout,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run


class Mlp:
    """A two-layer classifier with Adam by hand, in any float dtype."""

    def __init__(self, dtype: str = "float32", widths: tuple = (30, 40, 10), batch: int = 37):
        rng = np.random.default_rng(3)
        self.dtype = dtype
        self.params = [
            ((rng.standard_normal((a, b)) / np.sqrt(a)).astype(dtype), np.zeros(b, dtype))
            for a, b in itertools.pairwise(widths)
        ]
        self.x = rng.standard_normal((batch, widths[0])).astype(dtype)
        self.y = rng.integers(0, widths[-1], batch)

    def loss(self, params, x, y):
        for kernel, bias in params[:-1]:
            x = cr.relu(x @ kernel + bias)
        logits = cr.log_softmax(x @ params[-1][0] + params[-1][1])
        return -cr.mean(cr.sum(cr.one_hot(y, logits.shape[1], self.dtype) * logits, axis=1))

    def train(self, steps: int, compiled: bool = True):
        """(losses, parameters) of `steps` steps."""
        adam = cr.optim.Adam(1e-2)

        def step(params, state, x, y):
            loss, grads = cr.value_and_grad(self.loss)(params, x, y)
            params, state = adam.update(params, grads, state)
            return params, state, loss

        params = cr.tree_map(lambda p: cr.Tensor(p.copy()), self.params)
        state = adam.init(params)
        run = cr.jit(step, donate=("params", "state")) if compiled else step
        losses = []
        for _ in range(steps):
            params, state, loss = run(params, state, self.x, self.y)
            losses.append(float(loss))
        return losses, [t.numpy() for t in cr.flatten(params)[0]]


@pytest.fixture
def mlp():
    return Mlp
