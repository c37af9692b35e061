"""Single products and convolutions of random shapes, against PyTorch's best layout.

Fifty of each from a fixed seed: odd sizes, one row or one image, 1,000 classes, 5x5, strides,
depthwise; a third each forward, gradient to weights and gradient to inputs. Read next:
`compare_shapes.py`.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

FORMS = ("chainrule/jit", "torch/plain", "torch/turned")
WAYS = ("forward", "to weights", "to inputs")
COUNT = 50
EXTENTS = (1, 3, 7, 10, 16, 33, 64, 100, 127, 128, 197, 256, 384, 500, 512, 784, 1000)


class Gemm(NamedTuple):
    """A product (m, k) (k, n), or one of its gradients."""

    way: str
    m: int
    k: int
    n: int

    @property
    def flops(self) -> float:
        """Multiplications and additions."""
        return 2.0 * self.m * self.k * self.n

    def shapes(self) -> tuple[tuple[int, ...], ...]:
        """Input, weights and output."""
        return (self.m, self.k), (self.k, self.n), (self.m, self.n)

    def __str__(self) -> str:
        return f"{self.m}x{self.k}x{self.n} {self.way}"


class Conv(NamedTuple):
    """A convolution with margins of half a kernel, or one of its gradients."""

    way: str
    batch: int
    extent: int
    channels: int
    filters: int
    reach: int
    stride: int
    groups: int

    @property
    def flops(self) -> float:
        """Multiplications and additions, those with margins included."""
        return 2.0 * math.prod(self.shapes()[2]) * math.prod(self.shapes()[1][:3])

    def shapes(self) -> tuple[tuple[int, ...], ...]:
        """Input, weights and output, channels last."""
        out = (self.extent + 2 * (self.reach // 2) - self.reach) // self.stride + 1
        kernel = (self.reach, self.reach, self.channels // self.groups, self.filters)
        images = (self.batch, self.extent, self.extent, self.channels)
        return images, kernel, (self.batch, out, out, self.filters)

    def __str__(self) -> str:
        kind = "depthwise" if self.groups > 1 else f"{self.channels}->{self.filters}"
        stride = f" stride {self.stride}" if self.stride > 1 else ""
        size = f"{self.batch}x{self.extent}x{self.extent}x{self.channels}"
        return f"{size} {self.reach}x{self.reach} {kind}{stride} {self.way}"


def drawn() -> dict[str, Gemm | Conv]:
    """All cases by name."""
    rng = np.random.Generator(np.random.Philox(key=50))

    def one(*choices: int) -> int:
        return int(rng.choice(choices))

    found: dict[str, Gemm | Conv] = {}
    for i in range(COUNT):
        found[f"gemm-{i:02}"] = Gemm(WAYS[i % 3], *(one(*EXTENTS) for _ in range(3)))
    for i in range(COUNT):
        channels, filters = one(1, 3, 8, 16, 31, 32, 64, 128), one(8, 10, 16, 32, 64, 128)
        groups = 1
        if i % 5 == 4:
            groups = filters = channels = one(16, 32, 96)
        sizes = one(1, 2, 8, 32, 64), one(7, 13, 14, 28, 32), channels, filters
        found[f"conv-{i:02}"] = Conv(WAYS[i % 3], *sizes, one(1, 3, 3, 5), one(1, 1, 2), groups)
    return found


CASES = drawn()


class Case:
    """One case in one form; what the worker times. The loss is the mean of what comes out."""

    def __init__(self, name: str, form: str, threads: int):
        case = CASES[name]
        rng = np.random.Generator(np.random.Philox(key=list(CASES).index(name)))
        # All positive, so that the means that are compared are far from 0.
        arrays = [rng.random(shape, dtype=np.float32) for shape in case.shapes()]
        if form == "chainrule/jit":
            self.call = in_chainrule(case, arrays)
        else:
            self.call = in_torch(case, arrays, threads, turned=form == "torch/turned")

    def steps(self, first: int, count: int) -> list:
        """`count` calls with the same operands."""
        for _ in range(count):
            out = self.call()
        return [out]


def in_chainrule(case: Gemm | Conv, arrays: list[np.ndarray]) -> Any:
    """The compiled call."""
    import chainrule as cr

    def apply(x: Any, w: Any) -> Any:
        if isinstance(case, Gemm):
            return x @ w
        return cr.conv2d(x, w, case.stride, ((case.reach // 2,) * 2,) * 2, groups=case.groups)

    def forward(x: Any, w: Any, g: Any) -> Any:
        return apply(x, w)

    def to_weights(x: Any, w: Any, g: Any) -> Any:
        return cr.vjp(lambda w: apply(x, w), w)[1](g)[0]

    def to_inputs(x: Any, w: Any, g: Any) -> Any:
        return cr.vjp(lambda x: apply(x, w), x)[1](g)[0]

    compiled = cr.jit(dict(zip(WAYS, (forward, to_weights, to_inputs)))[case.way])
    given = [cr.Tensor(array) for array in arrays]
    return lambda: compiled(*given)


def in_torch(case: Gemm | Conv, arrays: list[np.ndarray], threads: int, turned: bool) -> Any:
    """The call, with operands in torch's usual layout or, `turned`, in its other one."""
    import torch

    torch.set_num_threads(threads)
    if isinstance(case, Gemm):
        # The other layout has the right operand stored by columns.
        x, w, g = map(torch.from_numpy, arrays)
        pairs = {"forward": (x, w), "to weights": (x.T, g), "to inputs": (g, w.T)}
        left, right = pairs[case.way]
        right = right.T.contiguous().T if turned else right.contiguous()
        return lambda: left @ right
    layout = torch.channels_last if turned else torch.contiguous_format
    x, k, g = arrays
    found = x.transpose(0, 3, 1, 2), k.transpose(3, 2, 0, 1), g.transpose(0, 3, 1, 2)
    x, k, g = (torch.tensor(each).contiguous(memory_format=layout) for each in found)
    sizes = [case.stride] * 2, [case.reach // 2] * 2, [1, 1]
    if case.way == "forward":
        return lambda: torch.conv2d(x, k, None, *sizes, case.groups)
    wanted = [case.way == "to inputs", case.way == "to weights", False]
    back, at = torch.ops.aten.convolution_backward, wanted.index(True)
    return lambda: back(g, x, k, None, *sizes, False, [0, 0], case.groups, wanted)[at]
