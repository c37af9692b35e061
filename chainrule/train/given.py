"""What `fit` and `evaluate` were given to read: arrays or a stream. Read next: `loop.py`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from chainrule.core.dtypes import DEFAULT
from chainrule.core.errors import ArgumentError
from chainrule.core.tree import flatten
from chainrule.data.batches import check_whole, split_validation
from chainrule.train.arrays import Features, check_features
from chainrule.train.ending import Ending
from chainrule.train.examples import Examples, check_arrays, check_pair, weights_for
from chainrule.train.heads import Heads
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
    if hasattr(given.x, "epoch"):
        raise ArgumentError(
            f"y came beside {type(given.x).__name__}, whose batches hold targets of their own",
            mend=f"{name} alone",
        )
    if given.steps_per_epoch is not None:
        raise ArgumentError("steps_per_epoch goes with batches from an iterable, not with arrays")
    x, y = check_arrays(given.x, given.y)
    weights = weights_for(y, given.sample_weight, given.class_weight)
    return Examples(x, y, DEFAULT, False, weights)


def _stream(given: Given, name: str) -> Stream:
    if hasattr(given.x, "__array__") or isinstance(given.x, dict):
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
            mend="validation_data=, a pair (x, y) or an iterable that can be run again; of "
            'image_folder(..., validation_split=0.1, subset="both") the second part',
        )
    train, test = split_validation(len(feed), fraction)
    return _part(feed, train), _part(feed, test)


def _held_out(feed: Examples | Stream, data: Any) -> Examples | Stream:
    expected = features_of(feed)
    if _is_pair(data, expected):
        x, y, weights = check_pair("validation_data", data)
        held_out = feed_of(Given(x, y, weights))
        assert isinstance(held_out, Examples)
        check_features(held_out.x, expected, "validation_data")
        return held_out
    stream = Stream(data, "validation_data")
    check_features(stream.first[0], expected, "validation_data")
    return stream


def _is_pair(data: Any, expected: Features) -> bool:
    """Whether it is (x, y) rather than batches; a tuple of pairs is a tuple of batches.

    Where x itself is a tuple, ((a, b), (c, d)) is a pair: batches would be ((a, b), y).
    """
    if not isinstance(data, tuple | list):
        return False
    if not all(isinstance(part, tuple) and len(part) in (2, 3) for part in data):
        return True
    return flatten(data[0])[1] == expected.structure


def features_of(feed: Examples | Stream) -> Features:
    """What one example is."""
    return Features.of(feed.x) if isinstance(feed, Examples) else feed.features()


def converted(
    feed: Examples | Stream, heads: Heads | None, ending: Ending, dtype: np.dtype, positions: bool
) -> Examples | Stream:
    """`feed` with x in `dtype` but for integers that are `positions`, and targets as losses read.

    ShapeError, DtypeError, DataError or ArgumentError for targets that they cannot read.
    """

    def convert(x: Any, y: Any, weights: Any) -> Examples:
        if heads is not None and y is not None:
            y, weights = heads.targets(y, ending, dtype), heads.weights(weights, ending)
        return Examples(x, y, dtype, positions, weights)

    if isinstance(feed, Stream):
        feed.convert = convert
        return feed
    return convert(feed.x, feed.y, feed.weights)


def _part(feed: Examples, index: slice) -> Examples:
    part = feed.part(index)
    if not all(map(np.any, flatten(part.weights)[0])):
        raise ArgumentError(f"the weights of the examples {index} are all 0")
    return part


def inputs_of(x: Any) -> Examples | Stream:
    """The checked data that `predict` was given: arrays, or batches of x from an iterable.

    Of a data set whose batches are labelled, `data.image_folder`, x alone is taken.
    """
    if hasattr(x, "epoch"):
        return Stream((pair[0] for pair in x.epoch(None)), targets=False)
    if callable(x) or (isinstance(x, Iterable) and not _is_whole(x)):
        return Stream(x, targets=False)
    x, _ = check_arrays(x)
    return Examples(x, None, DEFAULT, False)


def _is_whole(x: Any) -> bool:
    """Whether it is all of x rather than batches: a dict, or what NumPy makes an array of."""
    return hasattr(x, "__array__") or isinstance(x, Sequence | Mapping)
