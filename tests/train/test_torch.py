"""Trajectories of 50 steps in float64 equal PyTorch's where the two define the same update.

Where PyTorch adds epsilon outside of a root and Keras inside, it is made so small here that the
place does not matter. PyTorch's Muon computes in bfloat16, and it has no Lion.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule.core.tensor import Tensor
from chainrule.train import optim

torch = pytest.importorskip("torch", reason="PyTorch is not installed: pip install torch==2.13.0")
pytestmark = pytest.mark.heavy
TINY = 1e-16

PAIRS: list[tuple[Any, str, dict[str, Any]]] = [
    (optim.SGD(0.02), "SGD", dict(lr=0.02)),
    (optim.SGD(0.02, 0.9), "SGD", dict(lr=0.02, momentum=0.9)),
    (optim.SGD(0.02, 0.9, True), "SGD", dict(lr=0.02, momentum=0.9, nesterov=True)),
    (optim.RMSprop(0.01, epsilon=TINY), "RMSprop", dict(lr=0.01, alpha=0.9, eps=TINY)),
    (
        optim.RMSprop(0.01, 0.8, 0.7, TINY, centered=True),
        "RMSprop",
        dict(lr=0.01, alpha=0.8, momentum=0.7, eps=TINY, centered=True),
    ),
    (
        optim.Adagrad(0.05, 0.1, TINY),
        "Adagrad",
        dict(lr=0.05, initial_accumulator_value=0.1, eps=TINY),
    ),
    (optim.Adam(0.02, epsilon=TINY), "Adam", dict(lr=0.02, eps=TINY)),
    (
        optim.Adam(0.02, 0.8, 0.6, TINY, amsgrad=True),
        "Adam",
        dict(lr=0.02, betas=(0.8, 0.6), eps=TINY, amsgrad=True),
    ),
    (
        optim.AdamW(0.02, epsilon=TINY, weight_decay=0.05),
        "AdamW",
        dict(lr=0.02, eps=TINY, weight_decay=0.05),
    ),
    (optim.Adamax(0.02, epsilon=TINY), "Adamax", dict(lr=0.02, eps=TINY)),
    (
        optim.Nadam(0.02, epsilon=TINY, momentum_decay=0.004),
        "NAdam",
        dict(lr=0.02, eps=TINY, momentum_decay=0.004),
    ),
]


def data() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.Generator(np.random.Philox(key=7))
    return rng.normal(size=(20, 4)), rng.normal(size=(20, 3)), rng.normal(size=(4, 3))


@pytest.mark.parametrize(("opt", "name", "options"), PAIRS)
def test_trajectory_equals_that_of_torch(opt: Any, name: str, options: dict) -> None:
    x, y, w = data()
    theirs = torch.nn.Parameter(torch.tensor(w))
    peer = getattr(torch.optim, name)([theirs], **options)

    @cr.jit
    def step(params, state):
        def loss_fn(params):
            gap = cr.tanh(x @ params["w"]) - y
            return cr.mean(gap * gap)

        return opt.update(params, cr.grad(loss_fn)(params), state)

    params = {"w": Tensor(w)}
    state = opt.init(params)
    for _ in range(50):
        params, state = step(params, state)
        peer.zero_grad()
        torch.mean((torch.tanh(torch.tensor(x) @ theirs) - torch.tensor(y)) ** 2).backward()
        peer.step()
        np.testing.assert_allclose(params["w"].numpy(), theirs.detach().numpy(), atol=1e-6, rtol=0)
    assert np.abs(params["w"].numpy() - w).max() > 0.02
