"""NumPy's functions given Tensors: while something records they become chainrule's, or refuse.

NumPy alone would read the numbers and go on without the graph, and the gradient would silently
lack what went that way. Where nothing records, `np.exp(tensor)` gives an array as ever. Read
next: `random.py`.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from types import FunctionType, ModuleType
from typing import Any

import numpy as np

from chainrule.core.errors import GradientError
from chainrule.core.op import OPS
from chainrule.core.recording import current
from chainrule.core.tensor import Tensor, as_tensor
from chainrule.core.tree import flatten, tree_map
from chainrule.ops import (
    angles,  # noqa: F401  found in the table of ops, and so is `smooth`
    arrange,
    composite,
    cumulate,
    einsum,
    elementwise,
    index,
    linalg,
    linear,
    logic,
    move,
    order,
    reduce,
    rounding,
    smooth,  # noqa: F401
    statistics,
)

ALIKE = {  # functions of NumPy's name and meaning, by the arguments that both take in this order
    1: "inv slogdet cholesky",
    2: """sum mean max min var std prod any all argmax argmin count_nonzero cumsum cumprod reshape
    transpose expand_dims squeeze broadcast_to concatenate stack flip tile tril triu outer
    sort argsort solve""",
    3: "roll repeat split swapaxes moveaxis take_along_axis clip where tensordot",
    99: "meshgrid einsum",
}


def _bounded(function: Callable, count: int) -> Callable:
    """`function`, but None of arguments that it does not share with NumPy's."""
    signature = inspect.signature(function)

    def shared(*args: Any, **options: Any) -> Any:
        try:
            signature.bind(*args, **options)
        except TypeError:
            return None
        return function(*args, **options) if len(args) <= count else None

    return shared


def _ufuncs(named: Mapping[str, Callable]) -> dict[Any, Callable]:
    """NumPy's functions of elements that are in `named`."""
    found = {getattr(np, name, None): function for name, function in named.items()}
    return {f: _plain(ours, f.nin) for f, ours in found.items() if isinstance(f, np.ufunc)}


def _plain(function: Callable, count: int) -> Callable:
    """`function` of `count` tensors, but None of anything else that NumPy takes."""

    def shared(*args: Any, **options: Any) -> Any:
        return function(*args) if len(args) == count and not options else None

    return shared


def _functions(*modules: ModuleType) -> dict[Any, Callable]:
    """The functions of ALIKE, each with that of its name in `modules`, or the op."""
    ours: dict[str, Any] = dict(OPS)
    for module in modules:
        own = {n: v for n, v in vars(module).items() if isinstance(v, FunctionType)}
        ours |= {n: v for n, v in own.items() if v.__module__ == module.__name__}
    return {
        getattr(np, name, None) or getattr(np.linalg, name): _bounded(ours[name], count)
        for count, names in ALIKE.items()
        for name in names.split()
    }


def _dot(x: Any, z: Any) -> Any:
    x, z = as_tensor(x), as_tensor(z)
    return linear.matmul(x, z) if {x.ndim, z.ndim} <= {1, 2} else None


def _take(x: Any, indices: Any, axis: int | None = None) -> Tensor:
    return index.take(move.reshape(x, -1) if axis is None else x, indices, axis or 0)


def _norm(x: Any, ord: Any = None, axis: Any = None, keepdims: bool = False) -> Any:
    axes = reduce.normal_axes(axis, as_tensor(x).ndim)
    of_matrix = len(axes) == 2 and ord not in (None, "fro")
    return None if of_matrix else linalg.norm(x, axis, keepdims, 2 if ord is None else ord)


# An array meets a Tensor in `array + tensor`.
OPERATORS: dict[Any, Callable] = _ufuncs(
    {
        "matmul": linear.matmul,
        "bitwise_and": logic.logical_and,
        "bitwise_or": logic.logical_or,
        "greater": elementwise.greater,
        "greater_equal": logic.greater_equal,
        **{n: OPS[n] for n in "add subtract multiply divide power".split()},
        **{n: OPS[n] for n in "equal not_equal less less_equal".split()},
    }
)

RECORDED: dict[Any, Callable] = (
    _ufuncs({**OPS, "rint": OPS["round"], "vecdot": einsum.vecdot})
    | _functions(
        arrange,
        composite,
        cumulate,
        einsum,
        elementwise,
        linalg,
        linear,
        move,
        order,
        reduce,
        rounding,
        statistics,
    )
    | OPERATORS
    | {
        np.dot: _bounded(_dot, 2),
        np.take: _bounded(_take, 3),
        np.linalg.norm: _bounded(_norm, 4),
        np.shape: _bounded(lambda x: x.shape, 1),
        np.ndim: _bounded(lambda x: x.ndim, 1),
        np.size: _bounded(lambda x: x.size, 1),
        np.zeros_like: _bounded(lambda x: np.zeros(x.shape, x.dtype), 1),
        np.ones_like: _bounded(lambda x: np.ones(x.shape, x.dtype), 1),
    }
)


def call(function: Any, name: str, args: Any, options: dict[str, Any]) -> Any:
    """`function` of NumPy with Tensors among `args`: an op's Tensor, or NumPy's own answer.

    GradientError where NumPy's answer would be floats that have lost their gradient.
    """
    table = OPERATORS if current() is None else RECORDED
    if function in table:
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
