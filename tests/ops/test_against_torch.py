"""Every op's value and gradient, with its own samples, against PyTorch in float64.

An op without attributes whose name PyTorch has too is compared with the function of that name and
needs no line here; TWINS translates the others, and APART says why an op has nothing to be
compared with. Functions made of ops are in `test_functions_against_torch.py`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

import chainrule as cr
import chainrule.compile.layout  # it registers an op of its own
from chainrule.core.op import NO_GRADIENT, OPS, REQUIRED, Op, Sample
from tests.op_checks import arrays_of, floats_of, restricted, weights

torch = pytest.importorskip("torch", reason="pip install 'chainrule[peers]'")
F = torch.nn.functional
pytestmark = pytest.mark.heavy

# By kind, or by name where one of a kind stands apart.
APART = {
    "leaf": "it computes nothing",
    "control": "it holds functions of chainrule",
    "random": "its bits are Philox's, which PyTorch's generator does not make",
    "put_parts": "it stores what an update has made, and no derivative is taken of it here",
}


def apart(op: Op) -> bool:
    return op.kind in APART or op.name in APART


def places(shape: tuple, low: tuple, step: tuple, count: tuple) -> tuple:
    """The index of every `step`-th element of each axis from `low` on."""
    return tuple(slice(a, a + (n - 1) * s + 1, s) for a, s, n in zip(low, step, count, strict=True))


def padded(x: Any, low: tuple, high: tuple, gap: tuple, value: float) -> Any:
    spread = [n + max(n - 1, 0) * q for n, q in zip(x.shape, gap, strict=True)]
    shape = [a + n + b for a, n, b in zip(low, spread, high, strict=True)]
    index = places(x.shape, low, tuple(q + 1 for q in gap), tuple(x.shape))
    y = torch.full(shape, value, dtype=x.dtype)
    y[index] = x
    return y


def windows(x: Any, axes: tuple, size: tuple, stride: tuple, dilation: tuple) -> Any:
    """By `unfold`: a wide window of each axis in turn, of which every `dilation`-th is kept."""
    for axis, w, s, d in zip(axes, size, stride, dilation, strict=True):
        x = x.unfold(axis, (w - 1) * d + 1, s)[..., ::d]
    many, at = len(axes), max(axes) + 1
    order = range(x.ndim - many)
    return x.permute(*order[:at], *range(x.ndim - many, x.ndim), *order[at:])


def unwindows(x: Any, extent: tuple, axes: tuple, **attrs: Any) -> Any:
    """The transpose of `windows`: what its gradient is."""
    shape = [n for i, n in enumerate(x.shape) if not max(axes) < i <= max(axes) + len(axes)]
    for axis, n in zip(axes, extent, strict=True):
        shape[axis] = n
    start = torch.zeros(shape, dtype=x.dtype, requires_grad=True)
    seen = windows(start, axes, **attrs)
    return torch.autograd.grad(seen, start, x, create_graph=True)[0]


def taken(x: Any, ids: Any, axis: int) -> Any:
    return x[(slice(None),) * axis + (ids,)]


def scattered(g: Any, ids: Any, axis: int, extent: int) -> Any:
    rows = g.flatten(axis, axis + ids.ndim - 1)
    shape = [extent if i == axis else n for i, n in enumerate(rows.shape)]
    return torch.zeros(shape, dtype=g.dtype).index_add(axis, ids.flatten(), rows)


def summed_up(x: Any, axis: int, reverse: bool) -> Any:
    return x.flip(axis).cumsum(axis).flip(axis) if reverse else x.cumsum(axis)


def first_places(ids: Any) -> Any:
    return (ids[..., None, :] == ids[..., :, None]).long().argmax(-1)


TWINS: dict[str, Callable] = {
    "after": lambda x, z: x.clone(),
    "argsort": lambda x, axis, descending: torch.argsort(
        x, stable=True, dim=axis, descending=descending
    ),
    "broadcast_to": lambda x, shape: torch.broadcast_to(x, shape),
    "cast": lambda x, dtype: x.to(getattr(torch, dtype)),
    "cholesky": lambda x: torch.linalg.cholesky((x + x.mT) / 2),
    # torch's own gradient fails where its bounds are broadcast
    "clip": lambda *x: torch.clip(*torch.broadcast_tensors(*x)),
    "concatenate": lambda *x, axis: torch.cat(x, axis),
    "contract": lambda x, z, spec: torch.einsum(spec, x, z),
    "cumsum": summed_up,
    "detsign": lambda x: torch.linalg.slogdet(x)[0],
    "equal": torch.eq,
    "first_places": first_places,
    "flip": lambda x, axes: x.flip(axes),
    "logabsdet": lambda x: torch.linalg.slogdet(x)[1],
    "materialise": torch.clone,
    "max": lambda x, axis, keepdims: torch.amax(x, axis, keepdims),
    "pad": padded,
    "power": torch.pow,
    "put_rows": lambda x, ids, rows: x.index_put((ids,), rows),
    "refloat": lambda x, dtype: x.to(getattr(torch, dtype)),
    "reshape": lambda x, shape: x.reshape(shape),
    "scatter_add": scattered,
    "shift_right": lambda x, by: x.long() >> by,
    "slice": lambda x, start, stop, step: x[tuple(map(slice, start, stop, step))],
    "solve": torch.linalg.solve,
    "stop_gradient": lambda x: x.detach(),
    "sum": lambda x, axis, keepdims: torch.sum(x, axis, keepdims),
    "take": taken,
    "transpose": lambda x, axes: x.permute(axes),
    "unwindows": unwindows,
    "windows": windows,
}


def twin(op: Op) -> Callable | None:
    """PyTorch's account of an op: from the table, or of the op's own name."""
    return TWINS.get(op.name) or getattr(torch, op.name, None)


EVERY = [
    pytest.param(op, sample, id=f"{op.name}-{i}")
    for op in OPS.values()
    if not apart(op)
    for i, sample in enumerate(op.samples)
]


def test_every_op_has_a_twin_or_a_reason() -> None:
    lacking = [name for name, op in OPS.items() if not apart(op) and twin(op) is None]
    assert not lacking, f"{lacking}: a line in TWINS, or in APART with the reason"
    known = {*OPS, *REQUIRED}
    assert TWINS.keys() <= known and APART.keys() <= known and not TWINS.keys() & APART.keys()
    assert twin(replace(OPS["tanh"], name="unheard_of")) is None


@pytest.mark.parametrize(("op", "sample"), EVERY)
def test_op_and_its_gradient_are_those_of_torch(op: Op, sample: Sample) -> None:
    arrays, which = arrays_of(op, sample), floats_of(sample)
    function = twin(op)
    assert function is not None
    given = [torch.tensor(x).requires_grad_(i in which) for i, x in enumerate(arrays)]
    theirs = function(*given, **sample.attrs)
    ours = op(*arrays, **sample.attrs).numpy()
    np.testing.assert_allclose(ours, theirs.detach().numpy(), rtol=1e-12, atol=1e-13)
    if not theirs.requires_grad or op.deriv is NO_GRADIENT:
        return
    w = weights(ours.shape)
    (theirs * torch.tensor(w)).sum().backward()
    fn, inputs = restricted(op, sample, arrays)
    found = cr.grad(lambda *x: cr.sum(fn(*x) * w), argnums=range(len(inputs)))(*inputs)
    for i, g in zip(which, found, strict=True):
        wanted = given[i].grad
        wanted = np.zeros_like(arrays[i]) if wanted is None else wanted.numpy()
        np.testing.assert_allclose(g.numpy(), wanted, rtol=1e-10, atol=1e-11)


def test_op_without_a_gradient_here_has_none_in_torch() -> None:
    for op in OPS.values():
        if op.deriv is not NO_GRADIENT or apart(op):
            continue
        for sample in op.samples:
            arrays, which = arrays_of(op, sample), floats_of(sample)
            given = [torch.tensor(x).requires_grad_(i in which) for i, x in enumerate(arrays)]
            theirs = twin(op)(*given, **sample.attrs)  # type: ignore[misc]
            if theirs.requires_grad:
                inputs = [given[i] for i in which]
                found = torch.autograd.grad(theirs.sum(), inputs, allow_unused=True)
                assert not any(g.any() for g in found if g is not None), op.name
