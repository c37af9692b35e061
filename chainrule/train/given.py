"""What `fit` and `evaluate` were given to read: arrays or a stream. Read next: `loop.py`."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from chainrule.core.dtypes import DEFAULT
from chainrule.core.errors import ArgumentError
from chainrule.data.batches import check_whole, split_validation
from chainrule.train.examples import (
    Examples,
    check_arrays,
    check_features,
    check_pair,
    weights_for,
)
from chainrule.train.stream import Stream


class Given(NamedTuple):
    """The arguments that say what to train on."""

    x: Any
    y: Any = None
    sample_weight: Any = None
    class_weight: Any = None
    steps_per_epoch: int | None = None


def feed_of(given: Given, name: str = "x") -> Examples | Stream:
    """The checked data of `given`, with targets as they came; ArgumentError for what is none."""
    if given.y is None:
        return _stream(given, name)
    if given.steps_per_epoch is not None:
        raise ArgumentError("steps_per_epoch goes with batches from an iterable, not with arrays")
    x, y = check_arrays(given.x, given.y)
    assert y is not None
    weights = weights_for(y, given.sample_weight, given.class_weight)
    return Examples(x, y, DEFAULT, False, weights)


def _stream(given: Given, name: str) -> Stream:
    if hasattr(given.x, "shape"):
        raise ArgumentError(
            f"{name} came without y", mend="fit(x, y), or an iterable of batches (x, y) alone"
        )
    if given.sample_weight is not None:
        raise ArgumentError(
            "sample_weight goes with arrays", mend="batches (x, y, weights) from the iterable"
        )
    if given.steps_per_epoch is not None:
        check_whole("steps_per_epoch", given.steps_per_epoch, 1)
    stream = Stream(given.x, name, given.steps_per_epoch)
    stream.class_weight = given.class_weight
    return stream


def split_given(given: Given, validation_data: Any, fraction: float) -> tuple[Any, Any]:
    """What to train on, and what to validate on where that was asked for."""
    if validation_data is not None and fraction:
        raise ArgumentError("validation_data and validation_split were both given")
    feed = feed_of(given)
    if validation_data is not None:
        return feed, _held_out(feed, validation_data)
    if not fraction:
        return feed, None
    if isinstance(feed, Stream):
        raise ArgumentError(
            "validation_split needs arrays, which have a last part",
            mend="validation_data=, a pair (x, y) or an iterable that can be run again",
        )
    train, test = split_validation(len(feed), fraction)
    return _part(feed, train), _part(feed, test)


def _held_out(feed: Examples | Stream, data: Any) -> Examples | Stream:
    expected = feed.x.shape[1:] if isinstance(feed, Examples) else feed.features()
    if _is_pair(data):
        x, y, weights = check_pair("validation_data", data)
        held_out = feed_of(Given(x, y, weights))
        assert isinstance(held_out, Examples)
        check_features(held_out.x, expected, "validation_data")
        return held_out
    stream = Stream(data, "validation_data")
    check_features(stream.first[0], expected, "validation_data")
    return stream


def _is_pair(data: Any) -> bool:
    """Whether it is (x, y) rather than batches; a tuple of pairs is a tuple of batches."""
    if not isinstance(data, tuple | list):
        return False
    return not all(isinstance(part, tuple) and len(part) in (2, 3) for part in data)


def _part(feed: Examples, part: slice) -> Examples:
    weights = None if feed.weights is None else feed.weights[part]
    if weights is not None and not np.any(weights):
        raise ArgumentError(f"the weights of the examples {part} are all 0")
    return Examples(feed.x[part], feed.y[part], DEFAULT, False, weights)
