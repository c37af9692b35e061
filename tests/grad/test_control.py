"""scan, cond and checkpoint keep every claim of `op_checks.py`, like any op; and wrong input."""

from __future__ import annotations

import gc
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule.core.op import OPS, Sample, Spec, sample
from tests.op_checks import CHECKS


@dataclass(eq=False)
class Whole:
    """A function that looks like an op to the checks; `plain` is its meaning in NumPy."""

    name: str
    function: Callable
    plain: Callable
    samples: tuple[Sample, ...]
    kind: str = "control"
    deriv: Any = None
    domain: tuple[float, float] = (-2.0, 2.0)
    exact_below: float = np.inf

    def __call__(self, *args: Any, **attrs: Any) -> cr.Tensor:
        return self.function(*[cr.Tensor(x) if not isinstance(x, cr.Tensor) else x for x in args])

    def ref(self, *arrays: np.ndarray) -> np.ndarray:
        return self.plain(*arrays)

    def infer(self, *arrays: np.ndarray) -> Spec:
        y = self.plain(*arrays)
        return Spec(y.shape, y.dtype)


def joined(*parts: cr.Tensor) -> cr.Tensor:
    return cr.concatenate([cr.reshape(x, (-1,)) for x in parts])


def flat(*parts: np.ndarray) -> np.ndarray:
    return np.concatenate([np.reshape(x, (-1,)) for x in parts])


def recurrent(h: Any, xs: Any, w: Any) -> Any:
    def step(h: Any, x: Any) -> Any:
        h = cr.tanh(h @ w + x)
        return h, (h * h, x)

    return joined(*cr.flatten(cr.scan(step, h, xs))[0])


def recurrent_plain(h: Any, xs: Any, w: Any) -> Any:
    rows = []
    for x in xs:
        h = np.tanh(h @ w + x)
        rows.append(h * h)
    return flat(h, np.stack(rows), xs)


def backwards(h: Any, xs: Any, w: Any) -> Any:
    def step(carry: Any, x: Any) -> Any:
        h, count = carry
        return (h * x + w, count + 1), h * cr.cast(count, h.dtype)

    (h, count), ys = cr.scan(step, (h, np.int32(1)), xs, reverse=True)
    return joined(h, ys, cr.cast(count, h.dtype))


def backwards_plain(h: Any, xs: Any, w: Any) -> Any:
    rows: list = [None] * len(xs)
    for t in reversed(range(len(xs))):
        rows[t] = h * (len(xs) - t)
        h = h * xs[t] + w
    return flat(h, np.stack(rows), np.asarray(len(xs) + 1, h.dtype))


def nested(x: Any, w: Any) -> Any:
    def inner(total: Any, row: Any) -> Any:
        total = total + cr.sin(row * w)
        return total, total

    def outer(total: Any, rows: Any) -> Any:
        total, each = cr.scan(inner, total, rows)
        return total * 0.5, each

    total, each = cr.scan(outer, x[0, 0] * 0.0, x)
    return joined(total, each)


def nested_plain(x: Any, w: Any) -> Any:
    total, rows = x[0, 0] * 0, []
    for group in x:
        for row in group:
            total = total + np.sin(row * w)
            rows.append(total)
        total = total * x.dtype.type(0.5)
    return flat(total, np.stack(rows))


def powers(x: Any) -> Any:
    return joined(*cr.flatten(cr.scan(lambda c, _: (c * x, c), x, length=4))[0])


def chosen(p: Any, x: Any, w: Any) -> Any:
    def double(x: Any) -> Any:
        return cr.sin(x) @ w, x

    return joined(*cr.cond(p, double, lambda x: (x[..., :2] * w[0], x * x), x))


def chosen_plain(p: Any, x: Any, w: Any) -> Any:
    return flat(np.sin(x) @ w, x) if p else flat(x[..., :2] * w[0], x * x)


def kept_apart(x: Any, w: Any) -> Any:
    layer = cr.checkpoint(lambda x: cr.tanh(cr.sin(x @ w)))
    return layer(layer(x)) * x


def together(x: Any, w: Any) -> Any:
    for_layer = np.tanh(np.sin(x @ w))
    return np.tanh(np.sin(for_layer @ w)) * x


WHOLE = [
    Whole("scan", recurrent, recurrent_plain, (sample((2, 3), (4, 2, 3), (3, 3)),)),
    Whole("scan-one", recurrent, recurrent_plain, (sample((1, 2), (1, 1, 2), (2, 2)),)),
    Whole("scan-reverse", backwards, backwards_plain, (sample((3,), (4, 3), (3,)),)),
    Whole("scan-in-scan", nested, nested_plain, (sample((2, 3, 2), (2,)),)),
    Whole("scan-length", powers, lambda x: flat(x**5, x, x**2, x**3, x**4), (sample((2,)),)),
    Whole("cond-yes", chosen, chosen_plain, (sample(np.array(True), (2, 3), (3, 2)),)),
    Whole("cond-no", chosen, chosen_plain, (sample(np.array(False), (2, 3), (3, 2)),)),
    Whole("checkpoint", kept_apart, together, (sample((2, 3), (3, 3)),)),
]
# A reference that multiplies in another order is right to rounding; the values of the loop, in
# float64 and where it is compiled, are held by the other checks.
INEXACT = {"check_forward", "check_forward_mode"}


@pytest.mark.parametrize("whole", WHOLE, ids=lambda whole: whole.name)
@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_control_flow_keeps_the_claim(check: Callable, whole: Whole) -> None:
    if check.__name__ not in INEXACT:
        check(whole, whole.samples[0])


@pytest.mark.parametrize("whole", WHOLE, ids=lambda whole: whole.name)
def test_control_flow_computes_its_meaning(whole: Whole) -> None:
    rng = np.random.default_rng(0)
    arrays = [rng.normal(size=a) if isinstance(a, tuple) else a for a in whole.samples[0].args]
    with cr.record():
        recorded = whole(*arrays)
    for y in (whole(*arrays), recorded):
        np.testing.assert_allclose(y.numpy(), whole.ref(*arrays), rtol=1e-12)


def test_forward_mode_of_control_flow_agrees_with_reverse() -> None:
    rng = np.random.default_rng(0)
    for whole in WHOLE:
        given = [rng.normal(size=a) if isinstance(a, tuple) else a for a in whole.samples[0].args]
        which = [i for i, a in enumerate(whole.samples[0].args) if isinstance(a, tuple)]

        def fn(*moving: Any, whole: Whole = whole, given: list = given, which: list = which) -> Any:
            full = list(given)
            for i, x in zip(which, moving, strict=True):
                full[i] = x
            return whole(*full)

        xs = [given[i] for i in which]
        vs = [rng.normal(size=x.shape) for x in xs]
        y, moved = cr.jvp(fn, xs, vs)
        w = rng.normal(size=y.shape)
        pulled = cr.vjp(fn, *xs)[1](w)
        left = np.sum(moved.numpy() * w)
        right = sum(np.sum(g.numpy() * v) for g, v in zip(pulled, vs, strict=True))
        np.testing.assert_allclose(left, right, rtol=1e-11, err_msg=whole.name)


def test_every_control_op_is_covered_here_or_by_samples() -> None:
    covered = {"scan", "choose", "part"} | {"caught_up"}  # tests/train/test_rows.py
    elsewhere = {"unstack"}  # tests/explain/test_unrolled.py, where explain is imported
    found = {op.name for op in OPS.values() if op.kind == "control" and not op.samples}
    assert found | elsewhere == covered | elsewhere


def test_compiled_loop_computes_only_what_is_read() -> None:
    def last(h: Any, xs: Any) -> Any:
        return cr.scan(lambda h, x: (cr.tanh(h + x), cr.exp(h)), h, xs)[0]

    step = cr.jit(last)
    x = np.ones((5, 3), np.float32)
    step(x[0], x)
    program = next(iter(step.entries.values())).program
    loop = next(n for n in program.unfolded.order if n.op.name == "scan").attrs["holds"]
    assert [n.op.name for n in loop.body.order if n.op.kind == "elementwise"] == ["add", "tanh"]


def test_checkpoint_computes_again_what_it_did_not_keep() -> None:
    w = np.eye(50, dtype=np.float32)

    def loss(x: Any, keep: bool) -> Any:
        def block(x: Any) -> Any:
            for _ in range(4):
                x = cr.sin(x @ w)
            return x

        block = block if keep else cr.checkpoint(block)
        for _ in range(4):
            x = block(x)
        return cr.sum(x)

    x = np.linspace(0, 1, 50_000, dtype=np.float32).reshape(1000, 50)
    arenas, grads = [], []
    for keep in (True, False):
        step = cr.jit(cr.grad(lambda x, keep=keep: loss(x, keep)))
        grads.append(step(x).numpy())
        arenas.append(next(iter(step.entries.values())).program.native.plan.arena)
    np.testing.assert_array_equal(*grads)
    assert arenas[1] < 0.7 * arenas[0]


def test_backward_through_a_checkpoint_in_a_recording_keeps_no_inner_values() -> None:
    sizes = []
    for wrap in (lambda f: f, cr.checkpoint):
        with cr.record() as recording:
            x = cr.Tensor(np.ones(1000))
            wrap(lambda x: cr.sin(cr.sin(cr.sin(cr.sin(x)))))(x)
        sizes.append(sum(v.nbytes for v in recording.values.values() if v.dtype != object))
    assert sizes[1] <= sizes[0] / 2


def test_recordings_of_loops_are_freed() -> None:
    gc.collect()
    x = cr.Tensor(np.ones((50, 1000)))
    grad = cr.grad(lambda x: cr.sum(cr.scan(lambda h, x: (cr.sin(h + x), None), x[0], x)[0]))
    grad(x)
    before = len(gc.get_objects())
    for _ in range(5):
        grad(x)
    gc.collect()
    assert len(gc.get_objects()) - before < 200


def test_loop_of_no_steps_gives_the_carry_back() -> None:
    carry, ys = cr.scan(lambda c, x: (c + x, c), np.float32(2), np.zeros((0,), np.float32))
    assert carry.item() == 2 and ys.shape == (0,)
    grad = cr.grad(lambda c: cr.scan(lambda c, x: (c * x, c), c, np.zeros((0,), np.float32))[0])
    assert grad(np.float32(2)).item() == 1
    assert cr.jit(grad)(np.float32(2)).item() == 1


def test_carry_that_changes_shape_is_refused() -> None:
    with pytest.raises(cr.ShapeError, match=r"grows was given float32\[1\] and returned .*\[2\]"):

        def grows(c: Any, x: Any) -> Any:
            return cr.concatenate([c, c]), None

        cr.scan(grows, np.ones(1, np.float32), length=2)


def test_scan_says_what_its_function_must_give() -> None:
    with pytest.raises(cr.ArgumentError, match=r"needs \(carry, y\) from <lambda>, got Tensor"):
        cr.scan(lambda c, x: c, 1.0, length=2)
    with pytest.raises(cr.ArgumentError, match="xs or a length"):
        cr.scan(lambda c, x: (c, c), 1.0)
    with pytest.raises(cr.ShapeError, match="one length, got 2, 3"):
        cr.scan(lambda c, x: (c, c), 1.0, np.ones(3, np.float32), length=2)
    with pytest.raises(cr.ArgumentError, match=r"a tensor and returned tuple\(a tensor, a tensor"):
        cr.scan(lambda c, x: ((c, c), c), 1.0, length=2)
    with pytest.raises(cr.TraceError, match=r"scan or cond[\s\S]*cr\.cond"):
        cr.scan(lambda c, x: (c if c > 0 else -c, c), 1.0, length=2)


def test_state_cannot_be_renewed_in_a_loop() -> None:
    state = cr.State(np.zeros(2, np.float32))

    def body(c: Any, x: Any) -> Any:
        state.renew(state + c)
        return c, None

    with pytest.raises(cr.GradientError, match="cannot renew State"):
        cr.scan(body, np.ones(2, np.float32), length=2)


def test_cond_needs_one_truth_value_and_branches_alike() -> None:
    with pytest.raises(cr.ShapeError, match=r"cr\.where"):
        cr.cond(np.array([True, False]), lambda: 1.0, lambda: 2.0)
    with pytest.raises(cr.ShapeError, match=r"float32\[2\], float32\[\]"):
        x = np.ones(2, np.float32)
        cr.cond(np.array(True), lambda x: x, lambda x: cr.sum(x), x)
    with pytest.raises(cr.ArgumentError, match=r"needs a function for no, got 2\.0"):
        cr.cond(np.array(True), lambda: 1.0, 2.0)
