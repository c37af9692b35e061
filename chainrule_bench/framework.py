"""`Framework`: what must be known of one before it is imported, and what its forms are made from.

Read next: `frameworks/chainrule.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

import numpy as np

from chainrule_bench.workload import Arrays, Workload


class Job(NamedTuple):
    """What a form is made from: the same numbers for all, as the comparing process wrote them."""

    workload: Workload
    weights: Arrays
    states: Arrays
    x: np.ndarray
    y: np.ndarray
    threads: int

    @property
    def epoch(self) -> int:
        """How many batches there are; they are seen over and over."""
        return len(self.x) // self.workload.batch

    def pairs(self, x: np.ndarray | None = None) -> list[tuple[np.ndarray, np.ndarray]]:
        """Each batch as an array of its own; `x` instead of the job's where the layout differs."""
        size, x = self.workload.batch, self.x if x is None else x
        places = [slice(at * size, (at + 1) * size) for at in range(self.epoch)]
        return [(x[place], self.y[place]) for place in places]

    def value_of(self, path: str) -> np.ndarray | None:
        """The weight or state of a framework's variable: of those "layer/kind" whose layer is a
        part of `path`, the one with the longest kind that `path` ends with; None where none is."""
        parts = path.split("/")
        whole = "_".join(parts)
        found = {
            name: value
            for name, value in {**self.weights, **self.states}.items()
            if name.split("/")[0] in parts and whole.endswith("_" + name.split("/")[1])
        }
        return found[max(found, key=len)] if found else None

    def span(self, first: int, count: int) -> tuple[slice, int]:
        """The examples of `count` batches from number `first`, and how often to go over them."""
        size, epochs = self.workload.batch, max(1, count // self.epoch)
        return slice(first * size, (first + count // epochs) * size), epochs


class Steps(Protocol):
    """A form of a step, made from a Job."""

    def steps(self, first: int, count: int) -> list:
        """`count` steps from batch number `first`, all ended: their losses, or their mean.

        Either `first + count` is at most `Job.epoch`, or `first` is 0 and `count` a multiple of it.
        """
        ...


class Form(NamedTuple):
    """One way of training with a framework."""

    model: str  # which of a workload's models it trains
    calls: str  # "one" step in a call, or "many"
    make: Callable[[Job], Steps]
    images: bool = False  # whether it differs from the others on images alone


@dataclass(frozen=True, kw_only=True)
class Framework:
    """A framework: what to install and import, its forms, its environment."""

    name: str
    packages: tuple[str, ...]
    imports: str
    forms: Mapping[str, Form]
    caches: tuple[str, ...] = ()  # settings that name a folder for compiled code
    settings: Mapping[str, str] = field(default_factory=dict)

    def forms_for(self, work: Workload, images: bool) -> list[str]:
        """The forms that can take part in a workload, on images or on something else."""
        return [
            name
            for name, form in self.forms.items()
            if form.model in work.models
            and form.calls in work.calls
            and (images or not form.images)
        ]


FRAMEWORKS: dict[str, Framework] = {}


def framework(**parts: Any) -> Framework:
    """Register a framework under its name."""
    made = Framework(**parts)
    FRAMEWORKS[made.name] = made
    return made
