"""Layers that only arrange their input anew. Read next: `normalisation.py`."""

from __future__ import annotations

import math

from chainrule.core.tensor import Tensor
from chainrule.nn.checks import needs_axes
from chainrule.nn.module import Module
from chainrule.ops.move import reshape


class Flatten(Module):
    """All axes but the batch as one: (batch, a, b, ...) to (batch, a b ...)."""

    sample = dict(args=(), input=(2, 3, 4))

    def call(self, x: Tensor) -> Tensor:
        """One axis of features; an input of the batch alone gets one feature."""
        needs_axes(self, x.shape, "(batch, ...)", 1, more=True)
        return reshape(x, (x.shape[0], math.prod(x.shape[1:])))
