"""`Setup`: what `Model.compile` set, and what was compiled since. Read next: `steps.py`."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

from chainrule.core.errors import ArgumentError
from chainrule.nn.module import Module
from chainrule.train.arrays import Features
from chainrule.train.ending import Ending
from chainrule.train.heads import Asked
from chainrule.train.loop import Progressed
from chainrule.train.steps import Steps


class Setup:
    """What `compile` set, and what was compiled since."""

    def __init__(self, optimizer: Any = None, asked: Asked | None = None, augment: Any = None):
        """ArgumentError for an `augment` that is no layer."""
        if augment is not None and not isinstance(augment, Module):
            raise ArgumentError(
                f"augment is a layer of the pair (x, y), got {augment!r}",
                mend="nn.MixUp(0.2), or a Module whose call takes and gives (x, y)",
            )
        self.optimizer = optimizer
        self.augment = augment
        self.asked = asked
        self.steps: Steps | None = None
        self.endings: dict[Features, Ending] = {}
        self.progressed = Progressed()
        self.stop_training = False

    def __deepcopy__(self, memo: dict) -> Setup:
        """The same settings and progress; what was compiled belongs to the original's tensors."""
        made = Setup(deepcopy(self.optimizer, memo), self.asked, self.augment)
        made.progressed = deepcopy(self.progressed, memo)
        return made
