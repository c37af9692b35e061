"""Each fault of the program written by hand is seen in it, and is not found in chainrule."""

from __future__ import annotations

import runpy
import warnings
from pathlib import Path

import numpy as np
import pytest

import chainrule as cr
from examples import article_program, logistic_unit

PROGRAM = Path(article_program.__file__)


def test_first_call_by_hand_fails_and_ours_does_not() -> None:
    x, t = article_program.examples(4)
    with pytest.raises(UnboundLocalError, match="'kernel'"):
        article_program.learn(x, t, 0.1)
    fit = logistic_unit.train(x, t, most_steps=1)
    assert len(fit.losses) == 2 and fit.losses[1] < fit.losses[0]


@pytest.mark.parametrize("n", [1, 2, 3, 4, 10, 100])
def test_gradient_by_hand_is_half_n_times_right_and_ours_is_right(n: int) -> None:
    by_hand = article_program.check_slopes(n)
    assert by_hand.factors == pytest.approx([n / 2, n / 2], rel=1e-6)
    assert by_hand.ok == (n == 2)
    if n != 2:
        assert f"WRONG  it is {n / 2:.6g} times right" in str(by_hand)
    ours = article_program.check_slopes(n, ours=True)
    assert ours.ok and ours.factors == pytest.approx([1, 1], rel=1e-6)


def test_slope_by_hand_is_wrong_for_a_pre_activation_and_ours_is_right() -> None:
    assert article_program.check_logistic_slope("activation").ok
    wrong = article_program.check_logistic_slope("pre-activation")
    assert not wrong.ok and wrong.factors == (None,)
    z = np.array([-1.0, 0.0, 2.0])
    assert cr.check_gradient(lambda z: cr.sigmoid(z).sum(), [z])
    assert article_program.logistic_slope(0.0) == 0
    assert float(cr.grad(cr.sigmoid)(0.0)) == 0.25


def test_sigmoid_by_hand_overflows_and_ours_does_not() -> None:
    with pytest.warns(RuntimeWarning, match="overflow encountered in exp"):
        article_program.logistic(np.array(-1000.0))
    z = np.array([-1000.0, 1000.0])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        y, pullback = cr.vjp(cr.sigmoid, z)
        (slope,) = pullback(np.ones(2))
    assert y.numpy().tolist() == [0.0, 1.0] and slope.numpy().tolist() == [0.0, 0.0]


def test_first_weights_by_hand_differ_between_starts_and_our_numbers_do_not() -> None:
    first, second = (runpy.run_path(str(PROGRAM)) for _ in range(2))
    assert not np.array_equal(first["kernel"], second["kernel"])
    assert not np.array_equal(first["offset"], second["offset"])
    ours = [logistic_unit.train(*logistic_unit.make_data(7), most_steps=5) for _ in range(2)]
    assert ours[0].losses == ours[1].losses
    assert np.array_equal(ours[0].weights.numpy(), ours[1].weights.numpy())


def test_program_by_hand_goes_on_without_a_finite_number_and_ours_stops() -> None:
    x, t = article_program.examples(4)
    x[2, 1] = np.nan
    kernel, offset = np.zeros((2, 1)), np.zeros(1)
    for _ in range(3):
        kernel, offset, loss = article_program.mended_learn(kernel, offset, x, t, 0.1)
    assert np.isnan(loss) and np.isnan(kernel).all()
    fit = logistic_unit.train(x, t)
    assert not fit.converged and fit.reason.startswith("not finite after 0 steps: loss nan")


def test_comparison_with_the_program_by_hand_prints(capsys: pytest.CaptureFixture[str]) -> None:
    article_program.main([])
    printed = capsys.readouterr().out
    rows = [line.split() for line in printed.splitlines()]
    assert ["by", "hand", "0.5", "1", "2", "5", "50"] in rows
    assert ["chainrule", "1", "1", "1", "1", "1"] in rows
    assert "cannot access local variable 'kernel'" in printed
    assert max(map(len, printed.splitlines())) <= 80
