"""Machine code from LLVM text, kept on disk; and the text of how threads share work.

An object is named by its text, the CPU and LLVM's version. `CHAINRULE_CPU` names a lesser CPU.
Read next: `platforms.py`.
"""

from __future__ import annotations

import hashlib
import os
import platform
import sys
import threading
import warnings
from functools import cache
from typing import Any

from chainrule.compile.cache import fetch, keep, key_of
from chainrule.compile.platforms import MACHINES, Machine
from chainrule.core.errors import ArgumentError

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
  call void @cr_pause()
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
"""


@cache
def machine() -> Machine | None:
    """The processor that code is made for; None where none is made and NumPy computes instead.

    `CHAINRULE_CPU` names a lesser one of `MACHINES`; ArgumentError where this one is none such.
    """
    if os.environ.get("CHAINRULE_EXECUTOR") == "numpy":
        return None
    try:
        import llvmlite.binding as llvm
    except ImportError:
        _tell("llvmlite cannot be imported")
        return None
    found = llvm.get_host_cpu_features()
    here = [
        made
        for made in MACHINES
        if (sys.platform, platform.machine()) == ("linux", made.system.processor)
        and all(found.get(feature) for feature in made.needs)
    ]
    if not here:
        _tell(f"none is made for {llvm.get_host_cpu_name()} with {platform.system()}")
        return None
    wanted = os.environ.get("CHAINRULE_CPU")
    if not wanted:
        return here[0]._replace(cpu=llvm.get_host_cpu_name(), features=found.flatten())
    for made in here:
        if made.cpu == wanted:
            return made
    names = ", ".join(made.cpu for made in here)
    raise ArgumentError(f"CHAINRULE_CPU may be {names} on this machine, got {wanted!r}")


def _tell(why: str) -> None:
    warnings.warn(f"no native code, so NumPy computes everything: {why}", stacklevel=3)


def assembler(made: Machine) -> Any:
    """LLVM's target machine for a processor, which need not be the one at hand."""
    import llvmlite.binding as llvm

    triple = f"{made.system.processor}-unknown-linux-gnu"
    return llvm.Target.from_triple(triple).create_target_machine(
        cpu=made.cpu, features=made.features, opt=2, reloc="pic", codemodel="default"
    )


@cache
def _target() -> Any:
    import llvmlite.binding as llvm

    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    made = machine()
    assert made is not None
    target = assembler(made)
    engine = llvm.create_mcjit_compiler(llvm.parse_assembly(""), target)
    engine.finalize_object()  # the empty base module, or later objects do not resolve
    return llvm, target, engine


@cache
def target_name() -> str:
    """What compiled code depends on besides its text."""
    llvm, _, _ = _target()
    return f"{machine()} LLVM {llvm.llvm_version_info}"


_loaded: set[str] = set()  # keys of objects


def build(text: str) -> str:
    """Compile and load an LLVM module, unless it is there already; the key of its object."""
    with _lock:
        llvm, target, _ = _target()
        key = key_of(target_name(), text)
        if not _recalled(key):
            code = target.emit_object(llvm.parse_assembly(text))
            keep(f"{key}.o", code)
            _add(key, code)
    return key


def recall(key: str) -> bool:
    """Whether the object named `key` is loaded now: it was, or is on disk."""
    with _lock:
        return _recalled(key)


def _recalled(key: str) -> bool:
    if key not in _loaded:
        code = fetch(f"{key}.o")
        if code is None:
            return False
        _add(key, code)
    return True


def _add(key: str, code: bytes) -> None:
    llvm, _, engine = _target()
    engine.add_object_file(llvm.ObjectFileRef.from_data(code))
    engine.finalize_object()
    _loaded.add(key)


def address(name: str) -> int:
    """Where function `name` of a loaded object is."""
    with _lock:
        _, _, engine = _target()
        found = engine.get_function_address(name)
    assert found, name
    return found


def load(text: str, name: str) -> int:
    """The address of function `name` of an LLVM module; it stays loaded."""
    build(text)
    return address(name)


def unique(text: str) -> str:
    """A symbol name no other text has."""
    return "cr_" + hashlib.sha256(text.encode()).hexdigest()[:24]
