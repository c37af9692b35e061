"""Segments: runs of kernels as one LLVM module, with one function that calls them in order.

Threads share out the units of a kernel and meet when all are done; neighbours too small for that
are one piece of work, for whoever comes first. Read next: `loops.py`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from chainrule.compile.axes import Plan
from chainrule.compile.fuse import Kernel, Sum, named_by, put_from, spreads_of, sums_of
from chainrule.compile.gather import Check, Fill, Joined, Running
from chainrule.compile.kernel import Builder, Value
from chainrule.compile.lines import Lines
from chainrule.compile.llvm import ATTRIBUTES, LlvmBuilder
from chainrule.compile.loops import Emitter
from chainrule.compile.product import ProductEmitter
from chainrule.compile.runtime import BODY, machine, unique
from chainrule.compile.share import FAULT_SLOT, SHARE, SHARE_LONG
from chainrule.compile.text import TextBuilder
from chainrule.compile.threads import LINE
from chainrule.core.node import Node
from chainrule.core.view import Spread, View

SMALL = 20_000  # element operations below which a kernel stays on one thread
LONG = 10_000_000  # after so many, a few thousandths of a second, a step can be halted again


@dataclass
class Segment:
    """Native kernels in order, or one node for NumPy (then `text` is empty)."""

    kernels: list[Kernel]
    node: Node | None = None
    text: str = ""
    name: str = ""
    threads: int = 1
    counters: int = 0  # how many pieces of work the threads share out, one after the other

    def readable(self, program: Any) -> str:
        """The kernels as lines, each under the user's line it came from."""
        if self.node is not None:
            return f"{_title(self.kernels[0], program)} by NumPy"
        parts = []
        for kernel in self.kernels:
            parts.append(_title(kernel, program))
            for phase in range(phases(kernel, program)):
                k = TextBuilder(lanes_of(kernel), program.slots)
                work = emitter(k, kernel, program, phase)
                work.emit(k.constant(0, "int64"), k.constant(work.units(), "int64"))
                parts.extend(k.lines)
        return "\n".join(parts)


def _title(kernel: Kernel, program: Any) -> str:
    origin = program.graph.origins.get(kernel.nodes[-1], "")
    return f"{kernel.name} {list(kernel.space)}  # {origin}"


def lanes_of(kernel: Kernel) -> int:
    """Elements per vector register for the kernel's widest float."""
    made = machine()
    vector = made.vector if made else 64
    sizes = [n.dtype.itemsize for n in kernel.nodes] + [
        s.dtype.itemsize for n in kernel.nodes for s in n.inputs if s.dtype.kind == "f"
    ]
    return vector // max(4, *[min(s, 8) for s in sizes])


def summed(kernel: Kernel, program: Any) -> tuple[Sum, ...]:
    """The summed axes of a kernel that has a product."""
    a, b = program.resolver.operands(kernel.product)
    return sums_of(kernel.product, a.view, b.view)  # type: ignore[arg-type]


def phases(kernel: Kernel, program: Any) -> int:
    """How many functions a kernel is: ids are checked, and a spread fills its output, first."""
    return len(program.checks.get(kernel, ())) + _starts(kernel, program) + 1


def _starts(kernel: Kernel, program: Any) -> bool:
    """Whether an output is filled, or copied from what lies under it, before a spread."""
    node = kernel.nodes[0]
    first = spreads_of(node)[:1]
    copied = [s for s in first if s.over is not None and node not in program.inplace]
    return bool(copied) or any(s.fill is not None for s in first)


def emitter(
    k: Builder, kernel: Kernel, program: Any, phase: int
) -> Emitter | ProductEmitter | Fill | Check | Joined | Lines:
    """What writes this kernel's function number `phase`."""
    checks = program.checks.get(kernel, ())
    if phase < len(checks):
        return Check(k, checks[phase], program.names[checks[phase].operand.node])
    stored = {n: program.names[n] for n in program.stored.get(kernel, ())}
    node, about = kernel.nodes[0], (program.resolver, stored, program.names.__getitem__)
    if node.op.kind == "line":
        (source,) = program.resolver.operands(node)
        buffers = program.names[source.node], *stored.values(), program.rooms[node]
        return Lines(k, node, source, buffers)
    spreads = spreads_of(node)
    if phase == len(checks) and _starts(kernel, program):
        if spreads[0].over is None:
            return Fill(k, *stored.values(), *stored)
        whole = View.whole(node.shape)
        spreads = (Spread(tuple(range(len(node.shape))), whole, None, source=spreads[0].over),)
    elif _one_by_one(kernel):
        k.lanes = 1
    if spreads:
        spaces = [(s, Kernel([node], put_from(node, s))) for s in spreads]
        parts = [Emitter(k, Plan(part, *about, spread)) for spread, part in spaces]
        return Joined(k, parts) if len(parts) > 1 else parts[0]
    plan = Plan(kernel, *about)
    if node.op.kind == "running":
        return Running(k, plan)
    if kernel.product is None:
        return Emitter(k, plan)
    made = machine()
    registers = made.registers if made else 32
    return ProductEmitter(k, plan, summed(kernel, program), registers)


def _one_by_one(kernel: Kernel) -> bool:
    """Whether neighbours along the last axis need each other's results: totals carried along it,
    elements added where ids say, which may be the same place."""
    node, last = kernel.nodes[0], -1
    if node.op.kind == "running":
        last = kernel.reduced[0]
    elif node.op.spread and (named := named_by(node)) and named.axes:
        last = named.axes[-1]
    return last >= 0 and math.prod(kernel.space[last + 1 :]) == 1


def work_of(kernel: Kernel, program: Any) -> int:
    """A rough count of element operations, to decide whether threads are worth waking."""
    elements = int(np.prod(kernel.space, dtype=np.int64))
    if kernel.nodes[0].op.spread and _starts(kernel, program):
        elements = max(elements, kernel.nodes[0].size)
    if kernel.product is not None:
        return elements * max(1, math.prod(s.extent for s in summed(kernel, program)) // 16)
    costly = ("exp", "log", "tanh", "sigmoid", "power", "random_bits")
    return elements * sum(8 if n.op.name in costly else 1 for n in kernel.nodes)


def build_segments(program: Any) -> list[Segment]:
    """The program's kernels as segments, native ones with their text."""
    groups: list[Segment] = []
    for kernel in program.kernels:
        if kernel.host:
            groups.append(Segment([kernel], kernel.nodes[0]))
        elif groups and groups[-1].node is None:
            groups[-1].kernels.append(kernel)
        else:
            groups.append(Segment([kernel]))
    for segment in groups:
        if segment.node is None:
            _write(segment, program)
    return groups


def _write(segment: Segment, program: Any) -> None:
    functions: list[str] = []
    bodies: dict[str, str] = {}  # the names of what kernels do, by its text
    calls: list[str] = []
    declared: set[str] = set()
    alone: list[str] = []  # calls of kernels too small to share, up to the next that is shared
    checked: list[int] = []  # checks among them

    def share(function: str, units: int, title: str, way: str = "share") -> None:
        stamps = program.stopwatch and program.stopwatch.stamps(title)
        calls.extend(_stamped(_share(way, function, units, segment.counters), stamps))
        segment.counters += 1

    def close(title: str) -> None:
        if alone:
            name = f"g{len(functions)}"
            body = "\n".join(alone)
            functions.append(TOGETHER.format(name=name, body=body))
            share(name, 1, title)
            alone.clear()
            calls.extend(line for i in checked for line in _gate(i))
            checked.clear()

    work_list = [(k, phase) for k in segment.kernels for phase in range(phases(k, program))]
    last = _first_commit(work_list, program)
    before, unheard = "", 0
    for i, (kernel, phase) in enumerate(work_list):
        k = LlvmBuilder(lanes_of(kernel), program.slots)
        work = emitter(k, kernel, program, phase)
        work.emit(Value(k, "%lo", "int64"), Value(k, "%hi", "int64"))
        name = bodies.setdefault(k.body(), f"body{len(bodies)}")
        functions.append(k.function(f"k{i}", name))
        declared |= k.declared
        units, title = work.units(), _title(kernel, program)
        check = isinstance(work, Check)
        cost = work.elements if isinstance(work, Check) else work_of(kernel, program)
        if units > 1 and cost > SMALL:
            close(before)
            unheard += cost
            long = unheard > LONG and i < last
            share(f"k{i}", units, title, "share_long" if long else "share")
            unheard = 0 if long else unheard
            calls.extend(_gate(i) if check or long else [])
            segment.threads = max(segment.threads, units)
        else:
            alone.append(f"  call void @k{i}(ptr %table, i64 0, i64 {units})")
            alone.extend(_gate(i) if check else [])
            checked.extend([i] * check)
            before = title if program.stopwatch and len(alone) == 1 else f"{before}; {title}"
    close(before)
    body = STEP.format(body="\n".join(calls))
    made = machine()
    assert made is not None
    shares = [SHARE] + [SHARE_LONG] * ("@cr_share_long(" in body)
    parts = [*functions, body, *sorted(declared), *shares, made.system.text, ATTRIBUTES]
    text = BODY.join(["\n".join(parts), *(f"@{name}{body}" for body, name in bodies.items())])
    segment.name = unique(text)
    segment.text = text.replace("@cr_step", f"@{segment.name}")


def _first_commit(work_list: list[tuple[Kernel, int]], program: Any) -> int:
    """The first kernel that writes donated memory: from there on a step is not halted."""
    for i, (kernel, _) in enumerate(work_list):
        if not program.inplace.keys().isdisjoint(kernel.nodes):
            return i
    return len(work_list)


def _share(way: str, function: str, units: int, place: int) -> list[str]:
    """The call that shares a function's units among the threads, by the counters at `place`."""
    threads = f"i64 {units}, i64 %tid, i64 %n"
    return [
        f"  %at{place} = mul i64 %lines, {place * LINE}",
        f"  %counters{place} = getelementptr i8, ptr %counters, i64 %at{place}",
        f"  call void @cr_{way}(ptr @{function}, ptr %table, ptr %counters{place}, {threads})",
    ]


def _gate(at: int) -> list[str]:
    """The end of the function, once a check has found ids outside or a halt was heard."""
    return [
        f"  %word{at} = getelementptr ptr, ptr %table, i64 {FAULT_SLOT}",
        f"  %fault{at} = load ptr, ptr %word{at}",
        f"  %found{at} = load volatile i64, ptr %fault{at}",
        f"  %whole{at} = icmp eq i64 %found{at}, 0",
        f"  br i1 %whole{at}, label %go{at}, label %out",
        f"go{at}:",
    ]


def _stamped(calls: list[str], stamps: tuple[int, int] | None) -> list[str]:
    """The calls between two readings of the clock, which the first thread writes."""
    if stamps is None:
        return calls
    before, after = (
        [
            f"  br i1 %first, label %stamp{at}, label %stamped{at}",
            f"stamp{at}:",
            f"  %clock{at} = call i64 @cr_clock()",
            f"  store volatile i64 %clock{at}, ptr inttoptr (i64 {address} to ptr)",
            f"  br label %stamped{at}",
            f"stamped{at}:",
        ]
        for at, address in ((address // 8, address) for address in stamps)
    )
    return [*before, *calls, *after]


TOGETHER = """
define internal void @{name}(ptr %table, i64 %lo, i64 %hi) #0 {{
{body}
  br label %out
out:
  ret void
}}
"""

STEP = """
define void @cr_step(ptr %table, ptr %counters, i64 %tid, i64 %n) #0 {{
entry:
  %old = call i64 @cr_flush()
  %lines = add i64 %n, 1
  %first = icmp eq i64 %tid, 0
{body}
  br label %out
out:
  call void @cr_restore(i64 %old)
  ret void
}}
"""
