"""PyTorch: eager, with fused optimiser, with channels last, and compiled. Read next: `jax.py`."""

from __future__ import annotations

import math
from functools import partial
from typing import Any

import numpy as np

from chainrule_bench.framework import Form, Job, framework

B2, EPSILON = 0.999, 1e-7


class Step:
    """Forward, `backward`, the optimiser's step."""

    def __init__(
        self, job: Job, *, fused: bool = True, channels_last: bool = False, compiled: bool = False
    ):
        import torch
        from torch.nn import functional

        torch.set_num_threads(job.threads)
        torch.set_num_interop_threads(1)
        work, forward = job.workload, job.workload.models["torch"]()
        loss_of = functional.mse_loss if work.loss == "mse" else functional.cross_entropy
        layout = torch.channels_last if channels_last else torch.contiguous_format
        params = {
            name: torch.from_numpy(value)
            .contiguous(memory_format=layout if value.ndim == 4 else torch.contiguous_format)
            .requires_grad_()
            for name, value in channels_first(job).items()
        }
        states = {name: torch.from_numpy(value.copy()) for name, value in job.states.items()}
        rates = dict(lr=work.rate, fused=True if fused else None)
        self.opt: Any = (
            torch.optim.Adam(params.values(), **rates)
            if work.optimizer == "adam"
            else torch.optim.SGD(params.values(), **rates)
        )

        def loss_fn(x: Any, y: Any) -> Any:
            return loss_of(forward(params, states, x), y)

        self.t = 0
        self.loss_fn = torch.compile(loss_fn) if compiled else loss_fn
        x = job.x
        if x.ndim == 4:
            x = x.transpose(0, 3, 1, 2)  # a view: channels last, as torch means it
            x = x if channels_last else np.ascontiguousarray(x)
        y = job.y.astype(np.int64) if work.loss == "cross-entropy" else job.y
        self.batches: list = job._replace(y=y).pairs(x)
        self.tensor = (lambda value: value) if work.tensors else torch.from_numpy
        if work.tensors:
            self.batches = [tuple(map(torch.from_numpy, pair)) for pair in self.batches]

    def steps(self, first: int, count: int) -> list:
        """A call for each step."""
        batches, tensor, opt, losses = self.batches, self.tensor, self.opt, []
        (settings,) = opt.param_groups
        for at in range(first, first + count):
            x, y = batches[at % len(batches)]
            self.t += 1
            # Torch adds epsilon to the corrected root, the others to the root itself: where
            # gradients are small, that is another step.
            settings["eps"] = EPSILON / math.sqrt(1 - B2**self.t)
            opt.zero_grad()
            loss = self.loss_fn(tensor(x), tensor(y))
            loss.backward()
            opt.step()
            losses.append(loss.detach())
        return losses


def channels_first(job: Job) -> dict[str, np.ndarray]:
    """The weights in torch's layouts: (out, in), and (out, in, rows, columns)."""
    found = {}
    for name, value in job.weights.items():
        if name in job.workload.flattened:
            image = value.reshape(*job.workload.flattened[name], -1)
            value = image.transpose(2, 0, 1, 3).reshape(value.shape)
        if value.ndim == 4:
            value = value.transpose(3, 2, 0, 1)
        found[name] = np.ascontiguousarray(value.T if value.ndim == 2 else value)
    return found


framework(
    name="torch",
    packages=("torch",),
    imports="import torch",
    forms={
        "eager": Form("torch", "one", partial(Step, fused=False)),
        "fused": Form("torch", "one", Step),
        "channels-last": Form("torch", "one", partial(Step, channels_last=True), images=True),
        "compile": Form("torch", "one", partial(Step, compiled=True)),
    },
    caches=("TORCHINDUCTOR_CACHE_DIR",),
)
