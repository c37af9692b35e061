r"""How far training on one example moves the loss of another: TracIn.

A step of gradient descent on example $z$ alone, at rate $\eta$, lowers the loss of $z'$ by
$\eta\,\nabla\ell(w, z)\cdot\nabla\ell(w, z')$ to first order. TracIn adds these up over
checkpoints of a training run:

$$\mathrm{TracInCP}(z, z') = \sum_i \eta_i\,\nabla\ell(w_i, z)\cdot\nabla\ell(w_i, z')$$

Positive: z helps z'. This is no part of any gradient entry, so it never adds up with what an
example contributes to one (`partition.py`); `beside` sets both side by side.

Source: Pruthi, Liu, Sundararajan, Kale, "Estimating Training Data Influence by Tracing Gradient
Descent", NeurIPS 2020, section 3. Read next: `report.py`.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from copy import deepcopy
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from chainrule.compile.jit import jit
from chainrule.core.errors import ArgumentError
from chainrule.core.tensor import State, Tensor
from chainrule.core.tree import flatten, tree_map, unflatten
from chainrule.explain import influence_page
from chainrule.explain.batch import examples_of
from chainrule.explain.explanation import Partition
from chainrule.explain.page import Page
from chainrule.explain.views import Views
from chainrule.grad.forward import jvp
from chainrule.grad.reverse import value_and_grad
from chainrule.grad.vmap import vmap
from chainrule.ops.move import expand_dims
from chainrule.train.examples import Examples, check_pair
from chainrule.train.steps import Steps

TOGETHER = 128  # examples whose losses are differentiated in one call


class Influence(NamedTuple):
    """What each example does to the loss of example `on` of the others, which is `loss` now.

    `values[i]` is the influence of example i: above 0 where training on it lowers that loss.
    """

    on: int
    loss: float
    values: tuple[float, ...]

    def helpful(self, topk: int = 5) -> list[tuple[int, float]]:
        """(example, influence) of those that lower the loss most."""
        order = np.argsort(self.values, kind="stable")[::-1]
        return [(int(i), self.values[i]) for i in order[:topk] if self.values[i] > 0]

    def harmful(self, topk: int = 5) -> list[tuple[int, float]]:
        """(example, influence) of those that raise the loss most."""
        order = np.argsort(self.values, kind="stable")
        return [(int(i), self.values[i]) for i in order[:topk] if self.values[i] < 0]


class Beside(NamedTuple):
    """An example's part of a gradient entry, and its influence on another example's loss."""

    example: int
    contribution: float
    influence: float


@dataclass(frozen=True)
class Influences(Views):
    """The influence of `examples` examples on each of others, a column for each of these.

    `rates` has the learning rate of each checkpoint that was added up.
    """

    columns: tuple[Influence, ...]
    examples: int
    rates: tuple[float, ...]

    def page(self, lang: str = "auto") -> Page:
        """Who helps and who harms each of those asked about."""
        return influence_page.page(self, lang)

    def beside(self, partition: Partition, on: int = 0) -> list[Beside]:
        """The rows of a partition by example of the same batch, with the influence on `on`.

        ArgumentError for a partition by something else.
        """
        if partition.by != ("example",):
            raise ArgumentError(
                f"influence stands beside a partition by example, got one by {partition.by}",
                mend='cr.explain(model, x, y, "dense/kernel", index=(0, 0), by="example")',
            )
        values = self.columns[on].values
        rows = [(int(part.labels[0][1]), part.value) for part in partition.parts]
        return [Beside(example, value, values[example]) for example, value in rows]


def influence(
    model: Any,
    x: Any,
    y: Any,
    on: Any,
    *,
    checkpoints: Sequence[Any] | None = None,
    rates: float | Sequence[float] = 1.0,
) -> Influences:
    """The influence of each example of `x` and `y` on each of `on`, a pair (x, y) or a test set.

    It is taken at the model's weights now, or added up over `checkpoints`: models, files of
    `save_weights`, or dicts as `get_weights` gives. `rates` are the learning rates there, one for
    all or one for each; with 1 the value is the product of the gradients.

    The loss of an example is what the model was compiled with, for it alone: without penalties,
    with layers as in prediction, so that no example sees another. The gradient is over what
    is trained; frozen parameters have no part. Instead of a gradient for each example there is
    one for each of `on`, and the derivative of all losses along it, 128 examples at a time.

    ArgumentError for a model that is not compiled or rates that do not fit; and the errors of
    `fit` and `set_weights` for data and weights.

    >>> from chainrule import Sequential, nn
    >>> model = Sequential([nn.Dense(1, kernel_initializer="ones")])
    >>> model.compile("sgd", "mse")
    >>> x, y = np.float32([[1, 0], [0, 1]]), np.float32([0, 3])
    >>> found = influence(model, x, y, on=(x[:1], y[:1]), rates=0.1)
    >>> [f"{value:.2f}" for value in found.columns[0].values]
    ['0.80', '-0.80']
    """
    steps, ours = examples_of(model, "influence", x, y)
    if not isinstance(on, tuple | list) or len(on) != 2:
        raise ArgumentError("influence is on other examples with targets", mend="on=(x[:1], y[:1])")
    _, theirs = examples_of(model, "influence", *check_pair("on", on)[:2])
    if not steps.params:
        raise ArgumentError(f"{model.name} has no parameters that are trained")
    points = list(_weights(model, checkpoints))
    factors = _rates(rates, len(points))
    few, many = (theirs, ours) if len(theirs) <= len(ours) else (ours, theirs)
    products = _Products(steps)
    total = np.zeros((len(few), len(many)))
    for leaves, factor in zip(points, factors, strict=True):
        total += factor * products.at(leaves, few, many)
    total = total if few is theirs else total.T
    losses = products.losses(flatten(model)[0], theirs)
    columns = [
        Influence(i, float(loss), tuple(map(float, row)))
        for i, (loss, row) in enumerate(zip(losses, total, strict=True))
    ]
    return Influences(tuple(columns), len(ours), tuple(factors))


def _rates(given: Any, count: int) -> list[float]:
    try:
        rates = list(np.ravel(np.asarray(given, float)))
    except (TypeError, ValueError):
        rates = []
    rates = rates * count if np.ndim(given) == 0 else rates
    if len(rates) != count or not np.isfinite(rates).all():
        raise ArgumentError(
            f"rates needs one finite number, or one for each of {count} checkpoints, got {given!r}"
        )
    return [float(rate) for rate in rates]


def _weights(model: Any, checkpoints: Any) -> Iterator[list[Any]]:
    """The leaves of the model with the weights of each checkpoint."""
    if checkpoints is None:
        yield flatten(model)[0]
        return
    listed = isinstance(checkpoints, Sequence) and not isinstance(checkpoints, str)
    if not listed or not checkpoints:
        raise ArgumentError(
            f"checkpoints needs a list of weights, got {type(checkpoints).__name__}",
            mend="checkpoints=[model.get_weights()], or paths that save_weights wrote",
        )
    for each in checkpoints:
        twin = deepcopy(model)
        if isinstance(each, str | os.PathLike):
            twin.load_weights(each)
        else:
            twin.set_weights(each.get_weights() if hasattr(each, "get_weights") else each)
        yield flatten(twin)[0]


class _Products:
    """Inner products of gradients of single examples' losses."""

    def __init__(self, steps: Steps):
        self.steps = steps
        numbers = {id(p): i for i, p in enumerate(steps.params)}
        self.places = [numbers.get(id(leaf)) for leaf in steps.leaves]
        self._gradient = jit(self._gradient_of)
        self._along = jit(self._moved)
        self._value = jit(self._losses)

    def at(self, leaves: list, few: Examples, many: Examples) -> np.ndarray:
        """(few, many) products at the weights that `leaves` hold."""
        params, rest = self._parted(leaves)
        rows = []
        for i in range(len(few)):
            x, y = few.batch(slice(i, i + 1))[:2]
            direction = self._gradient(params, rest, x, y)
            parts = [self._along(params, direction, rest, *b[:2]) for b in many.batches(TOGETHER)]
            rows.append(np.concatenate([part.numpy() for part in parts]))
        return np.stack(rows).astype(float)

    def losses(self, leaves: list, examples: Examples) -> np.ndarray:
        """The loss of each example alone."""
        params, rest = self._parted(leaves)
        parts = [self._value(params, rest, *b[:2]) for b in examples.batches(TOGETHER)]
        return np.concatenate([part.numpy() for part in parts])

    def _parted(self, leaves: list) -> tuple[list, list]:
        """(what is trained, all else) of the leaves of a model."""
        params: list[Any] = [None] * len(self.steps.params)
        rest = []
        for leaf, place in zip(leaves, self.places, strict=True):
            if place is None:
                rest.append(Tensor(leaf.numpy()) if isinstance(leaf, State) else leaf)
            else:
                params[place] = leaf
        return params, rest

    def _loss(self, params: list, rest: list, x: Any, y: Any) -> Any:
        """The loss of a batch, without penalties, layers as in prediction."""
        others = iter(rest)
        leaves = [next(others) if place is None else params[place] for place in self.places]
        model = unflatten(self.steps.structure, leaves)
        assert self.steps.heads is not None
        return self.steps.heads.judge(y, model(x, training=False), None)[0]

    def _losses(self, params: list, rest: list, x: Any, y: Any) -> Any:
        def alone(x: Any, y: Any) -> Any:
            x, y = tree_map(expand_dims, (x, y))
            return self._loss(params, rest, x, y)

        return vmap(alone)(x, y)

    def _gradient_of(self, params: list, rest: list, x: Any, y: Any) -> list:
        return value_and_grad(self._loss)(params, rest, x, y)[1]

    def _moved(self, params: list, direction: list, rest: list, x: Any, y: Any) -> Any:
        return jvp(lambda given: self._losses(given, rest, x, y), (params,), (direction,))[1]
