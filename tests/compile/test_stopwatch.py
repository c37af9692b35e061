"""`CHAINRULE_SHOW=time` prints a line for each piece of a step, and changes no result."""

from __future__ import annotations

import re
import subprocess
import sys

CODE = """
import numpy as np, chainrule as cr
@cr.jit
def f(x, w):
    return cr.sum(cr.relu(x @ w))
x, w = np.ones((300, 64), np.float32), np.ones((64, 64), np.float32)
for _ in range(25):
    y = f(x, w)
print(y.item())
"""


def test_each_kernel_gets_a_line_of_time(monkeypatch) -> None:
    monkeypatch.setenv("CHAINRULE_SHOW", "time")
    done = subprocess.run(
        [sys.executable, "-c", CODE], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout == f"{300 * 64 * 64.0}\n"
    rows = [line for line in done.stderr.splitlines() if re.match(r"\s+[\d.]+\s+[\d.]+  ", line)]
    assert any("contract" in row for row in rows)
    assert rows[-1].split("  ")[-1].startswith("all, in a run of")
    times = [float(row.split()[0]) for row in rows]
    assert abs(sum(times[:-1]) - times[-1]) <= 0.1 * len(times)
