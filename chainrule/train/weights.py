"""Weights by name: as arrays in memory, and as safetensors files.

A file holds every parameter and state under its path, "conv2d/kernel". Nothing of a model
changes unless all of a file fits. Read next: `chainrule/train/model.py`.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from chainrule.core.errors import ArgumentError, DtypeError, FileError, ShapeError
from chainrule.core.tensor import Tensor

DTYPES = {  # safetensors' names, and ours; a file with any other fits no model
    "BOOL": "bool",
    "U8": "uint8",
    "I8": "int8",
    "I16": "int16",
    "I32": "int32",
    "I64": "int64",
    "U32": "uint32",
    "F32": "float32",
    "F64": "float64",
}


def tensors_of(model: Any) -> dict[str, Tensor]:
    """Each parameter and state under its path; ArgumentError for a model that has none yet."""
    found = {**model.named_parameters(), **model.named_states()}
    if not found:
        raise ArgumentError(
            f"{type(model).__name__} has no weights yet: it is built when it first sees data",
            mend="model.build_for(x.shape), or fit it, or call it on an example",
        )
    return found


def copy_weights(model: Any) -> dict[str, np.ndarray]:
    """A copy of each parameter and state under its path."""
    return {name: np.array(tensor.numpy()) for name, tensor in tensors_of(model).items()}


def put_weights(model: Any, arrays: Mapping[str, Any]) -> None:
    """Assign `arrays` to the tensors of their names; all are checked before any is changed.

    ArgumentError for names that are missing or unknown, ShapeError and DtypeError for arrays that
    do not fit.
    """
    tensors = tensors_of(model)
    if not isinstance(arrays, Mapping):
        raise ArgumentError(
            f"set_weights needs arrays by their paths, got {type(arrays).__name__}",
            mend=f"a dict as get_weights gives it, {{{next(iter(tensors))!r}: array, ...}}",
        )
    given = {name: np.array(value) for name, value in arrays.items()}
    rows = {name: (tuple(array.shape), array.dtype.name) for name, array in given.items()}
    _check_names("the weights", tensors, rows, ArgumentError)
    _check_fit("the weights", tensors, rows)
    for name, tensor in tensors.items():
        tensor.assign(given[name])


def save_weights(model: Any, path: str | os.PathLike) -> Path:
    """Write all weights to `path` in one piece: a reader sees the old file or the whole new one.

    FileError where it cannot be written.
    """
    path = Path(path)
    arrays = {name: np.ascontiguousarray(a) for name, a in copy_weights(model).items()}
    # Not save_file, whose files only their owner can read.
    write_whole(path, save(arrays, metadata={"format": "np"}), "weights")
    return path


def write_whole(path: Path, content: bytes, what: str) -> None:
    """Write a file so that whatever happens, it is the old one or the whole new one."""
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        with open(partial, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, path)
        with suppress(OSError):  # not every system lets a folder be opened
            folder = os.open(path.parent, os.O_RDONLY)
            try:
                os.fsync(folder)  # or a loss of power could bring the old name back
            finally:
                os.close(folder)
    except OSError as error:
        raise FileError(
            f"cannot write {what} to {path}: {error}",
            mend="a folder that exists and may be written to",
        ) from None
    finally:
        partial.unlink(missing_ok=True)


def load_weights(model: Any, path: str | os.PathLike) -> None:
    """Put the weights that `save_weights` wrote into `model`, all of them or none.

    FileError for a file that is missing, is no safetensors file, is cut short, or names other
    weights than the model has; ShapeError and DtypeError where they do not fit.
    """
    path = Path(path)
    tensors = tensors_of(model)
    if not path.is_file():
        raise FileError(f"there is no file {path}", mend="the path that save_weights was given")
    try:
        with safe_open(path, framework="np") as file:
            parts = {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118
            rows = {
                name: (tuple(p.get_shape()), DTYPES.get(p.get_dtype(), p.get_dtype()))
                for name, p in parts.items()
            }
            _check_names(str(path), tensors, rows, FileError)
            _check_fit(str(path), tensors, rows)
            given = {name: np.array(file.get_tensor(name)) for name in tensors}
    except FileError:
        raise
    except (SafetensorError, OSError) as error:
        raise FileError(
            f"{path} cannot be read as a safetensors file: {error}",
            mend="save it again; it may have been cut short or be of another format",
        ) from None
    for name, tensor in tensors.items():
        tensor.assign(given[name])


Rows = Mapping[str, tuple[tuple[int, ...], str]]


def _check_names(what: str, tensors: Mapping[str, Tensor], rows: Rows, error: Any) -> None:
    lacks = [name for name in tensors if name not in rows]
    extra = [name for name in rows if name not in tensors]
    if lacks or extra:
        parts = [("lacks", lacks), ("has besides", extra)]
        told = "; ".join(f"{verb} {', '.join(map(repr, n))}" for verb, n in parts if n)
        raise error(
            f"{what} must name the model's weights: it {told}",
            mend="a model of the same layers and names: " + ", ".join(tensors),
        )


def _check_fit(what: str, tensors: Mapping[str, Tensor], rows: Rows) -> None:
    shapes, dtypes = [], []
    for name, tensor in tensors.items():
        shape, dtype = rows[name]
        if shape != tensor.shape:
            shapes.append(f"{name} is {shape}, the model's {tensor.shape}")
        elif dtype != tensor.dtype.name:
            dtypes.append(f"{name} is {dtype}, the model's {tensor.dtype.name}")
    if shapes:
        raise ShapeError(
            f"{what} must have the model's shapes: " + "; ".join(shapes + dtypes),
            mend="a model built with the same sizes",
        )
    if dtypes:
        raise DtypeError(f"{what} must have the model's dtypes: " + "; ".join(dtypes))
