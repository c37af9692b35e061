"""784-256-128-10 with ReLU on Fashion-MNIST, Adam, batches of 128 and 32. Read next: `cnn.py`."""

from __future__ import annotations

import itertools
from functools import partial
from typing import Any

import numpy as np

from chainrule_bench.workload import (
    Arrays,
    Phase,
    adam,
    fashion,
    he,
    passes,
    product,
    workload,
    zeros,
)

WIDTHS = (784, 256, 128, 10)
LAYERS = ("dense1", "dense2", "dense3")


def weights(rng: np.random.Generator) -> Arrays:
    """He-scaled kernels and zero biases."""
    found: Arrays = {}
    for layer, (a, b) in zip(LAYERS, itertools.pairwise(WIDTHS)):
        found |= {f"{layer}/kernel": he(rng, a, b), f"{layer}/bias": zeros(b)}
    return found


def data() -> tuple[np.ndarray, np.ndarray]:
    """Fashion-MNIST, flat."""
    x, y = fashion()
    return x.reshape(len(x), -1), y


def phases(batch: int) -> list[Phase]:
    """Three products with their gradients (no gradient to the input), the loss, Adam."""
    sizes = list(enumerate(itertools.pairwise(WIDTHS)))
    found = [p for i, (a, b) in sizes for p in product(LAYERS[i], batch, a, b, first=i == 0)]
    loss = passes("loss", 10 * batch, 10 * batch, flops=60 * batch, roots=10 * batch)
    return [*found, loss, adam(sum(a * b + b for _, (a, b) in sizes))]


def in_chainrule() -> Any:
    """The logits by hand."""
    import chainrule as cr

    def forward(p: Any, s: Any, x: Any) -> Any:
        for layer in LAYERS[:-1]:
            x = cr.relu(x @ p[f"{layer}/kernel"] + p[f"{layer}/bias"])
        return x @ p["dense3/kernel"] + p["dense3/bias"], s

    return forward


def in_layers() -> Any:
    """chainrule's model of layers."""
    import chainrule as cr
    from chainrule import nn

    hidden = [
        nn.Dense(width, activation="relu", name=layer)
        for layer, width in zip(LAYERS[:-1], WIDTHS[1:])
    ]
    return cr.Sequential([*hidden, nn.Dense(10, name="dense3")])


def in_torch() -> Any:
    """The logits, from torch's layouts."""
    from torch.nn import functional

    def forward(p: Any, s: Any, x: Any) -> Any:
        for layer in LAYERS[:-1]:
            x = functional.relu(functional.linear(x, p[f"{layer}/kernel"], p[f"{layer}/bias"]))
        return functional.linear(x, p["dense3/kernel"], p["dense3/bias"])

    return forward


def in_jax() -> Any:
    """The logits."""
    import jax

    def forward(p: Any, s: Any, x: Any) -> Any:
        for layer in LAYERS[:-1]:
            x = jax.nn.relu(x @ p[f"{layer}/kernel"] + p[f"{layer}/bias"])
        return x @ p["dense3/kernel"] + p["dense3/bias"], s

    return forward


def in_keras() -> Any:
    """Keras's model of layers."""
    from keras import Input, Sequential, layers

    hidden = [
        layers.Dense(width, activation="relu", name=layer)
        for layer, width in zip(LAYERS[:-1], WIDTHS[1:])
    ]
    return Sequential([Input((784,)), *hidden, layers.Dense(10, name="dense3")])


def in_numpy() -> Any:
    """Loss and gradients, derived by hand."""

    def step(p: Arrays, x: np.ndarray, y: np.ndarray) -> tuple[Any, Arrays]:
        inputs = [x]
        for layer in LAYERS[:-1]:
            inputs.append(np.maximum(inputs[-1] @ p[f"{layer}/kernel"] + p[f"{layer}/bias"], 0))
        z = inputs[-1] @ p["dense3/kernel"] + p["dense3/bias"]
        z -= z.max(1, keepdims=True)
        g = np.exp(z)
        total = g.sum(1, keepdims=True)
        rows = np.arange(len(y))
        loss = (np.log(total[:, 0]) - z[rows, y]).mean()
        g /= total
        g[rows, y] -= 1
        g /= np.float32(len(y))
        grads: Arrays = {}
        for layer, h in zip(reversed(LAYERS), reversed(inputs)):
            grads |= {f"{layer}/kernel": h.T @ g, f"{layer}/bias": g.sum(0)}
            if layer != LAYERS[0]:
                g = g @ p[f"{layer}/kernel"].T * (h > 0)
        return loss, grads

    return step


for batch in (128, 32):
    workload(
        name=f"mlp-{batch}",
        about=f"784-256-128-10 ReLU on Fashion-MNIST, batch {batch}, Adam",
        batch=batch,
        weights=weights,
        data=data,
        models={
            "chainrule": in_chainrule,
            "layers": in_layers,
            "torch": in_torch,
            "jax": in_jax,
            "keras": in_keras,
            "numpy": in_numpy,
        },
        phases=partial(phases, batch),
    )
