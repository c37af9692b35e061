"""A 2-2-1 network learns XOR: two inputs, two hidden neurons, one output, nine numbers.

    python examples/two_two_one.py [--seed 0] [--steps 1000]

    h = tanh(x W1 + b1)      two hidden neurons
    y = h W2 + b2            one output, linear
    L = mean (y - t)^2       over the four corners of the unit square

`step` holds all of a training step: the loss, its nine derivatives by `cr.value_and_grad`, and
Adam's update. `cr.jit` records it once and runs the recorded graph from then on.

This network is known for its traps: from about one start in four, descent ends where the gradient
vanishes although XOR is not learned, most often near L = 1/8. So an attempt has four ends,

    converged   L < 1e-6
    flat        the slope of the root mean squared error, |dL/dw| / (2 sqrt L), is below 0.005
    step limit  1000 steps
    not finite  the loss or its gradient is no number

and restarting belongs to the algorithm: unless it converged, an attempt is followed by one from
new weights, drawn from the seed and the attempt's number; ten attempts at most. On the way to a
solution L falls to 0 and that slope does not, so it tells a trap from a goal.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

import chainrule as cr
from chainrule.data import xor

OPTIMISER = cr.optim.Adam(0.05)
TOLERANCE, FLAT = 1e-6, 0.005
MOST_STEPS, MOST_ATTEMPTS = 1000, 10


class Attempt(NamedTuple):
    """One descent from fresh weights: where it ended, every loss on the way, and why it ended."""

    params: Any
    losses: list[float]
    end: str
    why: str


def draw(key: cr.Tensor) -> dict[str, cr.Tensor]:
    """Fresh weights and biases, evenly from [-1, 1), one key for each by its name."""
    shapes = {"W1": (2, 2), "b1": (2,), "W2": (2, 1), "b2": (1,)}
    return {name: cr.uniform(cr.fold_in(key, name), shapes[name], -1.0, 1.0) for name in shapes}


def hidden(params: Any, x: Any) -> cr.Tensor:
    """What the two hidden neurons answer."""
    return cr.tanh(x @ params["W1"] + params["b1"])


def predict(params: Any, x: Any) -> cr.Tensor:
    """The network's output for every row of `x`."""
    return hidden(params, x) @ params["W2"] + params["b2"]


def mean_squared_error(params: Any, x: Any, t: Any) -> cr.Tensor:
    """The mean of (y - t)^2 over the examples."""
    error = predict(params, x) - t
    return cr.mean(error * error)


@cr.jit
def step(params: Any, state: Any, x: Any, t: Any) -> tuple:
    """(the next params and state, the loss and the gradient's norm at the present params)."""
    loss, grads = cr.value_and_grad(mean_squared_error)(params, x, t)
    square = sum(cr.sum(g * g) for g in grads.values())
    params, state = OPTIMISER.update(params, grads, state)
    return params, state, loss, cr.sqrt(square)


def descend(params: Any, x: np.ndarray, t: np.ndarray, *, most_steps: int = MOST_STEPS) -> Attempt:
    """Full-batch training of `params` until one of the three ends."""
    state = OPTIMISER.init(params)
    losses: list[float] = []
    while True:
        ahead, state, loss, norm = step(params, state, x, t)
        losses.append(float(loss))
        if found := end_of(losses, float(norm), most_steps):
            return Attempt(params, losses, *found)
        params = ahead


def end_of(losses: list[float], norm: float, most_steps: int) -> tuple[str, str] | None:
    """(the end that an attempt has come to, its numbers), or None to go on."""
    loss = losses[-1]
    if not math.isfinite(loss + norm):
        return "not finite", f"loss {loss}, gradient norm {norm}"
    if loss < TOLERANCE:
        return "converged", f"loss {loss:.3g} < {TOLERANCE:g}"
    slope = norm / (2 * math.sqrt(loss))
    if slope < FLAT:
        return "flat", f"slope {slope:.3g} < {FLAT:g} at loss {loss:.4f}"
    if len(losses) - 1 >= most_steps:
        return "step limit", f"loss {loss:.3g} >= {TOLERANCE:g}"
    return None


def train(seed: int, *, most_steps: int = MOST_STEPS) -> list[Attempt]:
    """Attempts from weights drawn by `seed` and the attempt's number, until one converges."""
    x, labels = xor()
    t = labels[:, None].astype(np.float32)
    attempts: list[Attempt] = []
    while len(attempts) < MOST_ATTEMPTS and not (attempts and attempts[-1].end == "converged"):
        params = draw(cr.fold_in(cr.key(seed), len(attempts)))
        attempts.append(descend(params, x, t, most_steps=most_steps))
    return attempts


def main(argv: Sequence[str] | None = None) -> list[Attempt]:
    """Train, then print each attempt with its end, the losses and the predictions."""
    parser = argparse.ArgumentParser(description="Trains a 2-2-1 network on XOR.")
    parser.add_argument("--seed", type=int, default=0, help="the weights' seed")
    parser.add_argument("--steps", type=int, default=MOST_STEPS, help="the limit of an attempt")
    given = parser.parse_args(argv)

    attempts = train(given.seed, most_steps=given.steps)
    print(f"2-2-1 network on XOR, weights from seed {given.seed}\n")
    for number, attempt in enumerate(attempts, 1):
        steps = len(attempt.losses) - 1
        print(f"attempt {number:<2} {attempt.end} after {steps} steps: {attempt.why}")
    last = attempts[-1]
    show(last)
    end = f"{last.end}, {last.why}"
    if last.end == "converged":
        print(f"\nstopped: {end}, in attempt {len(attempts)}")
    else:
        print(f"\nstopped: not converged in {MOST_ATTEMPTS} attempts; the last: {end}")
    return attempts


def show(attempt: Attempt) -> None:
    """Print how the loss fell, and what the network answers now."""
    last = len(attempt.losses) - 1
    print("\n  step  loss")
    for taken in [*(s for s in (0, 1, 3, 10, 30, 100, 300) if s < last), last]:
        print(f"{taken:>6}  {attempt.losses[taken]:.3e}")
    x, labels = xor()
    h, y = hidden(attempt.params, x).numpy(), predict(attempt.params, x).numpy()
    print("\n  x1  x2  target  predicted       h1       h2")
    for n in range(len(x)):
        row = f"{x[n, 0]:>4.0f}{x[n, 1]:>4.0f}{labels[n]:>8}{y[n, 0]:>11.4f}"
        print(f"{row}{h[n, 0]:>9.4f}{h[n, 1]:>9.4f}")


if __name__ == "__main__":
    main()
