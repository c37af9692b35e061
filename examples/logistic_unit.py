"""One logistic unit, trained by gradient descent until it says why it stops.

    python examples/logistic_unit.py [--seed 0]

The unit answers p = sigmoid(x w + b) for an example x of two numbers. What it minimises is the
mean squared error over N examples,

    L = (1/N) sum_n (p_n - t_n)^2.

The chain rule takes L apart along the way that the numbers went, z = x w + b, then p, then L:

    dL/dw = sum_n  dL/dp_n      dp_n/dz_n     dz_n/dw
          = sum_n  (2/N)(p-t)   p (1 - p)     x_n

Nobody writes these factors below: `cr.gradient` finds them in what was recorded, and
`cr.check_gradient` holds them against differences of the loss itself. Written by hand, the 2/N is
what is most easily lost; `article_program.py` shows what then happens, and four faults more.

Training has three ends, and each is told with its numbers: the gradient has vanished, the steps
ran out, or a number was not finite.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

import chainrule as cr

TRUE_WEIGHTS, TRUE_BIAS = np.array([[2.0], [-3.0]]), np.array([0.5])


class Fit(NamedTuple):
    """A trained unit, the loss before every step and at the end, and why training stopped."""

    weights: cr.Tensor
    bias: cr.Tensor
    losses: list[float]
    reason: str
    converged: bool


def make_data(seed: int, n: int = 200) -> tuple[np.ndarray, np.ndarray]:
    """`n` points of the plane and their 0/1 targets, drawn by a unit that we know."""
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((n, 2))
    p = cr.sigmoid(x @ TRUE_WEIGHTS + TRUE_BIAS).numpy()
    return x, (rng.random((n, 1)) < p).astype(np.float64)


def answer(weights: cr.Tensor, bias: cr.Tensor, x: np.ndarray) -> cr.Tensor:
    """The unit's output for every row of `x`; sigmoid is stable, so any x is allowed."""
    return cr.sigmoid(x @ weights + bias)


def mean_squared_error(
    weights: cr.Tensor, bias: cr.Tensor, x: np.ndarray, t: np.ndarray
) -> cr.Tensor:
    """The mean of (p - t)^2 over the examples."""
    error = answer(weights, bias, x) - t
    return cr.mean(error * error)


def train(
    x: np.ndarray,
    t: np.ndarray,
    *,
    rate: float = 8.0,
    tolerance: float = 1e-8,
    most_steps: int = 5000,
) -> Fit:
    """Gradient descent from zero weights until the gradient's norm is below `tolerance`."""
    weights, bias = cr.Tensor(np.zeros((2, 1))), cr.Tensor(np.zeros(1))
    losses: list[float] = []
    while True:
        with cr.record():
            loss = mean_squared_error(weights, bias, x, t)
        d_weights, d_bias = cr.gradient(loss, (weights, bias))
        losses.append(float(loss))
        steps = len(losses) - 1
        norm = math.hypot(*d_weights.numpy().ravel(), *d_bias.numpy())
        if not math.isfinite(losses[-1] + norm):
            reason = f"not finite after {steps} steps: loss {losses[-1]}, gradient norm {norm}"
            return Fit(weights, bias, losses, reason, converged=False)
        if norm < tolerance:
            reason = f"converged after {steps} steps: gradient norm {norm:.3g} < {tolerance:g}"
            return Fit(weights, bias, losses, reason, converged=True)
        if steps >= most_steps:
            reason = f"step limit {most_steps} reached: gradient norm {norm:.3g} >= {tolerance:g}"
            return Fit(weights, bias, losses, reason, converged=False)
        weights, bias = weights - rate * d_weights, bias - rate * d_bias


def main(argv: Sequence[str] | None = None) -> Fit:
    """Make data, check the gradient, train, and say why training stopped."""
    parser = argparse.ArgumentParser(description="Trains one logistic unit.")
    parser.add_argument("--seed", type=int, default=0, help="the data's seed")
    seed = parser.parse_args(argv).seed

    x, t = make_data(seed)
    print(f"data      {len(x)} examples from seed {seed}, {int(t.sum())} of them with target 1")
    checked = cr.check_gradient(
        lambda weights, bias: mean_squared_error(weights, bias, x, t),
        [np.array([[0.3], [-0.2]]), np.array([0.1])],
    )
    for name, line in zip(("weights", "bias"), str(checked).splitlines(), strict=True):
        print(f"gradient  {name:<8}{line.partition(': ')[2]}")
    fit = train(x, t)
    show(fit, x, t)
    return fit


def show(fit: Fit, x: np.ndarray, t: np.ndarray) -> None:
    """Print how the loss fell, why it stopped falling, and what was learned."""
    last = len(fit.losses) - 1
    print("\n  step  loss")
    for step in [*(step for step in (0, 1, 3, 10, 30, 100, 300, 1000) if step < last), last]:
        print(f"{step:>6}  {fit.losses[step]:.10f}")
    print(f"\nstopped   {fit.reason}")
    learned = [*fit.weights.numpy().ravel(), *fit.bias.numpy()]
    made_by = [*TRUE_WEIGHTS.ravel(), *TRUE_BIAS]
    for title, values in (("learned", learned), ("made by", made_by)):
        print(f"{title:<10}w1 {values[0]:+.3f}   w2 {values[1]:+.3f}   b {values[2]:+.3f}")
    right = ((answer(fit.weights, fit.bias, x).numpy() > 0.5) == t).mean()
    print(f"right     {right:.1%} of the examples")
    far = answer(fit.weights, fit.bias, np.array([[-1000.0, 1000.0], [1000.0, -1000.0]])).numpy()
    print(f"far away  p is {far[0, 0]:g} at (-1000, 1000) and {far[1, 0]:g} at (1000, -1000)")


if __name__ == "__main__":
    main()
