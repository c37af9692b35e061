"""Machine code from LLVM text, kept on disk; and the text of how threads share work.

An object is named by its text, the CPU and LLVM's version. `CHAINRULE_CPU` names a lesser CPU.
Read next: `platforms.py`.
"""

from __future__ import annotations

import ctypes
import hashlib
import os
import platform
import re
import struct
import sys
import threading
import warnings
from collections.abc import Sequence
from functools import cache
from itertools import accumulate, pairwise
from typing import Any

from chainrule.compile.cache import fetch, keep, key_of
from chainrule.compile.llvm import ATTRIBUTES
from chainrule.compile.platforms import MACHINES, Machine
from chainrule.core.errors import ArgumentError

BODY = "\n; needs no other function\ndefine internal void "
LARGE = 150_000  # characters of a module from which on it is compiled in parts
GROUPS = 4  # of bodies, compiled beside each other

_lock = threading.Lock()


def _in_child() -> None:
    global _lock
    _lock = threading.Lock()  # its holder, if it had one, stayed in the parent


os.register_at_fork(after_in_child=_in_child)


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
    from concurrent.futures import ThreadPoolExecutor  # slow to import

    with _lock:
        _target()
        key = key_of(target_name(), text)
        if not _recalled(key):
            with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
                codes = list(pool.map(_compiled, parts_of(text)))
            keep(f"{key}.o", _packed(codes))
            _add(key, codes)
    return key


def parts_of(text: str) -> list[str]:
    """A module as several that can be compiled beside each other, if it is large."""
    rest, *bodies = text.split(BODY)
    if len(text) < LARGE:
        return [text]
    declared = [
        line for line in rest.split("\n") if line.startswith("declare") and "@llvm." in line
    ]
    groups: list[list[str]] = [[] for _ in range(GROUPS)]
    for body in sorted(bodies, key=len, reverse=True):
        min(groups, key=lambda group: sum(map(len, group))).append(body)
    heads = [
        "declare void " + re.sub(r" %\w+|( #0 {.*)", "", body.split("\n", 1)[0]) for body in bodies
    ]
    parts = [
        "\n".join([*(f"define void {body}" for body in group), *declared, ATTRIBUTES])
        for group in groups
    ]
    made = unique(text)  # no other module has bodies of these names
    return [part.replace("@body", f"@{made}_") for part in [*parts, "\n".join([rest, *heads])]]


def _compiled(text: str) -> bytes:
    import llvmlite.binding as llvm
    from llvmlite.binding import ffi

    made = machine()
    assert made is not None
    module = llvm.parse_assembly(text, llvm.create_context())  # a context is one thread's
    with ffi.OutputString() as error:
        buffer = _emit()(assembler(made), module, 1, error)
        if not buffer:
            raise RuntimeError(str(error))
    start, size = ffi.lib.LLVMPY_GetBufferStart(buffer), ffi.lib.LLVMPY_GetBufferSize(buffer)
    try:
        return ctypes.string_at(start, size)
    finally:
        ffi.lib.LLVMPY_DisposeMemoryBuffer(buffer)


@cache
def _emit() -> Any:
    """What `TargetMachine.emit_object` calls, without the lock that llvmlite holds meanwhile: LLVM
    needs none where each thread has its own context, module and target machine."""
    from llvmlite.binding import ffi

    locked = ffi.lib.LLVMPY_TargetMachineEmitToMemory
    plain = ctypes.CDLL(ffi.lib._name).LLVMPY_TargetMachineEmitToMemory
    plain.argtypes, plain.restype = locked.argtypes, locked.restype
    return plain


def recall(key: str) -> bool:
    """Whether the object named `key` is loaded now: it was, or is on disk."""
    with _lock:
        return _recalled(key)


def _recalled(key: str) -> bool:
    if key not in _loaded:
        found = fetch(f"{key}.o")
        codes = None if found is None else _unpacked(found)
        if codes is None:
            return False
        _add(key, codes)
    return True


def _packed(codes: Sequence[bytes]) -> bytes:
    """Object files as one: how many, how long each is, then all of them."""
    return struct.pack(f"<{len(codes) + 1}Q", len(codes), *map(len, codes)) + b"".join(codes)


def _unpacked(packed: bytes) -> list[bytes] | None:
    """What `_packed` was given; None where it was given nothing of the kind."""
    try:
        (count,) = struct.unpack_from("<Q", packed)
        sizes = struct.unpack_from(f"<{count}Q", packed, 8)
    except struct.error:
        return None
    ends = list(accumulate(sizes, initial=8 * (count + 1)))
    return [packed[a:b] for a, b in pairwise(ends)] if ends[-1] == len(packed) else None


def _add(key: str, codes: Sequence[bytes]) -> None:
    llvm, _, engine = _target()
    for code in codes:
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
