"""Orders and batches: complete, reproducible, and free of any global state."""

import numpy as np
import pytest

from chainrule.core.errors import ArgumentError, DataError
from chainrule.data.batches import batch_indices, epoch_order, split_validation


@pytest.mark.parametrize(("count", "batch_size"), [(1, 1), (10, 3), (12, 4), (7, 100)])
@pytest.mark.parametrize("shuffle", [True, False])
def test_each_example_is_in_exactly_one_batch(count, batch_size, shuffle):
    batches = batch_indices(count, batch_size, seed=3, epoch=2, shuffle=shuffle)
    assert sorted(np.concatenate(batches)) == list(range(count))
    assert all(len(batch) == batch_size for batch in batches[:-1])
    assert all(batch.dtype == np.int64 for batch in batches)


def test_unshuffled_batches_keep_the_order():
    batches = batch_indices(5, 2, seed=0, epoch=0, shuffle=False)
    assert [batch.tolist() for batch in batches] == [[0, 1], [2, 3], [4]]


def test_drop_last_leaves_only_full_batches():
    batches = batch_indices(11, 4, seed=0, epoch=0, drop_last=True)
    assert [len(batch) for batch in batches] == [4, 4]
    assert [len(batch) for batch in batch_indices(8, 4, seed=0, epoch=0, drop_last=True)] == [4, 4]


def test_order_depends_on_seed_and_epoch_alone():
    first = epoch_order(1000, seed=7, epoch=3)
    np.random.seed(1)  # noqa: NPY002  a user's global seed must change nothing
    assert np.array_equal(first, epoch_order(1000, seed=7, epoch=3))
    others = [epoch_order(1000, seed=s, epoch=e) for s, e in ((7, 4), (8, 3), (3, 7))]
    assert all((first == other).mean() < 0.02 for other in others)


def test_order_is_fixed_for_ever():
    expected = [0, 2, 1, 5, 7, 6, 4, 3]  # by Philox4x64-10 written out in plain Python
    assert epoch_order(8, seed=2**64 - 1, epoch=5).tolist() == expected


def test_shuffling_favours_no_place():
    places = np.stack([np.argsort(epoch_order(20, seed=0, epoch=e)) for e in range(4000)])
    counts = np.stack([np.bincount(places[:, i], minlength=20) for i in range(20)])
    assert np.abs(counts - 200).max() < 5 * np.sqrt(200)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (dict(count=5, batch_size=0), "batch_size must be an integer of at least 1, got 0"),
        (dict(count=5, batch_size=2.5), "batch_size"),
        (dict(count=-1, batch_size=2), "count"),
        (dict(count=5, batch_size=2, seed=-1), "seed must be an integer in 0 .. 18446744073709551"),
        (dict(count=5, batch_size=2, seed=None), "seed"),
        (dict(count=5, batch_size=2, epoch=2**64), "epoch"),
        (dict(count=5, batch_size=True), "batch_size"),
    ],
)
def test_arguments_out_of_range_are_named(arguments, message):
    with pytest.raises(ArgumentError, match=message):
        batch_indices(**{"seed": 0, "epoch": 0, **arguments})


def test_no_batch_is_an_error_that_says_why():
    with pytest.raises(DataError, match="at least one example"):
        batch_indices(0, 4, seed=0, epoch=0)
    with pytest.raises(DataError, match="3 examples are fewer than batch_size 4"):
        batch_indices(3, 4, seed=0, epoch=0, drop_last=True)


@pytest.mark.parametrize(
    ("count", "fraction", "train"),
    [(100, 0.2, 80), (10, 0.9, 1), (10, 0.15, 8), (3, 0.5, 1), (1000, 0.3, 700), (2, 0.01, 1)],
)
def test_validation_is_the_last_fraction(count, fraction, train):
    first, last = split_validation(count, fraction)
    rows = np.arange(count)
    assert rows[first].tolist() == list(range(train))
    assert rows[last].tolist() == list(range(train, count))


@pytest.mark.parametrize("fraction", [0, 1, 1.5, -0.1, float("nan"), "0.1", None])
def test_fraction_must_lie_between_nought_and_one(fraction):
    with pytest.raises(ArgumentError, match="between 0 and 1"):
        split_validation(10, fraction)


def test_empty_training_part_is_an_error():
    with pytest.raises(DataError, match="leaves 1 examples without a training part"):
        split_validation(1, 0.5)
    assert split_validation(10, np.float32(0.5)) == (slice(0, 5), slice(5, 10))
