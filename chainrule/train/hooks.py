"""Small callbacks: functions as a callback, a stop at NaN, and averaged weights.

Read next: `progress.py`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from chainrule.core.errors import ArgumentError, UnknownNameError
from chainrule.train.callbacks import Callback

HOOKS = (
    "on_train_begin",
    "on_train_end",
    "on_epoch_begin",
    "on_epoch_end",
    "on_train_batch_end",
)


class LambdaCallback(Callback):
    """A callback of functions, by the names of `Callback`'s methods.

    >>> seen = []
    >>> callback = LambdaCallback(on_epoch_end=lambda epoch, logs: seen.append(logs["loss"]))
    """

    def __init__(self, **functions: Callable[..., Any]):
        for name, function in functions.items():
            if name not in HOOKS:
                raise UnknownNameError("method of a callback", name, HOOKS)
            if not callable(function):
                raise ArgumentError(f"LambdaCallback: {name} must be a function, got {function!r}")
            setattr(self, name, function)

    @property
    def each_batch(self) -> bool:
        """Whether there is a function for each step."""
        return "on_train_batch_end" in vars(self)


class TerminateOnNaN(Callback):
    """Stop when a loss of an epoch, of training or validation, is NaN or infinite.

    A training step that is not finite ends a fit in any case; this is for a validation loss, which
    is not trained on.
    """

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """Look at the losses."""
        for name, value in (logs or {}).items():
            if name.endswith("loss") and not math.isfinite(value):
                self.stop(f"{name} was {value} in epoch {epoch + 1}")


class UseAverage(Callback):
    """Put the moving average of the weights into the model when the fit ends.

    The optimiser must hold an `Averaged`. The newest weights are in `weights` then.
    """

    def on_train_end(self, logs: dict[str, float] | None = None) -> None:
        """Take the average over."""
        average = find_average(self.model.optimizer_state)
        if average is None:
            raise ArgumentError(
                "UseAverage needs an optimiser that keeps an average",
                mend='compile(cr.optim.Averaged("adam"), ...)',
            )
        self.weights = self.model.get_weights()
        self.model.set_weights({**self.weights, **{n: t.numpy() for n, t in average.items()}})


def find_average(state: Any) -> dict[str, Any] | None:
    """The average in an optimiser's state, by path; None where it keeps none."""
    if not isinstance(state, dict):
        return None
    if "average" in state:
        return state["average"]
    return find_average(state.get("inner"))
