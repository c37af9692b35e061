"""Control nodes: what runs a loop or a choice that a graph holds, a native loop where it can be.

Read next: `program.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from chainrule.compile.layout import materialise
from chainrule.compile.plan import Buffer
from chainrule.compile.turns import Turns, alone, as_read
from chainrule.core.graph import Graph
from chainrule.core.recording import Recording
from chainrule.grad.branches import Branches
from chainrule.grad.control import blank_input, bundle, copy_nodes
from chainrule.grad.scan import Loop


def runner(holds: Any, program: Callable[[Graph], Any]) -> Callable:
    """What computes a control node's bundle from arrays; `program` compiles what it `holds`."""
    if isinstance(holds, Branches):
        branches = [program(graph) for graph in holds.graphs]
        return lambda which, *arrays: branches[int(which)].run(list(arrays))
    step = program(holds.step())
    made = step.native.plan.made if step.native else []
    if not all(made):
        step = program(settled(holds.step(), made))

    def run(*arrays: np.ndarray) -> np.ndarray:
        made = looped(holds, arrays, step)
        return holds.run(arrays, lambda *given: step.run(list(given))) if made is None else made

    return run


def looped(loop: Loop, arrays: Sequence[np.ndarray], program: Any) -> np.ndarray | None:
    """The bundle of a loop whose step is `program`; None where its step is not one native call."""
    native = program.native
    if native is None or not alone(native) or not loop.length or not all(native.plan.made):
        return None
    plan = native.plan
    outputs = [read.buffer for read in plan.outputs]
    if len(set(outputs[: loop.carries])) < loop.carries:
        return None
    turns = Turns(native, loop.length, loop.reverse)
    carry, xs, constants = loop.split(arrays)
    inputs = loop.split(plan.inputs)
    for buffer, array in zip(inputs[1], xs, strict=True):
        turns.move(buffer, as_read(array, buffer))
    for buffer, array in zip(inputs[2], constants, strict=True):
        turns.stay(buffer, as_read(array, buffer))
    stacks: dict[Any, np.ndarray] = {}
    ends = []
    for buffer, start, new in zip(inputs[0], carry, outputs, strict=False):
        if new in outputs[loop.carries :]:
            stacks[new], end = stacked_carry(turns, buffer, new, start)
        else:
            end = turns.alternate(buffer, new, start)[loop.length % 2]
        ends.append(end)
    for buffer in outputs[loop.carries :]:
        if buffer not in stacks:
            stacks[buffer] = turns.stacked(buffer)
    turns.run()
    if native.faulted():
        return None  # time by time, the op says which ids lie outside
    return bundle([*(ends[i] for i in loop.finals), *(stacks[n] for n in outputs[loop.carries :])])


def stacked_carry(
    turns: Turns, buffer: Buffer, new: Buffer, start: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """A carry of which every value is kept: (all of them stacked, the last)."""
    stack = np.empty((turns.length + 1, *buffer.shape), buffer.dtype)
    stack[-1 if turns.reverse else 0] = start
    turns.move(buffer, stack, int(turns.reverse))
    turns.move(new, stack, int(not turns.reverse))
    return (stack[:-1], stack[0, ...]) if turns.reverse else (stack[1:], stack[-1, ...])


def settled(graph: Graph, computed: Sequence[bool]) -> Graph:
    """`graph` with outputs that it does not compute (inputs, views, constants) written out."""
    with Recording(concrete=False) as recording:
        found = {node: blank_input(recording, node) for node in graph.inputs}
        inputs = [recording.node_of(x) for x in found.values()]
        copy_nodes(graph.outputs, found, recording, graph.origins)
        ends = [
            found[node] if is_made else materialise(found[node])
            for node, is_made in zip(graph.outputs, computed, strict=True)
        ]
        return Graph(inputs, [recording.node_of(x) for x in ends], recording.origins)
