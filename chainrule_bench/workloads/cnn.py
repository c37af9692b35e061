"""Two convolutions, two dense layers on Fashion-MNIST, Adam, batch 128. Read next: `resnet.py`."""

from __future__ import annotations

from typing import Any

import numpy as np

from chainrule_bench.workload import (
    Arrays,
    Phase,
    adam,
    convolution,
    fashion,
    he,
    passes,
    product,
    workload,
    zeros,
)

BATCH = 128


def weights(rng: np.random.Generator) -> Arrays:
    """He-scaled kernels and zero biases."""
    return {
        "conv1/kernel": he(rng, 3, 3, 1, 32),
        "conv1/bias": zeros(32),
        "conv2/kernel": he(rng, 3, 3, 32, 64),
        "conv2/bias": zeros(64),
        "dense1/kernel": he(rng, 12 * 12 * 64, 128),
        "dense1/bias": zeros(128),
        "dense2/kernel": he(rng, 128, 10),
        "dense2/bias": zeros(10),
    }


def channels_first(kernel: np.ndarray) -> np.ndarray:
    """The rows of the dense kernel, (height, width, channels), with the channels first."""
    image = kernel.reshape(12, 12, 64, -1)
    return image.transpose(2, 0, 1, 3).reshape(kernel.shape)


def phases() -> list[Phase]:
    """Each layer forward and back; the pool reads its input and writes a quarter, and back."""
    wide = BATCH * 24 * 24 * 64
    return [
        *convolution("conv1", BATCH, (26, 26), 3, (1, 32), first=True),
        *convolution("conv2", BATCH, (24, 24), 3, (32, 64)),
        passes("pool forward", wide, wide / 4),
        passes("pool back", wide / 4, wide),
        *product("dense1", BATCH, 9216, 128),
        *product("dense2", BATCH, 128, 10),
        passes("loss", 10 * BATCH, 10 * BATCH, flops=60 * BATCH, roots=10 * BATCH),
        adam(sum(array.size for array in weights(np.random.default_rng(0)).values())),
    ]


def in_chainrule() -> Any:
    """The logits by hand."""
    import chainrule as cr

    def forward(p: Any, s: Any, x: Any) -> Any:
        for layer in ("conv1", "conv2"):
            x = cr.relu(cr.conv2d(x, p[f"{layer}/kernel"]) + p[f"{layer}/bias"])
        x = cr.reshape(cr.max_pool2d(x, 2), (x.shape[0], 9216))
        x = cr.relu(x @ p["dense1/kernel"] + p["dense1/bias"])
        return x @ p["dense2/kernel"] + p["dense2/bias"], s

    return forward


def in_layers() -> Any:
    """chainrule's model of layers."""
    import chainrule as cr
    from chainrule import nn

    return cr.Sequential(
        [
            nn.Conv2D(32, 3, activation="relu", name="conv1"),
            nn.Conv2D(64, 3, activation="relu", name="conv2"),
            nn.MaxPooling2D(2),
            nn.Flatten(),
            nn.Dense(128, activation="relu", name="dense1"),
            nn.Dense(10, name="dense2"),
        ]
    )


def in_torch() -> Any:
    """The logits, from torch's layouts."""
    from torch.nn import functional

    def forward(p: Any, s: Any, x: Any) -> Any:
        for layer in ("conv1", "conv2"):
            x = functional.relu(functional.conv2d(x, p[f"{layer}/kernel"], p[f"{layer}/bias"]))
        x = functional.max_pool2d(x, 2).flatten(1)
        x = functional.relu(functional.linear(x, p["dense1/kernel"], p["dense1/bias"]))
        return functional.linear(x, p["dense2/kernel"], p["dense2/bias"])

    return forward


def in_jax() -> Any:
    """The logits."""
    import jax
    from jax import lax

    def forward(p: Any, s: Any, x: Any) -> Any:
        for layer in ("conv1", "conv2"):
            kernel, names = p[f"{layer}/kernel"], ("NHWC", "HWIO", "NHWC")
            x = lax.conv_general_dilated(x, kernel, (1, 1), "VALID", dimension_numbers=names)
            x = jax.nn.relu(x + p[f"{layer}/bias"])
        window = (1, 2, 2, 1)
        x = lax.reduce_window(x, -jax.numpy.inf, lax.max, window, window, "VALID")
        x = jax.nn.relu(x.reshape(len(x), -1) @ p["dense1/kernel"] + p["dense1/bias"])
        return x @ p["dense2/kernel"] + p["dense2/bias"], s

    return forward


def in_keras() -> Any:
    """Keras's model of layers."""
    from keras import Input, Sequential, layers

    return Sequential(
        [
            Input((28, 28, 1)),
            layers.Conv2D(32, 3, activation="relu", name="conv1"),
            layers.Conv2D(64, 3, activation="relu", name="conv2"),
            layers.MaxPooling2D(2),
            layers.Flatten(),
            layers.Dense(128, activation="relu", name="dense1"),
            layers.Dense(10, name="dense2"),
        ]
    )


workload(
    name="cnn",
    about="conv 3x3x32, conv 3x3x64, max-pool 2, dense 128, dense 10 on Fashion-MNIST, batch 128, "
    "Adam",
    batch=BATCH,
    weights=weights,
    data=fashion,
    models={
        "chainrule": in_chainrule,
        "layers": in_layers,
        "torch": in_torch,
        "jax": in_jax,
        "keras": in_keras,
    },
    phases=phases,
    check=20,
    in_torch_order={"dense1/kernel": channels_first},
)
