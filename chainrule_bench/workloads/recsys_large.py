"""A million users and 200,000 items, 64 numbers each, whose dot product is a rating; batch 4096.

Ids follow Zipf's law and are others in each step. Plain descent and Adagrad change only the rows
that a step reads, and each framework may do it so. Adam changes all of them: a row that is not read
goes on moving for a while, and who leaves it where it is has another result. Read next: `gpt.py`.
"""

from __future__ import annotations

from functools import cache, partial
from typing import Any

import numpy as np

from chainrule_bench.workload import Arrays, Phase, normal, passes, row_adam, workload

BATCH, STEPS, WIDTH = 4096, 2048, 64
ROWS = {"users": 1_000_000, "items": 200_000}
TABLES = tuple(f"{name}/embeddings" for name in ROWS)


def weights(rng: np.random.Generator) -> Arrays:
    """Normal numbers."""
    return {f"{name}/embeddings": normal(rng, n, WIDTH, scale=0.1) for name, n in ROWS.items()}


def zipf(rng: np.random.Generator, most: int, count: int) -> np.ndarray:
    """So many ids below `most`: the k-th commonest comes 1/k times as often as the commonest."""
    chance = np.cumsum(1 / np.arange(1, most + 1))
    ranks = np.searchsorted(chance, rng.random(count) * chance[-1])
    return rng.permutation(most).astype(np.int32)[ranks]


@cache
def data() -> tuple[np.ndarray, np.ndarray]:
    """Pairs (user, item), and ratings: a number of the user's, one of the item's, and noise."""
    rng = np.random.Generator(np.random.Philox(key=9))
    x = np.stack([zipf(rng, n, STEPS * BATCH) for n in ROWS.values()], axis=1)
    y = rng.standard_normal((len(x), 1), np.float32)
    for column, n in zip(x.T, ROWS.values()):
        y[:, 0] += rng.standard_normal(n, np.float32)[column]
    return x, y


def distinct() -> float:
    """How many rows a batch reads, users and items together, on average."""
    x, _ = data()
    some = x[: 64 * BATCH].reshape(64, BATCH, 2)
    return float(np.mean([np.unique(ids[:, k]).size for ids in some for k in (0, 1)]) * 2)


def phases(optimizer: str) -> list[Phase]:
    """Rows read, their gradients summed, and the rows that are touched updated: nothing else.

    Adam's rows that have missed steps need a root and a division more to catch up.
    """
    rows, whole = distinct() * WIDTH, 4.0 * WIDTH * sum(ROWS.values())
    pairs = BATCH * WIDTH
    found = [
        Phase("rows", 2.0 * pairs, 4.0 * rows, whole),
        passes("gradients", 2 * pairs, 2 * pairs, flops=4 * pairs),
        passes("sums", 2 * pairs, rows, flops=2 * pairs),
    ]
    if optimizer == "adam":
        whole *= 3
        caught = Phase("rows caught up", 16.0 * rows, 24.0 * rows, whole, 2.0 * rows)
        return [*found, caught, row_adam("adam", rows, whole / 12)]
    moved = {"sgd": 12.0, "adagrad": 20.0}[optimizer] * rows
    roots = 2.0 * rows if optimizer == "adagrad" else 0
    return [*found, Phase(optimizer, 4.0 * rows, moved, 2 * whole, roots)]


def in_chainrule() -> Any:
    """The ratings by hand."""
    import chainrule as cr

    def forward(p: Any, s: Any, x: Any) -> Any:
        users, items = (cr.take(p[name], x[:, k], axis=0) for k, name in enumerate(TABLES))
        return cr.sum(users * items, axis=1, keepdims=True), s

    return forward


def in_layers() -> Any:
    """chainrule's model of layers."""
    import chainrule as cr
    from chainrule import nn

    class Ratings(cr.Model):
        takes_integers = True

        def __init__(self) -> None:
            super().__init__()
            self.users = nn.Embedding(ROWS["users"], WIDTH, name="users")
            self.items = nn.Embedding(ROWS["items"], WIDTH, name="items")

        def call(self, x: Any) -> Any:
            return cr.sum(self.users(x[:, 0]) * self.items(x[:, 1]), axis=1, keepdims=True)

    return Ratings()


def in_torch(sparse: bool = False) -> Any:
    """The ratings, with dense gradients or sparse ones."""
    from torch.nn import functional

    def forward(p: Any, s: Any, x: Any) -> Any:
        users, items = (
            functional.embedding(x[:, k], p[name], sparse=sparse) for k, name in enumerate(TABLES)
        )
        return (users * items).sum(1, keepdim=True)

    return forward


def in_jax() -> Any:
    """The ratings from the tables."""

    def forward(p: Any, s: Any, x: Any) -> Any:
        users, items = (p[name][x[:, k]] for k, name in enumerate(TABLES))
        return (users * items).sum(1, keepdims=True), s

    return forward


def in_jax_rows() -> Any:
    """Which rows of each table are read, and the ratings from these rows."""

    def ids(x: Any) -> Any:
        return {name: x[:, k] for k, name in enumerate(TABLES)}

    def forward(rows: Any) -> Any:
        users, items = (rows[name] for name in TABLES)
        return (users * items).sum(1, keepdims=True)

    return ids, forward


def in_keras() -> Any:
    """Keras's model of layers."""
    from keras import Input, Model, layers

    x = Input((2,), dtype="int32")
    users = layers.Embedding(ROWS["users"], WIDTH, name="users")(x[:, 0])
    items = layers.Embedding(ROWS["items"], WIDTH, name="items")(x[:, 1])
    return Model(x, layers.Dot(1)([users, items]))


RATES = {"adagrad": 0.1, "adam": 1e-3, "sgd": 2.0}
for optimizer, rate in RATES.items():
    rows = {"torch-sparse": partial(in_torch, sparse=True), "jax-rows": in_jax_rows}
    workload(
        name=f"recsys-large-{optimizer}",
        about=f"1,000,000 users, 200,000 items, 64 wide, dot product, batch 4096, {optimizer}",
        batch=BATCH,
        weights=weights,
        data=data,
        models={
            "chainrule-rows": in_chainrule,
            "layers": in_layers,
            "torch": in_torch,
            "jax": in_jax,
            **({} if optimizer == "adam" else rows),
            # Keras's other optimisers do not add up the gradients of a row that comes twice
            # before they square them.
            **({"keras": in_keras} if optimizer == "sgd" else {}),
        },
        phases=partial(phases, optimizer),
        loss="mse",
        optimizer=optimizer,
        rate=rate,
        batches=STEPS,
        calls=("one",),  # `fit` looks at the whole tables before and after: a round is too short
        tables=TABLES,
        check=10,
    )
