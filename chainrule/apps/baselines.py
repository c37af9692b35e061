"""What any model must beat: predictions that need no training loop. Read next: `tfidf.py`."""

from __future__ import annotations

import numpy as np


def majority(y_train: np.ndarray, y_test: np.ndarray) -> float:
    """Accuracy of always giving the class that is most frequent in training.

    >>> majority(np.array([0, 1, 1]), np.array([1, 1, 0, 1]))
    0.75
    """
    return float(np.mean(y_test == np.bincount(y_train).argmax()))


def nearest_centroid(
    x_train: np.ndarray, y_train: np.ndarray, x_test: np.ndarray, y_test: np.ndarray
) -> float:
    """Accuracy of giving the class whose mean training example is nearest.

    |x - c|^2 = |x|^2 - 2 x.c + |c|^2, and |x|^2 is the same for every class.

    >>> x, y = np.array([[0.0], [1.0], [9.0]]), np.array([0, 0, 1])
    >>> nearest_centroid(x, y, np.array([[2.0], [4.0], [6.0]]), np.array([0, 0, 0]))
    0.6666666666666666
    """
    labels = np.unique(y_train)
    flat, tested = x_train.reshape(len(x_train), -1), x_test.reshape(len(x_test), -1)
    centres = np.stack([flat[y_train == label].mean(axis=0) for label in labels])
    scores = tested @ centres.T - (centres * centres).sum(axis=1) / 2
    return float(np.mean(labels[scores.argmax(axis=1)] == y_test))


def root_mean_square(gaps: np.ndarray) -> float:
    """The root of the mean of the squares.

    >>> root_mean_square(np.array([3.0, 4.0, 0.0, 0.0]))
    2.5
    """
    return float(np.sqrt(np.mean(gaps * gaps)))


RIDGES = (1.0, 3.0, 5.0, 8.0)
ROUNDS = 20
Ratings = tuple[np.ndarray, np.ndarray]  # pairs (user, item) from 0, and their ratings


def bias_only(training: Ratings, validation: Ratings, test: Ratings) -> float:
    r"""Test RMSE of the mean plus a bias of the user and one of the item, kept in range.

    The biases are those with the least sum of squared errors plus $\lambda$ times their squares
    on the training part, found by turns; $\lambda$ is the best of `RIDGES` on the validation part.
    """
    pairs, ratings = training
    shape = tuple(np.max([part[0].max(axis=0) for part in (training, validation, test)], axis=0))
    mean = ratings.mean(dtype=np.float64)

    def error(biases: tuple[np.ndarray, np.ndarray], part: Ratings) -> float:
        (users, items), (x, y) = biases, part
        told = np.clip(mean + users[x[:, 0]] + items[x[:, 1]], ratings.min(), ratings.max())
        return root_mean_square(told - y)

    found = [fit_biases(pairs, ratings - mean, ridge, shape) for ridge in RIDGES]
    return error(min(found, key=lambda biases: error(biases, validation)), test)


def fit_biases(
    pairs: np.ndarray, gaps: np.ndarray, ridge: float, last: tuple[int, ...]
) -> tuple[np.ndarray, np.ndarray]:
    """Biases of users and items 0 .. `last` that explain the `gaps` from the mean."""
    biases = [np.zeros(extent + 1) for extent in last]
    for _ in range(ROUNDS):
        for own, other in ((1, 0), (0, 1)):
            left = gaps - biases[other][pairs[:, other]]
            size = last[own] + 1
            counts = np.bincount(pairs[:, own], minlength=size)
            biases[own] = np.bincount(pairs[:, own], left, size) / (ridge + counts)
    return biases[0], biases[1]
