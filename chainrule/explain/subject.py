"""What is to be explained: a loss as a graph, the leaf that is the parameter, the batch.

It comes from a compiled model and a batch, or from a loss that was recorded.
Read next: `columns.py`.
"""

from __future__ import annotations

from collections import Counter
from typing import Any, NamedTuple

import numpy as np

from chainrule.core.errors import ArgumentError, GradientError, ShapeError, UnknownNameError
from chainrule.core.node import Node, Origin, topological
from chainrule.core.op import Shape
from chainrule.core.recording import Recording
from chainrule.core.tensor import Tensor
from chainrule.core.tree import flatten, tree_map
from chainrule.explain.batch import examples_of
from chainrule.grad.reverse import _kind, _mend
from chainrule.nn.parts import held
from chainrule.nn.randomness import random_scope
from chainrule.ops.random import key

Index = tuple[int, ...]


class Subject(NamedTuple):
    """A loss and one parameter of it.

    `loss`, `parameter` and the model's `outputs` are recorded nodes, `values` the leaves' numbers;
    `data` are the leaves with an axis of `examples` first. `layers` are the model's by path;
    `trainable` says whether `fit` moves the parameter.
    """

    loss: Node
    parameter: Node
    outputs: list[Node]
    data: list[Node]
    values: dict[Node, np.ndarray]
    origins: dict[Node, Origin]
    path: str
    layers: dict[str, Any]
    loss_name: str
    training: bool | None
    examples: int
    trainable: bool = True

    @property
    def layer(self) -> Any:
        """The layer that holds the parameter, None where no model is known."""
        return self.layers.get(self.path.rpartition("/")[0])

    @property
    def shape(self) -> Shape:
        """The shape of the parameter."""
        return self.parameter.shape


def subject_of_model(
    model: Any,
    x: Any,
    y: Any,
    parameter: Any,
    training: bool,
    sample_weight: Any,
    class_weight: Any = None,
) -> Subject:
    """The loss of a compiled model for a batch, its penalties included.

    With `training` layers run as in a step of `fit`, with the random numbers of one key.
    ArgumentError for a model that is not compiled or lacks data; UnknownNameError for a path.
    """
    if parameter is None:
        raise ArgumentError(
            "explain of a model needs a batch and a parameter",
            mend='cr.explain(model, x[:32], y[:32], "dense/kernel", index=(0, 1))',
        )
    steps, examples = examples_of(model, "explain", x, y, sample_weight, class_weight)
    count = len(examples)
    batch = tree_map(_opened, next(iter(examples.batches(count))))
    path, p = _parameter(model, parameter)
    with Recording(concrete=False) as recording, random_scope(key(model.seed)):
        predicted = model(batch[0], training=training)
        loss = steps._judge(model, batch, predicted)[0]
        outputs = [recording.node_of(t) for t in flatten(predicted)[0]]
        end, leaf = recording.node_of(loss), recording.captured.get(id(p))
    order = topological([end])
    if leaf not in order:
        raise _unused(path, "use its layer's output, or explain another parameter")
    heads = steps.heads.heads if steps.heads else []
    names = [head.objective.name for head in heads if head.objective]
    ids = {id(t) for t in flatten(batch[:3])[0]}
    data = [n for n, t in recording.sources.items() if id(t) in ids and n.shape]
    values = {n: t.numpy() for n, t in recording.sources.items() if n in set(order)}
    values |= {n: recording.sources[n].numpy() for n in outputs if n in recording.sources}
    layers = layers_of(model)
    return Subject(
        end,
        leaf,
        outputs,
        data,
        values,
        recording.origins,
        path,
        layers,
        " + ".join(names),
        training,
        count,
        any(each is p for each in steps.params),
    )


def subject_of_loss(loss: Tensor, parameter: Any) -> Subject:
    """A loss that was computed under `with cr.record():`; GradientError for one that was not.

    The examples are counted where the loss first has an axis.
    """
    recording = loss.recording
    if recording is None or not recording.concrete or loss.shape != ():
        raise GradientError(
            "explain needs one number that was recorded with its values"
            if loss.shape == ()
            else f"explain needs one float number, got {loss.dtype}{list(loss.shape)}",
            mend=_mend(loss) if loss.shape else "with cr.record(): around its computation",
        )
    if not isinstance(parameter, Tensor):
        raise ArgumentError(
            f"explain of a recorded loss needs the parameter's tensor, got {_kind(parameter)}",
            mend="cr.explain(loss, model.dense.kernel, index=(0, 1))",
        )
    end = recording.node_of(loss)
    mine = parameter.recording is recording
    leaf = parameter.node if mine else recording.captured.get(id(parameter))
    order = topological([end])
    if leaf not in order:
        raise _unused(
            f"the parameter of shape {parameter.shape}",
            "cr.why_no_grad(loss, parameter) says where the path breaks",
        )
    assert leaf is not None
    values = {n: recording.values[n] for n in order if n in recording.sources}
    examples = _batch_of(order, end)
    data = [n for n in values if n is not leaf and n.shape[:1] == (examples,)]
    origins = recording.origins
    made = [n for n in order if origins[n].layer]
    outputs = [made[-1]] if made else []
    name = _named(order, leaf, origins)
    return Subject(end, leaf, outputs, data, values, origins, name, {}, "loss", None, examples)


def _unused(who: str, mend: str) -> GradientError:
    return GradientError(f"the loss does not depend on {who}", mend=mend)


def _opened(leaf: Any) -> Any:
    return Tensor(leaf) if isinstance(leaf, np.ndarray) else leaf


def _parameter(model: Any, given: Any) -> tuple[str, Tensor]:
    """(path, tensor) of a parameter given by either."""
    named = model.named_parameters()
    if isinstance(given, str):
        if given in model.named_states():
            raise ArgumentError(f"{given} is a State: it has no gradient")
        if given not in named:
            raise UnknownNameError("parameter", given, named)
        return given, named[given]
    path = next((path for path, tensor in named.items() if tensor is given), None)
    if path is None:
        raise ArgumentError(
            f"parameter is a path or a parameter of the model, got another {type(given).__name__}",
            mend=f"one of {', '.join(named)}",
        )
    return path, named[path]


def layers_of(module: Any, path: str = "") -> dict[str, Any]:
    """Each layer below `module` by its path, in the order they are held."""
    found: dict[str, Any] = {}
    for name, part in held(module):
        if not isinstance(part, Tensor):
            found[path + name] = part
            found |= layers_of(part, f"{path}{name}/")
    return found


def _batch_of(order: list[Node], loss: Node) -> int:
    """The extent of the first axis where the loss is summed up, 1 where it has none."""
    scalars = [n for n in order if n.shape == ()]
    ends = [m for n in scalars for m in n.inputs if m.shape]
    found = Counter(m.shape[0] for m in ends)
    return found.most_common(1)[0][0] if found else 1


def _named(order: list[Node], leaf: Node, origins: dict[Node, Origin]) -> str:
    """The layer that reads the parameter first; a bare name where it is no layer's."""
    path = next((origins[n].layer for n in order if leaf in n.inputs), "")
    return f"{path}/w" if path else "w"


def checked_index(index: Any, shape: Shape, who: str) -> Index:
    """`index` as counts from 0; ShapeError or ArgumentError that says what there is."""
    places = index if isinstance(index, tuple | list) else (index,)
    if len(places) != len(shape):
        raise ShapeError(
            f"{who} has shape {shape}: an index needs {len(shape)} "
            f"place{'s' if len(shape) != 1 else ''}, got {index!r}",
            mend=f"index={tuple(0 for _ in shape)}, or none for the whole tensor",
        )
    for place, extent in zip(places, shape, strict=True):
        whole = isinstance(place, int | np.integer) and not isinstance(place, bool)
        if not whole or not -extent <= place < extent:
            raise ArgumentError(
                f"an index of {who} holds one whole number below each extent of its shape {shape}, "
                f"got {index!r}",
                mend=f"index={tuple(n - 1 for n in shape)} is the last",
            )
    return tuple(int(i) % n for i, n in zip(places, shape, strict=True))
