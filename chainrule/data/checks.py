"""Checks of a user's data before training starts: what is wrong, how much of it, and where.

Read next: `toys.py`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from chainrule.core.errors import ArgumentError, DataError, DtypeError, ShapeError

BLOCK = 1 << 20  # bytes looked at together
Arrays = Any  # an array or what NumPy makes one of, or a dict or tuple of such, also nested


def check_examples(x: Arrays, y: Arrays = None) -> int:
    """How many examples there are in `x`, and in `y` where given, once both are fit to train on.

    Each is an array with the examples along the first axis, or a dict or tuple of arrays. Raises
    DtypeError for anything but numbers, ShapeError for ragged rows, scalars and differing lengths,
    DataError for empty arrays, NaN and infinities; each tells all places of its kind.

    >>> check_examples([[0.0, 1.0], [2.0, 3.0]], [0, 1])
    2
    """
    given = {**named("x", x), **named("y", y)}
    if not given:
        raise DataError("x holds no arrays", mend="pass at least one array of examples")
    arrays = {name: numbers(name, value) for name, value in given.items()}
    check_lengths(arrays)
    empty = [f"{name} has shape {array.shape}" for name, array in arrays.items() if not array.size]
    if empty:
        raise DataError(
            "there must be at least one example with at least one feature: " + ", ".join(empty),
            mend="look at what was loaded or filtered before this call",
        )
    broken = {name: fault for name, array in arrays.items() if (fault := nonfinite(name, array))}
    if broken:
        raise DataError(
            "data must be finite: " + "; ".join(broken.values()),
            mend=f"leave those examples out, or np.nan_to_num({next(iter(broken))})",
        )
    return len(next(iter(arrays.values())))


def check_labels(y: Any, classes: int | Sequence[str]) -> np.ndarray:
    """Class labels as int64, each in 0 .. number of classes - 1.

    `classes` is that number or the classes' names. Whole floats and bools count as integers.
    Raises DtypeError for what is not a number, DataError for labels that are not whole or out of
    range, with how many, the first value and its place.

    >>> check_labels([0, 2, 1], 3)
    array([0, 2, 1])
    """
    limit = classes if isinstance(classes, int | np.integer) else len(classes)
    if limit < 1:
        raise ArgumentError(f"there must be at least one class, got {classes!r}")
    labels = numbers("y", y, "names, y = np.unique(y, return_inverse=True)")
    if not labels.size:
        raise DataError("there are no labels", mend="pass one label for each example")
    if labels.dtype.kind == "f" and (bad := labels != np.floor(labels)).any():
        raise DataError(
            f"labels must be whole numbers: {places('y', labels, bad)}",
            mend="a regression loss for real targets, or y.argmax(axis=-1) for probabilities",
        )
    bad = (labels < 0) | (labels >= limit)
    if bad.any():
        mend = "names, y = np.unique(y, return_inverse=True), or a model with more outputs"
        if labels.min() == 1 and labels.max() == limit:
            mend = "y - 1, since they count from 1"
        raise DataError(
            f"labels must be in 0 .. {limit - 1} for {limit} classes: {places('y', labels, bad)}",
            mend=mend,
        )
    return labels.astype(np.int64)


def named(name: str, value: Arrays) -> dict[str, Any]:
    """The arrays in `value` under the names that a user would write them by; None is left out."""
    if not isinstance(value, dict | tuple):
        return {} if value is None else {name: value}
    items = value.items() if isinstance(value, dict) else enumerate(value)
    parts = [named(f"{name}[{key!r}]", part) for key, part in items]
    return {path: array for part in parts for path, array in part.items()}


def numbers(name: str, value: Any, mend: str = "") -> np.ndarray:
    """`value` as an array of bools, integers or floats; DtypeError or ShapeError otherwise."""
    try:
        array = np.asarray(value)
    except ValueError as error:
        raise ShapeError(
            f"{name} is not a rectangular array: {error}",
            mend="pad the rows to one length, or cut them to one",
        ) from None
    if array.dtype.kind in "biuf":
        return array
    if hasattr(value, "toarray"):
        mend = f"{name}.toarray()"
    elif array.dtype.kind in "UST":
        mend = mend or "turn text into numbers first: a tokeniser for texts, np.unique for names"
    elif array.dtype.kind == "O":
        mend = mend or f"np.stack({name}) for arrays in a list, or {name}.astype('float32')"
    raise DtypeError(
        f"{name} must hold numbers, got dtype {array.dtype} in shape {array.shape}",
        mend=mend or f"{name}.astype('float32')",
    )


def check_lengths(arrays: dict[str, np.ndarray]) -> None:
    """ShapeError unless each array has a first axis and all have the same number of examples."""
    scalars = [name for name, array in arrays.items() if array.ndim == 0]
    if scalars:
        raise ShapeError(
            f"examples lie along the first axis, but {', '.join(scalars)} is a single number",
            mend=f"np.reshape({scalars[0]}, (1, 1)) for one example with one feature",
        )
    lengths = {name: len(array) for name, array in arrays.items()}
    if len(set(lengths.values())) > 1:
        told = ", ".join(f"{name} has {length}" for name, length in lengths.items())
        raise ShapeError(
            f"as many examples are needed in each array: {told}",
            mend="look for rows dropped from one of them only, or a transposed array",
        )


def nonfinite(name: str, array: np.ndarray) -> str:
    """How many NaN and infinite values there are and where the first is; '' when there is none."""
    if array.dtype.kind != "f" or _all_finite(array):
        return ""
    bad = ~np.isfinite(array)
    nans = int(np.isnan(array).sum())
    counts = {"NaN": nans, "infinite": int(bad.sum()) - nans}
    told = " and ".join(f"{count:,} {kind}" for kind, count in counts.items() if count)
    examples = int(bad.reshape(len(bad), -1).any(axis=1).sum())
    index = ", ".join(map(str, first_place(bad)))
    return f"{name} has {told} in {examples:,} of {len(bad):,} examples, first at {name}[{index}]"


def _all_finite(array: np.ndarray) -> bool:
    """Block by block, so that a memory-mapped array is never in memory as a whole."""
    if not array.ndim:
        return bool(np.isfinite(array))
    rows = max(1, BLOCK // max(1, array.itemsize * array[:1].size))
    return all(np.isfinite(array[i : i + rows]).all() for i in range(0, len(array), rows))


def places(name: str, array: np.ndarray, bad: np.ndarray) -> str:
    """How many of the values are bad, with the first one and its place."""
    place = first_place(bad)
    index = ", ".join(map(str, place))
    at = f"{name}[{index}]" if place else name
    return f"{int(bad.sum()):,} of {array.size:,} are not, first {array[place]} at {at}"


def first_place(bad: np.ndarray) -> tuple[int, ...]:
    """The index of the first True."""
    return tuple(int(i) for i in np.unravel_index(int(bad.argmax()), bad.shape))
