"""A nested Python value in one safetensors file, written in one piece: no pickle, no code.

Arrays and tensors are the file's tensors under their path in the value; all else is JSON in its
header, beside a checksum of both. Read next: `backup.py`.
"""

from __future__ import annotations

import json
import math
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from chainrule.core.errors import ArgumentError, DtypeError, FileError
from chainrule.core.tensor import Tensor
from chainrule.train.weights import write_whole

FORMAT = "chainrule-stored-1"


def write_value(path: Path, value: Any, what: str) -> None:
    """Write `value` to `path`, in one piece: a reader sees the old file or the whole new one.

    `what` is its name in errors. It may hold None, booleans, numbers, strings, paths, arrays,
    tensors, and lists, tuples and dicts of such. ArgumentError for all else, by its place;
    FileError where it cannot be written.
    """
    arrays: dict[str, np.ndarray] = {}
    told = json.dumps(_coded(value, "", arrays))
    header = {"format": FORMAT, "value": told, "crc": _checksum(told, arrays)}
    write_whole(path, save(arrays, metadata=header), what)


def read_value(path: Path) -> Any:
    """What `write_value` wrote. FileError for a file that is missing, damaged or another's."""
    try:
        with safe_open(path, framework="np") as file:
            header = file.metadata() or {}
            if header.get("format") != FORMAT:
                raise ValueError(f"its format is {header.get('format')!r}, not {FORMAT!r}")
            # Copied: the file may be replaced while these are in use.
            arrays = {name: np.array(file.get_tensor(name)) for name in file.keys()}  # noqa: SIM118
        if header["crc"] != _checksum(header["value"], arrays):
            raise ValueError("its checksum is not that of what it holds")
        return _decoded(json.loads(header["value"]), arrays)
    except (SafetensorError, OSError, LookupError, TypeError, ValueError, RecursionError) as error:
        raise FileError(
            f"{path} is damaged, or not a file that this version writes: {error}",
            mend="put a copy of the file in its place, or move it away to begin anew",
        ) from None


def _checksum(told: str, arrays: dict[str, np.ndarray]) -> str:
    crc = zlib.crc32(told.encode())
    for name in sorted(arrays):
        array = arrays[name]
        crc = zlib.crc32(f"{name} {array.dtype} {array.shape}".encode(), crc)
        crc = zlib.crc32(array.reshape(-1).view(np.uint8).data, crc)
    return f"{crc:08x}"


def _coded(value: Any, at: str, arrays: dict[str, np.ndarray]) -> Any:
    """`value` as JSON in which every object has one key, its kind."""
    if isinstance(value, np.bool_):
        value = bool(value)
    if value is None or isinstance(value, bool | str):
        return value
    if isinstance(value, int | np.integer):
        return int(value)
    if isinstance(value, float):  # np.float64 among them
        return float(value) if math.isfinite(value) else {"float": repr(float(value))}
    if isinstance(value, Path):
        return {"path": str(value)}
    if isinstance(value, Tensor | np.ndarray | np.floating):
        return {_kind(value): _put(value, at, arrays)}
    if type(value) in (list, tuple):
        items = [_coded(each, f"{at}/{i}", arrays) for i, each in enumerate(value)]
        return items if type(value) is list else {"tuple": items}
    if type(value) is dict:
        rows = value.items()
        return {"dict": [[_coded(k, at, arrays), _coded(v, f"{at}/{k}", arrays)] for k, v in rows]}
    raise ArgumentError(
        f"{at.strip('/')} cannot be stored: it is a {type(value).__name__}",
        mend="numbers, strings, arrays, and lists, tuples and dicts of them",
    )


def _kind(value: Any) -> str:
    if isinstance(value, Tensor):
        return "tensor"
    return "array" if isinstance(value, np.ndarray) else "number"


def _put(value: Any, at: str, arrays: dict[str, np.ndarray]) -> str:
    array = np.array(value.numpy() if isinstance(value, Tensor) else value, order="C")
    if array.dtype.kind not in "biuf" or array.dtype.itemsize > 8:
        raise DtypeError(f"{at.strip('/')} cannot be stored: it holds {array.dtype}")
    name = at.strip("/")
    if name in arrays:  # a key may hold a slash
        name = f"{name} ({len(arrays)})"
    arrays[name] = array
    return name


def _decoded(value: Any, arrays: dict[str, np.ndarray]) -> Any:
    if isinstance(value, list):
        return [_decoded(each, arrays) for each in value]
    if not isinstance(value, dict):
        return value
    ((kind, held),) = value.items()
    if kind == "dict":
        return {_decoded(k, arrays): _decoded(v, arrays) for k, v in held}
    if kind == "tuple":
        return tuple(_decoded(each, arrays) for each in held)
    if kind == "tensor":
        return Tensor(arrays[held])
    return {
        "array": lambda: arrays[held],
        "number": lambda: arrays[held][()],
        "float": lambda: float(held),
        "path": lambda: Path(held),
    }[kind]()
