"""A draft: a graph rewritten, fused and laid out in memory, with the text of its kernels.

All stages stay in view. `plan()` gives what is needed to run it. Read next: `program.py`.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from typing import Any

from chainrule.compile.donate import donations
from chainrule.compile.fuse import Kernel, fuse
from chainrule.compile.gather import FAULT, ids_of
from chainrule.compile.layout import LAYOUT
from chainrule.compile.memory import Life, plan
from chainrule.compile.module import Segment, build_segments
from chainrule.compile.plan import Buffer, Code, Constant, Host, Ids, ProgramPlan, Read, Result
from chainrule.compile.runtime import build
from chainrule.compile.share import FAULT_SLOT, HALT_SLOT
from chainrule.compile.stopwatch import Stopwatch
from chainrule.core.graph import Graph
from chainrule.core.node import Node
from chainrule.core.op import Shape
from chainrule.core.view import View
from chainrule.rewrite import algebra, rows, stability  # noqa: F401  (their rules register)
from chainrule.rewrite.engine import rewrite_graph

HEADER = HALT_SLOT + 1  # table slots before the buffers: the arena, the words that stop a step


class Draft:
    """The stages of `graph`; the memory of inputs marked in `donated` may hold outputs."""

    def __init__(self, graph: Graph, donated: Sequence[bool]):
        self.graph, self.rewrites = rewrite_graph(graph)
        for table in LAYOUT:
            self.graph, _ = rewrite_graph(self.graph, table)
        kernels, self.resolver = fuse(self.graph)
        self.ends = {self.resolver.found[n].node for n in self.graph.outputs}
        self.kernels, self.inplace = donations(self.graph, kernels, self.resolver, donated)
        self.checks = ids_of(self.kernels, self.resolver)
        self.constants: dict[Node, dict[str, Any]] = {}
        self.slots: dict[str, tuple[int, int, str]] = {}
        self.names: dict[Node, str] = {}
        self._place()
        self.stopwatch = Stopwatch() if "time" in shown() else None
        self.segments: list[Segment] = build_segments(self)

    def _place(self) -> None:
        """A slot and an offset for every buffer."""
        graph, resolver = self.graph, self.resolver
        self.direct = dict.fromkeys(n for n in graph.outputs if resolver.computed(n))
        self.stored: dict[Kernel, list[Node]] = {}
        self.rooms: dict[Node, str] = {}  # the buffers that line ops work in
        lives: list[Life] = []
        readers_of: dict[Node, list[int]] = {}
        for step, kernel in enumerate(self.kernels):
            for node in {o.node for n in kernel.nodes for o in resolver.operands(n)}:
                readers_of.setdefault(node, []).append(step)
        for step, kernel in enumerate(self.kernels):
            for node in kernel.nodes:
                if node.op.room:
                    self.rooms[node] = f"room{len(self.rooms)}"
                    size = 4 * node.op.room(node.shape[-1])
                    lives.append(Life(self.rooms[node], size, step, step))
                readers = [i for i in readers_of.get(node, ()) if i != step]
                if not readers and node not in self.ends:
                    continue
                self.stored.setdefault(kernel, []).append(node)
                if node not in self.direct:
                    last = len(self.kernels) if node in self.ends else max(readers)
                    lives.append(Life(node, node.size * node.dtype.itemsize, step, last))
        offsets, self.arena_size = plan(lives)
        for owner, offset in offsets.items():
            if isinstance(owner, Node):
                self._name(owner, 0, offset)
            else:
                self.slots[owner] = (0, offset, "int32")
        wanted = self._literals()
        slot = HEADER
        leaves = [*graph.inputs, *(n for n in graph.order if n.op.kind == "leaf")]
        for i, node in enumerate(dict.fromkeys(leaves)):
            if i >= len(graph.inputs):
                if node.op.name == "literal" and node not in wanted:
                    continue
                self.constants[node] = node.attrs | wanted.get(node, {})
            self._name(node, slot, 0)
            slot += 1
        for node in self.direct:
            self._name(node, slot, 0)
            slot += 1
        self.slots[FAULT] = (FAULT_SLOT, 0, "int64")
        self.count = slot

    def _literals(self) -> dict[Node, dict[str, Shape]]:
        """The numbers that must lie in memory, each of the size that its largest reader needs."""
        read = [
            operand
            for kernel in self.kernels
            for n in kernel.nodes
            if n is kernel.product or kernel.host or n.op.kind == "index"
            for operand in self.resolver.operands(n)
        ]
        read += [self.resolver.found[n] for n in self.graph.outputs]
        sizes = {operand.node: 0 for operand in read if operand.node.op.name == "literal"}
        for node, operand in self.resolver.found.items():
            if operand.node in sizes:
                sizes[operand.node] = max(sizes[operand.node], node.size)
        return {node: {"shape": (size,)} for node, size in sizes.items()}

    def _name(self, node: Node, slot: int, offset: int) -> None:
        name = f"b{len(self.names)}"
        self.names[node] = name
        self.slots[name] = (slot, offset, node.dtype.name)

    def plan(self, build: Callable[[str], str] = build) -> ProgramPlan:
        """All it takes to run this; `build` compiles a text and names the object."""
        checks = [ids for found in self.checks.values() for ids in found]
        return ProgramPlan(
            self.count,
            self.arena_size,
            tuple(map(self._buffer, self.graph.inputs)),
            tuple(
                Constant(self._buffer(node), node.op, attrs)
                for node, attrs in self.constants.items()
            ),
            tuple(Result(self._buffer(node), self.inplace.get(node)) for node in self.direct),
            tuple(map(self._read, self.graph.outputs)),
            tuple(Ids(self._read(ids.node), ids.extent) for ids in checks),
            tuple(
                Code(build(s.text), s.name, s.threads, s.counters)
                if s.text
                else self._host(*s.kernels[0].nodes)
                for s in self.segments
            ),
        )

    def _buffer(self, node: Node) -> Buffer:
        slot, offset, _ = self.slots[self.names[node]]
        shape = self.constants[node]["shape"] if node.op.name == "literal" else node.shape
        return Buffer(slot, offset, shape, node.dtype)

    def _read(self, node: Node) -> Read:
        source, view = self.resolver.found[node]
        buffer = self._buffer(source)
        return Read(buffer, None if view == View.whole(buffer.shape) else view)

    def _host(self, node: Node, *parts: Node) -> Host:
        return Host(
            node.op,
            node.attrs,
            tuple(map(self._read, node.inputs)),
            tuple(map(self._buffer, parts or (node,))),
            tuple(part.attrs["index"] for part in parts),
        )

    def show(self) -> None:
        """Print the stages that `CHAINRULE_SHOW` names on standard error."""
        texts = {
            "graph": lambda: str(self.graph),
            "rewrites": lambda: "\n".join(self.rewrites) or "none fired",
            "kernels": lambda: "\n".join(s.readable(self) for s in self.segments),
            "memory": lambda: f"arena {self.arena_size} bytes, {len(self.inplace)} in place",
            "llvm": lambda: "\n".join(s.text for s in self.segments),
        }
        for stage, text in texts.items():
            if stage in shown():
                print(f"# {stage}\n{text()}", file=sys.stderr)


def shown() -> list[str]:
    """The stages to print."""
    return [stage for stage in os.environ.get("CHAINRULE_SHOW", "").split(",") if stage]
