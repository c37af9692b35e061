"""The text baseline against dense linear algebra."""

import math

import numpy as np

from chainrule.apps import tfidf
from chainrule.apps.tasks import Part
from chainrule.apps.tfidf import counted, ridge_weights, tfidf_linear
from chainrule.data.words import Vocabulary


def dense(rows) -> np.ndarray:
    full = np.zeros((rows.height, rows.width))
    np.add.at(full, (rows.places, rows.columns), rows.values)
    return full


def test_weights_are_those_of_the_formula():
    vocabulary = Vocabulary(("b", "a"), longest=1)
    rows = counted(["a b a", "c", "b"], vocabulary)
    expected = [[1, 1 + math.log(2)], [0, 0], [1, 0]]
    assert np.allclose(dense(rows), expected)
    weighted = dense(rows.weighted(np.array([3.0, 1.0])))
    first = np.array([3.0, 1 + math.log(2)])
    assert np.allclose(weighted, [first / np.linalg.norm(first), [0, 0], [1, 0]])


def test_ridge_equals_the_normal_equations():
    rng = np.random.Generator(np.random.Philox(key=[1, 2]))
    words = np.array(list("abcdefghij"))
    texts = [" ".join(rng.choice(words, 6)) for _ in range(40)]
    rows = counted(texts, Vocabulary.of(texts, longest=1)).weighted(np.ones(10))
    targets = rng.normal(size=40)
    x = dense(rows)
    expected = np.linalg.solve(x.T @ x + 0.5 * np.eye(10), x.T @ targets)
    assert np.allclose(ridge_weights(rows, targets, 0.5), expected, atol=1e-9)
    assert not ridge_weights(rows, np.zeros(40), 0.5).any()


def test_ridge_is_chosen_on_validation_and_test_is_only_judged(monkeypatch):
    training = Part(["good film", "bad film", "good", "bad"] * 5, np.array([1, 0, 1, 0] * 5))
    validation = Part(["good", "bad"], np.array([1, 0]))
    test = Part(["a good one", "unheard of", "so bad"], np.array([1, 0, 0]))
    assert tfidf_linear(training, validation, test) == 1.0
    asked = []
    monkeypatch.setattr(tfidf, "RIDGES", (0.1, 1e9))
    monkeypatch.setattr(
        tfidf, "ridge_weights", lambda *given: asked.append(given[2]) or ridge_weights(*given)
    )
    tfidf_linear(training, validation, test)
    assert asked == [0.1, 1e9]
