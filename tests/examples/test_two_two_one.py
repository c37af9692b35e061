"""The 2-2-1 network learns XOR from every seed, and tells each attempt's end truly."""

from __future__ import annotations

import numpy as np
import pytest

import chainrule as cr
from chainrule.data import xor
from examples import two_two_one
from examples.two_two_one import Attempt, descend, draw, end_of, mean_squared_error, train

TARGETS = xor().y[:, None].astype(np.float64)


def wide(params: dict) -> dict:
    return {name: weights.numpy().astype(np.float64) for name, weights in params.items()}


def by_numpy(params: dict) -> np.ndarray:
    p = wide(params)
    return np.tanh(xor().x @ p["W1"] + p["b1"]) @ p["W2"] + p["b2"]


@pytest.fixture(scope="module")
def trained() -> list[list[Attempt]]:
    return [train(seed) for seed in range(20)]


def test_xor_is_learned_from_20_of_20_seeds(trained: list[list[Attempt]]) -> None:
    assert [attempts[-1].end for attempts in trained] == ["converged"] * 20
    for attempts in trained:
        y = by_numpy(attempts[-1].params)
        assert ((y - TARGETS) ** 2).mean() < 1.01 * two_two_one.TOLERANCE
        assert np.abs(y - TARGETS).max() < 0.01


def test_only_a_last_attempt_converges(trained: list[list[Attempt]]) -> None:
    early = [attempt for attempts in trained for attempt in attempts[:-1]]
    assert {attempt.end for attempt in early} <= {"flat", "step limit"}
    assert max(map(len, trained)) <= two_two_one.MOST_ATTEMPTS


def test_flat_attempts_are_flat_and_have_not_learned(trained: list[list[Attempt]]) -> None:
    flat = [attempt for attempts in trained for attempt in attempts if attempt.end == "flat"]
    assert flat
    for attempt in flat:
        loss, grads = cr.value_and_grad(mean_squared_error)(
            wide(attempt.params), xor().x.astype(np.float64), TARGETS
        )
        norm = np.sqrt(sum((g.numpy() ** 2).sum() for g in grads.values()))
        assert norm / (2 * np.sqrt(float(loss))) < 1.01 * two_two_one.FLAT
        assert float(loss) > 0.1


def test_same_seed_gives_the_same_numbers(trained: list[list[Attempt]]) -> None:
    again = train(0)
    assert [a.losses for a in again] == [a.losses for a in trained[0]]
    assert [a.losses[0] for a in train(1, most_steps=1)] != [a.losses[0] for a in again]


def test_gradient_of_the_network_is_right() -> None:
    params = wide(draw(cr.key(5)))
    x = xor().x.astype(np.float64)
    assert cr.check_gradient(lambda params: mean_squared_error(params, x, TARGETS), [params])


@pytest.mark.parametrize(
    ("losses", "norm", "expected"),
    [
        ([0.5], 1.0, None),
        ([0.5, 1e-7], 1e-4, ("converged", "loss 1e-07 < 1e-06")),
        ([0.5, 0.25], 0.002, ("flat", "slope 0.002 < 0.005 at loss 0.2500")),
        ([0.5, 0.25, 0.2], 1.0, ("step limit", "loss 0.2 >= 1e-06")),
        ([0.5, np.nan], 1.0, ("not finite", "loss nan, gradient norm 1.0")),
        ([0.0], 0.0, ("converged", "loss 0 < 1e-06")),
    ],
)
def test_end_is_told_by_its_numbers(losses: list, norm: float, expected: object) -> None:
    assert end_of(losses, norm, most_steps=2) == expected


def test_attempt_without_finite_numbers_ends_at_once() -> None:
    x = np.full((4, 2), np.nan, np.float32)
    attempt = descend(draw(cr.key(0)), x, TARGETS.astype(np.float32))
    assert attempt.end == "not finite" and len(attempt.losses) == 1


def test_network_that_never_converges_says_so(
    capsys: pytest.CaptureFixture[str],
) -> None:
    attempts = two_two_one.main(["--steps", "3"])
    assert [attempt.end for attempt in attempts] == ["step limit"] * 10
    last = capsys.readouterr().out.splitlines()[-1]
    assert last.startswith("stopped: not converged in 10 attempts; the last: step limit, loss ")


def test_xor_prints_its_predictions_and_its_reason(capsys: pytest.CaptureFixture[str]) -> None:
    attempts = two_two_one.main(["--seed", "3"])
    lines = capsys.readouterr().out.splitlines()
    rows = [line.split() for line in lines if len(line.split()) == 6]
    corners = [row for row in rows if row[0] in "01"]
    assert [row[2] for row in corners] == ["0", "1", "1", "0"]
    assert [round(float(row[3])) for row in corners] == [0, 1, 1, 0]
    assert lines[-1].startswith("stopped: converged, loss ")
    assert lines[-1].endswith(f"in attempt {len(attempts)}")
    assert max(map(len, lines)) <= 80
