"""Random numbers: a key and an element's position give its bits, whatever tile computes it.

Read next: `composite.py`.
"""

from __future__ import annotations

import zlib
from typing import Any

import numpy as np

from chainrule.core.errors import ArgumentError, ShapeError
from chainrule.core.op import Op, Shape, Spec, register, sample
from chainrule.core.philox import philox, rounds
from chainrule.core.tensor import Tensor, as_tensor
from chainrule.ops.elementwise import cast, less, shift_op
from chainrule.ops.move import as_shape

FOLD = 0x464F4C44  # the fourth counter word of a folded key; drawn numbers have 0 there


def _words(key: np.ndarray, shape: Shape) -> np.ndarray:
    index = np.arange(int(np.prod(shape, dtype=np.int64)), dtype=np.uint64)
    low, high = index.astype(np.uint32), (index >> np.uint64(32)).astype(np.uint32)
    zero = np.zeros_like(low)
    word = philox(key[..., None, :], (low, high, zero, zero))[0]
    return word.reshape(key.shape[:-1] + tuple(shape))


def _check_key(key: Any) -> None:
    if key.dtype != np.uint32 or key.shape[-1:] != (2,):
        raise ShapeError(
            f"a random key is uint32[2], got {key.dtype}{list(key.shape)}",
            mend="cr.key(0) first, then the shape: cr.normal(cr.key(0), (2, 3))",
        )


def _infer(key: Any, shape: Shape) -> Spec:
    _check_key(key)
    return Spec(key.shape[:-1] + tuple(shape), np.dtype("uint32"))


def _infer_fold(key: Any, data: Any) -> Spec:
    _check_key(key)
    if (data.shape, data.dtype) != (key.shape[:-1], np.uint32):
        raise ShapeError(f"fold_in needs one uint32 per key, got {data.dtype}{list(data.shape)}")
    return Spec(key.shape, key.dtype)


def _plus(word: Any, constant: int) -> Any:
    return word + constant


def _body(k: Any, key: Any, index: Any) -> Any:
    zero = k.constant(0, "uint32")
    counter = (k.convert(index, "uint32"), zero, zero, zero)
    return rounds(k.multiply_wide, counter, key, _plus)[0]


_key = np.array([1, 2], np.uint32)

random_bits = register(
    Op(
        name="random_bits",
        kind="random",
        tex=r"\mathrm{bits}",
        ref=_words,
        infer=_infer,
        body=_body,
        samples=(sample(_key, shape=(3, 5)), sample(_key, shape=(40,))),
    )
)


def _fold_body(k: Any, key: Any, index: Any, data: Any) -> Any:
    zero = k.constant(0, "uint32")
    words = rounds(k.multiply_wide, (data, zero, zero, k.constant(FOLD, "uint32")), key, _plus)
    return k.select(k.less(index, 1), words[0], words[1])


fold_op = register(
    Op(
        name="fold_in",
        kind="random",
        body=_fold_body,
        tex=r"\mathrm{fold}(#1, #2)",
        ref=lambda key, data: np.stack(
            philox(key, (data, np.uint32(0), np.uint32(0), np.uint32(FOLD)))[:2], axis=-1
        ),
        infer=_infer_fold,
        linear=(),
        jvp=lambda tangents, y, *inputs: None,
        vjp=lambda g, y, key, data: (None, None),
        samples=(sample(_key, np.uint32(7)),),
    )
)


def key(seed: int) -> Tensor:
    """A random key from an integer seed, 0 <= seed < 2**64."""
    if not isinstance(seed, int) or not 0 <= seed < 1 << 64:
        raise ArgumentError(f"a seed is an integer in 0..2**64-1, got {seed!r}")
    return Tensor(np.array([seed & 0xFFFFFFFF, seed >> 32], np.uint32))


def fold_in(key: Tensor, data: Any) -> Tensor:
    """A new key from `key` and a number or a name; other data give an unrelated key."""
    if isinstance(data, str):
        data = zlib.crc32(data.encode())
    if isinstance(data, int):
        data = np.uint32(data & 0xFFFFFFFF)
    return fold_op(key, cast(as_tensor(data), "uint32"))


def uniform(key: Tensor, shape: Shape, low: float = 0.0, high: float = 1.0) -> Tensor:
    """float32 numbers drawn evenly from [low, high), in steps of 2**-24 of the range."""
    bits = random_bits(key, shape=as_shape(shape))
    unit = cast(shift_op(bits, by=8), "float32") * 2.0**-24
    return unit if (low, high) == (0.0, 1.0) else unit * (high - low) + low


def bernoulli(key: Tensor, probability: float, shape: Shape) -> Tensor:
    """bool, True with `probability`; compares integers, so every executor agrees to the bit."""
    if not 0.0 <= probability <= 1.0:
        raise ArgumentError(f"a probability lies in 0..1, got {probability}")
    bound = round(probability * 2**32)
    if bound > 0xFFFFFFFF:
        return less(random_bits(key, shape=as_shape(shape)) * 0, 1)
    return less(random_bits(key, shape=as_shape(shape)), bound)
