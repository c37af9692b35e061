"""`MixUp`: examples and labels mixed in pairs, in training. Read next: `embedding.py`."""

from __future__ import annotations

import math
from typing import Any

from chainrule.core.errors import DtypeError, ShapeError
from chainrule.core.op import Shape
from chainrule.core.tensor import Tensor
from chainrule.core.tree import flatten, tree_map
from chainrule.nn.checks import above_zero
from chainrule.nn.module import Module
from chainrule.nn.randomness import layer_key
from chainrule.ops.angles import cos
from chainrule.ops.draws import randint
from chainrule.ops.elementwise import cast, sqrt
from chainrule.ops.index import arange, take
from chainrule.ops.move import reshape
from chainrule.ops.random import fold_in, uniform
from chainrule.ops.rounding import clip, remainder


class MixUp(Module):
    r"""In training each example and its label are mixed with another's: $l x + (1 - l) x'$.

    The input is (x, y), each an array or a dict or tuple of them, all of floats: labels are one_hot
    or numbers. $l$ is drawn for each example from the distribution Beta(alpha, alpha), and $x'$ is
    the example some places further on in the batch, a number that is drawn for each batch.
    `model.compile(..., augment=MixUp(0.2))` puts it before the model in training steps.

    Source: Zhang et al., "mixup: Beyond Empirical Risk Minimization", 2018.
    """

    def __init__(self, alpha: float = 0.2, name: str | None = None):
        super().__init__(name)
        self.alpha = above_zero(alpha, "MixUp: alpha")

    def call(self, pair: Any, *, training: bool = False) -> Any:
        """The pair, mixed; ShapeError for unequal counts, DtypeError for integers.

        ArgumentError in training outside `random_scope`.
        """
        if not training:
            return pair
        tensors = flatten(pair)[0]
        counts = {x.shape[:1] for x in tensors}
        if len(counts) != 1 or counts == {()}:
            shapes = ", ".join(str(x.shape) for x in tensors)
            raise ShapeError(f"MixUp needs as many labels as examples, got shapes {shapes}")
        kinds = {str(x.dtype) for x in tensors if x.dtype.kind != "f"}
        if kinds:
            raise DtypeError(
                f"MixUp mixes numbers, and got {', '.join(sorted(kinds))}",
                mend="labels as cr.one_hot(y, classes), with categorical_crossentropy",
            )
        ((count,),) = counts
        key = layer_key()
        share = symmetric_beta(fold_in(key, 0), (count,), self.alpha)
        ahead = randint(fold_in(key, 1), (), 1, max(count, 2))
        others = remainder(arange(count) + ahead, max(count, 1))

        def mixed(x: Tensor) -> Tensor:
            own = cast(reshape(share, (count, *[1] * (x.ndim - 1))), x.dtype)
            return x * own + take(x, others) * (1 - own)

        return tree_map(mixed, pair)


def symmetric_beta(key: Tensor, shape: Shape, alpha: float) -> Tensor:
    """float32 numbers from the distribution Beta(alpha, alpha).

    Student's t with 2 alpha degrees is drawn from two even numbers, and bent onto 0..1.
    Source: Bailey, "Polar Generation of Random Variates with the t-Distribution", 1994.
    """
    p = uniform(fold_in(key, 1), shape) ** (1 / alpha)
    turn = cos(uniform(fold_in(key, 2), shape, 0.0, 2 * math.pi))
    bent = turn * sqrt((1 - p) / (p + turn * turn * (1 - p)))
    return clip(0.5 + 0.5 * bent, 0.0, 1.0)  # roundings
