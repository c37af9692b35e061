"""Reading and adding rows by id: machine code beside NumPy, and a recommender's step of both.

Both sides take turns on the same arrays. Each figure is the median and the quartiles; the ratio is
the median of the paired ratios. In the step on the right, NumPy runs the index ops between native
segments. Run it with nothing else on the machine:

    python benchmarks/index_ops.py
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from typing import Any

import numpy as np

import chainrule as cr
from chainrule.compile import fuse
from chainrule.ops.arrange import concatenate_op
from chainrule.ops.cumulate import cumsum_op
from chainrule.ops.index import scatter_add, take_op
from chainrule.ops.rounding import remainder

HELD = ("index", "running")  # kinds that NumPy runs in the step it is compared with


def turns(first: Callable, second: Callable, rounds: int) -> np.ndarray:
    """Microseconds of both, round by round, after one round that does not count."""
    took = []
    for _ in range(rounds + 1):
        pair = []
        for call in (first, second):
            start = time.perf_counter()
            call()
            pair.append((time.perf_counter() - start) * 1e6)
        took.append(pair)
    return np.array(took[1:])


def show(name: str, took: np.ndarray) -> None:
    """One row of the table."""
    low, middle, high = np.percentile(took, [25, 50, 75], axis=0)
    sides = [f"{m:,.0f} ({a:,.0f} to {b:,.0f})" for a, m, b in zip(low, middle, high)]
    print(f"| {name} | {sides[0]} | {sides[1]} | {np.median(took[:, 0] / took[:, 1]):.2f} |")


def compare(name: str, op: Any, arrays: list[np.ndarray], rounds: int, **attrs: Any) -> None:
    """An op's machine code beside its NumPy."""
    compiled = cr.jit(lambda *xs: op(*xs, **attrs))
    given = [cr.Tensor(x) for x in arrays]
    np.testing.assert_array_equal(compiled(*given).numpy(), op.ref(*arrays, **attrs))
    show(name, turns(lambda: compiled(*given), lambda: op.ref(*arrays, **attrs), rounds))


def loss_of(params: Any, users: Any, items: Any, y: Any) -> Any:
    """The squared error of a matrix factorisation with biases."""
    rows = [cr.take(params[name], ids) for name, ids in zip("uibc", (users, items) * 2)]
    return cr.mean((cr.sum(rows[0] * rows[1], axis=1) + rows[2] + rows[3] - y) ** 2)


def step_of(params: dict, batch: list, by_numpy: bool) -> Callable:
    """A call that makes one compiled step with Adam."""
    adam = cr.optim.Adam(1e-2)

    def step(params: Any, state: Any, *batch: Any) -> Any:
        return adam.update(params, cr.grad(loss_of)(params, *batch), state)

    compiled = cr.jit(step, donate=("params", "state"))
    now = cr.tree_map(lambda p: cr.Tensor(p.copy()), params)
    held = [now, adam.init(now)]
    native = fuse.is_native
    if by_numpy:
        fuse.is_native = lambda node, found: node.op.kind not in HELD and native(node, found)
    held[:] = compiled(*held, *batch)
    fuse.is_native = native

    def call() -> None:
        held[:] = compiled(*held, *batch)

    return call


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=100)
    rounds = parser.parse_args().rounds
    rng = np.random.Generator(np.random.Philox(key=1))
    table = rng.normal(size=(1_000_000, 64)).astype(np.float32)
    flat, ids = table[:1000, :].reshape(-1), rng.integers(0, len(table), 4096)
    print("| | machine code, us | NumPy, us | ratio |\n|---|---|---|---|")
    compare("take 4,096 of 1,000,000 x 64", take_op, [table, ids], rounds, axis=0)
    g, size = table[:4096], len(table)
    compare("scatter into these", scatter_add, [g, ids], max(3, rounds // 20), axis=0, extent=size)
    compare(
        "scatter into 20,000 x 64", scatter_add, [g, ids % 20_000], rounds, axis=0, extent=20_000
    )
    many = rng.integers(0, flat.size, flat.size)
    compare("take 64,000 numbers", take_op, [flat, many], rounds, axis=0)
    compare("scatter 64,000 numbers", scatter_add, [flat, many], rounds, axis=0, extent=flat.size)
    compare(
        "join 4 of 128 x 256",
        concatenate_op,
        np.split(table[:2048].reshape(512, 256), 4),
        rounds,
        axis=1,
    )
    compare("running sums of 1,000 x 64", cumsum_op, [table[:1000]], rounds, axis=-1, reverse=False)
    compare("remainder of 64,000", remainder, [flat, flat[::-1] * 0.3], rounds)
    for width, count in ((32, 256), (64, 4096)):
        shapes = {"u": (943, width), "i": (1682, width), "b": (943,), "c": (1682,)}
        params = {n: rng.normal(size=s).astype(np.float32) / 10 for n, s in shapes.items()}
        batch = [rng.integers(0, n, count) for n in (943, 1682)]
        batch.append(rng.uniform(1, 5, count).astype(np.float32))
        steps = [step_of(params, batch, by_numpy) for by_numpy in (False, True)]
        show(f"step, 943 users, 1,682 items, width {width}, batch {count}", turns(*steps, rounds))


if __name__ == "__main__":
    main()
