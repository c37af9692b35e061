"""Training: models, optimisers, schedules, metrics, callbacks, history and weights in files.

Read next: `optim.py`.
"""

from chainrule.train import metrics, optim, schedules, scores
from chainrule.train.backup import BackupAndRestore
from chainrule.train.callbacks import Callback, Converged, EarlyStopping
from chainrule.train.file_callbacks import CSVLogger, ModelCheckpoint
from chainrule.train.history import History
from chainrule.train.hooks import LambdaCallback, TerminateOnNaN, UseAverage
from chainrule.train.model import Model
from chainrule.train.rate_callbacks import LearningRateScheduler, ReduceLROnPlateau
from chainrule.train.sequential import Sequential

__all__ = [
    "BackupAndRestore",
    "CSVLogger",
    "Callback",
    "Converged",
    "EarlyStopping",
    "History",
    "LambdaCallback",
    "LearningRateScheduler",
    "Model",
    "ModelCheckpoint",
    "ReduceLROnPlateau",
    "Sequential",
    "TerminateOnNaN",
    "UseAverage",
    "metrics",
    "optim",
    "schedules",
    "scores",
]
