"""`model.summary()` counts, and `History.plot()` draws."""

from __future__ import annotations

import sys

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn
from chainrule.data import blobs
from chainrule.train import History


def test_summary_counts_parameters_work_and_memory() -> None:
    layers = [nn.Dense(8, "relu"), nn.BatchNormalization(), nn.Dense(3)]
    model = cr.Sequential(layers, seed=1)
    found = model.summary((5,), show=False)
    dense, norm, last = found.rows
    assert (dense.name, dense.kind, dense.output) == ("dense", "Dense", (8,))
    assert dense.parameters == 5 * 8 + 8 and dense.frozen == 0
    assert dense.flops == 2 * 5 * 8 + 8 + 8  # product, bias, relu
    assert (norm.parameters, norm.frozen) == (16, 16) and last.output == (3,)
    assert last.flops == 2 * 8 * 3 + 3 and last.memory == (3 + 3) * 4
    assert found.parameters == 48 + 16 + 27 and found.frozen == 16
    assert found.flops == sum(row.flops for row in found.rows)
    text = str(found)
    assert "(None, 8)" in text and "91 trained, 16 not" in text


def test_summary_of_a_convolution_and_of_what_is_frozen(capsys) -> None:
    model = cr.Sequential([nn.Conv2D(4, 3), nn.Flatten(), nn.Dense(2)], seed=1)
    model.layers[0].trainable = False
    found = model.summary((6, 6, 1))
    conv, flat, _ = found.rows
    assert conv.frozen == 9 * 4 + 4 and conv.parameters == 0
    assert conv.flops >= 2 * 16 * 9 * 4 and flat.output == (64,) and flat.flops == 0
    assert "conv2d" in capsys.readouterr().out


def test_summary_needs_a_shape_until_data_was_seen() -> None:
    x, y = blobs(10)
    model = cr.Sequential([nn.Dense(3)], seed=1)
    with pytest.raises(cr.ArgumentError, match="has seen no data yet"):
        model.summary()
    for wrong in (4, "(4,)", (None, 3), (-1,), {"a": 2}):
        with pytest.raises(cr.ArgumentError, match="a tuple of whole numbers above 0, got"):
            model.summary(wrong)
    model.compile("sgd", "sparse_categorical_crossentropy")
    model.fit(x, y, verbose=0)
    assert model.summary(show=False).rows[0].output == (3,)


def test_summary_counts_each_step_of_a_recurrent_layer() -> None:
    model = cr.Sequential([nn.SimpleRNN(4), nn.Dense(2)], seed=1)
    recurrent, dense = model.summary((5, 3), show=False).rows
    products = 5 * (2 * 3 * 4 + 2 * 4 * 4)  # of each of 5 steps: the input's and the state's
    assert recurrent.output == (4,)
    assert products + 5 * 4 <= recurrent.flops <= products + 5 * 4 * 4  # and sums, tanh
    assert recurrent.memory >= 5 * 4 * 4 and dense.flops == 2 * 4 * 2 + 2
    longer = model.summary((10, 3), show=False).rows[0]
    assert longer.flops == 2 * recurrent.flops and longer.memory == 2 * recurrent.memory


def test_summary_counts_both_ways_and_layers_at_each_step() -> None:
    both = nn.Bidirectional(nn.GRU(4, return_sequences=True))
    model = cr.Sequential([both, nn.TimeDistributed(nn.Dense(2))], seed=1)
    ways, each = model.summary((6, 3), show=False).rows
    assert ways.output == (6, 8) and ways.flops > 2 * 6 * (2 * 3 * 12 + 2 * 4 * 12)
    assert each.output == (6, 2) and each.flops == 6 * (2 * 8 * 2 + 2)


def test_summary_counts_what_is_checkpointed() -> None:
    class Twice(cr.Model):
        def __init__(self) -> None:
            super().__init__(seed=1)
            self.first = nn.Dense(4)

        def call(self, x: cr.Tensor) -> cr.Tensor:
            return cr.checkpoint(lambda x: cr.tanh(self.first(x)))(x)

    model = Twice()
    model(np.zeros((2, 3)))
    first, itself = model.summary((3,), show=False).rows
    assert first.flops == 2 * 3 * 4 + 4 and first.output == (4,) and itself.flops == 4


def test_summary_of_a_stateful_model_keeps_its_batch_size() -> None:
    model = cr.Sequential([nn.GRU(4, stateful=True), nn.Dense(1)], seed=1)
    with pytest.raises(cr.ArgumentError, match="stateful, and does not know it") as raised:
        model.summary((5, 3))
    assert "build_for((32" in raised.value.mend and not model.layers[0].built
    x, y = np.ones((16, 5, 3)), np.ones((16, 1))
    model.compile("adam", "mse")
    model.fit(x, y, batch_size=8, verbose=0)
    before = model.layers[0].state_0.numpy().copy()
    free = cr.Sequential([nn.GRU(4), nn.Dense(1)], seed=1).summary((5, 3), show=False)
    for found in (model.summary(show=False), model.summary((5, 3), show=False)):
        assert [row.output for row in found.rows] == [(4,), (1,)]
        assert found.flops == free.flops and found.parameters == free.parameters
    assert np.array_equal(before, model.layers[0].state_0.numpy())
    model.fit(x, y, batch_size=8, verbose=0)


def test_history_plots_each_number(tmp_path, monkeypatch) -> None:
    history = History()
    with pytest.raises(cr.ArgumentError, match=r"nothing to plot|needs matplotlib"):
        history.plot()
    history.add(0, {"loss": 1.0, "accuracy": 0.5, "val_loss": 2.0})
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(cr.ArgumentError, match="needs matplotlib"):
        history.plot()
    monkeypatch.undo()
    pytest.importorskip("matplotlib", reason="matplotlib is an optional extra")
    figure = history.plot(tmp_path / "run.png")
    assert [len(axes.lines) for axes in figure.axes] == [2, 1]
    assert (tmp_path / "run.png").stat().st_size > 1000
    assert np.array_equal(figure.axes[0].lines[1].get_ydata(), [2.0])
