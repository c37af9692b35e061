"""Baselines against a plain loop, and the curve as text and as a picture."""

import math

import numpy as np
import pytest

from chainrule.apps.baselines import majority, nearest_centroid
from chainrule.apps.curve import draw_curve, draw_lines, sparkline, text_curve
from chainrule.core.errors import FileError
from chainrule.data.registry import load


def test_nearest_centroid_equals_a_loop_over_distances():
    digits = load("digits")
    x, x_test = digits.x_train / 16, digits.x_test / 16
    centres = [x[digits.y_train == label].mean(axis=0) for label in range(10)]
    given = [min(range(10), key=lambda j: ((each - centres[j]) ** 2).sum()) for each in x_test]
    expected = np.mean(np.array(given) == digits.y_test)
    assert nearest_centroid(x, digits.y_train, x_test, digits.y_test) == expected


def test_nearest_centroid_gives_labels_not_positions():
    x, y = np.array([[0.0], [5.0]]), np.array([3, 7])
    assert nearest_centroid(x, y, np.array([[4.0], [1.0]]), np.array([7, 3])) == 1.0


def test_majority_is_of_training_not_of_testing():
    assert majority(np.array([2, 2, 1]), np.array([1, 1, 1, 2])) == 0.25


@pytest.mark.parametrize("values", [[], [1.0], [1.0, 1.0], [math.nan, 1.0, math.inf, 2.0]])
def test_sparkline_has_a_mark_for_each_value(values):
    assert len(sparkline(values)) == len(values)


def test_sparkline_of_many_keeps_first_and_last():
    line = sparkline([float(i) for i in range(1000)], width=10)
    assert len(line) == 10 and line[0] == "▁" and line[-1] == "█"
    assert list(line) == sorted(line)


HISTORY = {"loss": [2.0, 1.0], "accuracy": [0.2, 0.5], "val_loss": [3.0, 0.0]}


def test_text_curve_holds_every_number(tmp_path):
    path = text_curve(tmp_path / "curve.txt", HISTORY, "a title")
    rows = path.read_text(encoding="utf-8").splitlines()
    assert rows[0] == "a title"
    assert rows[-1].split() == ["2", "1.00000", "0.50000", "0.00000"]


@pytest.mark.parametrize("count", [1, 2, 40])
def test_picture_is_written_for_any_number_of_epochs(tmp_path, count):
    image = pytest.importorskip("matplotlib.image")
    history = {name: [values[0]] * count for name, values in HISTORY.items()}
    path = draw_curve(tmp_path, history, title="t", best=1, levels={"test": 0.9})
    assert path.name == "curve.png"
    assert image.imread(path).shape[:2] == (320, 800)
    assert path.stat().st_size < 100_000


@pytest.mark.parametrize("count", [1, 2, 3])
def test_epochs_of_the_picture_are_whole_numbers(count):
    figure = pytest.importorskip("matplotlib.figure").Figure()
    axes = figure.subplots()
    draw_lines(axes, "loss", {"loss": [1.0] * count}, best=1)
    low, high = axes.get_xlim()
    assert [x for x in axes.get_xticks() if low <= x <= high] == list(range(1, count + 1))


def test_picture_that_cannot_be_written_is_typed(tmp_path):
    pytest.importorskip("matplotlib")
    with pytest.raises(FileError, match="cannot be written"):
        draw_curve(tmp_path / "none", HISTORY, title="t", best=1, levels={})
