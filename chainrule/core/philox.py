r"""Philox4x32-10, a counter-based generator: a key and a position give the bits.

Source: Salmon, Moraes, Dror, Shaw, "Parallel random numbers: as easy as 1, 2, 3", SC 2011,
section 3.3 and table 2. Written over any words that know * ^ and shifts, so the NumPy
reference and the compiled kernels run this same text. Read next: `chainrule/ops/random.py`.
"""

from __future__ import annotations

from typing import Any

import numpy as np

MULTIPLIERS = (0xD2511F53, 0xCD9E8D57)
WEYL = (0x9E3779B9, 0xBB67AE85)
ROUNDS = 10


def rounds(multiply: Any, counter: Any, key: Any, add: Any) -> Any:
    """Ten rounds over four counter words; `multiply(word, constant)` gives (high, low)."""
    c0, c1, c2, c3 = counter
    k0, k1 = key
    for step in range(ROUNDS):
        high0, low0 = multiply(c0, MULTIPLIERS[0])
        high1, low1 = multiply(c2, MULTIPLIERS[1])
        c0, c1, c2, c3 = high1 ^ c1 ^ k0, low1, high0 ^ c3 ^ k1, low0
        if step < ROUNDS - 1:
            k0, k1 = add(k0, WEYL[0]), add(k1, WEYL[1])
    return c0, c1, c2, c3


def _multiply(word: np.ndarray, constant: int) -> tuple[np.ndarray, np.ndarray]:
    product = word.astype(np.uint64) * np.uint64(constant)
    return (product >> np.uint64(32)).astype(np.uint32), product.astype(np.uint32)


def _add(word: np.ndarray, constant: int) -> np.ndarray:
    return (word.astype(np.uint64) + np.uint64(constant)).astype(np.uint32)


def philox(key: np.ndarray, counter: tuple) -> tuple:
    """The four output words for `key` (..., 2) and four counter words, all uint32."""
    words = tuple(np.asarray(word, np.uint32) for word in counter)
    return rounds(_multiply, words, (key[..., 0], key[..., 1]), _add)
