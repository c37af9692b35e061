r"""The compiled functions of a model: a training step, a test step, a prediction.

A training step is forward, gradient and update in one `jit` call. It has two phases: what is
computed (loss, gradients, the sum of their squares) and what is committed (parameters, optimiser
state, States), the latter only if the former is finite. Read next: `chainrule/train/loop.py`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from chainrule.compile.jit import jit
from chainrule.compile.looping import Looping
from chainrule.compile.sized import Sized
from chainrule.core.errors import ArgumentError
from chainrule.core.recording import current, literal, written
from chainrule.core.tensor import State, Tensor
from chainrule.core.tree import flatten, tree_map, unflatten
from chainrule.grad.reverse import differentiable, value_and_grad
from chainrule.grad.rows import Rows
from chainrule.nn.constraints import projections
from chainrule.nn.parts import held
from chainrule.nn.randomness import random_scope
from chainrule.nn.regularizers import penalty
from chainrule.ops.elementwise import cast, isfinite, where
from chainrule.ops.index import take
from chainrule.ops.reduce import sum
from chainrule.train.examples import float_dtype
from chainrule.train.heads import Heads
from chainrule.train.metrics import Metric
from chainrule.train.rows import RowExact
from chainrule.train.worth import worth_rows


class Steps:
    """The compiled functions of one model of one structure, with its losses and metrics.

    A batch is (x, y, weights or None, their total or the number of examples), where y and weights
    are as `Heads` reads them. `train(params, state, batch, key, rate)` gives (params, state, loss,
    sum of squares of all gradients, parts of each metric); `turns` does so many times over, each on
    the examples that a row of ids names (see `Looping`); `test(params, batch)` the loss and the
    last of these; `predict(params, x)` the output. `params` are the tensors that are trained, each
    once; `names` are their paths, by which the optimiser sees them.
    """

    def __init__(
        self,
        model: Any,
        optimizer: Any,
        heads: Heads | None,
        reads: Mapping[int, int] | None = None,
        augment: Any = None,
    ):
        self.leaves, self.structure = flatten(model)
        unique = {id(leaf): leaf for leaf in self.leaves}
        self.states = [leaf for leaf in unique.values() if isinstance(leaf, State)]
        paths = {id(tensor): name for name, tensor in model.named_parameters().items()}
        named = {paths[i]: leaf for i, leaf in unique.items() if differentiable(leaf)}
        trained = trained_paths(model, optimizer, named)
        self.params = [named[path] for path in trained]
        self.names = trained
        bounds = projections(model)
        self.bounds = {
            path: bounds[id(named[path])] for path in trained if id(named[path]) in bounds
        }
        self.optimizer = self.plain = optimizer
        self.reads = {
            path: (reads or {})[id(named[path])]
            for path in trained
            if id(named[path]) in (reads or {}) and path not in self.bounds
        }
        self.heads = heads
        self.augment = augment
        self.metrics: Sequence[Metric] = heads.metrics if heads else ()
        self.dtype = float_dtype(model)
        self.integers = model.reads_positions()
        self._compile_training()
        self.test = Sized(self._test, ("batch",))
        self.predict = Sized(self._predict, ("x",))

    def choose_rows(self, batch_size: int, between: int | None) -> None:
        """Update tables of which a batch reads few rows by rows, from here on.

        All of them are looked at after every `between` steps, None for many.
        """
        counts = {path: count * batch_size for path, count in self.reads.items()}
        tables = worth_rows(self.plain, self.named(self.params), counts, between)
        if tables != (self.optimizer.tables if self.by_rows else ()):
            self.optimizer = RowExact(self.plain, tables) if tables else self.plain
            self._compile_training()

    def _compile_training(self) -> None:
        self.train = jit(self._train, donate=("params", "state"))
        self.turns = Looping(self._turn, ("params", "state"), ("ids", "key"), ("data",))

    @property
    def by_rows(self) -> bool:
        """Whether some tables are updated by rows, and so live in the optimiser's state."""
        return isinstance(self.optimizer, RowExact)

    def current(self, params: list, state: Any) -> list:
        """`params` with tables that are updated by rows as they are now."""
        if not self.by_rows:
            return params
        now = self.optimizer.current(self.named(params), state)
        return [now[name] for name in self.names]

    def fits(self, model: Any) -> bool:
        """Whether `model` is still what these functions were made for."""
        leaves, structure = flatten(model)
        same = len(leaves) == len(self.leaves) and all(map(_is, leaves, self.leaves))
        return same and structure == self.structure

    def model_of(self, params: Sequence[Tensor]) -> Any:
        """A copy of the model that holds `params`; States and all else are the model's own."""
        given = {id(old): new for old, new in zip(self.params, params, strict=True)}
        return unflatten(self.structure, [given.get(id(leaf), leaf) for leaf in self.leaves])

    def loss_of(self, params: list, batch: tuple, key: Any) -> tuple[Tensor, list]:
        """(loss, the parts of each metric) in training, with the random numbers of `key`."""
        model = self.model_of(params)
        with random_scope(key):
            batch = self._augmented(batch)
            y_pred = model(batch[0], training=True)
        return self._judge(model, batch, y_pred)

    def _augmented(self, batch: tuple) -> tuple:
        if self.augment is None:
            return batch
        pair = self.augment(batch[:2], training=True)
        if not isinstance(pair, tuple) or len(pair) != 2:
            raise ArgumentError(
                f"{self.augment.name} is to give the pair (x, y), got {type(pair).__name__}",
                mend="return x, y at the end of its call",
            )
        return *pair, *batch[2:]

    def _judge(self, model: Any, batch: tuple, y_pred: Any) -> tuple[Any, list]:
        _, y, weights, _ = batch
        assert self.heads is not None
        loss, parts = self.heads.judge(y, y_pred, weights)
        extra = penalty(model)
        return loss if extra is None else loss + extra, parts

    def _train(self, params: list, state: Any, batch: tuple, key: Any, rate: Any) -> tuple:
        old = [_now(each) for each in self.states]
        judged = value_and_grad(self.loss_of, has_aux=True, rows=self.by_rows)
        (loss, parts), grads = judged(self.current(params, state), batch, key)
        squares = squared_norm(grads)
        finite = where(isfinite(loss), isfinite(squares), isfinite(loss))
        new_params, new_state = self._update(params, grads, state, rate, batch[3])

        def commit(new: Any, before: Any) -> Any:
            return before if new is before else where(finite, new, before)

        for each, before in zip(self.states, old, strict=True):
            after = written(each)
            if after is not each:
                each.renew(commit(after, before))
        new_params = [commit(new, before) for new, before in zip(new_params, params, strict=True)]
        return new_params, tree_map(commit, new_state, state), loss, squares, parts

    def _turn(self, params: list, state: Any, data: tuple, ids: Any, key: Any, rate: Any) -> tuple:
        """A step of `train` on the examples `ids` of `data`; see `Looping`."""
        x, y, weights = tree_map(lambda table: take(table, ids, axis=0), data)
        x = tree_map(self._as_input, x)
        weights = tree_map(lambda each: cast(each, self.dtype), weights)
        total: Any = float(ids.shape[0])
        if isinstance(weights, Tensor):
            total = sum(weights)
            total = where(total == 0, 1.0, total)  # all 0: a loss of 0, not 0 / 0
        batch = x, y, weights, total
        new, state, loss, squares, parts = self._train(params, state, batch, key, rate)
        going = where(isfinite(loss), isfinite(squares), isfinite(loss))
        return new, state, going, loss, squares, tree_map(_recorded, parts)

    def _as_input(self, x: Tensor) -> Tensor:
        return x if self.integers and x.dtype.kind in "iu" else cast(x, self.dtype)

    def named(self, tensors: Sequence[Any]) -> dict[str, Any]:
        """`tensors`, one for each of `params`, by their paths."""
        return dict(zip(self.names, tensors, strict=True))

    def _update(
        self, params: list, grads: list, state: Any, rate: Any, total: Any
    ) -> tuple[list, Any]:
        weight = {"weight": total} if getattr(self.optimizer, "weighs", False) else {}
        new, state = self.optimizer.update(
            self.named(params), self.named(grads), state, learning_rate=rate, **weight
        )
        for name, project in self.bounds.items():
            new[name] = project(new[name])
        return [new[name] for name in self.names], state

    def _test(self, params: list, batch: tuple) -> tuple:
        model = self.model_of(params)
        loss, parts = self._judge(model, batch, model(batch[0], training=False))
        return loss, tree_map(_recorded, parts)

    def _predict(self, params: list, x: Any) -> Any:
        return self.model_of(params)(x, training=False)


def _recorded(part: Any) -> Tensor:
    """A number, such as one of examples, as a constant of the step."""
    return part if isinstance(part, Tensor) else literal(value=part, shape=(), dtype="float64")


def trained_paths(model: Any, optimizer: Any, named: Mapping[str, Any]) -> list[str]:
    """The paths that are not frozen: by `trainable = False` of a layer, or by the optimiser."""
    frozen: set[int] = set()

    def walk(part: Any, still: bool) -> None:
        still = still or not getattr(part, "trainable", True)
        for _, value in held(part):
            if not isinstance(value, Tensor):
                walk(value, still)
            elif still:
                frozen.add(id(value))

    walk(model, False)
    if hasattr(optimizer, "check_paths"):
        optimizer.check_paths(list(named))
    stays = getattr(optimizer, "stays", lambda path: False)
    return [p for p, leaf in named.items() if id(leaf) not in frozen and not stays(p)]


def squared_norm(grads: Sequence[Any]) -> Tensor:
    """The sum of the squares of all elements of all gradients."""
    total: Any = None
    for g in grads:
        part = g.square_sum() if isinstance(g, Rows) else sum(g * g)
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
