r"""The compiled functions of a model: a training step, a test step, a prediction.

A training step is forward, gradient and update in one `jit` call. It has two phases: what is
computed (loss, gradients, the sum of their squares) and what is committed (parameters, optimiser
state, States), the latter only if the former is finite. Read next: `chainrule/train/loop.py`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from chainrule.compile.jit import jit
from chainrule.core.recording import current, written
from chainrule.core.tensor import State, Tensor
from chainrule.core.tree import flatten, tree_map, unflatten
from chainrule.grad.reverse import differentiable, value_and_grad
from chainrule.nn.randomness import random_scope
from chainrule.ops.elementwise import isfinite, where
from chainrule.ops.reduce import sum
from chainrule.train.metrics import Metric
from chainrule.train.objective import Objective


class Steps:
    """The compiled functions of one model of one structure, with its loss and metrics.

    `train(params, state, x, y, key, rate)` gives (params, state, loss, sum of squares of all
    gradients, metric sums, their counts); `test(params, x, y)` the last three and the loss;
    `predict(params, x)` the output. `params` are the model's trainable tensors, each once;
    `names` are their paths.
    """

    def __init__(
        self,
        model: Any,
        optimizer: Any,
        objective: Objective | None,
        metrics: Sequence[Metric],
        logits: bool,
    ):
        self.leaves, self.structure = flatten(model)
        unique = {id(leaf): leaf for leaf in self.leaves}
        self.params = [leaf for leaf in unique.values() if differentiable(leaf)]
        self.states = [leaf for leaf in unique.values() if isinstance(leaf, State)]
        paths = {id(tensor): name for name, tensor in model.named_parameters().items()}
        self.names = [paths[id(tensor)] for tensor in self.params]
        self.optimizer = optimizer
        self.objective = objective
        self.metrics = metrics
        self.logits = logits
        self.train = jit(self._train, donate=("params", "state"))
        self.test = jit(self._test)
        self.predict = jit(self._predict)

    def fits(self, model: Any) -> bool:
        """Whether `model` is still what these functions were made for."""
        leaves, structure = flatten(model)
        same = len(leaves) == len(self.leaves) and all(map(_is, leaves, self.leaves))
        return same and structure == self.structure

    def model_of(self, params: Sequence[Tensor]) -> Any:
        """A copy of the model that holds `params`; States and all else are the model's own."""
        given = {id(old): new for old, new in zip(self.params, params, strict=True)}
        return unflatten(self.structure, [given.get(id(leaf), leaf) for leaf in self.leaves])

    def loss_of(self, params: list, x: Any, y: Any, key: Any) -> tuple[Tensor, tuple]:
        """(loss, (metric sums, counts)) in training, with the random numbers of `key`."""
        with random_scope(key):
            y_pred = self.model_of(params)(x, training=True)
        return self._judge(y, y_pred)

    def _judge(self, y: Any, y_pred: Tensor) -> tuple[Tensor, tuple]:
        assert self.objective is not None
        loss = self.objective.loss(y, y_pred, self.logits)
        totals = [metric.total(y, y_pred, self.logits) for metric in self.metrics]
        return loss, ([total for total, _ in totals], [count for _, count in totals])

    def _train(self, params: list, state: Any, x: Any, y: Any, key: Any, rate: Any) -> tuple:
        old = [_now(each) for each in self.states]
        judged = value_and_grad(self.loss_of, has_aux=True)
        (loss, (sums, counts)), grads = judged(params, x, y, key)
        squares = squared_norm(grads)
        finite = where(isfinite(loss), isfinite(squares), isfinite(loss))
        new_params, new_state = self.optimizer.update(params, grads, state, learning_rate=rate)

        def commit(new: Any, before: Any) -> Any:
            return before if new is before else where(finite, new, before)

        for each, before in zip(self.states, old, strict=True):
            after = written(each)
            if after is not each:
                each.renew(commit(after, before))
        new_params = [commit(new, before) for new, before in zip(new_params, params, strict=True)]
        return new_params, tree_map(commit, new_state, state), loss, squares, sums, counts

    def _test(self, params: list, x: Any, y: Any) -> tuple:
        y_pred = self.model_of(params)(x, training=False)
        loss, (sums, counts) = self._judge(y, y_pred)
        return loss, sums, counts

    def _predict(self, params: list, x: Any) -> Tensor:
        return self.model_of(params)(x, training=False)

    def find_nonfinite(self, params: list, x: Any, y: Any, key: Any) -> list[str]:
        """Whose gradients are not finite, computed again in NumPy; no State is renewed."""
        kept = [each.numpy() for each in self.states]
        with np.errstate(all="ignore"):
            _, grads = value_and_grad(self.loss_of, has_aux=True)(params, x, y, key)
            bad = [not np.isfinite(squared_norm([g]).item()) for g in grads]
        for each, value in zip(self.states, kept, strict=True):
            each.assign(value)
        return [name for name, is_bad in zip(self.names, bad, strict=True) if is_bad]


def squared_norm(grads: Sequence[Any]) -> Tensor:
    """The sum of the squares of all elements of all gradients."""
    total: Any = None
    for g in grads:
        part = sum(g * g)
        total = part if total is None else total + part
    assert total is not None
    return total


def _now(state: State) -> Tensor:
    """The value of `state` at this point of the recording, whatever renews it later."""
    recording = current()
    assert recording is not None
    return recording.tensor(recording.node_of(state))


def _is(a: Any, b: Any) -> bool:
    return a is b
