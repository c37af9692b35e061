"""Compiled loops: one native call, what can be done once is, and every kind of carry."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule.grad.scan import Loop

rng = np.random.default_rng(0)


def loops_of(jitted: Any) -> list[Loop]:
    program = next(iter(jitted.entries.values())).program
    return [n.attrs["holds"] for n in program.unfolded.order if n.op.name == "scan"]


def recurrent(w: Any, u: Any, b: Any, xs: Any, h: Any) -> Any:
    def step(h: Any, x: Any) -> Any:
        h = cr.tanh(x @ w + h @ u + b)
        return h, h

    h, ys = cr.scan(step, h, xs)
    return cr.sum(h * h) + cr.sum(ys * ys * ys)


def arguments(length: int = 5, dtype: str = "float64") -> list[np.ndarray]:
    shapes = (4, 3), (3, 3), (3,), (length, 2, 4), (2, 3)
    return [rng.normal(size=shape).astype(dtype) for shape in shapes]


def test_weight_gradients_are_made_once_after_the_loop() -> None:
    grad = cr.jit(cr.grad(recurrent, (0, 1, 2)))
    args = arguments()
    for found, wanted in zip(grad(*args), cr.grad(recurrent, (0, 1, 2))(*args), strict=True):
        np.testing.assert_allclose(found.numpy(), wanted.numpy(), rtol=1e-11)
    back = next(loop for loop in loops_of(grad) if loop.reverse)
    assert back.carries == 1, "the sums for w, u and b are no carries"


def test_products_of_slices_are_made_once_before_the_loop() -> None:
    forward = cr.jit(recurrent)
    args = arguments()
    np.testing.assert_allclose(forward(*args).item(), recurrent(*args).item(), rtol=1e-12)
    (loop,) = loops_of(forward)
    products = [n for n in loop.body.order if n.op.name == "contract"]
    assert len(products) == 1, "x @ w stands outside, h @ u inside"


def test_what_is_constant_is_computed_once() -> None:
    def decayed(w: Any, h: Any) -> Any:
        return cr.scan(lambda h, _: (h * cr.exp(cr.sum(w * w) * -0.01), None), h, length=6)[0]

    compiled = cr.jit(decayed)
    w, h = rng.normal(size=4), rng.normal(size=3)
    np.testing.assert_allclose(compiled(w, h).numpy(), decayed(w, h).numpy(), rtol=1e-12)
    (loop,) = loops_of(compiled)
    assert {n.op.name for n in loop.body.order if n.op.kind != "movement"} == {"input", "multiply"}


def total(x: Any) -> Any:
    return cr.scan(lambda c, x: (c + x, c), x[0] * 0.0, x)


def both_ways(x: Any) -> Any:
    def step(carry: Any, x: Any) -> Any:
        h, kept, count = carry
        new = cr.sin(h + x)
        return (new, kept, count + 1), (new, h, x, kept, count)

    return cr.scan(step, (x[0], x[1], np.int32(3)), x, reverse=True)


def swapped(x: Any) -> Any:
    return cr.scan(lambda c, x: ((c[1], c[0] + x), None), (x[0], x[1]), x)


def alike(x: Any) -> Any:
    return cr.scan(lambda c, x: ((c[0] * x, c[0] * x), c[1]), (x[0], x[1]), x)


def number_kept(x: Any) -> Any:
    def step(c: Any, x: Any) -> Any:
        new = cr.sin(c + cr.sum(x))
        return new, new

    return cr.scan(step, x[0, 0], x), cr.scan(step, x[0, 0], x, reverse=True)


def in_turn(x: Any) -> Any:
    def outer(c: Any, x: Any) -> Any:
        return cr.scan(lambda c, _: (cr.sin(c) + x, c), c, length=3)

    return cr.scan(outer, x[0], x)


@pytest.mark.parametrize("length", [1, 2, 7, 256, 515])
@pytest.mark.parametrize("fn", [total, both_ways, swapped, alike, number_kept, in_turn])
def test_carries_of_every_kind(fn: Callable, length: int) -> None:
    x = rng.normal(size=(max(length, 2), 5))
    found, wanted = (cr.flatten(f(x))[0] for f in (cr.jit(fn), fn))
    for a, b in zip(found, wanted, strict=True):
        np.testing.assert_allclose(a.numpy(), b.numpy(), rtol=1e-11)


def test_a_loop_is_one_native_call(monkeypatch: pytest.MonkeyPatch) -> None:
    step = cr.jit(recurrent)
    args = arguments(40)
    step(*args)

    def refused(*_: Any) -> None:
        raise AssertionError("a step was run from Python")

    monkeypatch.setattr(Loop, "run", refused)
    step(*args)


def test_loops_give_the_same_bits_on_one_thread_and_two(python: Callable) -> None:
    code = """
import numpy as np, chainrule as cr
rng = np.random.default_rng(0)
w, x, h = (rng.normal(size=s).astype("float32") for s in ((96, 96), (12, 64, 96), (64, 96)))
def loss(w, x, h):
    return cr.sum(cr.scan(lambda h, x: (cr.tanh(h @ w * 0.1 + x), h), h, x)[0] ** 2)
print(cr.jit(cr.grad(loss))(w, x, h).numpy().tobytes().hex()[:4000])
"""
    assert python(code, CHAINRULE_THREADS="1") == python(code, CHAINRULE_THREADS="2")
