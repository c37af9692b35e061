"""Machine code against NumPy: elementwise functions to the ulp, products of any shape."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

import chainrule as cr
from chainrule.ops.random import uniform
from chainrule.ops.window import windows

EDGES = [0.0, -0.0, 1.0, -1.0, np.inf, -np.inf, np.nan, 1e-30, -1e-30]
RANGES = {
    "exp": (-87, 88, 1.1),  # below, float32 is subnormal, which is flushed
    "log": (1e-30, 1e30, 1.0),
    "tanh": (-12, 12, 2.0),
    "sigmoid": (-80, 80, 2.0),
    "sqrt": (0, 1e30, 0.5),
}


def ulps(y: np.ndarray, exact: np.ndarray) -> float:
    """The largest error in units of the last place of float32 results."""
    finite = np.isfinite(exact) & (np.abs(exact) > np.finfo(np.float32).tiny)
    assert np.array_equal(y[~finite & (exact != 0)], exact[~finite & (exact != 0)], equal_nan=True)
    gap = np.abs(y[finite].astype(np.float64) - exact[finite])
    return float((gap / np.spacing(np.abs(exact[finite]).astype(np.float32))).max())


@pytest.mark.parametrize("name", RANGES)
def test_elementwise_functions_are_right_to_the_ulp(name):
    low, high, bound = RANGES[name]
    rng = np.random.default_rng(0)
    x = rng.uniform(low, high, 100_000).astype(np.float32)
    small = np.exp(rng.uniform(-20, 0, 20_000)) * rng.choice([-1, 1], 20_000)
    x = np.concatenate([x, small.astype(np.float32), np.array(EDGES, np.float32)])
    fn = getattr(cr, name)
    with np.errstate(all="ignore"):
        exact = fn(x.astype(np.float64)).numpy()
    assert ulps(cr.jit(fn)(x).numpy(), exact) <= bound


def test_float64_functions_are_as_good():
    x = np.random.default_rng(1).uniform(-30, 30, 10_000)
    for name in ("exp", "tanh", "sigmoid"):
        fn = getattr(cr, name)
        assert np.allclose(cr.jit(fn)(x), fn(x), rtol=5e-16, atol=0), name
    assert np.allclose(cr.jit(cr.log)(np.exp(x)), x, rtol=1e-15, atol=1e-16)


def test_power_of_odd_cases():
    x = np.array([2.0, -2.0, -2.0, -2.0, 0.0, 0.0, 9.0, 1.0, np.nan], np.float32)
    z = np.array([0.5, 3.0, 2.0, 0.5, 0.0, 3.0, -0.5, np.nan, 0.0], np.float32)
    with np.errstate(all="ignore"):
        expected = np.power(x, z)
    assert np.allclose(cr.jit(cr.power)(x, z), expected, rtol=3e-7, equal_nan=True)


SIZES = [1, 2, 5, 13, 16, 17, 31, 33, 64, 100]


@pytest.mark.parametrize("spec", ["ik,kj->ij", "ki,kj->ij", "ik,jk->ij", "ki,jk->ij", "ik,kj->ji"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_products_in_every_orientation(spec, dtype):
    rng = np.random.default_rng(5)
    for m, n, k in [tuple(rng.choice(SIZES, 3)) for _ in range(6)] + [(1, 1, 1), (128, 10, 256)]:
        size = {"i": m, "j": n, "k": k}
        a, b = (
            rng.standard_normal([size[q] for q in part]).astype(dtype)
            for part in spec.split("->")[0].split(",")
        )
        y = cr.jit(lambda a, b: cr.contract(a, b, spec=spec))(a, b)
        exact = np.einsum(spec, a.astype(np.float64), b.astype(np.float64))
        bound = (4 + k) * np.finfo(dtype).eps * np.abs(exact).max() + 1e-30
        assert np.abs(y.numpy() - exact).max() <= bound * 4, (spec, m, n, k)


@pytest.mark.parametrize(
    ("spec", "a", "b"),
    [
        ("bik,bkj->bij", (3, 7, 5), (3, 5, 19)),
        ("bhik,bhjk->bhij", (2, 3, 7, 5), (2, 3, 9, 5)),
        ("bihk,bjhk->bhij", (2, 7, 3, 5), (2, 9, 3, 5)),
        ("i,i->", (37,), (37,)),
        ("i,j->ij", (7,), (33,)),
        ("ik,k->i", (9, 21), (21,)),
        ("nhwijc,ijco->nhwo", (2, 3, 4, 2, 2, 3), (2, 2, 3, 5)),
        ("nhwijc,nhwo->ijco", (2, 3, 4, 2, 2, 3), (2, 3, 4, 5)),
    ],
)
def test_contractions_with_several_letters(spec, a, b):
    rng = np.random.default_rng(6)
    a, b = rng.standard_normal(a), rng.standard_normal(b)
    y = cr.jit(lambda a, b: cr.contract(a, b, spec=spec) * 2.0 + 1.0)(a, b)
    assert np.allclose(y, np.einsum(spec, a, b) * 2 + 1, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("shape", [(5,), (3, 40), (40, 3), (2, 3, 37), (4, 1, 5, 16), (1, 1)])
def test_reductions_and_what_follows_them(shape):
    x = np.random.default_rng(7).standard_normal(shape)
    axes = [
        c for r in range(1, len(shape) + 1) for c in itertools.combinations(range(len(shape)), r)
    ]
    for axis in axes:

        def f(x, axis=axis):
            centred = x - cr.mean(x, axis, keepdims=True)
            spread = cr.sqrt(cr.mean(centred * centred, axis, keepdims=True) + 1.0)
            return centred / spread, cr.max(centred, axis), cr.sum(cr.exp(x), axis)

        for y, exact in zip(cr.jit(f)(x), f(x), strict=True):
            assert np.allclose(y, exact, rtol=1e-12, atol=1e-13), axis


def test_convolution_and_pooling_steps_agree_with_numpy():
    rng = np.random.default_rng(8)
    x, kernel = rng.standard_normal((3, 9, 8, 2)), rng.standard_normal((3, 2, 2, 5))

    def loss(kernel, x):
        y = cr.conv2d(x, kernel, stride=(2, 1), padding="same", dilation=(1, 2))
        return cr.sum(cr.tanh(cr.max_pool2d(y, 2)))

    for y, exact in zip(
        cr.jit(cr.value_and_grad(loss, argnums=(0, 1)))(kernel, x)[1],
        cr.grad(loss, argnums=(0, 1))(kernel, x),
        strict=True,
    ):
        assert np.allclose(y, exact, rtol=1e-11, atol=1e-12)


def test_random_bits_are_the_reference_bits():
    key = cr.key(12)
    for shape in [(5,), (3, 50), (7, 11, 2)]:
        draw = lambda key, shape=shape: cr.uniform(key, shape)  # noqa: E731
        assert np.array_equal(cr.jit(draw)(key), draw(key))
        coin = lambda key, shape=shape: cr.bernoulli(key, 0.3, shape)  # noqa: E731
        assert np.array_equal(cr.jit(coin)(key), coin(key))


def test_a_lesser_cpu_computes_the_same_training(mlp, python):
    text = (
        "import sys; sys.path.insert(0, 'tests/compile'); import conftest;"
        "print(conftest.Mlp('float64').train(5)[0])"
    )
    here = mlp("float64").train(5)[0]
    there = eval(python(text, CHAINRULE_CPU="haswell"))
    assert np.allclose(here, there, rtol=1e-12)


def test_random_bits_beside_a_reduction_and_of_a_key_that_is_a_view():
    keys = np.random.default_rng(0).integers(0, 2**32, (2, 4)).astype(np.uint32)
    x = np.ones((5, 7), np.float32)

    def f(x, keys):
        return cr.sum(x, axis=1) * uniform(keys[:, 1], (5,))

    keys = cr.Tensor(keys)
    assert np.array_equal(cr.jit(f)(x, keys), f(x, keys))


def test_signs_of_zero_and_unsigned_numbers_of_abs_and_a_constant_nan():
    for x in (np.float32([0.0, -0.0, -2, np.nan, -np.inf]), np.uint8([0, 5, 200])):
        y = cr.jit(lambda x: abs(x))(x).numpy()
        assert np.array_equal(y, np.abs(x), equal_nan=True) and not np.signbit(y[:3]).any()
    assert np.isnan(cr.jit(lambda x: cr.maximum(x, np.nan))(np.ones(3, np.float32))).all()


@pytest.mark.parametrize("spec", ["cxa,cbx->acb", "cxa,cbx->bac"])
def test_a_transposed_product_of_operands_that_are_laid_out_first(spec):
    rng = np.random.default_rng(0)
    a, b = rng.standard_normal((3, 4, 5)), rng.standard_normal((3, 6, 4))
    found = cr.jit(lambda a, b: cr.contract(a, b, spec=spec))(a, b)
    np.testing.assert_allclose(found, np.einsum(spec, a, b), rtol=1e-12)


def test_overlapping_windows_along_the_first_axis_add_up_on_any_number_of_threads():
    rng = np.random.default_rng(0)
    z, w = rng.standard_normal((200, 200)), rng.standard_normal((196, 196, 5, 5))

    def f(z):
        attrs = dict(axes=(0, 1), size=(5, 5), stride=(1, 1), dilation=(1, 1))
        return cr.sum(windows(z, **attrs) * w)

    wanted, step = cr.grad(f)(z), cr.jit(cr.grad(f))
    for _ in range(20):
        np.testing.assert_allclose(step(z), wanted, rtol=1e-9, atol=1e-12)


def test_long_sums_keep_their_digits():
    x = np.full(5_000_003, 0.1, np.float32)
    assert np.isclose(float(cr.jit(cr.sum)(x)), x.astype(np.float64).sum(), rtol=3e-6)
    tall = np.full((300_007, 3), 0.1, np.float32)
    columns = cr.jit(lambda x: cr.sum(x, axis=0))(tall)
    assert np.allclose(columns, tall.astype(np.float64).sum(0), rtol=3e-6)
    deep = np.full((40, 50, 60, 5), 0.1, np.float32)
    images = cr.jit(lambda x: cr.sum(x, axis=(0, 1, 2)))(deep)
    assert np.allclose(images, deep.astype(np.float64).sum((0, 1, 2)), rtol=3e-6)
    assert float(cr.jit(cr.max)(-x)) == np.float32(-0.1)
