"""Every error chainrule raises on purpose, and how each finds the user's line.

An error says who, what was needed, what came, where, and how to mend it. The place is found by
itself: the innermost frame that lies outside this package. Read next: `dtypes.py`.
"""

from __future__ import annotations

import contextlib
import difflib
import linecache
import os
import sys
from collections.abc import Iterable
from typing import NamedTuple

PACKAGE = os.path.dirname(os.path.dirname(os.path.abspath(__file__))) + os.sep
BETWEEN = (PACKAGE, "<frozen", contextlib.__file__)


class Place(NamedTuple):
    """A line of the user's program."""

    file: str
    line: int

    def __str__(self) -> str:
        return f"{os.path.basename(self.file)}:{self.line}"

    @property
    def source(self) -> str:
        """The text of the line, or an empty string where the file cannot be read."""
        return linecache.getline(self.file, self.line).strip()


def user_place(depth: int = 1) -> Place | None:
    """The innermost line outside chainrule that led here; None when there is none."""
    frame = sys._getframe(depth)
    while frame is not None:
        file = frame.f_code.co_filename
        # A dataclass's __init__ has no file, only the name of its module.
        ours = file == "<string>" and frame.f_globals.get("__name__", "").startswith("chainrule.")
        if not ours and not file.startswith(BETWEEN):
            return Place(file, frame.f_lineno)
        frame = frame.f_back  # type: ignore[assignment]
    return None


def nearest(name: str, known: Iterable[str]) -> str:
    """' (did you mean ...?)' for the known name most like `name`, else ''."""
    found = difflib.get_close_matches(str(name).lower(), list(known), n=1, cutoff=0.5)
    return f" (did you mean {found[0]!r}?)" if found else ""


class ChainruleError(Exception):
    """What all errors of this package have in common: a message, a place and a mend."""

    def __init__(self, message: str, *, mend: str = "", place: Place | None = None):
        super().__init__(message)
        self.message = message
        self.mend = mend
        self.place = place or user_place(2)

    def __str__(self) -> str:
        where = f"{self.place}  {self.place.source}" if self.place else ""
        mend = f"mend: {self.mend}" if self.mend else ""
        second = "    ".join(part for part in (where, mend) if part)
        return self.message + (f"\n  {second}" if second else "")


class ShapeError(ChainruleError, ValueError):
    """Shapes that do not fit each other or the operation."""


class DtypeError(ChainruleError, TypeError):
    """A dtype that the operation does not take, or two that do not mix."""


class ArgumentError(ChainruleError, ValueError):
    """An argument outside what a function takes."""


class UnknownNameError(ArgumentError):
    """A name that nothing is registered under; the nearest known one is offered."""

    def __init__(self, what: str, name: object, known: Iterable[str]):
        names = sorted(known)
        super().__init__(
            f"unknown {what} {name!r}{nearest(str(name), names)}",
            mend="one of " + ", ".join(names),
            place=user_place(2),
        )


class DataError(ChainruleError, ValueError):
    """Data that cannot be trained on: empty, not finite, labels out of range."""


class FileError(ChainruleError, OSError):
    """A file that is missing, unreadable or not what it should be."""


class TraceError(ChainruleError, TypeError):
    """A value asked for while only its computation is known (inside `jit` or `vmap`)."""


class GradientError(ChainruleError, RuntimeError):
    """A gradient that cannot be had: nothing recorded, no path, or not a scalar."""


class DonatedError(ChainruleError, RuntimeError):
    """A tensor read after its memory was given to a compiled call."""
