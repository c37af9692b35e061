"""Batches read ahead in a thread, while the step before runs. Read next: `examples.py`."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterable, Iterator
from typing import Any

from chainrule.core.errors import ChainruleError, user_place

DEPTH = 2  # batches that wait; more would only take memory
END = object()


class Failed:
    """An error of the thread, on its way to the one that reads."""

    def __init__(self, error: BaseException):
        self.error = error


def read_ahead(source: Iterable[Any], depth: int = DEPTH) -> Iterator[Any]:
    """The items of `source`, at most `depth` of them made before they are asked for.

    An error of the source is raised where its item would have come. The thread ends when the
    source does, or when what this gave is closed or forgotten.
    """
    ready: queue.Queue = queue.Queue(maxsize=depth)
    stop = threading.Event()

    def put(item: Any) -> bool:
        while not stop.is_set():
            try:
                ready.put(item, timeout=0.05)
                return True
            except queue.Full:
                continue
        return False

    def fill() -> None:
        try:
            for item in source:
                if not put(item):
                    return
            put(END)
        except BaseException as error:
            put(Failed(error))

    def drain() -> Iterator[Any]:
        thread = threading.Thread(target=fill, name="chainrule-read-ahead", daemon=True)
        thread.start()
        try:
            while True:
                item = ready.get()
                if item is END:
                    return
                if isinstance(item, Failed):
                    raise placed(item.error)
                yield item
        finally:
            stop.set()
            thread.join(timeout=1.0)

    return drain()


def placed(error: BaseException) -> BaseException:
    """An error of the thread, which has no line of the user's above it, with the reader's."""
    there = error.place if isinstance(error, ChainruleError) else None
    if isinstance(error, ChainruleError) and (not there or there.file == threading.__file__):
        error.place = user_place()
    return error
