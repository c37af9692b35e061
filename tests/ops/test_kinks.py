"""Every row of the table in `docs/derivatives-at-kinks.md` holds, eager and compiled."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

import chainrule as cr

PAGE = Path(__file__).parents[2] / "docs" / "derivatives-at-kinks.md"
ROW = re.compile(r"^\| `(cr\..+?)` \| `(.+?)` \| `(.+?)`.*\|$", re.MULTILINE)
ROWS = ROW.findall(PAGE.read_text(encoding="utf-8"))
RUNS = [lambda fn: fn, cr.jit]
NAMES = {"cr": cr, "np": np, "inf": np.inf, "nan": np.nan}


def slopes(function: str, at: str, run) -> np.ndarray:
    """All elements of all gradients of the table's function at the table's point."""
    given = {k: np.asarray(v, "float64") for k, v in eval(f"dict({at})", NAMES).items()}
    fn = eval(f"lambda {', '.join(given)}: {function}", NAMES)
    found = run(cr.grad(fn, argnums=range(len(given))))(*given.values())
    return np.concatenate([np.ravel(g.numpy()) for g in found])


@pytest.mark.parametrize("run", RUNS, ids=["eager", "compiled"])
@pytest.mark.parametrize(("function", "at", "wanted"), ROWS)
def test_derivative_at_a_kink_is_the_tables(run, function, at, wanted):
    exact = np.ravel(eval(f"[{wanted}]", NAMES))
    np.testing.assert_allclose(slopes(function, at, run), exact, rtol=1e-14)


def test_whole_table_is_read():
    lines = PAGE.read_text(encoding="utf-8").splitlines()
    assert len(ROWS) == sum(line.startswith("| `") for line in lines) > 30


def test_wrong_row_is_noticed():
    assert slopes("cr.relu(x)", "x=0", cr.jit) != [1]


@pytest.mark.parametrize("run", RUNS, ids=["eager", "compiled"])
@pytest.mark.parametrize(
    ("p", "slopes"),
    [(0.0, [0, 0, 0]), (1.0, [1, 0, 0]), (2.0, [0, 2, 0]), (3.0, [0, 0, 6]), (1.5, [0, np.inf])],
)
def test_powers_have_their_slopes_at_zero(p: float, slopes: list, run) -> None:
    def fixed(x):
        return x**p

    def given(x, p):
        return x**p

    for wanted in slopes:
        fixed, given = cr.grad(fixed), cr.grad(given)
        for dtype in ("float32", "float64"):
            zero = np.zeros((), dtype)
            assert run(fixed)(zero).item() == wanted
            assert run(given)(zero, np.asarray(p, dtype)).item() == wanted
        assert run(cr.vmap(fixed))(np.zeros(2)).numpy().tolist() == [wanted] * 2


@pytest.mark.parametrize("run", RUNS, ids=["eager", "compiled"])
def test_forward_mode_has_the_slope_of_a_power_at_zero(run) -> None:
    for p, slope in ((0.0, 0.0), (1.0, 1.0), (2.0, 0.0)):
        push = run(lambda x, t, p=p: cr.jvp(lambda x: x**p, [x], [t])[1])
        assert push(np.float64(0), np.float64(1)).item() == slope
