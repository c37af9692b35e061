r"""One term of a cut as a chain of factors, from the loss down to the parameter.

From the element where the parameter is used the walk goes on towards the loss as long as there is
one way only: one element of one node reads it. Where ways part, the adjoint says the rest in one
factor. The factors are named by the quantities of textbooks: $z^{(l)}$ before the activation of
layer $l$, $h^{(l)}$ after it, $o$ the output of the model. Read next: `difference.py`.
"""

from __future__ import annotations

from math import prod
from typing import NamedTuple

import numpy as np

from chainrule.core.node import Node
from chainrule.core.recording import Recording, input_op
from chainrule.core.tensor import Tensor
from chainrule.explain.cut import Flow, Terms
from chainrule.explain.explanation import Factor
from chainrule.explain.letters import layer_numbers, of_parameter
from chainrule.explain.writing import symbol
from chainrule.grad.forward import forward

Place = tuple[int, ...]
LINEAR = ("add", "subtract", "contract", "negative", "cast", "refloat")


class Stop(NamedTuple):
    """An element on the way, and the derivative of it by the stop before."""

    node: Node
    place: Place
    factor: float


class Chains:
    """The chains of one parameter in one `Flow`; `symbol` is the LaTeX of the parameter."""

    def __init__(self, flow: Flow):
        self.flow = flow
        self.users: dict[Node, list[Node]] = {}
        for node in flow.order:
            for source in set(node.inputs):
                self.users.setdefault(source, []).append(node)
        subject = flow.subject
        self.outputs = {flow.wide.node(node) for node in subject.outputs}
        data = {flow.wide.node(node) for node in subject.data}
        leaves = {n for n in flow.order if n.op is input_op and n.dtype.kind == "f"} - data
        self.numbers = layer_numbers(flow.order, leaves, flow.wide.layer)
        own = (flow.wide.layer(n) for n in flow.order if flow.parameter in n.inputs)
        number = self.numbers.get(next(filter(None, own), subject.path.rpartition("/")[0]))
        self.symbol = symbol(of_parameter(subject.path, number))

    def factors(self, terms: Terms, element: Place, entry: str) -> tuple[Factor, ...]:
        """The factors of the term at `element`; `entry` is the LaTeX of the parameter's entry."""
        stops = self._walk(terms.node, element)
        names = self._names(stops)
        named = [i for i, name in enumerate(names) if name]
        if not named:
            names[0], named = rf"u{_unit(self.flow, stops[0])}", [0]
        last = stops[named[-1]]
        if last.node not in self.flow.adjoints:
            self.flow.flow_back([last.node])
        found = [
            Factor(
                _partial("L", names[named[-1]]), float(self.flow.adjoints[last.node][last.place])
            )
        ]
        for before, after in zip(reversed(named[:-1]), reversed(named[1:]), strict=True):
            value = prod(stop.factor for stop in stops[before + 1 : after + 1])
            found.append(Factor(_partial(names[after], names[before]), value))
        first = float(terms.tangent.reshape(terms.node.shape)[element]) * prod(
            s.factor for s in stops[1 : named[0] + 1]
        )
        return (*found, Factor(_partial(names[named[0]], entry), first))

    def _walk(self, node: Node, place: Place) -> list[Stop]:
        """The stops from the use on, up to the model's output or where the ways part."""
        stops = [Stop(node, place, 1.0)]
        while node not in self.outputs:
            steps = [
                step for user in self.users.get(node, ()) for step in self._steps(user, node, place)
            ]
            if len(steps) != 1 or steps[0].node is self.flow.loss:
                break
            stops.append(steps[0])
            node, place = steps[0].node, steps[0].place
        return stops

    def _steps(self, user: Node, node: Node, place: Place) -> list[Stop]:
        """The elements of `user` that read this one: none, one, or two where there are more."""
        many = [Stop(user, (), 0.0)] * 2
        if user.op.kind == "elementwise" and user.shape == node.shape:
            return [Stop(user, place, self._derivative(user, node, place))]
        if user.op.kind == "movement":
            return _moved(user, node, place) or []
        if user.op.name == "contract" and user.inputs.count(node) == 1:
            step = self._product(user, node, place)
            return many if step is None else [step]
        return many

    def _derivative(self, user: Node, node: Node, place: Place) -> float:
        """Of an elementwise node at one element, by its input `node`."""
        values = self.flow.wide.recording.values
        with Recording(concrete=True) as recording, np.errstate(all="ignore"):
            made = {}
            for source in dict.fromkeys(user.inputs):
                at = place[len(place) - len(source.shape) :]
                at = tuple(0 if n == 1 else i for i, n in zip(at, source.shape, strict=True))
                made[source] = recording.input(Tensor(np.asarray(values[source][at])))
            y = recording.apply(user.op, [made[source] for source in user.inputs], user.attrs)
            one = recording.input(Tensor(np.float64(1)))
            (found,) = forward([y], [made[node]], [one])
            return 0.0 if found is None else float(found.numpy())

    def _product(self, user: Node, node: Node, place: Place) -> Stop | None:
        """The one element of a contraction that reads this one, None where there are several."""
        at = user.inputs.index(node)
        inputs, out = user.attrs["spec"].split("->")
        mine, other = inputs.split(",")[at], inputs.split(",")[1 - at]
        where = dict(zip(mine, place, strict=True))
        extents = dict(zip(other, user.inputs[1 - at].shape, strict=True))
        if any(extents[letter] != 1 for letter in other if letter not in where):
            return None
        factor = self.flow.wide.value(user.inputs[1 - at])[tuple(where.get(q, 0) for q in other)]
        return Stop(user, tuple(where.get(q, 0) for q in out), float(factor))

    def _names(self, stops: list[Stop]) -> list[str]:
        """The symbol of each stop, "" where textbooks have none."""
        names: list[str] = []
        affine: dict[str, bool] = {}  # by layer: whether its z is still to come
        for i, stop in enumerate(stops):
            after = stops[i + 1].node if i + 1 < len(stops) else None
            layer, unit = self.flow.wide.layer(stop.node), _unit(self.flow, stop)
            linear = affine.get(layer, True) and stop.node.op.name in LINEAR
            users = self.users.get(stop.node, ())
            ends = all(self.flow.wide.layer(user) != layer for user in users)
            whole = linear and (ends or after is None or after.op.name not in LINEAR)
            affine[layer] = linear and not whole
            letter = "z" if whole else "h" if ends and stop.node not in self.flow.wide.steps else ""
            number = self.numbers.get(layer)
            if stop.node in self.outputs:
                names.append(f"o{unit}")
            else:
                names.append(f"{letter}^{{({number})}}{unit}" if letter and number else "")
        return names


def _moved(user: Node, node: Node, place: Place) -> list[Stop]:
    """The elements that a movement puts this one to."""
    if user.op.name == "slice":  # of these a loop has one for each step, so they are quick
        return _sliced(user, place)
    marks = [np.zeros(source.shape, np.int8) for source in user.inputs]
    for source, mark in zip(user.inputs, marks, strict=True):
        if source is node:
            mark[place] = 1
    found = np.argwhere(user.op.ref(*marks, **user.attrs))[:2]
    return [Stop(user, tuple(int(i) for i in row), 1.0) for row in found]


def _unit(flow: Flow, stop: Stop) -> str:
    """The subscript that says which unit: the last place, where that is no example's."""
    axis = len(stop.node.shape) - 1
    if axis < 0 or flow.examples.get(stop.node) == axis:
        return ""
    return f"_{{{stop.place[-1]}}}"


def _partial(above: str, below: str) -> str:
    return rf"\frac{{\partial {above}}}{{\partial {below}}}"


def _sliced(user: Node, place: Place) -> list[Stop]:
    """Where a slice puts an element, if it takes it."""
    rows = zip(place, *[user.attrs[name] for name in ("start", "stop", "step")], strict=True)
    found = []
    for i, start, stop, step in rows:
        if not start <= i < stop or (i - start) % step:
            return []
        found.append((i - start) // step)
    return [Stop(user, tuple(found), 1.0)]
