"""Threads: workers wait inside one native loop; a call wakes them, and all share its work.

Workers are daemon Python threads that released the GIL. They spin a little, then sleep in the
kernel (futex) until the next call. At exit they are told to stop and joined; after a fork the
child makes its own. Read next: `program.py`.
"""

from __future__ import annotations

import atexit
import ctypes
import os
import threading
import time
from collections import deque

import numpy as np

from chainrule.compile.runtime import load, machine
from chainrule.compile.worker import WORKER
from chainrule.core.errors import ArgumentError

LINE = 64  # bytes of a cache line
BLOCKS = 8
HEAD = 64  # bytes before a block's counters
MOST = 255  # threads that the job word can count

_void_p, _i64 = ctypes.c_void_p, ctypes.c_int64


def thread_count() -> int:
    """How many threads a program may use: `CHAINRULE_THREADS`, else what this process may run on.

    The CPU affinity and the cgroup's quota both count. ArgumentError for a bad setting.
    """
    given = os.environ.get("CHAINRULE_THREADS")
    if given:
        if not given.isdigit() or int(given) < 1:
            raise ArgumentError(f"CHAINRULE_THREADS is a number >= 1, got {given!r}")
        return int(given)
    count = len(os.sched_getaffinity(0))
    try:
        with open("/sys/fs/cgroup/cpu.max", encoding="ascii") as file:
            quota, period = file.read().split()
        if quota != "max":
            count = min(count, max(1, int(quota) // int(period)))
    except (OSError, ValueError):
        pass
    return count


class Pool:
    """The workers of this process, and the words they share."""

    def __init__(self, count: int):
        self.count = min(count, MOST)
        self.words, self.sync = _lines(4 + self.count)
        names = ("cr_worker", "cr_call", "cr_loop", "cr_renew", "cr_stop")
        made = machine()
        assert made is not None
        text = WORKER + made.system.text
        address = {name: load(text, name) for name in names}
        worker = ctypes.CFUNCTYPE(None, _void_p, _i64, ctypes.c_int32)(address["cr_worker"])
        numbers = (_i64, _i64, _i64)
        self.call = ctypes.CFUNCTYPE(None, _void_p, _void_p, _void_p, *numbers)(address["cr_call"])
        self.renew = ctypes.CFUNCTYPE(None, _void_p)(address["cr_renew"])
        self.loop = address["cr_loop"]  # a step function: many times of another, see `repeat.py`
        self.kept: deque = deque(maxlen=BLOCKS + 1)
        self.stop_call = ctypes.CFUNCTYPE(None, _void_p)(address["cr_stop"])
        self.block = 0
        self.reserve(64 * LINE)
        self.workers = [
            threading.Thread(
                target=worker, args=(self.sync, tid, 0), daemon=True, name=f"chainrule-{tid}"
            )
            for tid in range(1, self.count)
        ]
        for thread in self.workers:
            thread.start()

    def reserve(self, size: int) -> None:
        """Room for `size` bytes of counters in every block."""
        if size + HEAD <= self.block:
            return
        self.drain()
        self.block = size + HEAD
        self.memory, address = _lines(BLOCKS * self.block // LINE)
        self.words[48:52].view(np.int64)[:] = address, self.block

    def drain(self) -> None:
        """Wait until no late thread is inside of the last job, and let none come."""
        self.renew(self.sync)
        inside = self.words[64:]
        while inside[::16].any():
            time.sleep(1e-4)

    def run(
        self, function: int, table: int, threads: int, counters: int, kept: object = None
    ) -> None:
        """Run a step function on `threads` threads, this one among them.

        `counters` are the bytes of its counters; `reserve` made room for them. What a late thread
        would still read beside them is `kept` until none can be left.
        """
        if threads > 1:  # else no block is taken, and who is late in one may still be
            self.kept.append(kept)
        self.call(self.sync, function, table, threads, len(self.workers), counters + HEAD)

    def stop(self) -> None:
        """Wake all workers and wait for them to end."""
        self.stop_call(self.sync)
        for thread in self.workers:
            thread.join()


def _lines(count: int) -> tuple[np.ndarray, int]:
    """Zeroed cache lines as i32 words, and the address of the first."""
    memory = np.zeros((count + 1) * LINE, np.uint8)
    start = -memory.ctypes.data % LINE
    return memory[start : start + count * LINE].view(np.int32), memory.ctypes.data + start


halt = np.zeros(1, np.int64)  # not 0 asks the step that runs to stop, where it can be left
_pool: Pool | None = None
lock = threading.RLock()  # one program runs at a time; others queue


def pool() -> Pool:
    """The pool of this process, made when first asked for. Call it with `lock` held."""
    global _pool
    if _pool is None:
        _pool = Pool(thread_count())
        atexit.register(_at_exit)
    return _pool


def _at_exit() -> None:
    if _pool is not None:  # it stays: whoever still runs does all the work itself
        with lock:
            _pool.stop()


def _in_child() -> None:
    global _pool, lock
    _pool = None  # its threads stayed in the parent
    lock = threading.RLock()


os.register_at_fork(after_in_child=_in_child)
