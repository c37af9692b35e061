"""What a module holds: its tensors and children as a pytree, and as a text to read.

An attribute is part of the tree when it holds a tensor or a module, or a tuple or dict of them;
all others are configuration, which `jit` compiles for. A module that is held in two places stays
one module in what `join` makes, so its parameters are counted and updated once. Read next:
`module.py`.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from chainrule.core.errors import ArgumentError
from chainrule.core.tensor import State, Tensor


class Leaf(NamedTuple):
    """A place of a tensor; whether a State was there."""

    state: bool


class Group(NamedTuple):
    """A tuple (`keys` is None) or a dict of places."""

    keys: tuple | None
    values: tuple


class Layout(NamedTuple):
    """A module without its tensors; equal layouts compute alike."""

    cls: type
    flags: tuple
    static: tuple  # (attribute, type, value): 1, 1.0 and True are equal, but not the same
    parts: tuple  # (attribute, place)
    untracked: Untracked


class Again(NamedTuple):
    """A module met before, the `position`-th."""

    position: int


class Untracked:
    """Attributes that take no part in what is computed: they ride along, all are equal."""

    def __init__(self, items: dict[str, Any]):
        self.items = items

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Untracked)

    def __hash__(self) -> int:
        return 0


def split(module: Any) -> tuple[list, Layout]:
    """The leaves of `module` in the order of their attributes, and its layout."""
    leaves: list = []
    seen: dict[int, int] = {}

    def place(value: Any) -> Any:
        if hasattr(value, "_parts"):
            return layout(value)
        if isinstance(value, dict):
            return Group(tuple(value), tuple(place(part) for part in value.values()))
        if isinstance(value, tuple):
            return Group(None, tuple(place(part) for part in value))
        leaves.append(value)
        return Leaf(isinstance(value, State))

    def layout(part: Any) -> Layout | Again:
        if id(part) in seen:
            return Again(seen[id(part)])
        seen[id(part)] = len(seen)
        values = vars(part)
        apart = {*part._parts, *part.untracked}
        static = tuple((name, type(v), v) for name, v in values.items() if name not in apart)
        return Layout(
            type(part),
            (part._built, part._named),
            static,
            tuple((name, place(values[name])) for name in part._parts),
            Untracked({name: values[name] for name in part.untracked if name in values}),
        )

    found = layout(module)
    assert isinstance(found, Layout)
    return leaves, found


def join(layout: Layout, leaves: Sequence[Any]) -> Any:
    """A module of `layout` that holds `leaves`."""
    source = iter(leaves)
    made: list = []

    def value_of(place: Any) -> Any:
        if isinstance(place, Leaf):
            return _as_leaf(next(source), place.state)
        if isinstance(place, Again):
            return made[place.position]
        if isinstance(place, Layout):
            return module_of(place)
        values = [value_of(part) for part in place.values]
        return tuple(values) if place.keys is None else dict(zip(place.keys, values, strict=True))

    def module_of(layout: Layout) -> Any:
        module = layout.cls.__new__(layout.cls)  # type: ignore[call-overload]
        made.append(module)
        module._built, module._named = layout.flags
        module._ready = module._copied = True
        module._parts = tuple(name for name, _ in layout.parts)
        values = vars(module)
        values.update({name: value for name, _, value in layout.static})
        values.update(layout.untracked.items)
        values.update({name: value_of(place) for name, place in layout.parts})
        return module

    return module_of(layout)


def _as_leaf(leaf: Any, state: bool) -> Any:
    if isinstance(leaf, np.ndarray | np.generic):
        leaf = Tensor(leaf)
    if state and isinstance(leaf, Tensor) and not isinstance(leaf, State) and leaf.known:
        return State(leaf)
    return leaf


def within(value: Any, suffix: str = "") -> Iterator[tuple[str, Any]]:
    """(suffix, tensor or module) of each in an attribute's value: "_0" or "_key" in a group."""
    if isinstance(value, Tensor) or hasattr(value, "_parts"):
        yield suffix, value
    elif isinstance(value, tuple):
        for i, part in enumerate(value):
            yield from within(part, f"{suffix}_{i}")
    elif isinstance(value, dict):
        for key, part in value.items():
            yield from within(part, f"{suffix}_{key}")


def held(module: Any) -> Iterator[tuple[str, Any]]:
    """(name, tensor or module) of each part; a module goes by its own name."""
    for attribute in module._parts:
        for suffix, part in within(vars(module)[attribute]):
            yield (attribute + suffix if isinstance(part, Tensor) else part.name), part


def named_tensors(module: Any, wanted: Callable[[Tensor], bool]) -> dict[str, Any]:
    """The tensors that are `wanted`, each once, under "layer/attribute".

    ArgumentError where two have one path: then one of them could not be saved.
    """
    found: dict[str, Tensor] = {}
    seen: set[int] = set()

    def walk(part: Any, path: str) -> None:
        for name, value in held(part):
            if id(value) in seen:
                continue
            seen.add(id(value))
            if not isinstance(value, Tensor):
                walk(value, f"{path}{name}/")
            elif wanted(value):
                if path + name in found:
                    raise ArgumentError(
                        f"two tensors have the path {path + name!r}",
                        mend="give the layers that hold them different names: name=...",
                    )
                found[path + name] = value

    walk(module, "")
    return found


def freeze(value: Any) -> Any:
    """`value` with its lists made tuples, so that it is hashable and cannot change unseen."""
    if type(value) in (list, tuple):
        return tuple(freeze(part) for part in value)
    if isinstance(value, dict):
        return {key: freeze(part) for key, part in value.items()}
    return value


def check_static(who: str, name: str, value: Any) -> None:
    """ArgumentError unless `value` can be configuration: it must be hashable, and no array."""
    if isinstance(value, np.ndarray):
        raise ArgumentError(
            f"{who}.{name}: an array is neither a parameter nor configuration",
            mend="cr.Tensor(array) to train it, cr.State(array) to keep it",
        )
    try:
        hash(value)
    except TypeError:
        raise ArgumentError(
            f"{who}.{name}: configuration must be hashable, since jit compiles for it; got "
            f"{type(value).__name__}",
            mend="a tuple; or list the name in the class's `untracked`",
        ) from None


def outline(module: Any) -> str:
    """`module` as a tree, a layer a line: its name, its arguments, its tensors' shapes."""
    rows: list[str] = []
    sizes: dict[int, int] = {}

    def walk(part: Any, label: str, depth: int) -> None:
        trained = (v for _, v in held(part) if isinstance(v, Tensor) and not isinstance(v, State))
        sizes.update({id(v): v.size for v in trained})
        tensors = [f"{n} {v.shape}" for n, v in held(part) if isinstance(v, Tensor)]
        state = "" if part._built else "not built"
        row = "  " * depth + label + _call(part)
        rows.append("  ".join(cell for cell in (row, ", ".join(tensors) or state) if cell))
        for name, child in held(part):
            if not isinstance(child, Tensor):
                walk(child, f"{name}: ", depth + 1)

    walk(module, "", 0)
    if len(rows) > 1:
        rows.append(f"{sum(sizes.values()):,} parameters")
    return "\n".join(rows)


def _call(module: Any) -> str:
    """The call that makes a module like this one, without the arguments left at their default."""
    parameters: Mapping[str, inspect.Parameter] = inspect.signature(
        type(module).__init__
    ).parameters
    shown = []
    for name, parameter in list(parameters.items())[1:]:
        if name == "name" or name not in vars(module) or name in module._parts:
            continue
        value = vars(module)[name]
        required = parameter.default is parameter.empty
        usual = parameter.default
        same = (usual, (usual, usual)) if isinstance(usual, int) else (usual,)  # strides 1, (1, 1)
        if required or value not in same:
            text = getattr(value, "__name__", None) or repr(value)
            shown.append(text if required else f"{name}={text}")
    return f"{type(module).__name__}({', '.join(shown)})"
