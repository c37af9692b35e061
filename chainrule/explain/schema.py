"""Explanations as JSON and back: the fields of the records, under a schema's name and version.

Reading trusts nothing: a field that is missing, unknown or of another type is refused by name.
NaN and infinity, which JSON lacks, are the strings "nan", "inf" and "-inf". Read next: `views.py`.
"""

from __future__ import annotations

import dataclasses
import json
import math
import types
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from chainrule.core.errors import DataError

VERSION = 1
NOT_FINITE = ("nan", "inf", "-inf")
Record = TypeVar("Record")


def to_json(record: Any, indent: int | None = None) -> str:
    """A record, and all records in it, as a JSON object with schema and version."""
    content = {"schema": name_of(type(record)), "version": VERSION, **encoded(record)}
    return json.dumps(content, indent=indent, ensure_ascii=False, allow_nan=False)


def from_json(kind: type[Record], text: str | bytes) -> Record:
    """The record of class `kind` that `to_json` wrote.

    DataError for what is no JSON, of another schema or version, or does not hold the fields.
    """
    try:
        content = json.loads(text)
    except (TypeError, ValueError, RecursionError) as error:
        raise refused(f"it is no JSON: {error}") from None
    if not isinstance(content, dict) or content.get("schema") != name_of(kind):
        raise refused(f"it is no JSON object with schema {name_of(kind)!r}")
    if content.get("version") != VERSION or isinstance(content["version"], bool):
        raise refused(f"version {VERSION} is read, got {content.get('version')!r}")
    fields = {name: value for name, value in content.items() if name not in ("schema", "version")}
    return decoded(kind, fields, kind.__name__.lower())


def name_of(kind: type) -> str:
    """The schema of a record's class."""
    return f"chainrule.{kind.__name__.lower()}"


def refused(why: str) -> DataError:
    """The error of a text that is no such record."""
    return DataError(f"not what to_json wrote: {why}", mend="the whole text, as it was written")


def names_of(kind: Any) -> tuple[str, ...]:
    """The fields of a record's class; () where `kind` is none."""
    if dataclasses.is_dataclass(kind):
        return tuple(field.name for field in dataclasses.fields(kind))
    return getattr(kind, "_fields", ())


def encoded(value: Any) -> Any:
    """A record or a value of its fields in JSON's terms."""
    if names := names_of(type(value)):
        return {name: encoded(getattr(value, name)) for name in names}
    if isinstance(value, tuple | list):
        return [encoded(each) for each in value]
    if isinstance(value, dict):
        return {str(key): encoded(each) for key, each in value.items()}
    if hasattr(value, "item"):  # a NumPy scalar
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return value


def decoded(kind: Any, value: Any, where: str) -> Any:
    """`value` as the type `kind` says; DataError names the field that does not fit."""
    origin, inner = get_origin(kind), get_args(kind)
    if kind is Any:
        return tuple(decoded(Any, each, where) for each in value) if type(value) is list else value
    if origin in (Union, types.UnionType):
        return decoded(chosen(inner, value), value, where)
    if origin is Literal:
        if value in inner:
            return value
    elif origin is tuple:
        if type(value) is list and (inner[-1] is ... or len(inner) == len(value)):
            kinds = [inner[0]] * len(value) if inner[-1] is ... else inner
            return tuple(
                decoded(k, v, f"{where}[{i}]") for i, (k, v) in enumerate(zip(kinds, value))
            )
    elif names := names_of(kind):
        return record(kind, names, value, where)
    elif kind is float:
        if type(value) in (int, float) or value in NOT_FINITE:
            return float(value)
    elif type(value) is kind or (kind is types.NoneType and value is None):
        return value
    raise refused(f"{where} must be {getattr(kind, '__name__', kind)}, got {str(value)[:40]!r}")


def record(kind: Any, names: tuple[str, ...], value: Any, where: str) -> Any:
    """A record from a JSON object with exactly its fields."""
    if type(value) is not dict or set(value) != set(names):
        given = ", ".join(sorted(value)) if type(value) is dict else str(value)[:40]
        raise refused(f"{where} must hold {', '.join(names)}, got {given}")
    hints = get_type_hints(kind)
    return kind(**{name: decoded(hints[name], value[name], f"{where}.{name}") for name in names})


def chosen(kinds: tuple[Any, ...], value: Any) -> Any:
    """The first of a union's types that `value` may be of, else the last one."""
    shapes = {type(None): types.NoneType, str: str, int: int, bool: bool, float: float}
    plain = shapes.get(type(value))
    for kind in kinds:
        record_fits = type(value) is dict and names_of(kind)
        if kind is plain or record_fits or (type(value) is list and get_origin(kind) is tuple):
            return kind
    return kinds[-1] if value is not None and kinds[-1] is not types.NoneType else kinds[0]
