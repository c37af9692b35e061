r"""Jacobians and Hessians: every output's derivative in every input.

The function is recorded once. Its Jacobian is then one backward walk for each number of the
outputs, or one forward walk for each number of the inputs, all of them batched into one by
`vmap`: whichever are fewer. Read next: `path.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import wraps
from typing import Any

import numpy as np

from chainrule.core.dtypes import is_float
from chainrule.core.errors import GradientError
from chainrule.core.node import topological
from chainrule.core.recording import Recording
from chainrule.core.tensor import Tensor
from chainrule.core.tree import flatten, unflatten
from chainrule.grad.custom import custom
from chainrule.grad.forward import forward
from chainrule.grad.reverse import (
    _kind,
    _mend,
    _or_zero,
    _strong_or_zero,
    backward,
    close_inputs,
    grad,
    open_arguments,
)
from chainrule.grad.vmap import vmap
from chainrule.ops.elementwise import strong
from chainrule.ops.move import reshape, transpose


def jacobian(fn: Callable, argnums: int | Sequence[int] = 0) -> Callable:
    r"""A function that gives the Jacobians $\partial y / \partial x$ of `fn`.

    The result is the tree of `fn`'s outputs, with the tree of the arguments at `argnums` in place
    of each output $y$; a Jacobian has $y$'s shape followed by $x$'s. Leaves of the arguments
    that have no gradient (integers, State) hold None. GradientError when an output is no float
    Tensor, or no argument a float.

    >>> jacobian(lambda x: x * x)(np.float32([1, 2]))
    Tensor([[2., 0.],
            [0., 4.]], dtype=float32)
    """

    @wraps(fn)
    def differentiated(*args: Any, **kwargs: Any) -> Any:
        with Recording() as recording:
            given, opened, where = open_arguments(recording, args, argnums)
            leaves, structure = flatten(fn(*given, **kwargs))
            outputs = [strong(recording.inside(_output(y))) for y in leaves or [None]]
        recording.export([])  # State is renewed by this one call, not by the walks below
        recording.writes.clear()
        fewer_inputs = sum(x.size for x in opened) <= sum(y.size for y in outputs)
        order = topological([recording.node_of(y) for y in outputs])
        # A custom gradient knows only its own way back.
        forth = fewer_inputs and all(node.op is not custom for node in order)
        rows = (_columns if forth else _rows)(recording, outputs, opened)
        return unflatten(structure, [close_inputs(where, row) for row in rows])

    return differentiated


def hessian(fn: Callable, argnums: int | Sequence[int] = 0) -> Callable:
    r"""A function that gives the second derivatives $\partial^2 L/\partial x\,\partial z$ of `fn`.

    `fn` has a scalar result. For each argument $x$ of the tree at `argnums` there is such a tree
    of $z$; a block has $x$'s shape followed by $z$'s. GradientError as of `grad`.

    >>> hessian(lambda x: x[0] ** 2 * x[1])(np.float32([1, 2]))
    Tensor([[4., 2.],
            [2., 0.]], dtype=float32)
    """
    return jacobian(grad(fn, argnums), argnums)


def _output(y: Any) -> Tensor:
    if isinstance(y, Tensor) and is_float(y.dtype):
        return y
    came = f"{y.dtype}{list(y.shape)}" if isinstance(y, Tensor) else _kind(y)
    mend = "leave this output out: it moves in jumps" if isinstance(y, Tensor) else _mend(y)
    raise GradientError(f"a Jacobian needs float outputs, got {came}", mend=mend)


def _rows(recording: Recording, outputs: list[Tensor], opened: list[Tensor]) -> list:
    """For each output, its Jacobian in every input: one walk back for each of its numbers."""
    found = []
    for y in outputs:

        def back(g: Tensor, y: Tensor = y) -> list[Tensor]:
            with recording:
                parts = backward([y], [g], opened)
                grads = [_strong_or_zero(part, x) for part, x in zip(parts, opened, strict=True)]
            return recording.export(grads)

        many = vmap(back)(_basis(y))
        found.append([reshape(g, (*y.shape, *g.shape[1:])) for g in many])
    return found


def _columns(recording: Recording, outputs: list[Tensor], opened: list[Tensor]) -> list:
    """For each output, its Jacobian in every input: one walk on for each number of the inputs."""
    found: list[list[Tensor]] = [[] for _ in outputs]
    for x in opened:

        def on(t: Tensor, x: Tensor = x) -> list[Tensor]:
            with recording:
                parts = forward(outputs, [x], [t])
                moved = [_or_zero(part, y) for part, y in zip(parts, outputs, strict=True)]
            return recording.export(moved)

        for row, moved in zip(found, vmap(on)(_basis(x)), strict=True):
            last = transpose(moved, (*range(1, moved.ndim), 0))
            row.append(reshape(last, (*moved.shape[1:], *x.shape)))
    return found


def _basis(x: Tensor) -> np.ndarray:
    """Each number of `x` once: 1 there, 0 elsewhere."""
    return np.eye(x.size, dtype=x.dtype).reshape((x.size, *x.shape))
