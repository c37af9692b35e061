"""Graphs that Hypothesis makes up: compiled code gives what eager NumPy gives.

A graph is a list of steps; a step names an op and what it is applied to. Every float op of the
table takes part: elementwise ones and reductions by their kind, the others by `MOVES`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from hypothesis import given, settings, strategies as st

import chainrule as cr
from chainrule.core.op import NO_GRADIENT, OPS, Op
from chainrule.core.tensor import as_tensor
from chainrule.ops.index import scatter_add
from chainrule.ops.rows import put_rows
from chainrule.ops.window import windows

LARGEST = 120  # elements; larger tensors are summed first
KINKED = {"relu", "abs", "maximum", "max", "least", "remainder"}  # their gradients jump at ties
USED = ("movement", "contraction", "index", "running")
TOLERANCE = {"float32": 2e-5, "float64": 1e-12}  # of the largest number on the way


class Step(NamedTuple):
    """`name` applied to earlier results; `seed` settles axes, shapes and constants."""

    name: str
    first: int
    second: int
    seed: int


def reduced(op: Op, x: Any, rng: np.random.Generator) -> Any:
    if not x.ndim:
        return x
    axes = rng.choice(x.ndim, rng.integers(1, x.ndim + 1), replace=False)
    return op(x, axis=tuple(sorted(map(int, axes))), keepdims=bool(rng.integers(2)))


def fitted(op: Op, x: Any) -> Any:
    """`x` brought into the op's domain, where it is not steep."""
    low, high = op.domain
    return low + (high - low) * cr.sigmoid(x)


def pointwise(op: Op, x: Any, z: Any) -> Any:
    arity = len(op.samples[0].args)
    if arity > 1:
        try:
            np.broadcast_shapes(x.shape, z.shape)
        except ValueError:
            z = cr.mean(z)
    linear = op.name in ("add", "subtract", "negative", "multiply", "relu", "abs", "maximum")
    return op(*[part if linear else fitted(op, part) for part in (x, z, x)[:arity]])


def folded(x: Any, z: Any, rng: np.random.Generator) -> Any:
    """Another shape of as many elements."""
    for n in (2, 3, 5):
        if x.size % n == 0:
            return cr.reshape(x, (n, -1) if rng.integers(2) else (-1, n))
    return cr.reshape(x, -1)


def sliced(x: Any, z: Any, rng: np.random.Generator) -> Any:
    parts = [slice(int(rng.integers(0, max(n, 1))), None, int(rng.integers(1, 3))) for n in x.shape]
    if parts and rng.integers(3) == 0:
        parts[-1] = slice(None, None, -1)
    return x[tuple(parts)]


def padded(x: Any, z: Any, rng: np.random.Generator) -> Any:
    return cr.pad(x, [tuple(map(int, rng.integers(0, 2, 2))) for _ in x.shape], 0.5)


def multiplied(x: Any, z: Any, rng: np.random.Generator) -> Any:
    """A product with a captured array, with itself turned, or of all with all."""
    columns = x.shape[-1] if x.ndim else 1
    rows = cr.reshape(x, (x.size // columns, columns))
    choice = rng.integers(3)
    if choice == 0:
        return rows @ rng.uniform(-1, 1, (columns, 3)).astype(x.dtype) / columns
    if choice == 1:
        return cr.transpose(rows) @ rows / len(rows)
    return cr.outer(cr.reshape(x, -1)[:6], cr.reshape(z, -1)[:5])


def picked(x: Any, z: Any, rng: np.random.Generator) -> Any:
    if not x.ndim:
        return x
    axis = int(rng.integers(x.ndim))
    ids = rng.integers(0, x.shape[axis], x.shape[axis] if rng.integers(2) else 2)
    if len(ids) == x.shape[axis]:
        return scatter_add(x, ids, axis=axis, extent=x.shape[axis] + 1)
    return cr.take(x, ids, axis)


def placed(x: Any, z: Any, rng: np.random.Generator) -> Any:
    """Rows put over others, or sums of all up to each."""
    if not x.ndim or rng.integers(2):
        return cr.cumsum(x, int(rng.integers(x.ndim)) if x.ndim else None)
    ids = rng.permutation(x.shape[0])[:2]
    return put_rows(x, ids, x[: len(ids)] * 0.5)


def joined(x: Any, z: Any, rng: np.random.Generator) -> Any:
    if not x.ndim:
        return cr.stack([x, cr.mean(z), x])
    axis = int(rng.integers(x.ndim))
    part = x[(slice(None),) * axis + (slice(int(rng.integers(2)), None),)]
    return cr.concatenate([part, x * cr.mean(z)], axis)


def windowed(x: Any, z: Any, rng: np.random.Generator) -> Any:
    if not x.ndim or x.shape[0] < 3:
        return x
    stride = int(rng.integers(1, 3))
    return windows(x, axes=(0,), size=(2,), stride=(stride,), dilation=(stride,))


def spread(x: Any, z: Any, rng: np.random.Generator) -> Any:
    return cr.broadcast_to(cr.expand_dims(x), (2, *x.shape))


def turned(x: Any, z: Any, rng: np.random.Generator) -> Any:
    return cr.transpose(x, [int(a) for a in rng.permutation(x.ndim)])


def least(x: Any, z: Any, rng: np.random.Generator) -> Any:
    x, z = x + cr.mean(z), x * 2
    return cr.where(cr.less(x, z), x, z)


MOVES: dict[str, Callable] = {
    fn.__name__: fn
    for fn in (
        folded,
        sliced,
        padded,
        multiplied,
        picked,
        placed,
        joined,
        windowed,
        spread,
        turned,
        least,
    )
}
FLOAT_OPS = [
    name
    for name, op in OPS.items()
    if op.kind in ("elementwise", "reduction")
    and op.deriv is not NO_GRADIENT
    and all(isinstance(arg, tuple) for s in op.samples for arg in s.args)
    and "dtype" not in op.samples[0].attrs
]
SMOOTH = [name for name in [*FLOAT_OPS, *MOVES] if name not in KINKED]


def applied(step: Step, x: Any, z: Any) -> Any:
    rng = np.random.default_rng(step.seed)
    if step.name in MOVES:
        return MOVES[step.name](x, z, rng)
    op = OPS[step.name]
    return reduced(op, x, rng) if op.kind == "reduction" else pointwise(op, x, z)


def results(steps: Sequence[Step], *inputs: Any) -> list:
    """All that the steps make, in order."""
    made = [as_tensor(x) for x in inputs]
    for step in steps:
        x, z = made[step.first % len(made)], made[step.second % len(made)]
        made.append(applied(step, x, z))
        while made[-1].size > LARGEST:
            made[-1] = cr.sum(made[-1], axis=0)
    return made[len(inputs) :]


def graphs(names: Sequence[str], longest: int) -> st.SearchStrategy:
    number = st.integers(0, 7)
    step = st.builds(Step, st.sampled_from(names), number, number, number)
    return st.lists(step, min_size=1, max_size=longest)


def drawn_inputs(dtype: str) -> list[np.ndarray]:
    rng = np.random.default_rng(11)
    return [rng.uniform(-2, 2, shape).astype(dtype) for shape in ((3, 4), (4,))]


def assert_close(found: Sequence, wanted: Sequence, dtype: str, largest: float) -> None:
    for one, two in zip(found, wanted, strict=True):
        assert (one.shape, one.dtype) == (two.shape, two.dtype)
        gap = np.max(np.abs(one.numpy() - two.numpy()), initial=0.0)
        assert gap <= TOLERANCE[dtype] * largest, f"off by {gap:.2e} where {largest:.2e} is largest"


def largest_of(tensors: Sequence) -> float:
    return max(1.0, *(float(np.max(np.abs(t.numpy()), initial=0.0)) for t in tensors))


SETTINGS = settings(derandomize=True, deadline=None, database=None)


@settings(SETTINGS, max_examples=80)
@given(steps=graphs([*FLOAT_OPS, *MOVES], 8), dtype=st.sampled_from(["float32", "float64"]))
def test_compiled_graph_computes_what_eager_computes(steps, dtype):
    inputs = drawn_inputs(dtype)
    wanted = results(steps, *inputs)
    found = cr.jit(lambda *x: results(steps, *x))(*inputs)
    assert_close(found, wanted, dtype, largest_of(wanted))


def scalar(steps: Sequence[Step], *inputs: Any) -> Any:
    last = results(steps, *inputs)[-1]
    return cr.sum(cr.tanh(last))


@settings(SETTINGS, max_examples=40)
@given(steps=graphs(SMOOTH, 5))
def test_compiled_gradient_is_the_eager_gradient(steps):
    inputs = drawn_inputs("float64")
    gradients = cr.grad(lambda *x: scalar(steps, *x), argnums=(0, 1))
    wanted = gradients(*inputs)
    largest = largest_of([*results(steps, *inputs), *wanted])
    assert_close(cr.jit(gradients)(*inputs), wanted, "float64", largest)


@settings(SETTINGS, max_examples=40)
@given(steps=graphs(SMOOTH, 5))
def test_gradient_of_a_made_up_graph_is_that_of_differences(steps):
    inputs = drawn_inputs("float64")
    check = cr.check_gradient(lambda *x: scalar(steps, *x), inputs, tolerance=1e-5)
    gradients = cr.grad(lambda *x: scalar(steps, *x), argnums=(0, 1))(*inputs)
    small = all(float(np.max(np.abs(g.numpy()))) < 1e-5 for g in gradients)
    assert small or check, check


@settings(SETTINGS, max_examples=25)
@given(steps=graphs([*FLOAT_OPS, *MOVES], 5))
def test_vmap_of_a_made_up_graph_is_a_loop(steps):
    inputs = drawn_inputs("float64")
    batches = [np.stack([x, x[::-1], -x]) for x in inputs]
    found = cr.vmap(lambda *x: results(steps, *x))(*batches)
    loop = [results(steps, *rows) for rows in zip(*batches)]
    for i, y in enumerate(found):
        wanted = np.stack([row[i].numpy() for row in loop])
        np.testing.assert_allclose(y.numpy(), wanted, rtol=1e-9, atol=1e-9)


def test_made_up_graphs_reach_every_float_op():
    assert {"add", "power", "tanh", "sum", "max"} <= set(FLOAT_OPS)
    steps = [Step(name, 0, 1, seed) for name in MOVES for seed in range(8)]
    graph = cr.jit(lambda *x: [results([s], *x) for s in steps]).graph(*drawn_inputs("float64"))
    used = {node.op.name for node in graph.order} | set(FLOAT_OPS)
    known = {op.name for op in OPS.values() if op.kind in USED and op.deriv is not NO_GRADIENT}
    assert known - {"after"} <= used  # what a checkpoint computes again is held by test_control
