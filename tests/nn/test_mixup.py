"""`MixUp`: the shares it mixes by, its native code, and its place in a training step."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn
from chainrule.compile.plan import Code
from chainrule.nn.mixup import symmetric_beta

RNG = np.random.default_rng(0)
X = RNG.normal(size=(8, 4, 3)).astype(np.float32)
Y = np.eye(8, dtype=np.float32)


def mixed(pair: Any, alpha: float = 0.4, seed: int = 0) -> Any:
    with nn.random_scope(cr.key(seed)):
        return nn.MixUp(alpha)(pair, training=True)


def test_labels_and_examples_are_mixed_alike():
    for seed in range(5):
        x, y = mixed((X, Y), seed=seed)
        shares = y.numpy()
        np.testing.assert_allclose(x, np.einsum("ij,jhc->ihc", shares, X), atol=1e-6)
        np.testing.assert_allclose(shares.sum(axis=1), 1, atol=1e-6)
        others = {(np.argmax(row * (np.arange(8) != i)) - i) % 8 for i, row in enumerate(shares)}
        assert len(others) == 1 and others != {0}


def test_dicts_and_gaps_are_kept():
    (x, y), (alone, _) = mixed(({"a": X, "b": X * 2}, (None, Y))), mixed((X, Y))
    np.testing.assert_array_equal(x["a"], alone)
    np.testing.assert_allclose(x["b"], alone * 2)
    assert y[0] is None and y[1].shape == (8, 8)


def test_without_training_a_pair_stays():
    x, y = nn.MixUp()((X, np.arange(8)))
    assert np.array_equal(x, X) and np.array_equal(y, np.arange(8))


@pytest.mark.parametrize("alpha", [0.05, 0.2, 0.5, 1.0, 3.0])
def test_shares_have_the_moments_of_their_distribution(alpha):
    found = symmetric_beta(cr.key(2), (100_000,), alpha).numpy().astype(np.float64)
    assert found.min() >= 0 and found.max() <= 1
    assert found.mean() == pytest.approx(0.5, abs=0.005)
    for power in (2, 4, 6):
        wanted = math.exp(
            math.lgamma(alpha + power)
            - math.lgamma(alpha)
            + math.lgamma(2 * alpha)
            - math.lgamma(2 * alpha + power)
        )
        assert (found**power).mean() == pytest.approx(wanted, rel=0.02)


def test_machine_code_mixes_within_two_ulp_of_the_largest():
    def step(pair, key):
        with nn.random_scope(key):
            return nn.MixUp(0.4)(pair, training=True)

    compiled = cr.jit(step)
    for seed in range(5):
        for exact, found in zip(mixed((X, Y), seed=seed), compiled((X, Y), cr.key(seed))):
            at_most = 2 * np.spacing(np.abs(exact.numpy()).max())
            np.testing.assert_allclose(found, exact, rtol=0, atol=at_most)
    (entry,) = compiled.entries.values()
    assert all(isinstance(segment, Code) for segment in entry.program.native.plan.segments)


@pytest.mark.parametrize("count", [0, 1, 2])
def test_batches_of_few_examples_are_mixed(count):
    x, y = mixed((X[:count], Y[:count]))
    np.testing.assert_allclose(x, np.einsum("ij,jhc->ihc", y, X), atol=1e-6)


def test_what_cannot_be_mixed_is_refused():
    with pytest.raises(cr.DtypeError, match="got int64") as caught:
        mixed((X, np.arange(8)))
    assert "one_hot" in str(caught.value)
    with pytest.raises(cr.ShapeError, match="as many labels as examples"):
        mixed((X, Y[:5]))
    with pytest.raises(cr.ArgumentError, match="alpha must be above 0"):
        nn.MixUp(0)


class Kept(nn.Module):
    """Keeps what it was called with, shapes and dtypes."""

    untracked = ("seen",)

    def __init__(self):
        super().__init__()
        self.seen: list = []

    def call(self, pair: Any, *, training: bool = False) -> Any:
        self.seen.append((training, *((each.shape, str(each.dtype)) for each in pair)))
        return pair


def problem() -> tuple[np.ndarray, np.ndarray]:
    y = RNG.integers(0, 3, 192)
    return (RNG.normal(size=(192, 5)) + 2 * np.eye(3, 5)[y]).astype(np.float32), y


def fitted(augment: Any, y: Any, loss: str) -> tuple[Any, Any]:
    model = cr.Sequential([nn.Dense(8, "relu"), nn.Dense(3)], seed=3)
    model.compile(cr.optim.Adam(0.01), loss, ["accuracy"], augment=augment)
    return model, model.fit(PROBLEM[0], y, epochs=8, verbose=0)


PROBLEM = problem()


def test_fit_trains_on_mixed_pairs():
    y = np.eye(3, dtype=np.float32)[PROBLEM[1]]
    plain, first = fitted(None, y, "categorical_crossentropy")
    model, history = fitted(nn.MixUp(1.0), y, "categorical_crossentropy")
    assert history.history["loss"][-1] > first.history["loss"][-1]
    judged, exact = (m.evaluate(PROBLEM[0], y) for m in (model, plain))
    assert judged["accuracy"] > exact["accuracy"] - 0.05
    assert history.history["loss"][-1] > 1.5 * judged["loss"]  # only training is mixed


def test_a_pair_that_stays_trains_as_without():
    kept = Kept()
    _, with_it = fitted(kept, PROBLEM[1], "sparse_categorical_crossentropy")
    _, without = fitted(None, PROBLEM[1], "sparse_categorical_crossentropy")
    assert with_it.history == without.history
    assert kept.seen and all(training for training, *_ in kept.seen)
    assert {x for _, x, _ in kept.seen} == {((32, 5), "float32")}


def test_the_step_of_mixed_labels_says_what_they_must_be():
    with pytest.raises(cr.DtypeError, match="mix_up: MixUp mixes numbers, and got int64"):
        fitted(nn.MixUp(), PROBLEM[1], "sparse_categorical_crossentropy")
    with pytest.raises(cr.ArgumentError, match="augment is a layer of the pair"):
        fitted(lambda x, y: (x, y), PROBLEM[1], "sparse_categorical_crossentropy")
    with pytest.raises(cr.ArgumentError, match="flatten is to give the pair"):
        fitted(OnlyFirst(name="flatten"), PROBLEM[1], "sparse_categorical_crossentropy")


class OnlyFirst(nn.Module):
    """Forgets the labels."""

    def call(self, pair: Any) -> Any:
        return pair[0]
