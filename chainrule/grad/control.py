"""Control flow: ops that hold functions as graphs and give a bundle of tensors.

`trace` records a function once, on blanks. A control op (`scan`, `cond`, `call`) is one node
whose value is a bundle, an array of arrays; `part` takes one tensor out. The cotangent of a
bundle is `Parts`: what is known of it by index. Read next: `scan.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from chainrule.core.dtypes import BUNDLE, is_float
from chainrule.core.errors import GradientError
from chainrule.core.graph import Graph
from chainrule.core.node import Node, topological
from chainrule.core.op import Op, Shape, Spec, register
from chainrule.core.recording import Recording, bind, literal
from chainrule.core.tensor import Tensor, as_tensor
from chainrule.core.tree import Structure, flatten, unflatten
from chainrule.ops.elementwise import strong


class Traced(NamedTuple):
    """A function as a graph: its inputs are the leaves given, then what it captured."""

    graph: Graph
    structure: Structure  # of the result
    captured: list[Tensor]


def trace(fn: Callable, *trees: Any) -> Traced:
    """`fn(*trees)` recorded on blanks of the shapes and dtypes of the trees' leaves.

    GradientError when the function renews State: it runs any number of times, or never.
    """
    with Recording(concrete=False) as recording:
        opened: list[Node] = []
        result = fn(*[_opened(recording, tree, opened) for tree in trees])
        leaves, structure = flatten(result)
        ends = [recording.node_of(strong(as_tensor(y))) for y in leaves]
        if recording.writes:
            raise GradientError(
                "a function inside scan, cond or checkpoint cannot renew State",
                mend="carry the value: give it in and return it",
            )
    captured = {node: t for node, t in recording.sources.items() if node not in opened}
    graph = Graph([*opened, *captured], ends, recording.origins)
    return Traced(graph, structure, list(captured.values()))


def _opened(recording: Recording, tree: Any, opened: list[Node]) -> Any:
    leaves, structure = flatten(tree)
    made = [blank_input(recording, x) for x in leaves]
    for x, opened_as in zip(leaves, made, strict=True):
        opened_as.weak = x.weak
    opened += [t.node for t in made]  # type: ignore[misc]
    return unflatten(structure, made)


def blank_input(recording: Recording, like: Any) -> Tensor:
    """An input of `recording` with the shape and dtype of `like`, a tensor or a node."""
    return recording.input(blank(like.shape, like.dtype))


def blank(shape: Shape, dtype: np.dtype) -> Tensor:
    """A tensor without memory, for its shape and dtype."""
    return Tensor(np.broadcast_to(np.zeros((), dtype), shape))


def copy_nodes(
    nodes: Sequence[Node], found: dict[Node, Tensor], recording: Recording, origins: Mapping
) -> None:
    """Apply what `nodes` need in `recording`, from what `found` holds, which takes the results."""
    for node in topological(nodes, found):
        inputs = [found[source] for source in node.inputs]
        found[node] = recording.apply(node.op, inputs, node.attrs, origin=origins.get(node))


def zeros(like: Any) -> Tensor:
    """Zeros of the shape and dtype of a tensor or node."""
    return literal(value=0, shape=like.shape, dtype=like.dtype.name)


class Parts:
    """The cotangent of a bundle: tensors by index; what is not there is zero."""

    dtype = BUNDLE

    def __init__(self, found: Mapping[int, Tensor]):
        self.found = dict(found)

    def __add__(self, other: Parts) -> Parts:
        both = dict(self.found)
        for index, g in other.found.items():
            both[index] = both[index] + g if index in both else g
        return Parts(both)


def bundle(arrays: Sequence[Any]) -> np.ndarray:
    """The arrays as one array of objects; None stands for what nobody wants."""
    made = np.empty(len(arrays), object)
    for i, array in enumerate(arrays):  # one by one: NumPy would join arrays of one shape
        made[i] = array
    return made


def _infer_part(whole: Any, index: int, shape: tuple, dtype: str) -> Spec:
    return Spec(tuple(shape), np.dtype(dtype))


def _batch_part(op: Op, node: Node, inputs: list, flags: list, size: int) -> Tensor:
    """What the op holds knows where its batch rule left the batch axis."""
    return node.inputs[0].attrs["holds"].batched_part(inputs[0], node, size)


part_op = register(
    Op(
        name="part",
        kind="control",
        tex="#1",
        ref=lambda whole, index, shape, dtype: whole[index],
        infer=_infer_part,
        linear=(0,),
        vjp=lambda g, y, whole, index, shape, dtype: (Parts({index: g}),),
        batch=_batch_part,
    )
)


def part(whole: Tensor, index: int, like: Any) -> Tensor:
    """Tensor `index` of a bundle, which has the shape and dtype of `like`."""
    return bind(part_op, whole, index=index, shape=tuple(like.shape), dtype=like.dtype.name)


def floats(nodes: Sequence[Any]) -> list[int]:
    """The positions of what can have a gradient."""
    return [i for i, node in enumerate(nodes) if is_float(node.dtype)]
