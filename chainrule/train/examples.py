"""Examples: a user's x and y, checked once, and handed out in batches of the model's dtype.

Read next: `objective.py`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from chainrule.core.dtypes import DEFAULT
from chainrule.core.errors import ArgumentError, ShapeError
from chainrule.core.tree import flatten
from chainrule.data.batches import check_whole
from chainrule.data.checks import check_examples, numbers
from chainrule.grad.reverse import differentiable
from chainrule.nn.parts import held


def check_arrays(x: Any, y: Any = None) -> tuple[np.ndarray, np.ndarray | None]:
    """`x` and `y` as arrays that can be trained on; see `chainrule.data.check_examples`."""
    x = numbers("x", x)
    y = None if y is None else numbers("y", y)
    check_examples(x, y)
    return x, y


def check_pair(name: str, pair: Any) -> tuple[Any, Any]:
    """`pair` as (x, y); ArgumentError otherwise."""
    if not isinstance(pair, tuple | list) or len(pair) != 2:
        came = f"{len(pair)} parts" if isinstance(pair, tuple | list) else type(pair).__name__
        raise ArgumentError(f"{name} must be a pair (x, y), got {came}", mend=f"{name}=(x, y)")
    return pair[0], pair[1]


def float_dtype(model: Any) -> np.dtype:
    """The dtype of the model's first float parameter; float32 where it has none."""
    leaves = [leaf for leaf in flatten(model)[0] if differentiable(leaf)]
    return leaves[0].dtype if leaves else DEFAULT


def keeps_integers(module: Any) -> bool:
    """Whether some layer reads integers as positions, so that they must stay integers."""
    parts = [part for _, part in held(module) if hasattr(part, "call")]
    return module.takes_integers or any(map(keeps_integers, parts))


class Examples:
    """`x` and, but for prediction, `y`; batches of `x` come in `dtype`.

    Values are cast batch by batch, so that uint8 images take no four times larger copy; they are
    not scaled.
    """

    def __init__(self, x: np.ndarray, y: np.ndarray | None, dtype: np.dtype, integers: bool):
        self.x = x
        self.y = y
        self.dtype = x.dtype if integers and x.dtype.kind in "iu" else dtype

    def __len__(self) -> int:
        return len(self.x)

    def batch(self, index: Any) -> tuple[np.ndarray, Any]:
        """The examples at `index`, an array of positions or a slice."""
        x = np.ascontiguousarray(self.x[index], self.dtype)
        return x, None if self.y is None else self.y[index]

    def batches(self, size: int) -> Iterator[tuple[np.ndarray, Any]]:
        """All examples in order, `size` at a time."""
        check_whole("batch_size", size, 1)
        for start in range(0, len(self), size):
            yield self.batch(slice(start, start + size))


def check_features(x: np.ndarray, expected: tuple[int, ...], name: str) -> None:
    """ShapeError unless the examples in `x` have the shape that training has seen."""
    if x.shape[1:] != expected:
        raise ShapeError(f"{name} must have examples of shape {expected} like x, got {x.shape[1:]}")
