"""Layers that change images at random in training, each example in its own way.

They are part of the training step, so they are compiled with it, and cost no copy of the data.
Which pixel is read follows from integers, a table of angles, and arithmetic that rounds alike
everywhere: the same key gives the same pixels on every executor. Without training the output is
the input. Read next: `mixup.py`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from chainrule.core.errors import ArgumentError, DtypeError, UnknownNameError
from chainrule.core.op import Shape
from chainrule.core.tensor import Tensor
from chainrule.nn.checks import needs_axes
from chainrule.nn.module import Module
from chainrule.nn.randomness import layer_key
from chainrule.ops.arrange import flip
from chainrule.ops.draws import normal, randint
from chainrule.ops.elementwise import cast, less, sqrt, where
from chainrule.ops.index import arange, take
from chainrule.ops.logic import logical_and
from chainrule.ops.move import expand_dims, reshape
from chainrule.ops.random import bernoulli, fold_in, uniform
from chainrule.ops.rounding import clip, floor, remainder
from chainrule.ops.window import AXES

ANGLES = 4096  # in steps over the range, so that both executors have the same sines and cosines
Factor = float | Sequence[float]


class RandomFlip(Module):
    """In training each image is mirrored with probability 1/2, and so along each axis of `mode`.

    `mode` is "horizontal" (left and right change places), "vertical" or "horizontal_and_vertical".
    Images of any dtype, (batch, height, width, channels).
    """

    sample = dict(args=(), input=(5, 4, 3, 2))

    def __init__(self, mode: str = "horizontal_and_vertical", name: str | None = None):
        super().__init__(name)
        self.mode = _one_of(mode, FLIPS, "mode of RandomFlip")

    def call(self, x: Tensor, *, training: bool = False) -> Tensor:
        """An output of the input's shape; ArgumentError in training outside `random_scope`."""
        needs_axes(self, x.shape, AXES[1], 4, more=False)
        if not training:
            return x
        key = layer_key()
        for axis in FLIPS[self.mode]:
            turned = bernoulli(fold_in(key, axis), 0.5, (x.shape[0], 1, 1, 1))
            x = where(turned, flip(x, axis), x)
        return x


class RandomTranslation(Module):
    """In training each image is shifted by whole pixels, up or down and to a side.

    `height_factor` is the largest shift as a share of the height, or (lowest, highest), down being
    positive; `width_factor` likewise, positive to the right. What comes in from outside is by
    `fill_mode`, here of the pixels a b c d:

    | mode | before | after |
    |---|---|---|
    | "reflect" | d c b a | d c b a |
    | "nearest" | a a a a | d d d d |
    | "wrap" | a b c d | a b c d |
    | "constant" | `fill_value` | `fill_value` |

    Images of any dtype, (batch, height, width, channels).
    """

    sample = dict(args=(0.5, 0.4), input=(5, 4, 5, 2))

    def __init__(
        self,
        height_factor: Factor,
        width_factor: Factor,
        fill_mode: str = "reflect",
        fill_value: float = 0.0,
        name: str | None = None,
    ):
        super().__init__(name)
        self.height_factor = _check_range(height_factor, "RandomTranslation: height_factor")
        self.width_factor = _check_range(width_factor, "RandomTranslation: width_factor")
        self.fill_mode = _one_of(fill_mode, FILLS, "fill_mode of RandomTranslation")
        self.fill_value = _check_fill(fill_value, "RandomTranslation")

    def call(self, x: Tensor, *, training: bool = False) -> Tensor:
        """An output of the input's shape; ArgumentError in training outside `random_scope`."""
        needs_axes(self, x.shape, AXES[1], 4, more=False)
        if not training or not x.size:
            return x
        n, height, width, _ = x.shape
        key = layer_key()
        down = _shifts(fold_in(key, 1), (n, 1, 1), self.height_factor, height)
        right = _shifts(fold_in(key, 2), (n, 1, 1), self.width_factor, width)
        rows, columns = expand_dims(arange(height), -1) - down, arange(width) - right
        return _pixels(x, rows, columns, self.fill_mode, self.fill_value)


def _shifts(key: Tensor, shape: Shape, factor: Factor, extent: int) -> Tensor:
    """Whole shifts drawn evenly from those within `factor` of `extent`; 0 where there is none."""
    ends = _range(factor)
    low, high = math.ceil(ends[0] * extent), math.floor(ends[1] * extent)
    return randint(key, shape, low, high + 1) if low <= high else arange(1) * 0


class RandomRotation(Module):
    r"""In training each image is turned about its centre, by a mean of the four pixels around.

    `factor` is the largest angle as a share of a whole turn, or (lowest, highest), positive being
    counterclockwise. The pixel at $(i, j)$ from the centre is read at
    $(i \cos a + j \sin a, j \cos a - i \sin a)$, with an angle $a$ of 4,096 that are spread evenly
    over the range. What comes in from outside is as in `RandomTranslation`.

    Float images, (batch, height, width, channels).
    """

    sample = dict(args=(0.2,), input=(3, 4, 5, 2))

    def __init__(
        self,
        factor: Factor,
        fill_mode: str = "reflect",
        fill_value: float = 0.0,
        name: str | None = None,
    ):
        super().__init__(name)
        self.factor = _check_range(factor, "RandomRotation: factor")
        self.fill_mode = _one_of(fill_mode, FILLS, "fill_mode of RandomRotation")
        self.fill_value = _check_fill(fill_value, "RandomRotation")

    def call(self, x: Tensor, *, training: bool = False) -> Tensor:
        """An output of the input's shape; ArgumentError in training outside `random_scope`."""
        _needs_float_images(self, x)
        if not training or not x.size:
            return x
        _, height, width, _ = x.shape
        angles = np.linspace(*_range(self.factor), ANGLES) * (2 * math.pi)
        chosen = randint(layer_key(), (x.shape[0], 1, 1), 0, ANGLES)
        cosine, sine = (take(f(angles).astype(np.float32), chosen) for f in (np.cos, np.sin))
        i, j = expand_dims(_from_centre(height), -1), _from_centre(width)
        rows = i * cosine + j * sine + (height - 1) / 2
        columns = j * cosine - i * sine + (width - 1) / 2
        return self._between(x, rows, columns)

    def _between(self, x: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
        """Each pixel as a mean of the four around its place, by how near they are."""
        above, left = floor(rows), floor(columns)
        i, j = cast(above, "int64"), cast(left, "int64")
        down, right = (cast(expand_dims(t, -1), x.dtype) for t in (rows - above, columns - left))

        def row(i: Tensor) -> Tensor:
            one, two = (_pixels(x, i, at, self.fill_mode, self.fill_value) for at in (j, j + 1))
            return one * (1 - right) + two * right

        return row(i) * (1 - down) + row(i + 1) * down


def _from_centre(extent: int) -> Tensor:
    return arange(extent, "float32") - (extent - 1) / 2


class RandomErasing(Module):
    """In training a rectangle of each image is erased, or "cut out", with a probability.

    The probability is drawn evenly from 0 to `factor`, or from (lowest, highest), for each image:
    (1, 1) is always. The height of the rectangle is that of the image times the root of a share
    drawn from `scale`, the width likewise; it lies inside at an even place. It is filled with
    `fill_value`, or where that is None with normal numbers.

    Float images, (batch, height, width, channels). Sources: Zhong et al., "Random Erasing Data
    Augmentation", 2017; DeVries, Taylor, "Improved Regularization of Convolutional Neural Networks
    with Cutout", 2017.
    """

    sample = dict(args=((1.0, 1.0), (0.2, 0.3)), input=(3, 5, 4, 2))

    def __init__(
        self,
        factor: Factor = 1.0,
        scale: tuple[float, float] = (0.02, 0.33),
        fill_value: float | None = None,
        name: str | None = None,
    ):
        super().__init__(name)
        self.factor = _check_range(factor, "RandomErasing: factor", lowest=0.0)
        self.scale = _check_range(scale, "RandomErasing: scale", lowest=0.0)
        self.fill_value = None if fill_value is None else _check_fill(fill_value, "RandomErasing")

    def call(self, x: Tensor, *, training: bool = False) -> Tensor:
        """An output of the input's shape; ArgumentError in training outside `random_scope`."""
        _needs_float_images(self, x)
        if not training or not x.size:
            return x
        key = layer_key()
        # Drawing a probability first is drawing with its mean.
        erased: Any = bernoulli(
            fold_in(key, 0), sum(_range(self.factor, 0.0)) / 2, (x.shape[0], 1, 1, 1)
        )
        for axis in (1, 2):
            erased = logical_and(erased, self._side(fold_in(key, axis), x.shape, axis))
        value: Any = self.fill_value
        if value is None:
            drawn = normal(fold_in(key, 3), (x.size,))  # as a row: channels fill few lanes
            value = cast(reshape(drawn, x.shape), x.dtype)
        return where(erased, value, x, like=x)

    def _side(self, key: Tensor, shape: Shape, axis: int) -> Tensor:
        """True at the places along `axis` that the rectangle covers."""
        each, extent = (shape[0], 1, 1, 1), shape[axis]
        share = sqrt(uniform(fold_in(key, 0), each, *_range(self.scale, 0.0)))
        length = cast(floor(share * extent + 0.5), "int64")
        places_left = cast(extent + 1 - length, "float32")
        start = cast(floor(uniform(fold_in(key, 1), each) * places_left), "int64")
        places = reshape(arange(extent), [extent if i == axis else 1 for i in range(4)])
        return logical_and(less(start - 1, places), less(places, start + length))


def _pixels(x: Tensor, rows: Tensor, columns: Tensor, fill_mode: str, fill_value: float) -> Tensor:
    """The pixels of each image at int64 places, (batch, height, width), some of them outside."""
    n, height, width, channels = x.shape
    inside = FILLS[fill_mode]
    images = reshape(arange(n), (n, 1, 1))
    places = (images * height + inside(rows, height)) * width + inside(columns, width)
    y = take(reshape(x, (n * height * width, channels)), places)
    if fill_mode != "constant":
        return y
    for i, extent in ((rows, height), (columns, width)):
        kept = logical_and(less(-1, i), less(i, extent))
        y = where(expand_dims(kept, -1), y, fill_value)
    return y


def _reflected(i: Tensor, extent: int) -> Tensor:
    i = remainder(i, 2 * extent)
    return where(less(i, extent), i, 2 * extent - 1 - i)


def _clipped(i: Tensor, extent: int) -> Tensor:
    return clip(i, 0, extent - 1)


FLIPS = {"horizontal": (2,), "vertical": (1,), "horizontal_and_vertical": (1, 2)}
FILLS: dict[str, Callable[[Tensor, int], Tensor]] = {
    "constant": _clipped,
    "nearest": _clipped,
    "reflect": _reflected,
    "wrap": remainder,
}


def _one_of(name: str, known: dict[str, Any], what: str) -> str:
    """`name` if it is known; UnknownNameError that lists those that are otherwise."""
    if name not in known:
        raise UnknownNameError(what, name, known)
    return name


def _check_fill(value: Any, who: str) -> float:
    """`value` if it is a number, a whole one as an int, which images of integers can take."""
    if not isinstance(value, int | float) or isinstance(value, bool):
        raise ArgumentError(f"{who}: fill_value must be a number, got {value!r}")
    return int(value) if float(value).is_integer() else float(value)


def _check_range(given: Any, what: str, lowest: float = -1.0) -> Any:
    """`given` if it is a share or a pair of shares; ArgumentError otherwise."""
    numbers = given if isinstance(given, list | tuple) else (given, given)
    plain = all(isinstance(n, int | float) and not isinstance(n, bool) for n in numbers)
    if plain and len(numbers) == 2:
        low, high = _range(given, lowest)
        if lowest <= low <= high <= 1:
            return given
    raise ArgumentError(
        f"{what} must be a number in 0..1, or two in {lowest:g}..1, the lower first, got {given!r}"
    )


def _range(given: Factor, lowest: float = -1.0) -> tuple[float, float]:
    """(low, high) from two numbers, or from one: (-high, high), or (0, high) if `lowest` is 0."""
    if isinstance(given, int | float):
        return max(-given, lowest), given
    return given[0], given[-1]


def _needs_float_images(layer: Module, x: Tensor) -> None:
    needs_axes(layer, x.shape, AXES[1], 4, more=False)
    if x.dtype.kind != "f":
        raise DtypeError(
            f"{type(layer).__name__} needs float images, got {x.dtype}",
            mend="cr.cast(x, 'float32')",
        )
