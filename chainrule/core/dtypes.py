"""Which dtypes there are and how they meet: they do not mix by themselves.

Two tensors of different dtypes in one operation raise; a Python number takes the dtype of the
tensor beside it. Read next: `op.py`.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from chainrule.core.errors import DtypeError, UnknownNameError

NAMES = ("bool", "uint8", "int8", "int16", "int32", "int64", "uint32", "float32", "float64")
DTYPES = {name: np.dtype(name) for name in NAMES}
_OURS = frozenset(DTYPES.values())  # in this machine's byte order
DEFAULT = DTYPES["float32"]
BUNDLE = np.dtype(object)  # several tensors as the value of one node: what a control op gives


def as_dtype(dtype: Any) -> np.dtype:
    """The NumPy dtype that `dtype` names; UnknownNameError when it is none of ours."""
    if isinstance(dtype, str) and dtype not in DTYPES:
        raise UnknownNameError("dtype", dtype, DTYPES)
    found = np.dtype(dtype)
    if found.name not in DTYPES:
        raise DtypeError(
            f"dtype {found} is not supported", mend="cast to one of " + ", ".join(DTYPES)
        )
    return found


def is_float(dtype: np.dtype) -> bool:
    """True for float32 and float64: what can have a gradient."""
    return dtype.kind == "f"


def carries_gradient(dtype: np.dtype) -> bool:
    """Whether a cotangent may flow to a value of this dtype."""
    return is_float(dtype) or dtype == BUNDLE


def as_array(value: Any) -> np.ndarray:
    """A NumPy array of a supported dtype; Python floats become float32, ints int64.

    Raises DtypeError for objects, strings and dtypes outside the list.
    """
    if type(value) is np.ndarray and value.dtype in _OURS:
        return value
    if isinstance(value, np.ndarray | np.generic):
        array = np.asarray(value)
    else:
        try:
            array = np.asarray(value)
        except ValueError as error:
            raise DtypeError(f"not a rectangular array of numbers: {error}") from None
        if array.dtype == np.float64:
            array = array.astype(DEFAULT)
    if array.dtype.name not in DTYPES:
        raise DtypeError(
            f"an array of dtype {array.dtype} cannot become a Tensor",
            mend="np.asarray(value, dtype='float32')",
        )
    return array.astype(DTYPES[array.dtype.name], copy=False)  # in this machine's byte order


def scalar_fits(value: bool | int | float, dtype: np.dtype) -> bool:
    """Whether a Python number may take `dtype` without changing its kind or wrapping round."""
    if isinstance(value, bool):
        return True
    if isinstance(value, int):
        info = np.iinfo(dtype) if dtype.kind in "iu" else None
        return dtype.kind != "b" and (info is None or info.min <= value <= info.max)
    return is_float(dtype)
