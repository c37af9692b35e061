"""Machine code from LLVM text, kept on disk; and the text all programs share: the barrier.

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

BARRIER = """
define internal void @cr_barrier(ptr %sync, i64 %n) #0 {
entry:
  %one = icmp sle i64 %n, 1
  br i1 %one, label %out, label %arrive
arrive:
  %generation = getelementptr i32, ptr %sync, i64 48
  %count = getelementptr i32, ptr %sync, i64 32
  %now = load atomic i32, ptr %generation acquire, align 4
  %before = atomicrmw add ptr %count, i32 1 acq_rel
  %wide = sext i32 %before to i64
  %rest = sub i64 %n, 1
  %last = icmp eq i64 %wide, %rest
  br i1 %last, label %open, label %spin
open:
  store atomic i32 0, ptr %count monotonic, align 4
  %next = add i32 %now, 1
  store atomic i32 %next, ptr %generation release, align 4
  ret void
spin:
  %i = phi i32 [ 0, %arrive ], [ %more, %again ]
  %seen = load atomic i32, ptr %generation acquire, align 4
  %same = icmp eq i32 %seen, %now
  br i1 %same, label %wait, label %out
wait:
  %long = icmp sgt i32 %i, 4000
  br i1 %long, label %yield, label %pause
pause:
  call void @llvm.x86.sse2.pause()
  br label %again
yield:
  %ignored = call i32 @sched_yield()
  br label %again
again:
  %more = add i32 %i, 1
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
