"""A user's x or y: one array, or a dict or tuple of such, nested as one likes.

How it is read:

| given | read as |
|---|---|
| an array, numbers, a list of numbers or of rows | one array, as NumPy makes it |
| a dict | several, by their keys |
| a tuple that holds an array, a dict or such a tuple | several, by their places |
| a list of arrays of one length and different shapes | several; of one shape, they are one array |

Read next: `examples.py`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from chainrule.core.errors import ArgumentError, ShapeError
from chainrule.core.op import Shape
from chainrule.core.recording import Recording
from chainrule.core.tensor import Tensor
from chainrule.core.tree import LEAF, Structure, flatten, unflatten
from chainrule.data.checks import named, numbers

Arrays = Any  # an array, or a dict or tuple of Arrays; in targets and weights also None


def is_several(value: Any) -> bool:
    """Whether `value` is read as more than one array; see above."""
    if isinstance(value, dict):
        return True
    if isinstance(value, tuple):
        return any(_has_axes(part) or is_several(part) for part in value)
    if not isinstance(value, list) or not all(map(_has_axes, value)):
        return False
    shapes = {tuple(part.shape) for part in value}
    return len(shapes) > 1 and len({shape[0] for shape in shapes}) == 1


def _has_axes(value: Any) -> bool:
    return bool(getattr(value, "shape", ()))


def read_arrays(name: str, value: Any, gaps: bool = False) -> Arrays:
    """`value` with NumPy arrays in it; with `gaps`, None stays where it stands in a dict or tuple.

    DtypeError for what is no number, ShapeError for ragged rows, each with its key.
    """
    if not is_several(value):
        return numbers(name, value)
    items = value.items() if isinstance(value, dict) else enumerate(value)
    parts = [
        (key, None if gaps and part is None else read_arrays(f"{name}[{key!r}]", part, gaps))
        for key, part in items
    ]
    return dict(parts) if isinstance(value, dict) else tuple(part for _, part in parts)


def picking(tree: Arrays, take: Callable[[np.ndarray, Any], Any]) -> Callable[[Any], Any]:
    """A function of an index that gives `take(array, index)` for each array, as `tree` lies."""
    if tree is None:
        return lambda index: None
    if isinstance(tree, dict):
        named_parts = {key: picking(part, take) for key, part in tree.items()}
        return lambda index: {key: part(index) for key, part in named_parts.items()}
    if isinstance(tree, tuple):
        parts = [picking(part, take) for part in tree]
        return lambda index: tuple([part(index) for part in parts])
    return lambda index: take(tree, index)


def count_of(tree: Arrays) -> int:
    """How many examples there are."""
    return len(flatten(tree)[0][0])


def is_mapped(array: Any) -> bool:
    """Whether the numbers of `array` lie in a file; a view of a memory map is no `np.memmap`."""
    while isinstance(array, np.ndarray):
        if isinstance(array, np.memmap):
            return True
        array = array.base
    return False


class Features(NamedTuple):
    """What one example of x is: the shape of each array, and whether it holds integers."""

    structure: Structure
    shapes: tuple[Shape, ...]
    integers: tuple[bool, ...]

    @classmethod
    def of(cls, x: Arrays) -> Features:
        """Those of arrays that were read."""
        leaves, structure = flatten(x)
        return cls(
            structure,
            tuple(array.shape[1:] for array in leaves),
            tuple(array.dtype.kind in "iu" for array in leaves),
        )

    @classmethod
    def like(cls, shapes: Any) -> Features:
        """Those of the shapes that a user writes: one, or a dict, list or tuple of such."""
        leaves, structure = flatten(_marked(shapes))
        found = tuple(tuple(leaf.shape) for leaf in leaves)
        return cls(structure, found, (True,) * len(found))

    def inputs(self, recording: Recording, batch: int, kind: np.dtype, positions: bool) -> Any:
        """Inputs of `recording`, of dtype `kind`, or int64 for integers that are `positions`."""
        blanks = [
            np.broadcast_to(np.zeros((), "int64" if whole and positions else kind), (batch, *shape))
            for shape, whole in zip(self.shapes, self.integers, strict=True)
        ]
        return unflatten(self.structure, [recording.input(Tensor(blank)) for blank in blanks])

    def suits(self, other: Features) -> bool:
        """Whether both are arrays of the same shapes under the same keys."""
        return self[:2] == other[:2]

    def told(self, name: str) -> str:
        """In words, for errors."""
        if self.structure.kind is LEAF:
            return str(self.shapes[0])
        each = named(name, unflatten(self.structure, list(map(str, self.shapes))))
        return ", ".join(f"{path} {shape}" for path, shape in each.items())


def _marked(shapes: Any) -> Any:
    """`shapes` with leaves that `flatten` does not take apart."""
    if isinstance(shapes, dict):
        return {key: _marked(part) for key, part in shapes.items()}
    if not isinstance(shapes, tuple | list):
        raise _no_shape(shapes)
    if any(isinstance(part, dict | tuple | list) for part in shapes):
        return tuple(_marked(part) for part in shapes)
    if not all(isinstance(extent, int) and extent > 0 for extent in shapes):
        raise _no_shape(shapes)
    return np.broadcast_to(np.int8(0), tuple(shapes))


def _no_shape(given: Any) -> ArgumentError:
    return ArgumentError(
        f"the shape of one example is a tuple of whole numbers above 0, got {given!r}",
        mend="(28, 28, 1) for pictures, (4,) for four numbers, (10, 3) for ten steps of three",
    )


def check_features(x: Arrays, expected: Features, name: str) -> None:
    """ShapeError unless the examples in `x` have the shape that training has seen."""
    found = Features.of(x)
    if not found.suits(expected):
        raise ShapeError(
            f"{name} must have examples of shape {expected.told('x')} like x, "
            f"got {found.told(name)}"
        )
