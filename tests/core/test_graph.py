"""Graphs: printed text reads back as the same graph, and equal calls are one node."""

from __future__ import annotations

import re
from collections.abc import Callable

import numpy as np
import pytest

import chainrule as cr
from chainrule.core.graph import Graph
from chainrule.core.node import topological
from chainrule.core.recording import Recording

X, W, B = np.linspace(-1, 1, 6).reshape(2, 3), np.linspace(0, 1, 12).reshape(3, 4), np.ones(4)
IMAGE, KERNEL = (
    np.linspace(-1, 1, 32).reshape(1, 4, 4, 2),
    np.linspace(0, 1, 24).reshape(2, 2, 2, 3),
)
IDS = np.array([1, 0, 1])


def loss(x, w, b):
    return cr.mean(cr.tanh(x @ w + b) ** 2)


PROGRAMS: dict[str, tuple[Callable, tuple]] = {
    "input alone": (lambda x: x, (X,)),
    "several outputs": (lambda x: (x + 1, x * 2, x), (X,)),
    "no inputs": (lambda: cr.arange(5), ()),
    "chain": (lambda x: cr.exp(-cr.sqrt(cr.abs(x))) / 3, (X,)),
    "loss": (loss, (X, W, B)),
    "gradient of a loss": (cr.grad(loss, argnums=(0, 1, 2)), (X, W, B)),
    "second order": (cr.grad(lambda x: cr.sum(cr.grad(loss)(x, W, B) ** 2)), (X,)),
    "forward over reverse": (lambda x: cr.hvp(lambda x: loss(x, W, B), (x,), (x,)), (X,)),
    "per example": (cr.vmap(cr.grad(lambda x, w: cr.sum(cr.sigmoid(x @ w))), (0, None)), (X, W)),
    "softmax": (lambda x: cr.log_softmax(x), (X,)),
    "convolution": (
        cr.grad(lambda k, x: cr.sum(cr.conv2d(x, k, stride=2, padding="same"))),
        (KERNEL, IMAGE),
    ),
    "pooling": (cr.grad(lambda x: cr.sum(cr.max_pool2d(x, 3, 1, "same"))), (IMAGE,)),
    "slices": (cr.grad(lambda x: cr.sum(x[:, ::2] * x[1, None, -1])), (X,)),
    "take": (cr.grad(lambda x, i: cr.sum(cr.take(x, i, axis=1) ** 2)), (X, IDS)),
    "random": (lambda k, x: cr.where(cr.bernoulli(k, 0.5, (2, 3)), x, 0.0), (cr.key(1), X)),
    "numbers of every kind": (
        lambda x: cr.where(cr.less(x, np.inf), -np.inf, x * np.float64(1e-300) + np.nan),
        (X,),
    ),
    "integers and casts": (lambda i: cr.one_hot(i * 2 - 1, 3, "float64"), (IDS,)),
}


def code(graph: Graph) -> str:
    """The printed graph without its notes, in which the user's line stands."""
    return re.sub(r" *#.*", "", str(graph))


@pytest.fixture(params=PROGRAMS, name="graph_and_inputs")
def _graph_and_inputs(request):
    fn, args = PROGRAMS[request.param]
    return cr.jit(fn).graph(*args), args


def test_printed_graph_reads_back_as_an_equal_graph(graph_and_inputs):
    graph, _ = graph_and_inputs
    again = cr.parse(str(graph))
    assert code(again) == code(graph)
    for one, two in zip([*graph.order, *graph.inputs], [*again.order, *again.inputs], strict=True):
        assert (one.op, one.shape, one.dtype) == (two.op, two.shape, two.dtype)


def test_graph_read_back_computes_the_same(graph_and_inputs):
    graph, args = graph_and_inputs
    sources = [np.asarray(x) for x in args]
    # Captured arrays became inputs after the arguments.
    sources += [x for x in (W, B) if len(sources) < len(graph.inputs)]
    for one, two in zip(graph.run(*sources), cr.parse(str(graph)).run(*sources), strict=True):
        np.testing.assert_array_equal(one, two)


def test_printed_line_carries_shape_dtype_and_the_users_line():
    text = str(cr.jit(loss).graph(X, W, B))
    (line,) = [line for line in text.splitlines() if "tanh(" in line]
    assert re.search(r"v\d+ = tanh\(v\d+\) +# float64\[2,4\]  test_graph.py:\d+$", line)


def test_node_of_a_gradient_says_so():
    text = str(cr.jit(cr.grad(loss)).graph(X, W, B))
    assert text.count("gradient of test_graph.py") >= 5


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("v0 = 1", "starts with 'def graph('"),
        ("def graph(", "not a printed graph"),
        (
            "def graph(x0: 'float32[2]'):\n    v0 = tanhh(x0)\n    return (v0,)",
            "did you mean 'tanh'",
        ),
        ("def graph(x0: 'float32[2]'):\n    x0 + 1\n    return (x0,)", "not a line of a printed"),
        ("def graph(x0: 'float32[2]'):\n    v0 = tanh(x0)", "ends with 'return"),
        ("def graph(x0):\n    return (x0,)", "an input is written x0: 'float32[2,3]'"),
        ("def graph(x0: 'float3[2]'):\n    return (x0,)", "unknown dtype 'float3'"),
        ("def graph(x0: 'float32[a]'):\n    return (x0,)", "an input is written"),
        ("def graph(x0: 'float32[2]'):\n    v0 = tanh(x1)\n    return (v0,)", "defines x1"),
        ("def graph(x0: 'float32[2]'):\n    return (x1,)", "defines x1"),
        (
            "def graph(x0: 'float32[2]'):\n    v = sum(x0, axis=a)\n    return (v,)",
            "a value, got a",
        ),
    ],
)
def test_text_that_is_no_graph_is_refused(text, message):
    with pytest.raises(cr.ArgumentError, match=re.escape(message)):
        cr.parse(text)


def test_equal_calls_are_one_node():
    with Recording(concrete=False) as recording:
        x, z = (recording.input(cr.Tensor(X)) for _ in range(2))
        assert (x * z + 1).node is (x * z + 1).node
        assert cr.sum(x, axis=1).node is cr.sum(x, axis=-1).node
        assert (x * z).node is not (z * x).node
        assert (x * x).node is not (z * z).node  # leaves are equal by identity, never by value
        assert (x + 1).node is not (x + 2).node
        assert cr.sum(x, axis=1).node is not cr.sum(x, axis=0).node
        zeros = [(x * number).node for number in (0.0, -0.0)]
        assert zeros[0] is not zeros[1]


def test_captured_array_is_one_leaf_however_often_used():
    w = cr.Tensor(W)
    assert len(cr.jit(lambda x: x @ w + x @ w * cr.sum(w)).graph(X).inputs) == 2


def test_gradient_shares_the_nodes_of_the_forward_pass():
    graph = cr.jit(cr.value_and_grad(loss)).graph(X, W, B)
    names = [node.op.name for node in graph.order]
    assert names.count("tanh") == 1 and names.count("contract") == 2


def test_topological_order_has_inputs_before_users():
    order = topological(cr.jit(cr.grad(loss)).graph(X, W, B).outputs)
    place = {node: i for i, node in enumerate(order)}
    assert len(place) == len(order)
    assert all(place[x] < place[node] for node in order for x in node.inputs)


def test_graph_runs_with_values_dropped_after_their_last_use():
    graph = cr.jit(lambda x: (x + 1, (x + 1) * x)).graph(X)
    one, two = graph.run(X)
    np.testing.assert_array_equal(one, X + 1)
    np.testing.assert_array_equal(two, (X + 1) * X)
