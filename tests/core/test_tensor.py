"""Tensors: read-only to the outside, indexed like NumPy's arrays, clear when they cannot answer."""

from __future__ import annotations

import gc
import weakref

import numpy as np
import pytest

import chainrule as cr

X = np.arange(24, dtype="float32").reshape(2, 3, 4)


def test_numpy_gives_a_view_that_cannot_be_written():
    x = cr.Tensor([1.0, 2.0])
    view = x.numpy()
    with pytest.raises(ValueError, match="read-only"):
        view[0] = 5
    assert np.shares_memory(view, x.numpy())
    assert cr.take(x, 1).numpy().shape == ()


def test_array_of_a_tensor_is_a_copy_of_its_own():
    x = cr.Tensor([1.0, 2.0])
    copy = np.array(x)
    copy[0] = 5
    assert x.numpy()[0] == 1
    assert np.asarray(x).base is not None
    assert np.asarray(x, "float64").dtype == np.float64
    with pytest.raises(ValueError, match="copy"):
        np.array(x, dtype="float64", copy=False)


INDICES = [0, -1, (1, 2), (slice(None), 1), (..., 0), (0, ..., 1), (slice(1, None, 2), None, -1)]
INDICES += [slice(0, 0), (slice(5, 9),), (None, ..., None), (np.int64(1), slice(-2, None)), ...]


@pytest.mark.parametrize("index", INDICES, ids=str)
def test_index_gives_what_numpy_gives(index):
    x = cr.Tensor(X)
    np.testing.assert_array_equal(x[index].numpy(), X[index])
    np.testing.assert_array_equal(cr.jit(lambda x: x[index])(x).numpy(), X[index])


def test_integer_tensor_of_no_axes_is_an_index():
    assert cr.Tensor(X)[cr.Tensor(1), np.array(2), 3].item() == X[1, 2, 3]


@pytest.mark.parametrize(
    "index", [[0.5, 1.0], np.array(["a"]), True, np.bool_(True), 1.0, "a"], ids=str
)
def test_index_of_another_kind_is_refused(index):
    with pytest.raises(cr.ArgumentError, match="an index is an integer, a slice"):
        cr.Tensor(X)[index]


@pytest.mark.parametrize("index", [2, -3, (0, 3), (0, 0, 0, 0)], ids=str)
def test_index_out_of_range_is_refused(index):
    with pytest.raises(cr.ArgumentError):
        cr.Tensor(X)[index]


def test_iteration_and_length_follow_the_first_axis():
    x = cr.Tensor(X)
    assert len(x) == 2
    _, second = x
    np.testing.assert_array_equal(second.numpy(), X[1])
    with pytest.raises(TypeError):
        len(cr.Tensor(1.0))


def test_tensor_of_one_element_is_a_number():
    x = cr.Tensor([[2.0]])
    assert (float(x), int(x), x.item(), bool(x)) == (2.0, 2, 2.0, True)
    with pytest.raises(cr.ShapeError, match="one element"):
        cr.Tensor([1.0, 2.0]).item()


def test_operators_work_from_both_sides_and_with_numpy():
    x, array = cr.Tensor(X[0]), X[0]
    for y, wanted in [
        (array + x, array + array),
        (x - array, array - array),
        (3 - x, 3 - array),
        (np.float32(2) * x, 2 * array),
        (1 / (x + 1), 1 / (array + 1)),
        (2.0**x, 2.0**array),
        (array.T @ x, array.T @ array),
        (abs(-x), array),
    ]:
        assert type(y) is cr.Tensor
        np.testing.assert_allclose(y.numpy(), wanted, rtol=1e-6)


def test_tensor_is_hashable_by_identity():
    x = cr.Tensor([1.0])
    assert len({x, x, cr.Tensor([1.0])}) == 2


def test_repr_shows_numbers_and_dtype():
    assert repr(cr.Tensor([1.0, 2.0])) == "Tensor([1., 2.], dtype=float32)"


def test_plain_computation_keeps_nothing_alive():
    x = cr.Tensor(X)
    middle = x * 2
    end = cr.exp(middle)
    kept = weakref.ref(middle)
    del middle
    gc.collect()
    assert kept() is None and end.shape == X.shape


def donor() -> tuple:
    step = cr.jit(lambda x: x * 2, donate=("x",))
    x = cr.Tensor(X.copy())
    return x, step(x)


def test_reading_a_donated_tensor_raises():
    x, y = donor()
    np.testing.assert_array_equal(y.numpy(), X * 2)
    for read in (x.numpy, lambda: x.shape, lambda: x + 1, lambda: cr.jit(lambda x: x)(x)):
        with pytest.raises(cr.DonatedError, match=r"given to a compiled call[\s\S]*mend: "):
            read()
    assert repr(x) == "Tensor(donated)"


def test_view_taken_before_donation_keeps_its_numbers():
    step = cr.jit(lambda x: x * 2, donate=("x",))
    x = cr.Tensor(X.copy())
    view = x.numpy()
    y = step(x)
    np.testing.assert_array_equal(view, X)
    np.testing.assert_array_equal(y.numpy(), X * 2)


def test_array_given_to_a_donating_call_keeps_its_numbers():
    mine = X.copy()
    cr.jit(lambda x: x * 2, donate=("x",))(mine)
    np.testing.assert_array_equal(mine, X)
    cr.jit(lambda x: x * 2, donate=("x",))(cr.Tensor(mine))
    np.testing.assert_array_equal(mine, X)


def test_assign_renews_what_a_compiled_function_captured():
    w = cr.Tensor([1.0, 2.0])
    scaled = cr.jit(lambda x: x * w)
    assert scaled(2.0).numpy().tolist() == [2, 4]
    w.assign([3.0, 4.0])
    assert scaled(2.0).numpy().tolist() == [6, 8]


@pytest.mark.filterwarnings("ignore:.*recorded again")
def test_captured_name_bound_to_another_tensor_is_seen():
    w = cr.Tensor([1.0, 2.0])
    scaled = cr.jit(lambda x: x * w)
    scaled(2.0)
    w = w + 2
    assert scaled(2.0).numpy().tolist() == [6, 8]


def test_assign_keeps_shape_and_dtype_and_stays_out_of_recordings():
    w = cr.Tensor([1.0, 2.0])
    with pytest.raises(cr.ShapeError, match="assign needs float32"):
        w.assign([1.0])
    with pytest.raises(cr.ShapeError, match="assign needs float32"):
        w.assign(np.ones(2))
    with cr.record(), pytest.raises(cr.GradientError, match="cannot be recorded"):
        w.assign([1.0, 2.0])


def test_a_format_is_that_of_the_one_number():
    x = cr.Tensor([0.25, 1.0])
    assert f"{x[0]:.3f} {x[1]:g}" == "0.250 1"
    assert f"{x}" == str(x)
    with pytest.raises(cr.ShapeError, match="one element"):
        f"{x:.3f}"
