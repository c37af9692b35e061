"""Letters for a recorded network: layers are numbered, and every value of the page gets a symbol.

Parameters are called as in textbooks, what a layer hands on is h, what stands before an
activation z, and the rest u. Read next: `derivation.py`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from chainrule.core.node import Node, topological
from chainrule.core.recording import input_op
from chainrule.core.tensor import State
from chainrule.explain.backward import Loop, depends_on
from chainrule.explain.equations import Cut, Recorded, is_curved, passed, twins
from chainrule.explain.formula import Symbol
from chainrule.explain.reading import Reader

LOSS = None  # the layer of what belongs to the loss
STATES = ("h", "c", "s")  # of a loop, in the order in which they are carried
WORDS = {"kernel": "W", "bias": "b", "embeddings": "E", "gamma": r"\gamma", "beta": r"\beta"}


class Place(NamedTuple):
    """A layer of the page: its number and its path; None and "" for the loss.

    A layer that is used again after others has another `stretch` of the page.
    """

    number: int | None
    path: str
    stretch: int = 0


class Lettered(NamedTuple):
    """A network with its letters.

    `places` says of every letter's node to which layer it belongs; `parameters` are leaves with
    their paths, `states` likewise; `noise` are masks drawn at random.
    """

    order: list[Node]
    names: dict[Node, Symbol]
    places: dict[Node, Place]
    parameters: dict[Node, str]
    wanted: set[Node]
    loops: dict[Node, Loop]
    twins: dict[Node, Node]  # of values that are computed twice, the later one by the first


def lettered(model: Any, recorded: Recorded) -> Lettered:
    """The letters of a model whose loss was recorded."""
    order = recorded.order
    paths = {id(t): path for path, t in (model.named_parameters() | model.named_states()).items()}
    known = {n: paths[id(t)] for n, t in recorded.recording.sources.items() if id(t) in paths}
    known = {node: known[node] for node in order if node in known}
    states = {n for n in known if isinstance(recorded.recording.sources[n], State)}
    parameters = {n: path for n, path in known.items() if n not in states}
    live = depends_on(order, [*recorded.inputs, *parameters])
    wanted = depends_on(order, parameters)
    path_of = _paths(recorded, order)
    ends = {recorded.loss, *recorded.outputs}
    names = _leaves(recorded)
    leaves = {n for n in order if n.op is input_op and n.dtype.kind == "f" and n not in names}
    numbers = layer_numbers(topological([recorded.loss]), leaves, path_of.__getitem__)
    block = _places([n for n in order if n.inputs], numbers, path_of)
    named = Cut(order, live, ends, path_of.__getitem__).named()
    again = twins(order, named)
    named = [n for n in order if n in set(named) - set(again)]
    places = {node: block[node] for node in named}
    first = _first_readers(order, [*known, *_noise(order, live)])
    for node, path in known.items():
        names[node] = of_parameter(path, numbers.get(path_of[first[node]] or ""))
        places[node] = block[first[node]]
    names |= dict.fromkeys(_constants(order, names), Symbol("c"))
    for node in _noise(order, live):
        places[node] = block[first[node]]
        names[node] = Symbol("m", places[node].number)
    users = _outside_users(order, set(named), block)
    looping = {path_of[n] for n in order if n.op.name == "scan"}
    for node in named:
        handed = ("H" if path_of[node] in looping else "h") if node in users else ""
        names[node] = _of_value(node, recorded, places[node], handed, names)
    _tell_apart(names)
    names |= {node: names[twin] for node, twin in again.items()}
    loops = {n: _loop(n, order, names, places, wanted) for n in order if n.op.name == "scan"}
    return Lettered(order, names, places, parameters, wanted, loops, again)


def _paths(recorded: Recorded, order: Sequence[Node]) -> dict[Node, str | None]:
    """The layer of each node; what a loop prepares in a cell of its own belongs to the loop."""
    origins = recorded.recording.origins
    found: dict[Node, str | None] = {
        n: (origins[n].layer if n in recorded.inner else LOSS) for n in order
    }
    loops = {path for n, path in found.items() if n.op.name == "scan" and path}
    for node, path in found.items():
        owner = next((o for o in loops if path and path.startswith(o + "/")), None)
        found[node] = owner or path
    return found


def layer_numbers(
    order: Iterable[Node], leaves: Container[Node], path_of: Callable[[Node], str | None]
) -> dict[str, int]:
    """The layers by number: in the order in which they are the first to read one of `leaves`."""
    read: dict[Node, str] = {}
    for node in order:
        path = path_of(node)
        for source in node.inputs:
            if path and source in leaves:
                read.setdefault(source, path)
    return {path: i for i, path in enumerate(dict.fromkeys(read.values()), 1)}


def _places(
    order: Sequence[Node], numbers: Mapping[str, int], path_of: Mapping[Node, str | None]
) -> dict[Node, Place]:
    """Where each node belongs: what no layer with parameters made, to the last one it reads."""
    places: dict[Node, Place] = {}
    last = Place(0, "", 0)
    for node in order:
        path = path_of[node]
        if path is LOSS:
            places[node] = Place(None, "")
        elif path in numbers:
            if path != last.path:
                last = Place(numbers[path], path, last.stretch + 1)
            places[node] = last
        else:
            read = [places[source] for source in node.inputs if source in places]
            places[node] = max(read, key=lambda place: place.stretch, default=Place(0, path))
    return places


def _first_readers(order: Sequence[Node], leaves: Iterable[Node]) -> dict[Node, Node]:
    found: dict[Node, Node] = {}
    asked = set(leaves)
    for node in order:
        for source in node.inputs:
            if source in asked:
                found.setdefault(source, node)
    return found


def _noise(order: Sequence[Node], live: set[Node]) -> list[Node]:
    """Masks and noise: drawn at random, and read by what depends on data."""
    drawn = depends_on(order, [n for n in order if n.op.kind == "random"]) - live
    read = {source for n in order if n in live for source in n.inputs}
    return [n for n in order if n in drawn and n in read]


def _leaves(recorded: Recorded) -> dict[Node, Symbol]:
    found = {}
    for letter, nodes in (("x", recorded.inputs), ("y", recorded.targets)):
        for i, node in enumerate(nodes, 1):
            found[node] = Symbol(letter, sub=str(i) if len(nodes) > 1 else "")
    return found


def _constants(order: Sequence[Node], names: Mapping[Node, Symbol]) -> list[Node]:
    """Arrays that the model holds and nothing changes, but for keys of random numbers."""
    leaves = [n for n in order if n.op is input_op and n not in names]
    return [n for n in leaves if n.dtype.name != "uint32"]


def of_parameter(path: str, layer: int | None) -> Symbol:
    """What a parameter is called on the page.

    >>> of_parameter("dense/kernel", 2), of_parameter("attention/query_kernel", 1).sub
    (Symbol(base='W', layer=2, sub='', time=None, delta=False), 'query')
    """
    name = path.rpartition("/")[2]
    head, _, last = name.rpartition("_")
    if name == "recurrent_kernel":
        return Symbol("U", layer)
    if last in WORDS:
        return Symbol(WORDS[last], layer, head)
    if len(name) == 1:
        return Symbol(name, layer)
    return Symbol(rf"\mathrm{{{name.replace('_', chr(92) + '_')}}}", layer)


def _outside_users(
    order: Sequence[Node], named: set[Node], block: Mapping[Node, Place]
) -> set[Node]:
    """The values that another layer reads."""
    found = set()
    for node in order:
        for source in node.inputs:
            value = passed(source)
            for each in {value, source} & named:
                if block[node] != block[each]:
                    found.add(each)
    return found


def _of_value(
    node: Node, recorded: Recorded, place: Place, handed: str, names: Mapping[Node, Symbol]
) -> Symbol:
    if node is recorded.loss:
        return Symbol("L")
    if node in recorded.outputs:
        alone = len(recorded.outputs) == 1
        return Symbol("o", sub="" if alone else str(recorded.outputs.index(node) + 1))
    if node.op.name == "part":
        return Symbol("H", place.number)
    if place.number is None:
        return Symbol("u")
    if handed:
        return Symbol(handed, place.number)
    return Symbol("z" if is_affine(node, names) else "u", place.number)


def is_affine(node: Node, names: Mapping[Node, Symbol]) -> bool:
    """Whether the value is a product of letters and what is added to it."""
    return not is_curved(node) and _holds_product(node, names)


def _holds_product(node: Node, names: Mapping[Node, Symbol]) -> bool:
    stack = [node]
    while stack:
        each = stack.pop()
        if each.op.kind == "contraction":
            return True
        stack += [s for s in each.inputs if s not in names]
    return False


def _tell_apart(names: dict[Node, Symbol]) -> None:
    """Number the letters that stand for several values."""
    count = Counter(names.values())
    met: Counter[Symbol] = Counter()
    for node, letter in names.items():
        if count[letter] > 1:
            met[letter] += 1
            names[node] = letter._replace(sub=letter.sub + str(met[letter]))


def _loop(
    node: Node,
    order: Sequence[Node],
    names: dict[Node, Symbol],
    places: Mapping[Node, Place],
    wanted: set[Node],
) -> Loop:
    """The letters of a step: states by their order, what is read as outside, at the step t."""
    holds = node.attrs["holds"]
    parts = {n: n.attrs["index"] for n in order if n.op.name == "part" and n.inputs[0] is node}
    loop, taken = holds.needing(sorted(set(parts.values())))
    outer = {each: node.inputs[i] for each, i in zip(loop.body.inputs, taken, strict=True)}
    carried, slices, constants = loop.split(loop.body.inputs)
    layer = next((places[p].number for p in parts if p in places), None)
    now, before = 0, 1 if holds.reverse else -1
    body = loop.body.order
    outputs = list(loop.body.outputs[: loop.carries])
    taken_parts = {
        part: (holds.body.outputs[holds.finals[i]], False)
        if i < len(holds.finals)
        else (holds.node(i), True)
        for part, i in parts.items()
    }
    ends = {*outputs, *(inside for inside, _ in taken_parts.values())}
    pairs = [(a, b) for a, b in zip(carried, outputs, strict=False) if _is_read(a, body)]
    own: dict[Node, Symbol] = {}
    for letter, (source, output) in zip(_states(), pairs, strict=False):
        own[source] = Symbol(letter, layer, time=before)
        own.setdefault(output, Symbol(letter, layer, time=now))
    for source in (*slices, *constants):
        known = names.get(passed(outer[source]), names.get(outer[source]))
        letter_of = known or Symbol("m", layer)
        own[source] = letter_of.at(now) if source in slices else letter_of
    moving = depends_on(body, loop.body.inputs)
    chosen = Cut(body, moving, ends, lambda n: 0).named()
    for each in chosen:
        if each not in own:
            letter = "y" if each in ends else "a" if _holds_product(each, own) else "u"
            own[each] = Symbol(letter, layer, time=now)
    _tell_apart(own)
    grows = _grows(loop.body.inputs, pairs, body, {s for s in outer if passed(outer[s]) in wanted})
    return Loop(
        node, holds.reverse, chosen, own, pairs,
        {s: passed(outer[s]) for s in loop.body.inputs}, set(slices), taken_parts, grows,
        {s: Reader(names)(passed(outer[s])) for s, _ in pairs},
    )  # fmt: skip


def _states() -> Iterable[str]:
    yield from STATES
    yield from (f"s_{{{i}}}" for i in range(2, 100))


def _is_read(source: Node, body: Sequence[Node]) -> bool:
    return any(source in node.inputs for node in body)


def _grows(
    inputs: Sequence[Node],
    pairs: Sequence[tuple[Node, Node]],
    body: Sequence[Node],
    roots: set[Node],
) -> set[Node]:
    """What of the body depends on a parameter, by way of the states too."""
    while True:
        reached = depends_on(body, roots)
        more = {a for a, b in pairs if b in reached} - roots
        if not more:
            return reached
        roots = roots | more
