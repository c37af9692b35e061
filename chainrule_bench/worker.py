"""The process of one form of one framework: it waits for requests on stdin, one JSON a line.

It runs in the framework's interpreter and needs NumPy besides the framework. Between requests it
is blocked in a read, so that the others have the machine. Requests:

    {"do": "build", "workload": "mlp-128", "form": "torch/fused", "folder": ".", "threads": 2}
    {"do": "steps", "first": 0, "count": 50}    seconds, CPU seconds, mean loss
    {"do": "about"}                             peak memory; versions and bytes of the packages

An answer is one line of JSON: what was asked for, or {"error": ...}. Read next: `peers.py`.
"""

from __future__ import annotations

import json
import os
import re
import sys
import time
import traceback
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from typing import Any, TextIO

import numpy as np

from chainrule_bench import shapes
from chainrule_bench.framework import Job
from chainrule_bench.frameworks import FRAMEWORKS
from chainrule_bench.workloads import WORKLOADS


def main() -> None:
    """Answer until stdin ends."""
    # What a framework prints must not get between the answers.
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    Worker(answers).serve()


class Worker:
    """What has been built, and the requests about it."""

    def __init__(self, answers: TextIO):
        self.answers = answers
        self.form: Any = None

    def serve(self) -> None:
        """One answer for each request."""
        for line in sys.stdin:
            request = json.loads(line)
            try:
                answer = getattr(self, request.pop("do"))(**request)
            except Exception as error:
                traceback.print_exc()
                first = (str(error).strip() or "no message").splitlines()[0]
                answer = {"error": f"{type(error).__name__}: {first}"}
            print(json.dumps(answer), file=self.answers)

    def build(self, workload: str, form: str, folder: str, threads: int) -> dict:
        """Make the form on the numbers in `folder`; threads as many as may be used."""
        allowed = sorted(os.sched_getaffinity(0))
        os.sched_setaffinity(0, allowed[:threads])  # before a framework makes its threads
        owner, _, name = form.partition("/")
        if workload in shapes.CASES:
            self.form = shapes.Case(workload, form, threads)
            return {}
        work, place = WORKLOADS[workload], Path(folder)
        weights, states = (read(place / f"{kind}.npz") for kind in ("weights", "states"))
        x, y = np.load(place / "x.npy"), np.load(place / "y.npy")
        job = Job(work, weights, states, x, y, threads)
        self.form = FRAMEWORKS[owner].forms[name].make(job)
        return {}

    def steps(self, first: int, count: int) -> dict:
        """Take them, and give what they took."""
        began, cpu = time.perf_counter(), time.process_time()
        losses = self.form.steps(first, count)
        seconds, cpu = time.perf_counter() - began, time.process_time() - cpu
        loss = float(np.mean([np.mean(np.asarray(part, np.float64)) for part in losses]))
        return {"seconds": seconds, "cpu": cpu, "loss": loss}

    def about(self, packages: Sequence[str] = ()) -> dict:
        """Peak memory so far, and what the packages are and take."""
        found = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
        return {
            "memory": int(found[1]) * 1024 if found else None,
            "versions": {name: version(name) for name in packages},
            "installed": sum(map(size_of, needed(packages))),
        }


def read(path: Path) -> dict[str, np.ndarray]:
    """The arrays of a .npz file."""
    with np.load(path) as stored:
        return dict(stored)


def distribution(name: str) -> metadata.Distribution | None:
    """What provides a package; TensorFlow comes under several names."""
    for each in (name, f"{name}-cpu", f"{name}-intel"):
        try:
            return metadata.distribution(each)
        except metadata.PackageNotFoundError:
            continue
    return None


def version(name: str) -> str:
    """The version that is installed."""
    found = distribution(name)
    return found.version if found else "?"


def needed(names: Sequence[str]) -> list[metadata.Distribution]:
    """The distributions of these packages and of all they require, but for extras."""
    found: dict[str, metadata.Distribution] = {}
    ahead = list(names)
    while ahead:
        made = distribution(ahead.pop())
        if made is None or made.name.lower() in found:
            continue
        found[made.name.lower()] = made
        for line in made.requires or ():
            wanted = re.match(r"[\w.-]+", line)
            if wanted and "extra ==" not in line:
                ahead.append(wanted[0])
    return list(found.values())


def size_of(made: metadata.Distribution) -> int:
    """The bytes of its files; those of its source folder where it is installed as a link."""
    files = [Path(str(made.locate_file(file))) for file in made.files or ()]
    linked = [file for file in files if file.suffix == ".pth"]
    if linked:
        folder = Path(linked[0].read_text().splitlines()[0]) / made.name
        files += folder.rglob("*.py")
    return sum(file.stat().st_size for file in files if file.is_file())


if __name__ == "__main__":
    main()
