"""`chainrule evaluate` and `chainrule predict` on good and on damaged run folders."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from chainrule.apps.images import RECIPES
from chainrule.data.registry import load


def test_evaluate_gives_what_training_gave(chainrule, trained):
    out, answer = trained
    found = chainrule("evaluate", out, "--json")
    assert found.code == 0, found.err
    for name in ("accuracy", "loss"):
        assert found.json[name] == answer.json[name]
    text = chainrule("evaluate", out)
    assert text.code == 0 and f"{answer.json['accuracy']:.2%}" in text.out


def test_predict_reads_digits(chainrule, trained):
    digits = load("digits")
    np.save("some.npy", digits.x_test[:50])
    np.savetxt("one.csv", digits.x_test[0, ..., 0], delimiter=",", fmt="%d")
    answer = chainrule("predict", trained[0], "some.npy", "one.csv", "--json")
    assert answer.code == 0, answer.err
    rows = answer.json["predictions"]
    assert [row["index"] for row in rows] == [*range(50), 0]
    right = [row["class"] == str(y) for row, y in zip(rows, digits.y_test[:50])]
    assert np.mean(right) > 0.8
    assert rows[0]["probabilities"] == pytest.approx(rows[50]["probabilities"], abs=1e-5)
    for row in rows:
        assert sum(row["probabilities"].values()) == pytest.approx(1)
        assert row["probability"] == max(row["probabilities"].values())
    table = chainrule("predict", trained[0], "one.csv").out
    assert table.splitlines()[1].split()[:3] == ["one.csv", "0", rows[50]["class"]]


def test_predict_does_the_readable_files_and_names_the_others(chainrule, trained):
    np.save("good.npy", load("digits").x_test[0])
    Path("bad.npy").write_bytes(b"no array")
    np.save("large.npy", np.zeros((28, 28)))
    words = ("good.npy", "bad.npy", "large.npy", "none.npy")
    answer = chainrule("predict", trained[0], *words, "--json")
    assert answer.code == 1
    assert [row["input"] for row in answer.json["predictions"]] == ["good.npy"]
    assert answer.json["unreadable"] == 3
    lines = answer.err.splitlines()
    assert [line.split(":")[0] for line in lines] == ["FileError", "ShapeError", "FileError"]
    assert all("mend: " in line for line in lines)


@pytest.mark.parametrize("words", [["evaluate"], ["predict"]])
def test_missing_run_names_the_nearest(chainrule, words, run):
    Path("runs").mkdir()
    run.rename("runs/images-digits-007")
    extra = ["x.npy"] if words == ["predict"] else []
    answer = chainrule(*words, "images-digits-001", *extra)
    assert answer.code == 2 and answer.out == ""
    assert "did you mean 'runs/images-digits-007'" in answer.err


def test_missing_run_where_there_are_none_says_how_to_make_one(chainrule):
    answer = chainrule("evaluate", "mine")
    assert answer.code == 2 and "chainrule train images" in answer.err


CNN = RECIPES["digits"][0].arguments


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def drop(path: Path) -> None:
    path.unlink()


def garble(path: Path) -> None:
    path.write_bytes(b"\xff" * 100)


def reshape(path: Path) -> None:
    arrays = load_file(path)
    save_file({name: array[..., :1].copy() for name, array in arrays.items()}, path)


def rename(path: Path) -> None:
    save_file({f"{name}_2": array for name, array in load_file(path).items()}, path)


@pytest.mark.parametrize("damage", [cut, drop, garble, reshape, rename])
def test_damaged_weights_are_one_typed_line(chainrule, run, damage):
    damage(run / "model.safetensors")
    answer = chainrule("evaluate", run)
    assert answer.code == 1 and answer.out == ""
    assert answer.err.split(":")[0] in ("FileError", "ShapeError")
    assert answer.err.count("\n") == 1 and "mend: " in answer.err


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"task": "texts"}, "task is one of images"),
        ({"task": "text"}, "longest, length missing"),
        ({"format": 2}, "format 1"),
        ({"format": True}, "format"),
        ({"classes": ["0"]}, "classes"),
        ({"shape": [8, 8]}, "shape"),
        ({"shape": [8, 8, 10**9]}, "shape"),
        ({"seed": None}, "seed"),
        ({"x_max": 0}, "x_max"),
        ({"model": {"maker": "os.system", "arguments": {"classes": 10}}}, "unknown model"),
        ({"model": {"maker": "bag", "arguments": {"classes": 10}}}, "unknown model"),
        ({"model": {"maker": "cnn", "arguments": {"classes": 10}}}, "takes exactly"),
        ({"model": {"maker": "cnn", "arguments": {**CNN, "filters": [16, 10**9]}}}, "filters"),
        ({"model": {"maker": "cnn", "arguments": {**CNN, "filters": 16}}}, "filters"),
        ({"model": {"maker": "cnn", "arguments": {**CNN, "filters": [8]}}}, "one pool is needed"),
        ({"model": {"maker": "cnn", "arguments": {**CNN, "pools": [4, 4]}}}, "does not fit"),
        ({"model": {"maker": "cnn", "arguments": {**CNN, "units": "64"}}}, "units"),
        ({"model": {"maker": "cnn", "arguments": {**CNN, "units": True}}}, "units"),
        ({"model": {"maker": "cnn", "arguments": {**CNN, "dropout": 1.5}}}, "dropout"),
    ],
)
def test_config_that_training_did_not_write_is_refused(chainrule, run, changes, told):
    path = run / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))
    answer = chainrule("evaluate", run)
    assert answer.code == 1 and told in answer.err
    assert answer.err.startswith("FileError") and answer.err.count("\n") == 1


def test_config_of_an_unknown_data_set_names_the_nearest(chainrule, run):
    path = run / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "data": "digit"}))
    answer = chainrule("evaluate", run)
    assert answer.code in (1, 2) and "did you mean 'digits'" in answer.err


def test_debug_switch_lets_the_traceback_through(run):
    (run / "model.safetensors").unlink()
    for value, expected in (("0", False), ("1", True)):
        done = subprocess.run(
            [sys.executable, "-m", "chainrule.cli", "evaluate", str(run)],
            capture_output=True,
            text=True,
            env={**os.environ, "CHAINRULE_DEBUG": value},
        )
        assert done.returncode == 1
        assert ("Traceback" in done.stderr) == expected
