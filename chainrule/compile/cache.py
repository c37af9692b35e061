"""The cache folder: files of compiled code and of plans, each named by a hash of what it is for.

A file is its checksum, then its content, and appears whole or not at all, so processes may
share the folder; one that is damaged counts as missing. When the folder grows beyond
`CHAINRULE_CACHE_SIZE`, the files longest unused are removed. `CHAINRULE_CACHE` is the folder.
A folder that cannot be read or written costs time and nothing else. Read next: `runtime.py`.
"""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import os
import re
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from chainrule.core.errors import ArgumentError

SIZE = 512  # MB
OURS = re.compile(r"[0-9a-f]{40}\.(o|plan)(\.\d+\.\d+)?")  # the numbers mark a file half written
SUM = hashlib.sha256().digest_size
LOOK = 64  # files written by this process between two looks at the folder's size


class Usage(NamedTuple):
    """Files and what they take up."""

    files: int
    bytes: int


def cache_folder() -> Path:
    """Where the files are."""
    given = os.environ.get("CHAINRULE_CACHE")
    return Path(given) if given else Path.home() / ".cache" / "chainrule" / "compiled"


def most_bytes() -> int:
    """How large the folder may grow. ArgumentError for a bad `CHAINRULE_CACHE_SIZE`."""
    given = os.environ.get("CHAINRULE_CACHE_SIZE", str(SIZE))
    if not given.isdigit():
        raise ArgumentError(f"CHAINRULE_CACHE_SIZE is a whole number of MB, got {given!r}")
    return int(given) * 10**6


def key_of(*parts: str) -> str:
    """The name of what depends on `parts`."""
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:40]


def fetch(name: str) -> bytes | None:
    """The content kept under `name`; None where there is none, or not all of it."""
    if not most_bytes():
        return None
    with contextlib.suppress(OSError, RuntimeError):
        path = cache_folder() / name
        stored = path.read_bytes()
        if hashlib.sha256(stored[SUM:]).digest() == stored[:SUM]:
            with contextlib.suppress(OSError):
                os.utime(path)  # it was used just now
            return stored[SUM:]
    return None


_written = itertools.count()


def keep(name: str, content: bytes) -> None:
    """Keep `content` under `name`, in place of what is there."""
    most = most_bytes()
    if not most:
        return
    with contextlib.suppress(OSError, RuntimeError):
        folder = cache_folder()
        folder.mkdir(parents=True, exist_ok=True)
        partial = folder / f"{name}.{os.getpid()}.{threading.get_ident()}"
        try:
            partial.write_bytes(hashlib.sha256(content).digest() + content)
            os.replace(partial, folder / name)
        finally:
            partial.unlink(missing_ok=True)
        if next(_written) % LOOK == 0:
            trim(most)


def trim(most: int) -> Usage:
    """Remove the files longest unused until the folder is within `most` bytes; what went."""
    found = sorted(_files(), key=lambda file: file[1].st_mtime_ns)
    over = sum(status.st_size for _, status in found) - most
    count = freed = 0
    for path, status in found:
        if freed >= over:
            break
        with contextlib.suppress(OSError):  # another process was faster
            path.unlink()
        count, freed = count + 1, freed + status.st_size
    return Usage(count, freed)


def usage() -> Usage:
    """What the folder holds."""
    sizes = [status.st_size for _, status in _files()]
    return Usage(len(sizes), sum(sizes))


def clear() -> Usage:
    """Remove every file of the cache, and nothing else; what went."""
    return trim(-1)


def _files() -> Iterator[tuple[Path, os.stat_result]]:
    with (
        contextlib.suppress(OSError),
        os.scandir(cache_folder()) as entries,
    ):
        for entry in entries:
            with contextlib.suppress(OSError):
                if OURS.fullmatch(entry.name):
                    yield Path(entry.path), entry.stat()
