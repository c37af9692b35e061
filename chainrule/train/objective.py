"""The objective: a loss, whether it reads logits, and the targets that it can read.

A loss given by name reads what the model gives: probabilities when the model ends in sigmoid or
softmax, logits otherwise. A loss given as a function reads what its `from_logits` says. Read
next: `steps.py`.
"""

from __future__ import annotations

import inspect
from typing import Any

import numpy as np

from chainrule.core.errors import DataError, ShapeError
from chainrule.core.op import Shape
from chainrule.core.tensor import Tensor, as_tensor
from chainrule.data.checks import check_labels, numbers, places
from chainrule.grad.vmap import vmap
from chainrule.nn.losses import CHECKS, LOSSES, Loss, loss as find_loss, takes_logits, weighted_mean
from chainrule.ops.move import expand_dims
from chainrule.train.ending import Output

SPARSE = "sparse_categorical_crossentropy"
SUMMED = ("categorical_crossentropy", "categorical_focal_crossentropy")  # targets sum to 1
SHARES = ("binary_crossentropy", "binary_focal_crossentropy", *SUMMED)  # they lie in 0 .. 1


class Objective:
    """The loss that `compile` was given: `function(y_true, y_pred)`, a mean over the batch.

    `kind` is the name it is registered under, "" for a function of the user's.
    """

    def __init__(self, given: Any):
        """UnknownNameError or ArgumentError for what is no loss."""
        self.function = find_loss(given)
        plain: Any = self.function
        if isinstance(plain, Loss):
            plain = type(plain).function
        name = getattr(plain, "__name__", "")
        self.kind = name if LOSSES.get(name) is plain else ""
        self.name = name or type(plain).__name__
        self.by_name = isinstance(given, str)
        self.weighs = takes_weights(self.function)

    def reads_logits(self, output: Output) -> bool:
        """Whether predictions of this output are read as logits."""
        if self.by_name:
            return takes_logits(self.function) and not output.probabilities
        return bool(getattr(self.function, "from_logits", False))

    def loss(self, y_true: Any, y_pred: Tensor, logits: bool, weights: Any = None) -> Any:
        """The scalar loss; ShapeError when a user's function gives something else.

        With `weights`, one for each example, it is the weighted sum over the sum of the weights:
        by the loss itself where it takes `weights`, as those of the library do, and otherwise of
        its values for each example alone.
        """
        if weights is None:
            return self._plain(y_true, y_pred, logits)
        if self.weighs:
            return self._plain(y_true, y_pred, logits, weights=weights)

        def alone(y_true: Any, y_pred: Any) -> Tensor:
            return self._plain(expand_dims(y_true), expand_dims(y_pred), logits)

        return weighted_mean(vmap(alone)(y_true, y_pred), weights)

    def _plain(self, y_true: Any, y_pred: Tensor, logits: bool, **options: Any) -> Tensor:
        if self.by_name and takes_logits(self.function):
            options["from_logits"] = logits
        value = as_tensor(self.function(y_true, y_pred, **options))
        if value.shape != ():
            raise ShapeError(
                f"the loss {self.name} must give one number for a batch, got shape {value.shape}",
                mend="cr.mean(...) of it",
            )
        return value

    def targets(self, y: Any, output: Shape, dtype: np.dtype) -> np.ndarray:
        """`y` as this loss reads it, for outputs of shape `output` for each example.

        ShapeError, DtypeError or DataError for what it cannot read: labels out of range, labels
        where targets are needed and the other way round.
        """
        array = numbers("y", y)
        if self.kind == SPARSE:
            return self._labels(array, output)
        if not self.kind:
            return array.astype(dtype, copy=False) if array.dtype.kind == "f" else array
        if CHECKS[self.kind].targets == "sequences":
            return check_labels(array, output[-1])
        if CHECKS[self.kind].targets == "classes":
            return array  # of any range: they are compared with each other, not looked up
        array = self._shaped(array, output).astype(dtype, copy=False)
        if self.kind in SHARES:
            self._check_shares(array)
        return array

    def _labels(self, y: np.ndarray, output: Shape) -> np.ndarray:
        if not output or output[-1] == 1:
            raise ShapeError(
                f"{self.name} needs one output for each class, the model gives {output}",
                mend='Dense(2), or loss="binary_crossentropy" for one output',
            )
        example = y.shape[1:]
        if example == (*output[:-1], 1):
            y, example = y[..., 0], output[:-1]
        if example != output[:-1]:
            one_hot = example == output
            raise ShapeError(
                f"{self.name} needs labels of shape {_for_n(output[:-1])} for outputs of shape "
                f"{_for_n(output)}, got y of shape {y.shape}",
                mend='loss="categorical_crossentropy", or y.argmax(axis=-1)' if one_hot else "",
            )
        return check_labels(y, output[-1])

    def _shaped(self, y: np.ndarray, output: Shape) -> np.ndarray:
        if y.shape[1:] == output:
            return y
        if (*y.shape[1:], 1) == output or y.shape[1:] == (*output, 1):
            # (n,) against (n, 1) would broadcast to n x n, a loss that trains to the mean.
            return y.reshape(len(y), *output)
        mend = "a last layer with as many units as y has columns"
        if y.dtype.kind in "iu" and y.shape[1:] in (output[:-1], (*output[:-1], 1)):
            mend = f'loss="{SPARSE}" for integer labels, or np.eye({output[-1]})[y]'
        raise ShapeError(
            f"{self.name} needs targets shaped like the outputs {_for_n(output)}, got y of dtype "
            f"{y.dtype} and shape {y.shape}",
            mend=mend,
        )

    def _check_shares(self, y: np.ndarray) -> None:
        outside = (y < 0) | (y > 1)
        if outside.any():
            raise DataError(
                f"{self.name} needs targets in 0 .. 1: {places('y', y, outside)}",
                mend="(y + 1) / 2 for labels -1 and 1, a regression loss for real targets",
            )
        if self.kind in SUMMED:
            apart = np.abs(y.sum(axis=-1) - 1) > 1e-3
            if apart.any():
                raise DataError(
                    f"{self.name} needs targets that sum to 1 over the classes: "
                    f"{places('sum of y', y.sum(axis=-1), apart)}",
                    mend='loss="binary_crossentropy" for classes that may hold together',
                )


def _for_n(example: Shape) -> str:
    """The shape of n examples, as it is written in errors."""
    return str(("n", *example)).replace("'", "")


def takes_weights(function: Any) -> bool:
    """Whether a loss has the argument `weights`."""
    try:
        return "weights" in inspect.signature(function).parameters
    except (TypeError, ValueError):
        return False
