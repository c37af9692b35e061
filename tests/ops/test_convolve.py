"""Convolutions and poolings as functions, against sums written out in NumPy and each other."""

from __future__ import annotations

import re

import numpy as np
import pytest

import chainrule as cr
from chainrule.ops.convolve import (
    conv1d,
    conv2d,
    conv_transpose1d,
    conv_transpose2d,
    depthwise_conv2d,
)
from chainrule.ops.pool import average_pool1d, average_pool2d, max_pool1d, max_pool2d

RNG = np.random.default_rng(6)
IMAGE, SERIES = RNG.normal(size=(2, 6, 5, 4)), RNG.normal(size=(2, 7, 4))


@pytest.fixture(params=[lambda fn: fn, cr.jit], ids=["eager", "compiled"])
def run(request):
    return request.param


def test_conv1d_is_conv2d_of_one_row(run):
    kernel = RNG.normal(size=(3, 2, 6))
    for padding, rows in (("valid", "valid"), ("same", "same"), (((2, 1),), ((0, 0), (2, 1)))):
        found = run(lambda x, k: conv1d(x, k, 2, padding, groups=2))(SERIES, kernel)  # noqa: B023
        wanted = conv2d(SERIES[:, None], kernel[None], (1, 2), rows, groups=2)
        np.testing.assert_allclose(found, wanted.numpy()[:, 0], rtol=1e-12)


def test_causal_margins_stand_before_the_series(run):
    kernel = RNG.normal(size=(3, 4, 2))
    found = run(lambda x, k: conv1d(x, k, padding="causal", dilation=2))(SERIES, kernel)
    wanted = conv1d(np.pad(SERIES, [(0, 0), (4, 0), (0, 0)]), kernel, dilation=2)
    np.testing.assert_allclose(found, wanted, rtol=1e-12)


def test_groups_are_convolutions_side_by_side(run):
    kernel = RNG.normal(size=(3, 2, 2, 6))
    found = run(lambda x, k: conv2d(x, k, 1, "same", groups=2))(IMAGE, kernel).numpy()
    parts = zip(np.split(IMAGE, 2, -1), np.split(kernel, 2, -1), strict=True)
    wanted = np.concatenate([conv2d(x, k, padding="same") for x, k in parts], -1)
    np.testing.assert_allclose(found, wanted, rtol=1e-12)


def test_depthwise_is_a_group_for_each_channel(run):
    kernel = RNG.normal(size=(2, 3, 4, 2))
    found = run(lambda x, k: depthwise_conv2d(x, k, 2, "same"))(IMAGE, kernel)
    wanted = conv2d(IMAGE, kernel.reshape(2, 3, 1, 8), 2, "same", groups=4)
    np.testing.assert_allclose(found, wanted, rtol=1e-12)


STEPS = [
    dict(stride=1, padding="valid", dilation=1, groups=1),
    dict(stride=2, padding="same", dilation=1, groups=2),
    dict(stride=3, padding="valid", dilation=2, groups=1),
    dict(stride=2, padding=((1, 0), (0, 2)), dilation=1, groups=2),
]


@pytest.mark.parametrize("steps", STEPS)
def test_the_transposed_convolution_is_the_gradient_of_the_convolution(run, steps):
    """<y, conv(x)> = <conv_transpose(y), x>, so it is the slope in x."""
    kernel, y = RNG.normal(size=(3, 2, 6 // steps["groups"], 4)), RNG.normal(size=(2, 4, 3, 4))
    spread = run(lambda y, k: conv_transpose2d(y, k, **steps))(y, kernel)
    x = RNG.normal(size=spread.shape)
    slope = cr.grad(lambda x: cr.sum(conv2d(x, kernel, **steps) * y))(x)
    np.testing.assert_allclose(spread, slope, rtol=1e-10, atol=1e-12)


def test_one_axis_is_transposed_as_two_are(run):
    kernel = RNG.normal(size=(3, 2, 4))
    found = run(lambda x, k: conv_transpose1d(x, k, 2, "same", groups=2))(SERIES, kernel).numpy()
    wanted = conv_transpose2d(SERIES[:, None], kernel[None], (1, 2), "same", groups=2)
    np.testing.assert_allclose(found, wanted.numpy()[:, 0], rtol=1e-12)
    assert found.shape == (2, 14, 4)


FUNCTIONS = {
    "conv1d": (lambda x, k: conv1d(x, k, 2, "causal", groups=2), SERIES, (2, 2, 4)),
    "conv2d": (lambda x, k: conv2d(x, k, 2, "same", groups=2), IMAGE, (2, 3, 2, 4)),
    "depthwise": (lambda x, k: depthwise_conv2d(x, k, dilation=2), IMAGE, (2, 2, 4, 2)),
    "transpose1d": (lambda x, k: conv_transpose1d(x, k, 2, "same"), SERIES, (3, 2, 4)),
    "transpose2d": (lambda x, k: conv_transpose2d(x, k, 2, groups=2), IMAGE, (3, 1, 2, 4)),
}


@pytest.mark.parametrize(("fn", "x", "shape"), FUNCTIONS.values(), ids=FUNCTIONS)
def test_a_convolution_has_its_gradient_and_its_batch(fn, x, shape):
    kernel = RNG.normal(size=shape)
    loss = lambda x, k: cr.sum(fn(x, k) ** 2)  # noqa: E731
    assert cr.check_gradient(loss, [x[:1], kernel])
    many = np.stack([x, x[::-1]])
    found = cr.vmap(fn, in_axes=(0, None))(many, kernel)
    np.testing.assert_allclose(found, np.stack([fn(part, kernel) for part in many]), rtol=1e-12)


def sides(padding, size: int, stride: int) -> tuple[int, int]:
    """The margins of a series of 7."""
    total = max(0, (-(-7 // stride) - 1) * stride + size - 7)
    named = {"valid": (0, 0), "same": (total // 2, total - total // 2)}
    return named[padding] if isinstance(padding, str) else padding[0]


@pytest.mark.parametrize("padding", ["valid", "same", ((1, 0),)], ids=str)
@pytest.mark.parametrize(("size", "stride"), [(2, None), (3, 1), (3, 2)])
def test_a_pool_sees_its_own_window(run, size, stride, padding):
    before, after = sides(padding, size, stride or size)
    starts = range(-before, 7 + after - size + 1, stride or size)
    parts = [SERIES[:, max(a, 0) : a + size] for a in starts]
    for function, reduced in ((max_pool1d, np.max), (average_pool1d, np.mean)):
        found = run(lambda x: function(x, size, stride, padding))(SERIES)  # noqa: B023
        wanted = np.stack([reduced(part, 1) for part in parts], 1)
        np.testing.assert_allclose(found, wanted, rtol=1e-12)


@pytest.mark.parametrize("function", [max_pool2d, average_pool2d])
def test_a_pool_of_images_has_its_gradient(function):
    loss = lambda x: cr.sum(function(x, (3, 2), 2, "same") ** 2)  # noqa: E731
    assert cr.check_gradient(loss, [IMAGE[:1]])
    ones = function(np.ones((1, 5, 4, 2)), 3, 2, "same")
    np.testing.assert_allclose(ones, np.ones((1, 3, 2, 2)), rtol=1e-12)


REFUSED = [
    (lambda: conv1d(IMAGE, np.ones((2, 4, 3))), r"series are \(batch, time, channels\), got"),
    (lambda: conv1d(SERIES, np.ones((2, 3, 3))), r"needs a \(length, channels, out\) kernel"),
    (lambda: conv2d(IMAGE, np.ones((2, 2, 4, 3)), groups=2), "channels / 2, out"),
    (lambda: conv2d(IMAGE, np.ones((2, 2, 2, 3)), groups=2), "2 groups do not share out 4 chan"),
    (lambda: conv2d(IMAGE, np.ones((2, 2, 4, 3)), padding="causal"), "unknown padding of conv2d"),
    (lambda: conv2d(IMAGE, np.ones((2, 2, 4, 3)), 0), "conv2d: stride needs one or two positive"),
    (lambda: conv2d(IMAGE, np.ones((9, 2, 4, 3))), "does not fit into"),
    (lambda: depthwise_conv2d(IMAGE, np.ones((2, 2, 3, 1))), "channels, multiplier"),
    (lambda: conv_transpose2d(IMAGE, np.ones((2, 2, 4, 3))), "out, channels"),
    (lambda: conv_transpose1d(SERIES, np.ones((2, 3, 4)), padding="causal"), "unknown padding"),
    (lambda: conv_transpose1d(SERIES, np.ones((2, 3, 4)), padding=((4, 4),)), "leave nothing"),
    (lambda: conv_transpose1d(SERIES, np.ones((2, 3, 4)), groups=3), "3 groups do not share out"),
    (lambda: average_pool2d(IMAGE, 2, 1, ((2, 0), (0, 0))), "lies in the margin alone"),
    (lambda: max_pool2d(IMAGE, 2, 1, ((2, 0), (0, 0))), "lies in the margin alone"),
    (lambda: max_pool2d(np.ones((1, 4, 4, 1), int)), "needs float input, got int64"),
    (lambda: average_pool1d(SERIES, 8), "does not fit into"),
]


@pytest.mark.parametrize(("call", "message"), REFUSED)
def test_a_convolution_or_pool_that_cannot_be_is_refused(call, message):
    with pytest.raises(cr.ChainruleError) as caught:
        call()
    assert re.search(message, caught.value.message)  # the whole text would show this file's line
