"""`chainrule train images`: what it prints, writes and returns, and every way it can end."""

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from chainrule.apps import images
from chainrule.data.registry import is_cached, load

FILES = ["config.json", "curve.png", "history.json", "model.safetensors"]
# A program started with Ctrl-C ignored, as background jobs are, would not see the signal.
START = (
    "import signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler);"
    "from chainrule.cli.main import app; app(prog_name='chainrule')"
)


def files(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_short_training_reads_nine_digits_in_ten(trained):
    out, answer = trained
    assert answer.code == 0, answer.err
    found = answer.json
    assert found["accuracy"] >= 0.90
    assert found["accuracy"] > found["baselines"]["nearest_centroid"] > 0.8
    assert found["stopped"] == "epochs" and found["epochs"] == 6
    assert found["run"] == str(out)


def test_baselines_are_those_of_the_test_part(trained):
    digits = load("digits")
    common = np.bincount(digits.y_train).argmax()
    assert trained[1].json["baselines"]["majority"] == np.mean(digits.y_test == common)


def test_run_folder_holds_all_of_it(trained):
    pytest.importorskip("matplotlib")
    out, answer = trained
    assert files(out) == FILES
    config = json.loads((out / "config.json").read_text())
    assert config["data"] == "digits" and config["model"]["maker"] == "cnn"
    history = json.loads((out / "history.json").read_text())
    assert [len(values) for values in history["history"].values()] == [6, 6, 6, 6]
    assert history["test"]["accuracy"] == answer.json["accuracy"]
    assert (out / "curve.png").read_bytes().startswith(b"\x89PNG")


def test_progress_goes_to_stderr_only(trained):
    assert trained[1].out.count("\n") == 1
    assert len(re.findall(r"^epoch \d/6 .*val_accuracy", trained[1].err, re.MULTILINE)) == 6


def test_three_parts_share_no_image():
    digits = load("digits")
    parts = images.split(digits, 0.1)
    assert parts.sizes() == {"training": 1293, "validation": 144, "test": 360}
    assert parts.training.x.dtype == np.float32
    assert parts.training.x.min() == 0 and parts.test.x.max() == 1
    three = (parts.training, parts.validation, parts.test)
    seen = [{x.tobytes() for x in part.x} for part in three]
    assert sum(map(len, seen)) == len(set.union(*seen)) == 1797


def test_text_output_and_default_folder(chainrule):
    first = chainrule("train", "images", "--epochs", 1)
    again = chainrule("train", "images", "--epochs", 1)
    assert (first.code, again.code) == (0, 0), first.err
    assert files(Path("runs")) == ["images-digits-001", "images-digits-002"]
    assert "runs/images-digits-001" in first.out and "nearest class mean" in first.out
    accuracy = re.search(r"^([\d.]+)%\s+cnn", first.out, re.MULTILINE)
    assert accuracy and float(accuracy[1]) > 10
    same = [line for line in first.out.splitlines() if line.startswith("val_")]
    assert same and all(line in again.out for line in same)  # one seed, one result


def test_seed_changes_the_result(chainrule, trained):
    assert chainrule("train", "images", "--epochs", 1, "--seed", 1, "--out", "mine").code == 0
    folders = (trained[0], Path("mine"))
    first, other = (json.loads((each / "history.json").read_text()) for each in folders)
    assert first["history"]["loss"][0] != other["history"]["loss"][0]


@pytest.mark.heavy
def test_thread_count_does_not_change_the_result(chainrule):
    script = [sys.executable, "-m", "chainrule.cli", "train", "images", "--epochs", "1", "--json"]
    found = [
        json.loads(subprocess.run([*script, "--threads", n], capture_output=True).stdout)["loss"]
        for n in ("1", "2")
    ]
    assert found[0] == found[1]


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--data", "digts"], "did you mean 'digits'"),
        (["--data", "movie-snippets"], "unknown image data set"),
        (["--epochs", "0"], "--epochs"),
        (["--epochs", "many"], "--epochs"),
        (["--batch-size", "0"], "--batch-size"),
        (["--threads", "0"], "--threads"),
        (["--seed", "-1"], "--seed"),
        (["--lr", "-1"], "--lr"),
        (["--lr", "nan"], "--lr"),
        (["--lr", "inf"], "learning_rate"),
        (["--lr", "0"], "--lr"),
        (["--epoch", "3"], "--epochs"),
    ],
)
def test_bad_option_is_usage_and_leaves_nothing(chainrule, words, told):
    answer = chainrule("train", "images", *words)
    assert answer.code == 2 and told in answer.err and answer.out == ""
    assert files(Path()) == []


def test_folder_in_use_is_not_overwritten(chainrule, run):
    before = (run / "model.safetensors").read_bytes()
    answer = chainrule("train", "images", "--out", run)
    assert answer.code == 2 and "nothing is overwritten" in answer.err
    assert (run / "model.safetensors").read_bytes() == before


def test_folder_that_cannot_be_written_ends_it_before_training(chainrule):
    Path("taken").write_text("mine")
    answer = chainrule("train", "images", "--out", "taken/run")
    assert answer.code == 1 and answer.out == ""
    assert answer.err.startswith("FileError: ") and answer.err.count("\n") == 1
    assert "mend: --out" in answer.err and "epoch" not in answer.err


def test_training_that_breaks_is_a_failure_and_says_why(chainrule):
    answer = chainrule("train", "images", "--lr", "1e30", "--epochs", 3, "--json")
    assert answer.code == 1
    found = answer.json
    assert found["stopped"] == "non-finite" and found["accuracy"] is None
    assert "training failed" in answer.err and "--lr" in answer.err


def test_model_that_learns_nothing_is_a_finding(chainrule, monkeypatch):
    monkeypatch.setattr(images, "majority", lambda *labels: 1.0)
    answer = chainrule("train", "images", "--epochs", 1, "--json")
    assert answer.code == 1 and "learnt nothing" in answer.err
    assert "learnt nothing" in answer.json["failure"]


def test_without_matplotlib_the_curve_is_text(chainrule, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    answer = chainrule("train", "images", "--epochs", 2, "--out", "mine")
    assert answer.code == 0
    assert "chainrule[plot]" in answer.err and "curve.txt" in answer.out
    rows = Path("mine/curve.txt").read_text(encoding="utf-8").splitlines()
    assert rows[-1].split()[0] == "2" and "val_accuracy" in rows[-3]
    assert not Path("mine/curve.png").exists()


def test_result_is_shown_on_a_stream_in_ascii(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "chainrule.cli", "train", "images", "--epochs", "2"],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={**os.environ, "PYTHONIOENCODING": "ascii"},
    )
    assert done.returncode == 0, done.stderr
    assert re.search(r"^val_accuracy  \?\?  ", done.stdout, re.MULTILINE)


def interrupted(folder: Path, seen: str, *words: str) -> tuple[int, str, str]:
    """Start a long training, press Ctrl-C once a line on stderr begins with `seen`."""
    command = [sys.executable, "-c", START, "train", "images", "--epochs", "9999", *words]
    process = subprocess.Popen(
        command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stderr is not None and process.stdout is not None
    said = ""
    while not said.splitlines()[-1:] or not said.splitlines()[-1].startswith(seen):
        line = process.stderr.readline()
        assert line, said
        said += line
    process.send_signal(signal.SIGINT)
    out, rest = process.communicate(timeout=60)
    return process.returncode, out, said + rest


def test_ctrl_c_keeps_the_weights_so_far(tmp_path, chainrule):
    code, out, err = interrupted(tmp_path, "epoch 2/", "--json", "--out", "mine")
    assert code == 130, err
    found = json.loads(out)
    assert found["stopped"] == "interrupted" and found["accuracy"] is None
    assert f"epoch {found['best_epoch']}, the best, are in mine" in err
    assert "Traceback" not in err
    assert chainrule("evaluate", tmp_path / "mine", "--json").json["accuracy"] > 0.2


def test_ctrl_c_in_the_first_epoch_keeps_the_last_step(tmp_path, chainrule):
    words = ("--data", "digits", "--batch-size", "1", "--out", "mine")
    code, out, err = interrupted(tmp_path, "digits: ", *words)
    assert code == 130 and out == "" and "Traceback" not in err
    if (tmp_path / "mine").exists():
        assert chainrule("evaluate", tmp_path / "mine").code == 0
        assert "the weights of the last step are in mine" in err
    else:
        assert "stopped" in err


@pytest.mark.heavy
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_full_training_reads_97_digits_in_100(chainrule, seed):
    found = chainrule("train", "images", "--seed", seed, "--json").json
    assert found["accuracy"] >= 0.97 and found["seconds"] < 60
    assert found["stopped"] in ("patience", "epochs")


@pytest.mark.heavy
def test_fashion_mnist_trains_an_epoch(chainrule):
    if not is_cached("fashion-mnist"):
        pytest.skip("fashion-mnist is not on this machine: chainrule data get fashion-mnist")
    found = chainrule("train", "images", "--data", "fashion-mnist", "--epochs", 1, "--json").json
    assert found["accuracy"] > max(0.82, found["baselines"]["nearest_centroid"])
    assert found["seconds"] < 180 * 2 / min(2, os.cpu_count() or 1)
