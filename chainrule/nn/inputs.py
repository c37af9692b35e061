"""What a module is called with: one array, or a dict, tuple or list of arrays.

Read next: `calls.py`.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from chainrule.core.errors import ArgumentError
from chainrule.core.recording import Recording
from chainrule.core.tensor import Tensor, as_tensor


def tensors_of(x: Any) -> Any:
    """`x` with its arrays as Tensors; a list of plain numbers is one array, a part may be None."""
    if isinstance(x, dict):
        return {key: tensors_of(part) for key, part in x.items()}
    if isinstance(x, tuple) or (isinstance(x, list) and any(hasattr(p, "shape") for p in x)):
        return tuple(None if part is None else tensors_of(part) for part in x)
    return as_tensor(x)


def shapes_of(x: Any) -> Any:
    """The shape of a Tensor; of several the same dict, or a list, of shapes."""
    if isinstance(x, dict):
        return {key: shapes_of(part) for key, part in x.items()}
    return [shapes_of(part) for part in x] if isinstance(x, tuple) else x.shape


def inputs_of(recording: Recording, shape: Any, dtype: Any) -> Any:
    """Inputs of `recording` of the shapes that `shapes_of` would give; None stands for 1.

    `dtype` is one for all, or one for each, kept as the shapes are.
    """
    if isinstance(shape, dict):
        dtypes = dtype if isinstance(dtype, dict) else dict.fromkeys(shape, dtype)
        return {key: inputs_of(recording, part, dtypes[key]) for key, part in shape.items()}
    if isinstance(shape, int | str) or not hasattr(shape, "__iter__"):
        raise ArgumentError(
            f"build_for needs the shape of an input, got {shape!r}", mend="build_for(x.shape)"
        )
    extents = list(shape)
    if any(hasattr(part, "__iter__") for part in extents):
        each = dtype if isinstance(dtype, list | tuple) else [dtype] * len(extents)
        rows = zip(extents, each, strict=True)
        return tuple(inputs_of(recording, part, kind) for part, kind in rows)
    whole = tuple(1 if n is None else int(n) for n in extents)
    return recording.input(Tensor(np.broadcast_to(np.zeros((), dtype), whole)))
