"""Matrix factorisation with biases, as a layer. Read next: `makers.py`."""

from __future__ import annotations

from chainrule.core.tensor import Tensor
from chainrule.nn import Embedding, Module
from chainrule.nn.regularizers import L2
from chainrule.ops.move import reshape
from chainrule.ops.reduce import sum


class Factors(Module):
    r"""The rating $\mu + b_u + c_i + p_u \cdot q_i$ of each pair (user, item).

    Input is (batch, 2) integers from 0, output (batch,). $\mu$ is `mean`, which is not trained;
    the vectors $p$ and $q$ have `size` numbers. Added to the loss: `l2` times the squares of all
    vectors, `bias_l2` times those of all biases. Koren, Bell, Volinsky, "Matrix Factorization
    Techniques for Recommender Systems", 2009, equations 4 and 5.
    """

    takes_integers = True

    def __init__(
        self,
        users: int,
        items: int,
        size: int,
        mean: float = 0.0,
        l2: float = 0.0,
        bias_l2: float = 0.0,
        name: str | None = None,
    ):
        super().__init__(name)
        self.mean = float(mean)
        self.users = Embedding(users, size, embeddings_regularizer=L2(l2))
        self.items = Embedding(items, size, embeddings_regularizer=L2(l2))
        self.user_bias = Embedding(users, 1, "zeros", L2(bias_l2))
        self.item_bias = Embedding(items, 1, "zeros", L2(bias_l2))

    def call(self, x: Tensor) -> Tensor:
        """(batch, 2) to (batch,)."""
        user, item = x[:, 0], x[:, 1]
        fit = sum(self.users(user) * self.items(item), axis=-1)
        biases = self.user_bias(user) + self.item_bias(item)
        return fit + reshape(biases, fit.shape) + self.mean
