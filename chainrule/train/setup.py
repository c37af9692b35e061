"""`Setup`: what `Model.compile` set, and what was compiled since. Read next: `steps.py`."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

from chainrule.train.arrays import Features
from chainrule.train.ending import Ending
from chainrule.train.heads import Asked
from chainrule.train.loop import Progressed
from chainrule.train.steps import Steps


class Setup:
    """What `compile` set, and what was compiled since."""

    def __init__(self, optimizer: Any = None, asked: Asked | None = None):
        self.optimizer = optimizer
        self.asked = asked
        self.steps: Steps | None = None
        self.endings: dict[Features, Ending] = {}
        self.progressed = Progressed()
        self.stop_training = False

    def __deepcopy__(self, memo: dict) -> Setup:
        """The same settings and progress; what was compiled belongs to the original's tensors."""
        made = Setup(deepcopy(self.optimizer, memo), self.asked)
        made.progressed = deepcopy(self.progressed, memo)
        return made
