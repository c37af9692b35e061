"""What single layers compute, against plain NumPy loops, and the arguments they refuse."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn

rng = np.random.default_rng(11)


def padded(x, size, strides, dilation, padding, value):
    """`x` with the margins that Keras's "same" has: the odd one after."""
    if padding == "valid":
        return x
    rows = []
    for n, w, s, d in zip(x.shape[1:3], size, strides, dilation, strict=True):
        total = max(0, (math.ceil(n / s) - 1) * s + (w - 1) * d + 1 - n)
        rows.append((total // 2, total - total // 2))
    return np.pad(x, [(0, 0), *rows, (0, 0)], constant_values=value)


def patches(x, size, strides, dilation):
    """(row, column, patch of all examples) for each place of the window."""
    spans = [(w - 1) * d + 1 for w, d in zip(size, dilation, strict=True)]
    counts = [(n - w) // s + 1 for n, w, s in zip(x.shape[1:3], spans, strides, strict=True)]
    for i, j in itertools.product(*map(range, counts)):
        a, b = i * strides[0], j * strides[1]
        yield i, j, x[:, a : a + spans[0] : dilation[0], b : b + spans[1] : dilation[1]]


@pytest.mark.parametrize("activation", [None, "relu", "softmax", "tanh", cr.sigmoid])
@pytest.mark.parametrize("shape", [(5, 3), (2, 4, 3)])
def test_dense_is_the_affine_map(activation, shape):
    layer = nn.Dense(4, activation=activation, bias_initializer=0.5)
    x = rng.normal(size=shape).astype(np.float32)
    z = x @ layer.build_for(shape).kernel.numpy() + 0.5
    formulas: dict[Any, Any] = {
        None: lambda z: z,
        "relu": lambda z: np.maximum(z, 0),
        "softmax": lambda z: np.exp(z) / np.exp(z).sum(-1, keepdims=True),
        "tanh": np.tanh,
        cr.sigmoid: lambda z: 1 / (1 + np.exp(-z)),
    }
    np.testing.assert_allclose(layer(x), formulas[activation](z), rtol=1e-5, atol=1e-6)


def test_dense_without_bias_has_none():
    layer = nn.Dense(4, use_bias=False).build_for((1, 3))
    assert list(layer.named_parameters()) == ["kernel"]
    np.testing.assert_array_equal(layer(np.zeros((2, 3))), np.zeros((2, 4)))


@pytest.mark.parametrize("padding", ["valid", "same"])
@pytest.mark.parametrize("strides", [1, 2, (1, 2)])
@pytest.mark.parametrize("dilation", [1, (2, 1)])
def test_conv2d_is_the_sum_over_its_window(padding, strides, dilation):
    layer = nn.Conv2D(4, (3, 2), strides=strides, padding=padding, dilation_rate=dilation)
    x = rng.normal(size=(2, 7, 6, 3)).astype(np.float32)
    y = layer(x).numpy()
    kernel = layer.kernel.numpy()
    s, d = (n if isinstance(n, tuple) else (n, n) for n in (strides, dilation))
    wanted = np.full(y.shape, np.nan, np.float32)
    for i, j, patch in patches(padded(x, (3, 2), s, d, padding, 0), (3, 2), s, d):
        wanted[:, i, j] = np.tensordot(patch, kernel, 3)
    np.testing.assert_allclose(y, wanted, rtol=1e-4, atol=1e-5)
    if padding == "same":
        assert y.shape[1:3] == (math.ceil(7 / s[0]), math.ceil(6 / s[1]))


def test_conv2d_takes_margins_and_an_activation():
    layer = nn.Conv2D(2, 3, padding=[[1, 2], [0, 1]], activation="relu", bias_initializer=-0.1)
    x = rng.normal(size=(1, 4, 5, 1)).astype(np.float32)
    wide = np.pad(x, [(0, 0), (1, 2), (0, 1), (0, 0)])
    same = nn.Conv2D(2, 3).build_for(wide.shape)
    same.kernel.assign(layer.build_for(x.shape).kernel)
    np.testing.assert_allclose(
        layer(x), np.maximum(same(wide).numpy() - 0.1, 0), rtol=1e-5, atol=1e-6
    )


@pytest.mark.parametrize("padding", ["valid", "same"])
@pytest.mark.parametrize(("size", "strides"), [(2, None), (3, 2), ((2, 3), (1, 2))])
def test_max_pooling_is_the_largest_under_its_window(padding, size, strides):
    x = rng.normal(size=(2, 7, 6, 3)).astype(np.float32) - 5  # so that padding by 0 would show
    y = nn.MaxPooling2D(size, strides, padding)(x).numpy()
    size = size if isinstance(size, tuple) else (size, size)
    s = size if strides is None else strides if isinstance(strides, tuple) else (strides,) * 2
    wanted = np.full(y.shape, np.nan, np.float32)
    for i, j, patch in patches(padded(x, size, s, (1, 1), padding, -np.inf), size, s, (1, 1)):
        wanted[:, i, j] = patch.max(axis=(1, 2))
    np.testing.assert_array_equal(y, wanted)


@pytest.mark.parametrize("shape", [(2, 3, 4), (2, 3), (2,), (0, 3, 4)])
def test_flatten_keeps_the_batch(shape):
    x = np.arange(math.prod(shape), dtype=np.float32).reshape(shape)
    y = nn.Flatten()(x)
    np.testing.assert_array_equal(y, x.reshape(shape[0], math.prod(shape[1:])))


def test_dropout_scales_what_it_keeps():
    x = np.ones((400, 50), np.float32)
    with nn.random_scope(cr.key(0)):
        y = nn.Dropout(0.25)(x, training=True).numpy()
    np.testing.assert_allclose(np.unique(y), [0, 1 / 0.75], rtol=1e-6)
    assert abs((y == 0).mean() - 0.25) < 0.01
    np.testing.assert_array_equal(nn.Dropout(0.25)(x), x)
    np.testing.assert_array_equal(nn.Dropout(0)(x, training=True), x)


def test_dropout_masks_gradient_like_values():
    layer, x = nn.Dropout(0.5), np.ones((4, 5), np.float32)

    def total(x):
        with nn.random_scope(cr.key(8)):
            return cr.sum(layer(x, training=True))

    with nn.random_scope(cr.key(8)):
        y = layer(x, training=True)
    np.testing.assert_array_equal(cr.grad(total)(x), y)


REFUSED = [
    (nn.Dense, (0,), "units must be an integer >= 1, got 0"),
    (nn.Dense, (2.5,), "units must be an integer >= 1, got 2.5"),
    (nn.Dense, (True,), "units must be"),
    (nn.Dense, (3, "rely"), "unknown activation 'rely'.*did you mean 'relu'"),
    (nn.Dense, (3, 4), "an activation is a name or a function"),
    (nn.Dense, (3, None, True, "glorot"), "unknown initializer 'glorot'"),
    (nn.Dense, (3, None, True, "zeros", None), "an initializer is a name"),
    (nn.Activation, ("softmx",), "unknown activation 'softmx'.*did you mean 'softmax'"),
    (nn.Conv2D, (3, 0), "kernel_size needs one or two positive integers"),
    (nn.Conv2D, (0, 3), "filters must be an integer >= 1"),
    (nn.Conv2D, (3, 3, 1, "full"), "unknown padding of Conv2D 'full'"),
    (nn.Conv2D, (3, 3, 1, 2), "padding must be 'valid', 'same' or"),
    (nn.Conv2D, (3, 3, 1, [[1, 1], [1, -1]]), "padding must be 'valid', 'same' or"),
    (nn.MaxPooling2D, (2, -1), "strides needs one or two positive integers"),
    (nn.Dropout, (1,), "rate must lie in 0..1, below 1, got 1"),
    (nn.Dropout, (-0.1,), "rate must lie"),
    (nn.Dropout, ("half",), "rate must lie"),
    (nn.BatchNormalization, (1.5,), "momentum must lie in 0..1"),
    (nn.BatchNormalization, (0.9, 0.0), "epsilon must be above 0"),
    (nn.Flatten, ("a/b",), "a text without '/'"),
]


@pytest.mark.parametrize(("cls", "args", "text"), REFUSED)
def test_arguments_are_refused_by_name(cls, args, text):
    with pytest.raises(cr.ArgumentError, match=text):
        cls(*args)


def test_unknown_names_raise_their_own_error():
    for make in (
        lambda: nn.Dense(3, activation="swash"),
        lambda: nn.Conv2D(3, 2, kernel_initializer="he"),
        lambda: nn.losses.loss("hing"),
    ):
        with pytest.raises(cr.UnknownNameError, match="one of"):
            make()


def test_a_window_too_large_names_the_layer():
    with pytest.raises(cr.ShapeError, match=r"conv2d: a window of \(5, 5\)"):
        nn.Conv2D(1, 5)(np.zeros((1, 4, 4, 1)))
