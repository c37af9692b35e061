"""Workloads compared: what each form is asked, in which order, and what follows.

For each workload the same numbers are written once. Each form starts twice in a fresh process,
with nothing compiled (cold) and with what the first start left (warm); the second one stays. Then
all take the check steps, whose mean losses must agree, and after them the rounds. Read next:
`shapes.py`.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np

from chainrule.core.errors import ChainruleError
from chainrule_bench.compare_shapes import compare_shapes
from chainrule_bench.frameworks import FRAMEWORKS
from chainrule_bench.machine import Peaks, measure
from chainrule_bench.peers import OURS, Peer, available, import_seconds, python_of
from chainrule_bench.rounds import SHAPES, TOLERANCE, Lane, Plan, Row, disturbance, take_rounds
from chainrule_bench.workload import Workload
from chainrule_bench.workloads import WORKLOADS

SLOW = 2.0  # seconds a step, beyond which a form takes no rounds


def compare(plan: Plan, tell: Callable[[str], None]) -> dict[str, Any]:
    """All that was found, in JSON's terms."""
    owners = {form.partition("/")[0] for form in plan.peers} or set(FRAMEWORKS)
    names = [name for name in FRAMEWORKS if name in owners | {OURS}]
    found = available(names, plan.pythons, tell)
    if OURS not in found:
        raise ChainruleError("chainrule itself cannot be imported by its worker")
    peaks = measure(plan.threads)
    rows: dict[str, list[Row]] = {}
    result: dict[str, Any] = {
        "threads": plan.threads,
        "frameworks": {name: about(name, plan) for name in found},
    }
    with tempfile.TemporaryDirectory(prefix="chainrule-bench-") as place:
        for name in plan.workloads or [*WORKLOADS]:
            if name == SHAPES:
                result[SHAPES] = compare_shapes(plan, list(found), Path(place), tell)
                continue
            folder = Path(place) / name
            folder.mkdir()
            rows[name] = Comparison(plan, WORKLOADS[name], folder, tell).run(list(found))
    if peaks:
        # What disturbed the first measurement may be over by now.
        peaks = peaks.or_better(measure(plan.threads) or peaks)
    result["machine"] = peaks._asdict() if peaks else None
    result["workloads"] = {n: summary(WORKLOADS[n], each, peaks) for n, each in rows.items()}
    return result


def about(name: str, plan: Plan) -> dict[str, Any]:
    """Versions, installed bytes and import time of a framework."""
    python = python_of(name, plan.pythons)
    with tempfile.TemporaryDirectory(prefix="chainrule-bench-") as place:
        form = f"{name}/{next(iter(FRAMEWORKS[name].forms))}"
        with Peer(form, python, Path(place), plan.threads) as peer:
            told = peer.ask("about", packages=FRAMEWORKS[name].packages)
    del told["memory"]
    return {**told, "import": import_seconds(FRAMEWORKS[name], python)}


class Comparison:
    """One workload in all forms that can take part."""

    def __init__(self, plan: Plan, work: Workload, folder: Path, tell: Callable[[str], None]):
        self.plan, self.work, self.folder, self.tell = plan, work, folder, tell
        x, y = work.data()
        self.batches = min(work.batches, len(x) // work.batch)
        used = self.batches * work.batch
        np.save(folder / "x.npy", x[:used])
        np.save(folder / "y.npy", y[:used])
        weights = work.weights(np.random.Generator(np.random.Philox(key=1)))
        for kind, arrays in (("weights", weights), ("states", work.states())):
            np.savez(folder / f"{kind}.npz", **arrays)  # type: ignore[arg-type]
        self.images = x.ndim == 4

    def run(self, names: Sequence[str]) -> list[Row]:
        """A row for each form, ours first."""
        forms = [
            f"{name}/{form}"
            for name in names
            for form in FRAMEWORKS[name].forms_for(self.work, self.images)
        ]
        rows = [Row(form) for form in forms if self.plan.takes(form)]
        with ExitStack() as stack:
            peers = [self.start(row, stack) for row in rows]
            self.check(rows)
            lanes = [
                Lane(row, peer, self.batches, self.plan)
                for row, peer in zip(rows, peers)
                if peer is not None and row.gap is not None and not row.note
            ]
            take_rounds(lanes, self.tell)
            if notice := disturbance(lanes):
                self.tell(f"{self.work.name}: {notice}")
            for row, peer in zip(rows, peers):
                if peer is not None and not row.error:
                    row.memory = peer.ask("about")["memory"]
        return rows

    def start(self, row: Row, stack: ExitStack) -> Peer | None:
        """The warm process, after its check steps; None where it failed, and `row` says why."""
        self.tell(f"{self.work.name}: {row.form}")
        python = python_of(row.form.partition("/")[0], self.plan.pythons)
        try:
            with Peer(row.form, python, self.folder, self.plan.threads) as peer:
                peer.build(self.work.name, self.folder)
                row.cold = peer.ask("steps", first=0, count=1)["seconds"]
            peer = stack.enter_context(Peer(row.form, python, self.folder, self.plan.threads))
            peer.build(self.work.name, self.folder)
            row.warm = peer.ask("steps", first=0, count=1)["seconds"]
            checked = peer.ask("steps", first=1, count=self.work.check)
            row.loss = checked["loss"]
            if checked["seconds"] > SLOW * self.work.check:
                row.times = [checked["seconds"] / self.work.check]
                row.note = "too slow for rounds: the check steps, compiling included"
            return peer
        except ChainruleError as error:
            row.error = error.message
            self.tell(row.error)
            return None

    def check(self, rows: Sequence[Row]) -> None:
        """The gap of each loss to ours."""
        ours = next((row.loss for row in rows if row.form.startswith(OURS) and row.loss), None)
        for row in rows:
            if row.loss is not None and ours is not None:
                row.gap = abs(row.loss - ours) / abs(ours)
                if not row.gap <= TOLERANCE:
                    self.tell(f"{self.work.name}: {row.form} does not count, loss {row.loss:.6f}")


def summary(work: Workload, rows: Sequence[Row], peaks: Peaks | None) -> dict[str, Any]:
    """A workload's rows in JSON's terms, the ratio to the best peer and to the limit."""
    limit = peaks.seconds(work.phases()) if peaks else None
    counted = [row for row in rows if row.counts]
    ours = min((r for r in counted if r.form.startswith(OURS)), key=lambda r: r.step, default=None)
    theirs = [row for row in counted if not row.form.startswith(OURS)]
    best = min(theirs, key=lambda row: row.step, default=None)
    return {
        "about": work.about,
        "limit": limit,
        "ours": ours.form if ours else None,
        "best peer": best.form if best else None,
        "best peer / ours": best.step / ours.step if best and ours else None,
        "rows": [described(row, work, limit) for row in rows],
    }


def described(row: Row, work: Workload, limit: float | None) -> dict[str, Any]:
    """A row in JSON's terms."""
    found = {key: value for key, value in vars(row).items() if key != "times"}
    found |= {"counts": row.counts, "rounds": row.times}
    if row.times:
        found |= {"step": row.step, "low": min(row.times), "high": max(row.times)}
        found |= {"samples/s": work.batch / row.step}
        found |= {"of limit": limit / row.step if limit else None}
    return found
