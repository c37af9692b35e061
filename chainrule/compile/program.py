"""A program: a graph rewritten, fused, planned and compiled; run as often as wanted.

A program is a list of segments: native functions over runs of kernels, and between them the
nodes that NumPy computes. Where no native code can be made, NumPy runs the whole graph.
Read next: `jit.py`.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

import numpy as np

from chainrule.compile import threads
from chainrule.compile.fuse import Kernel, aligned, fuse, in_order, is_full
from chainrule.compile.layout import LAYOUT
from chainrule.compile.memory import Life, plan
from chainrule.compile.module import Segment, build_segments
from chainrule.compile.runtime import load, machine
from chainrule.compile.stopwatch import Stopwatch
from chainrule.compile.threads import LINE
from chainrule.compile.unfold import runner, unfolded
from chainrule.core.dtypes import BUNDLE
from chainrule.core.graph import Graph
from chainrule.core.node import Node
from chainrule.core.view import View
from chainrule.rewrite import algebra, rows, stability  # noqa: F401  (their rules register)
from chainrule.rewrite.engine import rewrite_graph

HEADER = 1  # table slots before the buffers: the arena


class Program:
    """Runs `graph`; the memory of inputs marked in `donated` may hold outputs afterwards."""

    def __init__(self, graph: Graph, donated: Sequence[bool]):
        self.graph = graph
        self.unfolded = unfolded(graph)
        self.native: Native | None = None
        empty = any(0 in node.shape for node in self.unfolded.order)
        if machine() is not None and not empty:
            self.native = Native(self.unfolded, donated)

    def run(self, arrays: list[np.ndarray]) -> list[np.ndarray]:
        """The outputs for input `arrays`."""
        if self.native is None:
            return self.unfolded.run(*arrays)
        return self.native.run(arrays)


class Native:
    """The compiled form: segments, the arena and the table of buffer addresses."""

    def __init__(self, graph: Graph, donated: Sequence[bool]):
        self.graph, self.rewrites = rewrite_graph(graph)
        for table in LAYOUT:
            self.graph, _ = rewrite_graph(self.graph, table)
        kernels, self.resolver = fuse(self.graph)
        self.ends = {self.resolver.found[n].node for n in self.graph.outputs}
        self.kernels, self.inplace = self._donations(kernels, donated)
        self.constants: dict[Node, np.ndarray] = {}
        self.slots: dict[str, tuple[int, int, str]] = {}
        self.names: dict[Node, str] = {}
        self._place()
        wanted = "time" in os.environ.get("CHAINRULE_SHOW", "").split(",")
        self.stopwatch = Stopwatch() if wanted else None
        self.segments: list[Segment] = build_segments(self)
        self.runners = {
            kernel.nodes[0]: runner(
                kernel.nodes[0], lambda g: Program(g, [False] * len(g.inputs)).run
            )
            for kernel in kernels
            if kernel.nodes[0].dtype == BUNDLE
        }
        self._bind()
        self._show()

    def _donations(
        self, kernels: list[Kernel], donated: Sequence[bool]
    ) -> tuple[list[Kernel], dict[Node, int]]:
        """Outputs that take a donated input's memory, and the order that makes it safe."""
        owner = {node: kernel for kernel in kernels for node in kernel.nodes}
        hosts = {kernel for kernel in kernels if kernel.host}
        computing = {kernel for kernel in hosts if not kernel.nodes[0].op.writes}
        after: dict[Kernel, set[Kernel]] = {}
        chosen: dict[Node, int] = {}
        order = kernels
        for i, (node, given) in enumerate(zip(self.graph.inputs, donated, strict=True)):
            readers = [k for k in kernels if self._reads(k, node)]
            if not given or node in self.ends:
                continue
            for output in self.graph.outputs:
                kernel = owner.get(output)
                same = (output.shape, output.dtype) == (node.shape, node.dtype)
                if output in chosen or kernel is None or kernel not in readers or not same:
                    continue
                safe = self._writes if kernel.host else self._in_step
                if not safe(kernel, node, output):
                    continue
                wanted = {k: set(v) for k, v in after.items()}
                wanted.setdefault(kernel, set()).update(k for k in readers if k is not kernel)
                # NumPy may raise, and then the inputs must be whole.
                wanted[kernel] |= computing if kernel.host else hosts
                found = in_order(kernels, wanted, self.resolver)
                if found:
                    order, after = found, wanted
                    chosen[output] = i
                    break
        return order, chosen

    def _reads(self, kernel: Kernel, node: Node) -> bool:
        operands = (o for n in kernel.nodes for o in self.resolver.operands(n))
        return any(o.node is node for o in operands)

    def _writes(self, kernel: Kernel, node: Node, output: Node) -> bool:
        """Whether NumPy makes `output` of `node` by changing some of its elements."""
        first, *others = [self.resolver.found[n] for n in output.inputs]
        alone = all(operand.node is not node for operand in others)
        whole = first.node is node and first.view == View.whole(node.shape)
        return bool(output.op.writes) and whole and alone

    def _in_step(self, kernel: Kernel, node: Node, output: Node) -> bool:
        """Whether the kernel reads `node` only at the element of `output` it then writes."""
        if kernel.reduced or kernel.nodes[0].op.spread or not is_full(output, kernel):
            return False
        for reader in kernel.nodes:
            for operand in self.resolver.operands(reader):
                if operand.node is node and (
                    reader is kernel.product or not aligned(reader, operand, kernel)
                ):
                    return False
        return True

    def _place(self) -> None:
        """A slot and an offset for every buffer."""
        graph, resolver = self.graph, self.resolver
        self.direct = [n for n in dict.fromkeys(graph.outputs) if resolver.computed(n)]
        self.stored: dict[Kernel, list[Node]] = {}
        lives: list[Life] = []
        readers_of: dict[Node, list[int]] = {}
        for step, kernel in enumerate(self.kernels):
            for node in {o.node for n in kernel.nodes for o in resolver.operands(n)}:
                readers_of.setdefault(node, []).append(step)
        for step, kernel in enumerate(self.kernels):
            for node in kernel.nodes:
                readers = [i for i in readers_of.get(node, ()) if i != step]
                if not readers and node not in self.ends:
                    continue
                self.stored.setdefault(kernel, []).append(node)
                if node not in self.direct:
                    last = len(self.kernels) if node in self.ends else max(readers)
                    lives.append(Life(node, node.size * node.dtype.itemsize, step, last))
        offsets, self.arena_size = plan(lives)
        for node, offset in offsets.items():
            self._name(node, 0, offset)
        slot = HEADER
        leaves = [*graph.inputs, *(n for n in graph.order if n.op.kind == "leaf")]
        for node in dict.fromkeys(leaves):
            if node not in graph.inputs:
                if not self._needs_memory(node):
                    continue
                self.constants[node] = self._constant(node)
            self._name(node, slot, 0)
            slot += 1
        for node in self.direct:
            self._name(node, slot, 0)
            slot += 1
        self.table = np.zeros(slot, np.uint64)

    def _constant(self, node: Node) -> np.ndarray:
        """The elements of a leaf that is no input; a literal's for its largest reader, flat."""
        if node.op.name != "literal":
            return np.ascontiguousarray(node.op.ref(**node.attrs))
        found = (n.size for n, o in self.resolver.found.items() if o.node is node)
        return np.full(max(found), node.attrs["value"], node.dtype)

    def _needs_memory(self, node: Node) -> bool:
        if node.op.name != "literal":
            return True
        return any(
            o.node is node
            for kernel in self.kernels
            for n in kernel.nodes
            if n is kernel.product or kernel.host
            for o in self.resolver.operands(n)
        ) or any(self.resolver.found[n].node is node for n in self.graph.outputs)

    def _name(self, node: Node, slot: int, offset: int) -> None:
        name = f"b{len(self.names)}"
        self.names[node] = name
        self.slots[name] = (slot, offset, node.dtype.name)

    def _bind(self) -> None:
        arena = np.empty(self.arena_size + 64, np.uint8)
        start = -arena.ctypes.data % 64
        self.arena = arena[start : start + self.arena_size]
        self.table[0] = self.arena.ctypes.data
        for node, array in self.constants.items():
            self.table[self.slots[self.names[node]][0]] = array.ctypes.data
        for segment in self.segments:
            if segment.text:
                segment.address = load(segment.text, segment.name)
        work = max((s.threads for s in self.segments), default=1)
        with threads.lock:
            self.threads = min(work, threads.pool().count)
        pieces = max((s.counters for s in self.segments), default=0)
        self.counters = pieces * (self.threads + 1) * LINE

    def run(self, arrays: list[np.ndarray]) -> list[np.ndarray]:
        """The outputs for input `arrays`; donated ones are written in place where safe."""
        with threads.lock:
            pool = threads.pool()
            pool.reserve(self.counters)
            table, slots, names = self.table, self.slots, self.names
            held = dict(zip(self.graph.inputs, arrays, strict=True))
            made: dict[Node, np.ndarray] = {}
            for output in self.direct:
                donor = self.inplace.get(output)
                if donor is None:
                    made[output] = np.empty(output.shape, output.dtype)
                else:
                    node = self.graph.inputs[donor]
                    made[output] = held[node] = _owned(arrays, donor, node.dtype)
            for node, array in held.items():
                if not array.flags.c_contiguous or array.dtype != node.dtype:  # or byte order
                    array = held[node] = np.ascontiguousarray(array, node.dtype)
                table[slots[names[node]][0]] = array.ctypes.data
            for node, array in made.items():
                table[slots[names[node]][0]] = array.ctypes.data
            for segment in self.segments:
                if segment.text:
                    count = min(segment.threads, self.threads)
                    lines = segment.counters * (count + 1)
                    pool.run(segment.address, table.ctypes.data, count, lines * LINE)
                else:
                    self._host(segment.kernels[0].nodes, held, made)
            if self.stopwatch:
                self.stopwatch.lap()
            return [self._output(node, held, made) for node in self.graph.outputs]

    def _array(self, node: Node, held: dict, made: dict) -> np.ndarray:
        """The memory of a computed node or leaf as an array."""
        for source in (made, held, self.constants):
            if node in source:
                return source[node]
        offset = self.slots[self.names[node]][1]
        size = node.size * node.dtype.itemsize
        return self.arena[offset : offset + size].view(node.dtype).reshape(node.shape)

    def _view(self, node: Node, held: dict, made: dict) -> np.ndarray:
        source, view = self.resolver.found[node]
        array = self._array(source, held, made)
        if source.op.name == "literal":
            return array[: node.size].reshape(node.shape)
        if view == View.whole(array.shape):
            return array.reshape(node.shape)
        flat = array.reshape(-1)[view.offset :]
        steps = [s * array.itemsize for s in view.strides]
        return np.lib.stride_tricks.as_strided(flat, view.shape, steps)

    def _host(self, nodes: list[Node], held: dict, made: dict) -> None:
        node, *parts = nodes
        inputs = [self._view(source, held, made) for source in node.inputs]
        if node in self.runners:
            bundle = self.runners[node](*inputs)
            for part in parts:
                np.copyto(self._array(part, held, made), bundle[part.attrs["index"]])
        elif node.op.writes:
            out = self._array(node, held, made)
            if node not in self.inplace:
                np.copyto(out, inputs[0])
            node.op.writes(out, *inputs, **node.attrs)
        else:
            np.copyto(self._array(node, held, made), node.op.ref(*inputs, **node.attrs))

    def _output(self, node: Node, held: dict, made: dict) -> np.ndarray:
        if node in made:
            return made[node]
        found = self._view(node, held, made)
        return found if node in held else found.copy()

    def _show(self) -> None:
        wanted = os.environ.get("CHAINRULE_SHOW", "").split(",")
        texts = {
            "graph": lambda: str(self.graph),
            "rewrites": lambda: "\n".join(self.rewrites) or "none fired",
            "kernels": lambda: "\n".join(s.readable(self) for s in self.segments),
            "memory": lambda: f"arena {self.arena_size} bytes, {len(self.inplace)} in place",
            "llvm": lambda: "\n".join(s.text for s in self.segments),
        }
        for stage, text in texts.items():
            if stage in wanted:
                print(f"# {stage}\n{text()}", file=sys.stderr)


def _references(arrays: list[np.ndarray], i: int) -> int:
    array = arrays[i]
    return sys.getrefcount(array)


def _alone() -> int:
    """What `_references` counts for an array that only its tensor, `arrays` and `held` hold:
    measured, because interpreters differ in which names they count."""
    tensor = [np.empty(1)]
    arrays = [tensor[0]]
    held = {0: arrays[0]}
    return _references(arrays, len(held) - 1)


ALONE = _alone()


def _owned(arrays: list[np.ndarray], i: int, dtype: np.dtype) -> np.ndarray:
    """The array if nothing else refers to it and it lies in order, else a copy: a view taken
    from it stays as it is."""
    shared = _references(arrays, i) > ALONE
    array = arrays[i]
    own = array.base is None and array.flags.writeable and array.flags.c_contiguous
    if shared or not own or array.dtype != dtype:
        array = arrays[i] = np.array(array, dtype, order="C")
    return array
