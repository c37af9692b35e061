"""Embedding: a vector for each of a number of ids. Read next: `attend.py`."""

from __future__ import annotations

from typing import Any

from chainrule.core.errors import DtypeError
from chainrule.core.tensor import Tensor, as_tensor
from chainrule.nn.checks import keep_rules, needs_axes, positive
from chainrule.nn.module import Module
from chainrule.ops.index import take
from chainrule.ops.logic import not_equal


class Embedding(Module):
    """The row of `embeddings` (input_dim, output_dim) that each integer names.

    Rows start even over +-0.05. With `mask_zero`, id 0 is padding: `compute_mask` says where it
    is not, and `run_chain` tells the layers that follow. DtypeError for ids that are no integers,
    ArgumentError for one outside 0..input_dim-1.
    """

    sample = dict(args=(5, 3), input=(2, 4), classes=5)
    takes_integers = True
    embeddings: Tensor

    def __init__(
        self,
        input_dim: int,
        output_dim: int,
        embeddings_initializer: Any = "random_uniform",
        embeddings_regularizer: Any = None,
        embeddings_constraint: Any = None,
        mask_zero: bool = False,
        name: str | None = None,
    ):
        super().__init__(name)
        self.input_dim = positive(input_dim, "Embedding: input_dim")
        self.output_dim = positive(output_dim, "Embedding: output_dim")
        keep_rules(
            self,
            embeddings_initializer=embeddings_initializer,
            embeddings_regularizer=embeddings_regularizer,
            embeddings_constraint=embeddings_constraint,
        )
        self.mask_zero = bool(mask_zero)

    def build(self, shape: tuple[int, ...]) -> None:
        """All rows; the input's shape does not matter to them."""
        needs_axes(self, shape, "(batch, ...)", 1, more=True)
        rows = (self.input_dim, self.output_dim)
        self.parameter("embeddings", rows, self.embeddings_initializer)

    def call(self, x: Tensor) -> Tensor:
        """(batch, ...) to (batch, ..., output_dim)."""
        needs_axes(self, x.shape, "(batch, ...)", 1, more=True)
        if x.dtype.kind not in "iu":
            raise DtypeError(
                f"Embedding needs integer ids, got {x.dtype}", mend="x.astype('int64')"
            )
        return take(self.embeddings, x)

    def compute_mask(self, x: Any, mask: Any = None) -> Any:
        """Where the id is not 0, with `mask_zero`; else None."""
        return not_equal(as_tensor(x), 0) if self.mask_zero else None
