"""Philox4x32-10 gives the words that Random123 publishes for it (its kat_vectors)."""

from __future__ import annotations

import numpy as np
import pytest

import chainrule as cr
from chainrule.core.philox import philox

KNOWN = [  # counter, key, words
    ("00000000 00000000 00000000 00000000", "00000000 00000000",
     "6627e8d5 e169c58d bc57ac4c 9b00dbd8"),
    ("ffffffff ffffffff ffffffff ffffffff", "ffffffff ffffffff",
     "408f276d 41c83b0e a20bc7c6 6d5451fd"),
    ("243f6a88 85a308d3 13198a2e 03707344", "a4093822 299f31d0",
     "d16cfe09 94fdcceb 5001e420 24126ea1"),
]  # fmt: skip


def words(text: str) -> list[int]:
    return [int(word, 16) for word in text.split()]


@pytest.mark.parametrize(("counter", "key", "expected"), KNOWN)
def test_philox_gives_the_published_words(counter, key, expected):
    found = philox(np.array(words(key), np.uint32), tuple(words(counter)))
    assert [int(word) for word in found] == words(expected)


def test_philox_of_many_counters_is_that_of_each():
    key = np.array([7, 9], np.uint32)
    low, high = np.arange(5, dtype=np.uint32), np.arange(5, 10, dtype=np.uint32)
    together = philox(key, (low, high, np.zeros(5, np.uint32), np.ones(5, np.uint32)))
    alone = [philox(key, (i, i + 5, 0, 1)) for i in range(5)]
    assert np.array_equal(np.stack(together, -1), np.stack([np.stack(a) for a in alone]))


@pytest.mark.parametrize("count", [1, 15, 64, 1001])
def test_first_random_word_is_philox_of_the_position(count):
    key = cr.key(0x299F31D0A4093822)
    assert key.numpy().tolist() == words("a4093822 299f31d0")
    positions = np.arange(count, dtype=np.uint32)
    zero = np.zeros(count, np.uint32)
    wanted = philox(key.numpy(), (positions, zero, zero, zero))[0]
    draw = lambda key: cr.ops.random.random_bits(key, shape=(count,))  # noqa: E731
    assert np.array_equal(draw(key).numpy(), wanted)
    assert np.array_equal(cr.jit(draw)(key).numpy(), wanted)
    assert np.array_equal(draw(key).numpy(), cr.ops.random.random_bits(key, shape=(count,)).numpy())


def test_random_numbers_do_not_depend_on_the_shape_they_fill():
    key = cr.key(3)
    flat = cr.uniform(key, (24,)).numpy()
    assert np.array_equal(cr.uniform(key, (2, 3, 4)).numpy().ravel(), flat)
    assert np.array_equal(cr.uniform(key, (10,)).numpy(), flat[:10])


def test_folded_keys_differ_from_each_other_and_from_their_source():
    key = cr.key(0)
    made = [cr.fold_in(key, data) for data in (0, 1, 2, "a", "b", 2**31)]
    made += [cr.fold_in(made[0], 0), key]
    assert len({tuple(k.numpy().tolist()) for k in made}) == len(made)


def test_uniform_fills_its_range_evenly():
    x = cr.uniform(cr.key(1), (40_000,), -1.0, 3.0).numpy()
    assert x.dtype == np.float32 and x.min() >= -1 and x.max() < 3
    counts = np.histogram(x, 20, (-1, 3))[0]
    assert np.abs(counts - 2000).max() < 5 * np.sqrt(2000)


@pytest.mark.parametrize("probability", [0.0, 0.25, 1.0])
def test_bernoulli_has_its_probability(probability):
    hits = cr.bernoulli(cr.key(2), probability, (40_000,)).numpy()
    assert hits.dtype == bool
    assert abs(hits.mean() - probability) <= 5 * np.sqrt(probability * (1 - probability) / 40_000)


@pytest.mark.parametrize("seed", [-1, 2**64, 1.5, "a"])
def test_seed_out_of_range_is_refused(seed):
    with pytest.raises(cr.ArgumentError, match="a seed is an integer"):
        cr.key(seed)
