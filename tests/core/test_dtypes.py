"""Dtypes: what is supported, what Python numbers become, and that two do not mix."""

from __future__ import annotations

import operator

import numpy as np
import pytest

import chainrule as cr
from chainrule.core.dtypes import NAMES, as_dtype


@pytest.mark.parametrize("name", NAMES)
def test_every_dtype_is_found_by_name_and_kept_by_a_tensor(name):
    assert as_dtype(name) == as_dtype(np.dtype(name)) == np.dtype(name)
    assert cr.Tensor(np.ones(2, name)).dtype == np.dtype(name)


def test_unknown_dtype_offers_the_nearest():
    with pytest.raises(cr.UnknownNameError, match="did you mean 'float32'"):
        as_dtype("float3")


@pytest.mark.parametrize("array", [np.ones(2, "float16"), np.ones(2, "complex64"), np.array(["a"])])
def test_unsupported_array_is_refused_with_a_mend(array):
    with pytest.raises(cr.DtypeError, match=r"cannot become a Tensor[\s\S]*mend: "):
        cr.Tensor(array)


def test_ragged_list_is_refused():
    with pytest.raises(cr.DtypeError, match="rectangular"):
        cr.Tensor([[1.0], [1.0, 2.0]])


def test_python_values_become_float32_int64_and_bool():
    found = [cr.Tensor(x).dtype.name for x in (1.5, [1.0, 2.0], 1, [1, 2], True)]
    assert found == ["float32", "float32", "int64", "int64", "bool"]


def test_numpy_values_keep_their_dtype():
    for value in (np.float64(1), np.ones(1), np.float32(1), np.int32(1), np.uint8([1])):
        assert cr.Tensor(value).dtype == value.dtype


def test_other_byte_order_is_turned():
    x = cr.Tensor(np.array([1.0, 2.0], ">f4"))
    assert x.dtype.isnative
    np.testing.assert_array_equal((x + np.ones(2, "float32")).numpy(), [2, 3])
    np.testing.assert_array_equal(cr.jit(lambda x: x + 1)(x).numpy(), [2, 3])


def test_argument_of_jit_in_other_byte_order_is_turned():
    y = cr.jit(lambda x: x + 1)(np.array([1.0, 2.0], ">f4"))
    np.testing.assert_array_equal(y.numpy(), [2, 3])


@pytest.mark.parametrize("op", [operator.add, operator.mul, operator.truediv, operator.lt])
@pytest.mark.parametrize("dtypes", [("float32", "float64"), ("float32", "int32")])
def test_two_dtypes_do_not_mix_in_an_operator(op, dtypes):
    x, z = (cr.Tensor(np.ones(2, dtype)) for dtype in dtypes)
    for a, b in ((x, z), (z, x)):
        with pytest.raises(
            cr.DtypeError, match=r"do not mix by themselves[\s\S]*cr.cast"
        ) as caught:
            op(a, b)
        to_float = {x.dtype.name, z.dtype.name} - {"int32"}
        assert caught.value.mend in {f"cr.cast(x, {name!r})" for name in to_float}


def test_two_dtypes_do_not_mix_in_a_product():
    with pytest.raises(cr.DtypeError, match="do not mix"):
        cr.matmul(np.ones((2, 2), "float32"), np.ones((2, 2)))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("number", [2, 2.0, True, np.float64(2)])
def test_number_takes_the_dtype_beside_it(dtype, number):
    x = cr.Tensor(np.ones(2, dtype))
    for y in (x * number, number * x, x + number, number - x, cr.maximum(x, number)):
        assert y.dtype == dtype


def test_integers_stay_integers():
    x = cr.Tensor(np.int32([1, 2]))
    assert (x + 1).dtype == (x * x).dtype == (2 * x - 3).dtype == np.int32


@pytest.mark.parametrize(
    ("dtype", "number"), [("int32", 2.5), ("uint8", 300), ("uint8", -1), ("bool", 2)]
)
def test_number_that_does_not_fit_is_refused(dtype, number):
    with pytest.raises(cr.DtypeError, match="does not fit"):
        cr.Tensor(np.ones(2, dtype)) + number


def test_cast_changes_the_dtype_and_carries_gradients_between_floats():
    x = cr.Tensor(np.float32([1.5, 2.5]))
    assert cr.cast(x, "int32").numpy().tolist() == [1, 2]
    assert cr.cast(x, "float32") is x
    g = cr.grad(lambda x: cr.sum(cr.cast(x, "float64") * 3))(x)
    assert g.dtype == np.float32 and g.numpy().tolist() == [3, 3]
    assert cr.grad(lambda x: cr.sum(x * cr.cast(cr.cast(x, "int32"), "float32")))(x).numpy()[
        1
    ] == pytest.approx(2.0)


def test_float_argument_of_jit_takes_the_dtype_beside_it():
    scaled = cr.jit(lambda x, rate: x * (1 - rate) + rate / 2 * x)
    for dtype in ("float32", "float64"):
        x = np.ones(2, dtype)
        y = scaled(x, 0.25)
        assert y.dtype == dtype
        np.testing.assert_allclose(y.numpy(), 0.875)


def test_float_argument_of_jit_does_not_become_an_integer():
    with pytest.raises(cr.DtypeError, match="does not fit"):
        cr.jit(lambda x, rate: x * rate)(np.int32([1, 2]), 2.5)


def test_float_argument_that_was_cast_is_a_tensor_like_any_other():
    with pytest.raises(cr.DtypeError, match="do not mix"):
        cr.jit(lambda x, rate: x * cr.cast(rate, "float64"))(np.ones(2, "float32"), 0.5)
