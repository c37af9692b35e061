"""Trajectories of 50 steps in float64 equal PyTorch's where the two define the same update.

Where PyTorch adds epsilon outside of a root and Keras inside, it is made so small here that the
place does not matter; those of Keras are compared with Keras in `test_against_keras.py`.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule.core.tensor import Tensor
from chainrule.train import optim, schedules

torch = pytest.importorskip("torch", reason="pip install 'chainrule[peers]'")
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


APART = {
    "lion": "PyTorch has none; compared with Keras",
    "muon": "PyTorch's computes in bfloat16; compared with Keras",
}


def test_every_optimiser_is_compared_or_has_a_reason() -> None:
    ours = {n for n, c in optim.OPTIMIZERS.items() if c.__module__.startswith("chainrule.")}
    compared = {type(opt).__name__.lower() for opt, _, _ in PAIRS}
    assert compared | set(APART) == ours and not compared & set(APART)


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


def rates_of(make: Any, lr: float, steps: int) -> list[float]:
    """The rates of one of PyTorch's schedules, from 0 updates on."""
    peer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr)
    schedule, found = make(peer), []
    for _ in range(steps):
        found.append(peer.param_groups[0]["lr"])
        peer.step()
        schedule.step()
    return found


def one_cycle(peer: Any, peak: float, total_steps: int, rise: float = 0.3, **factors: float) -> Any:
    names = {"start_factor": "div_factor", "end_factor": "final_div_factor"}
    given = {names[name]: value for name, value in factors.items()}
    return torch.optim.lr_scheduler.OneCycleLR(peer, peak, total_steps, pct_start=rise, **given)


def test_one_cycle_is_that_of_torch() -> None:
    for sample in schedules.CHECKS["one_cycle"].samples:
        schedule, total = schedules.one_cycle(**sample), sample["total_steps"]
        wanted = rates_of(lambda peer, sample=sample: one_cycle(peer, **sample), 0.1, total)
        np.testing.assert_allclose([float(schedule(i)) for i in range(total)], wanted, rtol=1e-9)


def test_warmup_is_the_linear_start_of_torch() -> None:
    def rising(peer: Any) -> Any:
        return torch.optim.lr_scheduler.LinearLR(peer, 1 / 5, total_iters=4)

    found = [float(schedules.warmup(0.3, 5)(i)) for i in range(9)]
    np.testing.assert_allclose(found, rates_of(rising, 0.3, 9), rtol=1e-9)
