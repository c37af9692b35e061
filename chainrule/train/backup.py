"""`BackupAndRestore`: a fit that was killed goes on where it was, bit for bit.

A backup is one file: the weights and States, the optimiser's state and rate, how far the fit had
come, what it had measured, and what its callbacks keep. Read next: `loop.py`.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np

from chainrule.core.errors import ArgumentError, FileError
from chainrule.core.tree import flatten
from chainrule.data.batches import check_whole
from chainrule.train.callbacks import Callback
from chainrule.train.loop import learning_rate
from chainrule.train.stored import read_value, write_value
from chainrule.train.weights import copy_weights, put_weights

FILE = "backup.safetensors"
ENDED = ("epochs", "patience", "converged", "callback")  # what no rerun would carry further


class BackupAndRestore(Callback):
    """Save all that a fit depends on in `backup_dir`, and go on from there when one is found.

    Run the same program again after it was killed: `fit` begins behind the last backup, and ends
    with the weights, history and files, to the bit, of a run that was not interrupted. A backup
    is taken after each epoch, or after each `save_freq` steps, and replaces the one before in one
    piece. It is removed when the fit has come to its end, unless `delete_checkpoint` is False;
    after Ctrl-C, or a step that was not finite, it stays.

    Other callbacks go on too, with the attributes that they name in `kept`. `on_train_begin` runs
    again, `on_epoch_begin` only for epochs that begin. Arrays, image folders and all that has a
    method `epoch(number, start)` are taken up in the middle; generators and other iterables are
    read again from their beginning, and must give the same batches.

    FileError for a backup that is damaged or of another fit (other weights, data, batch size,
    seed, ...): it says what differs, and nothing is changed or removed. More `epochs` than before
    and callbacks that keep nothing make no other fit. ArgumentError for a callback that keeps
    what cannot be stored.
    """

    last = True  # what it saves is what all others have seen

    def __init__(
        self,
        backup_dir: str | os.PathLike,
        save_freq: str | int = "epoch",
        delete_checkpoint: bool = True,
    ):
        if save_freq != "epoch":
            check_whole('save_freq, if not "epoch",', save_freq, 1)
        self.backup_dir = Path(backup_dir)
        self.save_freq = save_freq
        self.delete_checkpoint = delete_checkpoint

    @property
    def each_batch(self) -> bool:
        """Whether it must look after each step."""
        return self.save_freq != "epoch"

    @property
    def path(self) -> Path:
        """The file that a backup is written to."""
        return self.backup_dir / FILE

    def on_train_begin(self, logs: dict[str, float] | None = None) -> None:
        """Go on from the backup where there is one."""
        if sum(isinstance(each, BackupAndRestore) for each in self.fit.callbacks) > 1:
            raise ArgumentError(
                "a fit goes on from one backup, and was given several BackupAndRestore",
                mend="one of them",
            )
        try:
            self.backup_dir.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise FileError(
                f"BackupAndRestore cannot make the folder {self.backup_dir}: {error}",
                mend="a folder that may be written to",
            ) from None
        if self.path.exists():
            restore(self.fit, read_value(self.path), self.path)

    def on_train_batch_end(self, batch: int, logs: dict[str, float] | None = None) -> None:
        """Save when the steps are full."""
        if self.each_batch and self.fit.history.steps % int(self.save_freq) == 0:
            self._save()

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """Save after the epoch."""
        if not self.each_batch:
            self._save()

    def on_train_end(self, logs: dict[str, float] | None = None) -> None:
        """Remove the backup of a fit that has come to its end."""
        if self.delete_checkpoint and self.fit.history.stopped in ENDED:
            self.path.unlink(missing_ok=True)

    def _save(self) -> None:
        write_value(self.path, snapshot(self.fit), "a backup")


def snapshot(fit: Any) -> dict[str, Any]:
    """All that the rest of `fit` depends on, a value that can be stored."""
    stopping = [each.stopping for each in fit.callbacks if each.stopping is not None]
    return {
        "about": _about(fit),
        "first": fit.first,
        "epoch": fit.epoch,
        "done": fit.done,
        "weights": copy_weights(fit.model),
        "optimizer": fit.state,
        "learning_rate": learning_rate(fit.steps.optimizer),
        "squares": fit.squares,
        "totals": _sums(fit.totals),
        "history": vars(fit.history),
        "stop_training": fit.model.stop_training,
        "stopping": stopping[0] if stopping else None,
        "callbacks": {name: _kept(each) for name, each in _keeping(fit).items()},
    }


def restore(fit: Any, found: dict[str, Any], path: Path) -> None:
    """Put a `snapshot` of a fit like this into it; FileError of `path` for that of another."""
    _check_same(fit, found, path)
    rate = found["learning_rate"]
    fit.examples.forward(found["epoch"], found["done"], fit.interrupt.check)
    put_weights(fit.model, found["weights"])
    fit.state = found["optimizer"]
    fit.progressed.keep(fit.state, fit.steps.optimizer)
    if rate is not None:
        fit.steps.optimizer.learning_rate = rate
    fit.first, fit.epoch, fit.done = found["first"], found["epoch"], found["done"]
    fit.squares = found["squares"]
    fit.progressed.epochs = fit.first + fit.epoch + bool(fit.done)
    vars(fit.totals).update(found["totals"])
    vars(fit.history).update(found["history"])
    fit.model.stop_training = found["stop_training"]
    fit.callbacks[0].stopping = found["stopping"]
    for name, callback in _keeping(fit).items():
        vars(callback).update(found["callbacks"][name])


def _keeping(fit: Any) -> dict[str, Callback]:
    """The callbacks that keep something, by their class and place among these."""
    found = [each for each in fit.callbacks if each.kept]
    return {f"{i} {type(each).__name__}": each for i, each in enumerate(found)}


def _kept(callback: Callback) -> dict[str, Any]:
    there = vars(callback)
    return {name: there[name] for name in callback.kept if name in there}


def _sums(totals: Any) -> dict[str, Any]:
    """What `totals` has summed up; what was gathered from many batches as if from one."""

    def whole(part: Any) -> Any:
        return [np.concatenate(part)] if isinstance(part, list) else part

    parts = [[whole(part) for part in each] for each in totals.parts]
    return {"loss": totals.loss, "weight": totals.weight, "parts": parts}


def _about(fit: Any) -> dict[str, Any]:
    """What must be the same in the fit that goes on, by what it is called in errors."""
    model, plan, examples = fit.model, fit.plan, fit.examples
    weights = {**model.named_parameters(), **model.named_states()}
    return {
        **{name: f"{tensor.dtype}{list(tensor.shape)}" for name, tensor in weights.items()},
        "the trained weights": fit.steps.names,
        "the optimizer": type(fit.steps.optimizer).__name__,
        "the loss": [head.objective.name for head in fit.steps.heads.heads if head.objective],
        "the metrics": fit.totals.names,
        "validation": fit.validate is not None,
        "the callbacks that keep something": list(_keeping(fit)),
        "the model's seed": model.seed,
        "batch_size": plan.batch_size,
        "shuffle": plan.shuffle,
        "steps of an epoch": fit.per_epoch,
        "examples": len(examples) if hasattr(examples, "__len__") else None,
    }


def _check_same(fit: Any, found: dict[str, Any], path: Path) -> None:
    ours, theirs = _about(fit), found["about"]
    names = list({**theirs, **ours})
    rows = [
        f"{name}: {theirs.get(name)!r} there, {ours.get(name)!r} here"
        for name in names
        if ours.get(name) != theirs.get(name)
    ]
    if not rows and flatten(found["optimizer"])[1] != flatten(fit.state)[1]:
        rows.append("the optimizer's state has another form")
    if found["epoch"] > fit.plan.epochs:
        rows.append(f"it has run {found['epoch']} epochs, and epochs={fit.plan.epochs}")
    if found["first"] > fit.first:
        # Less is no other fit: a model that was in the same fit before it was interrupted.
        rows.append(f"its model had seen {found['first']} epochs before, this one {fit.first}")
    if rows:
        told = "; ".join(rows[:5]) + (f"; and {len(rows) - 5} more" if len(rows) > 5 else "")
        raise FileError(
            f"{path} is the backup of another fit: {told}",
            mend=f"the fit that wrote it, or another backup_dir, or move {path} away to begin anew",
        )
