"""Signatures of functions that hand their options on, written out. Read next: `cells.py`."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Sequence


def takes_also(*others: Callable, without: Sequence[str] = ()) -> Callable[[Callable], Callable]:
    """Decorator: for `inspect` and `help`, `*args` and `**options` become the others' parameters.

    Those that are named already stay as they are; those `without` are left out.

    >>> def inner(x, *, rate=0.5, name=None): ...
    >>> @takes_also(inner)
    ... def outer(x, size=2, **options): ...
    >>> inspect.signature(outer)
    <Signature (x, size=2, *, rate=0.5, name=None)>
    """

    def written_out(function: Callable) -> Callable:
        found = {p.name: p for p in _parameters(function)}
        for other in others:
            for p in _parameters(other):
                if p.name not in without:
                    found.setdefault(p.name, p)
        function.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
            sorted(found.values(), key=lambda p: p.kind)
        )
        return function

    return written_out


def _parameters(function: Callable) -> Iterable[inspect.Parameter]:
    free = (inspect.Parameter.VAR_KEYWORD, inspect.Parameter.VAR_POSITIONAL)
    return [p for p in inspect.signature(function).parameters.values() if p.kind not in free]
