"""The cache folder, and programs that start from what it keeps."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

import chainrule as cr
from chainrule.compile import cache, plan, program
from chainrule.compile.signature import signature

NAME = "0123456789abcdef0123456789abcdef01234567.o"
OTHER = "f" * 40 + ".o"

TRAIN = """
import sys; sys.path.insert(0, 'tests/compile')
import conftest, hashlib
from chainrule.compile import draft
drafts, old = [], draft.Draft.__init__
draft.Draft.__init__ = lambda self, *args: (drafts.append(1), old(self, *args))[1]
losses, params = conftest.Mlp(widths=(200, 300, 10), batch=120).train(2)
print(len(drafts), hashlib.sha256(b''.join(p.tobytes() for p in params)).hexdigest())
"""


@pytest.fixture(autouse=True)
def folder(monkeypatch, tmp_path) -> Path:
    """A cache of this test's own."""
    monkeypatch.setenv("CHAINRULE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def squares(x: cr.Tensor) -> cr.Tensor:
    return cr.sum(cr.tanh(x * 2.0) ** 2, axis=1)


def started(fn: object, *arrays: np.ndarray) -> list[np.ndarray]:
    """The outputs of `fn` compiled as in a new process, which has no jitted function yet."""
    return [t.numpy() for t in cr.flatten(cr.jit(fn)(*arrays))[0]]


@pytest.fixture
def drafts(monkeypatch) -> list:
    """One entry for each graph that is planned."""
    made: list = []
    real = program.Draft
    monkeypatch.setattr(program, "Draft", lambda *args: (made.append(args), real(*args))[1])
    return made


def test_what_is_kept_is_fetched(folder):
    assert cache.fetch(NAME) is None
    cache.keep(NAME, b"some code")
    assert cache.fetch(NAME) == b"some code"
    assert [path.name for path in folder.iterdir()] == [NAME]


@pytest.mark.parametrize("damage", [lambda b: b[:-1], lambda b: b"", lambda b: b[:-1] + b"\0"])
def test_a_damaged_file_counts_as_missing(folder, damage):
    cache.keep(NAME, b"some code")
    (folder / NAME).write_bytes(damage((folder / NAME).read_bytes()))
    assert cache.fetch(NAME) is None
    cache.keep(NAME, b"some code")
    assert cache.fetch(NAME) == b"some code"


def test_the_files_longest_unused_are_removed_first(folder):
    names = [f"{i:040x}.o" for i in range(4)]
    for i, name in enumerate(names):
        cache.keep(name, bytes(1000))
        os.utime(folder / name, (i, i))
    cache.fetch(names[0])
    gone = cache.trim(2500)
    assert gone.files == 2
    assert [cache.fetch(name) is not None for name in names] == [True, False, False, True]


def test_the_folder_stays_within_its_size(folder, monkeypatch):
    monkeypatch.setenv("CHAINRULE_CACHE_SIZE", "1")
    for i in range(3 * cache.LOOK):
        cache.keep(f"{i:040x}.o", bytes(20_000))
    assert cache.usage().bytes <= 1e6 + cache.LOOK * 20_100
    cache.trim(cache.most_bytes())
    assert cache.usage().bytes <= 1e6


def test_a_size_of_zero_keeps_nothing(folder, monkeypatch):
    monkeypatch.setenv("CHAINRULE_CACHE_SIZE", "0")
    cache.keep(NAME, b"code")
    assert cache.fetch(NAME) is None
    assert not folder.exists()


def test_a_bad_size_is_refused(monkeypatch):
    monkeypatch.setenv("CHAINRULE_CACHE_SIZE", "big")
    with pytest.raises(cr.ArgumentError, match="whole number of MB, got 'big'"):
        cache.keep(NAME, b"code")


def test_clearing_removes_the_cache_and_nothing_else(folder):
    cache.keep(NAME, b"code")
    cache.keep(NAME.replace(".o", ".plan"), b"plan")
    half = folder / f"{OTHER}.12.34"
    half.write_bytes(b"left by a process that was killed")
    letter = folder / "letter.o"
    letter.write_text("not ours")
    assert cache.clear().files == 3
    assert list(folder.iterdir()) == [letter]
    assert cache.usage() == (0, 0)


def test_a_folder_that_cannot_be_written_keeps_nothing(monkeypatch, tmp_path):
    (tmp_path / "file").write_text("not a folder")
    monkeypatch.setenv("CHAINRULE_CACHE", str(tmp_path / "file"))
    cache.keep(NAME, b"code")
    assert cache.fetch(NAME) is None
    assert (cache.usage(), cache.clear()) == ((0, 0), (0, 0))
    assert started(squares, np.ones((3, 4)))[0].shape == (3,)


def test_a_full_disk_leaves_no_half_file(folder, monkeypatch):
    def full(path: Path, content: bytes) -> int:
        path.touch()
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    cache.keep(NAME, b"code")
    assert list(folder.iterdir()) == []


def test_writers_and_readers_at_once_see_whole_files_only():
    contents = [bytes([i]) * 50_000 for i in range(4)]
    seen: set = set()

    def work(content: bytes) -> None:
        for _ in range(50):
            cache.keep(NAME, content)
            seen.add(cache.fetch(NAME))

    workers = [threading.Thread(target=work, args=(content,)) for content in contents]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
    assert seen <= set(contents)


def test_a_second_start_plans_nothing_and_computes_the_same(folder, drafts):
    x = np.random.default_rng(0).standard_normal((30, 40)).astype(np.float32)
    first = started(cr.grad(lambda x: cr.sum(squares(x))), x)
    again = started(cr.grad(lambda x: cr.sum(squares(x))), x)
    assert len(drafts) == 1
    assert np.array_equal(first, again)


def several(x, ids, key):
    """A host node between kernels, checked ids, constants, views and inputs among the outputs."""
    order = cr.sort(x * 2.0, 0)
    drawn = cr.bernoulli(cr.fold_in(key, "drop"), 0.5, x.shape)
    picked = cr.take(order, ids) + cr.cast(cr.arange(4), "float64")
    return picked, x, x.T, cr.where(drawn, x, -np.inf), cr.pad(x * 0, [(0, 1), (0, 0)], 1.0)


def test_every_kind_of_step_starts_from_a_plan(drafts):
    x = np.random.default_rng(1).standard_normal((5, 4))
    given = (x, np.array([0, 4, 4]), cr.key(3))
    first, again = started(several, *given), started(several, *given)
    assert len(drafts) == 1
    for a, b, exact in zip(first, again, cr.flatten(several(*given))[0], strict=True):
        assert np.array_equal(a, b)
        assert np.allclose(b, exact, rtol=1e-12)


def test_ids_outside_are_refused_by_a_program_from_a_plan(drafts):
    x, pick = np.ones((5, 4)), lambda x, ids: cr.take(x, ids) * 2.0
    started(pick, x, np.array([0, 1, 4]))
    with pytest.raises(cr.ArgumentError, match=r"positions must lie in 0\.\.4, got 5"):
        started(pick, x, np.array([0, 1, 5]))
    assert len(drafts) == 1


def test_donated_memory_is_used_by_a_program_from_a_plan(drafts):
    for _ in range(2):
        step = cr.jit(lambda p: p * 0.5, donate=("p",))
        p = step(cr.Tensor(np.ones(1000, np.float32)))
        where = p._value.ctypes.data
        assert step(p)._value.ctypes.data == where
    assert len(drafts) == 1


@pytest.mark.parametrize(
    "text", ["", "{}", '["ProgramPlan"]', '["unknown", 1]', '["op", "no such op"]', "[1, 2", "null"]
)
def test_what_is_no_plan_is_planned_anew(folder, drafts, text):
    x = np.ones((3, 4))
    first = started(squares, x)
    (path,) = folder.glob("*.plan")
    good = path.read_bytes()
    cache.keep(path.name, text.encode())
    assert np.array_equal(started(squares, x), first)
    assert len(drafts) == 2
    assert path.read_bytes() == good


def test_a_plan_without_its_object_is_planned_anew(python, folder):
    first = python(TRAIN)
    assert first.startswith("1 ")
    assert python(TRAIN) == first.replace("1 ", "0 ", 1)
    for path in folder.glob("*.o"):
        path.unlink()
    assert python(TRAIN) == first


def test_damaged_entries_are_made_again(python, folder):
    first = python(TRAIN)
    files = {path: path.read_bytes() for path in folder.iterdir()}
    assert {path.suffix for path in files} == {".o", ".plan"}
    for i, (path, good) in enumerate(sorted(files.items())):
        path.write_bytes(good[: len(good) // 2] if i % 2 else good[:-1] + b"\x00\x01")
    assert python(TRAIN) == first
    assert {path: path.read_bytes() for path in folder.iterdir()} == files


@pytest.mark.heavy
def test_processes_that_start_at_once_share_a_cache(folder):
    command = [sys.executable, "-c", TRAIN]
    started_at_once = [
        subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(4)
    ]
    told = {process.communicate(timeout=120)[0].split()[1] for process in started_at_once}
    assert len(told) == 1
    assert all(cache.fetch(path.name) for path in folder.iterdir())


def key_of(fn: object, *arrays: np.ndarray, donated: bool = False) -> str | None:
    graph = cr.jit(fn).graph(*arrays)
    return signature(graph, [donated] * len(graph.inputs))


def test_equal_graphs_have_one_key_and_others_their_own():
    x = np.ones((3, 4), np.float32)
    keys = [
        key_of(lambda x: x * 2.0, x),
        key_of(lambda x: x * 3.0, x),
        key_of(lambda x: x + 2.0, x),
        key_of(lambda x: x * 2.0, np.ones((4, 3), np.float32)),
        key_of(lambda x: x * 2.0, np.ones((3, 4))),
        key_of(lambda x: x * 2.0, x, donated=True),
        key_of(lambda x: (x * 2.0, x), x),
        key_of(lambda x: (x, x * 2.0), x),
        key_of(lambda x: x * -0.0, x),
        key_of(lambda x: x * 0.0, x),
    ]
    assert None not in keys
    assert len(set(keys)) == len(keys)
    assert key_of(lambda z: z * 2.0, x) == keys[0]


def test_a_graph_with_a_loop_has_no_key_but_its_body_has(drafts):
    def total(x):
        return cr.scan(lambda c, x: (cr.tanh(c + cr.sort(x, 0)), c), cr.sum(x, axis=0) * 0, x)

    x = np.random.default_rng(2).standard_normal((6, 5))
    assert key_of(total, x) is None
    first, before = started(total, x), len(drafts)
    again = started(total, x)
    assert len(drafts) - before < before
    assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))


def test_an_op_of_the_users_own_has_no_key():
    from chainrule.core.op import OPS
    from chainrule.ops.elementwise import elementwise

    halve = elementwise(
        "halve_for_the_cache",
        r"#1 / 2",
        ref=lambda x: x / 2,
        deriv=lambda x, y: 0.5,
        body=lambda k, x: x * 0.5,
    )
    try:
        assert key_of(halve, np.ones(3)) is None
    finally:
        del OPS[halve.name]


def test_a_plan_reads_back_as_it_was(folder):
    graph = cr.jit(several).graph(np.ones((5, 4)), np.array([0, 4, 4]), cr.key(3))
    given = [True, *[False] * (len(graph.inputs) - 1)]
    made = program.Program(graph, given).draft().plan()
    plan.keep_plan("a" * 40, made)
    assert plan.kept_plan("a" * 40) == made
    stored = json.loads(cache.fetch("a" * 40 + ".plan"))
    assert stored[0] == "ProgramPlan"


def test_stages_are_shown_though_a_plan_is_kept(capsys, monkeypatch):
    started(squares, np.ones((3, 4)))
    monkeypatch.setenv("CHAINRULE_SHOW", "memory")
    started(squares, np.ones((3, 4)))
    assert "arena" in capsys.readouterr().err


def test_asking_for_a_graph_plans_nothing(drafts):
    assert "tanh" in str(cr.jit(squares).graph(np.ones((3, 4))))
    assert drafts == []
