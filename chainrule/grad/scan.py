r"""`scan`: a loop over time as one node, with reverse mode through time.

$(c_{t+1}, y_t) = f(c_t, x_t)$. The body is recorded once, as a graph. Whatever of the body a
reader wants stands stacked over time in the loop's bundle: the user's $y_t$, and the values that
the backward loop needs again. The backward loop is a scan the other way round, whose carry is
the cotangent of $c_t$ and the running sums for what the body captured; so it can be
differentiated in turn. Read next: `cond.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from chainrule.core.dtypes import BUNDLE
from chainrule.core.errors import ArgumentError, ShapeError
from chainrule.core.graph import Graph
from chainrule.core.node import Node, topological
from chainrule.core.op import Op, Spec, register
from chainrule.core.recording import Recording, bind, current
from chainrule.core.tensor import Tensor, weak_tensor
from chainrule.core.tree import LEAF, Structure, flatten, unflatten
from chainrule.grad.control import (
    Parts,
    Traced,
    blank,
    blank_input,
    bundle,
    copy_nodes,
    floats,
    part,
    part_op,
    trace,
    zeros,
)
from chainrule.grad.forward import forward
from chainrule.grad.reverse import backward
from chainrule.grad.vmap import apply_batched, spread_batch
from chainrule.ops.elementwise import cast, strong
from chainrule.ops.move import transpose


class Loop:
    """What a scan node holds: the body and how it is run.

    The body's inputs are carries, then slices of stacked inputs, then constants; its first
    outputs are the new carries. The bundle holds the carries `finals` as the last step leaves
    them, then the nodes `stacked` over time, a carry input as its step finds it.
    """

    def __init__(
        self,
        body: Graph,
        carries: int,
        slices: int,
        length: int,
        reverse: bool,
        stacked: Sequence[Node] | None = None,
        finals: Sequence[int] | None = None,
        closed: bool = False,
    ):
        self.body, self.carries, self.slices = body, carries, slices
        self.length, self.reverse = length, reverse
        self.finals = list(range(carries) if finals is None else finals)
        self.stacked = list(body.outputs[carries:] if stacked is None else stacked)
        if not closed:
            known = set(self.stacked)
            inner = (n for n in body.order if n.op.kind != "leaf" and n.dtype != BUNDLE)
            self.stacked += [n for n in (*body.inputs[:carries], *inner) if n not in known]
        self.places: dict[Node, int] = {}
        for i, node in enumerate(self.stacked):
            self.places.setdefault(node, len(self.finals) + i)

    def __repr__(self) -> str:
        way = " backwards" if self.reverse else ""
        return f"<{self.length} steps{way} of {len(self.body.order)} nodes>"

    def split(self, values: Sequence[Any]) -> tuple[list, list, list]:
        """The node's or the body's inputs: carries, slices, constants."""
        at = self.carries + self.slices
        return list(values[: self.carries]), list(values[self.carries : at]), list(values[at:])

    def times(self) -> Iterable[int]:
        """The steps in the order they are made."""
        return reversed(range(self.length)) if self.reverse else range(self.length)

    def like(self, index: int) -> Any:
        """The shape and dtype of entry `index` of the bundle."""
        if index < len(self.finals):
            return self.body.inputs[self.finals[index]]
        node = self.node(index)
        return Spec((self.length, *node.shape), node.dtype)

    def node(self, index: int) -> Node:
        """The body's node that entry `index` stacks."""
        return self.stacked[index - len(self.finals)]

    def graphs_run(self) -> list[tuple[Graph, int]]:
        """Each graph that is held, and how many times it runs."""
        return [(self.body, self.length)]

    def step(self) -> Graph:
        """What `run` asks of a step: the new carries, then what is stacked."""
        ends = [*self.body.outputs[: self.carries], *self.stacked]
        return Graph(self.body.inputs, ends, self.body.origins)

    def run(self, arrays: Sequence[np.ndarray], step: Callable) -> np.ndarray:
        """The bundle; `step` computes what `self.step()` says."""
        carry, xs, constants = self.split(arrays)
        stacks = [np.empty((self.length, *n.shape), n.dtype) for n in self.stacked]
        for t in self.times():
            found = step(*carry, *[x[t, ...] for x in xs], *constants)
            carry = found[: self.carries]
            for stack, value in zip(stacks, found[self.carries :], strict=True):
                stack[t] = value
        return bundle([*(carry[i] for i in self.finals), *stacks])

    def needing(self, wanted: Sequence[int]) -> tuple[Loop, list[int]]:
        """The loop that gives only the entries `wanted`, in order, and which inputs it takes."""
        inputs, outputs = self.body.inputs, self.body.outputs
        finals = [self.finals[i] for i in wanted if i < len(self.finals)]
        nodes = [self.node(i) for i in wanted if i >= len(self.finals)]
        live: set[int] = set()
        more = set(finals)
        while True:
            needed = set(topological([*nodes, *(outputs[i] for i in more)]))
            live, more = more, more | {i for i in range(self.carries) if inputs[i] in needed}
            if live == more:
                break
        order = sorted(live)
        at = range(self.carries, len(inputs))
        taken = [*order, *(i for i in at if inputs[i] in needed)]
        body = Graph(
            [inputs[i] for i in taken], [*(outputs[i] for i in order), *nodes], self.body.origins
        )
        slices = sum(self.carries <= i < self.carries + self.slices for i in taken)
        places = [order.index(i) for i in finals]
        loop = Loop(body, len(order), slices, self.length, self.reverse, nodes, places, True)
        return loop, taken

    def batched_part(self, whole: Tensor, node: Node, size: int) -> Tensor:
        """An entry of a batched bundle: its batch stands behind the time."""
        index = node.attrs["index"]
        if index < len(self.finals):
            return part(whole, index, Spec((size, *node.shape), node.dtype))
        x = part(whole, index, Spec((self.length, size, *node.shape[1:]), node.dtype))
        return _swapped(x)


def _swapped(x: Tensor) -> Tensor:
    return transpose(x, (1, 0, *range(2, x.ndim)))


def _ref(*arrays: np.ndarray, holds: Loop) -> np.ndarray:
    return holds.run(arrays, holds.step().run)


def _infer(*inputs: Any, holds: Loop) -> Spec:
    return Spec((len(holds.finals) + len(holds.stacked),), BUNDLE)


def _vjp(g: Parts, y: Tensor, *inputs: Tensor, holds: Loop) -> list[Tensor | None]:
    groups = [[group[i] for i in floats(group)] for group in holds.split(holds.body.inputs)]
    moving, slices, adding = groups
    seeds = {holds.node(i): t for i, t in g.found.items() if i >= len(holds.finals)}
    body, read = _pullback(holds, groups, list(seeds))
    count = len(moving) + len(adding)
    loop = Loop(body, count, len(seeds) + len(read[0]), holds.length, not holds.reverse)
    given = dict(zip(holds.body.inputs, inputs, strict=True))
    own = [n for n in read[0] if n not in given or n in holds.body.inputs[: holds.carries]]
    given |= {n: part(y, holds.places[n], holds.like(holds.places[n])) for n in own}
    final = {holds.finals[i]: t for i, t in g.found.items() if i < len(holds.finals)}
    positions = {n: i for i, n in enumerate(holds.body.inputs)}
    whole = scan_op(
        *[final.get(positions[n], zeros(n)) for n in moving],
        *map(zeros, adding),
        *seeds.values(),
        *[given[n] for n in (*read[0], *read[1])],
        holds=loop,
    )
    made: list[Tensor | None] = [None] * len(inputs)
    for place, node in enumerate((*moving, *adding, *slices)):
        made[positions[node]] = part(whole, place, loop.like(place))
    return made


def _pullback(
    loop: Loop, groups: Sequence[Sequence[Node]], seeds: Sequence[Node]
) -> tuple[Graph, tuple[list[Node], list[Node]]]:
    """The body of the backward loop, and which nodes of the forward body it reads.

    Its carries are the cotangents of `groups[0]`, the carries, and the sums so far of those of
    `groups[2]`, the constants. Of the nodes it reads, the first change with time.
    """
    moving, slices, adding = groups
    with Recording(concrete=False) as recording:
        found = {node: blank_input(recording, node) for node in loop.body.inputs}
        copy_nodes([*loop.body.outputs, *seeds], found, recording, loop.body.origins)
        pulls, sums, given = [
            [blank_input(recording, node) for node in nodes] for nodes in (moving, adding, seeds)
        ]
        after = dict(zip(loop.body.inputs, loop.body.outputs[: loop.carries], strict=False))
        ends = [found[n] for n in (*(after[n] for n in moving), *seeds)]
        wrt = [found[n] for n in (*moving, *adding, *slices)]
        grads = backward(ends, [*pulls, *given], wrt) if ends else [None] * len(wrt)
        made = [zeros(x) if g is None else g for x, g in zip(wrt, grads, strict=True)]
        for i, total in enumerate(sums, len(moving)):
            made[i] = total if grads[i] is None else total + made[i]
        nodes = [recording.node_of(x) for x in made]
    origin = {tensor.node: node for node, tensor in found.items()}
    read = _read(nodes, list(origin))  # type: ignore[arg-type]
    constant = set(loop.split(loop.body.inputs)[2])
    slow = [n for n in read if origin[n] in constant]
    leaves = [x.node for x in (*pulls, *sums, *given)]
    leaves += [*(n for n in read if n not in slow), *slow]
    with Recording(concrete=False) as own:
        inside = {node: blank_input(own, node) for node in leaves}
        inputs = [own.node_of(inside[node]) for node in leaves]
        copy_nodes(nodes, inside, own, recording.origins)  # type: ignore[arg-type]
        body = Graph(inputs, [own.node_of(inside[node]) for node in nodes], own.origins)
    return body, ([origin[n] for n in read if n not in slow], [origin[n] for n in slow])


def _read(ends: Sequence[Node], forward: Sequence[Node]) -> list[Node]:
    """The forward nodes at which the walk back from `ends` can stop.

    What only moves elements, or is constant, is made again rather than kept over time; so is
    the bundle of a loop inside the loop, of which no part was kept.
    """
    again = ("movement", "control")
    stop = [n for n in forward if n.op.kind not in again and n.op.name != "literal"]
    stop += [n for n in forward if n.op is part_op]
    known = set(stop)
    order = topological(ends, known)
    read = {source for node in order for source in node.inputs} | set(ends)
    return [node for node in stop if node in read]


def _jvp(tangents: Sequence[Tensor], y: Tensor, *inputs: Tensor, holds: Loop) -> Tensor:
    """The loop that carries every carry with its tangent."""
    body, count = holds.body, holds.carries
    with Recording(concrete=False) as recording:
        found = {node: blank_input(recording, node) for node in body.inputs}
        own = list(found.values())
        moved = [blank_input(recording, node) for node in body.inputs]
        ends = [*body.outputs[:count], *holds.stacked]
        copy_nodes(ends, found, recording, body.origins)
        which = floats(body.inputs)
        along = forward(
            [found[n] for n in ends], [own[i] for i in which], [moved[i] for i in which]
        )
        made = [zeros(n) if t is None else t for n, t in zip(ends, along, strict=True)]
        outputs = [recording.node_of(t) for t in (*(found[n] for n in ends[:count]), *made)]
    pairs = zip(holds.split(own), holds.split(moved), strict=True)
    leaves = [recording.node_of(x) for pair in pairs for group in pair for x in group]
    loop = Loop(
        Graph(leaves, outputs, recording.origins),
        2 * count,
        2 * holds.slices,
        holds.length,
        holds.reverse,
        outputs[2 * count :],
        [count + i for i in holds.finals],
    )
    pairs = zip(holds.split(inputs), holds.split(tangents), strict=True)
    return scan_op(*[x for pair in pairs for group in pair for x in group], holds=loop)


def _batch(op: Op, node: Node, inputs: list, flags: list, size: int) -> Tensor:
    """The loop whose body computes for a batch; every carry has one, slices have it second."""
    loop: Loop = node.attrs["holds"]
    body, count = loop.body, loop.carries
    marks = [True] * count + flags[count:]
    with Recording(concrete=False) as recording:
        found: dict[Node, Tensor] = {}
        for source, mark in zip(body.inputs, marks, strict=True):
            shape = (size, *source.shape) if mark else source.shape
            found[source] = blank_input(recording, Spec(shape, source.dtype))
        leaves = [recording.node_of(x) for x in found.values()]
        batched = {n for n, mark in zip(body.inputs, marks, strict=True) if mark}
        ends = [*body.outputs[:count], *loop.stacked]
        apply_batched(topological(ends, found), found, batched, size)
        made = [spread_batch(found[n], n in batched, size) for n in ends]
        outputs = [recording.node_of(x) for x in made]
    whole = Graph(leaves, outputs, recording.origins)
    wide = Loop(whole, count, loop.slices, loop.length, loop.reverse, outputs[count:], loop.finals)
    carries, slices, constants = loop.split(inputs)
    carries = [spread_batch(x, flag, size) for x, flag in zip(carries, flags, strict=False)]
    slices = [_swapped(x) if flag else x for x, flag in zip(slices, flags[count:], strict=False)]
    return op(*carries, *slices, *constants, holds=wide)


scan_op = register(
    Op(
        name="scan",
        kind="control",
        tex=r"\mathrm{scan}(#1)",
        ref=_ref,
        infer=_infer,
        vjp=_vjp,
        jvp=_jvp,
        batch=_batch,
    )
)


def scan(
    fn: Callable, init: Any, xs: Any = None, length: int | None = None, reverse: bool = False
) -> tuple[Any, Any]:
    """`carry, y = fn(carry, x)` along the first axis of `xs`: (the last carry, the ys stacked).

    `init`, `xs` and what `fn` gives are trees; `xs` may be None where `length` says how often.
    With `reverse` the last x comes first; each y stands where its x stood. `fn` is recorded
    once, so it can neither branch on numbers nor renew State.

    ArgumentError without a length; ShapeError when lengths differ, or when the carry does not
    keep its shapes and dtypes.

    >>> scan(lambda total, x: (total + x, total), 0.0, np.float32([1, 2, 3]))
    (Tensor(6., dtype=float32), Tensor([0., 1., 3.], dtype=float32))
    """
    stacks, stack_tree = flatten(xs)
    stacks = [strong(weak_tensor(x)) for x in stacks]
    count = _length(stacks, length)
    slices = unflatten(stack_tree, [blank(x.shape[1:], x.dtype) for x in stacks])
    starts, tree = flatten(init)
    carry = [weak_tensor(x) for x in starts]
    traced = _traced(fn, tree, carry, slices)
    if any(x.weak for x in carry):  # a Python number takes the dtype of what becomes of it
        ends = traced.graph.outputs
        carry = [cast(x, n.dtype) if x.weak else x for x, n in zip(carry, ends, strict=False)]
        traced = _traced(fn, tree, carry, slices)
    _check_carry(fn, carry, traced)
    loop = Loop(traced.graph, len(carry), len(stacks), count, reverse)
    outputs = traced.graph.outputs[len(carry) :]
    places = [*range(len(carry)), *(loop.places[n] for n in outputs)]
    inputs = [*carry, *stacks, *traced.captured]
    if current() is None:  # nobody will differentiate this
        loop, taken = loop.needing(places)
        inputs, places = [inputs[i] for i in taken], list(range(len(places)))
    whole = bind(scan_op, *inputs, holds=loop)
    return unflatten(traced.structure, [part(whole, i, loop.like(i)) for i in places])


def _length(stacks: Sequence[Tensor], length: int | None) -> int:
    if any(not x.ndim for x in stacks):
        raise ShapeError("scan runs along the first axis of xs, and a number has none")
    counts = {x.shape[0] for x in stacks} | ({length} if length is not None else set())
    if not counts:
        raise ArgumentError("scan needs xs or a length", mend="scan(fn, init, length=10)")
    if len(counts) > 1:
        raise ShapeError(f"scan needs one length, got {', '.join(map(str, sorted(counts)))}")
    return counts.pop()


def _traced(fn: Callable, tree: Any, carry: Sequence[Tensor], slices: Any) -> Traced:
    def body(carry: Any, x: Any) -> Any:
        found = fn(carry, x)
        if not isinstance(found, tuple) or len(found) != 2:
            raise ArgumentError(
                f"scan needs (carry, y) from {_name(fn)}, got {type(found).__name__}",
                mend="return carry, None where there is no y",
            )
        if flatten(found[0])[1] != tree:
            raise ArgumentError(
                f"scan needs a carry that keeps its tree: {_name(fn)} was given "
                f"{_outline(tree)} and returned {_outline(flatten(found[0])[1])}",
                mend="return carry, y where carry is like init",
            )
        return found

    return trace(body, unflatten(tree, list(carry)), slices)


def _check_carry(fn: Callable, carry: Sequence[Tensor], traced: Traced) -> None:
    for x, y in zip(carry, traced.graph.outputs, strict=False):
        if (x.shape, x.dtype) != (y.shape, y.dtype):
            raise ShapeError(
                f"scan needs a carry that keeps shape and dtype: {_name(fn)} was given "
                f"{x.dtype}{list(x.shape)} and returned {y.dtype}{list(y.shape)}"
            )


def _outline(tree: Structure) -> str:
    if tree.kind is LEAF:
        return "a tensor"
    keys = [f"{key}: " for key in tree.aux] if tree.kind is dict else [""] * len(tree.children)
    parts = [key + _outline(child) for key, child in zip(keys, tree.children, strict=True)]
    return f"{getattr(tree.kind, '__name__', tree.kind)}({', '.join(parts)})"


def _name(fn: Callable) -> str:
    return getattr(fn, "__name__", type(fn).__name__)
