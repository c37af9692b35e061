"""NumPy: the gradients derived by hand, the optimiser over one flat vector each.

Read next: `../worker.py`.
"""

from __future__ import annotations

import math

import numpy as np

from chainrule_bench.framework import Form, Job, framework

B1, B2, EPSILON = 0.9, 0.999, 1e-7


class Step:
    """The workload's step, then Adam or SGD in place."""

    def __init__(self, job: Job):
        self.job = job
        self.step = job.workload.models["numpy"]()
        self.params = {name: value.copy() for name, value in job.weights.items()}
        self.m = {name: np.zeros_like(value) for name, value in job.weights.items()}
        self.v = {name: np.zeros_like(value) for name, value in job.weights.items()}
        self.t = 0
        self.batches = job.pairs()

    def steps(self, first: int, count: int) -> list:
        """A call for each step."""
        update = self.adam if self.job.workload.optimizer == "adam" else self.sgd
        losses = []
        for at in range(first, first + count):
            loss, grads = self.step(self.params, *self.batches[at % len(self.batches)])
            update(grads)
            losses.append(loss)
        return losses

    def sgd(self, grads: dict[str, np.ndarray]) -> None:
        """Gradient descent."""
        for name, g in grads.items():
            self.params[name] -= np.float32(self.job.workload.rate) * g

    def adam(self, grads: dict[str, np.ndarray]) -> None:
        """Adam, its temporary arrays used again."""
        self.t += 1
        rate = self.job.workload.rate * math.sqrt(1 - B2**self.t) / (1 - B1**self.t)
        for name, g in grads.items():
            m, v = self.m[name], self.v[name]
            m *= np.float32(B1)
            m += np.float32(1 - B1) * g
            v *= np.float32(B2)
            g *= g
            g *= np.float32(1 - B2)
            v += g
            np.sqrt(v, out=g)
            g += np.float32(EPSILON)
            np.divide(m, g, out=g)
            g *= np.float32(rate)
            self.params[name] -= g


framework(
    name="numpy",
    packages=("numpy",),
    imports="import numpy",
    forms={"step": Form("numpy", "one", Step)},
)
