"""einsum of any spec is NumPy's, eager and compiled, with right gradients."""

from __future__ import annotations

import numpy as np
import pytest

import chainrule as cr

SIZE = {"a": 2, "b": 3, "c": 4, "i": 3, "j": 3, "k": 5}
SPECS = [
    "ij->ji", "ij->", "ij->i", "ii->i", "ii->", "ii", "iij->j", "iii->i", "ij,jk->ik", "ij,jk",
    "aij,ajk->aik", "i,j->ij", "ij,ij->", "ij,k->j", "ab,bc,ck->ak", "ab,b,a->", "ii,ij->j",
    "ij,ji->i", "ab,ab,ab->ab", "ba,c", "ka,bk,cb,jc->aj", "i,i,i->", "aa,ab,bb->b",
]  # fmt: skip
RNG = np.random.default_rng(7)


@pytest.fixture(params=[lambda fn: fn, cr.jit], ids=["eager", "compiled"])
def run(request):
    return request.param


def operands(spec):
    return [RNG.normal(size=[SIZE[q] for q in t]) for t in spec.split("->")[0].split(",")]


@pytest.mark.parametrize("spec", SPECS)
def test_einsum_is_numpys(run, spec):
    given = operands(spec)
    found = run(lambda *x: cr.einsum(spec, *x))(*given).numpy()
    np.testing.assert_allclose(found, np.einsum(spec, *given), rtol=1e-10, atol=1e-13)


@pytest.mark.parametrize("spec", ["ii->i", "iij->j", "ii,ij->j", "ab,b,a->", "ij,k->j"])
def test_einsum_has_the_gradient_of_differences(spec):
    given = operands(spec)
    assert cr.check_gradient(lambda *x: cr.sum(cr.einsum(spec, *x) ** 2), given)


@pytest.mark.parametrize(
    ("spec", "shapes"),
    [
        ("...ij,...jk->...ik", [(2, 3, 4), (5, 1, 4, 2)]), ("...i->...", [(2, 3)]),
        ("...i,i", [(2, 4, 3), (3,)]), ("i...,i...->...", [(3, 2), (3, 4, 2)]),
        ("ij,ij->ij", [(1, 3), (2, 3)]), ("...,...->...", [(2, 1), (3,)]),
    ],
    ids=str,
)  # fmt: skip
def test_hidden_axes_broadcast(run, spec, shapes):
    given = [RNG.normal(size=shape) for shape in shapes]
    found = run(lambda *x: cr.einsum(spec, *x))(*given).numpy()
    np.testing.assert_allclose(found, np.einsum(spec, *given), rtol=1e-10, atol=1e-13)


@pytest.mark.parametrize("axes", [0, 1, 2, ([1, 2], [0, 1]), ([0, -1], [2, 1]), (1, 0)], ids=str)
def test_tensordot_is_numpys(run, axes):
    x, z = RNG.normal(size=(3, 3, 3)), RNG.normal(size=(3, 3, 3))
    found = run(lambda x, z: cr.tensordot(x, z, axes))(x, z).numpy()
    np.testing.assert_allclose(found, np.tensordot(x, z, axes), rtol=1e-10)


def test_vecdot_broadcasts_all_but_its_axis(run):
    x, z = RNG.normal(size=(4, 2, 1, 3)), RNG.normal(size=(2, 5, 3))
    wanted = np.sum(x * z, -1)
    np.testing.assert_allclose(run(cr.vecdot)(x, z).numpy(), wanted, rtol=1e-10)
    found = run(lambda x, z: cr.vecdot(x, z, 0))(x[:, 0, 0], x[:, 1, 0]).numpy()
    np.testing.assert_allclose(found, np.sum(x[:, 0, 0] * x[:, 1, 0], 0), rtol=1e-10)


@pytest.mark.parametrize(
    ("spec", "shapes", "error", "message"),
    [
        ("ij,jk->ik", [(2, 3), (4, 5)], cr.ShapeError, "equal extents for 'j'"),
        ("ij->ij", [(2,)], cr.ShapeError, "as many axes as letters"),
        ("ij->ij", [(2, 3), (2, 3)], cr.ArgumentError, "names 1 operands, got 2"),
        ("ij->iik", [(2, 3)], cr.ArgumentError, "each result's once"),
        ("i1->i", [(2, 3)], cr.ArgumentError, "needs letters"),
    ],
)
def test_einsum_is_refused(spec, shapes, error, message):
    with pytest.raises(error, match=message):
        cr.einsum(spec, *[np.ones(shape) for shape in shapes])
