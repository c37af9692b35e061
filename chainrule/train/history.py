"""`History`: what a fit measured, and why it stopped. Read next: `callbacks.py`."""

from __future__ import annotations

import math
from typing import Any

from chainrule.core.errors import ArgumentError
from chainrule.grad.finding import Finding

RISING = ("accuracy", "acc", "auc", "precision", "recall", "f1_score", "r2_score", "r2")
STOPS = ("epochs", "patience", "converged", "callback", "non-finite", "interrupted")


class History:
    """The numbers of each epoch, and the end.

    `history` maps each name ("loss", "val_loss", metrics) to one number for each finished epoch;
    `epoch` lists the epochs, counted from 0; `steps` is how many steps changed the weights.
    `stopped` is one of "epochs" (all were run), "patience" (EarlyStopping), "converged"
    (Converged), "callback" (another callback asked), "non-finite" (the next step would have
    written NaN or infinity into the weights) and "interrupted" (Ctrl-C). `reason` says it as a
    sentence. While the fit runs, both are "". After "non-finite", `finding` is what was not finite
    first, where it was found.
    """

    def __init__(self) -> None:
        self.history: dict[str, list[float]] = {}
        self.epoch: list[int] = []
        self.steps = 0
        self.stopped = ""
        self.reason = ""
        self.finding: Finding | None = None

    def add(self, epoch: int, logs: dict[str, float]) -> None:
        """The numbers of one finished epoch."""
        self.epoch.append(epoch)
        for name, value in logs.items():
            self.history.setdefault(name, []).append(value)

    def end(self, stopped: str, reason: str) -> None:
        """Why the fit is over."""
        assert stopped in STOPS, stopped
        self.stopped, self.reason = stopped, reason

    def plot(self, path: Any = None) -> Any:
        """A figure of each number over the epochs, beside its validation; needs matplotlib.

        It is written to `path` where one is given. ArgumentError before the first epoch is over.
        """
        try:
            from matplotlib.figure import Figure
        except ImportError:
            raise ArgumentError(
                "History.plot needs matplotlib, which is not installed",
                mend="pip install chainrule[plot]",
            ) from None
        if not self.epoch:
            raise ArgumentError("there is nothing to plot before the first epoch is over")
        names = [name for name in self.history if not name.startswith("val_")]
        figure = Figure(figsize=(4.5 * len(names), 3.2), layout="constrained")
        epochs = [epoch + 1 for epoch in self.epoch]
        for axes, name in zip(figure.subplots(1, len(names), squeeze=False)[0], names, strict=True):
            for each, label in ((name, "training"), (f"val_{name}", "validation")):
                if each in self.history:
                    axes.plot(epochs, self.history[each], marker=".", label=label)
            axes.set(xlabel="epoch", ylabel=name)
            axes.legend()
        if path is not None:
            figure.savefig(path)
        return figure

    def __repr__(self) -> str:
        rows = [f"History of {len(self.epoch)} epochs, {self.steps} steps"]
        if self.stopped:
            rows[0] += f"; stopped: {self.stopped}"
            rows.append(f"  {self.reason}")
        width = max((len(name) for name in self.history), default=0)
        for name, values in self.history.items():
            row = f"  {name:<{width}}  first {values[0]:.4g}  last {values[-1]:.4g}"
            numbers = [value for value in values if not math.isnan(value)]
            if numbers:
                best = max(numbers) if rises(name) else min(numbers)
                row += f"  best {best:.4g} (epoch {self.epoch[values.index(best)] + 1})"
            rows.append(row)
        return "\n".join(rows)


def rises(name: str) -> bool:
    """Whether more of the metric `name` is better: accuracies and scores; else less is."""
    return name.endswith(RISING)
