"""A step of `fit` that was not finite, computed again to see why: `step_again`.

Nothing of the step was committed, so its parameters, batch and random key are all there is to
it. Read next: `chainrule/compile/replay.py`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import islice
from typing import Any

import numpy as np

from chainrule.compile.replay import Replay
from chainrule.core.tensor import Tensor
from chainrule.core.tree import flatten
from chainrule.data.batches import epoch_order
from chainrule.grad.finding import LARGE, Finding, Growth, Operand
from chainrule.grad.reverse import value_and_grad
from chainrule.train.examples import Examples

GREW = 1e3  # a weight that grew so many times, and to more than that, exploded
HUGE = 1e6  # so did one of this size, however long it took
UNSEEN = "computed again op by op, no value was other than finite"
NAMED = 4  # names that a sentence lists


def some(names: Sequence[str]) -> str:
    """`names`, the first few where they are many."""
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return ", ".join(names[:NAMED]) + more


def step_again(
    fit: Any, params: list[Tensor], batch: tuple, key: Any
) -> tuple[Finding | None, list[str]]:
    """What was not finite first, None where it cannot be told, and whose gradients are not finite.

    `params` are the weights of the last good step.
    """
    steps, (x, y, weights, total) = fit.steps, batch
    counts: list[int] = []  # of outputs: the loss, then the parts of each gradient

    def step(params: list, x: Any, y: Any, sample_weight: Any, key: Any) -> list:
        loss_and_grad = value_and_grad(steps.loss_of, has_aux=True, rows=steps.by_rows)
        (loss, _), grads = loss_and_grad(params, (x, y, sample_weight, total), key)
        counts.extend(len(flatten(each)[0]) for each in grads)
        return [loss, *grads]

    named = {**fit.model.named_parameters(), **fit.model.named_states()}
    labels = {id(tensor): name for name, tensor in named.items()}
    labels |= {id(tensor): name for name, tensor in zip(steps.names, params, strict=True)}
    arguments = {"params": params, "x": x, "y": y, "sample_weight": weights, "key": key}
    again = Replay(step, arguments, ("x", "y", "sample_weight"), labels)
    parts = iter(again.outputs[1:])
    grads = [list(islice(parts, count)) for count in counts]
    bad = [name for name, g in zip(steps.names, grads, strict=True) if not _finite(g)]
    found = again.finding or (None if bad else _squares(steps.names, grads))
    return found and _told_of_fit(fit, found, params), bad


def _finite(arrays: Sequence[np.ndarray]) -> bool:
    return all(np.isfinite(array).all() for array in arrays)


def _squares(names: Sequence[str], grads: Sequence[Sequence[np.ndarray]]) -> Finding | None:
    """The finding where every gradient is finite, and the sum of all squares is not."""
    largest = [max((_size(g) for g in parts), default=0.0) for parts in grads]
    i = int(np.argmax(largest))
    array = grads[i][-1]
    with np.errstate(over="ignore"):
        total = sum(np.sum(np.square(g[-1])) for g in grads)
    if np.isfinite(total):
        return None
    inputs = (Operand(None, (), float(array.min()), float(array.max()), array.shape),)
    op = "the sum of the squares of all gradients"
    return Finding("squares", op, np.inf, array.dtype.name, (), (), 1, inputs, layer=names[i])


def _size(array: np.ndarray) -> float:
    return float(np.abs(array).max()) if array.size else 0.0


def _told_of_fit(fit: Any, found: Finding, params: list[Tensor]) -> Finding:
    """`found` with what only the fit knows: the example's number, and how the weights grew."""
    number = None
    if found.example is not None and isinstance(fit.examples, Examples):
        order = epoch_order(
            len(fit.examples),
            seed=fit.model.seed,
            epoch=fit.first + fit.epoch,
            shuffle=fit.plan.shuffle,
        )
        number = int(order[fit.done * fit.plan.batch_size + found.example])
    growth = _growth(fit, params) if found.reason in LARGE else None
    return replace(found, number=number, growth=growth)


def _growth(fit: Any, params: list[Tensor]) -> Growth | None:
    """The weight that is the largest, where it looks like an explosion."""
    sizes = np.nan_to_num([_size(param.numpy()) for param in params], nan=np.inf, posinf=np.inf)
    i = int(np.argmax(sizes))
    before, now = _size(fit.steps.params[i].numpy()), float(sizes[i])
    if not before < np.inf or now < GREW or (now < GREW * before and now < HUGE):
        return None
    grew = now >= 2 * before
    steps = fit.done if grew else fit.history.steps
    return Growth(fit.steps.names[i], before if grew else now, now, steps)
