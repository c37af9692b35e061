"""Metrics by Keras's names: which accuracy is meant, and means that weigh every example alike."""

from __future__ import annotations

import numpy as np
import pytest

import chainrule as cr
from chainrule.core.tensor import Tensor
from chainrule.train.metrics import METRICS, Totals, find_metrics

nan = float("nan")


def values(name: str, y_true: object, y_pred: object, *rest: bool) -> list[float]:
    y_true, y_pred = Tensor(np.asarray(y_true)), Tensor(np.asarray(y_pred, np.float32))
    eager = METRICS[name](y_true, y_pred, *rest).numpy()
    jitted = cr.jit(lambda y, p: METRICS[name](y, p, *rest))(y_true, y_pred).numpy()
    np.testing.assert_array_equal(eager, jitted)
    return eager.tolist()


@pytest.mark.parametrize(
    ("y_true", "y_pred", "expected"),
    [
        ([0, 1, 1], [[0.2], [0.9], [0.5]], [[1], [1], [0]]),  # binary, (n,) against (n, 1)
        ([0, 1, 1], [0.7, 0.6, 0.1], [0, 1, 0]),
        ([2, 0, 1], [[0, 1, 2], [0, 1, 2], [0, 9, 2]], [1, 0, 1]),  # sparse
        ([[2], [0]], [[0, 1, 2], [0, 1, 2]], [1, 0]),
        ([[0, 0, 1], [1, 0, 0]], [[0, 1, 2], [0, 1, 2]], [1, 0]),  # one-hot
        ([[0, 1], [1, 1]], [[[1, 0], [0, 1]], [[0, 1], [1, 0]]], [[1, 1], [1, 0]]),  # sequences
    ],
)
def test_accuracy_is_chosen_from_the_shapes(y_true, y_pred, expected) -> None:
    assert values("accuracy", y_true, y_pred) == expected


def test_accuracy_of_logits_has_its_threshold_at_zero() -> None:
    assert values("accuracy", [1, 1, 0], [[0.2], [-0.1], [-3]], True) == [[1], [0], [1]]


def test_ties_and_nan_are_no_hits_by_luck() -> None:
    assert values("accuracy", [0, 1, 2], [[0, 0, 0]] * 3) == [1, 0, 0]
    assert values("accuracy", [0, 1, 2], [[nan] * 3] * 3) == [0, 0, 0]
    assert values("accuracy", [0, 1], [[nan], [nan]]) == [[1], [0]]


def test_errors_do_not_broadcast_a_column_against_a_row() -> None:
    assert values("mse", [1.0, 2.0], [[0.0], [4.0]]) == [[1], [4]]
    assert values("mae", [1, 2], [[0.0], [4.0]]) == [[1], [2]]
    for name in ("mse", "mae", "binary_accuracy", "sparse_categorical_accuracy"):
        with pytest.raises(cr.ShapeError, match="needed"):
            values(name, [1.0, 2.0, 3.0], [[1.0], [2.0]])


def test_means_over_ragged_batches_are_exact() -> None:
    rng = np.random.Generator(np.random.Philox(key=1))
    y, p = rng.integers(0, 3, 10), rng.normal(size=(10, 3)).astype(np.float32)
    one_hot = np.eye(3)[y]
    metrics = find_metrics(["accuracy", "mse"])
    totals = Totals(metrics)
    for part in (slice(0, 4), slice(4, 8), slice(8, 10)):
        t, q = Tensor(one_hot[part]), Tensor(p[part])
        sums, counts = zip(*[m.total(t, q, False) for m in metrics], strict=True)
        totals.add([2.0, *map(float, sums)], [1, *counts])
    means = totals.means()
    assert means["loss"] == 2.0
    assert means["accuracy"] == np.mean(p.argmax(-1) == y)
    assert means["mse"] == pytest.approx(np.mean((one_hot - p) ** 2), rel=1e-6)


def test_own_functions_are_metrics() -> None:
    def bias(y_true, y_pred):
        return cr.mean(y_pred - y_true)

    (metric,) = find_metrics([bias])
    total, count = metric.total(Tensor([1.0, 2.0]), Tensor([2.0, 4.0]), False)
    assert (metric.name, total.item(), count) == ("bias", 3.0, 2)


@pytest.mark.parametrize(
    ("given", "error", "told"),
    [
        (["acuracy"], cr.UnknownNameError, "did you mean 'accuracy'"),
        ("accuracy", cr.ArgumentError, "must be a list"),
        ([3], cr.ArgumentError, "a name or a function"),
        (["mse", "mse"], cr.ArgumentError, "got twice: mse"),
    ],
)
def test_what_is_no_metric_is_refused(given, error, told) -> None:
    with pytest.raises(error, match=told):
        find_metrics(given)
