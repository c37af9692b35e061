"""What a loop need not do at every step is done once, before it or after it.

Before: what does not depend on a carry; alone if it is the same at every time, over the stacked
times if it is a contraction. After: a carry that is only ever added to; what was added is kept
over time, and one contraction or sum over the times makes the total. Read next: `unfold.py`.
"""

from __future__ import annotations

from collections.abc import Sequence

from chainrule.compile.layout import PRODUCTS
from chainrule.core.graph import Graph
from chainrule.core.node import Node, topological
from chainrule.core.recording import Recording
from chainrule.core.tensor import Tensor
from chainrule.grad.control import blank_input, copy_nodes, part
from chainrule.grad.scan import Loop, scan_op
from chainrule.grad.vmap import apply_batched
from chainrule.ops.linear import contract
from chainrule.ops.move import reshape
from chainrule.ops.reduce import sum
from chainrule.rewrite.engine import rewrite_graph

INSIDE = ("leaf", "movement", "random", "control", "host")  # kinds that stay in the body


def scanned(loop: Loop, inputs: Sequence[Tensor]) -> list[Tensor]:
    """The entries of a closed loop's bundle: recorded as what is before it, in it and after it."""
    inputs = list(inputs)
    loop = _closed(loop, loop.step(), loop.slices)
    if loop.length:
        loop, inputs = _before(_rewritten(loop), inputs)
    adding = {i: terms for i in range(loop.carries) if (terms := _added(loop, i)) is not None}
    kept = [i for i in range(loop.carries) if i not in adding]
    stacked = list(loop.stacked)
    places: dict[Node, int] = {}
    for term in adding.values():
        for node in term.inputs:
            if node not in loop.body.inputs[loop.carries :] and node not in places:
                places[node] = len(kept) + len(stacked)
                stacked.append(node)
    ends = [*(loop.body.outputs[i] for i in kept), *stacked]
    leaves = [n for i, n in enumerate(loop.body.inputs) if i not in adding]
    body = Graph(leaves, ends, loop.body.origins)
    inner = Loop(
        body, len(kept), loop.slices, loop.length, loop.reverse, ends[len(kept) :], None, True
    )
    whole = scan_op(*[x for i, x in enumerate(inputs) if i not in adding], holds=inner)
    given = dict(zip(loop.body.inputs, inputs, strict=True))
    given |= {node: part(whole, place, inner.like(place)) for node, place in places.items()}
    made: list[Tensor] = []
    for i in loop.finals:
        if i in adding:
            made.append(inputs[i] + _total(adding[i], [given[n] for n in adding[i].inputs]))
        else:
            made.append(part(whole, kept.index(i), inner.like(kept.index(i))))
    first = len(kept)
    return made + [part(whole, first + i, inner.like(first + i)) for i in range(len(loop.stacked))]


def _closed(loop: Loop, step: Graph, slices: int) -> Loop:
    """The loop with another step, that keeps what the step gives and no more."""
    stacked = step.outputs[loop.carries :]
    return Loop(
        step, loop.carries, slices, loop.length, loop.reverse, stacked, loop.finals, closed=True
    )


def _rewritten(loop: Loop) -> Loop:
    """The loop with its body's contractions laid out, so that what is constant of that shows."""
    step = rewrite_graph(loop.body)[0]
    for table in PRODUCTS:
        step = rewrite_graph(step, table)[0]
    return _closed(loop, step, loop.slices)


def _before(loop: Loop, inputs: list[Tensor]) -> tuple[Loop, list[Tensor]]:
    """The loop without what is free of its carries, and its inputs with what that gave."""
    carries, slices, constants = loop.split(loop.body.inputs)
    moving, varying = set(carries), set(slices)
    targets: set[Node] = set()
    order = topological(loop.body.outputs)
    for node in order:
        if any(n in moving for n in node.inputs) or node.op.kind in ("random", "control"):
            moving.add(node)
        elif any(n in varying for n in node.inputs):
            varying.add(node)
        free = node not in moving and node.op.kind not in INSIDE
        if free and (node not in varying or node.op.kind == "contraction"):
            targets.add(node)
    reached = {n for node in topological(loop.body.outputs, targets) for n in node.inputs}
    wanted = [n for n in order if n in targets and n in reached | set(loop.body.outputs)]
    outside = dict(zip(loop.body.inputs, inputs, strict=True))
    for node in carries:
        del outside[node]
    marked = set(slices)
    apply_batched(topological(wanted, outside), outside, marked, loop.length)
    more = [n for n in wanted if n in marked], [n for n in wanted if n not in marked]
    leaves = [*carries, *slices, *more[0], *constants, *more[1]]
    with Recording(concrete=False) as recording:
        found = {node: blank_input(recording, node) for node in leaves}
        new = [recording.node_of(x) for x in found.values()]
        copy_nodes(loop.body.outputs, found, recording, loop.body.origins)
        ends = [recording.node_of(found[node]) for node in loop.body.outputs]
    step = Graph(new, ends, recording.origins)
    given = [*inputs[: loop.carries], *(outside[n] for n in leaves[loop.carries :])]
    return _closed(loop, step, loop.slices + len(more[0])), given


def _added(loop: Loop, i: int) -> Node | None:
    """What is added to carry `i`, if that is all that happens to it and can be done at the end."""
    carry, new = loop.body.inputs[i], loop.body.outputs[i]
    if new.op.name != "add" or carry not in new.inputs or i not in loop.finals:
        return None
    others = [n for n in new.inputs if n is not carry]
    users = [n for n in loop.body.order if carry in n.inputs]
    read = new in [n for n in loop.body.outputs if n is not new] or carry in loop.body.outputs
    again = loop.body.outputs.count(new) > 1 or any(new in n.inputs for n in loop.body.order)
    if len(others) != 1 or users != [new] or read or again:
        return None
    term = others[0]
    constants = set(loop.split(loop.body.inputs)[2])
    if term.op.name not in ("contract", "sum") or constants & set(term.inputs):
        return None
    return term


def _total(term: Node, stacks: Sequence[Tensor]) -> Tensor:
    """The sum over all times of a contraction or sum, from its operands stacked over time."""
    if term.op.name == "sum":
        axes = (0, *(a + 1 for a in term.attrs["axis"]))
        return reshape(sum(stacks[0], axis=axes), term.shape)
    spec = term.attrs["spec"]
    time = next(q for q in "zyxwvutsrqponmlkjihgfedcba" if q not in spec)
    operands, out = spec.split("->")
    a, b = operands.split(",")
    return contract(*stacks, spec=f"{time}{a},{time}{b}->{out}")
