"""Every registered loss against its NumPy formula: a new loss is tested here without an edit."""

from __future__ import annotations

import inspect
from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule.nn import losses

ROWS, CLASSES = 6, 4
CASES = [
    (name, options)
    for name in losses.CHECKS
    for options in (
        [{"from_logits": False}, {"from_logits": True}]
        if losses.takes_logits(losses.LOSSES[name])
        else [{}]
    )
]
every_case = pytest.mark.parametrize(
    ("name", "options"), CASES, ids=[f"{n}-{o.get('from_logits', '')}" for n, o in CASES]
)


def draw(name: str, options: dict) -> tuple[np.ndarray, np.ndarray]:
    """(targets, predictions) in float64; predictions are probabilities where logits are not."""
    rng = np.random.default_rng(4)
    kind = losses.CHECKS[name].targets
    p = rng.normal(size=(ROWS, CLASSES))
    if kind == "flags" and not options["from_logits"]:
        p = rng.uniform(0.05, 0.95, p.shape)
    elif kind in ("shares", "classes") and not options["from_logits"]:
        p = rng.dirichlet(np.ones(CLASSES), ROWS)
    shares = rng.dirichlet(np.ones(CLASSES), ROWS)
    targets: dict[str, Any] = {
        "values": rng.normal(size=p.shape),
        "flags": rng.integers(0, 2, p.shape),
        "shares": shares,
        "classes": rng.integers(0, CLASSES, ROWS),
    }
    return targets[kind], p


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
    high = 1000.0 if options.get("from_logits", True) else 1.0
    low = -1000.0 if options.get("from_logits", True) else 0.0
    rows = np.random.default_rng(2).permuted(np.tile([high, low, low, low], (ROWS, 1)), axis=1)
    loss, g = cr.value_and_grad(losses.LOSSES[name], argnums=1)(y, rows.astype(dtype), **options)
    assert np.isfinite(loss.item()) and np.isfinite(g.numpy()).all()


@pytest.mark.parametrize("name", losses.CHECKS)
def test_the_class_is_the_function_with_its_options(name):
    cls = getattr(losses, "".join(word.title() for word in name.split("_")))
    for _, options in [case for case in CASES if case[0] == name]:
        y, p = draw(name, options)
        np.testing.assert_array_equal(cls(**options)(y, p), losses.LOSSES[name](y, p, **options))
        assert cls(**options) == cls(**options) and hash(cls(**options)) == hash(cls(**options))
    assert losses.loss(cls) == cls() and losses.loss(cls()).__name__ == name
    assert not losses.takes_logits(cls())


@pytest.mark.parametrize("name", losses.LOSSES)
def test_names_find_losses(name):
    assert losses.loss(name) is losses.LOSSES[name]
    has_switch = "from_logits" in inspect.signature(losses.LOSSES[name]).parameters
    assert losses.takes_logits(losses.loss(name)) == has_switch


def test_an_unknown_name_offers_the_nearest():
    with pytest.raises(cr.UnknownNameError, match="mean_squared_error"):
        losses.loss("mean_square_error")
    with pytest.raises(cr.ArgumentError, match="a loss is a name or a function"):
        losses.loss(3)


@pytest.mark.parametrize("name", [n for n, c in losses.CHECKS.items() if c.targets != "classes"])
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
