"""`chainrule checks`: what works on this machine, tried rather than assumed.

A check is one function under `@check(title)`; it gives what it found, raises Lacking for what is
optional or another machine's, and any other error is a failure. Read next: `chainrule/data`.
"""

from __future__ import annotations

import os
import platform
import sys
import tempfile
import time
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
import typer
from rich.text import Text

from chainrule.cli.terminal import FINDINGS, AsJson, columns, show, show_json, tell
from chainrule.compile import cache, runtime
from chainrule.compile.jit import jit
from chainrule.compile.threads import thread_count
from chainrule.data import registry
from chainrule.grad.reverse import value_and_grad
from chainrule.ops.elementwise import relu
from chainrule.ops.reduce import mean

STYLES = {"ok": "green", "lacking": "yellow", "failed": "bold red"}
TOLERANCE = 1e-4  # relative: float32 sums of 64 products in another order differ by about 1e-6
CHECKS: dict[str, Callable[[], str]] = {}


class Lacking(Exception):
    """Not there, and chainrule works without it."""


def check(title: str) -> Callable[[Callable[[], str]], Callable[[], str]]:
    """Register a check under its title."""

    def register(function: Callable[[], str]) -> Callable[[], str]:
        CHECKS[title] = function
        return function

    return register


def checks(as_json: bool = AsJson) -> None:
    """Say what works on this machine; exit code 1 when something that must work does not."""
    found = []
    for title, function in CHECKS.items():
        status, detail = outcome(function)
        found.append({"check": title, "status": status, "detail": detail})
    failed = [row["check"] for row in found if row["status"] == "failed"]
    if as_json:
        show_json({"ok": not failed, "checks": found})
    else:
        table = columns("check", "", "found")
        for row in found:
            mark = Text(row["status"], style=STYLES[row["status"]])
            table.add_row(row["check"], mark, row["detail"])
        show(table)
    if failed:
        tell(f"{len(failed)} of {len(found)} checks failed: {', '.join(failed)}")
        raise typer.Exit(FINDINGS)


def outcome(function: Callable[[], str]) -> tuple[str, str]:
    """("ok", "lacking" or "failed", what was found); no error gets out, it is the finding."""
    try:
        return "ok", function()
    except Lacking as absence:
        return "lacking", str(absence)
    except Exception as error:
        first = (str(error) or "no message").splitlines()[0]
        return "failed", f"{type(error).__name__}: {first}"


@check("Python")
def check_python() -> str:
    """The interpreter and the platform."""
    free_threaded = not getattr(sys, "_is_gil_enabled", lambda: True)()
    if sys.version_info < (3, 11) or free_threaded:
        raise RuntimeError(f"needed: 3.11 or later with the GIL, got {sys.version.split()[0]}")
    return f"{platform.python_version()} on {platform.system()} {platform.machine()}"


@check("NumPy")
def check_numpy() -> str:
    """The version; that it is imported at all is the check."""
    return np.__version__


@check("LLVM")
def check_llvm() -> str:
    """llvmlite and the LLVM in it."""
    try:
        import llvmlite.binding as llvm
    except ImportError as error:
        raise Lacking(f"{error}; NumPy computes everything; pip install llvmlite") from None
    number = ".".join(map(str, llvm.llvm_version_info))
    return f"llvmlite {version('llvmlite')} with LLVM {number}"


@check("CPU")
def check_cpu() -> str:
    """The machine that native code is made for."""
    machine = runtime.machine()
    if machine is None:
        if os.environ.get("CHAINRULE_EXECUTOR") == "numpy":
            raise Lacking("native code is switched off by CHAINRULE_EXECUTOR=numpy")
        raise Lacking("no native code for this CPU and system: NumPy computes everything")
    return f"{machine.cpu}: vectors of {8 * machine.vector} bits, {machine.registers} registers"


@check("threads")
def check_threads() -> str:
    """How many a step may use."""
    if runtime.machine() is None:
        raise Lacking("not used where NumPy computes")
    given = os.environ.get("CHAINRULE_THREADS")
    return f"{thread_count()}" + (" (set by CHAINRULE_THREADS)" if given else "")


@check("native step")
def check_native_step() -> str:
    """One training step of a small net, compiled and run, against the same step in NumPy."""
    compiled = jit(small_step)
    given = small_arrays()
    began = time.perf_counter()
    native = numbers(compiled(*given))
    seconds = time.perf_counter() - began
    eager = numbers(small_step(*given))
    gaps = [float(np.abs(a - b).max() / np.abs(b).max()) for a, b in zip(native, eager)]
    if not max(gaps) <= TOLERANCE:
        raise RuntimeError(f"differs from NumPy by {max(gaps):.1e}, at most {TOLERANCE:g} needed")
    (entry,) = compiled.entries.values()
    if entry.program.native is None:
        raise Lacking("run by NumPy: no native code is made here")
    return f"agrees with NumPy to {max(gaps):.0e}; ready and run in {1e3 * seconds:.0f} ms"


def small_step(w: Any, v: Any, x: Any, y: Any) -> Any:
    """Loss and gradients of a net with one hidden layer, and its weights after one step."""

    def loss(w: Any, v: Any) -> Any:
        error = relu(x @ w) @ v - y
        return mean(error * error)

    value, (to_w, to_v) = value_and_grad(loss, argnums=(0, 1))(w, v)
    return value, w - to_w * 0.1, v - to_v * 0.1


def small_arrays() -> list[np.ndarray]:
    """The weights and a batch for `small_step`."""
    rng = np.random.default_rng(0)
    shapes = ((64, 48), (48, 10), (32, 64), (32, 10))
    return [rng.standard_normal(shape).astype(np.float32) for shape in shapes]


def numbers(tree: Any) -> list[np.ndarray]:
    """The arrays of a tuple of tensors."""
    return [np.asarray(tensor) for tensor in tree]


@check("code cache")
def check_code_cache() -> str:
    """Whether compiled code is kept for the next time."""
    folder = cache.cache_folder()
    if not writable(folder):
        raise Lacking(f"{folder} cannot be written: every start compiles anew; set CHAINRULE_CACHE")
    return f"{folder}, {cache.usage().files} files"


@check("data folder")
def check_data_folder() -> str:
    """Whether data sets can be fetched to it."""
    folder = registry.cache_folder()
    if not writable(folder):
        raise Lacking(f"{folder} cannot be written: only digits can be used; set CHAINRULE_DATA")
    return str(folder)


def writable(folder: Path) -> bool:
    """Whether a file can be made in the folder, or in the nearest one above that exists."""
    place = next(each for each in (folder, *folder.parents) if each.exists())
    try:
        with tempfile.TemporaryFile(dir=place):
            return True
    except OSError:
        return False


@check("data sets")
def check_data_sets() -> str:
    """Which are on this machine; the shipped one must be."""
    here = [each.name for each in registry.datasets() if registry.is_cached(each.name)]
    registry.get("digits")
    rest = [each.name for each in registry.datasets() if each.name not in here]
    return ", ".join(here) + (f"; to fetch: {', '.join(rest)}" if rest else "")


@check("Matplotlib")
def check_matplotlib() -> str:
    """Needed for curve.png and for reading .png only."""
    try:
        return version("matplotlib")
    except PackageNotFoundError:
        raise Lacking("runs get curve.txt; pip install 'chainrule[plot]' for curve.png") from None
