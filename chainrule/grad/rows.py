"""`Rows`: the gradient of a table of which few rows were read, as ids and values.

Read next: `chainrule/train/rows.py`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from chainrule.core.errors import ArgumentError, DtypeError, ShapeError
from chainrule.core.node import Node
from chainrule.core.op import Shape
from chainrule.core.tensor import Tensor, as_tensor
from chainrule.core.tree import register_tree
from chainrule.ops.arrange import concatenate
from chainrule.ops.elementwise import cast, negative
from chainrule.ops.index import scatter_add, take_op
from chainrule.ops.reduce import sum
from chainrule.ops.rounding import clip
from chainrule.ops.rows import first_places

DENSE_FROM = 0.5  # so many ids for each row of the table, and a gradient is dense


class Rows:
    """A tensor of `shape` that is zero but for the rows `ids`, to which `values` are added.

    `ids` is (n,), `values` (n, *shape[1:]); an id may come twice, and its rows add up. A sum of
    two, a product or quotient with a number, `astype`, `clip` and `norm` keep the form; every
    other operation, and a sum with a Tensor, makes it dense. A pytree of `ids` and `values`.
    DtypeError and ShapeError for what is no rows of such a table.

    >>> g = Rows([2, 0, 2], np.float32([[1], [2], [3]]), (4, 1))
    >>> (g * 2).dense().reshape(-1)
    Tensor([4., 0., 8., 0.], dtype=float32)
    """

    __slots__ = ("ids", "shape", "summed", "values")
    __hash__ = None  # type: ignore[assignment]

    def __init__(self, ids: Any, values: Any, shape: Sequence[int]):
        self.ids, self.values = as_tensor(ids), as_tensor(values)
        self.shape: Shape = tuple(shape)
        self.summed = False  # whether each id's whole row is at its first place, 0 elsewhere
        if self.ids.dtype.kind not in "iu":
            raise DtypeError(f"Rows needs integer ids, got {self.ids.dtype}")
        wanted = (*self.ids.shape[:1], *self.shape[1:])
        if self.ids.ndim != 1 or not self.shape or self.values.shape != wanted:
            raise ShapeError(
                f"Rows of a table {self.shape} needs ids (n,) and values "
                f"(n, {', '.join(map(str, self.shape[1:]))}), "
                f"got {self.ids.shape} and {self.values.shape}"
            )

    @property
    def dtype(self) -> np.dtype:
        """The dtype of the values."""
        return self.values.dtype

    @property
    def ndim(self) -> int:
        """The number of axes of the whole."""
        return len(self.shape)

    @property
    def size(self) -> int:
        """The number of elements of the whole."""
        return int(np.prod(self.shape, dtype=np.int64))

    def dense(self) -> Tensor:
        """The whole tensor. ArgumentError for an id outside of it."""
        return scatter_add(self.values, self.ids, axis=0, extent=self.shape[0])

    __tensor__ = dense

    def numpy(self) -> np.ndarray:
        """The whole as a NumPy array."""
        return self.dense().numpy()

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return np.array(self.numpy(), dtype)

    def sum_rows(self) -> Rows:
        """The same with every id's rows added up at its first place."""
        if self.summed:
            return self
        places = first_places(self.ids)
        total = scatter_add(self.values, places, axis=0, extent=self.ids.shape[0])
        return _join((self.shape, True), (self.ids, total))

    def astype(self, dtype: Any) -> Rows:
        """The same with its values in `dtype`."""
        return self._with(cast(self.values, dtype))

    def clip(self, low: float, high: float) -> Rows:
        """Each element of the whole in `low` .. `high`, which must lie on both sides of 0."""
        if not low <= 0 <= high:
            raise ArgumentError(
                f"clip of Rows needs low <= 0 <= high, for zeros to stay, got {low} and {high}",
                mend="g.dense().clip(low, high)",
            )
        summed = self.sum_rows()
        return summed._with(clip(summed.values, low, high))

    def square_sum(self) -> Tensor:
        """The sum of the squares of all elements."""
        values = self.sum_rows().values
        return sum(values * values)

    def norm(self) -> Tensor:
        """The root of the sum of the squares of all elements."""
        return self.square_sum() ** 0.5

    def __add__(self, other: Any) -> Any:
        if not isinstance(other, Rows):
            return self.dense() + other
        if self.shape != other.shape or self.dtype != other.dtype:
            raise ShapeError(
                "a sum of Rows needs one shape and dtype, got "
                f"{self.dtype}{list(self.shape)} and {other.dtype}{list(other.shape)}"
            )
        ids = [cast(each.ids, "int64") for each in (self, other)]
        values = concatenate([self.values, other.values], axis=0)
        return Rows(concatenate(ids, axis=0), values, self.shape)

    def __radd__(self, other: Any) -> Any:
        return other + self.dense()

    def __mul__(self, other: Any) -> Any:
        return self._with(self.values * other) if _is_number(other) else self.dense() * other

    def __rmul__(self, other: Any) -> Any:
        return self * other if _is_number(other) else other * self.dense()

    def __truediv__(self, other: Any) -> Any:
        if not _is_number(other):
            return self.dense() / other
        return self._with(self.values / other)

    def __neg__(self) -> Rows:
        return self._with(negative(self.values))

    def __sub__(self, other: Any) -> Any:
        return self + -other

    def __rsub__(self, other: Any) -> Any:
        return other + -self

    def _with(self, values: Any) -> Rows:
        return _join((self.shape, self.summed), (self.ids, values))

    def __repr__(self) -> str:
        return f"Rows({self.ids!r}, {self.values!r}, {self.shape})"


def _is_number(value: Any) -> bool:
    return not isinstance(value, Rows) and np.ndim(value) == 0


def reads(order: Iterable[Node], targets: Iterable[Node]) -> dict[Node, int]:
    """Those of `targets` that the nodes of `order` read by `take` along axis 0 alone, and how many
    ids there are."""
    counts = dict.fromkeys((node for node in targets if node.shape), 0)
    for node in order:
        for source in set(node.inputs) & counts.keys():
            if node.op is take_op and node.attrs["axis"] == 0 and node.inputs[1] is not source:
                counts[source] += node.inputs[1].size
            else:
                del counts[source]
    return {node: count for node, count in counts.items() if count}


def few(count: int, extent: int) -> bool:
    """Whether `count` ids are few enough against `extent` rows for `Rows` to be worth it."""
    return count < DENSE_FROM * extent


def _join(aux: tuple[Shape, bool], parts: Sequence[Any]) -> Rows:
    rows = Rows.__new__(Rows)
    rows.shape, rows.summed = aux
    rows.ids, rows.values = parts  # whatever a walk over trees puts there
    return rows


register_tree(Rows, lambda rows: ((rows.ids, rows.values), (rows.shape, rows.summed)), _join)
