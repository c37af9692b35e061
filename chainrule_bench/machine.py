"""What this machine can do at most, measured on the spot, and so a step's least possible time.

The loops are LLVM text that goes the way of chainrule's kernels: multiply-adds in registers,
divisions and roots, reading and updating arrays of many sizes. Read next: `rounds.py`.
"""

from __future__ import annotations

import ctypes
import threading
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

import numpy as np

from chainrule.compile.llvm import ATTRIBUTES
from chainrule.compile.runtime import load, machine, unique
from chainrule_bench.workload import Phase

SIZES = tuple(2**k for k in range(15, 29))  # bytes, of all threads together
REPEATS = 10
PASSES = 2e-3  # seconds, at the least, of one timed call


class Peaks(NamedTuple):
    """Of all threads together: FLOP/s, divisions and roots a second, bytes/s by size held."""

    flops: float
    roots: float
    bandwidth: dict[int, float]

    def or_better(self, other: Peaks) -> Peaks:
        """The higher of each."""
        bandwidth = {s: max(rate, other.bandwidth[s]) for s, rate in self.bandwidth.items()}
        return Peaks(max(self.flops, other.flops), max(self.roots, other.roots), bandwidth)

    def seconds(self, phases: Sequence[Phase]) -> float:
        """The least time of the phases, one after the other."""
        return sum(self.of(phase) for phase in phases)

    def of(self, phase: Phase) -> float:
        """The least time of one: that of what takes longest, all else hidden behind it."""
        size = next((size for size in SIZES if size >= phase.held), SIZES[-1])
        return max(
            phase.flops / self.flops, phase.moved / self.bandwidth[size], phase.roots / self.roots
        )


def measure(threads: int) -> Peaks | None:
    """The peaks of `threads` threads; None where chainrule makes no native code."""
    made = machine()
    if made is None:
        return None
    lanes = made.vector // 4
    many = 3 * made.registers // 4  # accumulators: enough to hide the latency, and all in registers
    fused = compute(lanes, many, "%n{i} = call {t} @llvm.fma.{v}({t} %a{i}, {t} %c, {t} %c)")
    divided = compute(
        lanes, 8, "%d{i} = fdiv {t} %c, %a{i}\n  %n{i} = call {t} @llvm.sqrt.{v}({t} %d{i})"
    )
    bandwidth = dict.fromkeys(SIZES, 0.0)
    for body in (READ, UPDATE):
        function, moved = stream(lanes, body), 1 if body == READ else 2
        for size in SIZES:
            rate = best(threads, streaming(function, size // threads, 32 * lanes))
            bandwidth[size] = max(bandwidth[size], moved * rate * threads)
    for larger, size in zip(SIZES[:0:-1], SIZES[-2::-1]):
        # What holds more holds less as well; a lower rate was a disturbed measurement.
        bandwidth[size] = max(bandwidth[size], bandwidth[larger])
    return Peaks(
        best(threads, computing(fused, 2 * many * lanes)) * threads,
        best(threads, computing(divided, 16 * lanes)) * threads,
        bandwidth,
    )


def best(threads: int, made: Callable[[], tuple[Callable[[int], None], float]]) -> float:
    """The highest rate of `threads` threads that do the same at once, per thread.

    `made` gives a function of how many times to do it, and how much is done each time.
    """
    parts = [made() for _ in range(threads)]
    run, amount = parts[0]
    times = 1
    while (took := timed([partial(run, times)])) < PASSES:
        times = max(2 * times, int(times * PASSES / max(took, 1e-6)))
    calls = [partial(run, times) for run, _ in parts]
    return amount * times / min(timed(calls) for _ in range(REPEATS))


def timed(calls: Sequence[Callable[[], None]]) -> float:
    """Seconds from the first call's start to the last one's end, each on a thread of its own."""
    spans: list[tuple[float, float]] = []
    gate = threading.Barrier(len(calls))

    def one(call: Callable[[], None]) -> None:
        gate.wait()
        began = time.perf_counter()
        call()
        spans.append((began, time.perf_counter()))

    workers = [threading.Thread(target=one, args=(call,)) for call in calls]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    # Threads do not start at the same instant; each has the machine's share while it runs.
    return max(end - start for start, end in spans)


def computing(address: int, amount: float) -> Callable:
    """The `made` of `best` for a loop in registers."""
    function = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_int64)(address)

    def made() -> tuple[Callable[[int], None], float]:
        room = np.ones(64, np.float32)
        return lambda times: function(room.ctypes.data, 1000 * times), 1000.0 * amount

    return made


def streaming(address: int, size: int, step: int) -> Callable:
    """The `made` of `best` for a loop over an array of `size` bytes."""
    function = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_int64, ctypes.c_int64)(address)
    turns = max(1, size // step)

    def made() -> tuple[Callable[[int], None], float]:
        room = np.ones(turns * step // 4 + 64, np.float32)
        start = room.ctypes.data + -room.ctypes.data % 64
        run = lambda times, room=room: function(start, turns, times)  # noqa: E731
        return run, float(turns * step)

    return made


def compute(lanes: int, many: int, body: str) -> int:
    """A loop whose `body` is done `many` times a turn, each on an accumulator of its own."""
    t, v = f"<{lanes} x float>", f"v{lanes}f32"
    acc = range(many)
    phis = [f"%a{i} = phi {t} [ %c, %entry ], [ %n{i}, %loop ]" for i in acc]
    work = [body.format(i=i, t=t, v=v) for i in acc]
    ends = [f"%s{i} = fadd {t} %n{i}, {f'%s{i - 1}' if i else '%c'}" for i in acc]
    lines = [
        f"declare {t} @llvm.fma.{v}({t}, {t}, {t})",
        f"declare {t} @llvm.sqrt.{v}({t})",
        "define void @NAME(ptr %p, i64 %n) #0 {",
        f"entry:\n  %c = load {t}, ptr %p, align 4\n  br label %loop",
        "loop:\n  %k = phi i64 [ 0, %entry ], [ %k1, %loop ]",
        *phis,
        *work,
        "%k1 = add i64 %k, 1\n  %more = icmp slt i64 %k1, %n",
        "br i1 %more, label %loop, label %out\nout:",
        *ends,
        f"store {t} %s{many - 1}, ptr %p, align 4\n  ret void\n}}",
    ]
    return loaded(lines)


READ = "%n{i} = fadd {t} %a{i}, %x{i}"
UPDATE = "%n{i} = fmul {t} %x{i}, %c\n  store {t} %n{i}, ptr %q{i}, align 64"


def stream(lanes: int, body: str) -> int:
    """A loop over %turns runs of eight vectors, %times over."""
    t = f"<{lanes} x float>"
    acc = range(8)
    phis = [f"%a{i} = phi {t} [ %c, %again ], [ %n{i}, %loop ]" for i in acc]
    work = [
        f"%q{i} = getelementptr {t}, ptr %run, i64 {i}\n  %x{i} = load {t}, ptr %q{i}, align 64\n  "
        + body.format(i=i, t=t)
        for i in acc
    ]
    ends = [f"%s{i} = fadd {t} %n{i}, {f'%s{i - 1}' if i else '%c'}" for i in acc]
    lines = [
        "define void @NAME(ptr %p, i64 %turns, i64 %times) #0 {",
        f"entry:\n  %c = load {t}, ptr %p, align 64\n  br label %again",
        "again:\n  %r = phi i64 [ 0, %entry ], [ %r1, %next ]\n  br label %loop",
        "loop:\n  %k = phi i64 [ 0, %again ], [ %k1, %loop ]",
        *phis,
        f"%run0 = mul i64 %k, 8\n  %run = getelementptr {t}, ptr %p, i64 %run0",
        *work,
        "%k1 = add i64 %k, 1\n  %more = icmp slt i64 %k1, %turns",
        "br i1 %more, label %loop, label %next\nnext:",
        *ends,
        # One vector is written, or the sums would be worth nothing and be left out.
        f"store {t} %s7, ptr %p, align 64",
        "%r1 = add i64 %r, 1\n  %rest = icmp slt i64 %r1, %times",
        "br i1 %rest, label %again, label %out\nout:\n  ret void\n}",
    ]
    return loaded(lines)


def loaded(lines: list[str]) -> int:
    """The address of the one function of a text, under a name of its own."""
    text = "\n  ".join(lines) + "\n" + ATTRIBUTES
    name = unique(text)
    return load(text.replace("NAME", name), name)
