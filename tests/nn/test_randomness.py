"""Seeds of initial values, and keys of what layers draw."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn

x = np.ones((8, 16), np.float32)


class Twice(nn.Module):
    """Two dropouts, the second called twice."""

    def __init__(self):
        super().__init__()
        self.one, self.two = nn.Dropout(0.5), nn.Dropout(0.5)

    def call(self, x, *, training=False):
        return [f(x, training=training) for f in (self.one, self.two, self.two)]


def masks(seed, model=None):
    with nn.random_scope(cr.key(seed)):
        return [y.numpy() for y in (model or Twice())(x, training=True)]


def test_one_key_gives_one_mask():
    for first, second in zip(masks(3), masks(3), strict=True):
        np.testing.assert_array_equal(first, second)


def test_other_keys_layers_and_calls_give_other_masks():
    found = [*masks(3), *masks(4)]
    assert len({mask.tobytes() for mask in found}) == 6


def test_masks_are_the_same_in_jit_and_follow_a_key_argument():
    model = Twice()

    @cr.jit
    def step(key, x):
        with nn.random_scope(key):
            return model(x, training=True)

    for seed in (3, 4):
        for compiled, eager in zip(step(cr.key(seed), x), masks(seed), strict=True):
            np.testing.assert_array_equal(compiled, eager)
    assert len(step.entries) == 1


def test_the_path_within_the_model_decides_not_where_it_is_called():
    class Outer(nn.Module):
        def __init__(self):
            super().__init__()
            self.one = nn.Dropout(0.5)

        def call(self, x, *, training=False):
            return [self.one(x, training=training)]

    np.testing.assert_array_equal(masks(3, Outer())[0], masks(3)[0])


def test_training_without_a_key_says_how_to_give_one():
    with pytest.raises(cr.ArgumentError, match=r"two draws random.*\n.*nn\.random_scope") as caught:
        model: Any = Twice()
        model.one = nn.Flatten(name="one")
        model(x, training=True)
    assert "two" in str(caught.value)
    with nn.random_scope(cr.key(0)):
        pass
    with pytest.raises(cr.ArgumentError, match="random_scope"):
        nn.layer_key()


def test_scopes_nest_and_end():
    with nn.random_scope(cr.key(3)):
        masks(9)
        after = [y.numpy() for y in Twice()(x, training=True)]
    np.testing.assert_array_equal(after, masks(3))


def test_seeds_nest_and_default_to_zero():
    def kernel():
        return nn.Dense(4).build_for((1, 3)).kernel.numpy()

    plain = kernel()
    with nn.seeded(0):
        np.testing.assert_array_equal(kernel(), plain)
        with nn.seeded(1):
            assert not np.array_equal(kernel(), plain)
        np.testing.assert_array_equal(kernel(), plain)


def test_other_threads_have_their_own():
    found = []

    def other():
        found.append(nn.Dense(4).build_for((1, 3)).kernel.numpy())
        with pytest.raises(cr.ArgumentError):
            nn.layer_key()

    plain = nn.Dense(4).build_for((1, 3)).kernel.numpy()
    with nn.seeded(1), nn.random_scope(cr.key(0)):
        thread = threading.Thread(target=other)
        thread.start()
        thread.join()
    np.testing.assert_array_equal(found[0], plain)
