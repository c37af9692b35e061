"""Convolutions and poolings of all kinds, against sums written out in NumPy."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn

rng = np.random.default_rng(2)


def filled(layer, shape):
    """`layer` built, with a bias that is not 0."""
    layer.build_for(shape)
    if layer.use_bias:
        layer.bias.assign(rng.normal(size=layer.bias.shape).astype(np.float32))
    return layer


@pytest.mark.parametrize("dilation", [1, 2])
def test_causal_outputs_see_nothing_later(dilation):
    layer = nn.Conv1D(3, 3, padding="causal", dilation_rate=dilation)
    x = rng.normal(size=(2, 8, 4)).astype(np.float32)
    y = filled(layer, x.shape)(x).numpy()
    late = x.copy()
    late[:, 5:] = 9
    np.testing.assert_array_equal(layer(late).numpy()[:, :5], y[:, :5])
    wide = np.pad(x, [(0, 0), (2 * dilation, 0), (0, 0)])
    parts = [wide[:, i * dilation : i * dilation + 8] @ layer.kernel.numpy()[i] for i in range(3)]
    np.testing.assert_allclose(y, np.sum(parts, 0) + layer.bias.numpy(), rtol=1e-4, atol=1e-5)


def test_strides_and_margins_of_conv1d():
    layer = filled(nn.Conv1D(3, 2, strides=2, padding=((1, 2),)), (2, 5, 4))
    x = rng.normal(size=(2, 5, 4)).astype(np.float32)
    wide = np.pad(x, [(0, 0), (1, 2), (0, 0)])
    parts = [wide[:, i : i + 7 : 2] @ layer.kernel.numpy()[i] for i in range(2)]
    np.testing.assert_allclose(layer(x), np.sum(parts, 0) + layer.bias.numpy(), rtol=1e-4)


def test_a_group_of_filters_reads_its_own_channels():
    x = rng.normal(size=(2, 5, 4, 6)).astype(np.float32)
    whole = filled(nn.Conv2D(4, 3, groups=2), x.shape)
    found = whole(x).numpy()
    for group in range(2):
        own = slice(group * 2, group * 2 + 2)
        part = filled(nn.Conv2D(2, 3), (2, 5, 4, 3))
        part.kernel.assign(whole.kernel.numpy()[..., own])
        part.bias.assign(whole.bias.numpy()[own])
        mine = part(x[..., group * 3 : group * 3 + 3])
        np.testing.assert_allclose(found[..., own], mine, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("padding", ["valid", "same"])
@pytest.mark.parametrize(("size", "strides"), [(3, 1), (3, 2), (2, 3), ((4, 1), (2, 1))])
def test_the_transpose_spreads_what_the_convolution_gathers(padding, size, strides):
    """<y, Conv(x)> = <ConvTranspose(y), x>, where the sizes are those of Keras."""
    up = nn.Conv2DTranspose(2, size, strides, padding, use_bias=False)
    y = rng.normal(size=(1, 4, 3, 5)).astype(np.float32)
    spread = up(y).numpy()
    pairs = list(zip((4, 3), up.kernel_size, up.strides, strict=True))
    reach = [max(k - s, 0) if padding == "valid" else 0 for _, k, s in pairs]
    wanted = [n * s + r for (n, _, s), r in zip(pairs, reach, strict=True)]
    assert spread.shape == (1, *wanted, 2)
    x = rng.normal(size=spread.shape).astype(np.float32)
    down = nn.Conv2D(5, size, strides, padding, use_bias=False).build_for(x.shape)
    down.kernel.assign(up.kernel)
    gathered = down(x).numpy()
    assert gathered.shape == y.shape
    np.testing.assert_allclose((y * gathered).sum(), (spread * x).sum(), rtol=1e-3)


def test_depthwise_is_each_channel_by_itself():
    x = rng.normal(size=(2, 5, 4, 3)).astype(np.float32)
    layer = filled(nn.DepthwiseConv2D(2, depth_multiplier=2), x.shape)
    y, kernel = layer(x).numpy(), layer.depthwise_kernel.numpy()
    for c, m in itertools.product(range(3), range(2)):
        places = itertools.product(range(2), range(2))
        own = sum(x[:, i : i + 4, j : j + 3, c] * kernel[i, j, c, m] for i, j in places)
        wanted = own + layer.bias.numpy()[2 * c + m]
        np.testing.assert_allclose(y[..., 2 * c + m], wanted, rtol=1e-4, atol=1e-5)


def test_separable_is_depthwise_then_a_product():
    x = rng.normal(size=(2, 5, 4, 3)).astype(np.float32)
    layer = filled(nn.SeparableConv2D(4, 3, strides=2, padding="same", activation="relu"), x.shape)
    depth = nn.DepthwiseConv2D(3, strides=2, padding="same", use_bias=False).build_for(x.shape)
    depth.depthwise_kernel.assign(layer.depthwise_kernel)
    wanted = depth(x).numpy() @ layer.pointwise_kernel.numpy()[0, 0] + layer.bias.numpy()
    np.testing.assert_allclose(layer(x), np.maximum(wanted, 0), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("size", "strides"), [(2, None), (3, 2), ((2, 3), 1)])
def test_the_mean_of_same_windows_counts_the_image_alone(size, strides):
    x = rng.normal(size=(2, 5, 4, 2)).astype(np.float32)
    layer = nn.AveragePooling2D(size, strides, "same")
    ones = nn.Conv2D(1, size, layer.strides or layer.pool_size, "same", use_bias=False)
    ones.build_for((1, 5, 4, 1)).kernel.assign(np.ones(ones.kernel.shape, np.float32))
    count = ones(np.ones((1, 5, 4, 1))).numpy()
    total = np.concatenate([ones(x[..., c : c + 1]) for c in range(2)], axis=-1)
    np.testing.assert_allclose(layer(x), total / count, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(layer(np.ones_like(x)), np.ones_like(total), rtol=1e-6)


def test_a_window_in_the_margin_alone_has_no_mean():
    with pytest.raises(cr.ShapeError, match="lies in the margin alone"):
        nn.AveragePooling2D(2, 1, ((2, 0), (0, 0)))(np.ones((1, 3, 3, 1)))


def test_masked_steps_are_not_averaged():
    x = rng.normal(size=(3, 4, 2)).astype(np.float32)
    mask = np.array([[1, 1, 0, 0], [1, 0, 1, 1], [0, 0, 0, 0]], bool)
    y = nn.GlobalAveragePooling1D()(np.where(mask[..., None], x, np.nan), mask=mask).numpy()
    wanted = [x[0, :2].mean(0), x[1, [0, 2, 3]].mean(0), [0, 0]]
    np.testing.assert_allclose(y, wanted, rtol=1e-6)


def test_small_rearrangements():
    x = np.arange(8, dtype=np.float32).reshape(1, 2, 2, 2)
    np.testing.assert_array_equal(nn.Permute((2, 1, 3))(x), x.swapaxes(1, 2))
    np.testing.assert_array_equal(nn.Reshape((-1, 4))(x), x.reshape(1, 2, 4))
    grown = nn.UpSampling2D((1, 2))(x).numpy()
    np.testing.assert_array_equal(grown, x.repeat(2, axis=2))
    assert nn.ZeroPadding2D((1, 2))(x).shape == (1, 4, 6, 2)
    np.testing.assert_array_equal(nn.ZeroPadding2D(1)(x).numpy()[:, 1:-1, 1:-1], x)


REFUSED = [
    (nn.Conv1D, (3, (2, 2)), "Conv1D: kernel_size needs one positive integer"),
    (nn.Conv1D, (3, 2, 1, "full"), "(?s)unknown padding of Conv1D 'full'.*causal"),
    (nn.Conv2D, (3, 2, 1, "causal"), "unknown padding of Conv2D 'causal'"),
    (nn.DepthwiseConv2D, (3, 1, "valid", 0), "depth_multiplier must be an integer >= 1"),
    (nn.SeparableConv2D, (0, 3), "filters must be an integer >= 1"),
    (nn.AveragePooling1D, (2, (1, 1)), "strides needs one positive integer"),
    (nn.Reshape, ((2, -1, -1),), "at most one -1"),
    (nn.Permute, ((0, 1),), "needs each of 1..2 once"),
    (nn.ZeroPadding2D, ((1, 2, 3),), "padding must be"),
    (nn.UpSampling2D, (0,), "size needs one or two positive integers"),
    (nn.GroupNormalization, (0,), "groups must be an integer >= 1"),
    (nn.SpatialDropout2D, (1.0,), "rate must lie in 0..1, below 1"),
    (nn.GaussianNoise, (0,), "stddev must be above 0"),
    (nn.Embedding, (0, 3), "input_dim must be an integer >= 1"),
    (nn.MultiHeadAttention, (0, 3), "num_heads must be an integer >= 1"),
    (nn.Concatenate, ("last",), "axis must be an integer"),
]


@pytest.mark.parametrize(("cls", "args", "text"), REFUSED)
def test_wrong_arguments_are_refused(cls, args, text):
    with pytest.raises(cr.ArgumentError, match=text):
        cls(*args)


def test_groups_must_share_out_evenly():
    with pytest.raises(cr.ArgumentError, match="2 groups do not share out 3 filters"):
        nn.Conv2D(3, 2, groups=2)
    with pytest.raises(cr.ArgumentError, match="2 groups do not share out 3 channels"):
        nn.Conv2D(4, 2, groups=2)(np.ones((1, 4, 4, 3)))
    with pytest.raises(cr.ShapeError, match=r"has 2 groups, got 3 channels"):
        nn.GroupNormalization(2)(np.ones((1, 4, 3)))
    with pytest.raises(cr.ArgumentError, match="2 groups do not share out 3 channels"):
        nn.Conv2DTranspose(4, 2, groups=2)(np.ones((1, 4, 4, 3)))
