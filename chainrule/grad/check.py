r"""`check_gradient`: a gradient held against central differences in float64.

Central difference: $(f(x + h) - f(x - h)) / 2h$ with $h = \epsilon^{1/3} \max(1, |x|)$, whose
error is of order $h^2$. Read next: `chainrule/rewrite/engine.py`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from chainrule.core.errors import ArgumentError, GradientError, ShapeError
from chainrule.core.tensor import Tensor, as_tensor
from chainrule.core.tree import flatten, unflatten
from chainrule.grad.reverse import differentiable, grad

STEP = float(np.finfo(np.float64).eps) ** (1 / 3)


def difference(fn: Callable, arrays: Sequence[np.ndarray], which: int) -> np.ndarray:
    """The central difference of scalar `fn(*arrays)` in every element of `arrays[which]`."""
    x = arrays[which]
    out = np.zeros_like(x)
    for index in np.ndindex(x.shape):
        h = STEP * max(1.0, abs(x[index]))
        sides = []
        for sign in (1.0, -1.0):
            moved = x.copy()
            moved[index] += sign * h
            sides.append(float(fn(*[*arrays[:which], moved, *arrays[which + 1 :]])))
        out[index] = (sides[0] - sides[1]) / (2 * h)
    return out


def distance(g: np.ndarray, reference: np.ndarray) -> float:
    """The largest difference, relative to the largest reference element (1e-8 at least)."""
    if not g.size:
        return 0.0
    with np.errstate(all="ignore"):
        gap = float(np.max(np.abs(g - reference)))
    return gap / max(float(np.max(np.abs(reference))), 1e-8)


@dataclass(frozen=True)
class GradientCheck:
    """What `check_gradient` found. It is true when every gradient is right."""

    names: tuple[str, ...]
    errors: tuple[float, ...]
    factors: tuple[float | None, ...]
    tolerance: float

    @property
    def ok(self) -> bool:
        """Whether every relative error is within the tolerance."""
        return all(error <= self.tolerance for error in self.errors)

    def __bool__(self) -> bool:
        return self.ok

    def __str__(self) -> str:
        rows = []
        for name, error, factor in zip(self.names, self.errors, self.factors, strict=True):
            verdict = "ok" if error <= self.tolerance else "WRONG"
            extra = "" if factor is None or verdict == "ok" else f"  it is {factor:.6g} times right"
            if math.isnan(error):
                extra = "  NaN: the gradient, or the function near there, is no number"
            rows.append(f"{name}: relative error {error:.2e} {verdict}{extra}")
        return "\n".join(rows)

    __repr__ = __str__


def _factor(g: np.ndarray, reference: np.ndarray) -> float | None:
    """The one number c with g = c * reference, None when there is none."""
    norm = float(np.sum(reference * reference))
    if not norm or not np.all(np.isfinite(g)) or not math.isfinite(norm):
        return None
    c = float(np.sum(g * reference)) / norm
    return c if np.allclose(g, c * reference, rtol=1e-4, atol=1e-8 * np.sqrt(norm)) else None


def check_gradient(
    fn: Callable, args: Sequence[Any], *, against: Any = None, tolerance: float = 1e-6
) -> GradientCheck:
    """Hold a gradient of scalar `fn(*args)` against float64 central differences.

    What is checked is chainrule's own gradient, or `against`: a function of the same arguments
    that gives one gradient per argument, or those gradients themselves. `fn` may be plain
    NumPy then. The result is true when right, prints one line per array, and where a gradient
    is wrong by one constant factor says which.

    >>> import chainrule as cr
    >>> check_gradient(lambda x: cr.mean(x ** 2), [np.ones(4)], against=lambda x: 2 * x)
    args[0]: relative error 3.00e+00 WRONG  it is 4 times right
    """
    if not isinstance(args, tuple | list):
        raise ArgumentError(
            f"check_gradient needs a list of fn's arguments, got {type(args).__name__}",
            mend="check_gradient(fn, [x])",
        )
    leaves, structure = flatten(list(args))
    wide = [np.asarray(x, np.float64) if differentiable(x) else x for x in leaves]
    where = [i for i, x in enumerate(leaves) if differentiable(x)]
    if not where:
        raise GradientError("nothing to check: no float arrays among the arguments")

    def flat(*arrays: Any) -> Any:
        given = list(wide)
        for i, array in zip(where, arrays, strict=True):
            given[i] = array
        value = fn(*unflatten(structure, given))
        if getattr(value, "shape", ()) != ():
            raise GradientError(f"check_gradient needs one number, got shape {value.shape}")
        return value

    chosen = [wide[i] for i in where]
    theirs = _claimed(fn, args, wide, structure, where, against)
    names, errors, factors = [], [], []
    for i in range(len(where)):
        reference = difference(flat, chosen, i)
        g = theirs[i]
        if g.shape != reference.shape:
            raise ShapeError(f"a gradient of shape {g.shape} for an array of {reference.shape}")
        names.append(f"args[{where[i]}]")
        errors.append(distance(g, reference))
        factors.append(_factor(g, reference))
    return GradientCheck(tuple(names), tuple(errors), tuple(factors), tolerance)


def _claimed(
    fn: Callable, args: Any, wide: list, structure: Any, where: list[int], against: Any
) -> list[np.ndarray]:
    tree = unflatten(structure, [Tensor(x) if i in where else x for i, x in enumerate(wide)])
    if against is None:
        found = grad(fn, argnums=range(len(args)))(*tree)
    else:
        plain = unflatten(structure, wide)
        found = against(*plain) if callable(against) else against
        if not isinstance(found, tuple | list):
            found = (found,)
    gradients = [as_tensor(g).numpy() for g in flatten(list(found))[0] if g is not None]
    if len(gradients) != len(where):
        raise ArgumentError(f"{len(gradients)} gradients were given for {len(where)} float arrays")
    return [np.asarray(g, np.float64) for g in gradients]
