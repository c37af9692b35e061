r"""Optimisers that step along the gradient or its momentum: SGD, Lion, Muon.

Read next: `adaptive.py`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from chainrule.core.errors import ArgumentError
from chainrule.core.tensor import Tensor
from chainrule.data.batches import check_whole
from chainrule.ops.elementwise import greater, less, sqrt, where
from chainrule.ops.linear import matmul
from chainrule.ops.move import reshape, transpose
from chainrule.ops.reduce import sum
from chainrule.train.missed import Missed, geometric
from chainrule.train.optimizer import FRACTION, NOT_NEGATIVE, POSITIVE, Kept, Optimizer, like


@dataclass(eq=False)
class SGD(Optimizer):
    r"""Gradient descent, with momentum when it is not 0.

    $p \leftarrow p - \eta g$ without momentum. With momentum $\mu$ and velocity $u$, 0 at first:
    $u \leftarrow \mu u - \eta g$, then $p \leftarrow p + u$, or with `nesterov`
    $p \leftarrow p + \mu u - \eta g$.

    Source: Sutskever, Martens, Dahl, Hinton, "On the importance of initialization and momentum in
    deep learning", ICML 2013, equations 1 to 4, with the velocity scaled as in Keras.

    >>> params = {"w": Tensor([1.0, 2.0])}
    >>> opt = SGD(0.5)
    >>> opt.update(params, {"w": Tensor([2.0, 2.0])}, opt.init(params))[0]
    {'w': Tensor([0., 1.], dtype=float32)}
    """

    learning_rate: Any = 0.01
    momentum: float = 0.0
    nesterov: bool = False

    samples = ({}, dict(momentum=0.9), dict(momentum=0.8, nesterov=True))

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.nesterov and not self.momentum:
            raise ArgumentError("SGD: nesterov needs a momentum, got 0", mend="momentum=0.9")

    @property
    def slots(self) -> tuple[str, ...]:  # type: ignore[override]
        """The velocity, where there is momentum."""
        return ("velocity",) if self.momentum else ()

    def fades(self, path: str) -> float | None:
        """That of the velocity."""
        return self.momentum

    def rests(self, path: str) -> bool:
        """Without momentum."""
        return not self.momentum

    def missed(self, path: str, dtype: np.dtype) -> Missed | None:
        """The velocity goes on, whatever the rate is."""
        factors = geometric(self.momentum, dtype)
        if factors is None:
            return None
        ahead = -(self.momentum if self.nesterov else 1.0)
        return Missed(
            factors, lambda rate, t: ahead, lambda slots, sums: slots[0] * sums[0], (self.momentum,)
        )

    def step(self, param: Any, g: Any, slots: tuple, rate: Any, t: Any) -> tuple[Any, tuple]:
        """The update of the class's formula."""
        if not slots:
            return param - g * rate, ()
        velocity = slots[0] * self.momentum - g * rate
        move = velocity * self.momentum - g * rate if self.nesterov else velocity
        return param + move, (velocity,)

    def ref(self, p: np.ndarray, g: np.ndarray, t: int, s: Kept) -> np.ndarray:
        """The update in NumPy."""
        u = s["u"] = self.momentum * s["u"] - self.learning_rate * g
        return p + (self.momentum * u - self.learning_rate * g if self.nesterov else u)


@dataclass(eq=False)
class Lion(Optimizer):
    r"""Steps of one size in every element: the sign of a mean of momentum and gradient.

    With $m$ zero at first: $p \leftarrow p - \eta\,\mathrm{sign}(\beta_1 m + (1 - \beta_1) g)$,
    then $m \leftarrow \beta_2 m + (1 - \beta_2) g$. The sign of 0 is 0. It wants a rate 3 to 10
    times below Adam's.

    Source: Chen et al., "Symbolic Discovery of Optimization Algorithms", NeurIPS 2023, program 1;
    the weight decay there is `WeightDecay(Lion(), ...)` here.
    """

    learning_rate: Any = 1e-3
    beta_1: float = 0.9
    beta_2: float = 0.99

    slots: ClassVar[tuple[str, ...]] = ("m",)
    samples = ({}, dict(beta_1=0.5, beta_2=0.8))

    def fades(self, path: str) -> float | None:
        """A sign keeps its size."""
        return 1.0

    def step(self, param: Any, g: Any, slots: tuple, rate: Any, t: Any) -> tuple[Any, tuple]:
        """The update of the class's formula."""
        (m,) = slots
        c = m * self.beta_1 + g * (1 - self.beta_1)
        sign = where(greater(c, 0), 1, where(less(c, 0), -1, 0, like=c), like=c)
        return param - sign * rate, (m * self.beta_2 + g * (1 - self.beta_2),)

    def ref(self, p: np.ndarray, g: np.ndarray, t: int, s: Kept) -> np.ndarray:
        """The update in NumPy."""
        sign = np.sign(self.beta_1 * s["m"] + (1 - self.beta_1) * g)
        s["m"] = self.beta_2 * s["m"] + (1 - self.beta_2) * g
        return p - self.learning_rate * sign


@dataclass(eq=False)
class Muon(Optimizer):
    r"""Momentum made orthogonal for matrices, AdamW for all else.

    A parameter of two axes or more is a matrix, all axes but the last taken together. With
    momentum $M$, 0 at first: $M \leftarrow \mu M + G$, $D = G + \mu M$ with `nesterov`, else
    $D = M$. $D$ is divided by its Frobenius norm plus $\epsilon$ and, `ns_steps` times,
    $D \leftarrow a D + (b A + c A^2) D$ with $A = D D^T$, which brings all singular values near 1
    (between about 0.7 and 1.2) and leaves the singular vectors. Then, for a matrix of $r$ rows
    and $q$ columns, $P \leftarrow (1 - \eta\lambda) P - \eta \sqrt{\max(1, r / q)}\, D$ with
    $\lambda$ `weight_decay`.

    All else (biases, scales) is updated as by AdamW with rate `learning_rate * adam_lr_ratio`,
    `adam_beta_1`, `adam_beta_2` and `adam_weight_decay`. An embedding is a matrix here; give it
    an Adam of its own with `Groups`. Keras leaves kernels of more than two axes to Adam, and
    embeddings too.

    Source: Jordan et al., "Muon: An optimizer for hidden layers in neural networks", 2024, with
    its coefficients a = 3.4445, b = -4.775, c = 2.0315; the defaults are Keras's from before it
    had `rms_rate`.
    """

    learning_rate: Any = 1e-3
    momentum: float = 0.95
    nesterov: bool = True
    ns_steps: int = 6
    weight_decay: float = 0.1
    epsilon: float = 1e-7
    adam_lr_ratio: float = 0.1
    adam_beta_1: float = 0.9
    adam_beta_2: float = 0.999
    adam_weight_decay: float = 0.004

    slots: ClassVar[tuple[str, ...]] = ("momentum", "m", "v")
    ranges = {
        "adam_lr_ratio": POSITIVE,
        "adam_beta_1": FRACTION,
        "adam_beta_2": FRACTION,
        "adam_weight_decay": NOT_NEGATIVE,
    }
    samples = ({}, dict(nesterov=False, ns_steps=3, weight_decay=0.0))
    polynomial: ClassVar[tuple[float, float, float]] = (3.4445, -4.775, 2.0315)

    def __post_init__(self) -> None:
        super().__post_init__()
        check_whole("ns_steps", self.ns_steps, 1)

    def initial(self, slot: str, param: Tensor) -> Any:
        """Zeros: momentum for matrices, Adam's two means for all else."""
        here = (slot == "momentum") == (param.ndim >= 2)
        return super().initial(slot, param) if here else None

    def step(self, param: Any, g: Any, slots: tuple, rate: Any, t: Any) -> tuple[Any, tuple]:
        """The update of the class's formula."""
        momentum, m, v = slots
        if momentum is None:
            rate, b1, b2 = rate * self.adam_lr_ratio, self.adam_beta_1, self.adam_beta_2
            m, v = m + (g - m) * (1 - b1), v + (g * g - v) * (1 - b2)
            alpha = like(sqrt(1 - b2**t) / (1 - b1**t), param) * rate
            param = param - param * (rate * self.adam_weight_decay)
            return param - m * alpha / (sqrt(v) + self.epsilon), (None, m, v)
        momentum = momentum * self.momentum + g
        d = g + momentum * self.momentum if self.nesterov else momentum
        rows, columns = param.size // param.shape[-1], param.shape[-1]
        d = reshape(self.orthogonal(reshape(d, (rows, columns))), param.shape)
        scale = max(1.0, rows / columns) ** 0.5
        return param - param * (rate * self.weight_decay) - d * (rate * scale), (momentum, m, v)

    def orthogonal(self, d: Any) -> Any:
        """The matrix `d` with all singular values near 1."""
        a, b, c = self.polynomial
        tall = d.shape[0] > d.shape[1]  # D D^T of the wider form is the smaller product
        x: Any = transpose(d) if tall else d
        x = x / (sqrt(sum(x * x)) + self.epsilon)
        for _ in range(self.ns_steps):
            square: Any = matmul(x, transpose(x))
            x = x * a + matmul(square * b + matmul(square, square) * c, x)
        return transpose(x) if tall else x

    def ref(self, p: np.ndarray, g: np.ndarray, t: int, s: Kept) -> np.ndarray:
        """The update in NumPy, by the singular values rather than by products."""
        if p.ndim < 2:
            rate = self.learning_rate * self.adam_lr_ratio
            b1, b2 = self.adam_beta_1, self.adam_beta_2
            s["m"] = b1 * s["m"] + (1 - b1) * g
            s["v"] = b2 * s["v"] + (1 - b2) * g**2
            slope = s["m"] / (1 - b1**t) * np.sqrt(1 - b2**t) / (np.sqrt(s["v"]) + self.epsilon)
            return p * (1 - rate * self.adam_weight_decay) - rate * slope
        s["M"] = self.momentum * s["M"] + g
        d = g + self.momentum * s["M"] if self.nesterov else s["M"]
        u, size, v = np.linalg.svd(d.reshape(-1, p.shape[-1]), full_matrices=False)
        size = size / (np.sqrt(np.sum(size**2)) + self.epsilon)
        a, b, c = self.polynomial
        for _ in range(self.ns_steps):
            size = a * size + b * size**3 + c * size**5
        scale = np.sqrt(max(1, len(u) / v.shape[1]))
        move = self.learning_rate * scale * ((u * size) @ v).reshape(p.shape)
        return p * (1 - self.learning_rate * self.weight_decay) - move
