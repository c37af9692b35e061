"""Machine code from LLVM text, kept on disk; and the text of how threads share work.

Objects are keyed by their text, the CPU and the versions. `CHAINRULE_CPU` names a lesser CPU,
`CHAINRULE_CACHE` the folder. Read next: `threads.py`.
"""

from __future__ import annotations

import hashlib
import os
import threading
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

_lock = threading.Lock()


def _in_child() -> None:
    global _lock
    _lock = threading.Lock()  # its holder, if it had one, stayed in the parent


os.register_at_fork(after_in_child=_in_child)

# How the threads of one run share a kernel's units. Its counters, a cache line each: how many units
# are done, then for each thread how many of its own share are taken. A thread takes from its own
# share first, so that what it wrote last time is near, then from the others': one that is not
# scheduled holds the rest up no longer than the piece it has taken. All wait until all is done.
SHARE = """
define internal void @cr_share(
    ptr %fn, ptr %table, ptr %counters, i64 %units, i64 %tid, i64 %n) #0 {
entry:
  %one = icmp sle i64 %n, 1
  br i1 %one, label %alone, label %owners
alone:
  call void %fn(ptr %table, i64 0, i64 %units)
  ret void
owners:
  %v = phi i64 [ 0, %entry ], [ %v1, %next ]
  %more = icmp slt i64 %v, %n
  br i1 %more, label %owner, label %spin
owner:
  %sum = add i64 %tid, %v
  %who = urem i64 %sum, %n
  %a = mul i64 %who, %units
  %lo = udiv i64 %a, %n
  %b = add i64 %a, %units
  %hi = udiv i64 %b, %n
  %size = sub i64 %hi, %lo
  %up = add i64 %size, 7
  %chunk = lshr i64 %up, 3
  %place = add i64 %who, 1
  %at = shl i64 %place, 6
  %counter = getelementptr i8, ptr %counters, i64 %at
  br label %claim
claim:
  %taken = atomicrmw add ptr %counter, i64 %chunk monotonic
  %left = icmp slt i64 %taken, %size
  br i1 %left, label %work, label %next
work:
  %from = add i64 %lo, %taken
  %end = add i64 %from, %chunk
  %over = icmp sgt i64 %end, %hi
  %to = select i1 %over, i64 %hi, i64 %end
  call void %fn(ptr %table, i64 %from, i64 %to)
  %length = sub i64 %to, %from
  %before = atomicrmw add ptr %counters, i64 %length acq_rel
  br label %claim
next:
  %v1 = add i64 %v, 1
  br label %owners
spin:
  %i = phi i32 [ 0, %owners ], [ %j, %again ]
  %done = load atomic i64, ptr %counters acquire, align 8
  %whole = icmp sge i64 %done, %units
  br i1 %whole, label %out, label %wait
wait:
  %long = icmp sgt i32 %i, 2000
  br i1 %long, label %yield, label %pause
pause:
  call void @llvm.x86.sse2.pause()
  br label %again
yield:
  %ignored = call i32 @sched_yield()
  br label %again
again:
  %j = add i32 %i, 1
  br label %spin
out:
  ret void
}
declare i32 @sched_yield()
declare void @llvm.x86.sse2.pause()
declare void @llvm.x86.sse.stmxcsr(ptr)
declare void @llvm.x86.sse.ldmxcsr(ptr)
"""


class Machine(NamedTuple):
    """What code is made for."""

    cpu: str
    features: str
    vector: int  # bytes
    registers: int


@cache
def machine() -> Machine | None:
    """This machine's vectors; None where native code is not made (the NumPy executor runs)."""
    import platform
    import sys

    if os.environ.get("CHAINRULE_EXECUTOR") == "numpy":
        return None
    if platform.machine() != "x86_64" or sys.platform != "linux":
        return None
    try:
        import llvmlite.binding as llvm
    except ImportError:
        return None
    wanted = os.environ.get("CHAINRULE_CPU")
    features = llvm.get_host_cpu_features()
    if not features.get("fma") or not features.get("avx2"):
        return None
    wide = features.get("avx512f", False) and not wanted
    text = "" if wanted else features.flatten()
    cpu = wanted or llvm.get_host_cpu_name()
    return Machine(cpu, text, 64 if wide else 32, 32 if wide else 16)


@cache
def _target() -> Any:
    import llvmlite.binding as llvm

    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    made = machine()
    assert made is not None
    target = llvm.Target.from_default_triple().create_target_machine(
        cpu=made.cpu, features=made.features, opt=2, reloc="pic", codemodel="default"
    )
    engine = llvm.create_mcjit_compiler(llvm.parse_assembly(""), target)
    engine.finalize_object()  # the empty base module, or later objects do not resolve
    return llvm, target, engine


def cache_folder() -> Path:
    """Where objects are kept."""
    given = os.environ.get("CHAINRULE_CACHE")
    return Path(given) if given else Path.home() / ".cache" / "chainrule" / "objects"


def _object(text: str) -> bytes:
    """The object of `text`, from disk when its name and checksum are right there."""
    llvm, target, _ = _target()
    about = f"{machine()}{llvm.llvm_version_info}{np.__version__}{text}"
    path = cache_folder() / (hashlib.sha256(about.encode()).hexdigest()[:40] + ".o")
    try:
        stored = path.read_bytes()
        if hashlib.sha256(stored[32:]).digest() == stored[:32]:
            return stored[32:]
    except OSError:
        pass
    module = llvm.parse_assembly(text)
    made = target.emit_object(module)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_suffix(f".{os.getpid()}.{threading.get_ident()}")
        partial.write_bytes(hashlib.sha256(made).digest() + made)
        os.replace(partial, path)
    except OSError:
        pass  # a folder that cannot be written costs time, not correctness
    return made


def load(text: str, name: str) -> int:
    """The address of function `name` of an LLVM module; it stays loaded."""
    with _lock:
        llvm, _, engine = _target()
        engine.add_object_file(llvm.ObjectFileRef.from_data(_object(text)))
        engine.finalize_object()
        address = engine.get_function_address(name)
    assert address, name
    return address


def unique(text: str) -> str:
    """A symbol name no other text has."""
    return "cr_" + hashlib.sha256(text.encode()).hexdigest()[:24]
