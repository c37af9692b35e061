"""What a person sees at the end of a training."""

import io

import numpy as np
from rich.console import Console

from chainrule.apps import training
from chainrule.apps.tasks import Mistake
from chainrule.cli.outcome import course, gallery


def mistakes(count: int, size: int) -> list[Mistake]:
    image = np.linspace(0, 1, size * size).reshape(size, size, 1)
    return [Mistake(image, "8", "3")] * count


def test_gallery_draws_two_rows_of_pixels_a_line():
    text = gallery(mistakes(1, 3), width=80)
    lines = text.plain.splitlines()
    assert lines == ["taken for another:", "▀▀▀     ", "▀▀▀     ", "8 as 3"]
    styles = [str(span.style) for span in text.spans]
    assert styles[0] == "rgb(0,0,0) on rgb(96,96,96)"
    assert styles[-1] == "rgb(255,255,255) on rgb(0,0,0)"  # the row that is not there is black


def test_gallery_shows_what_fits():
    for width, shown in ((80, 8), (25, 2), (14, 1)):
        text = gallery(mistakes(100, 8), width)
        assert text.plain.splitlines()[0] == "some of them:"
        assert text.plain.splitlines()[-1].count("8 as 3") == shown
        out = Console(file=io.StringIO(), width=width)
        out.print(text)
        assert out.file.getvalue().count("\n") == 6


def test_course_names_the_epoch_that_was_kept():
    assert course([1.0], [1.0], 1) == "1.0000"
    assert course([3.0, 1.0, 2.0], [3.0, 1.0, 2.0], 2) == "█▁▅  3.0000, 1.0000 in epoch 2"


def test_ctrl_c_while_judging_keeps_the_weights(chainrule, monkeypatch):
    def pressed(*args):
        raise KeyboardInterrupt

    monkeypatch.setattr(training, "finish", pressed)
    answer = chainrule("train", "images", "--epochs", 1, "--out", "mine")
    assert answer.code == 130 and answer.out == ""
    assert "the weights are in mine" in answer.err
    assert chainrule("evaluate", "mine").code == 0


def test_ctrl_c_before_training_leaves_no_folder(chainrule, monkeypatch, tmp_path):
    def pressed(*args):
        raise KeyboardInterrupt

    monkeypatch.setattr(training, "fit", pressed)
    answer = chainrule("train", "images", "--out", "mine")
    assert (answer.code, answer.err.splitlines()[-1]) == (130, "stopped")
    assert list(tmp_path.iterdir()) == []
