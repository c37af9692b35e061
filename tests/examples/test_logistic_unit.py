"""The logistic unit learns, is deterministic, and tells the right reason for its end."""

from __future__ import annotations

import numpy as np
import pytest

import chainrule as cr
from examples import logistic_unit
from examples.logistic_unit import make_data, mean_squared_error, train


@pytest.mark.parametrize("seed", range(3))
def test_unit_converges_from_every_seed(seed: int) -> None:
    x, t = make_data(seed)
    fit = train(x, t)
    assert fit.converged and fit.reason.startswith("converged after")
    slopes = cr.grad(lambda w, b: mean_squared_error(w, b, x, t), argnums=(0, 1))(
        fit.weights, fit.bias
    )
    assert np.sqrt(sum((g.numpy() ** 2).sum() for g in slopes)) < 1e-8
    assert fit.losses[-1] < 0.6 * fit.losses[0]


def test_unit_finds_the_weights_that_made_the_data() -> None:
    fit = train(*make_data(0, n=4000))
    assert fit.converged
    assert fit.weights.numpy() == pytest.approx(logistic_unit.TRUE_WEIGHTS, rel=0.1)
    assert fit.bias.numpy() == pytest.approx(logistic_unit.TRUE_BIAS, abs=0.1)


def test_unit_says_when_the_steps_ran_out() -> None:
    fit = train(*make_data(0), most_steps=10)
    assert not fit.converged and len(fit.losses) == 11
    assert fit.reason.startswith("step limit 10 reached")


def test_unit_on_its_optimum_takes_no_step() -> None:
    x = np.array([[1.0, 0.0], [-1.0, 0.0]])
    fit = train(x, np.array([[0.5], [0.5]]))
    assert fit.converged and fit.losses == [0.0]


def test_logistic_unit_prints_its_checked_gradient_and_its_reason(
    capsys: pytest.CaptureFixture[str],
) -> None:
    fit = logistic_unit.main(["--seed", "3"])
    lines = capsys.readouterr().out.splitlines()
    checked = [line for line in lines if line.startswith("gradient")]
    assert len(checked) == 2 and all(line.endswith(" ok") for line in checked)
    assert f"stopped   {fit.reason}" in lines
    assert lines[-1] == "far away  p is 0 at (-1000, 1000) and 1 at (1000, -1000)"
    assert max(map(len, lines)) <= 80
