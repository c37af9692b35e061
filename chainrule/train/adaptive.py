r"""Optimisers that scale each element's step by its past gradients: Adam and its relatives.

Read next: `around.py`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from chainrule.core.tensor import Tensor
from chainrule.ops.elementwise import absolute, maximum, sqrt
from chainrule.train.missed import Missed, horner, quotients
from chainrule.train.optimizer import NOT_NEGATIVE, Kept, Optimizer, like


@dataclass(eq=False)
class RMSprop(Optimizer):
    r"""The gradient divided by the root of a running mean of its square.

    With $v$ zero at first: $v \leftarrow \rho v + (1 - \rho) g^2$ and
    $s = \eta\, g / \sqrt{v + \epsilon}$. `centered` takes $v - a^2$ in place of $v$ there, where
    $a \leftarrow \rho a + (1 - \rho) g$. Without momentum $p \leftarrow p - s$, with it
    $u \leftarrow \mu u + s$ and $p \leftarrow p - u$.

    Source: Tieleman, Hinton, Coursera lecture 6.5, 2012; centred: Graves, arXiv:1308.0850,
    equations 38 to 41. The epsilon stands inside the root as in Keras.
    """

    learning_rate: Any = 1e-3
    rho: float = 0.9
    momentum: float = 0.0
    epsilon: float = 1e-7
    centered: bool = False

    samples = ({}, dict(momentum=0.9), dict(rho=0.7, centered=True, momentum=0.5))

    @property
    def slots(self) -> tuple[str, ...]:  # type: ignore[override]
        """The mean square, and what centring and momentum need."""
        asked = {"mean_square": True, "mean": self.centered, "velocity": self.momentum > 0}
        return tuple(name for name, wanted in asked.items() if wanted)

    def fades(self, path: str) -> float | None:
        """Without momentum there is no step without gradient."""
        return self.momentum

    def step(self, param: Any, g: Any, slots: tuple, rate: Any, t: Any) -> tuple[Any, tuple]:
        """The update of the class's formula."""
        kept = dict(zip(self.slots, slots, strict=True))
        v = kept["mean_square"] = kept["mean_square"] * self.rho + g * g * (1 - self.rho)
        if self.centered:
            a = kept["mean"] = kept["mean"] * self.rho + g * (1 - self.rho)
            v = v - a * a
        move = g * rate / sqrt(v + self.epsilon)
        if self.momentum:
            move = kept["velocity"] = kept["velocity"] * self.momentum + move
        return param - move, tuple(kept.values())

    def ref(self, p: np.ndarray, g: np.ndarray, t: int, s: Kept) -> np.ndarray:
        """The update in NumPy."""
        s["v"] = self.rho * s["v"] + (1 - self.rho) * g**2
        s["a"] = self.rho * s["a"] + (1 - self.rho) * g
        spread = s["v"] - (s["a"] ** 2 if self.centered else 0)
        s["u"] = self.momentum * s["u"] + self.learning_rate * g / np.sqrt(spread + self.epsilon)
        return p - s["u"]


@dataclass(eq=False)
class Adagrad(Optimizer):
    r"""The gradient divided by the root of the sum of all its squares.

    With $v$ at `initial_accumulator_value` first: $v \leftarrow v + g^2$,
    $p \leftarrow p - \eta\, g / \sqrt{v + \epsilon}$.

    Source: Duchi, Hazan, Singer, "Adaptive Subgradient Methods", JMLR 2011, figure 1, with the
    epsilon and the start of Keras.
    """

    learning_rate: Any = 1e-3
    initial_accumulator_value: float = 0.1
    epsilon: float = 1e-7

    slots: ClassVar[tuple[str, ...]] = ("sum",)
    ranges = {"initial_accumulator_value": NOT_NEGATIVE}
    samples = ({}, dict(initial_accumulator_value=0.0))

    def initial(self, slot: str, param: Tensor) -> Any:
        """The start of the sum."""
        return np.full(param.shape, self.initial_accumulator_value, param.dtype)

    def fades(self, path: str) -> float | None:
        """There is no step without gradient."""
        return 0.0

    def rests(self, path: str) -> bool:
        """Always: the sum stays too."""
        return True

    def step(self, param: Any, g: Any, slots: tuple, rate: Any, t: Any) -> tuple[Any, tuple]:
        """The update of the class's formula."""
        v = slots[0] + g * g
        return param - g * rate / sqrt(v + self.epsilon), (v,)

    def ref(self, p: np.ndarray, g: np.ndarray, t: int, s: Kept) -> np.ndarray:
        """The update in NumPy."""
        s["v"] += g**2
        v = self.initial_accumulator_value + s["v"]
        return p - self.learning_rate * g / np.sqrt(v + self.epsilon)


@dataclass(eq=False)
class Adam(Optimizer):
    r"""Steps scaled by running means of the gradient and of its square.

    At update $t = 1, 2, \dots$, with $m$ and $v$ zero at first:
    $m \leftarrow m + (1 - \beta_1)(g - m)$, $v \leftarrow v + (1 - \beta_2)(g^2 - v)$,
    $\alpha = \eta \sqrt{1 - \beta_2^t} / (1 - \beta_1^t)$, and
    $p \leftarrow p - \alpha\, m / (\sqrt{v} + \epsilon)$. The factor of $\eta$ is computed in
    float64. With `amsgrad` the largest $v$ so far stands in place of $v$ under the root.

    Source: Kingma, Ba, "Adam: A Method for Stochastic Optimization", ICLR 2015, the form at the
    end of section 2, whose epsilon is the one that Keras takes; amsgrad: Reddi, Kale, Kumar, "On
    the Convergence of Adam and Beyond", ICLR 2018, algorithm 2.
    """

    learning_rate: Any = 1e-3
    beta_1: float = 0.9
    beta_2: float = 0.999
    epsilon: float = 1e-7
    amsgrad: bool = False

    samples = ({}, dict(beta_1=0.5, beta_2=0.9, epsilon=1e-2), dict(beta_2=0.6, amsgrad=True))

    @property
    def slots(self) -> tuple[str, ...]:  # type: ignore[override]
        """The two means, and the largest where it is asked for."""
        return ("m", "v", "v_max") if self.amsgrad else ("m", "v")

    def fades(self, path: str) -> float | None:
        r"""That of $m / \sqrt{v}$, or of $m$ with `amsgrad`."""
        return self.beta_1 if self.amsgrad else quotient(self.beta_1, self.beta_2**0.5)

    def missed(self, path: str, dtype: np.dtype) -> Missed | None:
        r"""The move is $\alpha\, m / (\sqrt{v} + \epsilon)$, all three fading."""
        factors = quotients(self.beta_1, 1.0 if self.amsgrad else self.beta_2**0.5, dtype)
        if factors is None:
            return None

        def move(slots: Any, sums: Any) -> Any:
            m, *_, v = slots
            inverse = 1 / (sqrt(v) + self.epsilon)
            return m * inverse * horner(sqrt(v) * inverse, sums)

        return Missed(
            factors, self._alpha, move, (self.beta_1, self.beta_2, 1.0)[: len(self.slots)]
        )

    def _alpha(self, rate: Any, t: Any) -> Any:
        return sqrt(1 - self.beta_2**t) / (1 - self.beta_1**t) * rate

    def step(self, param: Any, g: Any, slots: tuple, rate: Any, t: Any) -> tuple[Any, tuple]:
        """The update of the class's formula."""
        m, v, *largest = slots
        m = m + (g - m) * (1 - self.beta_1)
        v = v + (g * g - v) * (1 - self.beta_2)
        largest = [maximum(v, each) for each in largest]
        alpha = like(sqrt(1 - self.beta_2**t) / (1 - self.beta_1**t), param) * rate
        return param - m * alpha / (sqrt([v, *largest][-1]) + self.epsilon), (m, v, *largest)

    def ref(self, p: np.ndarray, g: np.ndarray, t: int, s: Kept) -> np.ndarray:
        """The update in NumPy."""
        s["m"] = self.beta_1 * s["m"] + (1 - self.beta_1) * g
        s["v"] = self.beta_2 * s["v"] + (1 - self.beta_2) * g**2
        s["largest"] = np.maximum(s["largest"], s["v"])
        root = np.sqrt(s["largest"] if self.amsgrad else s["v"]) + self.epsilon
        alpha = self.learning_rate * np.sqrt(1 - self.beta_2**t) / (1 - self.beta_1**t)
        return p - alpha * s["m"] / root


@dataclass(eq=False)
class AdamW(Adam):
    r"""Adam with decoupled weight decay: $p \leftarrow p - \eta\lambda p$ before Adam's step.

    $\lambda$ is `weight_decay`. `WeightDecay` gives the same around any optimiser.

    Source: Loshchilov, Hutter, "Decoupled Weight Decay Regularization", ICLR 2019, algorithm 2.
    """

    weight_decay: float = 0.004

    samples = ({}, dict(weight_decay=0.3), dict(amsgrad=True))

    def step(self, param: Any, g: Any, slots: tuple, rate: Any, t: Any) -> tuple[Any, tuple]:
        """The update of the class's formula."""
        return super().step(param - param * (rate * self.weight_decay), g, slots, rate, t)

    def ref(self, p: np.ndarray, g: np.ndarray, t: int, s: Kept) -> np.ndarray:
        """The update in NumPy."""
        return super().ref(p, g, t, s) - self.learning_rate * self.weight_decay * p


@dataclass(eq=False)
class Adamax(Optimizer):
    r"""Adam with the largest past gradient, decaying, in place of the root of the mean square.

    $m \leftarrow m + (1 - \beta_1)(g - m)$, $u \leftarrow \max(\beta_2 u, |g|)$, both zero at
    first, and $p \leftarrow p - \frac{\eta}{1 - \beta_1^t} \frac{m}{u + \epsilon}$.

    Source: Kingma, Ba, "Adam", ICLR 2015, algorithm 2, with Keras's epsilon.
    """

    learning_rate: Any = 1e-3
    beta_1: float = 0.9
    beta_2: float = 0.999
    epsilon: float = 1e-7

    slots: ClassVar[tuple[str, ...]] = ("m", "u")
    samples = ({}, dict(beta_1=0.5, beta_2=0.7))

    def fades(self, path: str) -> float | None:
        """That of $m / u$."""
        return quotient(self.beta_1, self.beta_2)

    def step(self, param: Any, g: Any, slots: tuple, rate: Any, t: Any) -> tuple[Any, tuple]:
        """The update of the class's formula."""
        m, u = slots
        m = m + (g - m) * (1 - self.beta_1)
        u = maximum(u * self.beta_2, absolute(g))
        alpha = like(1 / (1 - self.beta_1**t), param) * rate
        return param - m * alpha / (u + self.epsilon), (m, u)

    def ref(self, p: np.ndarray, g: np.ndarray, t: int, s: Kept) -> np.ndarray:
        """The update in NumPy."""
        s["m"] = self.beta_1 * s["m"] + (1 - self.beta_1) * g
        s["u"] = np.maximum(self.beta_2 * s["u"], np.abs(g))
        return p - self.learning_rate * s["m"] / ((1 - self.beta_1**t) * (s["u"] + self.epsilon))


@dataclass(eq=False)
class Nadam(Optimizer):
    r"""Adam with Nesterov's look ahead, and a momentum that grows to $\beta_1$.

    With $\mu_t = \beta_1 (1 - \frac12 0.96^{\psi t})$ and $\Pi_t = \mu_1 \cdots \mu_t$; $m$ and
    $v$ as in Adam; $\hat m = \mu_{t+1} m / (1 - \Pi_{t+1}) + (1 - \mu_t) g / (1 - \Pi_t)$,
    $\hat v = v / (1 - \beta_2^t)$, and
    $p \leftarrow p - \eta\, \hat m / (\sqrt{\hat v} + \epsilon)$. $\psi$ is
    `momentum_decay`: 1 in Keras, 0.004 in the paper and in PyTorch.

    Source: Dozat, "Incorporating Nesterov Momentum into Adam", ICLR workshop 2016, algorithm 8.
    """

    learning_rate: Any = 1e-3
    beta_1: float = 0.9
    beta_2: float = 0.999
    epsilon: float = 1e-7
    momentum_decay: float = 1.0

    slots: ClassVar[tuple[str, ...]] = ("m", "v", "product")
    ranges = {"momentum_decay": NOT_NEGATIVE}
    samples = ({}, dict(beta_1=0.5, beta_2=0.7, momentum_decay=0.004))

    def initial(self, slot: str, param: Tensor) -> Any:
        """Zeros for the means, 1 for the product of the momenta."""
        return np.ones((), np.float64) if slot == "product" else super().initial(slot, param)

    def fades(self, path: str) -> float | None:
        r"""That of $m / \sqrt{v}$; it is the rate beside it that the growing momentum changes."""
        return quotient(self.beta_1, self.beta_2**0.5)

    def step(self, param: Any, g: Any, slots: tuple, rate: Any, t: Any) -> tuple[Any, tuple]:
        """The update of the class's formula."""
        m, v, product = slots
        now = (1 - 0.5 * 0.96 ** (t * self.momentum_decay)) * self.beta_1
        ahead = (1 - 0.5 * 0.96 ** ((t + 1) * self.momentum_decay)) * self.beta_1
        product = product * now
        m = m + (g - m) * (1 - self.beta_1)
        v = v + (g * g - v) * (1 - self.beta_2)
        of_m = like(ahead / (1 - product * ahead), param)
        of_g = like((1 - now) / (1 - product), param)
        root = sqrt(v * like(1 / (1 - self.beta_2**t), param)) + self.epsilon
        return param - (m * of_m + g * of_g) * rate / root, (m, v, product)

    def ref(self, p: np.ndarray, g: np.ndarray, t: int, s: Kept) -> np.ndarray:
        """The update in NumPy."""
        momenta = self.beta_1 * (1 - 0.5 * 0.96 ** (np.arange(1, t + 2) * self.momentum_decay))
        s["m"] = self.beta_1 * s["m"] + (1 - self.beta_1) * g
        s["v"] = self.beta_2 * s["v"] + (1 - self.beta_2) * g**2
        m_hat = momenta[t] * s["m"] / (1 - np.prod(momenta))
        m_hat = m_hat + (1 - momenta[t - 1]) * g / (1 - np.prod(momenta[:t]))
        v_hat = s["v"] / (1 - self.beta_2**t)
        return p - self.learning_rate * m_hat / (np.sqrt(v_hat) + self.epsilon)


def quotient(a: float, b: float) -> float:
    """a / b, and infinity where b is 0."""
    return a / b if b else math.inf
