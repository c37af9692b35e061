"""Ratings: the split, the net and its rivals."""

import numpy as np

from chainrule.apps.baselines import bias_only, fit_biases, root_mean_square
from chainrule.apps.makers import make_model
from chainrule.apps.recommend import split
from chainrule.data.registry import Examples

PLAIN = {"users": 4, "items": 5, "size": 3, "mean": 3.5, "l2": 0.0, "bias_l2": 0.0}


def draw(count: int, seed: int) -> np.ndarray:
    rng = np.random.Generator(np.random.Philox(key=[seed, 0]))
    return np.stack([rng.integers(0, 20, count), rng.integers(0, 30, count)], axis=1)


def test_parts_are_all_ratings_each_in_one_part():
    pairs = np.stack(np.divmod(np.arange(1000), 40), axis=1)
    stars = np.arange(1000, dtype=np.float32)
    parts = split(Examples(pairs[:700], stars[:700], pairs[700:], stars[700:]), 0.1)
    assert parts.sizes() == {"training": 800, "validation": 100, "test": 100}
    three = (parts.training, parts.validation, parts.test)
    assert sorted(np.concatenate([part.y for part in three])) == stars.tolist()
    for part in three:
        assert np.array_equal(part.x[:, 0] * 40 + part.x[:, 1], part.y)
    assert 0 < np.mean(parts.test.y >= 700) < 1  # of both halves of the data


def test_rating_is_mean_biases_and_product_of_vectors():
    model = make_model("factors", PLAIN, (2,), seed=3, task="recommend")
    weights = model.get_weights()
    rng = np.random.Generator(np.random.Philox(key=[5, 0]))
    weights = {name: rng.normal(size=w.shape).astype(np.float32) for name, w in weights.items()}
    model.set_weights(weights)
    users, items, own, theirs = (
        weights[f"factors/{name}/embeddings"]
        for name in ("users", "items", "user_bias", "item_bias")
    )
    pairs = np.array([[0, 0], [3, 4], [3, 0]])
    expected = [3.5 + own[u, 0] + theirs[i, 0] + users[u] @ items[i] for u, i in pairs]
    assert np.allclose(model.predict(pairs), expected, atol=1e-5)


def test_biases_solve_their_normal_equations():
    pairs = draw(600, 1)
    gaps = np.random.Generator(np.random.Philox(key=[2, 0])).normal(size=600)
    users, items = fit_biases(pairs, gaps, 3.0, (19, 29))
    left = gaps - users[pairs[:, 0]] - items[pairs[:, 1]]
    assert np.allclose(np.bincount(pairs[:, 0], left, 20), 3.0 * users, atol=1e-9)
    assert np.allclose(np.bincount(pairs[:, 1], left, 30), 3.0 * items, atol=1e-3)


def test_bias_only_finds_biases_and_stays_in_range():
    rng = np.random.Generator(np.random.Philox(key=[9, 0]))
    users, items = rng.normal(size=20), rng.normal(size=30)

    def rated(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
        pairs = draw(count, seed)
        return pairs, 3 + users[pairs[:, 0]] + items[pairs[:, 1]]

    training, validation, test = rated(3000, 1), rated(300, 2), rated(300, 3)
    spread = root_mean_square(test[1] - training[1].mean())
    assert bias_only(training, validation, test) < 0.05 * spread
    beyond = (test[0], np.full(300, training[1].max() + 1))
    assert bias_only(training, validation, beyond) >= 1
