"""A program: a graph planned and compiled, or its plan found on disk; run as often as wanted.

A program is a list of segments: native functions over runs of kernels, and between them the
nodes that NumPy computes. Where no native code can be made, NumPy runs the whole graph.
Read next: `jit.py`.
"""

from __future__ import annotations

import sys
import weakref
from collections.abc import Sequence
from ctypes import addressof, c_char
from functools import cached_property
from typing import Any

import numpy as np

from chainrule.compile import threads
from chainrule.compile.draft import Draft, shown
from chainrule.compile.plan import Code, Host, ProgramPlan, keep_plan, kept_plan
from chainrule.compile.repeat import runner
from chainrule.compile.runtime import address, machine
from chainrule.compile.share import HALTED
from chainrule.compile.signature import signature
from chainrule.compile.stopwatch import Stopwatch
from chainrule.compile.threads import LINE
from chainrule.compile.unfold import unfolded
from chainrule.core.graph import Graph
from chainrule.ops.index import within


class Program:
    """Runs `graph`; the memory of inputs marked in `donated` may hold outputs afterwards."""

    def __init__(self, graph: Graph, donated: Sequence[bool]):
        self.graph, self.donated = graph, donated
        self.unfolded = unfolded(graph)

    def run(self, arrays: list[np.ndarray]) -> list[np.ndarray]:
        """The outputs for input `arrays`."""
        if self.native is None:
            return self.unfolded.run(*arrays)
        return self.native.run(arrays)

    @cached_property
    def native(self) -> Native | None:
        """The compiled form, made when first asked for; None where NumPy runs the graph."""
        if machine() is None or any(0 in node.shape for node in self.unfolded.order):
            return None
        key = None if shown() else signature(self.unfolded, self.donated)
        plan = kept_plan(key) if key else None
        if plan:
            return Native(plan)
        draft = self.draft()
        plan = draft.plan()
        if key:
            keep_plan(key, plan)
        draft.show()
        return Native(plan, draft.stopwatch)

    def draft(self) -> Draft:
        """The stages between the graph and its code, made anew, to be looked at."""
        return Draft(self.unfolded, self.donated)


class Native:
    """A plan with its memory: the arena, the constants, the table of buffer addresses."""

    def __init__(self, plan: ProgramPlan, stopwatch: Stopwatch | None = None):
        self.plan, self.stopwatch = plan, stopwatch
        arena = np.empty(plan.arena + 64, np.uint8)
        start = -arena.ctypes.data % 64
        self.fault = np.zeros(1, np.int64)
        self.memory: list = [arena[start : start + plan.arena], self.fault, threads.halt]
        self.memory += [None] * (plan.slots - len(self.memory))
        for constant in plan.constants:
            self.memory[constant.buffer.slot] = constant.array()
        addresses = [0 if array is None else array.ctypes.data for array in self.memory]
        self.table = np.array(addresses, np.uint64)
        self.seen: list[weakref.ref | None] = [None] * plan.slots  # whose address the table has
        self.address = self.table.ctypes.data
        made = {*plan.inputs, *(result.buffer for result in plan.results)}
        given = [r.view is None and r.buffer in made for r in plan.outputs]
        self.moving = [b.slot for b in (*plan.inputs, *(result.buffer for result in plan.results))]
        self.gives = [
            (read, read.buffer.slot if whole else None)
            for read, whole in zip(plan.outputs, given, strict=True)
        ]
        codes = [segment for segment in plan.segments if isinstance(segment, Code)]
        with threads.lock:
            most = max((code.threads for code in codes), default=1)
            self.threads = min(most, threads.pool().count)
        self.counters = max((c.counters for c in codes), default=0) * (self.threads + 1) * LINE
        self.functions = [_function(segment) for segment in plan.segments]

    def run(self, arrays: list[np.ndarray]) -> list[np.ndarray]:
        """The outputs for input `arrays`; donated ones are written in place where safe.

        KeyboardInterrupt when the run was halted; nothing is written then.
        """
        with threads.lock:
            pool = threads.pool()
            pool.reserve(self.counters)
            memory = self._filled(arrays)
            for segment, function in zip(self.plan.segments, self.functions, strict=True):
                if isinstance(segment, Code):
                    count = min(segment.threads, self.threads)
                    lines = segment.counters * (count + 1)
                    kept = self.table, self.fault
                    pool.run(function, self.address, count, lines * LINE, kept)
                    number = self.faulted()
                    if number == HALTED:
                        raise KeyboardInterrupt
                    if number:
                        ids = self.plan.checks[number - 1]
                        within(ids.read.of(memory), ids.extent)
                else:
                    _compute(segment, function, memory)
            if self.stopwatch:
                self.stopwatch.lap()
            return [
                read.of(memory).copy() if slot is None else memory[slot]
                for read, slot in self.gives
            ]

    def _filled(self, arrays: list[np.ndarray]) -> list[np.ndarray]:
        """The array of each slot, with its address in the table."""
        memory, seen, table = self.memory.copy(), self.seen, self.table
        for (slot, _, shape, dtype), donor in self.plan.results:
            array = np.empty(shape, dtype) if donor is None else owned(arrays, donor, dtype)
            memory[slot] = array
        for (slot, _, _, dtype), array in zip(self.plan.inputs, arrays, strict=True):
            if not array.flags.c_contiguous or array.dtype != dtype:  # or byte order
                array = np.ascontiguousarray(array, dtype)
            memory[slot] = array
        for slot in self.moving:  # to ask NumPy for an address takes as long as a kernel
            array, known = memory[slot], seen[slot]
            if known is None or known() is not array:
                table[slot] = address_of(array)
                seen[slot] = weakref.ref(array)
        return memory

    def faulted(self) -> int:
        """The number of the check that stopped the last run, HALTED, or 0 when none did."""
        number = int(self.fault[0])
        if number:
            with threads.lock:
                threads.pool().drain()  # a late thread must see it, or it would go on
            self.fault[0] = 0
        return number


def address_of(array: np.ndarray) -> int:
    """Where the elements of `array` begin; this way takes a fifth of `array.ctypes.data`."""
    try:
        return addressof(c_char.from_buffer(array))  # type: ignore[arg-type]
    except (TypeError, ValueError, BufferError):  # it is empty or read-only
        return array.ctypes.data


def _compute(host: Host, bundle: Any, memory: list[np.ndarray]) -> None:
    inputs = [read.of(memory) for read in host.reads]
    outs = [buffer.of(memory) for buffer in host.writes]
    if bundle:
        made = bundle(*inputs)
        for out, part in zip(outs, host.parts, strict=True):
            np.copyto(out, made[part])
    else:
        np.copyto(outs[0], host.op.ref(*inputs, **host.attrs))


def _function(segment: Code | Host) -> Any:
    """The address of a segment's code; what runs a control node's bodies; None for other nodes."""
    if isinstance(segment, Code):
        return address(segment.function)
    if "holds" not in segment.attrs:
        return None
    return runner(segment.attrs["holds"], lambda g: Program(g, [False] * len(g.inputs)))


def _references(arrays: list[np.ndarray], i: int) -> int:
    array = arrays[i]
    return sys.getrefcount(array)


def _alone() -> int:
    """What `_references` counts for an array that only its tensor and `arrays` hold:
    measured, because interpreters differ in which names they count."""
    tensor = [np.empty(1)]
    arrays = [tensor[0]]
    return _references(arrays, len(tensor) - 1)


ALONE = _alone()


def owned(arrays: list[np.ndarray], i: int, dtype: np.dtype) -> np.ndarray:
    """Array number i, to be written into: itself if nothing else refers to it and it lies in order,
    else a copy: a view taken from it stays as it is."""
    shared = _references(arrays, i) > ALONE
    array = arrays[i]
    own = array.base is None and array.flags.writeable and array.flags.c_contiguous
    if shared or not own or array.dtype != dtype:
        array = arrays[i] = np.array(array, dtype, order="C")
    return array
