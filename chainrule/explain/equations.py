"""A network's recorded loss as equations: which values get a letter, and what each is made of.

A value gets a letter where a textbook gives it one: what a layer hands on, what stands before an
activation, what is read more than once, and what a product reads. All that lies between is
written out. Read next: `backward.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from chainrule.core.dtypes import is_float
from chainrule.core.errors import ArgumentError, GradientError
from chainrule.core.node import Node, topological
from chainrule.core.recording import Recording, current, input_op
from chainrule.core.tensor import Tensor
from chainrule.core.tree import flatten
from chainrule.explain.formula import N
from chainrule.explain.reading import is_seen_through
from chainrule.nn.losses import CHECKS
from chainrule.nn.module import Module
from chainrule.nn.randomness import random_scope
from chainrule.nn.regularizers import penalty
from chainrule.ops.random import key
from chainrule.train.arrays import Features
from chainrule.train.ending import Ending, is_stateful, stateful_layers
from chainrule.train.examples import float_dtype
from chainrule.train.heads import Asked, Heads
from chainrule.train.objective import SPARSE

STRAIGHT = ("add", "subtract", "negative", "multiply", "divide", "where", "cast", "refloat",
            "stop_gradient")  # fmt: skip
LONGEST = 14  # nodes that are written out without a letter between
SHORT = 8  # as many are written out in a loss, even where it reads them twice


class Recorded(NamedTuple):
    """The loss of a model for one batch: nodes, and which tensor each input stands for."""

    recording: Recording
    loss: Node
    inputs: list[Node]  # of x
    targets: list[Node]  # of y
    outputs: list[Node]
    inner: set[Node]  # what the outputs need: the rest belongs to the loss
    name: str  # of the loss
    kind: str  # what a loss of the library is registered as, of the first output

    @property
    def order(self) -> list[Node]:
        """The nodes that the loss needs, as they were recorded."""
        needed = set(topological([self.loss]))
        return [node for node in self.recording.origins if node in needed]


def record_loss(model: Any, loss: Any = None, x_shape: Any = None, batch: int = N) -> Recorded:
    """The loss of `model` in training for a batch, recorded without computing.

    `loss` is as in `compile`, by default what that was given; `x_shape` is the shape of one
    example (of several inputs a dict or tuple of shapes), by default that last seen. A model that
    was not built is. ArgumentError where one of the two is needed and missing.
    """
    if not isinstance(model, Module):
        raise ArgumentError(
            f"a derivation is of a model or a layer, got {type(model).__name__}",
            mend='cr.derivation(model, "mse", x_shape=(2,))',
        )
    if current() is not None:
        raise GradientError("a derivation while something else records", mend="call it outside")
    asked, features = _asked(model, loss), _features(model, x_shape)
    kind, positions = float_dtype(model), model.reads_positions()
    if is_stateful(model):
        batch = next((each.batch_size or batch for each in stateful_layers(model)), batch)
    ending = Ending(model, features, kind, positions, batch)
    heads = Heads(ending, asked)
    objectives = [head.objective for head in heads.heads if head.objective]
    with Recording(concrete=False) as recording:
        x = features.inputs(recording, batch, kind, positions)
        with random_scope(recording.input(key(0))):
            y_pred = model(x, training=True)
        inner = set(recording.origins)
        targets = [
            _target(recording, head.objective, output.shape, batch, kind)
            for head, output in zip(heads.heads, ending.outputs, strict=True)
        ]
        value, _ = heads.judge(targets[0] if heads.single else tuple(targets), y_pred, None)
        extra = penalty(model)
        value = value if extra is None else value + extra
        return Recorded(
            recording,
            recording.node_of(value),
            [recording.node_of(each) for each in flatten(x)[0]],
            [recording.node_of(each) for each in targets if each is not None],
            [recording.node_of(each) for each in flatten(y_pred)[0]],
            inner,
            " + ".join(each.name for each in objectives),
            objectives[0].kind,
        )


def _asked(model: Any, loss: Any) -> Asked:
    if loss is not None:
        return Asked.read(loss, (), None)
    setup = getattr(model, "_setup", None) if "_setup" in vars(model) else None
    if setup is None or setup.asked is None:
        raise ArgumentError(
            f"the loss of {model.name} is not known: compile was not called",
            mend='derivation(model, loss="mse"), or model.compile("adam", "mse") before',
        )
    return Asked(setup.asked.objective, [], setup.asked.shares)


def _features(model: Any, x_shape: Any) -> Features:
    if x_shape is not None:
        return Features.like(x_shape)
    setup = vars(model).get("_setup")
    seen = list(setup.endings) if setup is not None else []
    if seen:
        return seen[-1]
    raise ArgumentError(
        f"{model.name} has seen no data yet, so the shape of an example is not known",
        mend="x_shape=(28, 28, 1), the shape of one example",
    )


def _target(
    recording: Recording, objective: Any, output: tuple, batch: int, kind: Any
) -> Tensor | None:
    if objective is None:
        return None
    shape, dtype = (batch, *output), kind
    reads = CHECKS[objective.kind].targets if objective.kind else ""
    if objective.kind == SPARSE:
        shape, dtype = (batch, *output[:-1]), "int64"
    elif reads in ("sequences", "classes"):
        shape, dtype = (batch, 1) if reads == "sequences" else (batch,), "int64"
    return recording.input(Tensor(np.broadcast_to(np.zeros((), dtype), shape)))


def passed(node: Node) -> Node:
    """The value that `node` only repeats, casts or turns, or is itself."""
    while is_seen_through(node) or node.op.name == "transpose":
        node = node.inputs[0]
    return node


@dataclass
class Cut:
    """Chooses among `order` the nodes that get a letter.

    `live` are those that depend on what is differentiated; `ends` get a letter in any case;
    `block` says to which layer a node belongs, None for the loss.
    """

    order: Sequence[Node]
    live: set[Node]
    ends: set[Node]
    block: Callable[[Node], Any]
    users: dict[Node, set[Node]] = field(default_factory=dict)
    held: set[Node] = field(default_factory=set)  # what a loop or a condition reads

    def named(self) -> list[Node]:
        """The chosen ones, inputs before users."""
        for node in self.order:
            if node.op.kind == "control":
                self.held.update(node.inputs)
            for source in node.inputs:
                if passed(node) is node:
                    self.users.setdefault(passed(source), set()).add(node)
        chosen: list[Node] = []
        about: dict[Node, tuple[int, set[str]]] = {}  # how many nodes, and which kinds of op
        for node in self.order:
            if not node.inputs or node not in self.live:
                continue
            parts = [about[s] for s in {passed(s) for s in node.inputs} if s in about]
            size = 1 + sum(size for size, _ in parts)
            about[node] = (size, {node.op.kind}.union(*(kinds for _, kinds in parts)))
            if is_float(node.dtype) and self._deserves(node, *about[node]):
                chosen.append(node)
                about[node] = (0, set())
        return chosen

    def _deserves(self, node: Node, size: int, kinds: set[str]) -> bool:
        if node in self.ends or node.op.name == "part":
            return True
        if passed(node) is not node:
            return node in self.held
        users = self.users.get(node, set()) & self.live
        own = self.block(node)
        if any(self.block(user) != own for user in users) or size > LONGEST:
            return True
        if any(user.op.kind == "control" for user in users):
            return True
        bent_twice = is_curved(node) and any(map(is_curved, users))
        if own is None and size <= SHORT and not bent_twice:
            return False
        if len(users) > 1:
            return True
        if any(u.op.kind == "contraction" for u in users):
            return node.op.kind in ("elementwise", "contraction")
        joined = any(self._joins(user) for user in users)
        if is_curved(node):
            return joined or "reduction" in kinds
        if joined and node.op.kind == "elementwise" and "reduction" in kinds:
            return True
        return "contraction" in kinds and any(is_curved(user) for user in users)

    def _joins(self, node: Node) -> bool:
        """Whether it multiplies or divides two values that both depend on data."""
        own = [source for source in node.inputs if passed(source) in self.live]
        return node.op.name in ("multiply", "divide") and len(own) > 1


def twins(order: Sequence[Node], named: Iterable[Node]) -> dict[Node, Node]:
    """Of the `named` nodes, those that are made as an earlier one is, with that one."""
    keys: dict[Node, Any] = {}
    numbers: dict[Any, int] = {}
    first: dict[Any, Node] = {}
    found = {}
    chosen = set(named)
    for node in order:
        if is_seen_through(node):
            keys[node] = keys[node.inputs[0]]
        else:
            unseen = ("keepdims", "shape") if node.op.name == "literal" else ("keepdims",)
            attrs = {k: v for k, v in node.attrs.items() if k not in unseen}
            own = node if node.op is input_op or node.op.kind in ("random", "control") else None
            key = (node.op, own, repr(attrs), *(keys[source] for source in node.inputs))
            keys[node] = numbers.setdefault(key, len(numbers))
        if node in chosen:
            twin = first.setdefault((keys[node], node.shape), node)
            if twin is not node:
                found[node] = twin
    return found


def is_curved(node: Node) -> bool:
    """Whether the op bends what it reads: an activation, a root, a logarithm."""
    return node.op.kind == "elementwise" and node.op.name not in STRAIGHT
