"""The chain rule at the outputs, with numbers: every term of one weight's gradient.

    python examples/output_cut.py [--lang zh] [--weight W2 0 2]

The loss L sees a weight w only through what the network puts out. Cut the network there, at the
output o_nk for example n and output k, and the gradient falls into one product for each:

    dL/dw = sum_n sum_k  dL/do_nk  do_nk/dw

Every factor is had by another call, and none from the gradient that they are to add up to:

    dL/do_nk   cr.grad of the loss as a function of the outputs: all n and k at once
    do_nk/dw   cr.jvp of the outputs as w moves with speed 1: again all n and k at once
    dL/dw      cr.grad of the whole, and beside it the central difference in float64

A weight of the first layer moves every output. One of the last layer moves one output only, so two
thirds of its terms are zero: `--weight W2 0 2` shows it.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from rich import box
from rich.console import Console
from rich.table import Table

import chainrule as cr

Params = dict[str, Any]
SHAPES = {"W1": (2, 2), "b1": (2,), "W2": (2, 3), "b2": (3,)}

WORDS = {
    "en": {
        "title": "dL/dw for w = {weight}, cut at the outputs of a 2-2-3 network",
        "example": "example n",
        "output": "output k",
        "product": "product",
        "over_k": "sum over k",
        "total": "sum of all products",
        "engine": "gradient, cr.grad",
        "central": "central difference",
        "quantity": "dL/dw as",
        "value": "value",
        "gap": "differs by",
    },
    "zh": {
        "title": "w = {weight} 的 dL/dw：在 2-2-3 网络的输出处切开",
        "example": "样本 n",
        "output": "输出 k",
        "product": "乘积",
        "over_k": "对 k 求和",
        "total": "所有乘积之和",
        "engine": "梯度 cr.grad",
        "central": "中心差分",
        "quantity": "dL/dw 的来源",
        "value": "数值",
        "gap": "相差",
    },
}


class Cut(NamedTuple):
    """Both factors for each example and output, and three ways to the same derivative."""

    d_loss: np.ndarray
    d_outputs: np.ndarray
    total: float
    engine: float
    central: float


def make_problem(seed: int = 0, n: int = 3) -> tuple[Params, np.ndarray, np.ndarray]:
    """Parameters, inputs (n, 2) and targets (n, 3), all float64."""
    rng = np.random.default_rng(seed)
    params = {name: rng.standard_normal(shape) for name, shape in SHAPES.items()}
    return params, rng.standard_normal((n, 2)), rng.random((n, 3))


def outputs(params: Params, x: np.ndarray) -> cr.Tensor:
    """o = sigmoid(tanh(x W1 + b1) W2 + b2), shape (examples, 3)."""
    h = cr.tanh(x @ params["W1"] + params["b1"])
    return cr.sigmoid(h @ params["W2"] + params["b2"])


def loss_of(o: cr.Tensor, t: np.ndarray) -> cr.Tensor:
    """The mean squared error of outputs `o`."""
    return cr.mean((o - t) ** 2)


def cut(params: Params, x: np.ndarray, t: np.ndarray, name: str, index: tuple[int, ...]) -> Cut:
    """The terms of dL/dw for the weight `index` of `params[name]`, and dL/dw itself."""
    params = {each: cr.Tensor(array) for each, array in params.items()}
    one = np.zeros(params[name].shape)
    one[index] = 1.0

    def outputs_with(weights: Any) -> cr.Tensor:
        return outputs({**params, name: weights}, x)

    o, d_outputs = cr.jvp(outputs_with, [params[name]], [one])
    d_loss = cr.grad(loss_of)(o, t)
    engine = cr.grad(lambda weights: loss_of(outputs_with(weights), t))(params[name])

    h = np.finfo(np.float64).eps ** (1 / 3)
    ahead, behind = (float(loss_of(outputs_with(params[name] + s * h * one), t)) for s in (1, -1))
    return Cut(
        d_loss.numpy(),
        d_outputs.numpy(),
        float((d_loss * d_outputs).sum()),
        float(engine[index]),
        (ahead - behind) / (2 * h),
    )


def terms_table(found: Cut, words: dict[str, str], weight: str) -> Table:
    """One row for each example and output; under each example the sum over its outputs."""
    title = "  " + words["title"].format(weight=weight)
    table = Table(box=box.SIMPLE_HEAD, title=title, title_justify="left")
    for heading in (words["example"], words["output"], "dL/do", "do/dw", words["product"]):
        table.add_column(heading, justify="right", no_wrap=True)
    products = found.d_loss * found.d_outputs
    for n, row in enumerate(products):
        for k, product in enumerate(row):
            factors = signed(found.d_loss[n, k], 8), signed(found.d_outputs[n, k], 8)
            table.add_row(str(n), str(k), *factors, signed(product, 10))
        table.add_row("", "", "", words["over_k"], signed(row.sum(), 10), end_section=True)
    return table


def signed(value: float, digits: int) -> str:
    """`value` with its sign; a zero that is exact stands out as a bare 0."""
    return f"{value:+.{digits}f}" if value else "0"


def sums_table(found: Cut, words: dict[str, str]) -> Table:
    """The sum, the engine's gradient and the central difference, one under the other."""
    table = Table(box=box.SIMPLE_HEAD)
    table.add_column(words["quantity"], no_wrap=True)
    table.add_column(words["value"], justify="right", no_wrap=True)
    table.add_column(words["gap"], justify="right", no_wrap=True)
    for name in ("total", "engine", "central"):
        value = getattr(found, name)
        gap = abs(value - found.total)
        shown = "" if name == "total" else f"{gap:.1e}" if gap else "0"
        table.add_row(words[name], signed(value, 15), shown)
    return table


def parse(argv: Sequence[str] | None) -> tuple[str, str, tuple[int, int]]:
    """(language, parameter, index of the weight in it) from the command line."""
    parser = argparse.ArgumentParser(description="One weight's gradient, cut at the outputs.")
    parser.add_argument("--lang", choices=("en", "zh"), default="en", help="language of the words")
    parser.add_argument(
        "--weight",
        nargs=3,
        default=("W1", "0", "1"),
        metavar=("NAME", "I", "J"),
        help="W1 or W2, its row and its column, counted from 0",
    )
    given = parser.parse_args(argv)
    weights = {
        (name, str(i), str(j)): (name, (i, j))
        for name in ("W1", "W2")
        for i, j in np.ndindex(SHAPES[name])
    }
    if tuple(given.weight) not in weights:
        asked = " ".join(given.weight)
        parser.error(f"--weight needs W1 0..1 0..1 or W2 0..1 0..2, got {asked}")
    return given.lang, *weights[tuple(given.weight)]


def main(argv: Sequence[str] | None = None) -> Cut:
    """Print both tables for one weight, in English or Chinese."""
    lang, name, (i, j) = parse(argv)
    found = cut(*make_problem(), name, (i, j))
    console = Console(highlight=False)
    console.print(terms_table(found, WORDS[lang], f"{name}[{i},{j}]"))
    console.print(sums_table(found, WORDS[lang]))
    return found


if __name__ == "__main__":
    main()
