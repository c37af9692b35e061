r"""The symbolic backward pass: for every letter of a network, the derivative of the loss in it.

Each equation $v = f(u_1, u_2, ...)$ is recorded once more by itself and differentiated by reverse
mode, so that every share $\delta_v\,\partial f/\partial u_i$ is what the engine computes; a letter
that is read in several places adds its shares. Of a loop the equations are those of one step.
Read next: `letters.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

from chainrule.core.dtypes import is_float
from chainrule.core.node import Node, topological
from chainrule.core.recording import Recording, input_op
from chainrule.explain.formula import Apply, Product, Sum, Symbol, Term, product, total
from chainrule.explain.reading import Reader
from chainrule.grad.control import blank_input, copy_nodes
from chainrule.grad.reverse import backward, one_like

ROW = r"\left(#1, \ldots, #2\right)"  # a value of all steps


class Written(NamedTuple):
    """An equation of the page: `left` is a letter, or stands for the derivative of the loss in it.

    `kind` is "value" of the forward pass, "delta", or "gradient" of a parameter.
    """

    kind: str
    left: Symbol
    right: Term
    shape: tuple[int, ...]
    place: Node  # decides to which layer it belongs


def sources_of(node: Node, named: Iterable[Node]) -> list[Node]:
    """The letters that the equation of `node` reads, and leaves that have none."""
    known = set(named) - {node}
    order = topological([node], known)
    read = {source: None for each in order for source in each.inputs if source in known}
    return [*read, *(each for each in order if each.op is input_op and each is not node)]


def shares(
    node: Node, names: Mapping[Node, Symbol], wanted: Callable[[Node], bool], end: bool = False
) -> dict[Node, Term]:
    r"""What each wanted letter in the equation of `node` gets of its $\delta$ (1 at the `end`)."""
    sources = sources_of(node, names)
    with Recording(concrete=False) as recording:
        found = {source: blank_input(recording, source) for source in sources}
        copy_nodes([node], found, recording, {})
        y = found[node]
        g = one_like(y) if end else blank_input(recording, node)
        asked = [source for source in sources if source in names and wanted(source)]
        if any(each.op.kind == "control" for each in topological([node], sources)):
            return {source: _by_jacobian(names, node, source) for source in asked}
        parts = backward([y], [recording.inside(g)], [found[source] for source in asked])
        letters = {recording.node_of(found[s]): names[s] for s in sources if s in names}
        letters.setdefault(recording.node_of(y), names[node])
        if not end:
            letters[recording.node_of(g)] = names[node].adjoint
        read = Reader(letters)
        return {
            source: read(recording.node_of(part))
            for source, part in zip(asked, parts, strict=True)
            if part is not None
        }


def _by_jacobian(names: Mapping[Node, Symbol], node: Node, source: Node) -> Term:
    """The share through a condition, or a function with a gradient of its own."""
    jacobian = Apply(r"\frac{\partial #1}{\partial #2}", (names[node], names[source]))
    return Apply(r"#1 \, #2", (names[node].adjoint, jacobian))


def shifted(term: Term, by: int | None) -> Term:
    """The term at another step: `by` steps later, or for None at the first step."""
    if isinstance(term, Symbol):
        if not isinstance(term.time, int):
            return term
        return term.at(term.time + by if by is not None else str(1 + term.time))
    if isinstance(term, Apply):
        return replace(term, parts=tuple(shifted(part, by) for part in term.parts))
    if isinstance(term, Product):
        top, bottom = (tuple(shifted(t, by) for t in ts) for ts in (term.top, term.bottom))
        return replace(term, top=top, bottom=bottom)
    return Sum(tuple(shifted(part, by) for part in term.terms))  # type: ignore[misc]


def over_time(term: Term) -> Term:
    """The sum over all steps of a term of one."""
    return Apply(r"\sum_{t} #1", (term,))


@dataclass
class Loop:
    """A scan node: the body with its letters, and where what it reads and gives stands outside.

    `carries` are (input, output) of the body for each state that is read, `slices` and `constants`
    map inputs of the body to the values outside; `parts` are the nodes outside with what of the
    body they take.
    """

    node: Node
    reverse: bool
    named: list[Node]
    names: dict[Node, Symbol]
    carries: list[tuple[Node, Node]]
    outside: dict[Node, Node]  # carry inputs to first states, slices, constants
    slices: set[Node]
    parts: dict[Node, tuple[Node, bool]]  # outside node -> (node of the body, whether stacked)
    wanted: set[Node]
    first: dict[Node, Term]  # of carry inputs, what they are before the first step
    found: dict[Node, list[Term]] = field(default_factory=dict)

    @property
    def last(self) -> str:
        """The step that is made last."""
        return "1" if self.reverse else "T"

    def values(self) -> list[Written]:
        """Where the states begin, and the equations of one step."""
        read, before = Reader(self.names), "T+1" if self.reverse else "0"
        begun = [
            Written("value", self.names[s].at(before), first, s.shape, self.node)
            for s, first in self.first.items()
        ]
        return begun + [
            Written("value", self.names[v], read(v, inside=True), v.shape, self.node)
            for v in self.named
        ]

    def part(self, node: Node) -> Term:
        """What the outside node takes of the loop."""
        inside, stacked = self.parts[node]
        letter = self.names[inside]
        if not stacked:
            return letter.at(self.last)
        return Apply(ROW, (letter.at("1"), letter.at("T")))

    def pull(self) -> None:
        """Find the shares of all letters of the body."""
        for v in reversed(self.named):
            if v in self.wanted:
                for source, term in shares(v, self.names, self.wanted.__contains__).items():
                    self.found.setdefault(source, []).append(term)

    def deltas(self, names: Mapping[Node, Symbol], live: set[Node]) -> list[Written]:
        """The derivative in each letter of a step, from the last letter back."""
        later = -1 if self.reverse else 1
        made = []
        for v in reversed(self.named):
            if v not in self.wanted:
                continue
            terms = list(self.found.get(v, []))
            for source, output in self.carries:
                if output is v:
                    terms += [shifted(term, later) for term in self.found.get(source, [])]
            for node, (inside, stacked) in self.parts.items():
                if inside is v and node in live:
                    adjoint = names[node].adjoint
                    now = adjoint.at(0) if stacked else None
                    only = Apply(rf"[t = {self.last}]")
                    terms.append(now if now else product(adjoint, only))
            if terms:
                made.append(_delta(self.names[v], terms, v, self.node))
        for source in self.slices:
            if self.found.get(source):
                made.append(_delta(self.names[source], self.found[source], source, self.node))
        return made

    def shares(self) -> dict[Node, Term]:
        """What each value outside gets."""
        found: dict[Node, Term] = {}
        carried = {source for source, _ in self.carries}
        for source, outer in self.outside.items():
            if not self.found.get(source):
                continue
            term = total(*self.found[source])
            if source in self.slices:
                letter = self.names[source].adjoint
                term = Apply(ROW, (letter.at("1"), letter.at("T")))
            else:
                term = shifted(term, None) if source in carried else over_time(term)
            found[outer] = total(found[outer], term) if outer in found else term
        return found


def _delta(letter: Symbol, terms: Sequence[Term], node: Node, place: Node) -> Written:
    return Written("delta", letter, total(*terms), node.shape, place)


def backward_pass(
    order: Sequence[Node],
    names: Mapping[Node, Symbol],
    wanted: set[Node],
    parameters: Mapping[Node, Any],
    loops: Mapping[Node, Loop],
    twins: Mapping[Node, Node],
) -> list[Written]:
    """The equations of the backward pass, from the loss, the last of `order`, to the parameters.

    What a layer hands down to those before it has its place there.
    """
    found: dict[Node, list[Term]] = {}
    last: dict[Node, Node] = {}  # whose equation gave the last share, and shows the whole
    live: set[Node] = set()
    made: list[Written] = []
    inside = {part: loop for loop in loops.values() for part in loop.parts}
    for v in reversed(order):
        if v in loops:
            loop = loops[v]
            loop.pull()
            made += loop.deltas(names, live)
            parts = loop.shares()
        elif v in names and v in wanted and v not in parameters and v.inputs:
            end = v is order[-1]
            if not end and v not in found:
                continue
            live.add(v)
            terms = found.get(v, [])
            if not end and not _is_row(terms):
                made.append(_delta(names[v], terms, v, last[v]))
            parts = {} if v in inside else shares(v, names, wanted.__contains__, end)
        else:
            continue
        for each, term in parts.items():
            source = twins.get(each, each)
            found.setdefault(source, []).append(term)
            last[source] = v
    gradients = [
        Written("gradient", names[p], total(*found[p]), p.shape, p)
        for p in parameters
        if p in found
    ]
    return made + gradients


def _is_row(terms: Sequence[Term]) -> bool:
    """Whether the loop has said it already, step by step."""
    return len(terms) == 1 and isinstance(terms[0], Apply) and terms[0].template == ROW


def depends_on(order: Iterable[Node], roots: Iterable[Node]) -> set[Node]:
    """The `roots` and what of `order` is made of them."""
    reached = set(roots)
    for node in order:
        if any(source in reached for source in node.inputs):
            reached.add(node)
    return reached


def floats_only(nodes: Iterable[Node]) -> set[Node]:
    """Those that can have a gradient."""
    return {node for node in nodes if is_float(node.dtype)}
