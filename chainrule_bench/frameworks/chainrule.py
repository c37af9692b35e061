"""chainrule: a step by hand under `cr.jit`, by rows too, and `fit`. Read next: `torch.py`."""

from __future__ import annotations

from typing import Any

import numpy as np

from chainrule_bench.framework import Form, Job, framework
from chainrule_bench.workload import Workload


def optimizer_of(work: Workload) -> Any:
    """The workload's optimiser."""
    import chainrule as cr

    decay = {"weight_decay": work.decay} if work.decay else {}
    return {
        "adagrad": cr.optim.Adagrad,
        "adam": cr.optim.Adam,
        "adamw": cr.optim.AdamW,
        "sgd": cr.optim.SGD,
    }[work.optimizer](work.rate, **decay)


class ByHand:
    """One native call a step: loss, gradients and update; parameters and state donated."""

    def __init__(self, job: Job):
        import chainrule as cr

        work, forward = job.workload, job.workload.models["chainrule"]()
        self.opt = opt = optimizer_of(work)

        def mse(y: Any, out: Any) -> Any:
            return cr.mean((out - y) * (out - y))

        entropy = cr.nn.losses.SparseCategoricalCrossentropy(from_logits=True)
        loss_of = mse if work.loss == "mse" else entropy

        def loss_fn(params: Any, states: Any, x: Any, y: Any) -> Any:
            out, states = forward(params, states, x)
            return loss_of(y, out), states

        def step(params: Any, states: Any, state: Any, x: Any, y: Any) -> Any:
            both, grads = cr.value_and_grad(loss_fn, has_aux=True)(params, states, x, y)
            params, state = opt.update(params, grads, state)
            return params, both[1], state, both[0]

        self.step = cr.jit(step, donate=("params", "states", "state"))
        self.params, self.states = cr.tree_map(cr.Tensor, (job.weights, job.states))
        self.state = opt.init(self.params)
        self.batches: list = job.pairs()
        if work.tensors:
            self.batches = [(cr.Tensor(x), cr.Tensor(y)) for x, y in self.batches]

    def steps(self, first: int, count: int) -> list:
        """A call for each step."""
        batches, losses = self.batches, []
        params, states, state = self.params, self.states, self.state
        for at in range(first, first + count):
            x, y = batches[at % len(batches)]
            params, states, state, loss = self.step(params, states, state, x, y)
            losses.append(loss)
        self.params, self.states, self.state = params, states, state
        return losses


class ByRows:
    """The same where tables are read by rows: their gradients are rows, and so are the updates."""

    def __init__(self, job: Job):
        import chainrule as cr
        from chainrule.train.rows import RowExact

        work, forward = job.workload, job.workload.models["chainrule-rows"]()
        self.opt = opt = RowExact(optimizer_of(work), work.tables)

        def loss_fn(params: Any, x: Any, y: Any) -> Any:
            out, _ = forward(params, {}, x)
            return cr.mean((out - y) * (out - y))

        def step(params: Any, state: Any, x: Any, y: Any) -> Any:
            now = opt.current(params, state)
            loss, grads = cr.value_and_grad(loss_fn, rows=True)(now, x, y)
            return *opt.update(params, grads, state), loss

        self.step = cr.jit(step, donate=("params", "state"))
        params = cr.tree_map(cr.Tensor, job.weights)
        self.state = opt.init(params)
        # The tables live in the state; to hold them here too would take their memory twice.
        self.params = {**params, **dict.fromkeys(work.tables)}
        self.batches = job.pairs()

    def steps(self, first: int, count: int) -> list:
        """A call for each step."""
        batches, losses = self.batches, []
        params, state = self.params, self.opt.grown(self.state, count)
        for at in range(first, first + count):
            params, state, loss = self.step(params, state, *batches[at % len(batches)])
            losses.append(loss)
        self.params, self.state = params, state
        return losses


class Fit:
    """`compile` and `fit`."""

    def __init__(self, job: Job):
        import chainrule as cr

        self.job, work = job, job.workload
        self.model = work.models["layers"]()
        self.model.build_for((work.batch, *job.x.shape[1:]))
        found = {name: job.value_of(name) for name in self.model.get_weights()}
        self.model.set_weights(found)
        entropy = cr.nn.losses.SparseCategoricalCrossentropy(from_logits=True)
        self.model.compile(optimizer_of(work), "mse" if work.loss == "mse" else entropy)

    def steps(self, first: int, count: int) -> list:
        """One `fit`; its loss is the mean over the last epoch's batches."""
        place, epochs = self.job.span(first, count)
        x, y = self.job.x[place], self.job.y[place]
        size = self.job.workload.batch
        history = self.model.fit(x, y, batch_size=size, epochs=epochs, shuffle=False, verbose=0)
        return [np.float64(history.history["loss"][-1])]


framework(
    name="chainrule",
    packages=("chainrule",),
    imports="import chainrule",
    forms={
        "step": Form("chainrule", "one", ByHand),
        "rows": Form("chainrule-rows", "one", ByRows),
        "fit": Form("layers", "many", Fit),
    },
    caches=("CHAINRULE_CACHE",),
)
