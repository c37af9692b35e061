"""Rounding and bounds of integers, and of numbers whose sign or size is at an end."""

from __future__ import annotations

import numpy as np
import pytest

import chainrule as cr


@pytest.fixture(params=[lambda fn: fn, cr.jit], ids=["eager", "compiled"])
def run(request):
    return request.param


@pytest.mark.parametrize("dtype", ["uint8", "int8", "int32", "uint32", "int64"])
def test_integers_are_rounded_and_held_as_numpy_does(run, dtype):
    info = np.iinfo(dtype)
    x = np.array([info.min, 0, 1, 5, info.max], dtype)
    z = np.array([3, 2, 1, 5, 7], dtype)
    ours = lambda x, z: (  # noqa: E731
        cr.floor(x), cr.ceil(x), cr.round(x), cr.sign(x), cr.minimum(x, z), cr.remainder(x, z),
        cr.clip(x, 1, 5), cr.clip(x, min=2), cr.clip(x, max=z), cr.square(z),
    )  # fmt: skip
    wanted = (
        x, x, x, np.sign(x), np.minimum(x, z), np.remainder(x, z),
        np.clip(x, 1, 5), np.clip(x, 2, None), np.clip(x, None, z), np.square(z),
    )  # fmt: skip
    for found, exact in zip(run(ours)(x, z), wanted):
        assert found.dtype == exact.dtype
        np.testing.assert_array_equal(found.numpy(), exact)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_halves_and_huge_numbers_are_rounded_as_numpy_does(run, dtype):
    x = np.array([-2.5, -1.5, -0.5, -0.0, 0.5, 1.5, 2.5, 1e10, -1e30, 2.0**31, 0.49999997], dtype)
    for name in ("floor", "ceil", "round", "sign"):
        found = run(getattr(cr, name))(x).numpy()
        np.testing.assert_array_equal(found, getattr(np, name)(x), err_msg=name)


def test_quotients_of_any_size_leave_the_exact_remainder(run):
    x, z = np.array([1e30, -1e30, 5.5, -5.5]), np.array([1e-3, 7.0, -2.0, 2.0])
    np.testing.assert_array_equal(run(cr.remainder)(x, z).numpy(), np.remainder(x, z))
