"""Images changed at random: by NumPy's own account of what was drawn, natively to the same bits."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn
from chainrule.compile.plan import Code

X = np.random.default_rng(0).normal(size=(9, 6, 5, 3)).astype(np.float32)
FILL_MODES = ("constant", "nearest", "reflect", "wrap")
LAYERS = [
    nn.RandomFlip(),
    *[nn.RandomTranslation(0.5, 0.4, mode, 0.5) for mode in FILL_MODES],
    *[nn.RandomRotation(1.0, mode, 0.5) for mode in FILL_MODES],
    nn.RandomErasing(fill_value=0.0),
]
with_key = pytest.mark.parametrize("seed", range(3))


def trained(layer: nn.Module, x: Any, seed: int = 0) -> Any:
    with nn.random_scope(cr.key(seed)):
        return layer(x, training=True)


def compiled(layer: nn.Module, *args: Any) -> Any:
    """What machine code gives; NumPy may run no part of it."""
    step = cr.jit(lambda x, key: _scoped(layer, x, key))
    y = step(*args)
    (entry,) = step.entries.values()
    assert all(isinstance(segment, Code) for segment in entry.program.native.plan.segments)
    return y


def _scoped(layer: nn.Module, x: Any, key: Any) -> Any:
    with nn.random_scope(key):
        return layer(x, training=True)


def padded(image: np.ndarray, width: tuple[int, int], mode: str) -> np.ndarray:
    """`image` with margins of one whole image on each side, in NumPy's words."""
    sides = [(n, n) for n in width] + [(0, 0)]
    if mode == "constant":
        return np.pad(image, sides, constant_values=0.5)
    return np.pad(image, sides, mode={"nearest": "edge", "reflect": "symmetric"}.get(mode, mode))


@pytest.mark.parametrize("layer", LAYERS, ids=repr)
def test_machine_code_changes_images_to_the_same_bits(layer):
    for seed in range(3):
        y = compiled(layer, X, cr.key(seed))
        np.testing.assert_array_equal(y, trained(layer, X, seed))


def test_noise_in_an_erased_place_is_the_same_to_two_ulp_of_the_largest():
    layer = nn.RandomErasing((1, 1))
    y = trained(layer, X)
    at_most = 2 * np.spacing(np.abs(y.numpy()).max())
    np.testing.assert_allclose(compiled(layer, X, cr.key(0)), y, rtol=0, atol=at_most)


@pytest.mark.parametrize(
    ("mode", "axes"),
    [("horizontal", [2]), ("vertical", [1]), ("horizontal_and_vertical", [1, 2])],
)
def test_an_image_is_mirrored_along_the_axes_of_the_mode_or_not(mode, axes):
    x = np.concatenate([X] * 8)
    y = trained(nn.RandomFlip(mode), x).numpy()
    seen = set()
    for before, after in zip(x, y, strict=True):
        ways = {
            tuple(turned): np.flip(before, [axis - 1 for axis in turned])
            for turned in ([], [1], [2], [1, 2])
        }
        (way,) = [way for way, image in ways.items() if np.array_equal(image, after)]
        seen.add(way)
    assert seen == {way for way in ((), (1,), (2,), (1, 2)) if set(way) <= set(axes)}


@pytest.mark.parametrize("mode", FILL_MODES)
def test_an_image_is_shifted_by_whole_pixels_and_filled_by_the_mode(mode):
    x = np.concatenate([X] * 20)
    y = trained(nn.RandomTranslation((-0.5, 0.2), 0.4, mode, fill_value=0.5), x).numpy()
    seen = set()
    for before, after in zip(x, y, strict=True):
        whole = padded(before, (6, 5), mode)
        ways = {
            (down, right): whole[6 - down : 12 - down, 5 - right : 10 - right]
            for down in range(-3, 2)
            for right in range(-2, 3)
        }
        (way,) = [way for way, image in ways.items() if np.array_equal(image, after)]
        seen.add(way)
    assert seen == ways.keys()


def test_integer_images_shift_and_flip_as_they_are():
    x = np.arange(2 * 4 * 4 * 1, dtype=np.uint8).reshape(2, 4, 4, 1)
    for layer in (nn.RandomFlip(), nn.RandomTranslation(0.5, 0.5, "constant")):
        y = trained(layer, x)
        assert y.dtype == np.uint8 and set(y.numpy().ravel()) <= {0, *x.ravel()}
    with pytest.raises(cr.DtypeError, match=r"0\.5: the number does not fit"):
        trained(nn.RandomTranslation(0.5, 0.5, "constant", 0.5), x)


@pytest.mark.parametrize(("share", "turns"), [(0.25, 1), (-0.25, -1), (0.5, 2), (1.0, 0)])
@pytest.mark.parametrize("mode", FILL_MODES)
def test_a_quarter_turn_is_that_of_numpy(mode, share, turns):
    square = X[:, :5]
    y = trained(nn.RandomRotation((share, share), mode), square)
    np.testing.assert_allclose(y, np.rot90(square, turns, (1, 2)), atol=1e-5)


@with_key
def test_a_turned_plane_is_the_turned_plane(seed):
    """Between pixels of a plane the mean of four is exact, so the angle can be read off it."""
    rows, columns = np.mgrid[-10:11, -12:13].astype(np.float32)
    x = np.stack([rows, columns], axis=-1)[None]
    y = trained(nn.RandomRotation(0.1), x, seed).numpy()[0, 6:15, 6:19]
    at = np.stack([rows, columns], axis=-1)[6:15, 6:19]
    turn, *_ = np.linalg.lstsq(at.reshape(-1, 2), y.reshape(-1, 2), rcond=None)
    np.testing.assert_allclose(turn @ turn.T, np.eye(2), atol=1e-5)
    angle = np.arctan2(turn[1, 0], turn[0, 0])  # row of the source from the column of the place
    assert abs(angle) <= 0.2 * np.pi and np.allclose(at @ turn, y, atol=1e-5)


def test_angles_spread_over_the_range():
    x = np.zeros((400, 3, 3, 1), np.float32)
    x[:, 1, 2] = 1  # to the right of the centre: what is above it grows with the angle
    y = trained(nn.RandomRotation((0.0, 0.25), "constant"), x).numpy()
    right, above = y[:, 1, 2, 0], y[:, 0, 1, 0]
    assert (y[:, 2] < 1e-6).mean() > 0.9 and 0.4 < (above > right).mean() < 0.6


def test_what_is_erased_is_a_rectangle_of_the_scale():
    x = np.ones((300, 20, 10, 2), np.float32)
    y = trained(nn.RandomErasing((1, 1), (0.04, 0.25), fill_value=-1), x).numpy()
    corners = set()
    for erased in y[..., 0] == -1:
        rows, columns = np.nonzero(erased.any(1))[0], np.nonzero(erased.any(0))[0]
        assert erased.sum() == len(rows) * len(columns)
        assert np.ptp(rows) < len(rows) and np.ptp(columns) < len(columns)
        assert 4 <= len(rows) <= 10 and 2 <= len(columns) <= 5
        corners.add((rows[0] == 0, rows[-1] == 19, columns[0] == 0, columns[-1] == 9))
    assert np.array_equal(y[..., 0], y[..., 1])
    assert {(True, False, True, False), (False, True, False, True)} <= corners


def test_images_are_erased_with_the_mean_probability():
    x = np.ones((2000, 4, 4, 1), np.float32)
    for factor, wanted in ((1.0, 0.5), ((0.2, 0.4), 0.3), (0.0, 0.0), ((1.0, 1.0), 1.0)):
        y = trained(nn.RandomErasing(factor, (0.3, 0.3), fill_value=0), x).numpy()
        assert (y != 1).any(axis=(1, 2, 3)).mean() == pytest.approx(wanted, abs=0.04)


def test_each_example_and_each_call_draws_anew():
    x = np.broadcast_to(X[:1], (40, *X.shape[1:]))
    for layer in (*LAYERS[:3], LAYERS[6], nn.RandomErasing((1, 1), (0.1, 0.6), fill_value=0)):
        with nn.random_scope(cr.key(1)):
            first, second = (layer(x, training=True).numpy() for _ in range(2))
        assert not np.array_equal(first, second)
        assert len(np.unique(first.reshape(40, -1), axis=0)) > 3


@pytest.mark.parametrize("layer", LAYERS, ids=repr)
def test_an_empty_batch_and_an_image_of_one_pixel_go_through(layer):
    assert trained(layer, X[:0]).shape == (0, 6, 5, 3)
    assert trained(layer, X[:, :1, :1]).shape == (9, 1, 1, 3)
    assert trained(layer, X[:, :0]).shape == (9, 0, 5, 3)


@pytest.mark.parametrize("cls", [nn.RandomRotation, nn.RandomErasing])
def test_integer_images_are_refused_where_numbers_between_are_made(cls):
    with pytest.raises(cr.DtypeError, match=f"{cls.__name__} needs float images, got uint8"):
        trained(cls(0.1), X.astype(np.uint8))


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (lambda: nn.RandomFlip("both"), "unknown mode of RandomFlip 'both'"),
        (lambda: nn.RandomTranslation(0.1, 0.1, "mirror"), "unknown fill_mode"),
        (lambda: nn.RandomTranslation(1.5, 0.1), "height_factor must be a number in 0..1"),
        (lambda: nn.RandomTranslation(0.1, (0.3, 0.2)), "width_factor must be"),
        (lambda: nn.RandomRotation(True), "factor must be a number"),
        (lambda: nn.RandomRotation(0.1, fill_value="edge"), "fill_value must be a number"),
        (lambda: nn.RandomErasing(-0.1), "two in 0..1, the lower first, got -0.1"),
        (lambda: nn.RandomErasing(1.0, (0.1, 0.2, 0.3)), "scale must be"),
    ],
)
def test_arguments_that_mean_nothing_are_refused(make, told):
    with pytest.raises(cr.ArgumentError, match=told):
        make()


def test_fit_trains_through_augmentation():
    model = cr.Sequential(
        [
            nn.RandomFlip("horizontal"),
            nn.RandomTranslation(0.2, 0.2),
            nn.RandomRotation(0.05),
            nn.RandomErasing(fill_value=0),
            nn.Flatten(),
            nn.Dense(2),
        ],
        seed=1,
    )
    rng = np.random.default_rng(2)
    y = rng.integers(0, 2, 256)
    x = rng.normal(size=(256, 6, 6, 1)).astype(np.float32) + 2 * y[:, None, None, None]
    model.compile(cr.optim.Adam(0.02), "sparse_categorical_crossentropy", ["accuracy"])
    history = model.fit(x, y, epochs=10, verbose=0).history
    assert history["accuracy"][-1] > 0.95 and model.evaluate(x, y)["accuracy"] > 0.95
