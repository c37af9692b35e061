r"""The largest singular value of a Jacobian that is never written out, only applied.

$J^T J v$ is one forward and one reverse walk. Where $J$ has a block for each example, each block
is worked on alone and all at once, so that one example cannot hide another. The method is that
of Lanczos: a power iteration that keeps what the steps before have found. Its value is a lower
bound that grows, and the residual of its vector says how far it may be off.

Source: Golub and Van Loan, Matrix Computations, 4th edition, sections 10.1 and 10.4.
Read next: `gates.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from chainrule.compile.jit import jit
from chainrule.compile.unfold import unfolded
from chainrule.core.errors import GradientError
from chainrule.core.graph import Graph
from chainrule.core.node import Node, Origin, topological
from chainrule.core.recording import Recording, current
from chainrule.core.tensor import Tensor
from chainrule.grad.control import blank_input, copy_nodes
from chainrule.grad.forward import forward
from chainrule.grad.reverse import backward
from chainrule.train.summary import Work, _flops as flops, _worked as counted

CALLS, OPERATIONS = 2000, 2e8  # of NumPy, and of arithmetic, from which compiling pays

# v -> J^T J v, for each row of v
Gram = Callable[[np.ndarray], np.ndarray]


class Spectrum(NamedTuple):
    """The largest singular value of each block of each group, and how much its square may lack.

    It is `converged` when in every group the largest bound is above the largest value by no more
    than the tolerance, or all directions were seen.
    """

    values: np.ndarray
    lacks: np.ndarray
    steps: int
    converged: bool

    @property
    def largest(self) -> np.ndarray:
        """That of each group."""
        return self.values.max(axis=1)

    @property
    def errors(self) -> np.ndarray:
        """By which part of `largest` the true value of each group may be larger."""
        top, bound = self.largest, np.sqrt(self.values**2 + self.lacks).max(axis=1)
        beyond = np.where(bound > 0, np.inf, 1.0)
        return np.divide(bound, top, out=beyond, where=top > 0) - 1


def largest_singular(
    gram: Gram, shape: tuple[int, int, int], tolerance: float, most: int, seed: int = 0
) -> Spectrum:
    r"""The largest singular values of $J$ from `gram`, $v \to J^T J v$ for each row v.

    `shape` is (groups, blocks, size), of which `gram` gets (groups * blocks, size). It begins
    with normal numbers of `seed` and ends when each group is known to `tolerance`, a part of the
    value, or after `most` steps.
    """
    groups, blocks, size = shape
    v = np.random.default_rng(seed).standard_normal((groups * blocks, size))
    v /= np.linalg.norm(v, axis=1, keepdims=True)
    before, beta = np.zeros_like(v), np.zeros(len(v))
    diagonal: list[np.ndarray] = []
    beside: list[np.ndarray] = []
    for step in range(1, most + 1):
        w = gram(v)
        diagonal.append(np.einsum("bi,bi->b", v, w))
        w = w - diagonal[-1][:, None] * v - beta[:, None] * before
        beta = np.linalg.norm(w, axis=1)
        if not np.isfinite(beta).all():
            unknown = np.full((groups, blocks), np.nan)
            return Spectrum(unknown, unknown, step, False)
        values, lacks = _upper_end(diagonal, beside, beta)
        shaped = values.reshape(groups, blocks), lacks.reshape(groups, blocks)
        found = Spectrum(*shaped, step, True)
        if step == size or (found.errors <= tolerance).all():
            return found
        beside.append(beta)
        before, v = v, w / np.maximum(beta, np.finfo(float).tiny)[:, None]
    return found._replace(converged=False)


def _upper_end(
    diagonal: Sequence[np.ndarray], beside: Sequence[np.ndarray], beta: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """The root of the largest eigenvalue of each tridiagonal matrix, and its residual."""
    at = np.arange(len(diagonal))
    small = np.zeros((len(beta), len(at), len(at)))
    small[:, at, at] = np.stack(diagonal, axis=1)
    if beside:
        small[:, at[:-1], at[1:]] = small[:, at[1:], at[:-1]] = np.stack(beside, axis=1)
    squares, vectors = np.linalg.eigh(small)
    return np.sqrt(np.maximum(squares[:, -1], 0)), beta * np.abs(vectors[:, -1, -1])


def gram_of(recording: Recording, inputs: Sequence[Tensor], outputs: Sequence[Tensor]) -> Gram:
    r"""$v \to J^T J v$ for recorded `outputs` as functions of `inputs`, at their known values.

    Vectors are rows: a part of the first axis of each input, or all of it, one input after the
    other.
    """
    with recording:
        v = [unknown(recording, x) for x in inputs]
        moved = _pushed(recording, outputs, inputs, v)
        ends = [(y, t) for y, t in zip(outputs, moved, strict=True) if t is not None]
        there: list[tuple[int, Node]] = []
        if ends:
            back = backward([y for y, _ in ends], [t for _, t in ends], inputs)
            there = [(i, recording.node_of(g)) for i, g in enumerate(back) if g is not None]
        free = [recording.node_of(x) for x in v]
    graph, values = cut(recording, free, [node for _, node in there])
    run = faster(graph)

    def gram(rows: np.ndarray) -> np.ndarray:
        result = np.zeros_like(rows)
        sizes = np.cumsum([0, *(x.size // len(rows) for x in v)])
        parts = [
            rows[:, start:stop].reshape(x.shape).astype(x.dtype)
            for x, start, stop in zip(v, sizes[:-1], sizes[1:], strict=True)
        ]
        for (i, _), found in zip(there, run(*parts, *values), strict=True):
            result[:, sizes[i] : sizes[i + 1]] = found.reshape(len(rows), -1)
        return result

    return gram


def _pushed(
    recording: Recording, outputs: Sequence[Tensor], inputs: Sequence[Tensor], v: Sequence[Tensor]
) -> list[Tensor | None]:
    """J v; through a custom gradient by turning its way back round, the only one it knows."""
    try:
        return forward(outputs, inputs, v)
    except GradientError:
        u = [unknown(recording, y) for y in outputs]
        back = backward(outputs, u, inputs)
        ends = [(g, t) for g, t in zip(back, v, strict=True) if g is not None]
        return backward([g for g, _ in ends], [t for _, t in ends], u)


def mixes(gram: Gram, blocks: int, size: int) -> bool:
    """Whether a vector in the first of `blocks` moves another: then J has no blocks.

    `size` counts the numbers of all blocks.
    """
    if blocks == 1:
        return False
    v = np.zeros((blocks, size // blocks))
    v[0] = np.random.default_rng(1).standard_normal(v.shape[1])
    return bool(np.any(gram(v)[1:]))


def unknown(recording: Recording, like: Tensor) -> Tensor:
    """An input of the shape and dtype of `like` whose numbers are not known yet."""
    return recording.input(Tensor(np.zeros((0,), like.dtype)), like.shape)


def faster(graph: Graph) -> Callable[..., list[np.ndarray]]:
    """What runs `graph`: compiled where NumPy would take longer than compiling does."""
    parts = list(counted(Work(node, Origin(None), 1) for node in graph.order))
    calls = sum(part.times for part in parts)
    operations = sum(flops(part.node) * part.times for part in parts)
    if calls < CALLS and operations < OPERATIONS:
        return graph.run

    def again(*leaves: Tensor) -> list[Tensor]:
        recording = current()
        assert recording is not None
        inside = dict(zip(graph.inputs, leaves, strict=True))
        copy_nodes(graph.outputs, inside, recording, graph.origins)
        return [inside[node] for node in graph.outputs]

    compiled = jit(again)
    return lambda *arrays: [found.numpy() for found in compiled(*arrays)]


def cut(
    recording: Recording, free: Sequence[Node], ends: Sequence[Node]
) -> tuple[Graph, list[np.ndarray]]:
    """`ends` as a graph of `free` and of what is known; and the values of the latter."""
    known = recording.values
    order = topological(ends, known)
    read = dict.fromkeys(n for node in order for n in node.inputs if n in known)
    read |= dict.fromkeys(n for n in ends if n in known)
    with Recording(concrete=False) as own:
        inside = {node: blank_input(own, node) for node in (*free, *read)}
        leaves = [own.node_of(x) for x in inside.values()]
        copy_nodes(ends, inside, own, recording.origins)
        graph = Graph(leaves, [own.node_of(inside[n]) for n in ends], own.origins)
    return unfolded(graph), [known[n] for n in read]
