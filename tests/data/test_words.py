"""Words, n-grams and vocabularies."""

import numpy as np
import pytest

from chainrule.core.errors import DataError
from chainrule.data.words import Vocabulary, ngrams, split_words


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", []),
        (" ... -- ,;", []),
        ("Don't STOP", ["don't", "stop"]),
        ("'quoted' it’s", ["quoted", "it’s"]),
        ("two_words 1990s", ["two", "words", "1990s"]),
        ("好书book！", ["好", "书", "book", "！"]),
        ("café\nЯблоко", ["café", "яблоко"]),
    ],
)
def test_words_of_any_script(text, words):
    assert split_words(text) == words


def test_ngrams_are_all_runs_in_the_order_of_their_ends():
    words = list("abcd")
    found = ngrams(words, 3)
    assert found == ["a", "b", "a b", "c", "b c", "a b c", "d", "c d", "b c d"]
    assert ngrams(words, 1) == words and ngrams([], 2) == []


def test_vocabulary_counts_texts_not_words():
    texts = ["a a a a", "b c", "b d", "c b"]
    assert Vocabulary.of(texts).entries == ("b", "c", "a", "d")
    assert Vocabulary.of(texts, least=2).entries == ("b", "c")
    assert Vocabulary.of(texts, most=1).entries == ("b",)
    assert Vocabulary.of(reversed(texts)).entries == Vocabulary.of(texts).entries


def test_vocabulary_of_nothing_is_refused():
    with pytest.raises(DataError, match="no word stands in 2 texts"):
        Vocabulary.of(["a b", "c"], least=2)


def test_encoding_keeps_the_order_and_drops_what_is_unknown():
    vocabulary = Vocabulary(("so", "good", "so good"), longest=2)
    found = vocabulary.encode(["SO very so good", "", "good good good good good"], length=4)
    assert found.dtype == np.int64
    assert found.tolist() == [[1, 1, 2, 3], [0, 0, 0, 0], [2, 2, 2, 2]]
    assert vocabulary.known("so good, so bad") == [1, 2, 3, 1]
