"""Repetition: a program run many times in one native call, over memory that moves along.

Between two times every table entry moves on: by a fixed step, where a slice of a stacked array is
read or written; to the other of two buffers, where a carry alternates; or not at all. So the
machine code of one time is the body of any loop over it. Read next: `program.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from chainrule.compile import threads
from chainrule.compile.layout import materialise
from chainrule.compile.plan import Buffer, Code
from chainrule.core.graph import Graph
from chainrule.core.recording import Recording
from chainrule.grad.branches import Branches
from chainrule.grad.control import blank_input, bundle, copy_nodes
from chainrule.grad.scan import Loop

TIMES = 256  # per call; each time has counters of its own


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
    if native is None:
        return None
    plan = native.plan
    whole = len(plan.segments) == 1 and isinstance(plan.segments[0], Code)
    if not whole or not loop.length or not all(plan.made):
        return None
    outputs = [read.buffer for read in plan.outputs]
    if len(set(outputs[: loop.carries])) < loop.carries:
        return None
    memory = Memory(native)
    carry, xs, constants = loop.split(arrays)
    inputs = loop.split(plan.inputs)
    for buffer, array in zip((*inputs[1], *inputs[2]), (*xs, *constants), strict=True):
        memory.read(buffer, array, buffer in inputs[1] and loop)
    stacks: dict[Any, np.ndarray] = {}
    ends = []
    for buffer, start, new in zip(inputs[0], carry, outputs, strict=False):
        if new in outputs[loop.carries :]:
            stacks[new], end = memory.stacked_carry(buffer, new, start, loop)
        else:
            end = memory.alternating_carry(buffer, new, start, loop.length)
        ends.append(end)
    for buffer in outputs[loop.carries :]:
        if buffer not in stacks:
            stacks[buffer] = np.empty((loop.length, *buffer.shape), buffer.dtype)
            memory.move(buffer, stacks[buffer], loop)
    memory.run(loop.length)
    if native.faulted():
        return None  # time by time, the op says which ids lie outside
    return bundle([*(ends[i] for i in loop.finals), *(stacks[n] for n in outputs[loop.carries :])])


class Memory:
    """The table of a program's first time, and how each entry moves from time to time."""

    def __init__(self, native: Any):
        self.native = native
        self.table = native.table.copy()
        self.steps = np.zeros_like(self.table)
        self.flips = np.zeros_like(self.table)
        self.held: list[np.ndarray] = []  # what the addresses point into

    def read(self, buffer: Buffer, array: np.ndarray, loop: Any) -> None:
        """An input: all of `array` at each time, or its slice of the time of a `loop`."""
        if not array.flags.c_contiguous or array.dtype != buffer.dtype:
            array = np.ascontiguousarray(array, buffer.dtype)
        if loop:
            self.move(buffer, array, loop)
        else:
            self.held.append(array)
            self.table[buffer.slot] = array.ctypes.data

    def move(self, buffer: Buffer, array: np.ndarray, loop: Loop, later: int = 0) -> None:
        """An entry that stands at the slice of the loop's time, `later` slices on."""
        step = buffer.bytes
        first = later + (loop.length - 1 if loop.reverse else 0)
        self.held.append(array)
        self.table[buffer.slot] = array.ctypes.data + first * step
        self.steps[buffer.slot] = np.int64(-step if loop.reverse else step).view(np.uint64)

    def stacked_carry(
        self, buffer: Buffer, new: Buffer, start: np.ndarray, loop: Loop
    ) -> tuple[np.ndarray, np.ndarray]:
        """A carry of which every value is kept: (all of them stacked, the last)."""
        stack = np.empty((loop.length + 1, *buffer.shape), buffer.dtype)
        stack[-1 if loop.reverse else 0] = start
        self.move(buffer, stack, loop, int(loop.reverse))
        self.move(new, stack, loop, int(not loop.reverse))
        return (stack[:-1], stack[0, ...]) if loop.reverse else (stack[1:], stack[-1, ...])

    def alternating_carry(
        self, buffer: Buffer, new: Buffer, start: np.ndarray, length: int
    ) -> np.ndarray:
        """A carry that is read from one of two buffers and written to the other: its last one."""
        first = np.array(start, buffer.dtype, order="C")
        second = np.empty_like(first)
        self.held += [first, second]
        here, there = np.uint64(first.ctypes.data), np.uint64(second.ctypes.data)
        self.table[buffer.slot], self.table[new.slot] = here, there
        self.flips[[buffer.slot, new.slot]] = here ^ there
        return second if length % 2 else first

    def run(self, length: int) -> None:
        """All times, one after the other."""
        native = self.native
        segment = native.plan.segments[0]
        with threads.lock:
            pool = threads.pool()
            count = min(segment.threads, native.threads)
            lines = segment.counters * (count + 1) * threads.LINE
            for first in range(0, length, TIMES):
                times = min(TIMES, length - first)
                table = self.table + self.steps * np.uint64(first)
                if first % 2:
                    table ^= self.flips
                head = [native.functions[0], times, lines, len(table)]
                rows = [table, self.steps, self.flips]
                frame = np.array([*head, *(row.ctypes.data for row in rows)], np.uint64)
                pool.reserve(lines * times)
                kept = frame, table, self.steps, self.flips, native.fault
                pool.run(pool.loop, frame.ctypes.data, count, lines * times, kept)


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
