"""Ratings of films from embeddings of users and items, MovieLens-100K, Adam, batch 1024.

Each user and each film has two vectors of 32: the dot product of one pair, and a net of 64-32-1
over the other pair side by side, are added up. Source: He et al., "Neural Collaborative
Filtering", WWW 2017.

Keras is left out: where a row comes twice in a batch, its Adam on TensorFlow adds up the squares
of two gradients instead of squaring their sum, so its losses are others. Read next:
`recsys_large.py`.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np

from chainrule_bench.workload import (
    Arrays,
    Phase,
    adam,
    batches,
    he,
    normal,
    passes,
    product,
    workload,
    zeros,
)

BATCH, WIDTH = 1024, 32
ROWS = {"users": 943, "items": 1682, "net_users": 943, "net_items": 1682}


def weights(rng: np.random.Generator) -> Arrays:
    """Normal embeddings, He-scaled kernels; the last bias is about the mean rating."""
    tables = {f"{name}/embeddings": normal(rng, n, WIDTH, scale=0.1) for name, n in ROWS.items()}
    return {
        **tables,
        "hidden/kernel": he(rng, 2 * WIDTH, WIDTH),
        "hidden/bias": zeros(WIDTH),
        "out/kernel": he(rng, WIDTH, 1),
        "out/bias": zeros(1) + np.float32(3.5),
    }


@cache
def data() -> tuple[np.ndarray, np.ndarray]:
    """The training part: pairs (user, film) and stars, shuffled."""
    from chainrule.data import load  # the comparing process alone asks for data

    ratings = load("movielens-100k")
    return batches(np.asarray(ratings.x_train, np.int32), ratings.y_train[:, None])


def phases() -> list[Phase]:
    """Rows read and their gradients added up; the net; Adam on all, since batches read most."""
    read = 4 * BATCH * WIDTH
    total = sum(array.size for array in weights(np.random.default_rng(0)).values())
    return [
        passes("rows", read, read),
        *product("hidden", BATCH, 2 * WIDTH, WIDTH),
        *product("out", BATCH, WIDTH, 1),
        passes("sums", read, total, flops=read),
        adam(total),
    ]


def in_chainrule() -> Any:
    """The ratings by hand."""
    import chainrule as cr

    def forward(p: Any, s: Any, x: Any) -> Any:
        user, item = x[:, 0], x[:, 1]
        users, items = p["users/embeddings"][user], p["items/embeddings"][item]
        pair = [p["net_users/embeddings"][user], p["net_items/embeddings"][item]]
        hidden = cr.concatenate(pair, axis=1) @ p["hidden/kernel"] + p["hidden/bias"]
        net = cr.relu(hidden) @ p["out/kernel"] + p["out/bias"]
        return net + cr.sum(users * items, axis=1, keepdims=True), s

    return forward


def in_layers() -> Any:
    """chainrule's model of layers."""
    import chainrule as cr
    from chainrule import nn

    class Ratings(cr.Model):
        takes_integers = True

        def __init__(self) -> None:
            super().__init__()
            self.tables = [nn.Embedding(n, WIDTH, name=name) for name, n in ROWS.items()]
            self.hidden = nn.Dense(WIDTH, activation="relu", name="hidden")
            self.out = nn.Dense(1, name="out")

        def call(self, x: Any) -> Any:
            columns = (x[:, 0], x[:, 1]) * 2
            users, items, *pair = (t(ids) for t, ids in zip(self.tables, columns))
            net = self.out(self.hidden(cr.concatenate(pair, axis=1)))
            return net + cr.sum(users * items, axis=1, keepdims=True)

    return Ratings()


def in_torch() -> Any:
    """The ratings, from torch's layouts."""
    import torch
    from torch.nn import functional

    def forward(p: Any, s: Any, x: Any) -> Any:
        columns = (x[:, 0], x[:, 1]) * 2
        users, items, *pair = (
            functional.embedding(ids, p[f"{name}/embeddings"]) for name, ids in zip(ROWS, columns)
        )
        hidden = functional.linear(torch.cat(pair, 1), p["hidden/kernel"], p["hidden/bias"])
        net = functional.linear(functional.relu(hidden), p["out/kernel"], p["out/bias"])
        return net + (users * items).sum(1, keepdim=True)

    return forward


def in_jax() -> Any:
    """The ratings."""
    import jax
    from jax import numpy as jnp

    def forward(p: Any, s: Any, x: Any) -> Any:
        columns = (x[:, 0], x[:, 1]) * 2
        users, items, *pair = (p[f"{name}/embeddings"][ids] for name, ids in zip(ROWS, columns))
        hidden = jax.nn.relu(jnp.concatenate(pair, 1) @ p["hidden/kernel"] + p["hidden/bias"])
        net = hidden @ p["out/kernel"] + p["out/bias"]
        return net + (users * items).sum(1, keepdims=True), s

    return forward


def in_numpy() -> Any:
    """Loss and gradients, derived by hand."""

    def step(p: Arrays, x: np.ndarray, y: np.ndarray) -> tuple[Any, Arrays]:
        columns = (x[:, 0], x[:, 1]) * 2
        users, items, *pair = (p[f"{name}/embeddings"][ids] for name, ids in zip(ROWS, columns))
        inputs = np.concatenate(pair, axis=1)
        hidden = np.maximum(inputs @ p["hidden/kernel"] + p["hidden/bias"], 0)
        net = hidden @ p["out/kernel"] + p["out/bias"]
        error = net + (users * items).sum(1, keepdims=True) - y
        g = error * np.float32(2 / len(x))
        g_hidden = g * p["out/kernel"].T * (hidden > 0)
        g_inputs = g_hidden @ p["hidden/kernel"].T
        grads = {
            "hidden/kernel": inputs.T @ g_hidden,
            "hidden/bias": g_hidden.sum(0),
            "out/kernel": hidden.T @ g,
            "out/bias": g.sum(0),
        }
        parts = g * items, g * users, g_inputs[:, :WIDTH], g_inputs[:, WIDTH:]
        for name, ids, part in zip(ROWS, columns, parts):
            grads[f"{name}/embeddings"] = np.zeros((ROWS[name], WIDTH), np.float32)
            np.add.at(grads[f"{name}/embeddings"], ids, part)
        return (error * error).mean(), grads

    return step


workload(
    name="recsys",
    about="two pairs of 32-wide embeddings, a net of 64-32-1 and a dot product, MovieLens-100K, "
    "batch 1024, Adam",
    batch=BATCH,
    weights=weights,
    data=data,
    models={
        "chainrule": in_chainrule,
        "layers": in_layers,
        "torch": in_torch,
        "jax": in_jax,
        "numpy": in_numpy,
    },
    phases=phases,
    loss="mse",
)
