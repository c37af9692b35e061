"""`jit`: record a function once per signature, compile it, run it from then on.

The signature is the tree of the arguments, shapes, dtypes and static values. Python floats are
traced as weak scalars; ints, bools, strings and None are static. Arrays and Tensors that the
function captures become inputs, read anew at each call.
"""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Callable, Sequence
from functools import cache, update_wrapper
from types import CodeType, FunctionType
from typing import Any, NamedTuple

import numpy as np

from chainrule.compile.program import Program
from chainrule.core.errors import PACKAGE, ArgumentError, UnknownNameError
from chainrule.core.graph import Graph
from chainrule.core.recording import Recording, current, written
from chainrule.core.tensor import State, Tensor, weak_tensor
from chainrule.core.tree import Structure, builder, flatten, reader, unflatten
from chainrule.grad.custom import inlined
from chainrule.ops.elementwise import strong

MADE = object()  # an output leaf that the program computes
STATIC = (bool, int, str, bytes, type(None))


class Entry(NamedTuple):
    """What one signature compiled to."""

    program: Program
    sources: list  # per program input: position of an argument leaf, or the captured tensor
    states: list  # per renewed state: position of an argument leaf, or the captured State
    outputs: Structure
    build: Callable  # the result from the output leaves
    ends: list  # per output leaf: MADE, or what it is: a State by its source, or no tensor
    donated: list[int]  # argument leaves whose memory the program may use


class Jitted:
    """A compiled function; see `jit`."""

    def __init__(self, fn: Callable, donate: Sequence[str], static: Sequence[str]):
        self.fn = fn
        self.signature = inspect.signature(fn)
        for name in (*donate, *static):
            if name not in self.signature.parameters:
                raise UnknownNameError("argument", name, self.signature.parameters)
        self.donate, self.static = frozenset(donate), frozenset(static)
        kinds = {part.kind for part in self.signature.parameters.values()}
        plain = kinds <= {inspect.Parameter.POSITIONAL_OR_KEYWORD}
        self.names = tuple(self.signature.parameters) if plain else ()
        self.reading = Reading(fn)
        self.entries: dict[Any, Entry] = {}
        self.seen: set = set()
        self.known: dict[Structure, Callable[[Any, list], bool]] = {}
        update_wrapper(self, fn)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if current() is not None:
            return self.fn(*args, **kwargs)
        named = self._by_name(args, kwargs) if self.named or kwargs else None
        leaves, structure, fixed = self._open(args, named)
        return self.run(self._entry(leaves, structure, fixed, named), leaves)

    def entry(self, named: dict[str, Any]) -> Entry:
        """What these arguments, by their names, are compiled to."""
        leaves, structure, fixed = self._open((), named)
        return self._entry(leaves, structure, fixed, named)

    def _entry(self, leaves: list, structure: Structure, fixed: tuple, named: Any) -> Entry:
        shapes = tuple([kind_of(x, leaves) for x in leaves])
        key = (id(structure), shapes, fixed)  # of an object of `known`, so that it stays
        captured = self.reading.now()
        entry = self.entries.get((key, captured))
        if entry is None:
            if key in self.seen:
                warnings.warn(
                    f"{self.fn.__name__} is recorded again: what it captures is another number or "
                    "another tensor now; pass it as an argument to avoid this",
                    stacklevel=2,
                )
            entry = self.entries[key, captured] = self._record(leaves, structure, named)
            self.seen.add(key)
        return entry

    def _by_name(self, args: tuple, kwargs: dict) -> dict[str, Any]:
        """The arguments by name; TypeError, as Python has it, when they do not fit."""
        if not kwargs and len(args) == len(self.names):
            return dict(zip(self.names, args, strict=True))
        return self.signature.bind(*args, **kwargs).arguments

    @property
    def named(self) -> bool:
        """Whether arguments must be known by name."""
        return bool(self.donate or self.static)

    def _open(self, args: tuple, named: Any) -> tuple[list, Structure, tuple]:
        if named is None:
            return *self._flat(args), ()
        fixed = tuple((name, _exact(named[name])) for name in sorted(self.static & named.keys()))
        moving = {name: value for name, value in named.items() if name not in self.static}
        leaves, structure = self._flat(moving)
        try:
            hash(fixed)
        except TypeError:
            unfit = {name: named[name] for name in sorted(self.static & named.keys())}
            raise ArgumentError(f"static arguments must be hashable, got {unfit}") from None
        return leaves, structure, fixed

    def _flat(self, tree: Any) -> tuple[list, Structure]:
        """`flatten`, with one object for each structure."""
        for structure, read in self.known.items():
            leaves: list = []
            if read(tree, leaves):
                return leaves, structure
        leaves, found = flatten(tree)
        self.known.setdefault(found, reader(found))
        return leaves, next(each for each in self.known if each == found)

    def _call(self, tree: Any, named: Any) -> Any:
        if named is None:
            return self.fn(*tree)
        values = {**named, **tree}
        bound = inspect.BoundArguments(
            self.signature, {n: values[n] for n in self.signature.parameters if n in values}
        )
        return self.fn(*bound.args, **bound.kwargs)

    def _record(self, leaves: list, structure: Structure, named: Any) -> Entry:
        with Recording(concrete=False) as recording:
            positions: dict[Any, int] = {}  # of argument leaves, by node or by the State's id
            traced: list[Any] = []
            for i, leaf in enumerate(leaves):
                if isinstance(leaf, State):
                    positions[id(leaf)] = i
                    traced.append(leaf)
                elif isinstance(leaf, STATIC) or not (
                    isinstance(leaf, float) or hasattr(leaf, "dtype")
                ):
                    traced.append(leaf)
                else:
                    traced.append(_input(recording, leaf, i, positions))
            result = self._call(unflatten(structure, traced), named)
            ends, outputs = flatten(result)
            ends = [strong(y) if isinstance(y, Tensor) else y for y in ends]
            nodes = [recording.node_of(y) for y in ends if _is_made(y)]
            renewed = list(recording.writes.values())
            nodes += [recording.node_of(value) for _, value in renewed]
            nodes = inlined(nodes, recording)
        sources = [
            positions.get(node, positions.get(id(t), t)) for node, t in recording.sources.items()
        ]
        states = [positions.get(id(state), state) for state, _ in renewed]
        kept = {i for i, leaf in enumerate(leaves) if isinstance(leaf, State)} - set(states)
        donated = self._donated(named) - kept
        graph = Graph(list(recording.sources), nodes, recording.origins)
        return Entry(
            self.program(graph, [isinstance(s, int) and s in donated for s in sources]),
            sources,
            states,
            outputs,
            builder(outputs),
            [MADE if _is_made(y) else (positions.get(id(y)), y) for y in ends],
            sorted(donated),
        )

    def _donated(self, named: Any) -> set[int]:
        found: set[int] = set()
        if not self.donate:
            return found
        at = 0
        for name in sorted(n for n in named if n not in self.static):
            count = len(flatten(named[name])[0])
            if name in self.donate:
                found |= set(range(at, at + count))
            at += count
        return found

    def program(self, graph: Graph, donated: Sequence[bool]) -> Program:
        """What runs a recorded graph."""
        return Program(graph, donated)

    def run(self, entry: Entry, leaves: list) -> Any:
        """The result for the `leaves` of arguments, which are what `entry` was compiled for."""
        tensors = [leaves[s] if isinstance(s, int) else s for s in entry.sources]
        arrays = entry.program.run([array_of(t) for t in tensors])
        give_away(leaves, entry.donated)
        made = iter(arrays)
        ends = [
            Tensor.of(next(made), None, None)
            if end is MADE
            else end[1]
            if end[0] is None
            else leaves[end[0]]
            for end in entry.ends
        ]
        for state in entry.states:
            target = leaves[state] if isinstance(state, int) else state
            target._put(next(made))
        return entry.build(iter(ends))

    def graph(self, *args: Any, **kwargs: Any) -> Graph:
        """The recorded graph for these arguments; prints as Python, one node a line."""
        bound = self.signature.bind(*args, **kwargs).arguments
        named = bound if self.named or kwargs else None
        leaves, structure, _ = self._open(args, named)
        return self._record(leaves, structure, named).program.graph


def _input(recording: Recording, leaf: Any, position: int, positions: dict) -> Tensor:
    tensor = recording.input(weak_tensor(leaf))
    positions[tensor.node] = position
    return tensor


def give_away(leaves: list, donated: Sequence[int]) -> None:
    """Mark the donated among the `leaves` of arguments: their memory is another's now."""
    for position in donated:
        leaf = leaves[position]
        if type(leaf) is Tensor or (isinstance(leaf, Tensor) and not isinstance(leaf, State)):
            leaf._value, leaf.donated = None, True


def array_of(leaf: Any) -> np.ndarray:
    """The numbers of an argument leaf, those last written where it is a State."""
    if type(leaf) is Tensor and leaf._value is not None:
        return leaf._value
    if isinstance(leaf, Tensor):
        value = written(leaf)._value
        return leaf.numpy() if value is None else value
    return np.asarray(leaf)


def _is_made(end: Any) -> bool:
    """Whether an output leaf is computed; a State that is given back stays the object it is."""
    return isinstance(end, Tensor) and not isinstance(end, State)


def kind_of(leaf: Any, leaves: list) -> Any:
    """What of an argument leaf the program is compiled for."""
    if type(leaf) is Tensor and leaf._value is not None:  # the quick way for nearly all
        return leaf._value.shape, leaf._value.dtype, None
    if hasattr(leaf, "dtype"):
        return leaf.shape, leaf.dtype, _first(leaf, leaves)
    return _static(leaf)


def _first(leaf: Any, leaves: list) -> int | None:
    """Where a State stands first among `leaves`: one object given twice is one state."""
    if not isinstance(leaf, State):
        return None
    return next(i for i, other in enumerate(leaves) if other is leaf)


def _exact(value: Any) -> Any:
    """A key equal only for what means the same: 1, 1.0 and True, 0.0 and -0.0 stay apart."""
    if isinstance(value, tuple):
        return (type(value), *map(_exact, value))
    return (type(value), repr(value) if isinstance(value, float) else value)


def _static(leaf: Any) -> Any:
    if isinstance(leaf, float):
        return float
    if isinstance(leaf, STATIC):
        return _exact(leaf)
    raise ArgumentError(
        f"jit cannot take an argument of type {type(leaf).__name__}",
        mend="pass tensors, numbers, strings or trees of them; or name it in static=(...)",
    )


class Reading:
    """What a function reads from outside by name, in itself and in the functions it names: numbers
    and strings, which its graph bakes in, and which tensors and arrays, whose numbers are read at
    each call."""

    def __init__(self, fn: Any):
        self.fn = fn
        self.places: list[tuple[Any, str, Any]] = []  # where each value was found, and the value
        self.found: tuple = ()
        self.fresh = False

    def now(self) -> tuple:
        """A key of what would be read now; found anew only when some name means another object."""
        for place, name, value in self.places:
            now = place.get(name, MISSING) if type(place) is dict else _look(place, name)
            if now is not value:
                self.fresh = False
                break
        if not self.fresh:
            self.places, self.found = _captured(self.fn)
            self.fresh = True
        return self.found


MISSING = object()  # stands for what a name does not mean yet


def _look(place: Any, name: str) -> Any:
    if isinstance(place, dict):
        return place.get(name, MISSING)
    try:
        return place.cell_contents
    except ValueError:  # not bound yet
        return MISSING


def _captured(fn: Any) -> tuple[list, tuple]:
    found: list = []
    places: list = []
    seen: set[int] = set()
    ahead = [fn]
    while ahead:
        inner = inspect.unwrap(ahead.pop())
        owner, inner = getattr(inner, "__self__", None), getattr(inner, "__func__", inner)
        code = getattr(inner, "__code__", None)
        if code is None or id(code) in seen or code.co_filename.startswith(PACKAGE):
            continue
        seen.add(id(code))
        cells = zip(code.co_freevars, inner.__closure__ or (), strict=False)
        read = [(cell, name) for name, cell in cells]
        read += [(inner.__globals__, name) for name in _names(code)]
        if owner is not None and not isinstance(owner, type):
            own = getattr(owner, "__dict__", {})
            read += [(own, name) for name in own]
        for place, name in read:
            value = _look(place, name)
            places.append((place, name, value))
            if isinstance(value, bool | int | float | str):
                found.append((name, _exact(value)))
            elif isinstance(value, Tensor | np.ndarray):
                found.append((name, type(value), id(value)))
            elif isinstance(value, FunctionType):
                ahead.append(value)
    return places, tuple(found)


@cache
def _names(code: CodeType) -> tuple[str, ...]:
    inner = [name for c in code.co_consts if isinstance(c, CodeType) for name in _names(c)]
    return (*code.co_names, *inner)


def jit(
    fn: Callable | None = None, *, donate: Sequence[str] = (), static: Sequence[str] = ()
) -> Any:
    """Compile `fn` for each signature it is called with; also a decorator.

    `donate` names arguments whose memory the result may take (parameters, optimiser state):
    reading them afterwards raises DonatedError. `static` names arguments that are part of the
    signature. Inside another transform a jitted function is recorded like any other.

    >>> @jit
    ... def square_sum(x):
    ...     return (x * x).sum()
    >>> square_sum(np.float32([1, 2]))
    Tensor(5., dtype=float32)
    """
    if fn is None:
        return lambda fn: Jitted(fn, tuple(donate), tuple(static))
    return Jitted(fn, tuple(donate), tuple(static))
