"""Models with several inputs and outputs, and data for them: for the tests of both names."""

from __future__ import annotations

from typing import Any

import numpy as np

from chainrule import nn
from chainrule.train import Model, optim

N = 50
SPARSE = "sparse_categorical_crossentropy"
LOSS = {"score": "mse", "label": SPARSE}
SHARES = {"score": 1.0, "label": 0.2}


class Pair(Model):
    """Words and numbers to a score and a label."""

    def __init__(self) -> None:
        super().__init__(seed=1)
        self.words, self.numbers = nn.Embedding(20, 4), nn.Dense(4, "tanh")
        self.mean, self.joined = nn.GlobalAveragePooling1D(), nn.Concatenate()
        self.score, self.label = nn.Dense(1), nn.Dense(3)

    def call(self, x, *, training=False):
        both = self.joined((self.mean(self.words(x["words"])), self.numbers(x["numbers"])))
        return {"score": self.score(both), "label": self.label(both)}


class Split(Model):
    """Two arrays, as a tuple, to a tuple of two."""

    def __init__(self) -> None:
        super().__init__(seed=1)
        self.left, self.right = nn.Dense(1), nn.Dense(2)

    def call(self, x):
        a, b = x
        return self.left(a), self.right(b)


def drawn() -> tuple[dict, dict]:
    rng = np.random.Generator(np.random.Philox(key=3))
    x = {"words": rng.integers(0, 20, (N, 6)), "numbers": rng.normal(size=(N, 2))}
    y = {"score": rng.normal(size=N), "label": rng.integers(0, 3, N)}
    return x, y


X, Y = drawn()
TUPLE = (X["numbers"], X["words"])
TARGETS = (Y["score"], X["numbers"] * 2)


def pair(**options: Any) -> Pair:
    model = Pair()
    given = {"loss": LOSS, "loss_weights": SHARES, "metrics": {"label": ["accuracy"]}, **options}
    model.compile(optim.SGD(0.1), **given)
    return model


def split(loss: Any = "mse", **options: Any) -> Split:
    model = Split()
    model.compile(optim.SGD(0.1), loss, **options)
    return model


def part(tree: Any, index: slice) -> Any:
    if isinstance(tree, dict):
        return {key: part(each, index) for key, each in tree.items()}
    return None if tree is None else tree[index]


def batches(*trees: Any, size: int = 10):
    for start in range(0, N, size):
        yield tuple(part(tree, slice(start, start + size)) for tree in trees)


def same(a: Model, b: Model) -> bool:
    ours, theirs = a.get_weights(), b.get_weights()
    return all(np.array_equal(ours[name], theirs[name]) for name in ours)
