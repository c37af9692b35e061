"""The sum of the squares of a product, made in the kernel that makes the product."""

from __future__ import annotations

import numpy as np
import pytest

import chainrule as cr
from chainrule.compile import threads
from chainrule.compile.squares import MOST, SHARE

SIZES = [(1, 1, 3), (3, 20, 5), (14, 32, 9), (29, 33, 7), (200, 7, 40), (97, 130, 60), (300, 1, 2)]


def with_squares(a, b, spec="ik,kj->ij"):
    y = cr.contract(a, b, spec=spec)
    return y, cr.sum(y * y)


def drawn(*shape, dtype="float32"):
    return np.random.default_rng(shape).standard_normal(shape).astype(dtype)


def draft(jitted):
    (entry,) = jitted.entries.values()
    return entry.program.draft()


@pytest.mark.parametrize("spec", ["ik,kj->ij", "ki,kj->ij", "ik,kj->ji"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_squares_of_products_of_every_size_are_all_added(spec, dtype):
    pairs = []
    for m, n, depth in SIZES:
        size = {"i": m, "j": n, "k": depth}
        pairs.append([drawn(*(size[q] for q in own), dtype=dtype) for own in spec[:5].split(",")])
    found = cr.jit(lambda pairs: [with_squares(a, b, spec) for a, b in pairs])(pairs)
    for (a, b), (y, squares) in zip(pairs, found, strict=True):
        wanted = np.einsum(spec, a.astype("float64"), b.astype("float64"))
        eps = np.finfo(dtype).eps
        np.testing.assert_allclose(y.numpy(), wanted, rtol=0, atol=64 * eps * np.abs(wanted).max())
        np.testing.assert_allclose(squares.item(), np.sum(wanted**2), rtol=64 * eps)


def test_a_gradient_and_its_squares_are_one_kernel_with_a_small_sum_after_it():
    def loss(w, x):
        return cr.mean(cr.tanh(x @ w))

    def step(w, x):
        g = cr.grad(loss)(w, x)
        total = cr.sum(g * g)
        return w - 0.1 * g / cr.sqrt(total), g * g, total

    f = cr.jit(step)
    args = drawn(70, 40), drawn(9, 70)
    for found, wanted in zip(f(*args), step(*args), strict=True):
        np.testing.assert_allclose(found.numpy(), wanted.numpy(), rtol=2e-5, atol=1e-9)
    kernels = draft(f).kernels
    (made,) = [k for k in kernels if "square_parts" in k.name]
    assert made.name.startswith("contract") and made.space == (70, 40)
    assert [k.space for k in kernels if "sum" in k.name] == [(-(-70 * 40 // SHARE),)]


def test_squares_are_known_however_they_are_written():
    def f(a, b):
        y = cr.matmul(a, b)
        return y, cr.sum(cr.square(y)), cr.sum(y.T * y.T, keepdims=True), cr.mean(y**2)

    jitted, args = cr.jit(f), (drawn(40, 9), drawn(9, 50))
    for found, wanted in zip(jitted(*args), f(*args), strict=True):
        np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-5)
    names = [k.name for k in draft(jitted).kernels]
    assert names[0] == "contract+square_parts" and not any("square" in name for name in names[1:])


def test_however_large_the_product_its_parts_are_few():
    f = cr.jit(with_squares)
    f(drawn(300, 4), drawn(4, 200))
    assert [k.space for k in draft(f).kernels if k.name == "sum"] == [(MOST,)]


def test_an_infinite_row_has_infinite_squares_where_the_last_vector_is_part_full():
    a, b = np.array([[1.0], [np.inf]], np.float32), np.ones((1, 3), np.float32)
    y, squares = cr.jit(with_squares)(a, b)
    assert np.array_equal(y.numpy(), a @ b) and squares.item() == np.inf
    a[1] = np.nan
    assert np.isnan(cr.jit(with_squares)(a, b)[1].item())


def test_squares_of_a_convolutions_output_are_added_over_nested_axes():
    x, w = drawn(3, 9, 8, 5), drawn(3, 3, 5, 20)

    def f(x, w):
        y = cr.conv2d(x, w, padding="same")
        return cr.sum(y * y), cr.relu(y + 1.0)

    squares, y = cr.jit(f)(x, w)
    wanted, exact = f(x.astype("float64"), w.astype("float64"))
    np.testing.assert_allclose(squares.item(), wanted.item(), rtol=1e-5)
    np.testing.assert_allclose(y.numpy(), exact.numpy(), rtol=1e-5, atol=1e-4)


def test_a_loop_whose_step_adds_squares_stays_native():
    def f(w, xs, h):
        def step(h, x):
            y, z = x @ w, h @ w
            return h * 0.5 + cr.sum(y * y) + cr.sum(z * z), cr.sum(y * y)

        return cr.scan(step, h, xs)

    args = drawn(6, 6, dtype="float64"), drawn(4, 2, 6, dtype="float64"), drawn(2, 6) / 10.0
    args = tuple(x.astype("float64") / 8 for x in args)
    jitted = cr.jit(f)
    for found, wanted in zip(jitted(*args), f(*args), strict=True):
        np.testing.assert_allclose(found.numpy(), wanted.numpy(), rtol=1e-12)
    assert not [k.name for k in draft(jitted).kernels if k.host and "square" in k.name]


def test_squares_have_the_same_bits_on_any_number_of_threads(monkeypatch):
    f = cr.jit(with_squares)
    a, b = drawn(90, 300), drawn(300, 210)
    found = {f(a, b)[1].item()}
    (entry,) = f.entries.values()
    for count in range(1, threads.pool().count + 1):
        monkeypatch.setattr(entry.program.native, "threads", count)
        found |= {f(a, b)[1].item() for _ in range(20)}
    assert len(found) == 1
