"""Planted faults: models and losses that stop being finite at one known line and example.

Every model begins as the identity and hardly learns, so that what is planted in x and y reaches
the fault as it is. Example `BAD` is the fault, and lies in the second batch.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

import chainrule as cr
from chainrule import nn
from chainrule.train import Sequential, optim

N, SIZE, FEATURES, BAD = 12, 4, 3, 6
STILL = 1e-30  # a learning rate by which nothing moves


@dataclass
class Case:
    """A fault: where it is planted, and what must be said of it.

    `line` is in the source line that is to be named, None for one inside the library.
    """

    loss: Any
    op: str
    line: str | None
    reason: str
    x: Any = 1.0  # of the example BAD; or all of x
    y: Any = 1.0
    example: int | None = BAD
    layers: Callable[[], list] = lambda: [Times()]
    more: dict[str, Any] = field(default_factory=dict)  # what else the finding says
    rate: float = STILL
    fit: dict[str, Any] = field(default_factory=dict)

    def data(self) -> tuple[np.ndarray, np.ndarray]:
        """x and y, ones but for what is planted."""
        return _planted(self.x), _planted(self.y)

    def model(self) -> Sequential:
        """The model, compiled."""
        model = Sequential(self.layers(), seed=0)
        model.compile(optim.SGD(self.rate), self.loss)
        return model


def _planted(value: Any) -> np.ndarray:
    if np.ndim(value) > 1:
        return value
    array = np.ones((N, FEATURES))
    array[BAD] = value
    return array


class Times(nn.Module):
    """x times a weight that is 1 for each feature."""

    def build(self, shape):
        self.parameter("w", shape[-1:], "ones")

    def call(self, x):
        return x * self.w


class LogLayer(nn.Module):
    """The logarithm, in a layer of the user's."""

    def call(self, x):
        return cr.log(x)  # in the layer


class Root(nn.Module):
    """A cell that divides by what it has added up."""

    state_size = FEATURES

    def call(self, x, states):
        total = states[0] + x
        return x / total, (total,)  # in the cell


class Shares(nn.Module):
    """Layer normalisation by hand, without an epsilon."""

    def call(self, x):
        away = x - cr.mean(x, axis=-1, keepdims=True)
        spread = cr.sqrt(cr.mean(away * away, axis=-1, keepdims=True))
        return away / spread  # by hand


class Scanned(nn.Module):
    """A loop over the features that multiplies, and takes logarithms on the way."""

    def call(self, x):
        def body(carry, now):
            carry = carry * now
            return carry, cr.log(carry)  # in the loop

        start = x[:, 0] * 0 + 1
        _, found = cr.scan(body, start, cr.transpose(x, (1, 0)))
        return cr.transpose(found, (1, 0))


def log_loss(y, p):
    return -cr.mean(cr.log(p))  # log


def ratio(y, p):
    return cr.mean(p / y)  # ratio


def exponential(y, p):
    return cr.mean(cr.exp(p))  # exp


def sinus(y, p):
    return cr.mean(cr.sinh(p))  # sinh


def root(y, p):
    return cr.mean(cr.sqrt(p))  # root


def reciprocal_root(y, p):
    return cr.mean(cr.rsqrt(p))  # reciprocal root


def norm(y, p):
    return cr.mean(cr.sqrt(cr.sum(p * p, axis=1)))  # norm


def squared(y, p):
    return cr.mean((p - y) * (p - y))  # squared


def masked_softmax(y, p):
    scores = cr.where(y > 0, p, -np.inf)
    away = scores - cr.max(scores, axis=1, keepdims=True)  # masked
    e = cr.exp(away)
    return cr.mean(p * e / cr.sum(e, axis=1, keepdims=True))


def infinite_bias(y, p):
    bias = cr.where(y > 0, 0.0, -np.inf, like=p)
    return cr.mean(p * bias)  # bias


def power(y, p):
    return cr.mean(p**1.5)  # power


def inverse(y, p):
    return cr.mean(p**-2.0)  # inverse


def angle(y, p):
    return cr.mean(cr.arccos(p * 0.5))  # angle


def area(y, p):
    return cr.mean(cr.arctanh(p * 0.5))  # area


def total_of(y, p):
    return cr.mean(cr.sum(p, axis=1) * 1e-30)  # total


def logsumexp_by_hand(y, p):
    return cr.mean(cr.log(cr.sum(cr.exp(p), axis=1)))  # logsumexp


def cross_entropy(y, p):
    q = cr.softmax(p)
    return -cr.mean(cr.sum(y * cr.log(q), axis=1))  # cross


def flags(y, p):
    return -cr.mean(y * cr.log(p) + (1 - y) * cr.log(2 - p))  # flags


def hidden_log(y, p):
    return cr.mean(cr.where(p > 0, cr.log(p), 0.0))  # hidden


def chosen(y, p):
    def yes(p):
        return cr.mean(cr.log(p))  # chosen

    return cr.cond(cr.sum(y) > 0, yes, lambda p: cr.mean(p), p)


def again(y, p):
    return cr.checkpoint(log_loss)(y, p)


def shifted(y, p):
    return cr.mean(cr.log1p(-p * 0.5))  # shifted


def cube(y, p):
    return cr.mean(p * p * p)  # cube


def zero_power(y, p):
    return cr.mean(p**0.5)  # half power


def flat(y, p):
    return cr.mean(cr.log(cr.reshape(p, (-1,))))  # flat


def spread_over_batch(y, p):
    middle = cr.mean(p, axis=0)
    spread = cr.sqrt(cr.mean((p - middle) * (p - middle), axis=0))
    return cr.mean((p - middle) / spread)  # spread


def large(y, p):
    return cr.mean(p) * 1e25  # large


def one(y, p):
    return cr.mean(p)


ONE_OFF = np.float64([1, 0, 1])
SEQUENCES = np.ones((N, 5, FEATURES))
SEQUENCES[BAD, :4, 1] = [1, -2, 1, 3]  # adds up to 0 at t = 2
VARIED = np.arange(N * FEATURES, dtype=float).reshape(N, FEATURES) ** 2
VARIED[BAD] = 2.0
IDS = np.arange(N).reshape(N, 1) % 3
IDS[BAD] = 5


def tables() -> list:
    layer = nn.Embedding(7, FEATURES)
    layer.build((None, 1))
    array = layer.embeddings.numpy().copy()
    array[5, 1] = np.inf
    layer.embeddings.assign(array)
    return [layer, nn.Flatten()]


CASES = {
    "log of 0": Case(log_loss, "log", "# log", "log_zero", x=ONE_OFF),
    "log of a negative": Case(log_loss, "log", "# log", "log_negative", x=-ONE_OFF - 1),
    "0 / 0": Case(ratio, "divide", "# ratio", "zero_by_zero", x=ONE_OFF, y=ONE_OFF),
    "bad label: 1 / 0": Case(ratio, "divide", "# ratio", "by_zero", y=ONE_OFF),
    "exp overflow": Case(exponential, "exp", "# exp", "exp_overflow", x=95.0),
    "sinh overflow": Case(sinus, "sinh", "# sinh", "exp_overflow", x=95.0),
    "root of a negative": Case(root, "sqrt", "# root", "sqrt_negative", x=-4.0),
    "derivative of the root at 0": Case(
        root, "divide", "# root", "derivative", x=ONE_OFF, more=dict(gradient=True, of="sqrt")
    ),
    "reciprocal root at 0": Case(
        reciprocal_root, "rsqrt", "# reciprocal root", "by_zero", x=ONE_OFF
    ),
    "norm at 0": Case(
        norm, "divide", "# norm", "derivative", x=0.0, more=dict(gradient=True, of="sqrt")
    ),
    "data beyond float32": Case(
        squared, "multiply", None, "data", x=1e300, more=dict(leaf="x", index=(2, 0))
    ),
    "label beyond float32": Case(
        squared, "subtract", "# squared", "data", y=1e300, more=dict(leaf="y")
    ),
    "row all masked": Case(masked_softmax, "subtract", "# masked", "inf_minus_inf", y=0.0),
    "0 times infinity": Case(
        infinite_bias, "multiply", "# bias", "zero_times_inf", x=ONE_OFF, y=ONE_OFF
    ),
    "power of a negative": Case(power, "power", "# power", "power_negative", x=-1.0),
    "0 to a negative power": Case(inverse, "power", "# inverse", "power_zero", x=ONE_OFF),
    "half power at 0": Case(
        zero_power, "power", "# half power", "derivative", x=ONE_OFF, more=dict(gradient=True)
    ),
    "arccos out of range": Case(angle, "arccos", "# angle", "domain", x=3.0),
    "arctanh at 1": Case(area, "arctanh", "# area", "domain", x=2.0),
    "sum overflow": Case(total_of, "sum", "# total", "overflow", x=2e38),
    "product overflow": Case(cube, "multiply", "# cube", "overflow", x=1e15),
    "logsumexp by hand, large": Case(
        logsumexp_by_hand, "exp", "# logsumexp", "exp_overflow", x=100.0
    ),
    "logsumexp by hand, small": Case(logsumexp_by_hand, "log", "# logsumexp", "log_zero", x=-200.0),
    "log of a softmax": Case(
        cross_entropy, "log", "# cross", "log_zero", x=np.float64([0, 200, 0])
    ),
    "cross-entropy by hand": Case(flags, "log", "# flags", "log_zero", x=2.0),
    "log1p of -1": Case(shifted, "log1p", "# shifted", "log_zero", x=2.0),
    "where hides the value": Case(
        hidden_log, "divide", "# hidden", "derivative", x=0.0, more=dict(of="log")
    ),
    "in a branch of cond": Case(chosen, "log", "# chosen", "log_zero", x=ONE_OFF),
    "under checkpoint": Case(again, "log", "# log", "log_zero", x=ONE_OFF),
    "batch and features in one axis": Case(flat, "log", "# flat", "log_zero", x=ONE_OFF),
    "in a layer": Case(
        one,
        "log",
        "# in the layer",
        "log_zero",
        x=ONE_OFF,
        layers=lambda: [Times(), LogLayer()],
        more=dict(layer="log_layer"),
    ),
    "normalised by hand": Case(
        squared,
        "divide",
        "# by hand",
        "zero_by_zero",
        x=VARIED,
        layers=lambda: [Times(), Shares()],
    ),
    "in a scan": Case(
        one,
        "log",
        "# in the loop",
        "log_zero",
        x=ONE_OFF,
        layers=lambda: [Times(), Scanned()],
        more=dict(times=(1,)),
    ),
    "in a recurrent cell": Case(
        one,
        "divide",
        "# in the cell",
        "by_zero",
        x=SEQUENCES,
        y=np.ones((N, 5, FEATURES)),
        layers=lambda: [Times(), nn.RNN(Root(), return_sequences=True)],
        more=dict(times=(2,)),
    ),
    "an infinity in a table": Case(
        one,
        "take",
        None,
        "weights",
        x=IDS,
        layers=tables,
        more=dict(leaf="embedding/embeddings", index=(5, 1)),
    ),
    "spread of a constant batch": Case(
        spread_over_batch, "divide", "# spread", "zero_by_zero", example=0
    ),
    "squares of large gradients": Case(large, None, None, "squares", example=None),
}
