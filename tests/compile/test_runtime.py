"""Threads, processes, determinism and the object cache."""

from __future__ import annotations

import os
import threading

import numpy as np
import pytest

import chainrule as cr
from chainrule.compile import runtime, threads
from chainrule.compile.cache import cache_folder

TRAIN = """
import sys; sys.path.insert(0, 'tests/compile')
import conftest, hashlib
net = conftest.Mlp(widths=(200, 300, 10), batch=120)
losses, params = net.train({steps})
print(losses[-1], hashlib.sha256(b''.join(p.tobytes() for p in params)).hexdigest())
"""


def test_native_training_equals_the_numpy_executor(mlp):
    native, reference = mlp("float64"), mlp("float64")
    ours, params = native.train(200)
    theirs, exact = reference.train(200, compiled=False)
    assert np.allclose(ours, theirs, rtol=1e-9, atol=0)
    for p, q in zip(params, exact, strict=True):
        assert np.allclose(p, q, rtol=1e-9, atol=1e-12)


def test_float32_training_stays_close_over_five_steps(mlp):
    ours, theirs = mlp().train(5)[0], mlp().train(5, compiled=False)[0]
    assert np.allclose(ours, theirs, rtol=1e-5)


def test_one_and_two_threads_give_the_same_bits(python):
    text = TRAIN.format(steps=20)
    assert python(text, CHAINRULE_THREADS="1") == python(text, CHAINRULE_THREADS="2")


def test_more_threads_than_cores_end_too(python):
    text = TRAIN.format(steps=3)
    assert python(text, CHAINRULE_THREADS="4") == python(text, CHAINRULE_THREADS="1")


GROW = """
import os, numpy as np, chainrule as cr
from chainrule.compile import runtime, threads
os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
step = cr.jit(lambda x: cr.tanh(x) * 2.0)
x = np.ones((200, 200), np.float32)
wanted = step(x).numpy()
for _ in range(200):
    assert np.array_equal(step(x), wanted)
    with threads.lock:
        threads.pool().reserve(threads.pool().block)
print("whole")
"""


def test_threads_that_come_late_read_no_counters_that_have_moved(python):
    assert python(GROW, CHAINRULE_THREADS="8") == "whole\n"


def test_runs_of_one_thread_take_nothing_from_a_thread_that_is_late():
    small = cr.jit(lambda x: x * 2.0 + 1.0)
    x = np.ones(3, np.float32)
    small(x)
    frame = object()
    with threads.lock:
        threads.pool().kept.append(frame)
        for _ in range(2 * threads.BLOCKS):
            small(x)
        assert frame in threads.pool().kept


def test_fork_then_step(mlp):
    net = mlp(widths=(200, 300, 10), batch=120)
    expected = net.train(3)[0]
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.write(write, repr(net.train(3)[0]).encode())
        finally:
            os._exit(0)
    os.close(write)
    with os.fdopen(read) as file:
        answer = file.read()
    os.waitpid(child, 0)
    assert eval(answer) == expected
    assert net.train(3)[0] == expected


def test_two_threads_stepping_at_once(mlp):
    nets = [mlp(widths=(100, 200, 10), batch=64), mlp(widths=(90, 200, 10), batch=50)]
    alone = [net.train(30)[0] for net in nets]
    found: dict[int, list] = {}
    workers = [
        threading.Thread(target=lambda i=i, net=net: found.update({i: net.train(30)[0]}))
        for i, net in enumerate(nets)
    ]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
    assert [found[0], found[1]] == alone


EXIT = """
import sys, threading, time; sys.path.insert(0, 'tests/compile')
import conftest
net = conftest.Mlp(widths=(200, 300, 10), batch=120)
net.train(1)
worker = threading.Thread(target=lambda: net.train(10**9), daemon=True)
worker.start()
time.sleep({wait})
sys.exit(0)
"""


def leave(python, times: int) -> None:
    for i in range(times):
        python(EXIT.format(wait=0.005 * (i % 7)), timeout=30)


def test_exit_while_training(python):
    leave(python, 5)


ENDED = """
import threading, numpy as np, chainrule as cr
from chainrule.compile import runtime, threads
step = cr.jit(lambda x: cr.tanh(x) * 2.0)
x = np.ones((200, 200), np.float32)
wanted = step(x).numpy()
threads._at_exit()
assert np.array_equal(step(x), wanted)
print([t.name for t in threading.enumerate()])
"""


def test_a_step_after_the_workers_have_ended_starts_none_anew(python):
    assert python(ENDED, CHAINRULE_THREADS="3") == "['MainThread']\n"


@pytest.mark.heavy
def test_exit_while_training_a_hundred_times(python):
    leave(python, 100)


def test_a_cache_that_cannot_be_written_costs_no_correctness(python, tmp_path):
    blocked = tmp_path / "file"
    blocked.write_text("not a folder")
    assert python(TRAIN.format(steps=2), CHAINRULE_CACHE=str(blocked))


def test_the_numpy_executor_by_the_environment(python):
    text = "from chainrule.compile.runtime import machine; print(machine())"
    assert python(text, CHAINRULE_EXECUTOR="numpy").strip() == "None"


def test_a_bad_thread_count_is_refused(python):
    text = (
        "import chainrule as cr, numpy as np\n"
        "try: cr.jit(lambda x: x + 1)(np.ones(3))\n"
        "except cr.ArgumentError as e: print(e)"
    )
    assert "CHAINRULE_THREADS is a number >= 1, got 'many'" in python(
        text, CHAINRULE_THREADS="many"
    )


def test_the_cache_lies_where_it_is_said(monkeypatch, tmp_path):
    monkeypatch.setenv("CHAINRULE_CACHE", str(tmp_path))
    assert cache_folder() == tmp_path


def test_importing_chainrule_does_not_import_llvm(python):
    text = "import sys, chainrule; print('llvmlite' in sys.modules)"
    assert python(text).strip() == "False"


def test_a_donated_step_allocates_nothing_that_stays(mlp):
    f = cr.jit(lambda p: p * 0.5, donate=("p",))
    p = cr.Tensor(np.ones(100_000, np.float32))
    p = f(p)
    where = p._value.ctypes.data
    for _ in range(5):
        p = f(p)
        assert p._value.ctypes.data == where


def test_a_large_module_is_compiled_in_parts_with_the_same_bits(python, tmp_path):
    found = []
    for large in (10**9, 0):
        text = f"""
from chainrule.compile import runtime
runtime.LARGE = {large}
{TRAIN.format(steps=5)}
from chainrule.compile.cache import cache_folder, fetch
objects = [len(runtime._unpacked(fetch(path.name))) for path in cache_folder().glob("*.o")]
print(max(objects) == 1 + runtime.GROUPS, max(objects))
"""
        found.append(python(text, CHAINRULE_CACHE=str(tmp_path / str(large))).splitlines())
    assert found[0][0] == found[1][0]
    assert [each[1] for each in found] == ["False 1", f"True {1 + runtime.GROUPS}"]
