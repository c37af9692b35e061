"""A net of 2-2-1 sigmoids on XOR, batch 4, SGD: what a step costs that computes nothing.

Three ways: each call gets new tensors, or new NumPy arrays, or all steps are one call. Read next:
`mlp.py`.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from chainrule_bench.workload import Arrays, Phase, passes, workload, zeros


def weights(rng: np.random.Generator) -> Arrays:
    """Standard normal kernels."""
    hidden, out = rng.standard_normal((2, 2)), rng.standard_normal((2, 1))
    return {
        "hidden/kernel": hidden.astype(np.float32),
        "hidden/bias": zeros(2),
        "out/kernel": out.astype(np.float32),
        "out/bias": zeros(1),
    }


def data() -> tuple[np.ndarray, np.ndarray]:
    """The four rows of XOR, 256 times over."""
    x = np.array([[0, 0], [0, 1], [1, 0], [1, 1]], np.float32)
    y = np.array([[0], [1], [1], [0]], np.float32)
    return np.tile(x, (256, 1)), np.tile(y, (256, 1))


def phases() -> list[Phase]:
    """12 sigmoids and their like: a few divisions; all else fits in registers."""
    return [passes("step", 21, 9, flops=300, roots=12)]


def in_chainrule() -> Any:
    """The outputs by hand."""
    import chainrule as cr

    def forward(p: Any, s: Any, x: Any) -> Any:
        hidden = cr.sigmoid(x @ p["hidden/kernel"] + p["hidden/bias"])
        return cr.sigmoid(hidden @ p["out/kernel"] + p["out/bias"]), s

    return forward


def in_layers() -> Any:
    """chainrule's model of layers."""
    import chainrule as cr
    from chainrule import nn

    hidden = nn.Dense(2, activation="sigmoid", name="hidden")
    return cr.Sequential([hidden, nn.Dense(1, activation="sigmoid", name="out")])


def in_torch() -> Any:
    """The outputs, from torch's layouts."""
    import torch
    from torch.nn import functional

    def forward(p: Any, s: Any, x: Any) -> Any:
        hidden = torch.sigmoid(functional.linear(x, p["hidden/kernel"], p["hidden/bias"]))
        return torch.sigmoid(functional.linear(hidden, p["out/kernel"], p["out/bias"]))

    return forward


def in_jax() -> Any:
    """The outputs."""
    import jax

    def forward(p: Any, s: Any, x: Any) -> Any:
        hidden = jax.nn.sigmoid(x @ p["hidden/kernel"] + p["hidden/bias"])
        return jax.nn.sigmoid(hidden @ p["out/kernel"] + p["out/bias"]), s

    return forward


def in_keras() -> Any:
    """Keras's model of layers."""
    from keras import Input, Sequential, layers

    hidden = layers.Dense(2, activation="sigmoid", name="hidden")
    return Sequential([Input((2,)), hidden, layers.Dense(1, activation="sigmoid", name="out")])


def in_numpy() -> Any:
    """Loss and gradients, derived by hand."""

    def step(p: Arrays, x: np.ndarray, y: np.ndarray) -> tuple[Any, Arrays]:
        hidden = 1 / (1 + np.exp(-(x @ p["hidden/kernel"] + p["hidden/bias"])))
        out = 1 / (1 + np.exp(-(hidden @ p["out/kernel"] + p["out/bias"])))
        error = out - y
        g_out = error * (2 / len(x)) * out * (1 - out)
        g_hidden = g_out @ p["out/kernel"].T * hidden * (1 - hidden)
        grads = {
            "hidden/kernel": x.T @ g_hidden,
            "hidden/bias": g_hidden.sum(0),
            "out/kernel": hidden.T @ g_out,
            "out/bias": g_out.sum(0),
        }
        return (error * error).mean(), grads

    return step


WAYS = {
    "tiny": ("a call each step, new tensors each call", ("one",), True),
    "tiny-arrays": ("a call each step, new NumPy arrays each call", ("one",), False),
    "tiny-many": ("all steps in one call", ("many",), True),
}
for name, (way, calls, tensors) in WAYS.items():
    workload(
        name=name,
        about=f"2-2-1 sigmoid on XOR, batch 4, SGD; {way}",
        batch=4,
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
        phases=phases,
        loss="mse",
        optimizer="sgd",
        rate=0.5,
        calls=calls,
        tensors=tensors,
        check=100,
    )
