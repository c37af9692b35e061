r"""The first op that made a value not finite, found by going back from one that is not.

A graph is computed node by node, and from a bad output the walk asks: would it be finite if this
input were? While that is so, the fault was handed on and the walk goes to that input, with those
of its elements that matter. It ends at an op that made NaN or infinity of finite numbers, or at a
leaf. So infinities that harm nothing, as those of a mask, are never named. Bodies of `scan` and
`cond` are entered, a loop at the time step where the fault began. Read next: `cause.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import NamedTuple

import numpy as np

from chainrule.core.dtypes import is_float
from chainrule.core.errors import ChainruleError
from chainrule.core.graph import Graph
from chainrule.core.node import Node, topological
from chainrule.core.recording import input_op
from chainrule.grad.branches import Branches
from chainrule.grad.control import bundle, part_op
from chainrule.grad.scan import Loop

Compute = Callable[[Node, Sequence[np.ndarray]], np.ndarray]
CALM = (1.0, 0.5)  # stand for what is not finite; one op may have a pole at either


def by_reference(node: Node, arrays: Sequence[np.ndarray]) -> np.ndarray:
    """The value of a node by its op's NumPy meaning."""
    with np.errstate(all="ignore"):
        return np.asarray(node.op.ref(*arrays, **node.attrs))


class Run:
    """A graph computed for `arrays`, all values kept; `times` are the steps of the loops around."""

    def __init__(
        self,
        graph: Graph,
        arrays: Sequence[np.ndarray],
        compute: Compute = by_reference,
        times: tuple[int, ...] = (),
    ):
        self.graph, self.compute, self.times = graph, compute, times
        self.places = {node: i for i, node in enumerate(graph.inputs)}
        self.values: dict[Node, np.ndarray] = dict(zip(graph.inputs, arrays, strict=True))
        for node in graph.order:
            if node not in self.values and node.op is not input_op:
                self.values[node] = self.value(node, self.of(node.inputs))

    def of(self, nodes: Sequence[Node]) -> list[np.ndarray]:
        """The values of `nodes`."""
        return [self.values[node] for node in nodes]

    def value(self, node: Node, arrays: Sequence[np.ndarray]) -> np.ndarray:
        """What `node` gives for `arrays`."""
        holds = node.attrs.get("holds")
        if isinstance(holds, Loop):
            step = holds.step()
            return holds.run(arrays, lambda *now: self.inner(step, now).outputs)
        if isinstance(holds, Branches):
            return bundle(self.inner(holds.graphs[int(arrays[0])], arrays[1:]).outputs)
        return self.compute(node, arrays)

    def inner(self, graph: Graph, arrays: Sequence[np.ndarray], *time: int) -> Run:
        """A graph that a node of this one holds."""
        return Run(graph, arrays, self.compute, (*self.times, *time))

    @property
    def outputs(self) -> list[np.ndarray]:
        """The values of the graph's outputs."""
        return self.of(self.graph.outputs)


class Step(NamedTuple):
    """A node on the way back, with those of its elements that are not finite and do harm."""

    run: Run
    node: Node
    bad: np.ndarray

    @property
    def value(self) -> np.ndarray:
        """The node's value."""
        return self.run.values[self.node]


class Handed(NamedTuple):
    """A fault that came into a graph by the input at `place`."""

    place: int
    bad: np.ndarray


class Culprit(NamedTuple):
    """Where the way back ends: at `trail[at]`, or at the input `place` of the whole graph.

    `trail` leads from the output back, through bodies too.
    """

    trail: list[Step]
    at: int
    place: int | None = None
    bad: np.ndarray | None = None  # the elements of that input

    @property
    def step(self) -> Step:
        """The op that is named."""
        return self.trail[self.at]

    @property
    def outermost(self) -> Step:
        """The step of the whole graph from which the way led into the bodies, or the op itself."""
        whole = self.trail[0].run
        return next(s for s in reversed(self.trail[: self.at + 1]) if s.run is whole)


def first_nonfinite(run: Run, fixed: Sequence[int] = ()) -> Culprit | None:
    """What made the outputs of `run` not finite, None where all are finite.

    Infinities in the inputs at the places `fixed` are meant, as those in the text of the program
    are: the op that makes NaN of them is named. Of several bad outputs one without gradients in it
    is followed, the loss, and else the one that needs the fewest nodes.
    """
    whole = [(node, ~np.isfinite(run.values[node])) for node in run.graph.outputs if _floats(node)]
    ends = [(node, bad) for node, bad in whole if bad.any()]
    if not ends:
        return None
    node, bad = min(ends, key=lambda end: _cost(run.graph, end[0]))
    trail: list[Step] = []
    ended = _back(run, node, bad, trail)
    if isinstance(ended, Handed):
        arrives = run.values[run.graph.inputs[ended.place]]
        if not trail or ended.place not in fixed or np.isnan(arrives[ended.bad]).any():
            if not trail:
                trail.append(Step(run, node, bad))
            return Culprit(trail, len(trail) - 1, *ended)
        return Culprit(trail, _born(trail))
    return Culprit(trail, _born(trail) if ended == MEANT else len(trail) - 1)


MADE, MEANT = "made here", "a number of the program"


def _cost(graph: Graph, end: Node) -> tuple[bool, int]:
    nodes = topological([end])
    return any(n in graph.origins and graph.origins[n].gradient for n in nodes), len(nodes)


def _floats(node: Node) -> bool:
    return is_float(node.dtype)


def _born(trail: Sequence[Step]) -> int:
    """From an infinity that is meant: where NaN comes of it, else the first op that reads it."""
    nan = [bool(np.isnan(step.value[step.bad]).any()) for step in trail]
    if any(nan):
        return max(i for i, is_nan in enumerate(nan) if is_nan)
    moved = ("leaf", "movement", "control")
    reads = [i for i, step in enumerate(trail) if step.node.op.kind not in moved]
    return max(reads, default=0)


def _back(run: Run, node: Node, bad: np.ndarray, trail: list[Step]) -> Handed | str:
    """Follow a fault to an input of the graph, a number of the program, or the op that made it."""
    while node not in run.places:
        if node.op.kind == "leaf":
            return MEANT
        source: tuple[Node, np.ndarray] | None
        if node.op is part_op and "holds" in node.inputs[0].attrs:
            trail.append(Step(run, node, bad))
            ended = _inside(run, node, bad, trail)
            if not isinstance(ended, Handed):
                return ended
            source = node.inputs[0].inputs[ended.place], ended.bad
        else:
            source, own = _source(run, node, bad)
            trail.append(Step(run, node, own))
        if source is None:  # what only moves elements made none: it pads with an infinity
            return MEANT if node.op.kind == "movement" else MADE
        node, bad = source
    return Handed(run.places[node], bad)


def _source(
    run: Run, node: Node, bad: np.ndarray
) -> tuple[tuple[Node, np.ndarray] | None, np.ndarray]:
    """The input that handed the fault on, with its elements, and the elements that got it."""
    arrays = run.of(node.inputs)
    broken = [
        i
        for i, (source, array) in enumerate(zip(node.inputs, arrays, strict=True))
        if _floats(source) and not np.isfinite(array).all()
    ]
    if not broken:
        return None, bad
    handed = bad & _finite_without(run, node, arrays, broken)
    if not handed.any():
        return None, bad
    alone = (i for i in broken if (handed & _finite_without(run, node, arrays, [i])).any())
    chosen = broken[0] if len(broken) == 1 else next(alone, broken[0])
    source, infinite = node.inputs[chosen], ~np.isfinite(arrays[chosen])
    read = infinite & _read(node, chosen, handed, arrays)
    return (source, read if read.any() else infinite), handed


def _finite_without(
    run: Run, node: Node, arrays: Sequence[np.ndarray], broken: Sequence[int]
) -> np.ndarray:
    """Which elements would be finite if all of the inputs `broken` were."""
    found = []
    for number in CALM:
        calm = [
            np.where(np.isfinite(a), a, a.dtype.type(number)) if i in broken else a
            for i, a in enumerate(arrays)
        ]
        with suppress(ChainruleError):  # a matrix of such numbers has no inverse
            found.append(np.isfinite(run.value(node, calm)))
    return np.any(found, axis=0) if found else np.ones(node.shape, bool)


def _read(node: Node, i: int, hit: np.ndarray, arrays: Sequence[np.ndarray]) -> np.ndarray:
    """Which elements of input `i` the elements `hit` of the node read."""
    shape = node.inputs[i].shape
    if node.op.kind == "elementwise":
        return hit
    if node.op.kind == "reduction":
        axis = node.attrs["axis"]
        return np.broadcast_to(hit if node.attrs["keepdims"] else np.expand_dims(hit, axis), shape)
    if node.op.kind == "movement" or node.op.name == "take":
        # It moves whatever it is given: numbers of the elements tell where each came from.
        size = int(np.prod(shape))
        numbers = [
            np.arange(1, size + 1).reshape(shape)
            if j == i
            else (np.zeros(a.shape, np.int64) if _floats(node.inputs[j]) else a)
            for j, a in enumerate(arrays)
        ]
        came = node.op.ref(*numbers, **{**node.attrs, **_without_value(node)})[hit]
        read = np.zeros(size + 1, bool)
        read[came] = True
        return read[1:].reshape(shape)
    return np.ones(shape, bool)


def _without_value(node: Node) -> dict[str, int]:
    return {"value": 0} if "value" in node.attrs else {}


def _inside(run: Run, part: Node, bad: np.ndarray, trail: list[Step]) -> Handed | str:
    """Follow a fault of one part of a bundle into the graph that made it."""
    holder, index = part.inputs[0], part.attrs["index"]
    holds, arrays = holder.attrs["holds"], run.of(holder.inputs)
    if isinstance(holds, Branches):
        graph = holds.graphs[int(arrays[0])]
        ended = _back(run.inner(graph, arrays[1:]), graph.outputs[index], bad, trail)
        return Handed(ended.place + 1, ended.bad) if isinstance(ended, Handed) else ended
    return _along(run, holds, arrays, index, bad, trail)


def _along(
    run: Run,
    loop: Loop,
    arrays: Sequence[np.ndarray],
    index: int,
    bad: np.ndarray,
    trail: list[Step],
) -> Handed | str:
    """Follow a fault back through the steps of a loop, from the first of them that shows it."""
    times = list(loop.times())
    if index < len(loop.finals):
        node, at = loop.body.outputs[loop.finals[index]], len(times) - 1
    else:
        node = loop.node(index)
        at = next(i for i, t in enumerate(times) if bad[t].any())
        bad = bad[times[at]]
    body = Graph(loop.body.inputs, [*loop.body.outputs[: loop.carries], node], loop.body.origins)
    carry, xs, constants = loop.split(arrays)
    found = [carry]  # the carries before each step
    for t in times[:at]:
        now = run.inner(body, [*found[-1], *[x[t, ...] for x in xs], *constants], t)
        found.append(now.outputs[: loop.carries])
    while True:
        t = times[at]
        now = run.inner(body, [*found[at], *[x[t, ...] for x in xs], *constants], t)
        ended = _back(now, node, bad, trail)
        if not isinstance(ended, Handed) or ended.place >= loop.carries + loop.slices:
            return ended
        if ended.place >= loop.carries:
            whole = np.zeros(xs[ended.place - loop.carries].shape, bool)
            whole[t] = ended.bad
            return Handed(ended.place, whole)
        if not at:
            return ended
        node, bad, at = loop.body.outputs[ended.place], ended.bad, at - 1
