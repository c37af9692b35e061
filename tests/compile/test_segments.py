"""What becomes one native call: convolution, pooling, dropout and padding included."""

from __future__ import annotations

import numpy as np
import pytest

import chainrule as cr
from chainrule.ops.move import pad_op
from chainrule.ops.window import unwindows


def segments(f: object) -> list:
    """The segments of a function jitted and called once."""
    (entry,) = f.entries.values()  # type: ignore[attr-defined]
    return entry.program.draft().segments


def test_a_convolutional_step_with_dropout_is_one_native_call():
    rng = np.random.default_rng(0)
    x, kernel = rng.standard_normal((4, 6, 7, 2)), rng.standard_normal((3, 3, 2, 4))

    def loss(kernel, x, key):
        y = cr.max_pool2d(cr.relu(cr.conv2d(x, kernel, padding="same")), 2, stride=1)
        kept = cr.bernoulli(cr.fold_in(cr.fold_in(key, "dropout"), 3), 0.5, y.shape)
        return cr.mean(cr.where(kept, y, 0.0))

    step = cr.jit(cr.value_and_grad(loss))
    value, g = step(kernel, x, cr.key(5))
    exact, exact_g = cr.value_and_grad(loss)(kernel, x, cr.key(5))
    assert np.allclose(value, exact, rtol=1e-12) and np.allclose(g, exact_g, rtol=1e-10)
    assert len(segments(step)) == 1


@pytest.mark.parametrize("batch", [1, 5])
@pytest.mark.parametrize(
    ("size", "stride", "dilation"), [(2, 2, 1), (3, 1, 1), (2, 3, 1), (2, 1, 2)]
)
def test_overlap_add_on_several_threads(batch, size, stride, dilation):
    attrs = {
        "axes": (1, 2),
        "size": (size, size),
        "stride": (stride, stride),
        "dilation": (dilation, dilation),
    }
    reach = (size - 1) * dilation + 1
    count = (40 - reach) // stride + 1
    x = np.random.default_rng(1).standard_normal((batch, count, count, size, size, 17))
    f = cr.jit(lambda x: unwindows(x, extent=(40, 40), **attrs))
    exact = unwindows(x, extent=(40, 40), **attrs)
    assert np.allclose(f(x), exact, rtol=1e-13, atol=1e-13)
    assert all(segment.text for segment in segments(f))


@pytest.mark.parametrize("gap", [(0, 0), (1, 2)])
def test_pad_with_gaps(gap):
    x = np.random.default_rng(2).standard_normal((9, 35)).astype(np.float32)
    f = cr.jit(lambda x: pad_op(x, low=(1, 2), high=(3, 0), gap=gap, value=-np.inf))
    assert np.array_equal(f(x), pad_op(x, low=(1, 2), high=(3, 0), gap=gap, value=-np.inf))


def test_a_host_op_stands_between_native_segments():
    ids = np.array([0, 2, 2, 1])

    def f(table, ids):
        return cr.sum(cr.tanh(cr.sort(table * 2.0, 0)[ids]) ** 2)

    table = np.random.default_rng(3).standard_normal((3, 4))
    step = cr.jit(cr.value_and_grad(f))
    value, g = step(table, ids)
    exact, exact_g = cr.value_and_grad(f)(table, ids)
    assert np.allclose(value, exact, rtol=1e-12) and np.allclose(g, exact_g, rtol=1e-12)
    names = [segment.node.op.name for segment in segments(step) if segment.node is not None]
    assert names == ["argsort"]


def test_every_stage_prints_with_the_users_line(capsys, monkeypatch):
    monkeypatch.setenv("CHAINRULE_SHOW", "graph,rewrites,kernels,memory,llvm")
    cr.jit(lambda x: cr.sum(cr.tanh(x * 1.0)))(np.ones(40, np.float32))
    shown = capsys.readouterr().err
    for words in ("# graph", "tanh(", "test_segments.py", "drop_factor_one", "arena", "define"):
        assert words in shown, words
