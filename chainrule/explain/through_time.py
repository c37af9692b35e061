r"""How far a recurrent layer's gradient reaches: the curve of $\|\partial s_T/\partial s_t\|$.

$s_t$ is all that the layer carries from step to step, $h$ or $(h, c)$, as step $t$ finds it, and
the norm is the largest singular value, of the example where it is largest. A state of few numbers
has its Jacobian written out, row by row, by one walk back for all rows at once. Of a larger one
it is searched for: a vector is pushed from $t$ to the end and pulled back, for all $t$ of the
curve at once (`spectrum.py`).

Source: Pascanu, Mikolov, Bengio, "On the difficulty of training recurrent neural networks", ICML
2013, section 2. Read next: `strip.py`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from chainrule.core.dtypes import is_float
from chainrule.core.graph import Graph
from chainrule.core.node import Node, topological
from chainrule.core.recording import Recording, current
from chainrule.core.tensor import Tensor
from chainrule.explain.loops import Unfolded
from chainrule.explain.spectrum import Spectrum, largest_singular
from chainrule.grad.control import blank, blank_input, copy_nodes, zeros
from chainrule.grad.forward import forward
from chainrule.grad.reverse import backward
from chainrule.grad.vmap import vmap

WRITTEN_OUT = 256  # numbers of a state whose Jacobian is written out


class Curve(NamedTuple):
    r"""$\|\partial s_T/\partial s_t\|$ of the recurrent layer at `path`, for some steps t of T.

    Where it is `exact` the Jacobians were written out; else `errors` are the parts of the norms
    by which the true ones may be larger, each within the tolerance if it `converged`. The state
    has `state` numbers; the first `examples` of the batch were looked at.
    """

    path: str
    kind: str
    steps: int
    times: tuple[int, ...]
    norms: tuple[float, ...]
    errors: tuple[float, ...]
    state: int
    exact: bool
    converged: bool
    examples: int


def reach(
    node: Node, recording: Recording, states: int, points: int, tolerance: float, most: int
) -> tuple[list[int], Spectrum, int]:
    """(times, their norms, the size of the state) of a recorded `scan`.

    The state is its last `states` carries. At most `points` times are looked at, the first and
    the last among them; the spectrum has a group for each and a block for each example, and no
    steps where nothing was searched for.
    """
    loop = Unfolded(node, recording.values)
    carries = range(loop.loop.carries - states, loop.loop.carries)
    which = [i for i in carries if is_float(loop.body.inputs[i].dtype)]
    length = loop.loop.length
    times = sorted({round(t) for t in np.linspace(0, length - 1, min(points, length))})
    state = [loop.body.inputs[i] for i in which]
    size = sum(node.size // node.shape[0] for node in state)
    if size <= WRITTEN_OUT:
        return times, _written_out(loop, which, times, size), size
    return times, _searched(loop, which, times, size, tolerance, most), size


def _written_out(loop: Unfolded, which: Sequence[int], times: list[int], size: int) -> Spectrum:
    """The norms of the Jacobians themselves, whose rows are pulled back together."""
    _, pull = _walks(loop.body, which, size)
    state = [loop.body.inputs[i] for i in which]
    examples = state[0].shape[0]
    rows = np.repeat(np.eye(size), examples, axis=0)
    moving = _parted(rows, state, size)
    norms = {}
    order = list(loop.loop.times())
    for step in reversed(range(len(order))):
        moving = pull(moving, loop, order[step])
        if step in times:
            whole = _joined(moving, size * examples).reshape(size, examples, size)
            norms[step] = np.linalg.norm(whole.swapaxes(0, 1), 2, axis=(1, 2))
    values = np.stack([norms[t] for t in times])
    return Spectrum(values, np.zeros_like(values), 0, True)


def _searched(
    loop: Unfolded,
    which: Sequence[int],
    times: list[int],
    size: int,
    tolerance: float,
    most: int,
) -> Spectrum:
    push, pull = _walks(loop.body, which, len(times))
    state = [loop.body.inputs[i] for i in which]
    order = list(loop.loop.times())

    def gram(v: np.ndarray) -> np.ndarray:
        begins = _parted(v, state, len(times))
        moving = [np.zeros_like(part) for part in begins]
        for step, t in enumerate(order):
            if step in times:
                _copy_row(times.index(step), begins, moving)
            moving = push(moving, loop, t)
        rows = _joined(moving, len(v))
        # What is left after many steps may be too small for its square to be a float32.
        scale = np.maximum(np.abs(rows).max(axis=1, keepdims=True), np.finfo(float).tiny)
        moving, ends = _parted(rows / scale, state, len(times)), begins
        for step in reversed(range(len(order))):
            moving = pull(moving, loop, order[step])
            if step in times:
                _copy_row(times.index(step), moving, ends)
        return _joined(ends, len(v)) * scale

    shape = (len(times), state[0].shape[0], size)
    return largest_singular(gram, shape, tolerance, most)


def _copy_row(at: int, source: Sequence[np.ndarray], target: Sequence[np.ndarray]) -> None:
    for one, other in zip(source, target, strict=True):
        other[at] = one[at]


def _parted(v: np.ndarray, state: Sequence[Node], rows: int) -> list[np.ndarray]:
    """The rows of `v` as arrays like those of the state, `rows` of each."""
    ends = np.cumsum([n.size // n.shape[0] for n in state])
    return [
        np.array(part.reshape(rows, *n.shape), n.dtype)
        for part, n in zip(np.split(v, ends[:-1], axis=1), state, strict=True)
    ]


def _joined(parts: Sequence[np.ndarray], rows: int) -> np.ndarray:
    return np.concatenate([part.reshape(rows, -1) for part in parts], axis=1).astype(float)


class _Walk:
    """A step of the loop, forth or back, for many directions of the state at once."""

    def __init__(self, graph: Graph, reads: Sequence[Node]):
        self.graph, self.reads = graph, reads

    def __call__(self, moving: Sequence[np.ndarray], loop: Unfolded, t: int) -> list[np.ndarray]:
        found = self.graph.run(*moving, *[loop.at(n, t) for n in self.reads])
        return [np.array(each) for each in found]


def _walks(body: Graph, which: Sequence[int], rows: int) -> tuple[_Walk, _Walk]:
    """The walk forth and the walk back through a step, for `rows` directions."""
    with Recording(concrete=False) as recording:
        found = {node: blank_input(recording, node) for node in body.inputs}
        copy_nodes(body.outputs, found, recording, body.origins)
        inputs = [found[body.inputs[i]] for i in which]
        outputs = [found[body.outputs[i]] for i in which]
        origin = {recording.node_of(tensor): node for node, tensor in found.items()}
        moved = [blank_input(recording, x) for x in inputs]
        made = []
        for walked in (forward(outputs, inputs, moved), backward(outputs, moved, inputs)):
            ends = [zeros(x) if t is None else t for t, x in zip(walked, inputs, strict=True)]
            made.append([recording.node_of(end) for end in ends])
    free = [recording.node_of(x) for x in moved]
    forth, back = (_many(ends, free, origin, rows) for ends in made)
    return forth, back


def _many(ends: Sequence[Node], free: Sequence[Node], origin: dict[Node, Node], rows: int) -> _Walk:
    """`ends` as a function of `rows` of each of `free`, and of the known nodes of `origin`."""
    order = topological(ends, [*free, *origin])
    reads = list(dict.fromkeys(n for node in order for n in node.inputs if n in origin))

    def one(*given: Tensor) -> list[Tensor]:
        recording = current()
        assert recording is not None
        inside = dict(zip((*free, *reads), given, strict=True))
        copy_nodes(ends, inside, recording, {})
        return [inside[node] for node in ends]

    with Recording(concrete=False) as own:
        wide = [own.input(blank((rows, *n.shape), n.dtype)) for n in free]
        given = [*wide, *(blank_input(own, n) for n in reads)]
        found = vmap(one, [0] * len(wide) + [None] * len(reads))(*given)
        graph = Graph([own.node_of(x) for x in given], [own.node_of(y) for y in found], own.origins)
    return _Walk(graph, [origin[n] for n in reads])
