"""Elementwise ops are exact far outside the domain that gradients are checked on.

`ref` in float32 is held against itself in float64, machine code against both: a formula that
cancels or overflows shows in the one or the other.
"""

from __future__ import annotations

import numpy as np
import pytest

import chainrule as cr
from chainrule.core.op import OPS, Op
from tests.op_checks import floats_of

COUNT = 4000
ULPS = {"float32": 4, "float64": 2000}  # 2000 ulp of float64 are 4e-13
POINTWISE = [op for op in OPS.values() if op.kind == "elementwise" and floats_of(op.samples[0])]


def points(op: Op, dtype: str) -> list[np.ndarray]:
    """Inputs from 1e-6 to 80, of both signs where the domain has both."""
    rng = np.random.default_rng(0)
    tens = 10.0 ** rng.uniform(-6, 1.9, COUNT)
    spread = tens if op.domain[0] > 0 else tens * np.resize([1, -1], COUNT)
    sample = op.samples[0]
    return [
        np.roll(spread, 1001 * i).astype(dtype) if i in floats_of(sample) else np.resize(arg, COUNT)
        for i, arg in enumerate(sample.args)
    ]


def assert_within_ulps(found: np.ndarray, exact: np.ndarray) -> None:
    if found.dtype.kind != "f":
        np.testing.assert_array_equal(found, exact)
        return
    info = np.finfo(found.dtype)
    with np.errstate(all="ignore"):
        wanted = exact.astype(found.dtype)
        gap = np.abs(found - exact) / np.spacing(np.maximum(np.abs(wanted), info.tiny))
    # Machine code takes numbers below the normal ones for 0.
    flushed = (np.abs(found) <= info.tiny) & (np.abs(wanted) <= info.tiny)
    same = (found == wanted) | (np.isnan(found) & np.isnan(wanted))  # NaN outside of the domain
    bad = ~(same | flushed | (gap <= ULPS[found.dtype.name]))
    assert not bad.any(), f"{found[bad][:4]}, not {wanted[bad][:4]}: {gap[bad][:4]} ulp off"


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("op", POINTWISE, ids=lambda op: op.name)
def test_elementwise_op_is_exact_over_a_wide_range(op: Op, dtype: str) -> None:
    arrays, attrs = points(op, dtype), op.samples[0].attrs
    wide = [x.astype("float64") if x.dtype.kind == "f" else x for x in arrays]
    plain = op.ref(*arrays, **attrs)
    exact = op.ref(*wide, **attrs) if plain.dtype.kind == "f" else plain
    assert_within_ulps(plain, exact)
    assert_within_ulps(cr.jit(lambda *x: op(*x, **attrs))(*arrays).numpy(), exact)


POWERS = (0.0, -0.0, 1.0, -1.0, 0.5, 2.0, -3.0, 1e-20, -1e-20, 1e20, np.inf, -np.inf, np.nan)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_compiled_power_has_numpys_limits(dtype):
    x, z = (a.ravel() for a in np.meshgrid(*[np.asarray(POWERS, dtype)] * 2, indexing="ij"))
    found = cr.jit(lambda x, z: x**z)(x, z).numpy()
    with np.errstate(all="ignore"):
        wanted = np.power(x, z)
    np.testing.assert_allclose(found, wanted, rtol=1e-6, atol=np.finfo(dtype).tiny)
    signed = ~np.isnan(wanted)
    np.testing.assert_array_equal(np.signbit(found[signed]), np.signbit(wanted[signed]))


def test_sigmoid_does_not_vanish_below_zero():
    x = np.float32([-20, -50, -80])
    wanted = np.exp(x.astype("float64"))
    np.testing.assert_allclose(cr.sigmoid(x).numpy(), wanted, rtol=1e-6)
    np.testing.assert_allclose(cr.jit(cr.sigmoid)(x).numpy(), wanted, rtol=1e-6)


SMOOTH = (
    cr.exp, cr.log, cr.tanh, cr.sigmoid, cr.power, cr.sqrt, cr.rsqrt, cr.expm1, cr.log1p,
    cr.logaddexp, cr.sinh, cr.cosh, cr.arcsinh, cr.arccosh, cr.arctanh, cr.erf, cr.sin, cr.cos,
    cr.tan, cr.arcsin, cr.arccos, cr.arctan, cr.arctan2,
)  # fmt: skip


def worst_ulp(found: np.ndarray, exact: np.ndarray) -> float:
    """How far the finite, normal results are from `exact`, in units of their last place."""
    tiny = np.finfo(found.dtype).tiny
    with np.errstate(all="ignore"):
        wanted = exact.astype(found.dtype)
        np.testing.assert_array_equal(np.isnan(found), np.isnan(wanted))
        plain = np.isfinite(wanted) & (np.abs(wanted) > tiny)
        gap = np.abs(found.astype("float64") - exact) / np.spacing(np.abs(wanted))
    return float(np.max(gap[plain]))


@pytest.mark.parametrize("op", SMOOTH, ids=lambda op: op.name)
def test_compiled_smooth_op_is_within_2_ulp_in_float32(op: Op) -> None:
    given = points(op, "float32")
    exact = op.ref(*[x.astype("float64") for x in given])
    assert worst_ulp(cr.jit(lambda *x: op(*x))(*given).numpy(), exact) <= 2


@pytest.mark.heavy
@pytest.mark.parametrize("op", [op for op in SMOOTH if len(op.samples[0].args) == 1], ids=str)
def test_compiled_smooth_op_is_within_2_ulp_over_all_of_float32(op: Op) -> None:
    given = np.arange(0, 2**32, 1021, np.uint64).astype(np.uint32).view(np.float32)
    given = given[~(np.abs(given) < np.finfo(np.float32).tiny)]  # they count as 0
    given = given[~(np.abs(given) > 1e5)] if op in (cr.sin, cr.cos, cr.tan) else given
    with np.errstate(invalid="ignore"):  # some are signalling NaNs
        exact = op.ref(given.astype("float64"))
    assert worst_ulp(cr.jit(lambda x: op(x))(given).numpy(), exact) <= 2


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("op", [cr.sin, cr.cos, cr.tan], ids=lambda op: op.name)
def test_compiled_angles_are_exact_for_large_inputs(op: Op, dtype: str) -> None:
    rng = np.random.default_rng(1)
    quarters = np.round(rng.uniform(-6e4, 6e4, 2000)) * (np.pi / 2)  # beside zeros and poles
    x = np.concatenate([rng.uniform(-1e5, 1e5, 4000), quarters, rng.uniform(-1e12, 1e12, 2000)])
    x = x.astype(dtype)
    found = cr.jit(lambda x: op(x))(x).numpy()
    assert worst_ulp(found, op.ref(x.astype("float64"))) <= {"float32": 1, "float64": 16}[dtype]
    assert np.isnan(cr.jit(lambda x: op(x))(np.asarray([2.0**40, 1e30], dtype)).numpy()).all()
