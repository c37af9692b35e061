"""A step on a table of embeddings, updated by rows and densely, with SGD and with Adam.

Ids are drawn so that few come often (the cube of a uniform number), gaps of hundreds of steps are
common, and the two ways take turns on the same batches. Each figure is the median over the steps
after the first hundred, which fill the gaps, with the quartiles. A look reads the whole table, as
the end of an epoch does: every row is caught up. Run it with nothing else on the machine:

    python benchmarks/rows.py
"""

from __future__ import annotations

import argparse
import time
from typing import Any

import numpy as np

import chainrule as cr
from chainrule.grad.reverse import value_and_grad
from chainrule.train.rows import RowExact

WIDTH = 32
WARM = 100
SIZES = ((20_000, 128), (200_000, 128), (200_000, 1024), (1_000_000, 512))


def loss_of(params: Any, ids: Any, y: Any) -> Any:
    """The squared error of a linear function of the rows that `ids` name."""
    return cr.mean((cr.take(params["table"], ids) @ params["kernel"] - y) ** 2)


def steps_of(opt: Any, exact: RowExact, rows: int) -> dict[str, Any]:
    """By name: a compiled step and its arguments (parameters, state)."""
    rng = np.random.Generator(np.random.Philox(key=1))
    table = rng.normal(size=(rows, WIDTH)).astype(np.float32)

    def densely(params: Any, state: Any, ids: Any, y: Any) -> Any:
        return opt.update(params, value_and_grad(loss_of)(params, ids, y)[1], state)

    def by_rows(params: Any, state: Any, ids: Any, y: Any) -> Any:
        now = exact.current(params, state)
        return exact.update(params, value_and_grad(loss_of, rows=True)(now, ids, y)[1], state)

    found = {}
    for name, step, owner in (("dense", densely, opt), ("rows", by_rows, exact)):
        params = {"table": cr.Tensor(table.copy()), "kernel": cr.Tensor(table[:WIDTH, :1].copy())}
        state = owner.init(params)
        found[name] = [cr.jit(step, donate=("params", "state")), params, state]
    return found


def measure(opt: Any, rows: int, count: int, steps: int) -> tuple[dict[str, np.ndarray], float]:
    """Milliseconds of each step, by name, and of a look."""
    rng = np.random.Generator(np.random.Philox(key=2))
    exact = RowExact(opt, ["table"])
    ways = steps_of(opt, exact, rows)
    took: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(steps):
        ids = (rows * rng.random(count) ** 3).astype(np.int64)
        y = rng.normal(size=(count, 1)).astype(np.float32)
        for name, way in ways.items():
            began = time.perf_counter()
            way[1:] = way[0](way[1], way[2], ids, y)
            took[name].append(1e3 * (time.perf_counter() - began))
    exact.current(*ways["rows"][1:])  # compiles
    began = time.perf_counter()
    exact.current(*ways["rows"][1:])
    look = 1e3 * (time.perf_counter() - began)
    return {n: np.quantile(times[WARM:], [0.5, 0.25, 0.75]) for n, times in took.items()}, look


def main() -> None:
    """Print a line for each size and optimiser."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=400)
    steps = max(parser.parse_args().steps, WARM + 10)
    print(f"table of rows x {WIDTH}, ids a step; ms a step: median (quartiles)")
    for rows, count in SIZES:
        for opt in (cr.optim.SGD(0.1), cr.optim.Adam(1e-3)):
            found, look = measure(opt, rows, count, min(steps, 1000))
            told = "   ".join(
                f"{name} {q[0]:7.2f} ({q[1]:.2f}-{q[2]:.2f})" for name, q in found.items()
            )
            print(
                f"{rows:>9} {count:>5} {type(opt).__name__:<5} {told}   look {look:7.1f}",
                flush=True,
            )


if __name__ == "__main__":
    main()
