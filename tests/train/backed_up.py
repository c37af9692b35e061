"""A fit with a backup and much to remember, which the tests of `test_backup.py` kill.

As a program: `backed_up.py FOLDER KIND STEP [SAVE_FREQ EPOCHS]`; it dies at STEP, at 0 never.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import signal
import sys
from pathlib import Path

import numpy as np

import chainrule as cr
from chainrule import nn
from chainrule.data import blobs, image_folder
from chainrule.train import (
    BackupAndRestore,
    Callback,
    CSVLogger,
    EarlyStopping,
    ModelCheckpoint,
    ReduceLROnPlateau,
)
from chainrule.train.backup import FILE

EPOCHS, STEPS = 6, 8  # of the fit, and of each epoch
KINDS = ("arrays", "folder", "generator", "iterable")


class Die(Callback):
    """End the process at one step, as a power cut does."""

    def __init__(self, at: int | None):
        self.at = at

    def on_train_batch_end(self, batch, logs=None):
        if self.fit.history.steps == self.at:
            os.kill(os.getpid(), signal.SIGKILL)


class Counts(Callback):
    """A callback of a user's, with something to keep."""

    kept = ("seen", "last_logs")

    def on_train_begin(self, logs=None):
        self.seen, self.last_logs = 0, {}

    def on_train_batch_end(self, batch, logs=None):
        self.seen += 1
        self.last_logs = dict(logs)


class Shuffling:
    """Batches in an order that depends on how often they were asked for."""

    def __init__(self, x, y):
        self.x, self.y, self.rng = x, y, random.Random(0)

    def __iter__(self):
        order = list(range(STEPS))
        self.rng.shuffle(order)
        return iter([(self.x[12 * i : 12 * i + 12], self.y[12 * i : 12 * i + 12]) for i in order])


def endless(x, y):
    rng = np.random.Generator(np.random.Philox(key=5))
    while True:
        chosen = rng.integers(0, len(x), 12)
        yield x[chosen], y[chosen]


def source(kind: str, folder: Path) -> dict:
    """The arguments of `fit` that say what is read."""
    x, y = blobs(96, seed=1)
    if kind == "folder":
        made = folder / "pictures"
        if not made.exists():
            for i in range(96):
                (made / f"{y[i]}").mkdir(parents=True, exist_ok=True)
                pixels = np.clip(x[i] * 20 + 128, 0, 255).astype(np.uint8)
                (made / f"{y[i]}" / f"{i:02d}.pgm").write_bytes(b"P5 2 1 255\n" + pixels.tobytes())
        return dict(x=image_folder(made, batch_size=12, channels=1, scale=1 / 255))
    if kind == "generator":
        return dict(x=endless(x, y), steps_per_epoch=STEPS)
    if kind == "iterable":
        return dict(x=Shuffling(x, y))
    return dict(x=x, y=y, batch_size=12)


def run(
    folder: Path,
    kind: str = "arrays",
    die: int | None = None,
    save_freq: str | int = 3,
    epochs: int = EPOCHS,
    patience: int = 99,
) -> str:
    """What a fit comes to: all its weights, numbers, states and files, as one digest."""
    folder.mkdir(parents=True, exist_ok=True)
    given = source(kind, folder)
    x, y = blobs(30, seed=2)
    layers = [nn.Flatten(), nn.Dense(16), nn.BatchNormalization(), nn.Dropout(0.3), nn.Dense(3)]
    model = cr.Sequential(layers, seed=7)
    model.compile(cr.optim.Adam(0.05), "sparse_categorical_crossentropy", ["accuracy"])
    if kind == "folder":
        x = x[:, None, :, None]
    backup, counts = BackupAndRestore(folder / "backup", save_freq), Counts()
    # In front of all others: it is called last in any case.
    stop = EarlyStopping("val_loss", patience=patience, restore_best_weights=True)
    plateau = ReduceLROnPlateau("loss", factor=0.5, patience=1, min_delta=0.05)
    checkpoint = ModelCheckpoint(folder / "best.safetensors", save_best_only=True)
    log = CSVLogger(folder / "log.csv")
    callbacks = [backup, stop, plateau, checkpoint, log, counts, Die(die)]
    history = model.fit(
        **given, epochs=epochs, validation_data=(x, y), callbacks=callbacks, verbose=0
    )
    told = {
        "weights": {n: a.tobytes().hex() for n, a in model.get_weights().items()},
        "state": [np.asarray(a).tobytes().hex() for a in cr.flatten(model.optimizer_state)[0]],
        "history": {n: [each.hex() for each in v] for n, v in history.history.items()},
        "end": [history.epoch, history.steps, history.stopped, history.reason],
        "rate": model.optimizer.learning_rate.hex(),
        "callbacks": [stop.wait, stop.best, plateau.cuts, counts.seen, counts.last_logs],
        "gradient": stop.gradient_norm.hex(),
        "log": (folder / "log.csv").read_text(),
        "best": hashlib.sha256((folder / "best.safetensors").read_bytes()).hexdigest(),
        "next": model.fit(**given, verbose=0).history if kind == "arrays" else None,
    }
    assert not (folder / "backup" / FILE).exists()
    return json.dumps(told)


class Cut(Callback):
    """Stand in for a death without a process of its own: the fit is left in the middle."""

    def __init__(self, at: int):
        self.at = at

    def on_train_batch_end(self, batch, logs=None):
        if self.fit.history.steps == self.at:
            raise RuntimeError("cut")


if __name__ == "__main__":
    target, given_kind, step = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
    extra = [int(each) for each in sys.argv[4:]]
    options = dict(zip(("save_freq", "epochs"), extra, strict=False))
    if extra:
        print("begun", flush=True)
    print(run(target, given_kind, step or None, **options))
