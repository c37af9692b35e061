"""Images of another size: values by hand, gradients, and what is refused."""

from __future__ import annotations

import re

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn
from chainrule.ops.resize import resize

X = np.random.default_rng(8).normal(size=(2, 5, 4, 3))


def row(values: list, wanted: int, method: str) -> list:
    """One row of pixels resized."""
    x = np.array(values, float).reshape(1, 1, -1, 1)
    return cr.jit(lambda x: resize(x, (1, wanted), method))(x).numpy().ravel().tolist()


@pytest.mark.parametrize(
    ("values", "wanted", "method", "result"),
    [
        ([0, 4], 4, "bilinear", [0, 1, 3, 4]),
        ([0, 3, 9], 6, "bilinear", [0, 0.75, 2.25, 4.5, 7.5, 9]),
        ([0, 4, 8, 12], 2, "bilinear", [2, 10]),
        ([0, 6, 12], 2, "bilinear", [1.5, 10.5]),
        ([5, 7], 1, "bilinear", [6]),
        ([5], 3, "bilinear", [5, 5, 5]),
        ([1, 2, 3], 6, "nearest", [1, 1, 2, 2, 3, 3]),
        ([1, 2, 3], 4, "nearest", [1, 2, 2, 3]),
        ([1, 2, 3, 4], 2, "nearest", [2, 4]),
        ([1, 2, 3, 4, 5, 6], 2, "nearest", [2, 5]),
        ([1, 2, 3], 2, "nearest", [1, 3]),
    ],
)
def test_pixels_have_their_centres_at_halves(values, wanted, method, result):
    np.testing.assert_allclose(row(values, wanted, method), result, rtol=1e-14)


@pytest.mark.parametrize("method", ["nearest", "bilinear"])
@pytest.mark.parametrize("size", [(10, 8), (3, 7), (5, 2)], ids=str)
def test_resize_has_its_gradient_its_batch_and_native_code(method, size):
    fn = lambda x: resize(x, size, method)  # noqa: E731
    y = fn(X)
    assert y.shape == (2, *size, 3)
    np.testing.assert_allclose(cr.jit(fn)(X), y, rtol=1e-12)
    np.testing.assert_allclose(cr.vmap(fn)(X[None]), y.numpy()[None], rtol=1e-12)
    assert cr.check_gradient(lambda x: cr.sum(fn(x) ** 2), [X[:1]])
    np.testing.assert_allclose(fn(np.ones_like(X)), np.ones(y.shape), rtol=1e-14)


def test_the_same_size_is_the_same_image():
    x = cr.Tensor(X)
    assert resize(x, (5, 4)) is x and resize(x, (5, 4), "bilinear") is x
    small = np.arange(4, dtype=np.uint8).reshape(1, 2, 2, 1)
    assert resize(small, 4).dtype == np.uint8


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: resize(X, 2, "cubic"), "unknown method of resize 'cubic'"),
        (lambda: resize(X, (2, 0)), "resize: size needs one or two positive integers"),
        (lambda: resize(X[0], 2), "images are"),
        (lambda: resize(X[:, :0], 2), "an image without pixels"),
        (lambda: resize(np.ones((1, 2, 2, 1), int), 3, "bilinear"), "needs float images"),
        (lambda: nn.UpSampling2D(2, "cubic"), "unknown interpolation of UpSampling2D 'cubic'"),
    ],
)
def test_a_size_that_cannot_be_is_refused(call, message):
    with pytest.raises(cr.ChainruleError) as caught:
        call()
    assert re.search(message, caught.value.message)  # the whole text would show this file's line


SIZES = [(10, 8), (3, 5), (9, 11), (1, 1), (20, 2), (5, 17)]


@pytest.mark.parametrize("size", SIZES, ids=str)
@pytest.mark.parametrize(("method", "theirs"), [("nearest", "nearest-exact"), ("bilinear",) * 2])
def test_resize_is_pytorchs(size, method, theirs):
    torch = pytest.importorskip("torch", reason="PyTorch is not installed: pip install torch")
    x = torch.tensor(X, requires_grad=True)
    y = torch.nn.functional.interpolate(x.movedim(-1, 1), size=size, mode=theirs).movedim(1, -1)
    (y * y).sum().backward()
    g = cr.grad(lambda x: cr.sum(resize(x, size, method) ** 2))(X)
    np.testing.assert_allclose(resize(X, size, method), y.detach().numpy(), rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(g, x.grad.numpy(), rtol=1e-9, atol=1e-12)
