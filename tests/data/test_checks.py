"""What is wrong with a user's data is said with how much, where, and how to mend it."""

import numpy as np
import pytest

from chainrule.core.errors import ArgumentError, DataError, DtypeError, ShapeError
from chainrule.data.checks import check_examples, check_labels


def test_good_data_gives_the_number_of_examples():
    x = np.zeros((5, 2), dtype=np.float32)
    assert check_examples(x) == 5
    assert check_examples(x, np.zeros(5)) == 5
    assert check_examples({"a": x, "b": x.astype(np.uint8)}, (x, x > 0)) == 5


def test_nonfinite_values_are_counted_and_placed():
    x = np.zeros((4, 3, 2))
    x[1, 2, 0] = np.nan
    x[1, 2, 1] = np.nan
    x[3, 0, 0] = -np.inf
    with pytest.raises(DataError) as caught:
        check_examples({"my image": x}, np.array([0.0, 1, np.inf, 0]))
    text = str(caught.value)
    assert "x['my image'] has 2 NaN and 1 infinite in 2 of 4 examples" in text
    assert "first at x['my image'][1, 2, 0]" in text
    assert "y has 1 infinite in 1 of 4 examples, first at y[2]" in text
    assert "np.nan_to_num(x['my image'])" in text and "test_checks.py" in text


def test_all_differing_lengths_are_told():
    with pytest.raises(ShapeError, match=r"x\[0\] has 3, x\[1\] has 4, y has 3"):
        check_examples((np.zeros((3, 1)), np.zeros((4, 1))), np.zeros(3))


@pytest.mark.parametrize("x", [np.zeros((0, 3)), np.zeros((3, 0)), [], np.zeros(0)])
def test_empty_data_is_refused(x):
    with pytest.raises(DataError, match="at least one example with at least one feature: x has"):
        check_examples(x)


@pytest.mark.parametrize("x", [{}, ()])
def test_no_arrays_at_all_are_refused(x):
    with pytest.raises(DataError, match="no arrays"):
        check_examples(x)


class Sparse:
    def toarray(self):
        return np.zeros((2, 2))


@pytest.mark.parametrize(
    ("x", "mend"),
    [
        (np.array([np.zeros(2), None], dtype=object), "np.stack"),
        (np.array(["good", "bad"]), "tokeniser"),
        (np.zeros(2, dtype=complex), "astype"),
        (np.zeros(2, dtype="datetime64[s]"), "astype"),
        (Sparse(), "x.toarray()"),
    ],
)
def test_what_holds_no_numbers_is_refused(x, mend):
    with pytest.raises(DtypeError) as caught:
        check_examples(x)
    assert "x must hold numbers, got dtype" in str(caught.value)
    assert mend in caught.value.mend


def test_ragged_rows_and_scalars_are_refused():
    with pytest.raises(ShapeError, match="x is not a rectangular array"):
        check_examples([[1.0, 2.0], [3.0]])
    with pytest.raises(ShapeError, match="y is a single number"):
        check_examples(np.zeros(3), 1.0)


@pytest.mark.parametrize(
    "y", [[0, 2, 1], np.array([0.0, 2.0, 1.0]), np.array([0, 2, 1], dtype=np.uint8)]
)
def test_whole_labels_become_int64(y):
    labels = check_labels(y, 3)
    assert labels.dtype == np.int64 and labels.tolist() == [0, 2, 1]
    assert check_labels(y, ["a", "b", "c"]).tolist() == [0, 2, 1]


def test_bool_labels_count_as_integers():
    assert check_labels(np.array([True, False]), 2).tolist() == [1, 0]


@pytest.mark.parametrize(
    ("y", "message"),
    [
        ([0, 3, 1, 5], r"must be in 0 .. 2 for 3 classes: 2 of 4 are not, first 3 at y\[1\]"),
        ([0, -1], r"1 of 2 are not, first -1 at y\[1\]"),
        ([[0, 1], [2, 7]], r"first 7 at y\[1, 1\]"),
        ([0.0, 1.5], r"whole numbers: 1 of 2 are not, first 1\.5 at y\[1\]"),
        ([np.nan, 1.0], r"whole numbers: 1 of 2 are not, first nan at y\[0\]"),
        ([0.0, np.inf], r"first inf at y\[1\]"),
        ([], "no labels"),
    ],
)
def test_bad_labels_are_counted_and_placed(y, message):
    with pytest.raises(DataError, match=message):
        check_labels(y, 3)


def test_labels_that_count_from_one_are_recognised():
    with pytest.raises(DataError, match="mend: y - 1, since they count from 1"):
        check_labels([1, 2, 3], 3)


def test_names_as_labels_are_told_how_to_number_them():
    with pytest.raises(DtypeError, match=r"np\.unique"):
        check_labels(["cat", "dog"], 2)
    with pytest.raises(DtypeError, match=r"np\.unique"):
        check_labels(np.array(["cat", "dog"], dtype=object), 2)


def test_there_must_be_a_class():
    with pytest.raises(ArgumentError, match="at least one class"):
        check_labels([0], [])
