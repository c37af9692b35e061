"""Which examples make which batch: shuffled from an explicit seed, never from a global state.

Read next: `checks.py`.
"""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np

from chainrule.core.errors import ArgumentError, DataError


def epoch_order(count: int, *, seed: int, epoch: int, shuffle: bool = True) -> np.ndarray:
    """The int64 order in which one epoch visits `count` examples.

    It depends on `count`, `seed` and `epoch` alone. Raises ArgumentError for a seed or an epoch
    that is not an integer in 0 .. 2**64 - 1, DataError for no examples.

    >>> epoch_order(6, seed=0, epoch=0), epoch_order(6, seed=0, epoch=1)
    (array([0, 2, 1, 5, 4, 3]), array([5, 3, 2, 4, 1, 0]))
    """
    check_whole("count", count, 0)
    if count == 0:
        raise DataError("an epoch needs at least one example, got none", mend="pass data")
    for name, value in (("seed", seed), ("epoch", epoch)):
        check_whole(name, value, 0, 2**64 - 1)
    if not shuffle:
        return np.arange(count, dtype=np.int64)
    # Sorting Philox's raw draws: NumPy promises those for ever, but not Generator.permutation.
    key = np.array([seed, epoch], dtype=np.uint64)
    draws = np.random.Philox(key=key).random_raw(count)
    return np.argsort(draws, kind="stable").astype(np.int64, copy=False)


def batch_indices(
    count: int,
    batch_size: int,
    *,
    seed: int,
    epoch: int,
    shuffle: bool = True,
    drop_last: bool = False,
) -> list[np.ndarray]:
    """The epoch's batches as int64 index arrays; each example is in exactly one.

    The last batch may be smaller; `drop_last` leaves it out then. Raises ArgumentError for a batch
    size below 1, DataError when no batch is left.

    >>> [len(batch) for batch in batch_indices(10, 4, seed=0, epoch=0)]
    [4, 4, 2]
    """
    check_whole("batch_size", batch_size, 1)
    order = epoch_order(count, seed=seed, epoch=epoch, shuffle=shuffle)
    end = count - count % batch_size if drop_last else count
    if end == 0:
        raise DataError(
            f"drop_last leaves no batch: {count} examples are fewer than batch_size {batch_size}",
            mend=f"batch_size={count} or drop_last=False",
        )
    return [order[start : start + batch_size] for start in range(0, end, batch_size)]


def split_validation(count: int, fraction: float) -> tuple[slice, slice]:
    """Training and validation part of `count` examples: the last `fraction` is for validation.

    Nothing is shuffled; the training part has floor(count * (1 - fraction)) examples, the decimal
    fraction taken exactly. Raises ArgumentError outside 0 < fraction < 1 and DataError when a part
    would be empty.

    >>> split_validation(1000, 0.1)
    (slice(0, 900, None), slice(900, 1000, None))
    """
    check_whole("count", count, 0)
    number = isinstance(fraction, int | float | np.integer | np.floating)
    if not number or not 0 < fraction < 1:
        raise ArgumentError(
            f"validation fraction must lie between 0 and 1, got {fraction!r}",
            mend="0.1 keeps the last tenth for validation",
        )
    # Exact: in floats 10 * (1 - 0.9) is 0.999..., which would leave nothing to train on.
    train = math.floor(count * (1 - Fraction(repr(float(fraction)))))
    if not 0 < train < count:
        empty = "training" if train == 0 else "validation"
        raise DataError(
            f"a validation fraction of {fraction} leaves {count} examples without a {empty} part",
            mend="pass more examples, or another fraction",
        )
    return slice(0, train), slice(train, count)


def check_whole(name: str, value: object, least: int, most: int | None = None) -> None:
    """ArgumentError unless `value` is an integer in `least` .. `most`."""
    whole = isinstance(value, int | np.integer) and not isinstance(value, bool)
    if not whole or value < least or (most is not None and value > most):  # type: ignore[operator]
        limit = f"of at least {least}" if most is None else f"in {least} .. {most}"
        raise ArgumentError(f"{name} must be an integer {limit}, got {value!r}")
