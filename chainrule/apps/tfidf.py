r"""What a text classifier must beat: TF-IDF weights and a linear model, without a net.

The weight of an n-gram that stands $t$ times in a text and in $d$ of $n$ texts is
$(1 + \ln t) (1 + \ln \frac{1 + n}{1 + d})$, each text's row scaled to length 1. The linear model
is ridge regression onto -1 and +1. Read next: `text.py`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from chainrule.apps.tasks import Part
from chainrule.data.words import Vocabulary

LONGEST = 2
RIDGES = (0.1, 0.3, 1.0, 3.0)
ROUNDS = 30  # of conjugate gradients; more change no validation text's class


def tfidf_linear(training: Part, validation: Part, test: Part) -> float:
    """Test accuracy for two classes; the ridge is the best of `RIDGES` on the validation part."""
    vocabulary = Vocabulary.of(training.x, longest=LONGEST)
    rows = counted(training.x, vocabulary)
    texts = np.bincount(rows.columns, minlength=rows.width)
    idf = 1 + np.log((1 + len(training.x)) / (1 + texts))
    mean = float(np.mean(2 * training.y - 1))
    rows = rows.weighted(idf)
    tried = counted(validation.x, vocabulary).weighted(idf)
    found = [ridge_weights(rows, 2 * training.y - 1 - mean, ridge) for ridge in RIDGES]
    best = max(found, key=lambda w: np.mean((tried.times(w) + mean > 0) == validation.y))
    judged = counted(test.x, vocabulary).weighted(idf)
    return float(np.mean((judged.times(best) + mean > 0) == test.y))


@dataclass(frozen=True)
class Rows:
    """A sparse matrix: `values` at (`places`, `columns`)."""

    places: np.ndarray
    columns: np.ndarray
    values: np.ndarray
    height: int
    width: int

    def times(self, w: np.ndarray) -> np.ndarray:
        """The matrix by a vector."""
        return np.bincount(self.places, self.values * w[self.columns], self.height)

    def transposed_times(self, v: np.ndarray) -> np.ndarray:
        """The transposed matrix by a vector."""
        return np.bincount(self.columns, self.values * v[self.places], self.width)

    def weighted(self, factors: np.ndarray) -> Rows:
        """Each column by its factor, then each row scaled to length 1."""
        values = self.values * factors[self.columns]
        lengths = np.sqrt(np.bincount(self.places, values * values, self.height))
        values = values / lengths[self.places]
        return Rows(self.places, self.columns, values, self.height, self.width)


def counted(texts: Sequence[str], vocabulary: Vocabulary) -> Rows:
    """1 + ln(how often) of each known n-gram in each text."""
    each = [Counter(vocabulary.known(text)) for text in texts]
    sizes = [len(counts) for counts in each]
    columns = np.array([i - 1 for counts in each for i in counts], dtype=np.int64)
    times = np.array([count for counts in each for count in counts.values()], dtype=np.float64)
    places = np.repeat(np.arange(len(texts)), sizes)
    return Rows(places, columns, 1 + np.log(times), len(texts), len(vocabulary.entries))


def ridge_weights(rows: Rows, targets: np.ndarray, ridge: float) -> np.ndarray:
    r"""The $w$ with least $|Xw - t|^2 + \lambda |w|^2$, by conjugate gradients on its gradient."""
    w = np.zeros(rows.width)
    residual = rows.transposed_times(targets)
    direction, square = residual.copy(), residual @ residual
    for _ in range(ROUNDS):
        if square == 0:
            break
        bent = rows.transposed_times(rows.times(direction)) + ridge * direction
        step = square / (direction @ bent)
        w += step * direction
        residual -= step * bent
        before, square = square, residual @ residual
        direction = residual + square / before * direction
    return w
