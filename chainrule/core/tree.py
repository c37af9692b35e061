"""Pytrees: nested containers whose leaves are tensors.

Tuples, named tuples, lists, dicts, None (no leaves) and registered classes are containers;
all else is a leaf. Read next: `tensor.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from chainrule.core.errors import ArgumentError


class Structure(NamedTuple):
    """A tree without its leaves; equal structures hash alike."""

    kind: Any
    aux: Any
    children: tuple[Structure, ...]

    @property
    def leaves(self) -> int:
        """How many leaves the structure holds."""
        return 1 if self.kind is LEAF else sum(child.leaves for child in self.children)


LEAF = "leaf"
_leaf = Structure(LEAF, None, ())
_registry: dict[type, tuple[Callable, Callable]] = {}
_leaf_types: set[type] = set()  # types that turned out to be no containers


def register_tree(cls: type, split: Callable, join: Callable) -> None:
    """Make `cls` a container: `split(x) -> (children, aux)`, `join(aux, children) -> x`.

    `aux` must be hashable; it is part of what `jit` compiles for. Subclasses are included.
    """
    _registry[cls] = (split, join)
    _leaf_types.clear()


def _rules(cls: type) -> tuple[Callable, Callable] | None:
    for base in cls.__mro__:
        if base in _registry:
            return _registry[base]
    return None


def _split(tree: Any) -> tuple[Any, Any, list] | None:
    """(kind, aux, children) of a container, None of a leaf."""
    cls = type(tree)
    if cls in _leaf_types:
        return None
    if tree is None:
        return None.__class__, None, []
    if cls in (tuple, list):
        return cls, None, list(tree)
    if cls is dict:
        keys = tuple(sorted(tree, key=str))
        return dict, keys, [tree[key] for key in keys]
    if isinstance(tree, tuple) and hasattr(tree, "_fields"):
        return cls, None, list(tree)
    rules = _rules(cls)
    if rules is None:
        _leaf_types.add(cls)
        return None
    children, aux = rules[0](tree)
    return cls, aux, list(children)


def flatten(tree: Any) -> tuple[list, Structure]:
    """The leaves of `tree` from left to right, and what `unflatten` needs to rebuild it."""
    leaves: list = []
    return leaves, _walk(tree, leaves)


def _walk(part: Any, leaves: list) -> Structure:
    # A function of the module, not of the call: a closure that names itself is a cycle, and
    # would keep the leaves until the garbage collector runs.
    found = _split(part)
    if found is None:
        leaves.append(part)
        return _leaf
    kind, aux, children = found
    return Structure(kind, aux, tuple([_walk(child, leaves) for child in children]))


def unflatten(structure: Structure, leaves: Any) -> Any:
    """The tree of `structure` with `leaves` put in from left to right."""
    return _build(structure, iter(leaves))


def _build(part: Structure, source: Iterator) -> Any:
    if part.kind is LEAF:
        return next(source)
    children = [_build(child, source) for child in part.children]
    if part.kind is None.__class__:
        return None
    if part.kind in (tuple, list):
        return part.kind(children)
    if part.kind is dict:
        return dict(zip(part.aux, children, strict=True))
    if issubclass(part.kind, tuple):
        return part.kind(*children)
    rules = _rules(part.kind)
    assert rules is not None
    return rules[1](part.aux, children)


def reader(structure: Structure) -> Callable[[Any, list], bool]:
    """A quick `flatten` for trees of one structure: the leaves go to a list; False for others."""
    if structure.kind is LEAF:
        return _read_leaf
    below = [reader(child) for child in structure.children]
    if structure.kind is dict:
        pairs = list(zip(structure.aux, below, strict=True))

        def read_dict(tree: Any, leaves: list) -> bool:
            if type(tree) is not dict or len(tree) != len(pairs):
                return False
            return all(key in tree and read(tree[key], leaves) for key, read in pairs)

        return read_dict
    if structure.kind in (tuple, list):

        def read_row(tree: Any, leaves: list) -> bool:
            if type(tree) is not structure.kind or len(tree) != len(below):
                return False
            return all(read(child, leaves) for read, child in zip(below, tree, strict=True))

        return read_row

    def read_other(tree: Any, leaves: list) -> bool:
        return _walk(tree, leaves) == structure

    return read_other


def _read_leaf(tree: Any, leaves: list) -> bool:
    leaves.append(tree)
    return type(tree) in _leaf_types


def builder(structure: Structure) -> Callable[[Iterator], Any]:
    """A quick `unflatten` for one structure."""
    if structure.kind is LEAF:
        return next
    below = [builder(child) for child in structure.children]
    if structure.kind is dict:
        pairs = list(zip(structure.aux, below, strict=True))
        return lambda source: {key: build(source) for key, build in pairs}
    if structure.kind in (tuple, list):
        return lambda source: structure.kind([build(source) for build in below])
    return lambda source: _build(structure, source)


def tree_map(function: Callable, tree: Any, *rest: Any) -> Any:
    """`function` of corresponding leaves, in a tree like `tree`.

    A tree of `rest` may hold None where `tree` has a leaf: `function` is given None there.
    ArgumentError when the structures differ otherwise.

    >>> tree_map(lambda a, b: a + b, {"x": 1, "y": (2, 3)}, {"x": 10, "y": (20, 30)})
    {'x': 11, 'y': (22, 33)}
    """
    leaves, structure = flatten(tree)
    columns = [leaves] + [_leaves_like(structure, other) for other in rest]
    return unflatten(structure, [function(*row) for row in zip(*columns, strict=True)])


def _leaves_like(structure: Structure, tree: Any) -> list:
    out: list = []
    _pair(structure, tree, out)
    return out


def _pair(part: Structure, other: Any, out: list) -> None:
    if part.kind is LEAF:
        out.append(other)
        return
    if other is None and part.kind is not None.__class__:
        out.extend([None] * part.leaves)
        return
    found = _split(other)
    kind, aux, children = found if found is not None else (LEAF, None, [])
    fits = kind is part.kind and (kind is not dict or aux == part.aux)
    if not fits or len(children) != len(part.children):
        mine = _told(part.kind, part.aux, len(part.children))
        theirs = _told(kind, aux, len(children)) if found else type(other).__name__
        raise ArgumentError(f"trees of one structure needed: {mine} met {theirs}")
    for child, below in zip(part.children, children, strict=True):
        _pair(child, below, out)


def _told(kind: Any, aux: Any, count: int) -> str:
    if kind is dict:
        return f"dict of {', '.join(map(str, aux)) or 'nothing'}"
    name = getattr(kind, "__name__", str(kind))
    return f"{name} of {count}" if kind in (tuple, list) else name
