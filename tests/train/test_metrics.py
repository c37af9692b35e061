"""Metrics by Keras's names: which accuracy is meant, and means that weigh every example alike."""

from __future__ import annotations

import numpy as np
import pytest

import chainrule as cr
from chainrule.core.tensor import Tensor
from chainrule.train import metrics, scores
from chainrule.train.metrics import CHECKS, METRICS, TopK, find_metrics
from chainrule.train.totals import Totals

nan = float("nan")


def values(name: str, y_true: object, y_pred: object, *rest: bool) -> list[float]:
    y_true, y_pred = Tensor(np.asarray(y_true)), Tensor(np.asarray(y_pred, np.float32))
    function = METRICS[name]().function
    eager = function(y_true, y_pred, *rest).numpy()
    jitted = cr.jit(lambda y, p: function(y, p, *rest))(y_true, y_pred).numpy()
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


COUNT = 41


def drawn(targets: str) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.Generator(np.random.Philox(key=1))
    if targets == "values":
        return rng.normal(5, 1, (COUNT, 2)).astype("f4"), rng.normal(5, 1, (COUNT, 2)).astype("f4")
    if targets == "flags":
        return rng.integers(0, 2, COUNT), np.round(rng.uniform(0.05, 0.95, COUNT), 1).astype("f4")
    p = rng.dirichlet(np.ones(7), COUNT).astype("f4")
    y = rng.integers(0, 7, COUNT)
    return (y, p) if targets == "classes" else (np.eye(7, dtype="f4")[y], p)


def over_batches(metric: metrics.Metric, y: np.ndarray, p: np.ndarray, size: int) -> float:
    totals = Totals([metric])
    parts = cr.jit(lambda y, p: metric.parts(y, p, False))
    for start in range(0, len(y), size):
        batch = Tensor(y[start : start + size]), Tensor(p[start : start + size])
        totals.add(1.0, len(batch[0]), [parts(*batch)])
    return totals.means()[metric.name]


@pytest.mark.parametrize("name", sorted(CHECKS))
def test_every_metric_is_its_ref_however_the_batches_lie(name: str) -> None:
    y, p = drawn(CHECKS[name].targets)
    expected = CHECKS[name].ref(y, p.astype(np.float64))
    for size in (COUNT, 10):
        assert over_batches(METRICS[name](), y, p, size) == pytest.approx(expected, rel=2e-6)


@pytest.mark.parametrize("name", sorted(METRICS))
def test_every_metric_goes_through_fit(name: str) -> None:
    kind = CHECKS[name].targets
    y, p = drawn(kind)
    end = {"values": None, "flags": "sigmoid"}.get(kind, "softmax")
    model = cr.Sequential([cr.nn.Dense(1 if y.ndim == 1 and kind == "flags" else p.shape[-1], end)])
    loss = {"classes": "sparse_categorical_crossentropy"}.get(kind, "mse")
    model.compile("sgd", loss, [name])
    x = drawn("values")[0]
    history = model.fit(x, y, batch_size=16, validation_data=(x, y), verbose=0)
    assert history.history.keys() == {"loss", name, "val_loss", f"val_{name}"}
    assert np.isfinite(history.history[f"val_{name}"][0])


def test_averages_of_scores_of_classes() -> None:
    y, p = drawn("classes")
    guess = p.argmax(-1)
    matrix = scores.confusion_matrix(y, guess, 7)
    assert matrix.sum() == COUNT and matrix[y[0], guess[0]] > 0
    hits, true, guessed = matrix.diagonal(), matrix.sum(1), matrix.sum(0)
    f1 = 2 * hits / (true + guessed)
    for average, expected in (
        ("macro", f1.mean()),
        ("weighted", (f1 * true).sum() / COUNT),
        ("micro", np.mean(guess == y)),
    ):
        found = over_batches(scores.F1Score(average), y, p, 10)
        assert found == pytest.approx(expected, rel=1e-12)
    with pytest.raises(cr.UnknownNameError, match="did you mean 'macro'"):
        scores.F1Score("marco")


def test_scores_of_one_output_are_those_of_class_one() -> None:
    y, p = drawn("flags")
    hit = np.sum((p > 0.5) & (y == 1))
    assert over_batches(scores.Precision(), y, p, 9) == hit / np.sum(p > 0.5)
    assert over_batches(scores.Recall(), y, p[:, None], 9) == hit / np.sum(y)
    logits = np.log(p / (1 - p))
    (counts, _) = scores.Recall().parts(Tensor(y), Tensor(logits[:, None]), True)
    assert counts.numpy()[1, 1] == hit
    assert over_batches(scores.Recall(), y * 0, p, 9) == 0  # nothing to divide by


def test_auc_without_both_labels_is_nan() -> None:
    y, p = drawn("flags")
    assert np.isnan(over_batches(scores.AUC(), y * 0, p, 9))
    assert over_batches(scores.AUC(), y, y.astype("f4"), 9) == 1.0


def test_top_k_takes_any_k_and_counts_no_nan() -> None:
    y, p = drawn("classes")
    assert over_batches(TopK(1), y, p, 10) == np.mean(p.argmax(-1) == y)
    assert over_batches(TopK(7, name="all"), y, p, 10) == 1.0
    assert over_batches(TopK(7), y, p * np.float32(nan), 10) == 0.0


def test_confusion_matrix_refuses_what_is_no_class() -> None:
    with pytest.raises(cr.DataError, match=r"y_pred must hold integers in 0 \.\. 1"):
        scores.confusion_matrix([0, 1], [0, 2], 2)
    with pytest.raises(cr.ShapeError, match="as many labels"):
        scores.confusion_matrix([0, 1], [[0.5, 0.5], [0.1, 0.9]])


def test_own_functions_are_metrics() -> None:
    def bias(y_true, y_pred):
        return cr.mean(y_pred - y_true)

    (metric,) = find_metrics([bias])
    total, count = metric.parts(Tensor([1.0, 2.0]), Tensor([2.0, 4.0]), False)
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
