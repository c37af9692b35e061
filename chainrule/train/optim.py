"""`cr.optim`: every optimiser, what goes around one, and the learning-rate schedules.

Read next: `optimizer.py`, which says what an optimiser is.
"""

from chainrule.train.adaptive import Adagrad, Adam, Adamax, AdamW, Nadam, RMSprop
from chainrule.train.around import (
    Accumulate,
    Averaged,
    ClipByGlobalNorm,
    ClipByNorm,
    ClipByValue,
    WeightDecay,
)
from chainrule.train.groups import Groups
from chainrule.train.momentum import SGD, Lion, Muon
from chainrule.train.optimizer import OPTIMIZERS, Optimizer, find_optimizer
from chainrule.train.rows import RowExact

__all__ = [
    "OPTIMIZERS",
    "SGD",
    "Accumulate",
    "Adagrad",
    "Adam",
    "AdamW",
    "Adamax",
    "Averaged",
    "ClipByGlobalNorm",
    "ClipByNorm",
    "ClipByValue",
    "Groups",
    "Lion",
    "Muon",
    "Nadam",
    "Optimizer",
    "RMSprop",
    "RowExact",
    "WeightDecay",
    "find_optimizer",
]
