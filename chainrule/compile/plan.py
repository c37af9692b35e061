"""A program as plain data: all it takes to run it, without the graph that it was made of.

`draft.py` makes a plan of a graph, `program.py` runs it. On disk it is JSON: numbers, and names
of ops, dtypes and compiled objects. Read next: `draft.py`.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from chainrule.compile import cache
from chainrule.compile.runtime import recall
from chainrule.core.op import OPS, Op, Shape
from chainrule.core.view import View


class Buffer(NamedTuple):
    """An array: its slot in the table of addresses (0 is the arena), and the byte offset there."""

    slot: int
    offset: int
    shape: Shape
    dtype: np.dtype

    @property
    def bytes(self) -> int:
        """What it takes up."""
        return math.prod(self.shape) * self.dtype.itemsize

    def of(self, memory: Sequence[np.ndarray]) -> np.ndarray:
        """The array, where `memory` has that of each slot and first the arena."""
        whole = memory[self.slot]
        if self.slot:
            return whole
        part = whole[self.offset : self.offset + self.bytes]
        return part.view(self.dtype).reshape(self.shape)


class Read(NamedTuple):
    """What is read of a buffer: a view of it, or all of it as it is."""

    buffer: Buffer
    view: View | None

    def of(self, memory: Sequence[np.ndarray]) -> np.ndarray:
        """The array, without a copy."""
        array, view = self.buffer.of(memory), self.view
        if view is None:
            return array
        flat = array.reshape(-1)[view.offset :]
        steps = [s * array.itemsize for s in view.strides]
        return np.lib.stride_tricks.as_strided(flat, view.shape, steps)


class Constant(NamedTuple):
    """A buffer that a leaf op fills once."""

    buffer: Buffer
    op: Op
    attrs: dict[str, Any]

    def array(self) -> np.ndarray:
        """Its elements in order."""
        return np.array(self.op.ref(**self.attrs), order="C")


class Result(NamedTuple):
    """A buffer that the caller gets: new memory, or that of input number `donor`."""

    buffer: Buffer
    donor: int | None


class Ids(NamedTuple):
    """Ids that machine code has checked to lie in 0..extent-1 before it reads by them."""

    read: Read
    extent: int


class Code(NamedTuple):
    """A run of kernels, compiled: a function of the compiled object named `key`."""

    key: str
    function: str
    threads: int
    counters: int


class Host(NamedTuple):
    """A node that NumPy computes; of a control node's bundle, the tensors numbered `parts`."""

    op: Op
    attrs: dict[str, Any]
    reads: tuple[Read, ...]
    writes: tuple[Buffer, ...]
    parts: tuple[int, ...]


class ProgramPlan(NamedTuple):
    """Buffers, what fills them, and what runs over them."""

    slots: int
    arena: int  # bytes
    inputs: tuple[Buffer, ...]
    constants: tuple[Constant, ...]
    results: tuple[Result, ...]
    outputs: tuple[Read, ...]
    checks: tuple[Ids, ...]
    segments: tuple[Code | Host, ...]

    @property
    def made(self) -> list[bool]:
        """Which outputs are buffers of their own, that kernels write."""
        results = {result.buffer for result in self.results}
        return [read.view is None and read.buffer in results for read in self.outputs]


KINDS = (Buffer, Read, View, Constant, Result, Ids, Code, Host, ProgramPlan)
MAKERS: dict[str, Callable] = {
    "tuple": lambda *parts: parts,
    "dtype": np.dtype,
    "op": OPS.__getitem__,
    **{kind.__name__: kind for kind in KINDS},
}


def keep_plan(key: str, plan: ProgramPlan) -> None:
    """Keep `plan` on disk."""
    cache.keep(f"{key}.plan", json.dumps(_written(plan)).encode())


def kept_plan(key: str) -> ProgramPlan | None:
    """The plan kept under `key`, its objects loaded; None where any of this is missing."""
    stored = cache.fetch(f"{key}.plan")
    try:
        plan = stored and _read(json.loads(stored))
    except (ValueError, TypeError, LookupError):
        return None
    if not isinstance(plan, ProgramPlan):
        return None
    whole = all(recall(s.key) for s in plan.segments if isinstance(s, Code))
    return plan if whole else None


def _written(value: Any) -> Any:
    """`value` in JSON's terms: a list of a maker's name and what it makes the value from."""
    if isinstance(value, tuple):
        return [type(value).__name__, *map(_written, value)]
    if isinstance(value, dict):
        return {name: _written(part) for name, part in value.items()}
    if isinstance(value, np.dtype | Op):
        return ["op" if isinstance(value, Op) else "dtype", value.name]
    return value


def _read(stored: Any) -> Any:
    """The value that `_written` was given; some error where it was given none."""
    if isinstance(stored, dict):
        return {name: _read(part) for name, part in stored.items()}
    if isinstance(stored, list):
        maker, *parts = stored
        return MAKERS[maker](*map(_read, parts))
    return stored
