r"""A gradient as a sum over a cut of the graph: adjoint times tangent, element by element.

For the outputs $o_k$ of any nodes that all paths from $w$ to $L$ pass once,
$dL/dw = \sum_k (dL/do_k)(do_k/dw)$. Reverse mode gives the first factors, for all entries of all
parameters at once, forward mode the second, for one entry. A parameter is cut where it is used,
which all paths pass: so also a weight that is read at each time step. Read next: `partition.py`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Container, Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np

from chainrule.core.node import Node, topological
from chainrule.core.tensor import Tensor
from chainrule.explain.axes import axis_names, example_axes, parted
from chainrule.explain.columns import moved_columns, partner
from chainrule.explain.explanation import Label
from chainrule.explain.subject import Index, Subject
from chainrule.explain.unrolled import Unrolled
from chainrule.grad.forward import tangent
from chainrule.grad.reverse import backward, one_like
from chainrule.nn.cells import Cell
from chainrule.nn.recurrent import RNN


class Terms(NamedTuple):
    """The terms of the sum at one node, adjoint times tangent, and what their axes are called.

    There may be more axes than the node has, with the same elements in the same order. `labels`
    are what all of them share, like the time step.
    """

    node: Node
    values: np.ndarray
    tangent: np.ndarray
    axes: tuple[str, ...]
    labels: tuple[Label, ...]


class Flow:
    """The loss of a `Subject` in float64, laid out, with what flows back from it.

    `own` is what is made of the parameter for all examples alike, and `uses` are the nodes that
    read it next; `gradient` is by reverse mode all the way, of the whole parameter.
    """

    def __init__(self, subject: Subject):
        self.subject = subject
        ends = [subject.loss, *subject.outputs]
        self.wide = wide = Unrolled(ends, subject.values, subject.origins)
        self.loss, self.parameter = wide.node(subject.loss), wide.node(subject.parameter)
        self.order = topological([self.loss])
        data = [wide.node(leaf) for leaf in subject.data]
        self.examples = example_axes(self.order, data, subject.examples)
        self.moved = reached(self.order, [self.parameter])
        self.own = self._own(self.examples)
        if self.loss in self.own:  # no axis of examples could be followed
            self.own = self._own(reached(self.order, data)) - {self.loss}
        self.uses = [
            node
            for node in self.order
            if node not in self.own and not self.own.isdisjoint(node.inputs)
        ]
        self.adjoints: dict[Node, np.ndarray] = {}
        self._units: dict[Index, Tensor] = {}
        self.flow_back([self.parameter, *self.uses])
        self.gradient = self.adjoints[self.parameter]

    def _own(self, ends: Container[Node]) -> set[Node]:
        """What is made of the parameter before it meets `ends`, or itself on another way."""
        found = {self.parameter}
        for node in self.order:
            moving = [source for source in node.inputs if source in self.moved]
            if moving and node not in ends and found.issuperset(moving):
                found.add(node)
        return found

    @property
    def loss_value(self) -> float:
        """The loss, in float64."""
        return float(self.wide.value(self.loss))

    def flow_back(self, nodes: Sequence[Node]) -> None:
        """Put the adjoints of `nodes` into `adjoints`, 0 where nothing flows."""
        tensor = self.wide.recording.tensor
        with self.wide.recording, np.errstate(all="ignore"):
            found = backward(
                [tensor(self.loss)], [one_like(tensor(self.loss))], [*map(tensor, nodes)]
            )
        for node, g in zip(nodes, found, strict=True):
            self.adjoints[node] = np.zeros(node.shape) if g is None else g.numpy()

    def at_uses(self, index: Index) -> list[Terms]:
        """The terms of entry `index` where the parameter is used: their sum is its gradient."""
        record = self.wide.recording
        found: dict[Node, np.ndarray] = {}
        with record, np.errstate(all="ignore"):
            moved: dict[Node, Tensor | None] = {self.parameter: self._unit(index)}
            uses = set(self.uses)
            for node in self.order:
                if node not in uses and (node not in self.own or node is self.parameter):
                    continue
                given = [moved.get(each) if each in self.own else None for each in node.inputs]
                made = tangent(node, given, record) if any(g is not None for g in given) else None
                if node in uses:
                    found[node] = np.zeros(node.shape) if made is None else made.numpy()
                else:
                    moved[node] = made
            record.origin = None
        return self._placed([self._terms(node, t) for node, t in found.items()])

    def at_nodes(self, nodes: Sequence[Node], index: Index, axis: str) -> list[Terms]:
        """The terms of entry `index` at `nodes`, whose last axis is called `axis`."""
        self.flow_back(nodes)
        found = self._pushed(nodes, index)
        tangents = [found[n].numpy() if n in found else np.zeros(n.shape) for n in nodes]
        made = [self._terms(n, t, axis) for n, t in zip(nodes, tangents, strict=True)]
        return made if len(made) == 1 else self._placed(made)

    def _pushed(self, nodes: Sequence[Node], index: Index) -> dict[Node, Tensor]:
        """The tangents of entry `index` up to `nodes`; a product reads what it can move alone."""
        record, columns = self.wide.recording, moved_columns(self.order, self.parameter, index)
        found: dict[Node, Tensor] = {self.parameter: self._unit(index)}
        with record, np.errstate(all="ignore"):
            for node in topological(nodes):
                moving = [at for at, source in enumerate(node.inputs) if source in found]
                if not moving or node in found:
                    continue
                record.origin = record.origins[node].backward()
                made: Tensor | None
                if len(moving) == 1 and node.op.kind == "contraction":
                    made = self._product(node, moving[0], found[node.inputs[moving[0]]], columns)
                else:
                    made = tangent(node, [*map(found.get, node.inputs)], record)
                if made is not None:
                    found[node] = made
            record.origin = None
        return found

    def _product(self, node: Node, at: int, moving: Tensor, columns: dict[Node, slice]) -> Tensor:
        """The tangent of a product of which input `at` moves, in some columns."""
        other, mine = self.wide.recording.tensor(node.inputs[1 - at]), columns[node.inputs[at]]
        few = partner(node, at, other, mine)
        pair = [moving, other] if few is None else [moving[..., mine], few]
        return node.op(*(pair if at == 0 else pair[::-1]), **node.attrs)

    def is_leaky(self, nodes: Sequence[Node], uses: Iterable[Node]) -> bool:
        """Whether some path from `uses` to the loss passes `nodes` not at all, or twice."""
        cut = set(nodes)
        around: set[Node] = set(uses) - cut
        for node in self.order:
            if node not in cut and not around.isdisjoint(node.inputs):
                around.add(node)
        behind = reached(self.order, [n for node in cut for n in self.users(node)])
        return self.loss in around or not cut.isdisjoint(behind)

    def users(self, node: Node) -> list[Node]:
        """The nodes that read `node`."""
        return [user for user in self.order if node in user.inputs]

    def output_of(self, path: str) -> Node | None:
        """What the layer at `path` gives to others, None where it gives nothing to the loss."""
        inside = {n for n in self.order if within(self.wide.layer(n), path)}
        given = [n for m in self.order if m not in inside for n in m.inputs if n in inside]
        return max(given, key=self.order.index, default=None)

    def _unit(self, index: Index) -> Tensor:
        """The direction of one entry; the same tensor each time, so that its nodes are shared."""
        if index not in self._units:
            unit = np.zeros(self.parameter.shape)
            unit[index] = 1.0
            self._units[index] = self.wide.recording.input(Tensor(unit))
        return self._units[index]

    def _terms(self, node: Node, moving: np.ndarray, axis: str = "unit") -> Terms:
        step = self.wide.steps.get(node)
        labels: tuple[Label, ...] = () if step is None else (("time", step),)
        recurrent = self._recurrent(self.wide.layer(node))
        example = self.examples.get(node)
        shape = parted(node.shape, example, self.subject.examples)
        names = axis_names(shape, example, recurrent)
        axes = tuple(axis if name == "unit" else name for name in names)
        values = (self.adjoints[node] * moving).reshape(shape)
        return Terms(node, values, moving.reshape(shape), axes, labels)

    def _placed(self, terms: Sequence[Terms]) -> list[Terms]:
        """The terms with a label that says where they are; uses by one layer are numbered."""
        keys = [(self.wide.layer(each.node), each.labels) for each in terms]
        many, seen, found = Counter(keys), Counter[Any](), []
        for each, key in zip(terms, keys, strict=True):
            seen[key] += 1
            name = f"{key[0]} ({seen[key]})" if many[key] > 1 else key[0]
            found.append(each._replace(labels=(("use", name.strip()), *each.labels)))
        return found

    def _recurrent(self, path: str) -> bool:
        """Whether a layer on the path runs along time."""
        parts = path.split("/")
        paths = ["/".join(parts[: i + 1]) for i in range(len(parts))]
        return any(isinstance(self.subject.layers.get(each), RNN | Cell) for each in paths)


def reached(order: Iterable[Node], start: Iterable[Node]) -> set[Node]:
    """`start` and the nodes of `order` that depend on it."""
    found = set(start)
    for node in order:
        if not found.isdisjoint(node.inputs):
            found.add(node)
    return found


def within(layer: str, path: str) -> bool:
    """Whether `layer` is the layer at `path`, or below it."""
    return layer == path or layer.startswith(path + "/")
