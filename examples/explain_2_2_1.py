"""Backpropagation through a 2-2-1 network by pencil: every number of its gradient, explained.

    python examples/explain_2_2_1.py [--lang en|zh]

    h = sigmoid(x W1 + b1)      two hidden neurons
    o = sigmoid(h W2 + b2)      one output
    L = mean (o - y)^2          over the four corners of the unit square, y = XOR

First the values of the forward pass, then the derivation of the backward pass in letters, then
the nine derivatives in numbers: for each of the four examples the chain of factors from the loss
to the weight, which multiply to its part, and the parts sum to the derivative. Beside it stands
the central difference. At the end three attempts at dL/dW2 as a student may write them.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from itertools import product

import numpy as np

import chainrule as cr
from chainrule import nn
from chainrule.data import xor
from chainrule.explain.catalogue import language

WEIGHTS = {
    "dense/kernel": [[0.5, -0.6], [0.3, 0.9]],
    "dense/bias": [0.1, -0.2],
    "dense_1/kernel": [[0.9], [-0.7]],
    "dense_1/bias": [0.2],
}
ATTEMPTS = (
    "h1.T @ (2 / N * (o - y) * o * (1 - o))",
    "h1.T @ ((o - y) * o * (1 - o))",
    "h1.T @ (2 / N * (o - y) * z2 * (1 - z2))",
)
TITLES = {
    "en": (
        "The forward pass in numbers",
        "The nine derivatives in numbers",
        "dL/dW2 as a student may write it",
    ),
    "zh": ("前向传播的数值", "九个导数的数值", "学生写出的 dL/dW2"),
}


def network() -> cr.Sequential:
    """The network with the weights that this page is about."""
    net = cr.Sequential([nn.Dense(2, "sigmoid"), nn.Dense(1, "sigmoid")], name="2-2-1")
    net.compile("sgd", loss="mse")
    net.build_for((None, 2))
    net.set_weights({path: np.float32(values) for path, values in WEIGHTS.items()})
    return net


def data() -> tuple[np.ndarray, np.ndarray]:
    """The four corners and their XOR, one column."""
    x, labels = xor()
    return x, labels[:, None].astype(np.float32)


def forward(net: cr.Sequential, x: np.ndarray, y: np.ndarray) -> Iterator[str]:
    """The table of the forward pass, a row an example."""
    w1, b1, w2, b2 = (np.float64(net.get_weights()[path]) for path in WEIGHTS)
    h = 1 / (1 + np.exp(-(z1 := x @ w1 + b1)))
    o = 1 / (1 + np.exp(-(z2 := h @ w2 + b2)))
    names = ("z1₀", "z1₁", "h₀", "h₁", "z2", "o", "(o - y)²")
    yield "n   x1  x2  y  " + "".join(f"{name:>9}" for name in names)
    for n in range(len(x)):
        values = [*z1[n], *h[n], *z2[n], *o[n], *(o[n] - y[n]) ** 2]
        row = "".join(f"{value:+9.4f}" for value in values)
        yield f"{n}   {x[n, 0]:.0f}   {x[n, 1]:.0f}   {y[n, 0]:.0f}  {row}"
    yield f"L = {np.mean((o - y) ** 2):.6f}"


def entries() -> Iterator[tuple[str, tuple[int, ...]]]:
    """Each of the nine parameters: the path of its tensor, and its place in there."""
    for path, values in WEIGHTS.items():
        for index in product(*map(range, np.shape(values))):
            yield path, index


def main(argv: Sequence[str] | None = None) -> list[cr.Explanation]:
    """Print the page; the nine explanations are returned."""
    parser = argparse.ArgumentParser(description="Explains the gradient of a 2-2-1 network.")
    parser.add_argument("--lang", choices=("auto", "en", "zh"), default="auto", help="the language")
    lang = language(parser.parse_args(argv).lang)
    net, (x, y) = network(), data()
    values, numbers, attempts = TITLES[lang]

    print(f"{values}\n", *forward(net, x, y), sep="\n")
    print(f"\n{net.derivation(x_shape=(2,), lang=lang)}")
    print(f"\n{numbers}")
    made = []
    for path, index in entries():
        made.append(cr.explain(net, x, y, path, index=index, by="example", topk=4, lang=lang))
        print(f"\n{made[-1]}")
    print(f"\n{attempts}")
    for text in ATTEMPTS:
        verdict = cr.check_derivation(net, "dense_1/kernel", text, x_shape=(2,), lang=lang)
        print(f"\n{text}\n{verdict}")
    return made


if __name__ == "__main__":
    main()
