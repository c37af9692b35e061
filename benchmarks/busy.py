"""How much longer a training step takes with a busy loop on each core beside it.

`fit` alone and beside the loops, in turns: `python benchmarks/busy.py`. Read next: `rows.py`.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from statistics import median

import numpy as np

import chainrule as cr
from chainrule import nn

ROUNDS, SETTLE = 7, 0.3  # rounds, and seconds before a round beside the loops
LOOP = "import os\nos.sched_setaffinity(0, {%d})\nwhile True: pass"


def mlp() -> tuple[cr.Sequential, tuple[int, ...], int, int]:
    """(net, shape of an example, batch size, batches in a round)."""
    layers = [nn.Dense(256, activation="relu"), nn.Dense(128, activation="relu"), nn.Dense(10)]
    return cr.Sequential(layers, seed=0), (784,), 128, 512


def cnn() -> tuple[cr.Sequential, tuple[int, ...], int, int]:
    """The same of a convolutional net."""
    layers = [
        nn.Conv2D(32, 3, activation="relu"),
        nn.Conv2D(64, 3, activation="relu"),
        nn.MaxPooling2D(2),
        nn.Flatten(),
        nn.Dense(128, activation="relu"),
        nn.Dense(10),
    ]
    return cr.Sequential(layers, seed=0), (28, 28, 1), 64, 24


def measured(make: object) -> str:
    """The medians of both, with lowest and highest, in milliseconds a step."""
    model, shape, batch, steps = make()  # type: ignore[operator]
    rng = np.random.default_rng(0)
    epochs = -(-steps // 64)
    examples = steps // epochs * batch
    x = rng.normal(size=(examples, *shape)).astype("float32")
    y = rng.integers(0, 10, size=examples)
    model.compile("adam", loss="sparse_categorical_crossentropy")

    def step() -> float:
        began = time.perf_counter()
        model.fit(x, y, batch_size=batch, epochs=epochs, verbose=0)
        return (time.perf_counter() - began) / steps * 1e3

    step()
    alone, beside = [], []
    for _ in range(ROUNDS):
        alone.append(step())
        cores = sorted(os.sched_getaffinity(0))
        loops = [subprocess.Popen([sys.executable, "-c", LOOP % core]) for core in cores]
        try:
            time.sleep(SETTLE)
            beside.append(step())
        finally:
            for loop in loops:
                loop.kill()
                loop.wait()
    told = [f"{median(t):.3g} ({min(t):.3g} to {max(t):.3g})" for t in (alone, beside)]
    return f"alone {told[0]}, beside {told[1]}: {median(beside) / median(alone):.2f} times"


if __name__ == "__main__":
    for make in (mlp, cnn):
        print(f"{make.__name__}: {measured(make)}", flush=True)
