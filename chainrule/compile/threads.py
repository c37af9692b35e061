"""Threads: workers wait inside one native loop; a call wakes them, all meet at barriers.

Workers are daemon Python threads that released the GIL. They spin a little, then sleep in the
kernel (futex) until the next call. At exit they are told to stop and joined; after a fork the
child makes its own. Read next: `program.py`.
"""

from __future__ import annotations

import atexit
import ctypes
import os
import threading

import numpy as np

from chainrule.compile.llvm import ATTRIBUTES
from chainrule.compile.runtime import BARRIER, load
from chainrule.core.errors import ArgumentError

# The words of a pool, one cache line each: 0 job, 16 stop, 32 arrived, 48 generation,
# 64 function and table of the job (two i64), 80 workers asleep. The job word holds the job's
# number above its count of threads (8 bits), so that a worker that has no part in a job can
# never take the next one's count for its own.
WORDS = 128
MOST = 255  # threads that the job word can count

WORKER = (
    BARRIER
    + ATTRIBUTES
    + """
declare i64 @syscall(i64, ...)

define void @cr_worker(ptr %sync, i64 %tid, i32 %first) #0 {
entry:
  %stop = getelementptr i32, ptr %sync, i64 16
  %fnp = getelementptr i32, ptr %sync, i64 64
  %tablep = getelementptr i32, ptr %sync, i64 66
  %asleep = getelementptr i32, ptr %sync, i64 80
  br label %idle
idle:
  %last = phi i32 [ %first, %entry ], [ %job, %done ]
  br label %spin
spin:
  %i = phi i32 [ 0, %idle ], [ %more, %again ]
  %job = load atomic i32, ptr %sync acquire, align 4
  %same = icmp eq i32 %job, %last
  br i1 %same, label %wait, label %work
wait:
  %long = icmp sgt i32 %i, 2000
  br i1 %long, label %sleep, label %pause
pause:
  call void @llvm.x86.sse2.pause()
  br label %again
sleep:
  %s1 = atomicrmw add ptr %asleep, i32 1 seq_cst
  %r = call i64 (i64, ...) @syscall(i64 202, ptr %sync, i64 128, i32 %last, ptr null)
  %s2 = atomicrmw sub ptr %asleep, i32 1 seq_cst
  br label %again
again:
  %more = add i32 %i, 1
  br label %spin
work:
  %ended = load atomic i32, ptr %stop acquire, align 4
  %over = icmp ne i32 %ended, 0
  br i1 %over, label %out, label %run
run:
  %low = and i32 %job, 255
  %n = zext i32 %low to i64
  %mine = icmp slt i64 %tid, %n
  br i1 %mine, label %call, label %done
call:
  %fn = load ptr, ptr %fnp
  %table = load ptr, ptr %tablep
  call void %fn(ptr %table, i64 %tid, i64 %n)
  br label %done
done:
  br label %idle
out:
  ret void
}

define void @cr_call(ptr %sync, ptr %fn, ptr %table, i64 %n) #0 {
entry:
  %alone = icmp sle i64 %n, 1
  br i1 %alone, label %run, label %wake
wake:
  %fnp = getelementptr i32, ptr %sync, i64 64
  %tablep = getelementptr i32, ptr %sync, i64 66
  %asleep = getelementptr i32, ptr %sync, i64 80
  store ptr %fn, ptr %fnp
  store ptr %table, ptr %tablep
  %old = load i32, ptr %sync
  %number = and i32 %old, -256
  %following = add i32 %number, 256
  %count = trunc i64 %n to i32
  %job = or i32 %following, %count
  %posted = atomicrmw xchg ptr %sync, i32 %job seq_cst
  %sleepers = load atomic i32, ptr %asleep seq_cst, align 4
  %any = icmp ne i32 %sleepers, 0
  br i1 %any, label %futex, label %run
futex:
  %r = call i64 (i64, ...) @syscall(i64 202, ptr %sync, i64 129, i32 2147483647)
  br label %run
run:
  call void %fn(ptr %table, i64 0, i64 %n)
  ret void
}

define void @cr_stop(ptr %sync) #0 {
entry:
  %stop = getelementptr i32, ptr %sync, i64 16
  store atomic i32 1, ptr %stop release, align 4
  %old = atomicrmw add ptr %sync, i32 1 seq_cst
  %r = call i64 (i64, ...) @syscall(i64 202, ptr %sync, i64 129, i32 2147483647)
  ret void
}
"""
)

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
        memory = np.zeros(WORDS * 4 + 64, np.uint8)
        start = -memory.ctypes.data % 64
        self.memory = memory
        self.sync = memory.ctypes.data + start
        address = {name: load(WORKER, name) for name in ("cr_worker", "cr_call", "cr_stop")}
        worker = ctypes.CFUNCTYPE(None, _void_p, _i64, ctypes.c_int32)(address["cr_worker"])
        self.call = ctypes.CFUNCTYPE(None, _void_p, _void_p, _void_p, _i64)(address["cr_call"])
        self.stop_call = ctypes.CFUNCTYPE(None, _void_p)(address["cr_stop"])
        self.workers = [
            threading.Thread(
                target=worker, args=(self.sync, tid, 0), daemon=True, name=f"chainrule-{tid}"
            )
            for tid in range(1, self.count)
        ]
        for thread in self.workers:
            thread.start()

    def run(self, function: int, table: int, threads: int) -> None:
        """Run a step function on `threads` threads, this one among them."""
        self.call(self.sync, function, table, threads)

    def stop(self) -> None:
        """Wake all workers and wait for them to end."""
        self.stop_call(self.sync)
        for thread in self.workers:
            thread.join()


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
    global _pool
    if _pool is not None:
        with lock:
            _pool.stop()
            _pool = None


def _in_child() -> None:
    global _pool, lock
    _pool = None  # its threads stayed in the parent
    lock = threading.RLock()


os.register_at_fork(after_in_child=_in_child)
