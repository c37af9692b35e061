"""The tour runs, alone, and what it claims is so."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

TOUR = Path(__file__).resolve().parent.parent / "docs" / "tour.py"


@pytest.fixture(scope="module")
def tour() -> ModuleType:
    spec = importlib.util.spec_from_file_location("tour", TOUR)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_tour_runs_without_chainrule() -> None:
    """In a Python of its own that finds no chainrule, nor anything else of this project."""
    blocked = "import sys; sys.modules['chainrule'] = None; import runpy; "
    run = f"{blocked} runpy.run_path({str(TOUR)!r}, run_name='__main__')"
    done = subprocess.run([sys.executable, "-I", "-c", run], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    headings = [line for line in done.stdout.splitlines() if line[:1].isdigit()]
    assert len(headings) == 5
    assert "v6 = add(v0, v5)" in done.stdout and "fdiv double" in done.stdout


def test_tour_learns_exclusive_or(tour: ModuleType) -> None:
    answers = tour.train_xor()
    assert np.max(np.abs(answers[:, 0] - [0, 1, 1, 0])) < 0.1


def test_tour_is_about_as_long_as_it_says() -> None:
    lines = [line for line in TOUR.read_text(encoding="utf-8").splitlines() if line.strip()]
    assert len(lines) <= 330


def test_tour_rules_are_caught_when_wrong(
    tour: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.setattr(tour.exp, "vjp", lambda g, y, x: (g * y * 2.0,))
    with pytest.raises(AssertionError):
        tour.train_xor()
    assert "central differences" in capsys.readouterr().out


def test_tour_matmul_is_numpys(tour: ModuleType) -> None:
    x, w = tour.variable("x", 3, 5), tour.variable("w", 5, 2)
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(3, 5)), rng.normal(size=(5, 2))
    (y,) = tour.Program([x, w], [tour.matmul(x, w)])(a, b)
    np.testing.assert_allclose(y, a @ b, rtol=1e-14)
    (gx, gw) = tour.gradient(tour.total(tour.total(tour.matmul(x, w), 0), 0), [x, w])
    ones = np.ones((3, 2))
    for found, wanted in zip(tour.Program([x, w], [gx, gw])(a, b), (ones @ b.T, a.T @ ones)):
        np.testing.assert_allclose(found, wanted, rtol=1e-14)
