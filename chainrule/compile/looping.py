"""`Looping`: a compiled step taken many times in one native call, as a training loop takes it.

What one turn gives is what the next begins with; ids, keys and the like advance by themselves.
Read next: `turns.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import zip_longest
from typing import Any, NamedTuple

import numpy as np

from chainrule.compile import threads
from chainrule.compile.counts import Along
from chainrule.compile.jit import MADE, Entry, Jitted, array_of, give_away
from chainrule.compile.plan import ProgramPlan, Read
from chainrule.compile.program import Program, owned
from chainrule.compile.repeat import settled
from chainrule.compile.share import HALTED
from chainrule.compile.sized import Counting, of_examples
from chainrule.compile.turns import Turns, alone, as_read
from chainrule.core.errors import ChainruleError
from chainrule.core.graph import Graph
from chainrule.core.node import Node
from chainrule.core.tensor import Tensor
from chainrule.core.tree import Structure, flatten, tree_map, unflatten


class Taken(NamedTuple):
    """What came of some turns: the carry after them, the rest of each, and how many were done.

    Arrays in `rest` have a slice for each turn that was done. `error` is what kept the next turn
    from being taken; all is then as before that one.
    """

    carry: tuple
    rest: tuple
    done: int
    error: BaseException | None


class Looping:
    """`fn(*args)` gives the new values of the arguments `carry`, whether to go on, and the rest.

    Of the arguments `along` a turn gets its slice along a first axis that the call's have more.
    Of the arguments `tables` it reads rows, by ids that must lie within, and one program serves
    tables of many lengths. The carry is given away, as `jit` says of `donate`. A turn that says
    not to go on is the last. The first of `along` may hold fewer ids for each turn than a call's
    `capacity`: one program then serves any number up to it, where `counts.py` knows how.

    >>> def step(total, x):
    ...     return total + x, total + x < 5.0, x * x
    >>> turns = Looping(step, carry=("total",), along=("x",))
    >>> turns(Tensor(np.float32(0)), np.float32([1, 2, 3, 4])).rest
    (array([1., 4., 9.], dtype=float32),)
    """

    def __init__(
        self, fn: Callable, carry: Sequence[str], along: Sequence[str], tables: Sequence[str] = ()
    ):
        self.turn = Turn(fn, tuple(carry), ())
        self.carry, self.along, self.tables = tuple(carry), tuple(along), tuple(tables)

    def __call__(self, *args: Any, capacity: int = 0) -> Taken:
        """All turns, as many as the arguments `along` have slices."""
        named = dict(zip(self.turn.names, args, strict=True))
        ids = self.along[0]
        count = len(named[ids][0]) if capacity else 0
        found = self._counted(named, capacity) if capacity else None
        if found is None:
            found_axes: list[Along | None] = []
            entry = self.turn.entry(self._shown(named))
        else:
            entry, found_axes = found
            named[ids] = _filled(named[ids], capacity)
        leaves: list = []
        names: list[str] = []
        for name in sorted(named):
            own = flatten(named[name])[0]
            leaves += own
            names += [name] * len(own)
        carried = [i for name in self.carry for i, of in enumerate(names) if of == name]
        advance = [name in self.along for name in names]
        if found is not None:
            leaves.append(np.full(len(named[ids]), count, np.int64))
            advance.append(True)
        call = Call(entry, leaves, advance, carried)
        with threads.lock:
            carry, rest, done, error = call.native(self.turn) or call.one_by_one(self.turn)
        give_away(leaves, entry.donated)
        axes = found_axes[len(carry) : len(carry) + len(rest)]
        rest = [of_examples(*row, count, 1) for row in zip_longest(rest, axes)]
        parts, split = entry.outputs.children, len(self.carry)
        first, last = (Structure(tuple, None, each) for each in (parts[:split], parts[split:]))
        return Taken(unflatten(first, carry), unflatten(last, rest)[1:], done, error)

    def _counted(self, named: dict, capacity: int) -> tuple[Entry, list] | None:
        """The program for up to `capacity` ids, and which axes of what it gives run over them."""
        ids = self.along[0]
        shown = []
        for size in (capacity, capacity // 2 + 1):
            blank = np.broadcast_to(named[ids][:1, :1], (1, size))
            shown.append(self._shown({**named, ids: blank}))
        return self.turn.counted(shown, (capacity, capacity // 2 + 1))

    def _shown(self, named: dict) -> dict:
        """What stands for the arguments when a turn is compiled."""
        shown = dict(named)
        for name in self.along:
            shown[name] = tree_map(lambda leaf: leaf[0], named[name])
        for name in self.tables:
            shown[name] = tree_map(_roomy, named[name])
        return shown


def _filled(ids: np.ndarray, capacity: int) -> np.ndarray:
    """`ids` with as many for each turn as there is room for: the first one again."""
    more = capacity - ids.shape[1]
    return np.concatenate([ids, np.repeat(ids[:, :1], more, axis=1)], axis=1) if more else ids


def _roomy(table: np.ndarray) -> np.ndarray:
    """An array that stands for any with up to the next power of two of rows."""
    rows = 1 << (len(table) - 1).bit_length()
    return np.broadcast_to(np.zeros((), table.dtype), (rows, *table.shape[1:]))


UNWRITTEN = ("leaf", "movement")  # kinds that no kernel computes


class Turn(Counting):
    """A step whose every result has a place of its own that its kernels write."""

    def program(self, graph: Graph, donated: Sequence[bool]) -> Program:
        """What runs a recorded graph."""
        stays = {node for node, given in zip(graph.inputs, donated, strict=True) if given}
        seen: set[Node] = set()
        written = []
        for node in graph.outputs:
            apart = node in stays or node.op.kind not in UNWRITTEN
            written.append(apart and node not in seen)
            seen.add(node)
        return Program(graph if all(written) else settled(graph, written), donated)


Found = tuple[list, list, int, BaseException | None]


class Call:
    """The turns of one call: its argument leaves, which advance, and which are carried."""

    def __init__(self, entry: Entry, leaves: list, along: list[bool], carried: list[int]):
        self.entry, self.leaves, self.along, self.carried = entry, leaves, along, carried
        self.length = next(len(x) for x, moves in zip(leaves, along, strict=True) if moves)

    def one_by_one(self, step: Jitted) -> Found:
        """(carry, rest, how many were done, the error that stopped them), each turn a call."""
        leaves = list(self.leaves)
        rests: list[list[np.ndarray]] = []
        error = None
        for turn in range(self.length):
            try:
                made = flatten(step.run(self.entry, self._given(leaves, turn)))[0]
            except (ChainruleError, KeyboardInterrupt) as raised:
                error = raised
                break
            for position, value in zip(self.carried, made, strict=False):
                leaves[position] = value
            rests.append([np.asarray(part) for part in made[len(self.carried) :]])
            if not rests[-1][0]:
                break
        carry = [Tensor.of(array_of(leaves[position]), None, None) for position in self.carried]
        columns = zip(*rests, strict=True) if rests else self.entry.ends[len(carry) :]
        return (
            carry,
            [np.stack(each) if rests else np.empty(0) for each in columns],
            len(rests),
            error,
        )

    def _given(self, leaves: list, turn: int) -> list:
        pairs = zip(leaves, self.along, strict=True)
        return [leaf[turn] if moves else leaf for leaf, moves in pairs]

    def native(self, step: Jitted) -> Found | None:
        """The same in one native call; None where the program is not made for it."""
        entry = self.entry
        native = entry.program.native
        pairs = self._pairs()
        if (
            native is None
            or not alone(native)
            or not self.length
            or not self._fits(native.plan, pairs)
        ):
            return None
        turns, ends = Turns(native, self.length), list[tuple[np.ndarray, ...]]()
        arrays = [array_of(self.leaves[s] if isinstance(s, int) else s) for s in entry.sources]
        for i, (source, buffer) in enumerate(zip(entry.sources, native.plan.inputs, strict=True)):
            array = as_read(arrays[i], buffer)
            if isinstance(source, int) and self.along[source]:
                turns.move(buffer, array)
            elif i not in pairs.values():
                turns.stay(buffer, array)
        for output, own in pairs.items():
            ends.append(_carry(turns, native.plan, output, own, arrays))
        carries, states = len(self.carried), len(entry.states)
        buffers = [read.buffer for read in native.plan.outputs]
        rest = [turns.stacked(buffer) for buffer in buffers[carries : len(buffers) - states]]
        done = turns.run(buffers[carries])
        now = [end[done % len(end)] for end in ends]
        for state, array in zip(entry.states, now[carries:], strict=True):
            (self.leaves[state] if isinstance(state, int) else state)._put(array)
        carry = [Tensor.of(array, None, None) for array in now[:carries]]
        error: BaseException | None = None
        if number := native.faulted():
            error = KeyboardInterrupt() if number == HALTED else self._error(step, carry, done)
        return carry, [stack[:done] for stack in rest], done, error

    def _pairs(self) -> dict[int, int | None]:
        """For each output that the next turn reads, the number of the input that it is there."""
        entry, sources = self.entry, {}
        for i, source in enumerate(entry.sources):
            sources[source if isinstance(source, int) else id(source)] = i
        pairs = {j: sources.get(position) for j, position in enumerate(self.carried)}
        first = len(entry.ends)
        for j, state in enumerate(entry.states, start=first):
            pairs[j] = sources.get(state if isinstance(state, int) else id(state))
        return pairs

    def _fits(self, plan: ProgramPlan, pairs: dict[int, int | None]) -> bool:
        """Whether every output has a place of its own, a carry that of its input or a new one."""
        donors = {result.buffer: result.donor for result in plan.results}
        for j, (read, made) in enumerate(zip(plan.outputs, plan.made, strict=True)):
            own = pairs.get(j)
            if made and donors[read.buffer] not in (None, own):
                return False
            if not made and not _unchanged(plan, j, own):
                return False
        distinct = len({read.buffer for read in plan.outputs}) == len(plan.outputs)
        return distinct and all(end is MADE for end in self.entry.ends)

    def _error(self, step: Jitted, carry: list, turn: int) -> BaseException:
        """What keeps `turn` from being taken, as it says it when it is taken alone."""
        leaves = list(self.leaves)
        for position, value in zip(self.carried, carry, strict=True):
            leaves[position] = value
        try:
            step.run(self.entry, self._given(leaves, turn))
        except ChainruleError as error:
            return error
        raise AssertionError("a turn that was stopped went through when taken again")


def _unchanged(plan: ProgramPlan, output: int, own: int | None) -> bool:
    return own is not None and plan.outputs[output] == Read(plan.inputs[own], None)


def _carry(
    turns: Turns, plan: ProgramPlan, output: int, own: int | None, arrays: list[np.ndarray]
) -> tuple[np.ndarray, ...]:
    """Lay out what a turn reads and the next is given: where it is after an even number of turns,
    and after an odd one if that is another place."""
    new = plan.outputs[output].buffer
    if own is None:  # written only
        array = np.empty(new.shape, new.dtype)
        turns.stay(new, array)
        return (array,)
    old = plan.inputs[own]
    donor = next((r.donor for r in plan.results if r.buffer == new), own)
    if donor is None:
        return turns.alternate(old, new, arrays[own])
    array = arrays[own] if old == new else owned(arrays, own, new.dtype)
    turns.stay(old, array)
    turns.stay(new, array)
    return (array,)
