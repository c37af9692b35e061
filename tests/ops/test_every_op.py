"""Further claims for every op: batched gradients, dtypes of gradients, inputs of other dtypes.

As in `op_checks.py` nothing here knows an op by name, and each claim meets a planted fault.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule.core.op import NO_GRADIENT, OPS, Op, Sample
from chainrule.grad import reverse, vmap
from chainrule.ops.elementwise import cast_op, refloat, tanh
from chainrule.ops.reduce import sum_op
from tests.op_checks import BATCH, arrays_of, floats_of, restricted, weights

EVERY = [(op, sample) for op in OPS.values() for sample in op.samples]


def has_gradient(op: Op, sample: Sample) -> bool:
    if op.kind == "random" or op.deriv is NO_GRADIENT or not floats_of(sample):
        return False
    return op(*arrays_of(op, sample), **sample.attrs).dtype.kind == "f"


def check_batched_gradient(op: Op, sample: Sample) -> None:
    """The gradients of a batch of examples are those of a loop over them."""
    fn, inputs = restricted(op, sample, arrays_of(op, sample))
    w = weights(fn(*inputs).shape)

    def gradients(*x: Any) -> Any:
        y, pullback = cr.vjp(fn, *x)
        return pullback(cr.cast(w, y.dtype))

    batch = [np.stack([np.roll(x, i) for i in range(BATCH)]) for x in inputs]
    found = cr.vmap(gradients)(*batch)
    loop = [gradients(*[x[i] for x in batch]) for i in range(BATCH)]
    for g, parts in zip(found, zip(*loop)):
        np.testing.assert_allclose(g.numpy(), np.stack(parts), rtol=1e-12, atol=1e-13)


def check_gradient_dtype(op: Op, sample: Sample) -> None:
    """A gradient has the dtype of its input."""
    for dtype in ("float32", "float64"):
        fn, inputs = restricted(op, sample, arrays_of(op, sample, dtype))
        y, pullback = cr.vjp(fn, *inputs)
        found = [g.dtype for g in pullback(np.ones(y.shape, y.dtype))]
        assert found == [x.dtype for x in inputs], f"{found} of {dtype} inputs"


def misfits(x: np.ndarray) -> Iterator[np.ndarray]:
    """Arrays that an op may or may not take in place of `x`."""
    for dtype in ("bool", "uint8", "int32", "float32", "float64"):
        yield np.abs(x).astype(dtype)
    yield np.stack([x, x])
    if x.ndim:
        yield np.concatenate([x, x[:1]])
        yield x[:0]


def check_misfits(op: Op, sample: Sample) -> None:
    """What does not fit is refused by an error of ours, with its place; the rest computes."""
    arrays = arrays_of(op, sample, "float32")
    for i, x in enumerate(arrays):
        for other in misfits(x):
            given = [*arrays[:i], other, *arrays[i + 1 :]]
            what = f"input {i} as {other.dtype}{other.shape}"
            try:
                with cr.record():
                    y = op(*given, **sample.attrs)
            except cr.ChainruleError as error:
                assert error.place, f"{what}: the error does not say where"
                continue
            except Exception as error:
                raise AssertionError(f"{what}: {type(error).__name__}: {error}") from error
            assert (y.numpy().shape, y.numpy().dtype) == (y.node.shape, y.node.dtype), what


CHECKS = [check_batched_gradient, check_gradient_dtype, check_misfits]
CASES = [
    pytest.param(check, op, sample, id=f"{check.__name__[6:]}-{op.name}-{i}")
    for check in CHECKS
    for i, (op, sample) in enumerate(EVERY)
    if check is check_misfits or has_gradient(op, sample)
]


@pytest.mark.parametrize(("check", "op", "sample"), CASES)
def test_every_op_keeps_the_further_claims(check: Callable, op: Op, sample: Sample) -> None:
    check(op, sample)


@pytest.mark.parametrize(
    ("op", "fault"),
    [
        (tanh, dict(infer=lambda x: x, ref=np.invert)),
        (sum_op, dict(infer=lambda x, **a: sum_op.infer(x, (0,), False))),
        (cast_op, dict(infer=lambda x, dtype: x)),
    ],
    ids=["NumPy's own error", "a shape", "a dtype"],
)
def test_misfit_met_too_late_is_noticed(op: Op, fault: dict) -> None:
    with pytest.raises(AssertionError):
        check_misfits(replace(op, **fault), op.samples[0])


def test_gradient_that_was_not_cast_back_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reverse, "cast", lambda x, dtype: x)
    with pytest.raises(AssertionError, match="float64"):
        check_gradient_dtype(refloat, refloat.samples[0])


def test_wrong_batching_of_a_gradient_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    sound = vmap.RULES["elementwise"]
    monkeypatch.setitem(vmap.RULES, "elementwise", lambda op, *rest: -sound(op, *rest))
    with pytest.raises(AssertionError):
        check_batched_gradient(cr.multiply, cr.multiply.samples[0])
