"""`explain` against forward passes written here in NumPy: no line of the library is trusted."""

from collections.abc import Callable

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn

Weights = dict[str, np.ndarray]
AXES = ("example", "position", "time", "gate", "lookup", "use", "output", "unit")
rng = np.random.default_rng(7)


def draw(*shape: int) -> np.ndarray:
    return rng.normal(size=shape).astype(np.float32)


X, Y = draw(7, 4), draw(7, 2)
IMAGES, STEPS, WORDS = draw(2, 7, 8, 4), draw(4, 5, 3), rng.integers(0, 6, (4, 5))
WEIGHTS = np.float32([0, 1, 2, 0.5, 1, 3, 0.1])


def dense(w: Weights, path: str, x: np.ndarray) -> np.ndarray:
    return x @ w[f"{path}/kernel"] + w[f"{path}/bias"]


def squared(o: np.ndarray) -> float:
    """The mean squared error of `o` against the first rows of Y."""
    return float(((o - Y[: len(o), : o.shape[-1]]) ** 2).mean())


def sigmoid(z: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-z))


def convolved(x, k, stride, dilation, groups):
    """Valid correlation, one output pixel at a time."""
    high, wide = ((n - 1) * dilation + 1 for n in k.shape[:2])
    rows, columns = range(0, x.shape[1] - high + 1, stride), range(0, x.shape[2] - wide + 1, stride)
    out = np.zeros((len(x), len(rows), len(columns), k.shape[3]))
    for g in range(groups):
        into = slice(g * k.shape[3] // groups, (g + 1) * k.shape[3] // groups)
        seen = x[..., g * k.shape[2] : (g + 1) * k.shape[2]]
        for i, top in enumerate(rows):
            for j, left in enumerate(columns):
                window = seen[:, top : top + high : dilation, left : left + wide : dilation]
                out[:, i, j, into] = np.tensordot(window, k[..., into], 3)
    return out


def convolution(**options: int):
    kinds = {"stride": "strides", "dilation": "dilation_rate", "groups": "groups"}
    asked = {kinds[name]: value for name, value in options.items()}
    spread = {"stride": 1, "dilation": 1, "groups": 1} | options

    def loss(w: Weights) -> float:
        z = convolved(IMAGES, w["conv2d/kernel"], **spread) + w["conv2d/bias"]
        return squared(dense(w, "dense", np.tanh(z).mean((1, 2))))

    net = [nn.Conv2D(4, 3, activation="tanh", **asked), nn.GlobalAveragePooling2D(), nn.Dense(2)]
    return cr.Sequential(net), IMAGES, loss, {}


def normalised(training: bool):
    def loss(w: Weights) -> float:
        z = dense(w, "dense", X)
        # In use, a layer that has seen no step knows a mean of 0 and a variance of 1.
        mean, variance = (z.mean(0), z.var(0)) if training else (0, 1)
        h = (z - mean) / np.sqrt(variance + 1e-3) * w["batch_normalization/gamma"]
        return squared(dense(w, "dense_1", np.tanh(h + w["batch_normalization/beta"])))

    net = [nn.Dense(5), nn.BatchNormalization(), nn.Activation("tanh"), nn.Dense(2)]
    return cr.Sequential(net), X, loss, {"training": training}


def masked_words():
    x = np.where(np.arange(5) < [[5], [3], [1], [4]], WORDS, 0)

    def loss(w: Weights) -> float:
        kernel, recurrent, bias = (
            w[f"lstm/cell/{n}"] for n in ("kernel", "recurrent_kernel", "bias")
        )
        h = c = np.zeros((4, 3))
        for t in range(5):
            z = w["embedding/embeddings"][x[:, t]] @ kernel + h @ recurrent + bias
            i, f, g, o = np.split(z, 4, axis=1)
            new = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
            there = x[:, t, None] != 0
            h = np.where(there, sigmoid(o) * np.tanh(new), h)
            c = np.where(there, new, c)
        return squared(dense(w, "dense", h))

    net = [nn.Embedding(6, 4, mask_zero=True), nn.LSTM(3), nn.Dense(2)]
    return cr.Sequential(net), x, loss, {}


class Attending(cr.Model):
    """Self-attention with a way around it."""

    def __init__(self) -> None:
        super().__init__()
        self.att, self.last = nn.MultiHeadAttention(2, 3), nn.Dense(2)

    def call(self, x, training=False):
        return self.last(cr.mean(x + self.att(x), axis=1))


def attention():
    def loss(w: Weights) -> float:
        x = STEPS.astype(np.float64)
        q, k, v = (
            np.einsum("ntf,fhd->nthd", x, w[f"att/{n}_kernel"]) + w[f"att/{n}_bias"]
            for n in ("query", "key", "value")
        )
        e = np.exp(np.einsum("nqhd,nkhd->nhqk", q, k) / np.sqrt(3))
        read = np.einsum("nhqk,nkhd->nqhd", e / e.sum(-1, keepdims=True), v)
        out = np.einsum("nqhd,hdf->nqf", read, w["att/output_kernel"]) + w["att/output_bias"]
        return squared(dense(w, "last", (x + out).mean(1)))

    return Attending(), STEPS, loss, {}


class Twice(cr.Model):
    """A layer that is called twice, each time with a way around it."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.last = nn.Dense(4, "tanh"), nn.Dense(4, "tanh"), nn.Dense(2)

    def call(self, x, training=False):
        h = self.a(x)
        h = h + self.b(h)
        return self.last(h + self.b(h))


def shared():
    def loss(w: Weights) -> float:
        h = np.tanh(dense(w, "a", X))
        h = h + np.tanh(dense(w, "b", h))
        return squared(dense(w, "last", h + np.tanh(dense(w, "b", h))))

    return Twice(), X, loss, {}


def weighted():
    def loss(w: Weights) -> float:
        o = dense(w, "dense_1", np.tanh(dense(w, "dense", X)))
        kernel = w["dense/kernel"]
        return float(((o - Y) ** 2).mean(1) @ WEIGHTS / WEIGHTS.sum() + 0.1 * (kernel**2).sum())

    net = [nn.Dense(5, "tanh", kernel_regularizer=nn.regularizers.L2(0.1)), nn.Dense(2)]
    return cr.Sequential(net), X, loss, {"sample_weight": WEIGHTS}


CASES: dict[str, Callable] = {
    "strided": lambda: convolution(stride=2),
    "dilated, in groups": lambda: convolution(dilation=2, groups=2),
    "batch statistics": lambda: normalised(True),
    "running statistics": lambda: normalised(False),
    "masked words": masked_words,
    "attention": attention,
    "shared and around": shared,
    "weights and a penalty": weighted,
}


def slope(loss: Callable[[Weights], float], w: Weights, path: str, index: tuple) -> float:
    """Richardson's difference of the loss of NumPy."""

    def central(step: float) -> float:
        ends = []
        for moved in (step, -step):
            changed = w[path].copy()
            changed[index] += moved
            ends.append(loss(w | {path: changed}))
        return (ends[0] - ends[1]) / (2 * step)

    return (4 * central(5e-5) - central(1e-4)) / 3


@pytest.mark.parametrize("name", CASES)
def test_every_partition_sums_to_the_slope_of_a_forward_pass_in_numpy(name):
    model, x, loss, options = CASES[name]()
    y = Y[: len(x)]
    model.compile("sgd", "mse")
    model.predict(x)
    w = {path: each.astype(np.float64) for path, each in model.get_weights().items()}
    for path, parameter in model.named_parameters().items():
        index = tuple(n // 2 for n in parameter.shape)
        back = tuple(i - n for i, n in zip(index, parameter.shape, strict=True))
        wanted = slope(loss, w, path, index)
        found = [cr.explain(model, x, y, path, back, **options)]
        assert found[0].index == index and found[0].check.mark == "ok"
        assert np.isclose(found[0].loss, loss(w), rtol=1e-12)
        for axis in AXES:
            try:
                found.append(
                    cr.explain(model, x, y, path, index, by=axis, topk=2, check="none", **options)
                )
            except cr.ArgumentError as error:  # the parameter has no such axis
                assert f"by={axis!r}" in str(error)
        assert len(found) > 2
        for each in (part for explanation in found for part in explanation.partitions):
            assert abs(each.sum - wanted) <= 1e-6 * max(each.mass, 1e-3), (path, each.by)
            assert 0 <= each.coverage <= 1 + 1e-12
