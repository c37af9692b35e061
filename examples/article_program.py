"""Five faults of a hand-written backpropagation, each shown and each measured.

    python examples/article_program.py

An article on backpropagation ends in a short program: one logistic unit, its gradient written
out by hand. `kernel`, `offset` and the functions below rebuild that program in our own words, with
its faults kept, since each of them is one that people make:

    a  the first call fails: it assigns to names of the module, which makes them local
    b  the gradient is N/2 times that of the loss: a mean, differentiated as half a sum
    c  the slope of the sigmoid is right only for the activation, yet takes any number
    d  exp overflows for an input far below zero
    e  nothing fixes the first weights and nothing says when to stop

`cr.check_gradient` takes any function for the gradient, `against=`, so b and c are found by one
line each. `logistic_unit.py` is the same unit without the faults.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np

import chainrule as cr

kernel = np.random.randn(2, 1)  # noqa: NPY002  fault e: no seed
offset = np.random.randn(1)  # noqa: NPY002

SIZES = (1, 2, 4, 10, 100)


def logistic(z: Any) -> Any:
    """Fault d: exp(-z) is beyond float64 for z < -709, and NumPy warns."""
    return 1 / (1 + np.exp(-z))


def logistic_slope(z: Any) -> Any:
    """Fault c: the derivative, if `z` is the activation; nothing keeps a pre-activation out."""
    return z * (1 - z)


def misfit(t: np.ndarray, p: np.ndarray) -> Any:
    """The loss: a mean over the N examples."""
    return ((p - t) ** 2).mean()


def slopes(kernel: Any, offset: Any, x: np.ndarray, t: np.ndarray) -> tuple[Any, Any]:
    """Fault b: sums of (p - t) p (1 - p) x, in which the mean's factor 2/N is missing."""
    p = logistic(x @ kernel + offset)
    delta = (p - t) * logistic_slope(p)
    return x.T @ delta, delta.sum(axis=0)


def learn(x: np.ndarray, t: np.ndarray, rate: float) -> Any:
    """Fault a: `-=` makes `kernel` and `offset` local names, read here before they have a value.

    A linter sees it without running anything (F823, F841), and is silenced here on purpose.
    """
    p = logistic(x @ kernel + offset)  # noqa: F823
    d_kernel, d_offset = slopes(kernel, offset, x, t)
    kernel -= rate * d_kernel  # noqa: F841
    offset -= rate * d_offset  # noqa: F841
    return misfit(t, p)


def mended_learn(kernel: Any, offset: Any, x: np.ndarray, t: np.ndarray, rate: float) -> Any:
    """`learn` without fault a: it gives (kernel, offset, loss) and, as before, no reason to end."""
    d_kernel, d_offset = slopes(kernel, offset, x, t)
    loss = misfit(t, logistic(x @ kernel + offset))
    return kernel - rate * d_kernel, offset - rate * d_offset, loss


def examples(n: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """`n` points of the plane with 0/1 targets."""
    rng = np.random.default_rng(seed)
    return rng.standard_normal((n, 2)), rng.integers(0, 2, (n, 1)).astype(np.float64)


def check_slopes(n: int, *, ours: bool = False) -> Any:
    """The gradient by hand, or chainrule's, held against differences of the program's own loss."""
    x, t = examples(n)
    at = [np.array([[0.4], [-0.3]]), np.array([0.2])]
    if ours:
        return cr.check_gradient(
            lambda kernel, offset: cr.mean((cr.sigmoid(x @ kernel + offset) - t) ** 2), at
        )
    return cr.check_gradient(
        lambda kernel, offset: misfit(t, logistic(x @ kernel + offset)),
        at,
        against=lambda kernel, offset: slopes(kernel, offset, x, t),
    )


def check_logistic_slope(given: str) -> Any:
    """The sigmoid's slope by hand at three points, fed the "activation" or the "pre-activation"."""
    feed = {"activation": logistic, "pre-activation": lambda z: z}[given]
    return cr.check_gradient(
        lambda z: logistic(z).sum(),
        [np.array([-1.0, 0.0, 2.0])],
        against=lambda z: logistic_slope(feed(z)),
    )


def warnings_of(function: Any, z: float) -> list[str]:
    """What is warned of while `function` takes `z`."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        function(np.array(z))
    return [f"{w.category.__name__}: {w.message}" for w in caught]


def main(argv: Sequence[str] | None = None) -> None:
    """Print each fault beside what chainrule does in its place."""
    x, t = examples(4)
    print("a  the first call")
    try:
        learn(x, t, 0.1)
    except UnboundLocalError as error:
        message = str(error).partition(" where")[0]
        print(f"     by hand    {type(error).__name__}: {message}")
    print("     chainrule  weights go in as arguments and new ones come out\n")

    print("b  the gradient of a mean over N examples, as a multiple of the right one")
    print("     N        " + "".join(f"{n:>8}" for n in SIZES))
    for title, ours in (("by hand", False), ("chainrule", True)):
        factors = [check_slopes(n, ours=ours).factors[0] for n in SIZES]
        print(f"     {title:<9}" + "".join(f"{factor:>8.4g}" for factor in factors))

    print("\nc  the slope of the sigmoid, from")
    for given in ("activation", "pre-activation"):
        print(f"     {given:<16}{str(check_logistic_slope(given)).partition(': ')[2]}")
    ours = cr.check_gradient(lambda z: cr.sigmoid(z).sum(), [np.array([-1.0, 0.0, 2.0])])
    print(f"     {'chainrule':<16}{str(ours).partition(': ')[2]}")

    print("\nd  sigmoid(-1000)")
    print(f"     by hand    {'; '.join(warnings_of(logistic, -1000.0))}")
    print(f"     chainrule  {cr.sigmoid(-1000.0).item():g}, no warning\n")

    print("e  the first weights, and the end")
    print(f"     by hand    kernel {kernel.ravel().round(3)}: others at the next start; no end")
    print("     chainrule  a seed, and three ends with a reason each: see logistic_unit.py")


if __name__ == "__main__":
    main()
