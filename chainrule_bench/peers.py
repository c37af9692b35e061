"""`Peer`: a worker process, and asking it; and which frameworks can be had.

Read next: `quiet.py`.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Self

from chainrule.core.errors import ChainruleError
from chainrule_bench.framework import Framework
from chainrule_bench.frameworks import FRAMEWORKS

HERE = Path(__file__).resolve().parent
OURS = "chainrule"
# In a fresh interpreter: the time of an import, or which packages are not there.
IMPORT = "import time; t = time.perf_counter(); {}; print(time.perf_counter() - t)"
LACKING = (
    "import importlib.util as u; print(*[n for n in {!r} if u.find_spec(n) is None], sep=chr(10))"
)


class PeerError(ChainruleError, RuntimeError):
    """A worker that failed or ended; it says why."""


def python_of(name: str, pythons: Mapping[str, str]) -> str:
    """The interpreter a framework runs in: as given, or this one."""
    return pythons.get(name, sys.executable)


def lacking(made: Framework, python: str) -> str:
    """Why a framework cannot take part, with the mend; "" where it can."""
    wanted = ("numpy", *made.packages)
    try:
        done = subprocess.run(
            [python, "-c", LACKING.format(wanted)], capture_output=True, text=True, timeout=60
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"{made.name} is left out: {python} does not run ({error})"
    if done.returncode:
        last = (done.stderr.strip() or "no message").splitlines()[-1]
        return f"{made.name} is left out: {python} failed: {last}"
    missing = done.stdout.split()
    if not missing:
        return ""
    return (
        f"{made.name} is left out: {python} has no {' and no '.join(missing)}; mend: {python} -m "
        f"pip install {' '.join(missing)}, or --python {made.name}=PATH of one that has"
    )


def import_seconds(made: Framework, python: str, times: int = 3) -> float | None:
    """What a user's import takes in a fresh process, the least of `times`; None if it fails."""
    took = []
    for _ in range(times):
        done = subprocess.run(
            [python, "-c", IMPORT.format(made.imports)],
            capture_output=True,
            text=True,
            env={**os.environ, **made.settings},
        )
        if done.returncode:
            return None
        took.append(float(done.stdout.split()[-1]))
    return min(took)


class Peer:
    """A worker process of one form, "torch/fused"; a context that ends it."""

    def __init__(self, form: str, python: str, folder: Path, threads: int):
        self.form, self.threads = form, threads
        made = FRAMEWORKS[form.partition("/")[0]]
        place = folder / form.replace("/", "-")
        place.mkdir(exist_ok=True)
        link = place / HERE.name
        if not link.exists():
            # The worker finds this package, and nothing else of this interpreter's.
            link.symlink_to(HERE, target_is_directory=True)
        counted = dict.fromkeys(
            "OMP_NUM_THREADS MKL_NUM_THREADS OPENBLAS_NUM_THREADS NPROC CHAINRULE_THREADS "
            "TF_NUM_INTRAOP_THREADS".split(),
            str(threads),
        )
        caches = dict.fromkeys(made.caches, str(place / "cache"))
        self.log = tempfile.TemporaryFile("w+", errors="replace")  # noqa: SIM115 closed in __exit__
        self.process = subprocess.Popen(
            [python, "-m", "chainrule_bench.worker"],
            cwd=place,
            env={**os.environ, **made.settings, **counted, **caches},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.log,
            text=True,
            start_new_session=True,  # Ctrl-C is for the command, which ends its workers
        )

    def ask(self, do: str, **request: Any) -> dict[str, Any]:
        """The answer to a request; PeerError where it failed or the process ended."""
        assert self.process.stdin and self.process.stdout
        with suppress(BrokenPipeError):
            self.process.stdin.write(json.dumps({"do": do, **request}) + "\n")
            self.process.stdin.flush()
        line = self.process.stdout.readline()
        if not line:
            self.log.seek(0)
            last = (self.log.read().strip() or "no message").splitlines()[-1]
            raise PeerError(f"{self.form} ended with {self.process.wait()}: {last}")
        answer = json.loads(line)
        if "error" in answer:
            raise PeerError(f"{self.form}: {answer['error']}")
        return answer

    def build(self, workload: str, folder: Path | str = "") -> None:
        """Make the form on a workload, whose numbers are in `folder`."""
        self.ask(
            "build", workload=workload, form=self.form, folder=str(folder), threads=self.threads
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, *error: object) -> None:
        assert self.process.stdin and self.process.stdout
        with suppress(BrokenPipeError):
            self.process.stdin.close()
        try:
            self.process.wait(0 if kind else 10)  # nobody waits for a step after Ctrl-C
        except subprocess.TimeoutExpired:
            os.killpg(self.process.pid, signal.SIGKILL)  # the session it leads is its own
            self.process.wait()
        self.process.stdout.close()
        self.log.close()


def available(names: Sequence[str], pythons: Mapping[str, str], tell: Any) -> dict[str, Framework]:
    """The frameworks that can take part; of each other one a line is told."""
    found = {}
    for name in names:
        reason = lacking(FRAMEWORKS[name], python_of(name, pythons))
        if reason:
            tell(reason)
        else:
            found[name] = FRAMEWORKS[name]
    return found
