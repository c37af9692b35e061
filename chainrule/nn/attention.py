r"""Attention: what is read is weighed by how well it fits what is asked. Read next: `losses.py`."""

from __future__ import annotations

from typing import Any

from chainrule.core.errors import ShapeError
from chainrule.core.tensor import Tensor
from chainrule.nn.attend import dot_product_attention
from chainrule.nn.checks import keep_rules, needs_axes, needs_width, positive, rate_below_one
from chainrule.nn.module import Module
from chainrule.nn.randomness import layer_key
from chainrule.ops.linear import contract

STEPS = "(batch, time, features)"


class MultiHeadAttention(Module):
    r"""$\text{softmax}(Q K^\top / \sqrt{d}) V$ in each of `num_heads` heads, then one product.

    Called with x (self-attention), (query, value) or (query, value, key), each (batch, time,
    features). Kernels `query_kernel`, `key_kernel` (features, heads, key_dim), `value_kernel`
    (features, heads, value_dim) and `output_kernel` (heads, value_dim, output_shape) are Glorot
    uniform, biases zero; `value_dim` is `key_dim` and `output_shape` the query's features when
    not given. `dropout` is that of the weights.

    With `causal`, which Keras takes at each call as `use_causal_mask`, no step sees a later one.
    A `mask` is bool, (batch, keys) or (batch, queries, keys), True where a key may be read; where
    a query may read none, all keys weigh alike. Of a long context no more than a block of scores
    is kept, see `dot_product_attention`.

    Source: Vaswani et al., "Attention Is All You Need", 2017, equation 1 and section 3.2.2.
    """

    # Without biases, as the one of the keys adds alike to all scores: its gradient is 0.
    sample = dict(
        args=(2, 3), kwargs=dict(dropout=0.3, use_bias=False, causal=True), input=(2, 4, 6)
    )
    query_kernel: Tensor
    key_kernel: Tensor
    value_kernel: Tensor
    output_kernel: Tensor
    output_bias: Tensor

    def __init__(
        self,
        num_heads: int,
        key_dim: int,
        value_dim: int | None = None,
        dropout: float = 0.0,
        use_bias: bool = True,
        output_shape: int | None = None,
        kernel_initializer: Any = "glorot_uniform",
        bias_initializer: Any = "zeros",
        kernel_regularizer: Any = None,
        bias_regularizer: Any = None,
        kernel_constraint: Any = None,
        bias_constraint: Any = None,
        causal: bool = False,
        name: str | None = None,
    ):
        super().__init__(name)
        self.num_heads = positive(num_heads, "MultiHeadAttention: num_heads")
        self.key_dim = positive(key_dim, "MultiHeadAttention: key_dim")
        if value_dim is not None:
            positive(value_dim, "MultiHeadAttention: value_dim")
        if output_shape is not None:
            positive(output_shape, "MultiHeadAttention: output_shape")
        self.value_dim, self.output_shape = value_dim, output_shape
        self.dropout = rate_below_one(dropout, "MultiHeadAttention")
        self.use_bias, self.causal = bool(use_bias), bool(causal)
        keep_rules(
            self,
            kernel_initializer=kernel_initializer,
            bias_initializer=bias_initializer,
            kernel_regularizer=kernel_regularizer,
            bias_regularizer=bias_regularizer,
            kernel_constraint=kernel_constraint,
            bias_constraint=bias_constraint,
        )

    def build(self, shape: Any) -> None:
        """Kernels for the features of query, key and value."""
        query, value, key = self._three(shape if isinstance(shape, list) else [shape])
        for given in (query, value, key):
            needs_axes(self, given, STEPS, 3, more=False)
        heads, values = self.num_heads, self.value_dim or self.key_dim
        rows = {"query": (query, self.key_dim), "key": (key, self.key_dim)}
        for name, (given, width) in {**rows, "value": (value, values)}.items():
            self.parameter(f"{name}_kernel", (given[-1], heads, width), self.kernel_initializer)
            if self.use_bias:
                self.parameter(f"{name}_bias", (heads, width), self.bias_initializer)
        out = self.output_shape or query[-1]
        self.parameter("output_kernel", (heads, values, out), self.kernel_initializer)
        if self.use_bias:
            self.parameter("output_bias", (out,), self.bias_initializer)

    def call(self, x: Any, *, training: bool = False, mask: Any = None) -> Tensor:
        """(batch, queries, features) to (batch, queries, output_shape)."""
        query, value, key = self._three(list(x) if isinstance(x, tuple) else [x])
        q, v, k = (
            self._projected(part, name)
            for part, name in ((query, "query"), (value, "value"), (key, "key"))
        )
        rate = self.dropout if training else 0.0
        dropout_key = layer_key() if rate else None
        read = dot_product_attention(q, k, v, mask, self.causal, None, rate, dropout_key)
        y: Any = contract(read, self.output_kernel, spec="nqhd,hdo->nqo")
        return y + self.output_bias if self.use_bias else y

    def _three(self, parts: list) -> tuple[Any, Any, Any]:
        if len(parts) not in (1, 2, 3):
            raise ShapeError(
                f"MultiHeadAttention needs x, (query, value) or (query, value, key), got "
                f"{len(parts)} inputs"
            )
        query, value = parts[0], parts[min(1, len(parts) - 1)]
        return query, value, parts[2] if len(parts) == 3 else value

    def _projected(self, x: Tensor, name: str) -> Any:
        needs_axes(self, x.shape, STEPS, 3, more=False)
        kernel = vars(self)[f"{name}_kernel"]
        needs_width(self, x.shape, kernel.shape[0], f"features of the {name}")
        y: Any = contract(x, kernel, spec="ntf,fhd->nthd")
        return y + vars(self)[f"{name}_bias"] if self.use_bias else y

    def compute_mask(self, x: Any, mask: Any = None) -> Any:
        """The mask of the queries: in self-attention that of the keys, else unknown."""
        if mask is None or isinstance(x, tuple | list):
            return None
        return mask if mask.ndim == 2 else None
