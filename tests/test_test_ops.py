"""A test of the tests: the claims of `op_checks.py` are false for ops with planted faults.

The planted ops are records of their own, outside the table, so that no other test meets them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule.compile.runtime import machine
from chainrule.core.op import OPS, REQUIRED, Op, Sample, Spec, register
from chainrule.core.recording import current
from chainrule.ops import approximate
from chainrule.ops.elementwise import tanh
from chainrule.ops.linear import contract
from chainrule.ops.move import pad_op, reshape, slice_op, transpose, transpose_op
from chainrule.ops.reduce import max_op, sum_op
from chainrule.ops.window import windows
from tests import op_checks as claims


def only_when_eager(*parts: Any) -> Any:
    """A fault that hides while something records."""
    return parts[0] if current() is None else parts[1]


FAULTS: list[tuple[str, Op, dict[str, Any], Callable]] = [
    ("wrong sign", tanh, dict(deriv=lambda x, y: y * y - 1), claims.check_gradient),
    ("doubled", cr.multiply, dict(deriv=lambda x, z, y: (2 * z, x)), claims.check_gradient),
    ("off by 1e-5", cr.exp, dict(deriv=lambda x, y: y * 1.00001), claims.check_gradient),
    (
        "inputs swapped",
        cr.divide,
        dict(deriv=lambda x, z, y: (-y / z, 1 / z)),
        claims.check_gradient,
    ),
    ("one input forgotten", cr.add, dict(deriv=lambda x, z, y: (1, None)), claims.check_gradient),
    (
        "a gradient where none is",
        cr.subtract,
        dict(deriv=lambda x, z, y: (1, 1)),
        claims.check_gradient,
    ),
    (
        "swapped index",
        transpose_op,
        dict(vjp=lambda g, y, x, axes: (transpose(g, axes) if len(axes) > 2 else g,)),
        claims.check_gradient,
    ),
    (
        "one place too far",
        slice_op,
        dict(
            vjp=lambda g, y, x, start, stop, step: (
                pad_op(
                    g,
                    low=tuple(n - 1 - (m - 1) * s for n, m, s in zip(x.shape, y.shape, step)),
                    high=(0,) * x.ndim,
                    gap=tuple(s - 1 for s in step),
                    value=0.0,
                ),
            )
        ),
        claims.check_gradient,
    ),
    (
        "a transpose forgotten",
        contract,
        dict(
            vjp=lambda g, y, a, b, spec: (
                cr.vjp(lambda a: contract(a, b, spec=spec), a)[1](g)[0],
                g,
            )
        ),
        claims.check_gradient,
    ),
    (
        "mean in place of sum",
        sum_op,
        dict(vjp=lambda g, y, x, axis, keepdims: (g_spread(g, x, axis) / x.shape[axis[0]],)),
        claims.check_gradient,
    ),
    (
        "second order stopped",
        cr.sigmoid,
        dict(deriv=lambda x, y: cr.stop_gradient(y * (1 - y))),
        claims.check_second_order,
    ),
    (
        "forward mode doubled",
        max_op,
        dict(jvp=lambda tangents, y, *x, **a: 2 * max_op.jvp(tangents, y, *x, **a)),
        claims.check_forward_mode,
    ),
    (
        "linear in what it is not",
        pad_op,
        dict(jvp=None),
        claims.check_forward_mode,
    ),
    (
        "batch in the wrong axis",
        sum_op,
        dict(batch=lambda op, node, x, flags, size: sum_op(x[0], **node.attrs)),
        claims.check_vmap,
    ),
    (
        "body off by 1e-3",
        tanh,
        dict(body=lambda k, x: approximate.tanh(k, x) * 1.001),
        claims.check_machine_code,
    ),
    (
        "body off by 10 ulp",
        tanh,
        dict(body=lambda k, x: approximate.tanh(k, x) * (1 + 10 * 2.0**-23)),
        claims.check_machine_code,
    ),
    (
        "body loses NaN",
        cr.relu,
        dict(body=lambda k, x: k.select(k.less(0.0, x), x, 0.0)),
        claims.check_special_values,
    ),
    (
        "operands of a body swapped",
        cr.subtract,
        dict(body=lambda k, x, z: z - x),
        claims.check_machine_code,
    ),
    (
        "wrong view",
        transpose_op,
        dict(lower=lambda view, axes: view.transpose([axes.index(i) for i in range(len(axes))])),
        claims.check_machine_code,
    ),
    (
        "view one element late",
        slice_op,
        dict(lower=lambda view, **a: view.slice(**a)._replace(offset=view.slice(**a).offset - 1)),
        claims.check_machine_code,
    ),
    (
        "window of another stride",
        windows,
        dict(lower=lambda view, **a: windows.lower(view, **{**a, "dilation": (1, 1)})),
        claims.check_machine_code,
    ),
    ("accumulator starts at 1", sum_op, dict(initial=1), claims.check_machine_code),
    (
        "inferred shape",
        sum_op,
        dict(infer=lambda x, axis, keepdims: sum_op.infer(x, axis, not keepdims)),
        claims.check_forward,
    ),
    (
        "inferred dtype",
        cr.less,
        dict(infer=lambda x, z: Spec(x.shape, x.dtype)),
        claims.check_forward,
    ),
    (
        "recorded otherwise than eager",
        tanh,
        dict(ref=lambda x: only_when_eager(np.tanh(x), np.sin(x))),
        claims.check_forward,
    ),
    (
        "memory read in order",
        transpose_op,
        dict(ref=lambda x, axes: np.transpose(x if x.flags.c_contiguous else x * 0, axes)),
        claims.check_layout,
    ),
    (
        "bad shapes met by NumPy",
        contract,
        dict(
            infer=lambda a, b, spec: Spec((), a.dtype), ref=lambda a, b, spec: np.einsum(spec, a, b)
        ),
        claims.check_bad_shapes,
    ),
]


NATIVE = (claims.check_machine_code, claims.check_special_values, claims.check_compiled_gradient)


def g_spread(g: cr.Tensor, x: cr.Tensor, axis: tuple[int, ...]) -> cr.Tensor:
    kept = tuple(1 if i in axis else n for i, n in enumerate(x.shape))
    return cr.broadcast_to(reshape(g, kept), x.shape)


def caught(check: Callable, op: Op) -> bool:
    """Whether the claim fails for some sample of the op; and not for want of samples."""
    for sample in op.samples:
        try:
            check(op, sample)
        except (AssertionError, np.exceptions.AxisError, ValueError, IndexError):
            return True
    return False


@pytest.mark.parametrize(
    ("op", "fields", "check"), [pytest.param(*row[1:], id=f"{row[1]}: {row[0]}") for row in FAULTS]
)
def test_planted_fault_in_an_op_is_caught(op: Op, fields: dict, check: Callable) -> None:
    if check in NATIVE and machine() is None:
        pytest.skip("no native code is made here")
    assert not caught(check, op), "the sound op must pass"
    assert caught(check, replace(op, **fields))


def test_every_claim_has_a_planted_fault() -> None:
    planted = {check for *_, check in FAULTS}
    assert set(claims.CHECKS) - planted == {claims.check_compiled_gradient}


@pytest.mark.skipif(machine() is None, reason="no native code is made here")
def test_compiled_gradient_differs_when_the_body_is_wrong() -> None:
    wrong = replace(cr.exp, body=lambda k, x: approximate.exp(k, x) * 1.001)
    assert caught(claims.check_compiled_gradient, wrong)


@pytest.mark.parametrize("kind", sorted({op.kind for op in OPS.values()} - {"leaf"}))
def test_an_incomplete_record_says_what_it_lacks(kind: str) -> None:
    full = next((op for op in OPS.values() if op.kind == kind), replace(OPS["take"], kind=kind))
    for name in REQUIRED[kind]:
        empty = () if name == "samples" else "" if name == "tex" else None
        with pytest.raises(ImportError, match=rf"op planted \({kind}\) lacks {name}"):
            register(replace(full, name="planted", **{name: empty}))
    assert "planted" not in OPS


def test_a_vjp_without_forward_mode_is_refused() -> None:
    with pytest.raises(ImportError, match=r"op planted .reduction. lacks linear or jvp"):
        register(replace(sum_op, name="planted", linear=(), jvp=None))


def test_a_second_op_of_a_name_is_refused() -> None:
    with pytest.raises(ImportError, match="op tanh is registered twice"):
        register(replace(tanh))


def test_an_unknown_kind_is_refused() -> None:
    with pytest.raises(ImportError, match="unknown kind 'elementwize'; one of leaf, elementwise"):
        register(replace(tanh, kind="elementwize"))


def test_draws_stand_apart_from_each_other_and_from_zero() -> None:
    for op in OPS.values():
        for sample in op.samples:
            drawn = [
                claims.arrays_of(op, sample)[i].ravel() for i in claims.floats_of(Sample(*sample))
            ]
            values = np.sort(np.concatenate([np.zeros(1), *drawn]))
            assert np.all(np.diff(values) > 1e-3), op.name
