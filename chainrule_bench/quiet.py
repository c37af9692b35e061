"""Whether a round had the machine to itself: the CPU time that went elsewhere.

Read next: `machine.py`.
"""

from __future__ import annotations

import os
import time
from pathlib import Path

TICK = 1 / os.sysconf("SC_CLK_TCK")


class Watch:
    """Counts the CPU time of the whole machine from when it is made."""

    def __init__(self) -> None:
        self.busy, self.began = busy_seconds(), time.perf_counter()

    def others(self, own: float) -> float:
        """How many CPUs, on average, were kept busy by others than who used `own` CPU seconds.

        Time that a hypervisor gave to other machines counts. The kernel counts in ticks (10 ms):
        one for each CPU is let pass, or a short round could never be quiet.
        """
        wall = time.perf_counter() - self.began
        slack = TICK * (os.cpu_count() or 1)
        return max(0.0, busy_seconds() - self.busy - own - slack) / wall


def busy_seconds() -> float:
    """The seconds that this machine's CPUs were not idle since it started, stolen ones included."""
    return sum_of_busy(Path("/proc/stat").read_text())


def sum_of_busy(text: str) -> float:
    """That of the text of /proc/stat.

    >>> sum_of_busy("cpu  100 1 20 5000 30 2 3 24 7 0\\ncpu0 ...")
    1.5
    """
    user, nice, system, _idle, _iowait, irq, softirq, steal = map(int, text.split()[1:9])
    return (user + nice + system + irq + softirq + steal) * TICK
