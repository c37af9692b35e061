"""The plan of a comparison, and its rounds: all forms in turn, until each has enough quiet ones.

A round is so many steps of one form as fill `Plan.seconds`, while the other processes wait. One
during which others kept the CPUs busy is thrown away and taken again. Read next: `compare.py`.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from chainrule.core.errors import ArgumentError, ChainruleError, UnknownNameError
from chainrule_bench.frameworks import FRAMEWORKS
from chainrule_bench.peers import OURS, Peer
from chainrule_bench.quiet import Watch
from chainrule_bench.workloads import WORKLOADS

SHAPES = "shapes"
TOLERANCE = 1e-3  # relative, of the mean loss
BUSY = 0.1  # CPUs that others may keep busy during a round


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What to compare, and how thoroughly."""

    workloads: Sequence[str] = ()
    peers: Sequence[str] = ()
    pythons: Mapping[str, str] = field(default_factory=dict)
    rounds: int = 9
    seconds: float = 0.5  # of a round
    again: int = 20  # rounds of a form that may be thrown away
    threads: int = 2

    def __post_init__(self) -> None:
        for name in self.workloads:
            if name != SHAPES and name not in WORKLOADS:
                raise UnknownNameError("workload", name, [*WORKLOADS, SHAPES])
        known = [
            *FRAMEWORKS,
            *(f"{f.name}/{form}" for f in FRAMEWORKS.values() for form in f.forms),
        ]
        for name in self.peers:
            if name not in known:
                raise UnknownNameError("peer", name, known)
        for name in self.pythons:
            if name not in FRAMEWORKS:
                raise UnknownNameError("peer", name, FRAMEWORKS)
        if not self.seconds > 0:
            raise ArgumentError(f"a round takes some seconds, got {self.seconds:g}")

    def takes(self, form: str) -> bool:
        """Whether a form, "torch/fused", is asked for; ours always is, and all are by default."""
        owner = form.partition("/")[0]
        return owner == OURS or not self.peers or form in self.peers or owner in self.peers


@dataclass
class Row:
    """What is measured of one form; times in seconds."""

    form: str
    cold: float | None = None  # the first step in a fresh process, nothing compiled before
    warm: float | None = None  # the same once more
    loss: float | None = None  # mean over the check steps
    gap: float | None = None  # of the loss, relative to ours
    times: list[float] = field(default_factory=list)  # a step's, one for each round that counts
    disturbed: int = 0  # rounds of these that others disturbed, there being no better ones
    memory: int | None = None
    note: str = ""  # what else must be known of the times
    error: str = ""

    @property
    def counts(self) -> bool:
        """Whether it ran and its loss agrees."""
        return bool(self.times) and self.gap is not None and self.gap <= TOLERANCE

    @property
    def step(self) -> float:
        """The median of the rounds."""
        return statistics.median(self.times)


class Lane:
    """A form and its process during the rounds."""

    def __init__(self, row: Row, peer: Peer, batches: int, plan: Plan):
        self.row, self.peer, self.plan, self.batches = row, peer, plan, batches
        self.first, self.count = 0, 1
        self.clean: list[float] = []
        self.dirty: list[tuple[float, float]] = []  # (CPUs that others used, time of a step)

    def settle(self) -> None:
        """Find how many steps fill a round; what this compiles is compiled before the rounds."""
        seconds = self.peer.ask("steps", first=0, count=self.count)["seconds"]
        while seconds < 0.8 * self.plan.seconds:
            wanted = max(2 * self.count, int(self.count * self.plan.seconds / max(seconds, 1e-6)))
            # Few counts, since some compile for each: whole epochs, or what is left of one.
            wanted = min(wanted, 100 * self.count)
            whole = max(1, wanted // self.batches) * self.batches
            self.count = whole if wanted >= self.batches else wanted
            self.peer.ask("steps", first=0, count=self.count)
            seconds = self.peer.ask("steps", first=0, count=self.count)["seconds"]

    @property
    def done(self) -> bool:
        """Whether it has its rounds, or has thrown away as many as it may."""
        tries = len(self.clean) + len(self.dirty)
        enough = len(self.clean) >= self.plan.rounds
        return bool(self.row.error) or enough or tries >= self.plan.rounds + self.plan.again

    def round(self) -> None:
        """One round, on the batches after those of the round before."""
        watch = Watch()
        answer = self.peer.ask("steps", first=self.first, count=self.count)
        self.first += self.count
        if self.first + self.count > self.batches:
            self.first = 0
        others = watch.others(answer["cpu"])
        step = answer["seconds"] / self.count
        if others <= BUSY:
            self.clean.append(step)
        else:
            self.dirty.append((others, step))

    def close(self) -> None:
        """Fill up with the rounds that were disturbed least."""
        lacking = max(0, self.plan.rounds - len(self.clean))
        filled = sorted(self.dirty)[:lacking]
        self.row.times = self.clean + [step for _, step in filled]
        self.row.disturbed = len(filled)


def take_rounds(lanes: Sequence[Lane], tell: Callable[[str], None]) -> None:
    """All lanes in turn until each has its rounds; one that fails drops out."""

    def each(do: Callable[[Lane], None]) -> None:
        for lane in lanes:
            if lane.done:
                continue
            try:
                do(lane)
            except ChainruleError as error:
                lane.row.error = error.message
                tell(lane.row.error)

    each(Lane.settle)
    while not all(lane.done for lane in lanes):
        each(Lane.round)
    for lane in lanes:
        lane.close()


def disturbance(lanes: Sequence[Lane]) -> str:
    """How many rounds other work disturbed, and what became of them; "" where it did not."""
    kept = sum(lane.row.disturbed for lane in lanes)
    thrown = sum(len(lane.dirty) for lane in lanes) - kept
    told = [f"{thrown} rounds were disturbed by other work and taken again"] if thrown else []
    if kept:
        told.append(f"{kept} disturbed rounds are kept, no quiet ones having come")
    return "; ".join(told)
