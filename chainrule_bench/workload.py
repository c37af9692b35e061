"""`Workload`: one training step, the same for every framework; and its least possible cost.

This file and those in `workloads/` need NumPy alone when imported. Read next:
`workloads/mlp.py`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

Arrays = dict[str, np.ndarray]
WORKLOADS: dict[str, Workload] = {}


class Phase(NamedTuple):
    """A part of a step that must end before the next begins: its least work.

    `moved` are the bytes it must read and write once, `held` the bytes among which those lie (by
    it the level of the memory is chosen), `roots` its divisions and square roots.
    """

    name: str
    flops: float
    moved: float
    held: float
    roots: float = 0


@dataclass(frozen=True, kw_only=True)
class Workload:
    """What is trained, on what, and the model as each framework's user writes it.

    `weights` are named "layer/kind" in Keras's layouts, in Keras's order; `states` likewise, for
    what a step renews without a gradient. `data` gives examples in the order they are seen, the
    batches of an epoch being slices of them. `models` holds for each framework a function of no
    arguments that gives the model, and more where it has a way of its own, as "torch-packed"; a
    framework that has none is left out of the comparison.
    `frameworks/` says of each what it expects.
    """

    name: str
    about: str
    batch: int
    weights: Callable[[np.random.Generator], Arrays]
    data: Callable[[], tuple[np.ndarray, np.ndarray]]
    models: Mapping[str, Callable[[], Any]]
    phases: Callable[[], Sequence[Phase]]
    states: Callable[[], Arrays] = dict
    loss: str = "cross-entropy"  # of logits and labels; or "mse"
    optimizer: str = "adam"  # or "sgd", "adagrad", "adamw"
    rate: float = 1e-3
    decay: float = 0  # of weights, each step times the rate; for "adamw"
    calls: tuple[str, ...] = ("one", "many")  # steps in a call, of the forms that take part
    tensors: bool = False  # whether each call gets the framework's own arrays, made beforehand
    check: int = 50  # steps whose mean loss must agree
    batches: int = 128  # that are written, and seen over and over
    tables: tuple[str, ...] = ()  # weights of which a step reads few rows, and nothing else
    # What puts a weight's rows or columns in torch's order: it keeps channels first, and has its
    # gates in an order of its own.
    in_torch_order: Mapping[str, Callable[[np.ndarray], np.ndarray]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        needed = ("name", "about", "batch", "models", "calls", "check")
        if lacking := [key for key in needed if not getattr(self, key)]:
            raise ImportError(f"workload {self.name!r} is not complete: lacks {lacking}")


def workload(**parts: Any) -> Workload:
    """Register a workload under its name; ImportError when it is not complete or the name taken."""
    made = Workload(**parts)
    if made.name in WORKLOADS:
        raise ImportError(f"two workloads are named {made.name!r}")
    WORKLOADS[made.name] = made
    return made


def he(rng: np.random.Generator, *shape: int) -> np.ndarray:
    """A kernel whose last axis is the outputs: normal, of variance 2 / (inputs of an output)."""
    scale = math.sqrt(2 / math.prod(shape[:-1]))
    return (rng.standard_normal(shape) * scale).astype(np.float32)


def normal(rng: np.random.Generator, *shape: int, scale: float) -> np.ndarray:
    """Normal numbers of that standard deviation."""
    return rng.standard_normal(shape, np.float32) * np.float32(scale)


def zeros(*shape: int) -> np.ndarray:
    """A bias."""
    return np.zeros(shape, np.float32)


def product(name: str, m: float, k: int, n: int, *, first: bool = False) -> list[Phase]:
    """A product (m, k) (k, n) forward and its gradients; the first layer's input needs none."""
    size = 4.0 * (m * k + k * n + m * n)
    ways = ("forward", "to weights") if first else ("forward", "to weights", "to inputs")
    return [Phase(f"{name} {way}", 2.0 * m * k * n, size, size) for way in ways]


def convolution(
    name: str,
    batch: int,
    extent: tuple[int, int],
    reach: int,
    channels: tuple[int, int],
    *,
    stride: int = 1,
    first: bool = False,
) -> list[Phase]:
    """A convolution of `reach` x `reach` that gives images of `extent`, and its gradients."""
    places, (c, o) = batch * extent[0] * extent[1], channels
    flops = 2.0 * places * reach * reach * c * o
    size = 4.0 * (places * stride * stride * c + reach * reach * c * o + places * o)
    ways = ("forward", "to weights") if first else ("forward", "to weights", "to inputs")
    return [Phase(f"{name} {way}", flops, size, size) for way in ways]


def passes(name: str, reads: float, writes: float, *, flops: float = 0, roots: float = 0) -> Phase:
    """Work on so many float32 numbers that only passes over them."""
    size = 4.0 * (reads + writes)
    return Phase(name, flops, size, size, roots)


def adam(count: int) -> Phase:
    """Adam on so many parameters: p, m and v read and written, g read; a division and a root."""
    return Phase("adam", 12.0 * count, 28.0 * count, 16.0 * count, 2.0 * count)


def row_adam(name: str, count: float, among: float) -> Phase:
    """Adam on so many of a table's numbers, which lie scattered `among` others."""
    return Phase(name, 12.0 * count, 28.0 * count, 16.0 * among, 2.0 * count)


def batches(x: np.ndarray, y: np.ndarray, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """The examples shuffled."""
    order = np.random.Generator(np.random.Philox(key=seed)).permutation(len(x))
    return np.ascontiguousarray(x[order]), np.ascontiguousarray(y[order])


def fashion() -> tuple[np.ndarray, np.ndarray]:
    """Fashion-MNIST's training part, (60000, 28, 28, 1) in 0 .. 1, and labels, shuffled."""
    from chainrule.data import load  # the comparing process alone asks for data

    data = load("fashion-mnist")
    images = np.asarray(data.x_train, np.float32).reshape(-1, 28, 28, 1) / 255
    return batches(images, np.asarray(data.y_train, np.int32))
