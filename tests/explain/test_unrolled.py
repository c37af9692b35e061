"""A graph laid out in float64 computes what was recorded, and its gradient, without loops."""

import numpy as np
import pytest

import chainrule as cr
from chainrule.core.node import topological
from chainrule.explain.unrolled import Unrolled
from chainrule.grad.reverse import backward, one_like

X = np.random.default_rng(3).normal(size=(5, 2)).astype(np.float32)
W = cr.Tensor([0.3, -0.7])


def looped(reverse):
    def step(carry, x):
        carry = cr.tanh(carry * W + x)
        return carry, carry * x

    last, all_of_them = cr.scan(step, np.zeros(2, np.float32), X, reverse=reverse)
    return cr.sum(last * last) + cr.mean(all_of_them)


def nested():
    def outer(carry, x):
        inner, _ = cr.scan(lambda c, _: (c * W, None), x, None, length=3)
        return carry + inner, None

    return cr.sum(cr.scan(outer, np.zeros(2, np.float32), X)[0])


def chosen():
    return cr.sum(cr.cond(cr.sum(W) < 0, lambda w: w * 3.0, lambda w: w * w, W) * X)


def kept_short():
    return cr.sum(cr.checkpoint(lambda w: cr.exp(w) * w)(W) * X)


@pytest.mark.parametrize(
    "fn",
    [lambda: looped(False), lambda: looped(True), nested, chosen, kept_short],
    ids=["forwards", "backwards", "nested", "cond", "checkpoint"],
)
def test_unrolled_graph_keeps_value_and_gradient(fn):
    with cr.record() as recording:
        loss = fn()
    expected = cr.gradient(loss, W).numpy()
    leaves = {n: recording.values[n] for n in topological([loss.node]) if n in recording.sources}
    wide = Unrolled([loss.node], leaves, recording.origins)
    end, leaf = wide.node(loss.node), wide.node(recording.captured[id(W)])
    assert wide.value(end).dtype == np.float64
    assert np.isclose(wide.value(end), loss.numpy(), rtol=1e-5)
    assert not {"scan", "choose"} & {n.op.name for n in topological([end])}
    with wide.recording:
        tensor = wide.recording.tensor
        (g,) = backward([tensor(end)], [one_like(tensor(end))], [tensor(leaf)])
    assert np.allclose(g.numpy(), expected, rtol=1e-5)


def test_nodes_of_a_loop_know_their_step():
    with cr.record() as recording:
        loss = looped(False)
    leaves = {n: recording.values[n] for n in topological([loss.node]) if n in recording.sources}
    wide = Unrolled([loss.node], leaves, recording.origins)
    steps = [wide.steps[n] for n in topological([wide.node(loss.node)]) if n.op.name == "tanh"]
    assert sorted(steps) == [0, 1, 2, 3, 4]
