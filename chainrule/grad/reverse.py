r"""Reverse mode: from one output back through the nodes, in any number of nestings.

For every node $y = f(x_1, x_2, ...)$ met from the output backwards, its cotangent
$g = dL/dy$ gives each input its share $g\,\partial f/\partial x_i$; a value used twice adds
its shares. The shares are ops in the same recording, so they can be differentiated again.
Read next: `forward.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import wraps
from typing import Any

import numpy as np

from chainrule.core.dtypes import carries_gradient, is_float
from chainrule.core.errors import ArgumentError, GradientError, ShapeError
from chainrule.core.node import Node, topological
from chainrule.core.op import NO_GRADIENT
from chainrule.core.recording import Recording, current, literal
from chainrule.core.tensor import State, Tensor, as_tensor, weak_tensor
from chainrule.core.tree import flatten, unflatten
from chainrule.grad.rows import Rows, few, reads
from chainrule.ops.elementwise import cast, strong
from chainrule.ops.move import reshape


def shares(node: Node, g: Tensor, recording: Recording, wanted: Sequence[bool]) -> list:
    """The cotangent of each wanted input of `node`, None where no gradient flows."""
    op = node.op
    inputs = [recording.tensor(source) for source in node.inputs]
    y = recording.tensor(node)
    if op.kind in ("leaf", "random") or op.deriv is NO_GRADIENT:
        return [None] * len(inputs)
    if op.kind == "elementwise":
        parts = _many(op.deriv(*inputs, y, **node.attrs))
        found = [_times(g, part) if w else None for part, w in zip(parts, wanted, strict=True)]
    else:
        parts = op.vjp(g, y, *inputs, **node.attrs)
        found = [_value(part) if w else None for part, w in zip(parts, wanted, strict=True)]
    return [
        cast(part, x.dtype) if part is not None and part.dtype != x.dtype else part
        for part, x in zip(found, inputs, strict=True)
    ]


def _many(parts: Any) -> Sequence[Any]:
    return parts if isinstance(parts, tuple) else (parts,)


def _value(part: Any) -> Any:
    return part() if callable(part) and not isinstance(part, Tensor) else part


def _times(g: Tensor, part: Any) -> Tensor | None:
    part = _value(part)
    if part is None or (isinstance(part, int) and part == 0):
        return None
    if isinstance(part, int) and abs(part) == 1:
        return g if part == 1 else -g
    return g * part


def backward(
    outputs: Sequence[Tensor],
    cotangents: Sequence[Tensor],
    wrt: Sequence[Tensor],
    rows: bool = False,
) -> list[Any]:
    """The cotangent of each tensor of `wrt`, recorded where `outputs` were; None without a path.

    With `rows`, that of one that is read only by `take` of few rows is `Rows`.
    """
    recording = outputs[0].recording
    ends = [recording.node_of(y) for y in outputs]
    targets = [recording.node_of(x) for x in wrt]
    order = topological(ends)
    reaching = set(targets)
    tables = _tables(order, set(targets) - set(ends)) if rows else set()
    gathered: dict[Node, Rows] = {}
    for node in order:
        if any(source in reaching for source in node.inputs):
            reaching.add(node)
    found: dict[Node, Tensor] = {}
    for node, g in zip(ends, cotangents, strict=True):
        found[node] = found[node] + g if node in found else g
    for node in reversed(order):
        if node not in found or node not in reaching or not node.inputs:
            continue
        wanted = [n in reaching and carries_gradient(n.dtype) for n in node.inputs]
        recording.origin = recording.origins[node].backward()
        if node.inputs[0] in tables:
            table, part = node.inputs[0], _rows(node, found[node], recording)
            gathered[table] = gathered[table] + part if table in gathered else part
            continue
        for source, part in zip(
            node.inputs, shares(node, found[node], recording, wanted), strict=True
        ):
            if part is not None:
                found[source] = found[source] + part if source in found else part
    recording.origin = None
    return [gathered.get(node, found.get(node)) for node in targets]


def _tables(order: Sequence[Node], targets: Iterable[Node]) -> set[Node]:
    """The targets that `take` alone reads, few rows at a time in all."""
    return {node for node, count in reads(order, targets).items() if few(count, node.shape[0])}


def _rows(node: Node, g: Tensor, recording: Recording) -> Rows:
    table, ids = node.inputs
    flat = reshape(recording.tensor(ids), (ids.size,))
    return Rows(flat, reshape(g, (ids.size, *table.shape[1:])), table.shape)


def one_like(loss: Tensor) -> Tensor:
    """The cotangent 1 of a scalar loss; GradientError when it is no float scalar."""
    if not isinstance(loss, Tensor) or loss.shape != () or not is_float(loss.dtype):
        came = f"{loss.dtype}{list(loss.shape)}" if isinstance(loss, Tensor) else _kind(loss)
        raise GradientError(
            f"a gradient needs one float number to differentiate, got {came}", mend=_mend(loss)
        )
    return literal(value=1, shape=(), dtype=loss.dtype.name)


def _kind(value: Any) -> str:
    return "nothing (None)" if value is None else f"a {type(value).__name__}, no Tensor"


def _mend(loss: Any) -> str:
    if isinstance(loss, float | int | np.generic | np.ndarray):
        return "keep the Tensor: float(), .item() and .numpy() leave the gradient behind"
    if isinstance(loss, tuple):
        return "has_aux=True where the function gives (loss, more)"
    if loss is None:
        return "return the loss"
    return "cr.mean(loss) or cr.sum(loss); cr.vjp for several outputs"


def differentiable(leaf: Any) -> bool:
    """Whether a gradient is taken with respect to this leaf."""
    if isinstance(leaf, State | bool | int | str):
        return False
    return isinstance(leaf, float) or (hasattr(leaf, "dtype") and is_float(np.dtype(leaf.dtype)))


def open_inputs(recording: Recording, tree: Any) -> tuple[Any, list[Tensor], Any]:
    """`tree` with its differentiable leaves replaced by inputs of `recording`."""
    leaves, structure = flatten(tree)
    made = [recording.input(weak_tensor(x)) if differentiable(x) else x for x in leaves]
    opened = [t for x, t in zip(leaves, made, strict=True) if differentiable(x)]
    slots = [differentiable(x) for x in leaves]
    return unflatten(structure, made), opened, (structure, slots)


def open_arguments(
    recording: Recording, args: Sequence[Any], argnums: int | Sequence[int]
) -> tuple[list, list[Tensor], Any]:
    """`args` with those at `argnums` opened, for `close_inputs` as one tree or a tuple of trees.

    GradientError when there is nothing to differentiate in them.
    """
    alone = isinstance(argnums, int)
    positions = [argnums] if isinstance(argnums, int) else list(argnums)
    if not all(isinstance(i, int) for i in positions):
        raise ArgumentError(
            f"argnums needs the places of arguments, got {argnums!r}",
            mend="argnums=0 for the first, or (0, 1) for two",
        )
    if max(positions, default=0) >= len(args):
        raise ArgumentError(f"argnums {argnums} needs more than {len(args)} arguments")
    chosen = tuple(args[i] for i in positions)
    tree, opened, where = open_inputs(recording, chosen[0] if alone else chosen)
    if not opened:
        raise GradientError(
            "nothing to differentiate: the chosen arguments hold no float tensors",
            mend="2.0 instead of 2; x.astype('float32') for an array of integers; "
            "model.build_for(x.shape) for a model that was not called yet",
        )
    given = list(args)
    for position, value in zip(positions, [tree] if alone else tree, strict=True):
        given[position] = value
    return given, opened, where


def close_inputs(where: Any, tensors: Iterable[Any]) -> Any:
    """`tensors` in a tree like the one opened; None where nothing is differentiable."""
    structure, slots = where
    source = iter(tensors)
    return unflatten(structure, [next(source) if slot else None for slot in slots])


def value_and_grad(
    fn: Callable, argnums: int | Sequence[int] = 0, has_aux: bool = False, rows: bool = False
) -> Callable:
    """A function that gives (loss, gradients) of `fn`, a function with a scalar result.

    Gradients come in the tree of the arguments at `argnums`; leaves that have none (integers,
    State) hold None. With `has_aux`, `fn` gives (loss, aux) and the result is
    ((loss, aux), gradients). With `rows`, the gradient of a tensor that is read only by `take`,
    and of whose rows fewer than half are, is `Rows`. GradientError when the result is no float
    scalar.

    >>> value_and_grad(lambda x: (x * x).sum())(np.float32([1, 2]))
    (Tensor(5., dtype=float32), Tensor([2., 4.], dtype=float32))
    """

    @wraps(fn)
    def differentiated(*args: Any, **kwargs: Any) -> Any:
        with Recording() as recording:
            given, opened, where = open_arguments(recording, args, argnums)
            result = fn(*given, **kwargs)
            loss, aux = result if has_aux else (result, None)
            seed = one_like(loss)
            if loss.recording is not recording:
                loss = recording.tensor(recording.node_of(loss))
            found = backward([loss], [seed], opened, rows)
            grads = [_strong_or_zero(g, x) for g, x in zip(found, opened, strict=True)]
            wanted, structure = flatten((strong(loss), grads, aux))
        loss, grads, aux = unflatten(structure, recording.export(wanted))
        return (loss, aux) if has_aux else loss, close_inputs(where, grads)

    return differentiated


def _strong_or_zero(g: Any, x: Tensor) -> Any:
    if isinstance(g, Rows):
        return g
    g = _or_zero(g, x)
    g.weak = x.weak
    return strong(g)


def _or_zero(g: Tensor | None, x: Tensor) -> Tensor:
    return literal(value=0, shape=x.shape, dtype=x.dtype.name) if g is None else g


def grad(
    fn: Callable, argnums: int | Sequence[int] = 0, has_aux: bool = False, rows: bool = False
) -> Callable:
    """A function that gives the gradients of `fn`; (gradients, aux) with `has_aux`.

    `rows` is as in `value_and_grad`.

    >>> grad(grad(lambda x: x * x * x))(2.0)
    Tensor(12., dtype=float32)
    """
    both = value_and_grad(fn, argnums, has_aux, rows)

    @wraps(fn)
    def differentiated(*args: Any, **kwargs: Any) -> Any:
        value, grads = both(*args, **kwargs)
        return (grads, value[1]) if has_aux else grads

    return differentiated


def gradient(loss: Tensor, wrt: Any) -> Any:
    """The gradient of a loss computed under `with cr.record():`, in the tree of `wrt`.

    GradientError when the loss was not recorded, or when a tensor of `wrt` was not used.
    """
    if not isinstance(loss, Tensor) or loss.recording is None:
        raise GradientError(
            "gradient needs a loss that was recorded; this one was only computed",
            mend="with cr.record(): around its computation, or cr.value_and_grad(fn)",
        )
    recording = loss.recording
    leaves, structure = flatten(wrt)
    slots = [differentiable(x) for x in leaves]
    tensors = [x for x, slot in zip(leaves, slots, strict=True) if slot]
    for x in tensors:
        if id(x) not in recording.captured and getattr(x, "recording", None) is not recording:
            raise GradientError(
                "a tensor of wrt was not used while the loss was recorded",
                mend="use the same Tensor object in the loss, inside `with cr.record():`",
            )
    if current() not in (None, recording):
        raise GradientError("gradient of another recording's loss while something else records")
    with recording:
        zeros = [
            _or_zero(g, x)
            for g, x in zip(backward([loss], [one_like(loss)], tensors), tensors, strict=True)
        ]
    return unflatten(structure, _fill(slots, zeros))


def _fill(slots: Sequence[bool], values: Sequence[Any]) -> list:
    source = iter(values)
    return [next(source) if slot else None for slot in slots]


def vjp(fn: Callable, *args: Any) -> tuple[Any, Callable]:
    """(fn(*args), pullback): `pullback(cotangents)` gives one cotangent tree per argument."""
    with Recording() as recording:
        opened_args, opened, where = open_inputs(recording, list(args))
        result = fn(*opened_args)
        outputs, structure = flatten(result)
        outputs = [strong(recording.inside(as_tensor(y))) for y in outputs]
    values = recording.export(outputs)

    def pullback(cotangents: Any) -> tuple:
        given = [as_tensor(g) for g in flatten(cotangents)[0]]
        for g, y in zip(given, outputs, strict=True):
            if g.shape != y.shape:
                raise ShapeError(f"the cotangent of a {y.shape} output came with shape {g.shape}")
        with recording:
            found = backward(outputs, given, opened)
            grads = [_strong_or_zero(g, x) for g, x in zip(found, opened, strict=True)]
        recording.writes.clear()
        return tuple(close_inputs(where, recording.export(grads)))

    return unflatten(structure, values), pullback
