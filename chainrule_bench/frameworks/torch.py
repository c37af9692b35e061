"""PyTorch: eager, with fused optimiser, channels last, compiled; sequences packed, tables sparse.

Read next: `jax.py`.
"""

from __future__ import annotations

import math
from functools import partial
from typing import Any

import numpy as np

from chainrule_bench.framework import Form, Job, framework
from chainrule_bench.workload import Workload

B2, EPSILON = 0.999, 1e-7


class Step:
    """Forward, `backward`, the optimiser's step."""

    def __init__(
        self,
        job: Job,
        *,
        model: str = "torch",
        fused: bool = True,
        channels_last: bool = False,
        compiled: bool = False,
    ):
        import torch
        from torch.nn import functional

        torch.set_num_threads(job.threads)
        torch.set_num_interop_threads(1)
        work, forward = job.workload, job.workload.models[model]()
        layout = torch.channels_last if channels_last else torch.contiguous_format
        params = {
            name: torch.from_numpy(value)
            .contiguous(memory_format=layout if value.ndim == 4 else torch.contiguous_format)
            .requires_grad_()
            for name, value in in_torch_layout(job).items()
        }
        states = {name: torch.from_numpy(value.copy()) for name, value in job.states.items()}
        self.opt = optimizer_of(work, params.values(), fused)

        def loss_fn(x: Any, y: Any) -> Any:
            out = forward(params, states, x)
            if work.loss == "mse":
                return functional.mse_loss(out, y)
            return functional.cross_entropy(out.flatten(0, -2), y.flatten())

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
            if "betas" in settings:
                # Torch adds epsilon to the corrected root, the others to the root itself: where
                # gradients are small, that is another step.
                settings["eps"] = EPSILON / math.sqrt(1 - B2**self.t)
            opt.zero_grad()
            loss = self.loss_fn(tensor(x), tensor(y))
            loss.backward()
            opt.step()
            losses.append(loss.detach())
        return losses


def optimizer_of(work: Workload, params: Any, fused: bool) -> Any:
    """The workload's optimiser, as the others have it."""
    import torch

    rates = dict(lr=work.rate, fused=True if fused else None)
    if work.optimizer == "adagrad":
        return torch.optim.Adagrad(params, initial_accumulator_value=0.1, eps=EPSILON, **rates)
    if work.optimizer == "adamw":
        return torch.optim.AdamW(params, weight_decay=work.decay, **rates)
    return {"adam": torch.optim.Adam, "sgd": torch.optim.SGD}[work.optimizer](params, **rates)


def in_torch_layout(job: Job) -> dict[str, np.ndarray]:
    """The weights in torch's layouts: (out, in), and (out, in, rows, columns)."""
    found = {}
    for name, value in job.weights.items():
        if name in job.workload.in_torch_order:
            value = job.workload.in_torch_order[name](value)
        if name.endswith("kernel") and value.ndim in (2, 4):
            value = value.transpose(3, 2, 0, 1) if value.ndim == 4 else value.T
        found[name] = np.ascontiguousarray(value)
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
        "packed": Form("torch-packed", "one", partial(Step, model="torch-packed")),
        "sparse": Form("torch-sparse", "one", partial(Step, model="torch-sparse", fused=False)),
    },
    caches=("TORCHINDUCTOR_CACHE_DIR",),
)
