"""Training: models, optimisers, metrics, callbacks, history and weights in files.

Read next: `optim.py`.
"""

from chainrule.train import optim
from chainrule.train.callbacks import Callback, Converged, EarlyStopping
from chainrule.train.history import History
from chainrule.train.model import Model
from chainrule.train.sequential import Sequential

__all__ = [
    "Callback",
    "Converged",
    "EarlyStopping",
    "History",
    "Model",
    "Sequential",
    "optim",
]
