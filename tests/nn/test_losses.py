"""Every registered loss against its NumPy formula: a new loss is tested here without an edit."""

from __future__ import annotations

import inspect
from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn
from chainrule.nn import losses

ROWS, STEPS, CLASSES = 6, 4, 4
CASES = [
    (name, {**switch, **options})
    for name, check in losses.CHECKS.items()
    for switch in (
        [{"from_logits": False}, {"from_logits": True}]
        if losses.takes_logits(losses.LOSSES[name])
        else [{}]
    )
    for options in ({}, *check.options)
]
every_case = pytest.mark.parametrize(
    ("name", "options"),
    CASES,
    ids=[f"{name}-{','.join(f'{k}={v}' for k, v in options.items())}" for name, options in CASES],
)


def kind_of_predictions(name: str, options: dict) -> str:
    check = losses.CHECKS[name]
    if check.predictions or options.get("from_logits") or check.targets == "values":
        return check.predictions or "values"
    return "flags" if check.targets == "flags" else "shares"


def lead(name: str) -> tuple[int, ...]:
    """The shape of the predictions without the axis of classes."""
    return (ROWS, STEPS) if losses.CHECKS[name].targets == "sequences" else (ROWS,)


def sequences(blank: int, rows: int) -> np.ndarray:
    """Labels of all lengths from 0 to 3, filled up with `blank`, some twice in a row."""
    a, b, _ = (k for k in range(CLASSES) if k != blank)
    kinds = [[a, b, a], [a, a, b], [b, a, blank], [b, b, blank], [a, blank, blank], [blank] * 3]
    return np.resize(kinds, (rows, 3))


def draw(name: str, options: dict) -> tuple[np.ndarray, np.ndarray]:
    """(targets, predictions) in float64; predictions are probabilities where logits are not."""
    rng = np.random.default_rng(4)
    p = rng.normal(size=(*lead(name), CLASSES))
    kind = kind_of_predictions(name, options)
    if kind == "flags":
        p = rng.uniform(0.05, 0.95, p.shape)
    elif kind == "shares":
        p = rng.dirichlet(np.ones(CLASSES), lead(name))
    shares = rng.dirichlet(np.ones(CLASSES), ROWS)
    targets: dict[str, Any] = {
        "values": rng.normal(size=p.shape),
        "flags": rng.integers(0, 2, p.shape),
        "shares": shares,
        "classes": rng.integers(0, CLASSES, ROWS),
        "sequences": sequences(options.get("blank", 0), ROWS),
    }
    return targets[losses.CHECKS[name].targets], p


@every_case
def test_value_is_that_of_the_formula(name, options):
    y, p = draw(name, options)
    found = losses.LOSSES[name](y, p, **options)
    assert found.shape == () and found.dtype == np.float64
    np.testing.assert_allclose(found.item(), losses.CHECKS[name].ref(y, p, **options), rtol=1e-9)


@every_case
def test_a_loss_has_its_gradient(name, options):
    y, p = draw(name, options)
    found = cr.check_gradient(lambda p: losses.LOSSES[name](y, p, **options), [p])
    assert found, found


@every_case
def test_jit_equals_eager(name, options):
    y, p = draw(name, options)
    p = p.astype(np.float32)
    compiled = cr.jit(lambda y, p: losses.LOSSES[name](y, p, **options))
    np.testing.assert_allclose(compiled(y, p), losses.LOSSES[name](y, p, **options), rtol=1e-5)


@every_case
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_extreme_predictions_stay_finite(name, options, dtype):
    y = draw(name, options)[0]
    far = kind_of_predictions(name, options) == "values"
    high, low = (1000.0, -1000.0) if far else (1.0, 0.0)
    rows = np.tile([high, low, low, low], (*lead(name), 1))
    rows = np.random.default_rng(2).permuted(rows, axis=-1)
    loss, g = cr.value_and_grad(losses.LOSSES[name], argnums=1)(y, rows.astype(dtype), **options)
    assert np.isfinite(loss.item()) and np.isfinite(g.numpy()).all()


ELEMENTWISE = [n for n, c in losses.CHECKS.items() if c.targets not in ("classes", "sequences")]
every_case_apart = pytest.mark.parametrize(
    ("name", "options"), [case for case in CASES if losses.CHECKS[case[0]].apart]
)


@every_case
def test_weights_are_shares_of_the_examples_losses(name, options):
    y, p = draw(name, options)
    loss = losses.LOSSES[name]
    weights = np.array([0.5, 0, 2, 1, 3, 0.25])
    found = loss(y, p, weights=weights, **options).item()
    if losses.CHECKS[name].apart:
        each = [loss(y[i : i + 1], p[i : i + 1], **options).item() for i in range(ROWS)]
        np.testing.assert_allclose(found, np.average(each, weights=weights), rtol=1e-12)
    np.testing.assert_allclose(loss(y, p, weights=7 * weights, **options), found, rtol=1e-12)
    same = loss(y, p, weights=np.ones((ROWS, 1)), **options)
    np.testing.assert_allclose(same, loss(y, p, **options), rtol=1e-12)
    assert loss(y, p, weights=np.zeros(ROWS), **options).item() == 0


@every_case_apart
def test_parts_by_their_weight_make_the_whole(name, options):
    y, p = draw(name, options)
    weights = np.array([0.5, 1, 2, 1, 3, 0.25])

    def of(rows, p):
        return losses.LOSSES[name](y[rows], p, weights=weights[rows], **options)

    whole, slope = cr.value_and_grad(lambda p: of(slice(None), p))(p)
    total, slopes = 0.0, []
    for rows in (slice(0, 1), slice(1, 4), slice(4, 6)):
        share = weights[rows].sum() / weights.sum()
        value, g = cr.value_and_grad(lambda p, rows=rows: of(rows, p))(p[rows])
        total += share * value.item()
        slopes.append(share * g.numpy())
    np.testing.assert_allclose(total, whole.item(), rtol=1e-12)
    np.testing.assert_allclose(np.concatenate(slopes), slope, rtol=1e-10, atol=1e-15)


@every_case_apart
def test_what_is_masked_counts_nowhere(name, options):
    y, p = draw(name, options)
    mask = np.array([True, False, True, True, False, True])
    spoilt = np.where(mask.reshape(ROWS, *[1] * (p.ndim - 1)), p, np.nan)
    found = losses.LOSSES[name](y, spoilt, weights=mask, **options)
    kept = losses.LOSSES[name](y[mask], p[mask], **options)
    np.testing.assert_allclose(found, kept, rtol=1e-12)


def test_weights_of_steps_and_their_shapes():
    y, p = np.zeros((2, 3, 4)), np.arange(24.0).reshape(2, 3, 4)
    mask = np.array([[True, True, False], [True, False, False]])
    found = losses.mean_squared_error(y, p, weights=mask)
    np.testing.assert_allclose(found, (p**2)[mask].mean())
    with pytest.raises(cr.ShapeError, match=r"leading axes of the losses \(2, 3, 4\), got \(3,\)"):
        losses.mean_squared_error(y, p, weights=np.ones(3))


def test_weights_by_class_are_looked_up():
    found = losses.weights_by_class([[0, 1], [2, 0]], {0: 2.0, 2: 0.5})
    np.testing.assert_array_equal(found, [[2, 1], [0.5, 2]])


@pytest.mark.parametrize("name", losses.CHECKS)
def test_the_class_is_the_function_with_its_options(name):
    cls = losses.CLASSES[name]
    assert getattr(losses, cls.__name__) is cls and cls.__name__.lower() == name.replace("_", "")
    for _, options in [case for case in CASES if case[0] == name]:
        y, p = draw(name, options)
        found = losses.LOSSES[name](y, p, **options)
        np.testing.assert_array_equal(cls(**options)(y, p), found)
        weights = np.arange(ROWS)
        weighed = losses.LOSSES[name](y, p, weights=weights, **options)
        np.testing.assert_array_equal(cls(**options)(y, p, weights), weighed)
        assert weighed.item() != found.item()
        assert cls(**options) == cls(**options) and hash(cls(**options)) == hash(cls(**options))
    assert losses.loss(cls) == cls() and losses.loss(cls()).__name__ == name
    assert not losses.takes_logits(cls())


@pytest.mark.parametrize("name", losses.LOSSES)
def test_names_find_losses(name):
    assert losses.loss(name) is losses.LOSSES[name]
    has_switch = "from_logits" in inspect.signature(losses.LOSSES[name]).parameters
    assert losses.takes_logits(losses.loss(name)) == has_switch


@pytest.mark.parametrize("name", losses.CHECKS)
def test_fit_lowers_it(name):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(40, *lead(name)[1:], 6)).astype(np.float32)
    targets = {
        "values": rng.normal(size=(40, CLASSES)),
        "flags": rng.integers(0, 2, (40, CLASSES)),
        "shares": rng.dirichlet(np.ones(CLASSES), 40),
        "classes": rng.integers(0, CLASSES, 40),
        "sequences": sequences(0, 40),
    }
    check = losses.CHECKS[name]
    last = "softmax" if check.predictions == "shares" else None
    model = cr.Sequential([nn.Dense(8, "tanh"), nn.Dense(CLASSES, last)])
    model.compile("adam", loss=name)
    found = model.fit(x, targets[check.targets], epochs=6, batch_size=10, verbose=0)
    assert found.history["loss"][-1] < found.history["loss"][0]


def test_an_unknown_name_offers_the_nearest():
    with pytest.raises(cr.UnknownNameError, match="mean_squared_error"):
        losses.loss("mean_square_error")
    with pytest.raises(cr.ArgumentError, match="a loss is a name or a function"):
        losses.loss(3)


@pytest.mark.parametrize("name", ELEMENTWISE)
def test_targets_without_the_last_axis_of_one_do_not_broadcast(name):
    y = np.array([0.0, 1.0, 1.0])
    p = np.array([[0.3], [0.6], [0.9]])
    whole = losses.LOSSES[name](y[:, None], p)
    np.testing.assert_array_equal(losses.LOSSES[name](y, p), whole)
    with pytest.raises(cr.ShapeError, match=name):
        losses.LOSSES[name](y[:2], p)


@pytest.mark.parametrize("name", losses.CHECKS)
def test_swapped_arguments_and_wrong_shapes_are_told(name):
    y, p = draw(name, {"from_logits": False})
    with pytest.raises(cr.ShapeError, match=name):
        losses.LOSSES[name](y[:-1], p)
    with pytest.raises(cr.DtypeError, match="float predictions"):
        losses.LOSSES[name](p, np.zeros(p.shape, np.int64))


def test_classes_are_integers_in_range():
    p = np.full((2, 3), 1 / 3)
    sparse = losses.sparse_categorical_crossentropy
    np.testing.assert_allclose(sparse([[0], [2]], p), np.log(3), rtol=1e-6)
    with pytest.raises(cr.DataError, match=r"0\.\.2.*got 0\.\.3"):
        sparse([0, 3], p)
    with pytest.raises(cr.DataError, match=r"got -1\.\.0"):
        sparse([0, -1], p)
    with pytest.raises(cr.DtypeError, match="integer classes"):
        sparse(np.array([0.0, 1.0]), p)


def test_categorical_probabilities_are_shares_of_their_sum():
    y, p = draw("categorical_crossentropy", {"from_logits": False})
    np.testing.assert_allclose(
        losses.categorical_crossentropy(y, 3 * p), losses.categorical_crossentropy(y, p), rtol=1e-9
    )


def test_undecided_logits_have_half_the_gradient():
    y = np.array([0.0, 1.0])
    loss = losses.BinaryCrossentropy(from_logits=True)
    g = cr.grad(lambda z: loss(y, z))(np.zeros(2))
    np.testing.assert_allclose(g, [0.25, -0.25])


def test_large_logits_of_the_right_class_cost_nothing_and_of_the_wrong_one_their_gap():
    loss = losses.SparseCategoricalCrossentropy(from_logits=True)
    z = np.array([[1000.0, -1000.0]], np.float32)
    assert loss([0], z).item() == 0 and loss([1], z).item() == 2000
    binary = losses.BinaryCrossentropy(from_logits=True)
    assert binary([[1.0]], np.array([[-1000.0]], np.float32)).item() == 1000


def test_a_row_without_pairs_costs_nothing():
    value, g = cr.value_and_grad(losses.bpr, argnums=1)(np.ones((2, 3)), np.zeros((2, 3)))
    assert value.item() == 0 and not g.numpy().any()


def test_triplets_that_are_given():
    rng = np.random.default_rng(0)
    a, p, n = rng.normal(size=(3, 5, 4))
    near, far = np.linalg.norm(a - p + 1e-6, axis=1), np.linalg.norm(a - n + 1e-6, axis=1)
    found = losses.triplet_margin(a, p, n, margin=0.5)
    np.testing.assert_allclose(found, np.maximum(near - far + 0.5, 0).mean(), rtol=1e-12)
    g = cr.grad(lambda a: losses.triplet_margin(a, a, a))(a)
    assert np.isfinite(g.numpy()).all()


def test_all_classes_sampled_is_the_whole_softmax():
    rng = np.random.default_rng(0)
    hidden, table, bias = rng.normal(size=(5, 3)), rng.normal(size=(7, 3)), rng.normal(size=7)
    y = rng.integers(0, 7, 5)

    def sampled(hidden, table, bias):
        return losses.sampled_softmax(y, hidden, table, np.arange(7), bias)

    def whole(hidden, table, bias):
        logits = cr.matmul(hidden, cr.transpose(table)) + bias
        return losses.sparse_categorical_crossentropy(y, logits, from_logits=True)

    for ours, theirs in zip(
        cr.flatten(cr.value_and_grad(sampled, argnums=(0, 1, 2))(hidden, table, bias))[0],
        cr.flatten(cr.value_and_grad(whole, argnums=(0, 1, 2))(hidden, table, bias))[0],
        strict=True,
    ):
        np.testing.assert_allclose(ours, theirs, rtol=1e-10, atol=1e-14)


def test_expected_counts_are_taken_off_the_scores():
    rng = np.random.default_rng(0)
    hidden, table = rng.normal(size=(2, 3)), rng.normal(size=(6, 3))
    y, drawn, log_q = np.array([0, 4]), np.array([1, 4, 5]), np.log(rng.uniform(0.1, 1, 6))
    scores = hidden @ table.T - log_q
    wanted = []
    for row, label in zip(scores, y, strict=True):
        rest = [row[k] for k in drawn if k != label]
        wanted.append(np.logaddexp.reduce([row[label], *rest]) - row[label])
    found = losses.sampled_softmax(y, hidden, table, drawn, log_expected=log_q)
    np.testing.assert_allclose(found, np.mean(wanted), rtol=1e-9)
    g = cr.grad(lambda t: losses.sampled_softmax(y, hidden, t, drawn))(table).numpy()
    assert (np.abs(g).max(1) > 0).tolist() == [True, True, False, False, True, True]
    with pytest.raises(cr.ShapeError, match="sampled_softmax needs"):
        losses.sampled_softmax(y, hidden[0], table, drawn)


SEQUENCES = {"from_logits": True}


def drawn_sequences(steps: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(9)
    return sequences(0, ROWS), rng.normal(size=(ROWS, steps, CLASSES))


def test_steps_past_an_examples_length_do_not_count():
    y, z = drawn_sequences(6)
    lengths = np.array([3, 4, 6, 5, 1, 2])
    spoilt = np.where(np.arange(6)[:, None] < lengths[:, None, None], z, 7.0)
    loss = lambda z: losses.ctc(y, z, lengths=lengths, **SEQUENCES)  # noqa: E731
    each = [losses.ctc(y[i : i + 1], z[i : i + 1, :n], **SEQUENCES) for i, n in enumerate(lengths)]
    np.testing.assert_allclose(loss(z), np.mean(each), rtol=1e-12)
    np.testing.assert_allclose(cr.jit(loss)(spoilt), loss(z), rtol=1e-12)
    slopes = cr.grad(loss)(z).numpy()
    assert all(np.abs(g[:n]).max() > 0 and not g[n:].any() for g, n in zip(slopes, lengths))


def test_one_step_and_no_labels_are_read_too():
    z = np.array([[[0.2, 0.5, 0.3]]])
    np.testing.assert_allclose(losses.ctc([[1]], z), -np.log(0.5), rtol=1e-12)
    np.testing.assert_allclose(losses.ctc([[0]], z), -np.log(0.2), rtol=1e-12)
    np.testing.assert_allclose(losses.ctc(np.zeros((1, 0), int), z), -np.log(0.2), rtol=1e-12)


def test_labels_without_an_alignment_are_told_or_cost_infinity():
    y, z = drawn_sequences(3)
    with pytest.raises(cr.DataError, match="example 1 has 3 labels that need 4 steps, got 3"):
        losses.ctc(y, z, **SEQUENCES)
    each = cr.jit(lambda y, z: losses.ctc(y, z, **SEQUENCES))
    assert each(y[1:2], z[1:2]).item() == np.inf and np.isfinite(each(y[:1], z[:1]).item())
    assert each([[1, 0, 2]], z[:1]).item() == np.inf


def test_sequences_that_are_none_are_refused():
    y, z = drawn_sequences(5)
    for given, options, error, text in (
        ([[1, 0, 2]] * ROWS, {}, cr.DataError, "blank 0 before its last label"),
        (y + 2, {}, cr.DataError, r"got 2\.\.4"),
        (y, {"blank": 4}, cr.ArgumentError, "blank must be one of 4 classes"),
        (y, {"lengths": [5] * 5}, cr.ShapeError, "an integer length for each of 6 examples"),
        (y, {"lengths": [6] * ROWS}, cr.DataError, r"lengths must lie in 1\.\.5"),
        (y[:, 0], {}, cr.ShapeError, r"needs labels \(batch, labels\)"),
        (y * 1.0, {}, cr.DtypeError, "integer classes"),
    ):
        with pytest.raises(error, match=text):
            losses.ctc(given, z, **options)


def test_fit_knows_which_labels_a_sequence_may_have():
    y, _ = drawn_sequences(6)
    x = np.random.default_rng(0).normal(size=(ROWS, 6, 2)).astype(np.float32)
    model = cr.Sequential([nn.Dense(CLASSES)])
    model.compile("sgd", loss="ctc")
    weighed = model.fit(x, y, epochs=1, verbose=0, sample_weight=np.ones(ROWS)).history["loss"]
    assert np.isfinite(weighed[0])
    with pytest.raises(cr.DataError, match=r"labels must be in 0 \.\. 3"):
        model.fit(x, y + 2, epochs=1, verbose=0)
