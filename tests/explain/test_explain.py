"""`explain`: what it says of small models whose gradients can be worked out by hand."""

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn
from chainrule.core.errors import ArgumentError, GradientError, ShapeError, UnknownNameError
from chainrule.explain.explain import explain

X = np.float32([[0, 0], [0, 1], [1, 0], [1, 1]])
Y = np.float32([[0], [1], [1], [0]])


@pytest.fixture
def net():
    """The 2-2-1 net of sigmoids."""
    made = cr.Sequential([nn.Dense(2, "sigmoid"), nn.Dense(1, "sigmoid")], seed=0)
    made.compile("sgd", "mse")
    made.predict(X)
    return made


def sigmoid(z):
    return 1 / (1 + np.exp(-z))


def test_chain_of_a_two_two_one_net_is_that_of_the_textbook(net):
    weights = {k: v.astype(np.float64) for k, v in net.get_weights().items()}
    h = sigmoid(X @ weights["dense/kernel"] + weights["dense/bias"])
    o = sigmoid(h @ weights["dense_1/kernel"] + weights["dense_1/bias"])
    parts = explain(net, X, Y, "dense/kernel", (0, 1)).partitions[0].parts
    assert {part.labels for part in parts} == {(("example", 2),), (("example", 3),)}
    for part in parts:
        n = part.labels[0][1]
        d = r"\frac{\partial %s}{\partial %s}"
        expected = [
            (d % ("L", "o_{0}"), 2 * (o[n, 0] - Y[n, 0]) / 4),
            (d % ("o_{0}", "z^{(2)}_{0}"), o[n, 0] * (1 - o[n, 0])),
            (d % ("z^{(2)}_{0}", "h^{(1)}_{1}"), weights["dense_1/kernel"][1, 0]),
            (d % ("h^{(1)}_{1}", "z^{(1)}_{1}"), h[n, 1] * (1 - h[n, 1])),
            (d % ("z^{(1)}_{1}", "W^{(1)}_{0,1}"), X[n, 0]),
        ]
        assert [factor.symbol for factor in part.factors] == [symbol for symbol, _ in expected]
        assert np.allclose([f.value for f in part.factors], [v for _, v in expected], atol=1e-7)
        assert part.given == tuple(X[n])


def test_whole_tensor_gives_its_largest_entries_and_what_it_left_out(net):
    found = explain(net, X, Y, "dense/kernel", topk=3)
    assert found.index is None
    assert found.summary.count == 4
    assert found.left_out == (("entries", 1),)
    sizes = [abs(entry.gradient) for entry in found.entries]
    assert sizes == sorted(sizes, reverse=True)
    assert found.entries[0].check.mark == "ok"
    for entry in found.entries:
        assert entry.gradient == explain(net, X, Y, "dense/kernel", entry.index).gradient


def test_recorded_loss_and_compiled_model_say_the_same(net):
    with cr.record():
        loss = cr.mean((net(X) - Y) ** 2)
        inside = explain(loss, net.named_parameters()["dense/kernel"], index=(1, 0))
    recorded = explain(loss, net.named_parameters()["dense/kernel"], index=(1, 0))
    compiled = explain(net, X, Y, "dense/kernel", (1, 0))
    assert inside == recorded
    assert np.isclose(recorded.gradient, compiled.gradient, rtol=1e-12)
    assert np.allclose(
        [part.value for part in recorded.partitions[0].parts],
        [part.value for part in compiled.partitions[0].parts],
    )


def test_regulariser_has_a_row_of_its_own():
    model = cr.Sequential([nn.Dense(2, kernel_regularizer=nn.regularizers.L2(0.1)), nn.Dense(1)])
    model.compile("sgd", "mse")
    found = explain(model, X, Y, "dense/kernel", (0, 1))
    for each in found.partitions:
        assert np.isclose(each.regulariser, 0.2 * found.weight, rtol=1e-7)
        assert each.error <= 1e-12


def test_path_around_a_cut_is_said():
    class Skip(cr.Model):
        def __init__(self):
            super().__init__()
            self.first, self.second, self.last = nn.Dense(3), nn.Dense(3), nn.Dense(2)

        def call(self, x, training=False):
            h = self.first(x)
            return self.last(h + self.second(h))

    model = Skip()
    model.compile("sgd", "mse")
    y = np.ones((4, 2), np.float32)
    found = explain(model, X, y, "first/kernel", (1, 2), by="unit").partitions[0]
    assert found.at == "second"
    whole = explain(model, X, y, "first/kernel", (1, 2), by="unit", at="last").partitions[0]
    assert whole.past == 0
    assert found.past != 0
    assert found.error <= 1e-12


def test_entry_of_a_gate_says_which():
    model = cr.Sequential([nn.LSTM(3), nn.Dense(1)])
    model.compile("sgd", "mse")
    x = np.random.default_rng(0).normal(size=(4, 5, 2)).astype(np.float32)
    found = explain(model, x, Y, "lstm/cell/kernel", (1, 4), by=("time", "gate")).partitions[0]
    assert {dict(part.labels)["gate"] for part in found.parts} == {"f"}
    # The first step has nothing to forget yet.
    assert {dict(part.labels)["time"] for part in found.parts} == {1, 2, 3, 4}
    assert found.others.zeros == found.others.count
    assert found.error <= 1e-6 * found.mass


def test_lookups_of_an_embedding_are_the_places_of_the_word():
    model = cr.Sequential([nn.Embedding(6, 3), nn.Flatten(), nn.Dense(1)])
    model.compile("sgd", "mse")
    x = np.array([[1, 2], [2, 3], [3, 3], [2, 2]])
    found = explain(model, x, Y, "embedding/embeddings", (2, 0)).partitions[0]
    assert found.by == ("lookup",)
    places = {(dict(part.labels)["example"], dict(part.labels)["position"]) for part in found.parts}
    assert places == {(0, 1), (1, 0), (3, 0), (3, 1)}
    assert found.others.count == found.others.zeros == 4
    assert {part.given for part in found.parts} == {(1, 2), (2, 3), (2, 2)}  # ids stay whole
    assert " (2, 3) " in explain(model, x, Y, "embedding/embeddings", (2, 0)).to_text(lang="en")


def test_parts_of_several_outputs_say_of_which():
    class Both(cr.Model):
        def __init__(self):
            super().__init__()
            self.h, self.a, self.b = nn.Dense(3, "tanh"), nn.Dense(1), nn.Dense(2)

        def call(self, x, training=False):
            h = self.h(x)
            return {"a": self.a(h), "b": self.b(h)}

    model = Both()
    model.compile("sgd", "mse")
    y = {"a": Y, "b": np.ones((4, 2), np.float32)}
    found = explain(model, X, y, "h/kernel", (0, 1), by="output").partitions[0]
    expected = {
        (("use", "a"), ("output", 0)),
        (("use", "b"), ("output", 0)),
        (("use", "b"), ("output", 1)),
    }
    assert {part.labels for part in found.parts} == expected
    assert found.past == 0
    assert found.error <= 1e-12


def test_loss_of_the_parameter_alone_is_one_part():
    w = cr.Tensor([1.0, -2.0])
    with cr.record():
        loss = cr.sum(w * w) * 0.5 + cr.sum(abs(w))
    found = explain(loss, w, index=1)
    assert found.gradient == -3.0
    assert [part.value for part in found.partitions[0].parts] == [-3.0]


def test_custom_gradient_that_differs_has_a_mark_of_its_own():
    @cr.custom_gradient
    def halved(x):
        return x * 3.0, lambda g: g * 1.5

    w = cr.Tensor([0.5, 2.0])
    with cr.record():
        loss = cr.mean(halved(w * X) ** 2)
    assert explain(loss, w, index=0).check.mark == "custom"


def test_kink_inside_the_step_is_marked():
    w = cr.Tensor([0.0, 2.0])
    with cr.record():
        loss = cr.sum(cr.relu(w * X))
    found = explain(loss, w, index=0)
    assert (found.gradient, found.check.mark) == (0.0, "kink")
    assert np.isclose(found.check.difference, 1.0)
    assert explain(loss, w, index=1).check.mark == "ok"


def test_check_can_be_left_out(net):
    assert explain(net, X, Y, "dense/bias", 0, check="none").check is None
    assert explain(net, X, Y, "dense/bias", check="none").entries[0].check is None


@pytest.mark.parametrize(
    ("error", "says", "arguments", "options"),
    [
        (UnknownNameError, "did you mean 'dense/kernel'", ("dense/kernal", (0, 1)), {}),
        (ArgumentError, "one whole number below each extent", ("dense/kernel", (0, 2)), {}),
        (ShapeError, "needs 2 places", ("dense/kernel", 0), {}),
        (ArgumentError, "not used along", ("dense/kernel", (0, 1)), {"by": "time"}),
        (UnknownNameError, "unknown axis", ("dense/kernel", (0, 1)), {"by": "sample"}),
        (UnknownNameError, "unknown layer", ("dense/kernel", (0, 1)), {"at": "conv"}),
        (ArgumentError, "no layer after", ("dense_1/kernel", (0, 0)), {"by": "unit"}),
        (ArgumentError, "topk", ("dense/kernel", (0, 1)), {"topk": 0}),
        (UnknownNameError, "unknown check", ("dense/kernel", (0, 1)), {"check": "all"}),
        (ArgumentError, "needs a batch and a parameter", (), {}),
    ],
)
def test_wrong_argument_says_what_is_there(net, error, says, arguments, options):
    with pytest.raises(error, match=says):
        explain(net, X, Y, *arguments, **options)


def test_loss_that_was_not_recorded_is_refused(net):
    kernel = net.named_parameters()["dense/kernel"]
    with pytest.raises(GradientError, match="was recorded"):
        explain(cr.mean(net(X)), kernel, index=(0, 1))
    with cr.record():
        loss = cr.mean(net(X))
        several = net(X)
    with pytest.raises(GradientError, match="does not depend"):
        explain(loss, cr.Tensor([1.0]), index=0)
    with pytest.raises(GradientError, match="one float number"):
        explain(several, kernel, index=(0, 1))
    with pytest.raises(ArgumentError, match="compiled model"):
        explain(nn.Dense(2), X, Y, "kernel", (0, 0))
