"""Random points at which a student's expression is compared with the engine.

A point is the network with random parameters and a small random batch, in float64: the values of
all letters of the derivation, of the derivatives of the loss in them, the slopes of the
activations, and the true gradient. Read next: `edits.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np

from chainrule.core.errors import UnknownNameError
from chainrule.core.graph import Graph
from chainrule.core.node import Node, topological
from chainrule.core.recording import Recording
from chainrule.explain.backward import shares, sources_of
from chainrule.explain.equations import STRAIGHT, record_loss
from chainrule.explain.formula import (
    ZERO,
    Apply,
    Product,
    Sum,
    Symbol,
    Term,
    product,
    total,
)
from chainrule.explain.letters import is_affine, lettered
from chainrule.explain.writing import latex, symbol
from chainrule.grad.control import blank_input, copy_nodes
from chainrule.grad.reverse import backward, one_like
from chainrule.nn.losses import CHECKS

NOTHING = Product(ZERO)
GREEK = {r"\gamma": "gamma", r"\beta": "beta", r"\mu": "mu"}


class Point(NamedTuple):
    """Values of letters by name, the gradient, and it without each path that leads to it."""

    names: dict[str, Any]
    gradient: np.ndarray
    without: dict[str, np.ndarray]


class Share(NamedTuple):
    """What the equation of `node` hands to what it reads, of the sources' values and of delta."""

    node: Node
    sources: list[Node]
    wanted: list[Node]
    graph: Graph


class Slope(NamedTuple):
    """The derivative of an activation: its name at a point, its LaTeX, its Python, "" for none."""

    name: str
    shown: str
    text: str
    share: Share


class Problem:
    """The gradient of one parameter as a student is asked for it, for batches of one size."""

    def __init__(self, model: Any, param: str, loss: Any, x_shape: Any, batch: int):
        self.recorded = record_loss(model, loss, x_shape, batch)
        self.net = lettered(model, self.recorded)
        self.batch = batch
        named = {path: node for node, path in self.net.parameters.items()}
        if param not in named:
            raise UnknownNameError("parameter", param, named)
        self.target = named[param]
        self.values = [n for n in self.net.names if n.dtype.kind in "fiub"]
        self.wanted = [n for n in self.values if n in self.net.wanted]
        recording = self.recorded.recording
        with recording:
            end = recording.tensor(self.recorded.loss)
            parts = backward([end], [one_like(end)], [recording.tensor(n) for n in self.wanted])
            found = [None if part is None else recording.node_of(part) for part in parts]
        self.flow = {n: part for n, part in zip(self.wanted, found, strict=True) if part}
        outputs = [*self.values, *self.flow.values()]
        needed = set(topological(outputs))
        self.graph = Graph([n for n in recording.sources if n in needed], outputs)

    @cached_property
    def letters(self) -> dict[str, Symbol]:
        """What each name that a student may use stands for, but for N, the number of examples."""
        values = [n for n in self.values if n is not self.recorded.loss]
        derived = [n for n in values if n in self.flow and n not in self.net.parameters]
        letters = [self.net.names[n] for n in values]
        letters += [self.net.names[n].adjoint for n in derived]
        found = {name_of(letter): letter for letter in letters}
        found |= {"Y": Symbol("Y")} if self.labels else {}
        return found | {name: letter for name, letter in self.aliases.items() if name not in found}

    @cached_property
    def aliases(self) -> dict[str, Symbol]:
        """z and its delta of layers with no activation, where z is what the layer hands on."""
        linear: dict[int, list[Symbol]] = {}
        for node in self.values:
            place, letter = self.net.places.get(node), self.net.names[node]
            if place and place.number and letter.base in "ho" and is_affine(node, self.net.names):
                linear.setdefault(place.number, []).append(letter)
        pairs = [(Symbol("z", n), each[0]) for n, each in linear.items() if len(each) == 1]
        return {name_of(z): letter for z, letter in pairs} | {
            name_of(z.adjoint): letter.adjoint for z, letter in pairs
        }

    @property
    def outputs(self) -> list[str]:
        """The names of the model's outputs."""
        return [name_of(self.net.names[n]) for n in self.recorded.outputs if n in self.net.names]

    @property
    def targets(self) -> list[str]:
        """The names of what the loss compares these with."""
        floats = [n for n in self.recorded.targets if n not in self.labels]
        return [*(name_of(self.net.names[n]) for n in floats), *(["Y"] if self.labels else [])]

    @property
    def labels(self) -> list[Node]:
        """The targets that are classes."""
        return [n for n in self.recorded.targets if n.dtype.kind in "iu"]

    @cached_property
    def shares(self) -> list[Share]:
        """The equations from the loss back; none where a loop stands between."""
        nodes = reversed(self.net.order) if not self.net.loops else ()
        live = self.net.wanted
        return [self._share(v) for v in nodes if v in self.net.names and v in live and v.inputs]

    def _share(self, v: Node) -> Share:
        sources = sources_of(v, self.net.names)
        wanted = [s for s in sources if s in self.net.wanted]
        with Recording(concrete=False) as recording:
            found = {source: blank_input(recording, source) for source in sources}
            copy_nodes([v], found, recording, {})
            g = blank_input(recording, v)
            parts = backward([found[v]], [g], [found[source] for source in wanted])
            outputs = [recording.node_of(part) for part in parts if part is not None]
            inputs = [recording.node_of(t) for t in (*(found[s] for s in sources), g)]
        read = [s for s, part in zip(wanted, parts, strict=True) if part is not None]
        return Share(v, sources, read, Graph(inputs, outputs))

    @cached_property
    def slopes(self) -> list[Slope]:
        """The derivatives of the activations, from the loss back."""
        found = []
        for share in self.shares:
            if len(share.wanted) == 1 and is_elementwise(share):
                v, u = (self.net.names[n] for n in (share.node, share.wanted[0]))
                shown = shares(share.node, self.net.names, {share.wanted[0]}.__contains__)
                formula = divided(shown[share.wanted[0]], v.adjoint)
                tex = rf"\frac{{\partial {symbol(v)}}}{{\partial {symbol(u)}}}"
                name = f"{name_of(v)} by {name_of(u)}"
                tex += f" = {latex(formula)}"
                found.append(Slope(name, tex, python_of(formula), share))
        return found

    @cached_property
    def paths(self) -> dict[str, tuple[Node, Node]]:
        """The ways on which a value reaches the loss besides others, each by its first step."""
        readers: dict[Node, list[Node]] = {}
        for share in self.shares:
            for source in share.wanted:
                if source is self.target or self.target in topological([source]):
                    readers.setdefault(source, []).append(share.node)
        return {
            rf"{symbol(self.net.names[u])} \to {symbol(self.net.names[v])}": (v, u)
            for u, nodes in readers.items()
            for v in (nodes if len(nodes) > 1 and self.net.places[u].number is not None else ())
        }

    def point(self, seed: int) -> Point:
        """Values drawn by `seed`."""
        rng = np.random.default_rng([seed, self.batch])
        found = self.graph.run(*(self._drawn(node, rng) for node in self.graph.inputs))
        values = dict(zip(self.values, found, strict=False))
        flow = dict(zip(self.flow, found[len(self.values) :], strict=True))
        names: dict[str, Any] = {name_of(self.net.names[n]): v for n, v in values.items()}
        for node, value in flow.items():
            name = name_of(self.net.names[node].adjoint)
            names[name] = names[name] + value if node in self.net.twins else value
        for alias, letter in self.aliases.items():
            if name_of(letter) in names:
                names.setdefault(alias, names[name_of(letter)])
        names["N"] = self.batch
        for node in self.labels:
            names["Y"] = np.eye(self.recorded.outputs[0].shape[-1])[values[node]]
        for slope in self.slopes:
            names[slope.name] = self._handed(slope.share, values, np.float64(1.0))[0]
        without = {tex: self._without(edge, values) for tex, edge in self.paths.items()}
        gradient = flow.get(self.target, np.zeros(self.target.shape))
        return Point(names, gradient, without)

    def _drawn(self, node: Node, rng: np.random.Generator) -> np.ndarray:
        """A random value of a leaf: any number, or what the loss or a table of rows can read."""
        source = self.recorded.recording.sources[node].numpy()
        if node in self.recorded.targets:
            return self._target(node, rng)
        if node in self.recorded.inputs and node.dtype.kind in "iu":
            readers = [n for n in self.graph.order if n.op.name == "take" and node in n.inputs]
            rows = min((n.inputs[0].shape[0] for n in readers), default=2)
            return rng.integers(0, rows, node.shape)
        if node in self.recorded.inputs or node in self.net.parameters:
            return rng.normal(0.0, 1.0, node.shape)
        return source

    def _target(self, node: Node, rng: np.random.Generator) -> np.ndarray:
        kind = CHECKS[self.recorded.kind].targets if self.recorded.kind in CHECKS else "values"
        if node.dtype.kind in "iu":
            return rng.integers(0, self.recorded.outputs[0].shape[-1], node.shape)
        if kind == "flags":
            return rng.integers(0, 2, node.shape) * 1.0
        drawn = rng.uniform(0.1, 1.0, node.shape)
        if kind == "shares":
            return drawn / drawn.sum(axis=-1, keepdims=True)
        return rng.normal(0.0, 1.0, node.shape)

    def _handed(self, share: Share, values: Mapping[Node, Any], g: Any) -> list[np.ndarray]:
        given = [values[s] if s in values else self._fixed(s) for s in share.sources]
        return share.graph.run(*given, np.broadcast_to(g, share.node.shape))

    def _fixed(self, node: Node) -> np.ndarray:
        return self.recorded.recording.sources[node].numpy()

    def _without(self, edge: tuple[Node, Node], values: Mapping[Node, Any]) -> np.ndarray:
        """The gradient when what goes along `edge` is forgotten."""
        flow: dict[Node, Any] = {self.recorded.loss: np.float64(1.0)}
        for share in self.shares:
            if share.node not in flow:
                continue
            parts = self._handed(share, values, flow[share.node])
            for source, part in zip(share.wanted, parts, strict=True):
                if (share.node, source) != edge:
                    flow[source] = flow[source] + part if source in flow else part
        return np.asarray(flow.get(self.target, np.zeros(self.target.shape)))


def is_elementwise(share: Share) -> bool:
    """Whether each element of the value comes of the same element of what it reads, curved."""
    order = topological([share.node], share.sources)
    kinds = {n.op.kind for n in order if n is not share.node or n.inputs} - {"leaf"}
    straight = all(n.op.name in STRAIGHT or n.op.kind != "elementwise" for n in order)
    return (
        share.node.shape == share.wanted[0].shape
        and kinds <= {"elementwise", "movement"}
        and not straight
    )


def divided(term: Term, by: Symbol) -> Term:
    """The term without its factor `by`, which stands in each of its summands."""
    parts = term.terms if isinstance(term, Sum) else (term,)
    return total(*(product(part, over=[by]) for part in parts))


def python_of(term: Term) -> str:
    """A term of letters, numbers, sums and products in Python; "" for one of more than these.

    >>> h = Symbol("h", 1)
    >>> python_of(product(h, total(Product(), product(h, h))))
    'h1 * (1 + h1 * h1)'
    """
    match term:
        case Symbol():
            return name_of(term)
        case Sum(terms):
            parts = [python_of(part) for part in terms]
            return " + ".join(parts).replace("+ -", "- ") if all(parts) else ""
        case Product(number, top, ()) if not number.batch:
            parts = [f"({python_of(t)})" if isinstance(t, Sum) else python_of(t) for t in top]
            size = -number.value if number.value < 0 else number.value
            shown = [f"{float(size):g}", *parts] if size != 1 or not parts else parts
            return "-" * (number.value < 0) + " * ".join(shown) if all(parts) else ""
        case Apply("[#1]", (Apply("#1 < #2", (low, Symbol() as letter)),)) if low == NOTHING:
            return f"(0 < {name_of(letter)})"
    return ""


def name_of(letter: Symbol) -> str:
    r"""What a student types for a letter.

    >>> name_of(Symbol("W", 1)), name_of(Symbol("z", 2).adjoint), name_of(Symbol("o").adjoint)
    ('W1', 'delta2', 'delta_o')
    """
    base = GREEK.get(letter.base, letter.base.replace("\\mathrm{", "").rstrip("}"))
    layer = "" if letter.layer is None else str(letter.layer)
    tail = f"_{letter.sub}" if letter.sub else ""
    if not letter.delta:
        return base + layer + tail
    return f"delta{layer}" if base == "z" and not tail else f"delta_{base}{layer}{tail}"
