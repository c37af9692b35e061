"""What is shown while a fit runs, and the history it returns."""

from __future__ import annotations

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn
from chainrule.train import History, Sequential
from chainrule.train.progress import Bar, Lines, find_progress


def fit(verbose: object, epochs: int = 2) -> History:
    model = Sequential([nn.Dense(1)])
    model.compile("sgd", "mse", ["mae"])
    x = np.ones((8, 2), np.float32)
    return model.fit(
        x, x[:, :1], epochs=epochs, batch_size=4, validation_split=0.5, verbose=verbose
    )


def test_silence(capsys) -> None:
    fit(0)
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize("verbose", [2, "auto"])
def test_one_line_for_each_epoch_on_stderr(capsys, verbose) -> None:
    history = fit(verbose)
    out, err = capsys.readouterr()
    lines = err.splitlines()
    assert out == "" and len(lines) == 2
    assert lines[0].startswith("epoch 1/2  loss ") and lines[1].endswith(" ms")
    assert f"loss {history.history['loss'][1]:.4g}  mae" in lines[1] and "val_mae" in lines[1]


def test_bar_leaves_a_line_for_each_epoch(capsys) -> None:
    fit(1)
    out, err = capsys.readouterr()
    assert out == "" and "epoch 1/2  loss" in err and "epoch 2/2  loss" in err


def test_auto_is_a_bar_on_a_terminal(monkeypatch) -> None:
    assert find_progress("auto") is Lines
    monkeypatch.setattr("sys.stderr.isatty", lambda: True, raising=False)
    assert find_progress("auto") is Bar
    with pytest.raises(cr.ArgumentError, match="verbose must be 0, 1, 2 or 'auto', got 'loud'"):
        find_progress("loud")


def test_history_reads_as_text() -> None:
    history = fit(0, epochs=3)
    text = repr(history)
    assert text.startswith("History of 3 epochs, 3 steps; stopped: epochs\n  all 3 epochs were run")
    loss = history.history["loss"]
    assert f"  loss      first {loss[0]:.4g}  last {loss[2]:.4g}  best" in text
    assert repr(History()) == "History of 0 epochs, 0 steps"


def test_history_finds_the_best_epoch_beside_nan() -> None:
    history = History()
    for epoch, value in enumerate([float("nan"), 3.0, 2.0, 4.0]):
        history.add(epoch, {"loss": value, "accuracy": value})
    text = repr(history)
    assert "best 2 (epoch 3)" in text and "best 4 (epoch 4)" in text
