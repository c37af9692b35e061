"""Strides: the steps of an epoch as they are taken, several in one native call where they can be.

Examples that lie in memory are gathered by index inside the step; batches from elsewhere come one
by one. Each step is the same either way. Read next: `loop.py`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from itertools import count
from typing import Any, NamedTuple

import numpy as np

from chainrule.core.tensor import Tensor
from chainrule.data.batches import epoch_order
from chainrule.ops.random import fold_in, key
from chainrule.train.examples import Examples

SECONDS = 0.08  # that a stride may take: between them Ctrl-C is heard and the bar moves
MOST = 16_384  # steps of a stride
KEYS_AT_ONCE = 256


class Stride(NamedTuple):
    """What some steps gave, a row for each; `batch(i)` and `keys[i]` are what step i was given."""

    losses: np.ndarray
    squares: np.ndarray
    weights: np.ndarray
    parts: list  # for each metric its parts
    keys: np.ndarray
    batch: Callable[[int], Any]
    error: BaseException | None = None  # what kept the next step from being taken

    def __len__(self) -> int:
        return len(self.losses)

    @property
    def finite(self) -> int:
        """How many steps were finite; only the last can be otherwise."""
        ends = len(self) and np.isfinite(self.losses[-1]) and np.isfinite(self.squares[-1])
        return len(self) if ends else max(0, len(self) - 1)


class Pace:
    """How many steps the next stride has, by how long the last took."""

    def __init__(self, limit: int = MOST):
        self.limit = limit
        self.size = 1

    def saw(self, steps: int, seconds: float) -> None:
        """A stride of `steps` has taken so long."""
        fitting = int(SECONDS * steps / max(seconds, 1e-9))
        self.size = max(1, min(fitting, 8 * self.size, self.limit))


def strides(fit: Any, number: int) -> Iterator[Stride]:
    """The steps of epoch `number` that `fit` has not done; each stride is taken when asked for."""
    gathers = isinstance(fit.examples, Examples) and fit.examples.in_memory
    return _gathered(fit, number) if gathers else _read(fit, number)


def _gathered(fit: Any, number: int) -> Iterator[Stride]:
    examples, size, seed = fit.examples, fit.plan.batch_size, fit.model.seed
    order = epoch_order(len(examples), seed=seed, epoch=number, shuffle=fit.plan.shuffle)
    keys = step_keys(seed, number, fit.per_epoch)
    whole = len(order) // size
    at = fit.done
    while at < fit.per_epoch:
        end = min(at + fit.pace.size, whole) if at < whole else fit.per_epoch
        ids = order[at * size : end * size].reshape(end - at, -1)
        began = time.perf_counter()
        stride = fit.take_gathered(ids, keys[at:end])
        fit.pace.saw(end - at, time.perf_counter() - began)
        at += len(stride)
        yield stride


def _read(fit: Any, number: int) -> Iterator[Stride]:
    keys = keys_of(fit.model.seed, number, fit.per_epoch, fit.done)
    batches = fit.examples.epoch(fit.plan, fit.model.seed, number, fit.done)
    try:
        for batch, step_key in zip(batches, keys):
            yield fit.take_batch(batch, step_key)
    finally:  # a thread that reads them ends with the epoch
        getattr(batches, "close", lambda: None)()


def step_keys(seed: int, epoch: int, steps: int, start: int = 0) -> np.ndarray:
    """One random key for each step from `start`, a function of (seed, epoch, step) alone."""
    run = fold_in(fold_in(key(seed), "fit"), epoch)
    repeated = Tensor(np.tile(run.numpy(), (steps, 1)))
    return fold_in(repeated, Tensor(np.arange(start, start + steps, dtype=np.uint32))).numpy()


def keys_of(seed: int, epoch: int, steps: int | None, start: int = 0) -> Iterator[np.ndarray]:
    """The keys of the steps of an epoch from `start` on, however many there will be."""
    size = steps or KEYS_AT_ONCE
    for at in count(start, size):
        yield from step_keys(seed, epoch, size, at)
