"""Run folders: numbered, never overwritten, refused early, read without trust."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from chainrule.apps import runs
from chainrule.core.errors import ArgumentError, FileError, UnknownNameError


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def make(name: str = "images-digits", out=None) -> Path:
    with runs.new_run(name, out) as run:
        run.weights.write_bytes(b"weights")
        run.write(runs.CONFIG, {"task": "images"})
    return run.path


def test_runs_are_numbered_from_one():
    assert [make().name for _ in range(3)] == [f"images-digits-00{n}" for n in (1, 2, 3)]


def test_number_follows_the_greatest_that_was_given():
    Path("runs/images-digits-041").mkdir(parents=True)
    Path("runs/images-digits-mine").mkdir()
    assert make().name == "images-digits-042"
    assert make("images-fashion-mnist").name == "images-fashion-mnist-001"


def test_nothing_but_the_files_is_left(folder):
    assert sorted(path.name for path in make(out="mine").iterdir()) == [runs.CONFIG, runs.WEIGHTS]


def test_named_folder_may_exist_but_not_hold_files(folder):
    Path("empty").mkdir()
    make(out="empty")
    with pytest.raises(ArgumentError, match="holds files already"):
        make(out="empty")
    assert Path("empty", runs.WEIGHTS).read_bytes() == b"weights"


def test_folder_below_a_file_is_refused(folder):
    Path("taken").write_text("mine")
    for out in ("taken", "taken/run"):
        with pytest.raises(FileError, match="cannot be written"):
            make(out=out)
    assert Path("taken").read_text() == "mine"


def test_runs_that_is_a_file_is_refused(folder):
    Path("runs").write_text("mine")
    with pytest.raises(FileError, match="cannot be written"):
        make()


def test_failure_before_weights_leaves_no_folder(folder):
    for out in (None, "deep/er"):
        with pytest.raises(ZeroDivisionError), runs.new_run("images", out) as run:
            run.write(runs.CONFIG, {})
            raise ZeroDivisionError
    assert list(folder.iterdir()) == []


def test_failure_keeps_a_folder_that_was_there(folder):
    Path("mine").mkdir()
    with pytest.raises(ZeroDivisionError), runs.new_run("images", "mine"):
        raise ZeroDivisionError
    assert Path("mine").is_dir()


def test_interruption_after_weights_keeps_the_folder(folder):
    with pytest.raises(KeyboardInterrupt), runs.new_run("images", "mine") as run:
        run.weights.write_bytes(b"weights")
        raise KeyboardInterrupt
    assert Path("mine", runs.WEIGHTS).exists()


def test_folder_without_room_is_refused_before_the_block(folder):
    """A limit on file sizes stands for a full disk: the write fails in the same place."""
    script = (
        "import resource, signal\n"
        "from chainrule.apps import runs\n"
        f"resource.setrlimit(resource.RLIMIT_FSIZE, ({runs.RESERVE // 2}, {runs.RESERVE}))\n"
        "try:\n"
        "    with runs.new_run('images'):\n"
        "        print('begun')\n"
        "except runs.FileError as error:\n"
        "    print(error.message)\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert "cannot be written: File too large" in done.stdout, done
    assert "begun" not in done.stdout
    assert list(folder.iterdir()) == []


def test_json_has_no_nan():
    with runs.new_run("images", "mine") as run:
        run.weights.touch()
        run.write("a.json", {"loss": [1.0, float("nan"), np.float32(2)], "n": np.int64(3)})
    assert run.read("a.json") == {"loss": [1.0, None, 2.0], "n": 3}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"{", "cannot be read"),
        (b"\xff\xfe", "cannot be read"),
        (b"[1]", "must hold a JSON object"),
        (b"[" * 100_000, "cannot be read"),
        (b" " * (runs.MOST_BYTES + 1), "at most 1,048,576"),
    ],
)
def test_json_that_is_none_is_refused(tmp_path, content, message):
    (tmp_path / runs.CONFIG).write_bytes(content)
    with pytest.raises(FileError, match=message):
        runs.Run(tmp_path).read(runs.CONFIG)


def test_run_is_found_by_path_and_by_name(folder):
    path = make()
    assert runs.find_run(path).path == path
    assert runs.find_run(path.name).path == path
    assert runs.find_run(folder / path).path == folder / path


def test_unknown_run_gets_the_nearest(folder):
    make()
    for given in ("images-digits-01", "runs/images-digits-01"):
        with pytest.raises(UnknownNameError, match="did you mean 'runs/images-digits-001'"):
            runs.find_run(given)


def test_unknown_run_where_there_are_none():
    with pytest.raises(ArgumentError) as caught:
        runs.find_run("mine")
    assert "chainrule train" in caught.value.mend


def test_run_that_is_a_file(folder):
    Path("weights.bin").write_bytes(b"")
    with pytest.raises(FileError, match="a run is a folder"):
        runs.find_run("weights.bin")


def test_folder_that_is_no_run_says_so(folder):
    Path("other").mkdir()
    with pytest.raises(FileError, match="is no run folder"):
        runs.find_run("other").read(runs.CONFIG)


def test_interrupted_write_keeps_the_old_file(folder, monkeypatch):
    path = folder / "a.json"
    runs.write_text(path, json.dumps({"old": 1}))

    def fail(*args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(runs.os, "replace", fail)
    with pytest.raises(FileError, match="No space left"):
        runs.write_text(path, "new")
    monkeypatch.undo()
    assert json.loads(path.read_text()) == {"old": 1}
    assert [each.name for each in folder.iterdir()] == ["a.json"]
