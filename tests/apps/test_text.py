"""Texts: which part each goes to, and what has no class."""

import numpy as np

from chainrule.apps.text import RECIPES, new, signed, split
from chainrule.data.registry import Examples


def examples(count: int = 40) -> Examples:
    texts = [f"text number {i}" for i in range(count)]
    ratings = np.array([(-1) ** i * (1 + i / 10) for i in range(count)], dtype=np.float32)
    held = np.arange(count) % 5 == 0
    train = [text for text, out in zip(texts, held) if not out]
    test = [text for text, out in zip(texts, held) if out]
    return Examples(train, ratings[~held], test, ratings[held])


def test_rating_becomes_its_sign_and_neutral_ones_are_left_out():
    found, labels, neutral = signed(["a", "b", "c"], np.array([0.1, 0.0, -3], dtype=np.float32))
    assert (found, labels.tolist(), neutral) == (["a", "c"], [1, 0], 1)
    assert labels.dtype == np.int64
    kept, labels, neutral = signed(["a", "b"], np.array([0, 1]))
    assert (kept, labels.tolist(), neutral) == (["a", "b"], [0, 1], 0)  # 0 is a label here


def test_no_words_stand_in_two_parts():
    given = examples()
    again = Examples(
        [*given.x_train, "Text, NUMBER 5", "text number 0", "neutral"],
        np.append(given.y_train, np.float32([1, -1, 0])),
        given.x_test,
        given.y_test,
    )
    parts = split(again, 0.25)
    three = (parts.training, parts.validation, parts.test)
    keys = [set(part.x) for part in three]
    assert sum(map(len, keys)) == len(set.union(*keys)) == 40
    assert "1 neutral texts" in parts.told and "2 texts are left out" in parts.told
    for part in three:
        assert [int(text.split()[-1]) % 2 for text in part.x] == (1 - part.y).tolist()


def test_vocabulary_is_that_of_the_training_part():
    parts = split(examples(), 0.25)
    recipe = RECIPES["movie-snippets"][0]
    learner = new("movie-snippets", recipe, examples(), parts, seed=0)
    trained = {word for text in parts.training.x for word in text.split()}
    words = set(" ".join(learner.vocabulary.entries).split())
    assert words <= trained and "number" in words
    assert learner.classes == ("negative", "positive")
    assert learner.inputs(parts.test.x).shape == (8, recipe.reading["length"])
