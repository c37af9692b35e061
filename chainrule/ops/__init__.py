"""Every op by family; and the one place where `Tensor` gets its operators."""

from __future__ import annotations

from typing import Any

from chainrule.core.tensor import Tensor
from chainrule.ops import (
    angles,
    composite,
    cumulate,
    elementwise,
    index,
    indexing,
    linalg,
    linear,
    logic,
    move,
    numpy_functions,
    order,
    random,
    reduce,
    rounding,
    smooth,
    window,
)


def _swapped(op: Any) -> Any:
    return lambda self, other: op(other, self)


_operators = {
    "__add__": lambda x, z: elementwise.add(x, z),
    "__radd__": _swapped(elementwise.add),
    "__sub__": lambda x, z: elementwise.subtract(x, z),
    "__rsub__": _swapped(elementwise.subtract),
    "__mul__": lambda x, z: elementwise.multiply(x, z),
    "__rmul__": _swapped(elementwise.multiply),
    "__truediv__": lambda x, z: elementwise.divide(x, z),
    "__rtruediv__": _swapped(elementwise.divide),
    "__pow__": lambda x, z: elementwise.power(x, z),
    "__rpow__": _swapped(elementwise.power),
    "__matmul__": lambda x, z: linear.matmul(x, z),
    "__rmatmul__": _swapped(linear.matmul),
    "__neg__": lambda x: elementwise.negative(x),
    "__abs__": lambda x: elementwise.absolute(x),
    "__lt__": lambda x, z: elementwise.less(x, z),
    "__gt__": lambda x, z: elementwise.greater(x, z),
    "__le__": lambda x, z: logic.less_equal(x, z),
    "__ge__": lambda x, z: logic.greater_equal(x, z),
    "__ne__": lambda x, z: logic.not_equal(x, z),
    "__and__": lambda x, z: logic.logical_and(x, z),
    "__or__": lambda x, z: logic.logical_or(x, z),
    "__invert__": lambda x: logic.logical_not(x),
    "__eq__": lambda x, z: elementwise.equal(x, z),
    "__getitem__": indexing.getitem,
    "sum": reduce.sum,
    "max": reduce.max,
    "min": composite.min,
    "mean": reduce.mean,
    "reshape": move.reshape,
    "transpose": move.transpose,
    "astype": elementwise.cast,
    "T": property(move.transpose),
    "__array_ufunc__": numpy_functions.array_ufunc,
    "__array_function__": numpy_functions.array_function,
}

for _name, _method in _operators.items():
    setattr(Tensor, _name, _method)
