"""LSTM and GRU of 128 units over the words of film reviews, Adam, batches of 32 and 128.

An embedding of 10,000 words, the layer's last output, a dense layer to the rating. Reviews are up
to 64 words long, zeros after the last; a step must not count them. Read next: `recsys.py`.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, partial
from typing import Any

import numpy as np

from chainrule_bench.workload import (
    Arrays,
    Phase,
    batches,
    normal,
    passes,
    product,
    row_adam,
    workload,
    zeros,
)

WORDS, STEPS, WIDTH, UNITS = 10_000, 64, 128, 128
GATES = {"lstm": 4, "gru": 3}


def weights(kind: str, rng: np.random.Generator) -> Arrays:
    """Kernels of variance 1 / inputs; the LSTM's forget gate starts open."""
    wide = GATES[kind] * UNITS
    bias = zeros(wide) if kind == "lstm" else zeros(2, wide)
    if kind == "lstm":
        bias[UNITS : 2 * UNITS] = 1
    return {
        "embedding/embeddings": normal(rng, WORDS, WIDTH, scale=0.05),
        f"{kind}/kernel": normal(rng, WIDTH, wide, scale=WIDTH**-0.5),
        f"{kind}/recurrent_kernel": normal(rng, UNITS, wide, scale=UNITS**-0.5),
        f"{kind}/bias": bias,
        "dense/kernel": normal(rng, UNITS, 1, scale=UNITS**-0.5),
        "dense/bias": zeros(1),
    }


@cache
def data() -> tuple[np.ndarray, np.ndarray]:
    """The training part of movie-snippets, (reviews, words) ids, and ratings, shuffled."""
    from chainrule.data import load  # the comparing process alone asks for data
    from chainrule.data.words import Vocabulary

    snippets = load("movie-snippets")
    vocabulary = Vocabulary.of(snippets.x_train, most=WORDS - 1)
    x = vocabulary.encode(list(snippets.x_train), STEPS).astype(np.int32)
    some = x[:, 0] > 0
    # Cut where the longest ends, for who must go through all the columns there are.
    return batches(x[some][:, x.any(0)], snippets.y_train[some, None])


def phases(kind: str, batch: int) -> list[Phase]:
    """Products over the words that are there, gates, and Adam on the rows of words that occur.

    The input's product is counted for each word as often as it stands in a batch.
    """
    x, _ = data()
    words = float(batch * np.count_nonzero(x) / len(x))
    whole = x[: len(x) // batch * batch].reshape(-1, batch * x.shape[1])
    rows = float(np.mean([np.count_nonzero(np.unique(ids)) for ids in whole]))
    wide = GATES[kind] * UNITS
    gates = passes("gates", 4 * words * wide, 2 * words * wide, roots=words * (wide + UNITS))
    dense = WIDTH * wide + UNITS * wide + 2 * wide + UNITS + 1
    return [
        passes("embedding", words * WIDTH, words * WIDTH),
        *product("inputs", words, WIDTH, wide),
        *product("recurrence", words, UNITS, wide),
        gates,
        passes("sums of rows", words * WIDTH, rows * WIDTH, flops=words * WIDTH),
        row_adam("rows", rows * WIDTH, WORDS * WIDTH),
        row_adam("adam", dense, dense),
    ]


def lstm(m: Any, p: Any, z: Any, h: Any, c: Any) -> tuple[Any, Any]:
    """One step of the LSTM with the functions of `m`; `z` is the input's product."""
    i, f, g, o = m.split(z + h @ p["lstm/recurrent_kernel"], 4, axis=-1)
    c = m.sigmoid(f) * c + m.sigmoid(i) * m.tanh(g)
    return m.sigmoid(o) * m.tanh(c), c


def gru(m: Any, p: Any, z: Any, h: Any, c: Any) -> tuple[Any, Any]:
    """One step of the GRU; `c` is nothing to it."""
    z0, r0, n0 = m.split(z, 3, axis=-1)
    z1, r1, n1 = m.split(h @ p["gru/recurrent_kernel"] + p["gru/bias"][1], 3, axis=-1)
    keep = m.sigmoid(z0 + z1)
    return keep * h + (1 - keep) * m.tanh(n0 + m.sigmoid(r0 + r1) * n1), c


CELLS: dict[str, Callable] = {"lstm": lstm, "gru": gru}


def read(kind: str, m: Any, p: Any, x: Any) -> Any:
    """The ratings: what does not depend on the step before is done for all steps at once."""
    bias = p[f"{kind}/bias"] if kind == "lstm" else p[f"{kind}/bias"][0]
    z = m.take(p["embedding/embeddings"], x, axis=0) @ p[f"{kind}/kernel"] + bias

    def step(carry: Any, now: Any) -> Any:
        h, c = carry
        z, shown = now
        new_h, new_c = CELLS[kind](m, p, z, h, c)
        return (m.where(shown, new_h, h), m.where(shown, new_c, c)), None

    start = np.zeros((x.shape[0], UNITS), np.float32)
    along = m.swapaxes(z, 0, 1), m.swapaxes(x != 0, 0, 1)[..., None]
    (h, _), _ = m.scan(step, (start, start), along)
    return h @ p["dense/kernel"] + p["dense/bias"]


def in_chainrule(kind: str) -> Any:
    """The ratings by hand."""
    import chainrule as cr

    return lambda p, s, x: (read(kind, cr, p, x), s)


def in_layers(kind: str) -> Any:
    """chainrule's model of layers."""
    import chainrule as cr
    from chainrule import nn

    made = {"lstm": nn.LSTM, "gru": nn.GRU}[kind]
    embedding = nn.Embedding(WORDS, WIDTH, mask_zero=True, name="embedding")
    return cr.Sequential([embedding, made(UNITS, name=kind), nn.Dense(1, name="dense")])


def in_jax(kind: str) -> Any:
    """The ratings."""
    from types import SimpleNamespace

    import jax
    from jax import numpy as jnp

    names = ("split", "take", "tanh", "where", "swapaxes")
    functions = {name: getattr(jnp, name) for name in names}
    m = SimpleNamespace(sigmoid=jax.nn.sigmoid, scan=jax.lax.scan, **functions)
    return lambda p, s, x: (read(kind, m, p, x), s)


def in_torch(kind: str, packed: bool = False) -> Any:
    """The ratings, from torch's layouts: padded as far as the batch's longest, or packed."""
    import torch
    from torch.nn import functional
    from torch.nn.utils.rnn import pack_padded_sequence

    nothing = torch.zeros(GATES[kind] * UNITS)  # Keras's LSTM has one bias, torch's has two
    # As `torch.nn.LSTM`, torch.compile leaves it alone: unrolled, it takes minutes to compile.
    made = torch.compiler.disable(getattr(torch, kind))

    def forward(p: Any, s: Any, x: Any) -> Any:
        bias = p[f"{kind}/bias"]
        biases = (bias, nothing) if kind == "lstm" else (bias[0], bias[1])
        flat = [p[f"{kind}/kernel"], p[f"{kind}/recurrent_kernel"], *biases]
        start = torch.zeros(1, len(x), UNITS)
        first = (start, start) if kind == "lstm" else start
        settings = (True, 1, 0.0, True, False)
        lengths = (x != 0).sum(1)
        if packed:
            embedded = functional.embedding(x, p["embedding/embeddings"])
            ahead = pack_padded_sequence(embedded, lengths, batch_first=True, enforce_sorted=False)
            _, last, *_ = made(ahead.data, ahead.batch_sizes, first, flat, *settings)
            h = last[0][ahead.unsorted_indices]
        else:
            x = x[:, : int(lengths.max())]
            embedded = functional.embedding(x, p["embedding/embeddings"])
            y, *_ = made(embedded, first, flat, *settings, True)
            h = y[torch.arange(len(x)), lengths - 1]
        return functional.linear(h, p["dense/kernel"], p["dense/bias"])

    return forward


def in_keras(kind: str) -> Any:
    """Keras's model of layers."""
    from keras import Input, Sequential, layers

    made = {"lstm": layers.LSTM, "gru": layers.GRU}[kind]
    embedding = layers.Embedding(WORDS, WIDTH, mask_zero=True, name="embedding")
    ends = [made(UNITS, name=kind), layers.Dense(1, name="dense")]
    return Sequential([Input((None,), dtype="int32"), embedding, *ends])


def reset_first(weight: np.ndarray) -> np.ndarray:
    """The GRU's gates as torch has them: reset, update, new."""
    update, reset, new = np.split(weight, 3, axis=-1)
    return np.concatenate([reset, update, new], axis=-1)


GRU_PARTS = [f"gru/{part}" for part in ("kernel", "recurrent_kernel", "bias")]
for kind in GATES:
    for batch in (32, 128):
        workload(
            name=f"{kind}-{batch}",
            about=f"{kind.upper()} of 128 over film reviews of up to 64 words, batch {batch}, Adam",
            batch=batch,
            weights=partial(weights, kind),
            data=data,
            models={
                "chainrule": partial(in_chainrule, kind),
                "layers": partial(in_layers, kind),
                "torch": partial(in_torch, kind),
                "torch-packed": partial(in_torch, kind, packed=True),
                "jax": partial(in_jax, kind),
                "keras": partial(in_keras, kind),
            },
            phases=partial(phases, kind, batch),
            loss="mse",
            check=20,
            in_torch_order=dict.fromkeys(GRU_PARTS, reset_first) if kind == "gru" else {},
        )
