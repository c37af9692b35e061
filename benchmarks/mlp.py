"""The network 784-256-128-10 with Adam at batch 128 on Fashion-MNIST, beside JAX's jitted step.

Both start from the same weights and see the same batches in the same order. Rounds of steps are
interleaved, so both meet the same noise; a round's figure is its median step. Run it with
nothing else on the machine:

    pip install '.[bench]'
    python benchmarks/mlp.py
"""

from __future__ import annotations

import argparse
import itertools
import json
import statistics
import time
from collections.abc import Callable, Iterator

import numpy as np

import chainrule as cr
from chainrule.data import load

WIDTHS = (784, 256, 128, 10)
BATCH = 128
RATE, B1, B2, EPS = 1e-3, 0.9, 0.999, 1e-7


def batches() -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Batches of Fashion-MNIST in a fixed shuffled order, over and over."""
    data = load("fashion-mnist")
    x = data.x_train.reshape(-1, 784).astype(np.float32) / 255
    y = data.y_train.astype(np.int32)
    order = np.random.default_rng(0).permutation(len(x))
    while True:
        for start in range(0, len(x) - BATCH + 1, BATCH):
            chosen = order[start : start + BATCH]
            yield x[chosen], y[chosen]


def weights() -> list[tuple[np.ndarray, np.ndarray]]:
    """He-scaled kernels and zero biases."""
    rng = np.random.default_rng(1)
    return [
        ((rng.standard_normal((a, b)) * np.sqrt(2 / a)).astype(np.float32), np.zeros(b, np.float32))
        for a, b in itertools.pairwise(WIDTHS)
    ]


class OurStep:
    """chainrule: one jitted function, parameters and moments donated."""

    name = "chainrule"

    def __init__(self) -> None:
        self.params = cr.tree_map(cr.Tensor, weights())
        self.opt = cr.optim.Adam(RATE, B1, B2, EPS)
        self.state = self.opt.init(self.params)

        def loss_fn(params: list, x: cr.Tensor, y: cr.Tensor) -> cr.Tensor:
            for kernel, bias in params[:-1]:
                x = cr.relu(x @ kernel + bias)
            logits = x @ params[-1][0] + params[-1][1]
            picked = cr.sum(cr.one_hot(y, 10) * cr.log_softmax(logits), axis=1)
            return -cr.mean(picked)

        @cr.jit(donate=("params", "state"))
        def step(params, state, x, y):  # type: ignore[no-untyped-def]
            loss, grads = cr.value_and_grad(loss_fn)(params, x, y)
            params, state = self.opt.update(params, grads, state)
            return params, state, loss

        self.step = step

    def __call__(self, x: np.ndarray, y: np.ndarray) -> float:
        self.params, self.state, loss = self.step(self.params, self.state, x, y)
        return float(loss)


class JaxStep:
    """JAX: one jitted function with the same formula, buffers donated."""

    name = "jax"

    def __init__(self) -> None:
        import jax
        import jax.numpy as jnp

        self.params = jax.tree.map(jnp.asarray, weights())
        zeros = lambda: jax.tree.map(jnp.zeros_like, self.params)  # noqa: E731
        self.state = (jnp.zeros(()), zeros(), zeros())

        def loss_fn(params, x, y):  # type: ignore[no-untyped-def]
            for kernel, bias in params[:-1]:
                x = jax.nn.relu(x @ kernel + bias)
            logits = x @ params[-1][0] + params[-1][1]
            return -jnp.mean(jnp.sum(jax.nn.one_hot(y, 10) * jax.nn.log_softmax(logits), axis=1))

        def step(params, state, x, y):  # type: ignore[no-untyped-def]
            loss, grads = jax.value_and_grad(loss_fn)(params, x, y)
            t, m, v = state
            t = t + 1
            rate = RATE * jnp.sqrt(1 - B2**t) / (1 - B1**t)
            m = jax.tree.map(lambda m, g: B1 * m + (1 - B1) * g, m, grads)
            v = jax.tree.map(lambda v, g: B2 * v + (1 - B2) * g * g, v, grads)
            params = jax.tree.map(lambda p, m, v: p - rate * m / (jnp.sqrt(v) + EPS), params, m, v)
            return params, (t, m, v), loss

        self.step = jax.jit(step, donate_argnums=(0, 1))

    def __call__(self, x: np.ndarray, y: np.ndarray) -> float:
        self.params, self.state, loss = self.step(self.params, self.state, x, y)
        return float(loss)


def timed(step: Callable, data: list) -> tuple[list[float], list[float]]:
    """(seconds, losses) of each step."""
    seconds, losses = [], []
    for x, y in data:
        start = time.perf_counter()
        losses.append(step(x, y))
        seconds.append(time.perf_counter() - start)
    return seconds, losses


def main() -> None:
    """Compare, print one line per framework and the ratio."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--steps", type=int, default=60, help="steps per round")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    stream = batches()
    steps = [OurStep(), JaxStep()]
    first = [next(stream) for _ in range(50)]
    found: dict[str, dict] = {}
    for step in steps:
        seconds, losses = timed(step, first)
        found[step.name] = {"first": seconds[0], "loss": statistics.mean(losses), "rounds": []}
    for _ in range(options.rounds):
        data = [next(stream) for _ in range(options.steps)]
        for step in steps:
            found[step.name]["rounds"].append(statistics.median(timed(step, data)[0]) * 1e3)
    for row in found.values():
        row["median"] = statistics.median(row["rounds"])
        row["low"], row["high"] = min(row["rounds"]), max(row["rounds"])
    ours, theirs = (found[step.name] for step in steps)
    pairs = [a / b for a, b in zip(ours["rounds"], theirs["rounds"], strict=True)]
    result = {
        "frameworks": found,
        "ours / jax": statistics.median(pairs),
        "loss gap": abs(ours["loss"] - theirs["loss"]) / theirs["loss"],
    }
    if options.json:
        print(json.dumps(result))
        return
    for name, row in found.items():
        print(
            f"{name:10} {row['median']:.3f} ms a step ({row['low']:.3f} to {row['high']:.3f}), "
            f"first step {row['first']:.2f} s, mean loss of 50 steps {row['loss']:.6f}"
        )
    print(f"ours / jax, median of paired rounds: {result['ours / jax']:.2f}")
    print(f"relative gap of the mean losses: {result['loss gap']:.1e}")


if __name__ == "__main__":
    main()
