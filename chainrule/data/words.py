"""Text as numbers: words, runs of words (n-grams), and the vocabulary that numbers them.

Read next: `ratings.py`.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from chainrule.core.errors import DataError

# Chinese is written without spaces, so each of its characters is a word; ! and ? carry sentiment.
HAN = "\u3400-\u4dbf\u4e00-\u9fff"
WORD = re.compile(rf"[{HAN}]|[^\W_{HAN}]+(?:['’][^\W_{HAN}]+)*|[!?！？]")


def split_words(text: str) -> list[str]:
    """The words of `text` in lower case; a Chinese character is a word, and so are ! and ?.

    >>> split_words("It isn't DULL: 很好!")
    ['it', "isn't", 'dull', '很', '好', '!']
    """
    return WORD.findall(text.lower())


def ngrams(words: Sequence[str], longest: int) -> list[str]:
    """Each run of 1 to `longest` words, in the order in which the runs end.

    >>> ngrams(["not", "so", "good"], 2)
    ['not', 'so', 'not so', 'good', 'so good']
    """
    return [
        " ".join(words[end - size : end])
        for end in range(1, len(words) + 1)
        for size in range(1, min(longest, end) + 1)
    ]


@dataclass(frozen=True)
class Vocabulary:
    """The n-grams that have a number: the first is 1, and 0 is padding.

    >>> vocabulary = Vocabulary.of(["good", "not good", "not so"], longest=2)
    >>> vocabulary.entries
    ('good', 'not', 'not good', 'not so', 'so')
    >>> vocabulary.encode(["so good", "bad"], length=3)
    array([[5, 1, 0],
           [0, 0, 0]])
    """

    entries: tuple[str, ...]
    longest: int

    @classmethod
    def of(
        cls, texts: Iterable[str], *, longest: int = 1, least: int = 1, most: int | None = None
    ) -> Vocabulary:
        """The `most` n-grams that stand in the greatest number of `texts`, and in `least` or more.

        Those of equal number are in the order of their characters. DataError where none is left.
        """
        counts: Counter[str] = Counter()
        for text in texts:
            counts.update(set(ngrams(split_words(text), longest)))
        found = sorted(gram for gram, count in counts.items() if count >= least)
        found.sort(key=counts.__getitem__, reverse=True)
        if not found:
            raise DataError(
                f"no word stands in {least} texts or more", mend="more texts, or a smaller `least`"
            )
        return cls(tuple(found[:most]), longest)

    @cached_property
    def numbers(self) -> dict[str, int]:
        """The number of each n-gram."""
        return {gram: i for i, gram in enumerate(self.entries, start=1)}

    def known(self, text: str) -> list[int]:
        """The numbers of the n-grams of `text` that have one, in the order of `ngrams`."""
        found = map(self.numbers.get, ngrams(split_words(text), self.longest))
        return [i for i in found if i is not None]

    def encode(self, texts: Sequence[str], length: int) -> np.ndarray:
        """int64 (texts, length): the first `length` known n-grams of each, then zeros."""
        rows = np.zeros((len(texts), length), dtype=np.int64)
        for row, text in zip(rows, texts, strict=True):
            found = self.known(text)[:length]
            row[: len(found)] = found
        return rows
