"""Every partition of every parameter of many models sums to the gradient of the engine."""

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn
from chainrule.explain.explain import explain

CLASSES = np.array([0, 2, 1, 0, 2])
SIGNS = np.float32([[-1], [1], [1], [-1], [1]])
SPARSE = "sparse_categorical_crossentropy"


def drawn(rng, *shape):
    return rng.normal(size=shape).astype(np.float32)


def words(rng, *shape):
    return rng.integers(0, 9, shape)


class Residual(cr.Model):
    """Two branches that meet again, and one layer used twice."""

    def __init__(self):
        super().__init__(seed=2)
        self.first, self.again, self.norm = (
            nn.Dense(6),
            nn.Dense(6, "tanh"),
            nn.LayerNormalization(),
        )
        self.last = nn.Dense(3)

    def call(self, x, training=False):
        h = self.first(x)
        h = self.norm(h + self.again(h))
        return self.last(h + self.again(h))


class Attentive(cr.Model):
    """Attention of a sequence on itself."""

    def __init__(self):
        super().__init__(seed=3)
        self.seen = nn.Embedding(9, 6)
        self.attention = nn.MultiHeadAttention(2, 3)
        self.pool, self.last = nn.GlobalAveragePooling1D(), nn.Dense(3)

    def call(self, x, training=False):
        h = self.seen(x)
        return self.last(self.pool(h + self.attention((h, h))))


class Pair(cr.Model):
    """Two inputs, two outputs."""

    def __init__(self):
        super().__init__(seed=4)
        self.joined, self.score, self.label = nn.Concatenate(), nn.Dense(1), nn.Dense(3)
        self.hidden = nn.Dense(4, "gelu")

    def call(self, x, training=False):
        h = self.hidden(self.joined((x["a"], x["b"])))
        return {"score": self.score(h), "label": self.label(h)}


def recurrent(layer):
    return cr.Sequential([nn.Embedding(9, 4), layer, nn.Dense(3)], seed=1)


CASES = {
    "dense mse": lambda rng: (
        cr.Sequential([nn.Dense(4, "tanh"), nn.Dense(2)]),
        drawn(rng, 5, 3),
        drawn(rng, 5, 2),
        "mse",
    ),
    "dense bce": lambda rng: (
        cr.Sequential([nn.Dense(4, "sigmoid"), nn.Dense(1, "sigmoid")]),
        drawn(rng, 5, 3),
        (SIGNS + 1) / 2,
        "binary_crossentropy",
    ),
    "dense hinge": lambda rng: (
        cr.Sequential([nn.Dense(4, "relu"), nn.Dense(1)]),
        drawn(rng, 5, 3),
        SIGNS,
        "hinge",
    ),
    "conv": lambda rng: (
        cr.Sequential(
            [
                nn.Conv2D(3, 3, activation="relu", padding="same", kernel_regularizer="l2"),
                nn.BatchNormalization(),
                nn.MaxPooling2D(2),
                nn.Flatten(),
                nn.Dropout(0.3),
                nn.Dense(3),
            ]
        ),
        drawn(rng, 5, 6, 6, 2),
        CLASSES,
        SPARSE,
    ),
    "depthwise": lambda rng: (
        cr.Sequential(
            [
                nn.DepthwiseConv2D(3, depth_multiplier=2),
                nn.SeparableConv2D(3, 2, activation="tanh"),
                nn.GlobalAveragePooling2D(),
                nn.Dense(3),
            ]
        ),
        drawn(rng, 5, 6, 6, 2),
        CLASSES,
        SPARSE,
    ),
    "conv over time": lambda rng: (
        cr.Sequential(
            [
                nn.Conv1D(4, 3, strides=2, activation="gelu"),
                nn.GlobalMaxPooling1D(),
                nn.LayerNormalization(),
                nn.Dense(3),
            ]
        ),
        drawn(rng, 5, 9, 2),
        CLASSES,
        SPARSE,
    ),
    "each step alone": lambda rng: (
        cr.Sequential(
            [nn.TimeDistributed(nn.Dense(4, "tanh")), nn.GlobalAveragePooling1D(), nn.Dense(3)]
        ),
        drawn(rng, 5, 6, 2),
        CLASSES,
        SPARSE,
    ),
    "lstm": lambda rng: (recurrent(nn.LSTM(3)), words(rng, 5, 6), CLASSES, SPARSE),
    "gru": lambda rng: (recurrent(nn.GRU(3)), words(rng, 5, 6), CLASSES, SPARSE),
    "old gru": lambda rng: (
        recurrent(nn.GRU(3, reset_after=False)),
        words(rng, 5, 5),
        CLASSES,
        SPARSE,
    ),
    "simple rnn": lambda rng: (recurrent(nn.SimpleRNN(3)), words(rng, 5, 6), CLASSES, SPARSE),
    "both ways": lambda rng: (
        recurrent(nn.Bidirectional(nn.LSTM(2, dropout=0.2))),
        words(rng, 5, 4),
        CLASSES,
        SPARSE,
    ),
    "stacked": lambda rng: (
        cr.Sequential(
            [nn.Embedding(9, 4), nn.GRU(3, return_sequences=True), nn.LSTM(2), nn.Dense(3)]
        ),
        words(rng, 5, 5),
        CLASSES,
        SPARSE,
    ),
    "attention": lambda rng: (Attentive(), words(rng, 5, 4), CLASSES, SPARSE),
    "residual": lambda rng: (Residual(), drawn(rng, 5, 4), CLASSES, SPARSE),
    "several": lambda rng: (
        Pair(),
        {"a": drawn(rng, 5, 2), "b": drawn(rng, 5, 1)},
        {"score": drawn(rng, 5, 1), "label": CLASSES},
        {"score": "mse", "label": SPARSE},
    ),
}


BRANCHED = ("residual", "attention")  # of these a path goes around the next layer

DRAWING = ("conv", "both ways")  # these drop units, and a step of fit drops others


def places(model, rng):
    """A place in each parameter."""
    for path, tensor in model.named_parameters().items():
        yield path, np.unravel_index(int(rng.integers(tensor.size)), tensor.shape)


def check(found, branched):
    """The claims that hold for each explanation of an entry."""
    assert found.partitions
    assert found.check.mark in ("ok", "kink")
    for each in found.partitions:
        # Softmax lets no bias of the keys through: what is left of one is rounding alone.
        assert each.error <= 1e-6 * each.mass + 1e-18
        assert each.past == 0 or (branched and each.by == ("unit",))
        assert 0 <= each.coverage <= 1 + 1e-12
        assert -1e-12 <= each.cancellation <= 1
        assert each.others.count >= each.others.zeros
        for part in each.parts:
            product = np.prod([factor.value for factor in part.factors])
            assert not part.factors or np.isclose(product, part.value, rtol=1e-9)


@pytest.mark.parametrize("case", CASES)
def test_partitions_sum_to_the_gradient_of_a_compiled_step(case):
    rng = np.random.default_rng(7)
    model, x, y, loss = CASES[case](rng)
    model.compile(cr.optim.SGD(1.0), loss)
    model.predict(x)
    before = model.get_weights()
    found = {(path, index): explain(model, x, y, path, index) for path, index in places(model, rng)}
    for each in found.values():
        check(each, case in BRANCHED)
    after = model.get_weights()
    assert all(np.array_equal(before[path], after[path]) for path in before)  # States too
    if case in DRAWING:
        for path, index in places(model, rng):
            check(explain(model, x, y, path, index, training=False), False)
        return
    model.fit(x, y, batch_size=5, shuffle=False, verbose=0)
    moved = model.get_weights()
    for (path, index), each in found.items():
        step = before[path][index] - moved[path][index]
        assert np.isclose(step, each.gradient, rtol=1e-3, atol=2e-6)


@pytest.mark.parametrize("case", ["lstm", "gru", "each step alone", "conv over time", "attention"])
def test_part_of_an_example_is_its_own_gradient(case):
    rng = np.random.default_rng(5)
    model, x, y, loss = CASES[case](rng)
    x = x[:, :5]  # as many steps as examples: which axis is which must not hang on the extents
    model.compile("sgd", loss)
    model.predict(x)
    for path, index in places(model, rng):
        found = explain(model, x, y, path, index, by="example", topk=5, check="none")
        parts = {dict(part.labels)["example"]: part.value for part in found.partitions[0].parts}
        for i in (0, 3):
            alone = explain(model, x[i : i + 1], y[i : i + 1], path, index, by="use", check="none")
            assert np.isclose(parts.get(i, 0.0), alone.gradient / 5, rtol=1e-6, atol=1e-15)
