"""Which module was called with what: inside `with watched() as calls:` each call is noted.

Read next: `module.py`.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

_local = threading.local()


class Call(NamedTuple):
    """One call of `module` at `path`: `inputs` as they came, `options`, and the `output`.

    `frozen` says whether the module, or one that holds it, has `trainable = False`.
    """

    module: Any
    path: str
    inputs: tuple
    options: dict[str, Any]
    output: Any
    frozen: bool


@contextmanager
def watched() -> Iterator[list[Call]]:
    """A list that gets each call made inside the block by this thread, the innermost first."""
    before = getattr(_local, "calls", None)
    calls: list[Call] = []
    _local.calls = calls
    try:
        yield calls
    finally:
        _local.calls = before


def note(*call: Any) -> None:
    """Add the `Call` of these fields to the list of the block that watches, where there is one."""
    calls = getattr(_local, "calls", None)
    if calls is not None:
        calls.append(Call(*call))
