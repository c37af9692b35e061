"""The rating set: movielens-100k, who gave which film how many stars.

Needs `registry.py`. It may not be redistributed, so it is fetched and never shipped; licences:
`LICENSES.md`. Read next: `batches.py`.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from chainrule.data.registry import Dataset, Examples, register
from chainrule.data.sources import File, PyPI


def latest_fifth(users: np.ndarray, times: np.ndarray) -> np.ndarray:
    """True for the latest fifth, rounded down, of each user's ratings; at one time, file order.

    >>> latest_fifth(np.array([7] * 5 + [8] * 4), np.array([1, 5, 2, 3, 4, 9, 9, 9, 9]))
    array([False,  True, False, False, False, False, False, False, False])
    """
    order = np.lexsort((times, users))
    _, first, count = np.unique(users[order], return_index=True, return_counts=True)
    place = np.arange(len(users)) - np.repeat(first, count)
    held = np.zeros(len(users), dtype=bool)
    held[order] = place >= np.repeat(count - count // 5, count)
    return held


def read_ratings(folder: Path) -> Examples:
    """Inputs are int64 pairs (user, film) from 0, targets float32 stars 1 to 5.

    Held out is each user's `latest_fifth`: a model is asked for what came after what it has seen.
    `extra["titles"]` names the films in the order of their numbers.
    """
    table = np.loadtxt(folder / "ml-100k.inter", dtype=np.int64, skiprows=1, delimiter="\t")
    x, y = table[:, :2] - 1, table[:, 2].astype(np.float32)
    held = latest_fifth(table[:, 0], table[:, 3])
    rows = (folder / "ml-100k.item").read_text(encoding="utf-8").splitlines()[1:]
    titles = tuple(row.split("\t")[1] for row in rows)
    return Examples(x[~held], y[~held], x[held], y[held], extra={"titles": titles})


movielens_100k = register(
    Dataset(
        name="movielens-100k",
        about="100,000 ratings, 1 to 5 stars, by 943 users of 1,682 films",
        licence="GroupLens: research use, no redistribution",
        files=(
            File(
                "ml-100k.inter",
                1_979_230,
                "4edb74e2a81178c2ba9ff381495f754f996c4aea351b1272ca36b43da0935eff",
            ),
            File(
                "ml-100k.item",
                66_632,
                "51d7cdf777ce5c0f5b32c1d947a4a81fe07d75e78abbe761e0cd4d0756064532",
            ),
        ),
        read=read_ratings,
        sources=(
            PyPI(
                "recbole",
                "1.2.1",
                "wheel",
                "9c9948202011f37eb0a7c6768129313f00d6403ad221ec940d5e2d5d5f33a407",
                within=("recbole/dataset_example/ml-100k/",),
            ),
        ),
    )
)
