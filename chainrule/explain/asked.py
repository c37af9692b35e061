"""Which partitions of an entry are asked for: `by` and `at`, checked. Read next: `subject.py`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from chainrule.core.errors import ArgumentError, UnknownNameError
from chainrule.explain.axes import AXES, axes_of


def partitions_asked(
    by: Any, at: str | None, index: tuple[int, ...] | None, layers: Mapping[str, Any]
) -> list[tuple[str, ...]] | None:
    """`by` as a list of tuples of axes, None for "auto"; an error for what is none or not used."""
    if at is not None and layers and at not in layers:
        raise UnknownNameError("layer", at, layers)
    found: list[tuple[str, ...]] | None
    if by in ("auto", ["auto"]):
        found = None if at is None else [("unit",)]
    else:
        found = _listed(by)
    if index is None and found is not None:
        raise ArgumentError(
            "by and at are of one entry, not of a whole tensor", mend="index=(0, 1)"
        )
    if at is not None and not any({*each} & {"output", "unit"} for each in found or ()):
        raise ArgumentError(
            f"at={at!r} says where by='output' or by='unit' cuts, got by={by!r}", mend='by="unit"'
        )
    return found


def _listed(by: Any) -> list[tuple[str, ...]]:
    listed: Sequence[Any] = by if isinstance(by, list) else [by]
    found = [each if isinstance(each, tuple) else (each,) for each in listed]
    if not found or () in found:
        raise ArgumentError(f"by needs at least one axis, got {by!r}")
    for each in found:
        for name in each:
            if name == "auto":
                raise ArgumentError("by='auto' stands alone, beside no other axis")
            if name not in AXES:
                raise UnknownNameError("axis", name, (*AXES, "auto"))
        if len({*each} & {"output", "unit"}) > 1:
            raise ArgumentError(f"by={each!r}: one of output and unit")
        if "path" in each and len(each) > 1:
            raise ArgumentError(f"by={each!r}: a path has its example and units already")
        if len(set(axes_of(each))) < len(axes_of(each)):
            raise ArgumentError(f"by={each!r}: an axis comes twice")
    return found
