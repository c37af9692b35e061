"""NumPy's functions given Tensors: while something records they become chainrule's, or refuse.

NumPy alone would read the numbers and go on without the graph, and the gradient would silently
lack what went that way. Where nothing records, `np.exp(tensor)` gives an array as ever. Read
next: `random.py`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from chainrule.core.errors import GradientError
from chainrule.core.recording import current
from chainrule.core.tensor import Tensor, as_tensor
from chainrule.core.tree import flatten, tree_map
from chainrule.ops import composite, elementwise, linear, logic, move, reduce


def _dot(x: Any, z: Any) -> Any:
    x, z = as_tensor(x), as_tensor(z)
    return linear.matmul(x, z) if {x.ndim, z.ndim} <= {1, 2} else None


OPERATORS: dict[Any, Callable] = {  # an array meets a Tensor in `array + tensor`
    np.add: elementwise.add,
    np.subtract: elementwise.subtract,
    np.multiply: elementwise.multiply,
    np.divide: elementwise.divide,
    np.power: elementwise.power,
    np.matmul: linear.matmul,
    np.equal: elementwise.equal,
    np.not_equal: logic.not_equal,
    np.less: elementwise.less,
    np.less_equal: logic.less_equal,
    np.greater: elementwise.greater,
    np.greater_equal: logic.greater_equal,
    np.bitwise_and: logic.logical_and,
    np.bitwise_or: logic.logical_or,
}

RECORDED: dict[Any, Callable] = OPERATORS | {
    np.negative: elementwise.negative,
    np.exp: elementwise.exp,
    np.log: elementwise.log,
    np.sqrt: elementwise.sqrt,
    np.tanh: elementwise.tanh,
    np.absolute: elementwise.absolute,
    np.square: lambda x: x * x,
    np.maximum: elementwise.maximum,
    np.where: elementwise.where,
    np.dot: _dot,
    np.outer: linear.outer,
    np.sum: reduce.sum,
    np.mean: reduce.mean,
    np.max: reduce.max,
    np.min: composite.min,
    np.var: composite.var,
    np.reshape: move.reshape,
    np.transpose: move.transpose,
    np.expand_dims: move.expand_dims,
    np.broadcast_to: move.broadcast_to,
    np.shape: lambda x: x.shape,
    np.ndim: lambda x: x.ndim,
    np.size: lambda x: x.size,
    np.zeros_like: lambda x: np.zeros(x.shape, x.dtype),
    np.ones_like: lambda x: np.ones(x.shape, x.dtype),
}

OPTIONS = {"axis", "keepdims", "axes"}  # what both sides call alike


def call(function: Any, name: str, args: Any, options: dict[str, Any]) -> Any:
    """`function` of NumPy with Tensors among `args`: an op's Tensor, or NumPy's own answer.

    GradientError where NumPy's answer would be floats that have lost their gradient.
    """
    table = OPERATORS if current() is None else RECORDED
    if function in table and options.keys() <= OPTIONS:
        result = table[function](*args, **options)
        if result is not None:
            return result
    if current() is None:
        return _with_arrays(function, args, options)
    result = _with_arrays(function, args, options)
    if any(getattr(part, "dtype", np.dtype(bool)).kind == "f" for part in flatten(result)[0]):
        raise GradientError(
            f"np.{name} of a Tensor gives plain numbers, and their gradient would be lost",
            mend=f"cr's own functions; or np.{name}(x.numpy()), where no gradient is wanted",
        )
    return result


def _with_arrays(function: Any, args: Any, options: dict[str, Any]) -> Any:
    args, options = tree_map(lambda x: x.numpy() if isinstance(x, Tensor) else x, (args, options))
    return function(*args, **options)


def array_ufunc(self: Tensor, ufunc: Any, method: str, *args: Any, **options: Any) -> Any:
    """NumPy's door for `np.exp(tensor)` and `array + tensor`."""
    if method == "__call__":
        return call(ufunc, ufunc.__name__, args, options)
    return call(getattr(ufunc, method), f"{ufunc.__name__}.{method}", args, options)


def array_function(self: Tensor, function: Any, types: Any, args: Any, options: Any) -> Any:
    """NumPy's door for `np.mean(tensor)` and all that is no ufunc."""
    return call(function, function.__name__, args, options)
