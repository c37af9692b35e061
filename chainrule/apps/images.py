"""Image classification: train on a data set, judge on its test part once, keep all in a run folder.

`RECIPES` holds what was chosen for each data set, by looking at the validation part alone. Read
next: `pictures.py`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from chainrule.apps.baselines import majority, nearest_centroid
from chainrule.apps.classifiers import make_model
from chainrule.apps.curve import draw_curve
from chainrule.apps.runs import CONFIG, HISTORY, WEIGHTS, Run, new_run
from chainrule.core.errors import ArgumentError, FileError, UnknownNameError
from chainrule.data import epoch_order, load, split_validation
from chainrule.data.registry import Examples, notify
from chainrule.train import EarlyStopping, History
from chainrule.train.optim import Adam

TASK, FORMAT = "images", 1
MOST_PIXELS = 2**20


@dataclass(frozen=True)
class Recipe:
    """What was chosen for a data set; the command line may change all but the model."""

    maker: str
    arguments: Mapping[str, Any]
    epochs: int
    learning_rate: float
    batch_size: int
    patience: int
    validation: float = 0.1


RECIPES = {
    "digits": Recipe(
        "cnn",
        {"filters": [16, 32], "units": 64, "dropout": 0.25, "classes": 10},
        epochs=60,
        learning_rate=2e-3,
        batch_size=32,
        patience=10,
    ),
    "fashion-mnist": Recipe(
        "cnn",
        {"filters": [16, 32], "units": 64, "dropout": 0.25, "classes": 10},
        epochs=10,
        learning_rate=1e-3,
        batch_size=64,
        patience=3,
    ),
}


@dataclass(frozen=True)
class Part:
    """Images as float32 between 0 and 1, and their classes."""

    x: np.ndarray
    y: np.ndarray

    def __len__(self) -> int:
        return len(self.y)


@dataclass
class Outcome:
    """What a training came to; `test` is empty when it was stopped or failed."""

    run: Run
    history: History
    best: int  # the epoch whose weights are kept, from 1; 0 before the first one ended
    seconds: float
    test: dict[str, float] = field(default_factory=dict)
    baselines: dict[str, float] = field(default_factory=dict)
    confused: dict[tuple[str, str], int] = field(default_factory=dict)
    sizes: dict[str, int] = field(default_factory=dict)
