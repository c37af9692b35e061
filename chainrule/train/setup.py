"""`Setup`: what `Model.compile` set, and what was compiled since. Read next: `steps.py`."""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from typing import Any

from chainrule.core.op import Shape
from chainrule.train.loop import Progressed
from chainrule.train.metrics import Metric
from chainrule.train.objective import Ending, Objective
from chainrule.train.steps import Steps


class Setup:
    """What `compile` set, and what was compiled since."""

    def __init__(
        self,
        optimizer: Any = None,
        objective: Objective | None = None,
        metrics: Sequence[Metric] = (),
    ):
        self.optimizer = optimizer
        self.objective = objective
        self.metrics = metrics
        self.steps: Steps | None = None
        self.endings: dict[Shape, Ending] = {}
        self.progressed = Progressed()
        self.stop_training = False

    def __deepcopy__(self, memo: dict) -> Setup:
        """The same settings and progress; what was compiled belongs to the original's tensors."""
        made = Setup(deepcopy(self.optimizer, memo), self.objective, self.metrics)
        made.progressed = deepcopy(self.progressed, memo)
        return made
