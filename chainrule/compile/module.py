"""Segments: runs of kernels as one LLVM module, with one function that calls them in order.

Between kernels that several threads share stands a barrier; neighbours that one thread runs
need none. Read next: `loops.py`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from chainrule.compile.axes import Plan
from chainrule.compile.fuse import Kernel, Product, product_of
from chainrule.compile.kernel import Builder, Value
from chainrule.compile.llvm import ATTRIBUTES, LlvmBuilder
from chainrule.compile.loops import Emitter, Fill
from chainrule.compile.product import ProductEmitter
from chainrule.compile.runtime import BARRIER, machine, unique
from chainrule.compile.text import TextBuilder
from chainrule.core.node import Node

SMALL = 20_000  # element operations below which a kernel stays on one thread


@dataclass
class Segment:
    """Native kernels in order, or one node for NumPy (then `text` is empty)."""

    kernels: list[Kernel]
    node: Node | None = None
    text: str = ""
    name: str = ""
    address: int = 0
    threads: int = 1

    def readable(self, program: Any) -> str:
        """The kernels as lines, each under the user's line it came from."""
        if self.node is not None:
            return f"{_title(self.kernels[0], program)} by NumPy"
        parts = []
        for kernel in self.kernels:
            parts.append(_title(kernel, program))
            for phase in range(phases(kernel)):
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


def product(kernel: Kernel, program: Any) -> Product:
    """The matrix product of a kernel that has one."""
    a, b = program.resolver.operands(kernel.product)
    found = product_of(kernel.product, a.view, b.view)  # type: ignore[arg-type]
    assert found is not None, f"{kernel.product} was not laid out"
    return found


def phases(kernel: Kernel) -> int:
    """How many functions a kernel is: a spread fills its output first."""
    return 2 if kernel.nodes[0].op.spread else 1


def emitter(
    k: Builder, kernel: Kernel, program: Any, phase: int
) -> Emitter | ProductEmitter | Fill:
    """What writes this kernel's function number `phase`."""
    stored = {n: program.names[n] for n in program.stored.get(kernel, ())}
    if phase == 0 and phases(kernel) == 2:
        return Fill(k, *stored.values(), *stored)
    plan = Plan(kernel, program.resolver, stored, program.names.__getitem__)
    if kernel.product is None:
        return Emitter(k, plan)
    operands = program.resolver.operands(kernel.product)
    buffers = tuple((program.names[o.node], o.view.offset) for o in operands)
    made = machine()
    registers = made.registers if made else 32
    return ProductEmitter(k, plan, product(kernel, program), buffers, registers)


def work_of(kernel: Kernel, program: Any) -> int:
    """A rough count of element operations, to decide whether threads are worth waking."""
    elements = int(np.prod(kernel.space, dtype=np.int64))
    if kernel.product is not None:
        return elements * max(1, product(kernel, program).k // 16)
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
    functions, declared, calls = [], set(), []
    pending = ""  # what ran since the last barrier: nothing, one thread's work, or shared work
    work_list = [(kernel, phase) for kernel in segment.kernels for phase in range(phases(kernel))]
    for i, (kernel, phase) in enumerate(work_list):
        k = LlvmBuilder(lanes_of(kernel), program.slots)
        work = emitter(k, kernel, program, phase)
        work.emit(Value(k, "%lo", "int64"), Value(k, "%hi", "int64"))
        functions.append(k.function(f"k{i}"))
        declared |= k.declared
        units = work.units()
        shared = units > 1 and work_of(kernel, program) > SMALL
        if pending and (shared or pending == "shared"):
            calls.append("  call void @cr_barrier(ptr %sync, i64 %n)")
        pending = "shared" if shared else "one"
        segment.threads = max(segment.threads, units if shared else 1)
        calls.extend(_call(i, units, shared))
    body = "\n".join(calls)
    text = "\n".join([*functions, STEP.format(body=body), *sorted(declared), BARRIER, ATTRIBUTES])
    segment.name = unique(text)
    segment.text = text.replace("@cr_step", f"@{segment.name}")


def _call(i: int, units: int, shared: bool) -> list[str]:
    if not shared:
        return [
            f"  br i1 %first, label %one{i}, label %skip{i}",
            f"one{i}:",
            f"  call void @k{i}(ptr %table, i64 0, i64 {units})",
            f"  br label %skip{i}",
            f"skip{i}:",
        ]
    return [
        f"  %a{i} = mul i64 %tid, {units}",
        f"  %lo{i} = udiv i64 %a{i}, %n",
        f"  %t{i} = add i64 %a{i}, {units}",
        f"  %hi{i} = udiv i64 %t{i}, %n",
        f"  call void @k{i}(ptr %table, i64 %lo{i}, i64 %hi{i})",
    ]


STEP = """
define void @cr_step(ptr %table, i64 %tid, i64 %n) #0 {{
entry:
  %old = alloca i32
  %new = alloca i32
  call void @llvm.x86.sse.stmxcsr(ptr %old)
  %bits = load i32, ptr %old
  %flush = or i32 %bits, 32832
  store i32 %flush, ptr %new
  call void @llvm.x86.sse.ldmxcsr(ptr %new)
  %syncp = getelementptr ptr, ptr %table, i64 1
  %sync = load ptr, ptr %syncp
  %first = icmp eq i64 %tid, 0
{body}
  call void @cr_barrier(ptr %sync, i64 %n)
  call void @llvm.x86.sse.ldmxcsr(ptr %old)
  ret void
}}
"""
