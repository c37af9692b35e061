"""Small made-up sets to learn and test with: the same numbers for the same arguments.

Inputs and real targets are float32, class labels int64. Classes alternate from example to example,
so any tail split off for validation holds all of them. Read next: `registry.py` for real data.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from chainrule.data.batches import check_whole


class Points(NamedTuple):
    """Inputs (examples, features) and class labels (examples,)."""

    x: np.ndarray
    y: np.ndarray


class Line(NamedTuple):
    """Inputs and targets of a linear regression, with the kernel and bias that made them."""

    x: np.ndarray
    y: np.ndarray
    kernel: np.ndarray
    bias: float


def xor() -> Points:
    """The four corners of the unit square; the label says whether the coordinates differ.

    >>> x, y = xor()
    >>> x.tolist(), y.tolist()
    ([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]], [0, 1, 1, 0])
    """
    x = np.array([[0, 0], [0, 1], [1, 0], [1, 1]], dtype=np.float32)
    return Points(x, np.array([0, 1, 1, 0], dtype=np.int64))


def two_moons(n: int = 200, seed: int = 0, *, noise: float = 0.1) -> Points:
    """Two interleaved half circles of radius 1 in the plane, with normal noise on both axes.

    Class 0 is (cos t, sin t), class 1 is (1 - cos t, 1/2 - sin t), t even over [0, pi].

    >>> x, y = two_moons(200, seed=0)
    >>> x.shape, x.dtype, np.bincount(y).tolist()
    ((200, 2), dtype('float32'), [100, 100])
    """
    rng = generator(n, seed)
    y = np.arange(n) % 2
    t = np.pi * rng.permutation(n) / max(n - 1, 1)
    outer = np.stack([np.cos(t), np.sin(t)], axis=1)
    inner = np.stack([1 - np.cos(t), 0.5 - np.sin(t)], axis=1)
    x = np.where(y[:, None] == 0, outer, inner) + noise * rng.standard_normal((n, 2))
    return Points(x.astype(np.float32), y.astype(np.int64))


def blobs(
    n: int = 300, seed: int = 0, *, classes: int = 3, features: int = 2, spread: float = 0.5
) -> Points:
    """Round normal clouds, one for each class, `spread` wide, centred within [-4, 4].

    >>> x, y = blobs(300, seed=0, classes=3)
    >>> x.shape, np.bincount(y).tolist()
    ((300, 2), [100, 100, 100])
    """
    rng = generator(n, seed)
    check_whole("classes", classes, 1)
    check_whole("features", features, 1)
    centres = rng.uniform(-4, 4, (classes, features))
    y = np.arange(n) % classes
    x = centres[y] + spread * rng.standard_normal((n, features))
    return Points(x.astype(np.float32), y.astype(np.int64))


def linear_regression(
    n: int = 100, seed: int = 0, *, features: int = 3, noise: float = 0.1
) -> Line:
    """y = x kernel + bias + noise, all of them standard normal times 1, 1, 1 and `noise`.

    >>> x, y, kernel, bias = linear_regression(50, seed=1, features=2, noise=0.0)
    >>> x.shape, y.shape, bool(np.allclose(x @ kernel + bias, y, atol=1e-5))
    ((50, 2), (50,), True)
    """
    rng = generator(n, seed)
    check_whole("features", features, 1)
    x = rng.standard_normal((n, features))
    kernel, bias = rng.standard_normal(features), float(rng.standard_normal())
    y = x @ kernel + bias + noise * rng.standard_normal(n)
    return Line(x.astype(np.float32), y.astype(np.float32), kernel.astype(np.float32), bias)


def generator(n: int, seed: int) -> np.random.Generator:
    """The random numbers of one set of `n` examples; ArgumentError for n or seed out of range."""
    check_whole("n", n, 1)
    check_whole("seed", seed, 0, 2**64 - 1)
    return np.random.Generator(np.random.Philox(key=np.array([seed, 0], dtype=np.uint64)))
