"""How a model ends: its outputs, what each is called, and whether it is probabilities.

Read next: `heads.py`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

from chainrule.core.errors import ArgumentError, ChainruleError, ShapeError
from chainrule.core.node import Node, topological
from chainrule.core.op import Shape
from chainrule.core.recording import Recording
from chainrule.core.tensor import Tensor
from chainrule.core.tree import LEAF, Structure, flatten
from chainrule.grad.rows import reads
from chainrule.nn.parts import held
from chainrule.nn.regularizers import penalty
from chainrule.train.arrays import Features

# Of a trial call. A prime, so that a lost batch axis shows, that no layer has as its width, so
# that errors can tell it as n, and more than anybody unpacks.
BATCH = 1009


class Output(NamedTuple):
    """A tensor that the model gives: the name that history has it by, the shape of an example."""

    name: str
    shape: Shape
    probabilities: bool


class Ending:
    """The `outputs` of a model, in the order of their `structure`.

    Of a dict they are named by their keys, of a tuple "output_0", "output_1"; a model that gives
    one tensor is `single`, and its output has no name. `reads` has, by identity, the tensors that
    `take` alone reads, and how many of their rows for each example. `batch` is the size recorded.
    """

    def __init__(
        self, model: Any, features: Features, kind: Any, positions: bool, batch: int = BATCH
    ):
        """Records one call, which builds; ShapeError unless each example gives an output."""
        with Recording(concrete=False) as recording:
            x = features.inputs(recording, batch, kind, positions)
            y = _call(model, features, x)
            tensors, self.structure = flatten(y)
            for tensor in tensors:
                if not isinstance(tensor, Tensor):
                    raise ArgumentError(
                        "fit, evaluate and predict need a model that gives a tensor, or a tuple "
                        f"or dict of tensors, got {type(tensor).__name__}",
                        mend="a training loop with cr.value_and_grad takes any model",
                    )
            nodes = [recording.node_of(tensor) for tensor in tensors]
            extra = penalty(model)
            ends = nodes if extra is None else [*nodes, recording.node_of(extra)]
        found = reads(topological(ends), recording.sources)
        # What is no multiple of the batch is read once for all, and there it counts as more.
        each = {n: count if count % batch else count // batch for n, count in found.items()}
        self.reads = {id(recording.sources[n]): count for n, count in each.items()}
        self.batch = batch
        self.single = self.structure.kind is LEAF
        self.outputs = [
            Output(name, node.shape[1:], is_normalised(node))
            for name, node in zip(names_of(self.structure), nodes, strict=True)
        ]
        for output, node in zip(self.outputs, nodes, strict=True):
            if node.shape[:1] != (batch,):
                named = f" for {output.name!r}" if output.name else ""
                raise ShapeError(
                    "the model must give one output for each example: n examples of shape "
                    f"{features.told('x')} gave {_as_n(str(node.shape))}{named}"
                )


def stateful_layers(model: Any) -> Iterator[Any]:
    """The layers that go on from batch to batch, so that all need to be of one size."""
    if getattr(model, "stateful", False):
        yield model
    for _, part in held(model):
        if not isinstance(part, Tensor):
            yield from stateful_layers(part)


def is_stateful(model: Any) -> bool:
    """Whether there are any."""
    return any(True for _ in stateful_layers(model))


def _call(model: Any, features: Features, x: Any) -> Any:
    several = features.structure.kind is not LEAF
    told = f"several arrays: {features.told('x')}" if several else "one array"
    try:
        return model(x)
    except ChainruleError as error:
        error.message, error.mend = _as_n(error.message), _as_n(error.mend)
        if several:
            error.message += f"; x was {told}"
        raise
    except (LookupError, TypeError, ValueError, AttributeError) as error:
        if not several and "unpack" not in str(error):
            raise  # of the user's code, about something else than how many arrays there are
        alone = ", in predict without y" if features.structure.kind is tuple else ""
        raise ArgumentError(
            f"{model.name} could not take x, {told}. {type(error).__name__}: {error}",
            mend=f"what call(x) reads: one array, x={{...}} or x=(..., ...){alone}",
        ) from error


def _as_n(text: str) -> str:
    return text.replace(f"({BATCH},", "(n,")


def names_of(structure: Structure, path: tuple[str, ...] = ()) -> list[str]:
    """What the leaves are called: their keys, joined by "_"; the places of a tuple are counted."""
    if structure.kind is LEAF:
        return ["_".join(path)]
    keys = structure.aux if structure.kind is dict else range(len(structure.children))
    head = path or (() if structure.kind is dict else ("output",))
    rows = zip(keys, structure.children, strict=True)
    names = [name for key, child in rows for name in names_of(child, (*head, str(key)))]
    if len(set(names)) < len(names):
        raise ArgumentError(f"each output needs a name of its own, got {', '.join(names)}")
    return names


def is_normalised(node: Node) -> bool:
    """Whether `node` is a sigmoid or a softmax, however its elements were moved since."""
    while node.op.kind == "movement" or node.op.name in ("cast", "refloat"):
        node = node.inputs[0]
    if node.op.name != "divide":
        return node.op.name == "sigmoid"
    above, below = node.inputs
    while below.op.kind == "movement":
        below = below.inputs[0]
    return above.op.name == "exp" and below.op.name == "sum" and below.inputs[0] is above
