"""ResNet-8 with batch normalisation on 32x32x3 images, Adam, batch 64.

A stem of 16 channels, three blocks of 16, 32 and 64, the last two with stride 2 and a 1x1
convolution past them, the mean over places, a dense layer. Margins are one on each side, also
where the stride is 2. The images are made up: a pattern for each of ten classes, and noise.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from chainrule_bench.workload import (
    Arrays,
    Phase,
    adam,
    convolution,
    he,
    passes,
    product,
    workload,
    zeros,
)

BATCH = 64
CONVS = {  # name: extent of the output, kernel, channels in and out, stride
    "stem": (32, 3, 3, 16, 1),
    "a1": (32, 3, 16, 16, 1),
    "a2": (32, 3, 16, 16, 1),
    "b1": (16, 3, 16, 32, 2),
    "b2": (16, 3, 32, 32, 1),
    "b0": (16, 1, 16, 32, 2),
    "c1": (8, 3, 32, 64, 2),
    "c2": (8, 3, 64, 64, 1),
    "c0": (8, 1, 32, 64, 2),
}
NORMS = {f"{name}_norm": conv[3] for name, conv in CONVS.items() if not name.endswith("0")}
EPSILON, MOMENTUM = 1e-3, 0.99


def network(x: Any, conv: Callable, norm: Callable, relu: Callable, head: Callable) -> Any:
    """The net of a framework's pieces: `conv(x, name)`, `norm(x, name)`, `relu(x)`, `head(x)`."""
    x = relu(norm(conv(x, "stem"), "stem_norm"))
    for block in "abc":
        way = relu(norm(conv(x, f"{block}1"), f"{block}1_norm"))
        way = norm(conv(way, f"{block}2"), f"{block}2_norm")
        x = relu(way + (x if block == "a" else conv(x, f"{block}0")))
    return head(x)


def margin(name: str) -> int:
    """Rows and columns of zeros around a convolution's input."""
    return CONVS[name][1] // 2


def weights(rng: np.random.Generator) -> Arrays:
    """He-scaled kernels; normalisation starts as the identity."""
    found = {f"{name}/kernel": he(rng, k, k, c, o) for name, (_, k, c, o, _) in CONVS.items()}
    for name, width in NORMS.items():
        found |= {f"{name}/gamma": np.ones(width, np.float32), f"{name}/beta": zeros(width)}
    return found | {"dense/kernel": he(rng, 64, 10), "dense/bias": zeros(10)}


def states() -> Arrays:
    """The moving mean and variance of each normalisation."""
    found: Arrays = {}
    for name, width in NORMS.items():
        found |= {f"{name}/moving_mean": zeros(width)}
        found |= {f"{name}/moving_variance": np.ones(width, np.float32)}
    return found


def data() -> tuple[np.ndarray, np.ndarray]:
    """4,096 images."""
    rng = np.random.Generator(np.random.Philox(key=8))
    y = rng.integers(0, 10, 4096, dtype=np.int32)
    patterns = rng.standard_normal((10, 32, 32, 3))
    noise = rng.standard_normal((4096, 32, 32, 3), dtype=np.float32)
    return (0.3 * patterns[y] + noise).astype(np.float32), y


def phases() -> list[Phase]:
    """Convolutions with their gradients; each normalisation reads twice and writes, twice back."""
    found = []
    for name, (extent, reach, c, o, stride) in CONVS.items():
        size, first = (extent, extent), name == "stem"
        found += convolution(name, BATCH, size, reach, (c, o), stride=stride, first=first)
    for name, width in NORMS.items():
        count = BATCH * CONVS[name.removesuffix("_norm")][0] ** 2 * width
        found.append(passes(f"{name} forward", 2 * count, count, roots=2 * width))
        found.append(passes(f"{name} back", 4 * count, count, roots=width))
    total = sum(array.size for array in weights(np.random.default_rng(0)).values())
    return [*found, *product("dense", BATCH, 64, 10), adam(total)]


def in_chainrule() -> Any:
    """The logits and the renewed states, by hand."""
    import chainrule as cr

    def forward(p: Any, s: Any, x: Any) -> Any:
        s = dict(s)

        def conv(x: Any, name: str) -> Any:
            padding = ((margin(name),) * 2,) * 2
            return cr.conv2d(x, p[f"{name}/kernel"], CONVS[name][-1], padding)

        def norm(x: Any, name: str) -> Any:
            center, spread = cr.mean(x, axis=(0, 1, 2)), cr.var(x, axis=(0, 1, 2))
            for kind, now in (("mean", center), ("variance", spread)):
                was = s[f"{name}/moving_{kind}"]
                s[f"{name}/moving_{kind}"] = was * MOMENTUM + cr.stop_gradient(now) * (1 - MOMENTUM)
            scale = p[f"{name}/gamma"] / cr.sqrt(spread + EPSILON)
            return (x - center) * scale + p[f"{name}/beta"]

        def head(x: Any) -> Any:
            return cr.mean(x, axis=(1, 2)) @ p["dense/kernel"] + p["dense/bias"]

        return network(x, conv, norm, cr.relu, head), s

    return forward


def in_layers() -> Any:
    """chainrule's model of layers."""
    import chainrule as cr
    from chainrule import nn

    class ResNet(cr.Model):
        def __init__(self) -> None:
            super().__init__()
            self.convs = {
                name: nn.Conv2D(o, k, stride, ((k // 2,) * 2,) * 2, use_bias=False, name=name)
                for name, (_, k, _, o, stride) in CONVS.items()
            }
            self.norms = {name: nn.BatchNormalization(name=name) for name in NORMS}
            self.pool, self.dense = nn.GlobalAveragePooling2D(), nn.Dense(10, name="dense")

        def call(self, x: Any, *, training: bool = False) -> Any:
            return network(
                x,
                lambda x, name: self.convs[name](x),
                lambda x, name: self.norms[name](x, training=training),
                cr.relu,
                lambda x: self.dense(self.pool(x)),
            )

    return ResNet()


def in_torch() -> Any:
    """The logits, from torch's layouts; the states are renewed in place."""
    from torch.nn import functional

    def forward(p: Any, s: Any, x: Any) -> Any:
        def conv(x: Any, name: str) -> Any:
            kernel = p[f"{name}/kernel"]
            return functional.conv2d(x, kernel, None, CONVS[name][-1], margin(name))

        def norm(x: Any, name: str) -> Any:
            moving = s[f"{name}/moving_mean"], s[f"{name}/moving_variance"]
            affine = p[f"{name}/gamma"], p[f"{name}/beta"]
            return functional.batch_norm(x, *moving, *affine, True, 1 - MOMENTUM, EPSILON)

        def head(x: Any) -> Any:
            return functional.linear(x.mean((2, 3)), p["dense/kernel"], p["dense/bias"])

        return network(x, conv, norm, functional.relu, head)

    return forward


def in_jax() -> Any:
    """The logits and the renewed states."""
    import jax
    from jax import lax

    def forward(p: Any, s: Any, x: Any) -> Any:
        s = dict(s)

        def conv(x: Any, name: str) -> Any:
            kernel, names = p[f"{name}/kernel"], ("NHWC", "HWIO", "NHWC")
            stride, padding = (CONVS[name][-1],) * 2, [(margin(name),) * 2] * 2
            return lax.conv_general_dilated(x, kernel, stride, padding, dimension_numbers=names)

        def norm(x: Any, name: str) -> Any:
            center, spread = x.mean((0, 1, 2)), x.var((0, 1, 2))
            for kind, now in (("mean", center), ("variance", spread)):
                was = s[f"{name}/moving_{kind}"]
                s[f"{name}/moving_{kind}"] = MOMENTUM * was + (1 - MOMENTUM) * now
            scale = p[f"{name}/gamma"] * lax.rsqrt(spread + EPSILON)
            return (x - center) * scale + p[f"{name}/beta"]

        def head(x: Any) -> Any:
            return x.mean((1, 2)) @ p["dense/kernel"] + p["dense/bias"]

        return network(x, conv, norm, jax.nn.relu, head), s

    return forward


def in_keras() -> Any:
    """Keras's model of layers; its "same" has other margins where the stride is 2."""
    from keras import Input, Model, layers

    def conv(x: Any, name: str) -> Any:
        _, reach, _, filters, stride = CONVS[name]
        padding = "same"
        if stride > 1:
            padding, x = "valid", layers.ZeroPadding2D(margin(name))(x) if margin(name) else x
        settings = dict(strides=stride, padding=padding, use_bias=False, name=name)
        return layers.Conv2D(filters, reach, **settings)(x)

    def norm(x: Any, name: str) -> Any:
        return layers.BatchNormalization(momentum=MOMENTUM, epsilon=EPSILON, name=name)(x)

    def head(x: Any) -> Any:
        return layers.Dense(10, name="dense")(layers.GlobalAveragePooling2D()(x))

    x = Input((32, 32, 3))
    return Model(x, network(x, conv, norm, layers.ReLU(), head))


workload(
    name="resnet",
    about="ResNet-8 with batch normalisation, 32x32x3, batch 64, Adam",
    batch=BATCH,
    weights=weights,
    states=states,
    data=data,
    models={
        "chainrule": in_chainrule,
        "layers": in_layers,
        "torch": in_torch,
        "jax": in_jax,
        "keras": in_keras,
    },
    phases=phases,
    check=10,
)
