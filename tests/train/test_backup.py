"""A fit that was killed goes on where it was, to the bit; a backup of another is refused."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

import chainrule as cr
from chainrule import nn
from chainrule.data import blobs
from chainrule.train import BackupAndRestore, Callback
from chainrule.train.backup import FILE
from chainrule.train.stored import read_value
from tests.train import backed_up
from tests.train.backed_up import EPOCHS, KINDS, STEPS, Cut, Die, run


def killed(folder: Path, kind: str, at: int) -> None:
    """Run it in another process, which is to die at step `at`."""
    there = {**os.environ, "PYTHONPATH": str(Path(cr.__file__).parents[1])}
    command = [sys.executable, backed_up.__file__, str(folder), kind, str(at)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, env=there)
    assert done.returncode == -signal.SIGKILL, done.stderr


def test_fit_killed_at_any_step_comes_to_the_same_bits(tmp_path: Path) -> None:
    at = random.randrange(4, EPOCHS * STEPS)
    straight = run(tmp_path / "straight")
    killed(tmp_path / "killed", "arrays", at)
    assert read_value(tmp_path / "killed" / "backup" / FILE)["history"]["steps"] >= at - 3
    assert run(tmp_path / "killed") == straight, f"killed at step {at}"


@pytest.mark.parametrize(
    ("kind", "save_freq", "at"),  # 24: after an epoch's last step, before its validation
    [("arrays", 1, 24), ("folder", 5, 33), ("generator", 5, 30), ("iterable", "epoch", 21)],
)
def test_fit_goes_on_from_every_kind_of_data(
    tmp_path: Path, kind: str, save_freq, at: int, monkeypatch
) -> None:
    straight = run(tmp_path / "straight", kind, save_freq=save_freq)
    monkeypatch.setattr(Die, "on_train_batch_end", Cut.on_train_batch_end)
    with pytest.raises(RuntimeError, match="cut"):
        run(tmp_path / "cut", kind, at, save_freq)
    assert run(tmp_path / "cut", kind, None, save_freq) == straight


def test_fit_cut_at_each_epochs_end_stops_by_patience_alike(tmp_path: Path, monkeypatch) -> None:
    straight = run(tmp_path / "straight", patience=1, save_freq="epoch", epochs=30)
    ended = json.loads(straight)["end"]
    assert ended[2] == "patience"
    monkeypatch.setattr(Die, "on_train_batch_end", Cut.on_train_batch_end)
    for epoch in range(1, len(ended[0])):
        with pytest.raises(RuntimeError, match="cut"):
            run(tmp_path / "cut", die=epoch * STEPS + 1, save_freq="epoch", patience=1, epochs=30)
    assert run(tmp_path / "cut", save_freq="epoch", patience=1, epochs=30) == straight


@pytest.mark.heavy
@pytest.mark.parametrize("kind", KINDS)
def test_fit_killed_again_and_again_comes_to_the_same_bits(tmp_path: Path, kind: str) -> None:
    straight = run(tmp_path / "straight", kind, save_freq=1, epochs=60)
    there = {**os.environ, "PYTHONPATH": str(Path(cr.__file__).parents[1])}
    command = [sys.executable, backed_up.__file__, str(tmp_path / "killed"), kind, "0", "1", "60"]
    kills = 0
    while True:  # a signal from outside may also come in the middle of writing
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=there) as process:
            assert process.stdout is not None
            process.stdout.readline()  # it has begun
            time.sleep(random.uniform(0.1, 0.7))
            if kills < 12:
                process.kill()
            out = process.stdout.read()
        if process.returncode == 0:
            break
        assert process.returncode == -signal.SIGKILL
        kills += 1
    assert kills and out.strip() == straight


def small(tmp_path: Path, *others: Callback, **changes) -> cr.Sequential:
    """A fit of two epochs with a backup, stopped in its second; by what differs in `changes`."""
    x, y = changes.pop("data", blobs(60))
    units, optimizer = changes.pop("units", 4), changes.pop("optimizer", "adam")
    model = cr.Sequential([nn.Dense(units), nn.Dense(3)], seed=changes.pop("seed", 0))
    metrics = changes.pop("metrics", [])
    model.compile(optimizer, "sparse_categorical_crossentropy", metrics)
    model.build_for(x.shape)
    options = {"epochs": 2, "batch_size": 20, **changes}
    callbacks = [*others, BackupAndRestore(tmp_path)]
    try:
        model.fit(x, y, callbacks=callbacks, verbose=0, **options)
    except RuntimeError as error:
        assert str(error) == "cut"
    return model


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        (dict(units=5), r"dense/kernel: 'float32\[2, 4\]' there, 'float32\[2, 5\]' here"),
        (dict(optimizer="sgd"), "the optimizer: 'Adam' there, 'SGD' here"),
        (dict(optimizer=cr.optim.Adam(amsgrad=True)), "another form"),
        (dict(seed=1), "the model's seed: 0 there, 1 here"),
        (dict(batch_size=30), "batch_size: 20 there, 30 here"),
        (dict(shuffle=False), "shuffle: True there, False here"),
        (dict(metrics=["accuracy"]), r"the metrics: \['loss'\] there, \['loss', 'accuracy'\] here"),
        (dict(data=blobs(63)), "examples: 60 there, 63 here"),
        (dict(validation_split=0.5), "validation: False there, True here"),
        (dict(epochs=0), "it has run 1 epochs, and epochs=0"),
    ],
)
def test_backup_of_another_fit_is_refused_and_stays(tmp_path: Path, changes, told) -> None:
    small(tmp_path, Cut(4))
    kept = (tmp_path / FILE).read_bytes()
    with pytest.raises(cr.FileError, match="is the backup of another fit") as caught:
        small(tmp_path, Cut(99), **changes)
    assert caught.match(told) and "to begin anew" in caught.value.mend
    assert (tmp_path / FILE).read_bytes() == kept
    assert small(tmp_path, Cut(99)).optimizer_state["step"].item() == 6


def scheduled(step):
    return 0.1 / (1.0 + step)


@pytest.mark.parametrize(
    "make",
    [
        lambda: cr.optim.Adam(scheduled),
        lambda: cr.optim.Averaged(cr.optim.AdamW(0.01)),
        lambda: cr.optim.Accumulate(cr.optim.ClipByGlobalNorm(cr.optim.SGD(0.1, 0.9), 0.1), 3),
        lambda: cr.optim.Groups(cr.optim.SGD(0.1), {"dense": None, "*/bias": cr.optim.Lion(0.1)}),
    ],
)
def test_every_build_of_optimizer_goes_on(tmp_path: Path, make) -> None:
    x, y = blobs(60)

    def trained(folder: Path, *others: Callback) -> list:
        model = cr.Sequential([nn.Dense(4), nn.Dense(1)], seed=0)
        model.compile(make(), "binary_crossentropy", ["auc"])  # which gathers its parts
        callbacks = [BackupAndRestore(folder, 1), *others]
        history = model.fit(x, y > 0, batch_size=8, epochs=3, callbacks=callbacks, verbose=0)
        state = cr.flatten(model.optimizer_state)[0]
        return [history.history, *state, *model.get_weights().values()]

    straight = trained(tmp_path / "straight")
    with pytest.raises(RuntimeError, match="cut"):
        trained(tmp_path / "cut", Cut(13))
    for ours, theirs in zip(trained(tmp_path / "cut"), straight, strict=True):
        assert ours == theirs if isinstance(ours, dict) else np.array_equal(ours, theirs)


def damage(path: Path, how: str) -> None:
    content = bytearray(path.read_bytes())
    if how == "cut":
        del content[-10:]
    elif how == "a bit":
        content[-5] ^= 1
    elif how == "a bit of what is told":
        content[content.index(b"history")] ^= 1
    elif how == "empty":
        content.clear()
    elif how == "text":
        content[:] = b"hello"
    else:
        save_file({"a": np.zeros(3)}, path)
        return
    path.write_bytes(content)


@pytest.mark.parametrize("how", "cut/a bit/a bit of what is told/empty/text/foreign".split("/"))
def test_damaged_backup_is_refused_and_nothing_is_lost(tmp_path: Path, how: str) -> None:
    small(tmp_path, Cut(4))
    whole, damaged = tmp_path / "copy", tmp_path / FILE
    shutil.copy(damaged, whole)
    damage(damaged, how)
    kept = damaged.read_bytes()
    with pytest.raises(cr.FileError, match="is damaged, or not a file") as caught:
        small(tmp_path, Cut(99))
    assert "begin anew" in caught.value.mend and damaged.read_bytes() == kept
    os.replace(whole, damaged)
    assert small(tmp_path, Cut(99)).optimizer_state["step"].item() == 6


def test_refused_backup_leaves_the_model_as_it_was(tmp_path: Path) -> None:
    small(tmp_path, Cut(4))
    model = cr.Sequential([nn.Dense(5), nn.Dense(3)], seed=0)
    model.compile("adam", "sparse_categorical_crossentropy")
    x, y = blobs(60)
    model.build_for(x.shape)
    before = model.get_weights()
    with pytest.raises(cr.FileError):
        model.fit(x, y, callbacks=[BackupAndRestore(tmp_path)], verbose=0)
    assert all(np.array_equal(before[n], a) for n, a in model.get_weights().items())


def test_backup_stays_after_an_interrupt_and_more_epochs_may_follow(tmp_path: Path, capsys) -> None:
    class Press(Callback):
        def on_train_batch_end(self, batch, logs=None):
            if self.fit.history.steps == 4:
                self.fit.interrupt.pressed = True  # what the signal's handler does

    model = small(tmp_path, Press())
    assert (tmp_path / FILE).exists() and model.optimizer_state["step"].item() == 4
    longer = small(tmp_path, Cut(99), epochs=3)
    assert longer.optimizer_state["step"].item() == 9 and not (tmp_path / FILE).exists()
    twin = small(tmp_path / "twin", epochs=3)
    same = {n: np.array_equal(a, twin.get_weights()[n]) for n, a in longer.get_weights().items()}
    assert all(same.values()), same


def test_interrupted_fit_goes_on_in_the_same_process(tmp_path: Path) -> None:
    x, y = blobs(60)
    model, twin = (cr.Sequential([nn.Dense(4), nn.Dropout(0.5), nn.Dense(3)]) for _ in range(2))
    for each in (model, twin):
        each.compile("adam", "sparse_categorical_crossentropy")
    straight = twin.fit(x, y, epochs=4, batch_size=20, verbose=0)
    backup = BackupAndRestore(tmp_path, 2)
    with pytest.raises(RuntimeError, match="cut"):
        model.fit(x, y, epochs=4, batch_size=20, callbacks=[Cut(8), backup], verbose=0)
    history = model.fit(x, y, epochs=4, batch_size=20, callbacks=[backup], verbose=0)
    assert history.history == straight.history and history.steps == 12
    assert model.fit(x, y, verbose=0).history == twin.fit(x, y, verbose=0).history


def test_second_fit_of_a_program_does_not_pass_for_its_first(tmp_path: Path) -> None:
    x, y = blobs(60)

    def program(*others: Callback) -> None:
        model = cr.Sequential([nn.Dense(3)])
        model.compile("adam", "sparse_categorical_crossentropy")
        for rest in ((), others):
            callbacks = [BackupAndRestore(tmp_path), *rest]
            model.fit(x, y, epochs=2, batch_size=20, callbacks=callbacks, verbose=0)

    with pytest.raises(RuntimeError, match="cut"):
        program(Cut(5))
    with pytest.raises(cr.FileError, match="had seen 2 epochs before, this one 0"):
        program()


def test_failed_writing_leaves_the_backup_before(tmp_path: Path, monkeypatch) -> None:
    written = []

    def full(descriptor):
        written.append(descriptor)
        if len(written) > 2:  # the first backup takes one for the file and one for the folder
            raise OSError("no space left")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(cr.FileError, match=r"cannot write a backup to .* no space left"):
        small(tmp_path)
    assert [each.name for each in tmp_path.iterdir()] == [FILE]
    assert read_value(tmp_path / FILE)["epoch"] == 1


def test_finished_fit_removes_its_backup_unless_told_not_to(tmp_path: Path) -> None:
    x, y = blobs(60)
    model = small(tmp_path / "a")
    assert list((tmp_path / "a").iterdir()) == []
    model.fit(x, y, callbacks=BackupAndRestore(tmp_path / "b", delete_checkpoint=False), verbose=0)
    found = load_file(tmp_path / "b" / FILE)
    assert {"weights/dense/kernel", "optimizer/m/dense/kernel"} <= set(found)


@pytest.mark.parametrize("save_freq", ["batch", 0, 2.5, True])
def test_save_freq_is_epoch_or_a_number_of_steps(tmp_path: Path, save_freq) -> None:
    with pytest.raises(cr.ArgumentError, match="save_freq"):
        BackupAndRestore(tmp_path, save_freq)


def test_folder_of_backups_must_be_one(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    with pytest.raises(cr.FileError, match="cannot make the folder"):
        small(tmp_path / "file")
    with pytest.raises(cr.ArgumentError, match="given several BackupAndRestore"):
        small(tmp_path, BackupAndRestore(tmp_path / "other"))
    assert (tmp_path / "file").read_text() == "mine"


def test_callback_that_keeps_what_cannot_be_stored_is_named(tmp_path: Path) -> None:
    class Keeps(Callback):
        kept = ("thing",)

        def on_train_begin(self, logs=None):
            self.thing = {"inner": [1, object()]}

    with pytest.raises(
        cr.ArgumentError, match=r"0 Keeps/thing/inner/1 cannot be stored: it is a object"
    ):
        small(tmp_path, Keeps())
    assert list(tmp_path.iterdir()) == []


def test_kept_must_be_names() -> None:
    for given in ("wait", (1,)):
        with pytest.raises(cr.ArgumentError, match="kept must be a tuple of names"):
            type("Wrong", (Callback,), {"kept": given})
