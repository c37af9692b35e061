"""The objective: a loss, whether it reads logits, and the targets that it can read.

A loss given by name reads what the model gives: probabilities when the model ends in sigmoid or
softmax, logits otherwise. A loss given as a function reads what its `from_logits` says. Read
next: `steps.py`.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from chainrule.core.errors import ArgumentError, DataError, ShapeError
from chainrule.core.node import Node
from chainrule.core.op import Shape
from chainrule.core.recording import Recording
from chainrule.core.tensor import Tensor, as_tensor
from chainrule.data.checks import check_labels, numbers, places
from chainrule.grad.vmap import vmap
from chainrule.nn.losses import CHECKS, LOSSES, Loss, takes_logits
from chainrule.nn.losses import loss as find_loss
from chainrule.ops.move import expand_dims
from chainrule.ops.reduce import sum

SPARSE = "sparse_categorical_crossentropy"
SUMMED = ("categorical_crossentropy", "categorical_focal_crossentropy")  # targets sum to 1
SHARES = ("binary_crossentropy", "binary_focal_crossentropy", *SUMMED)  # they lie in 0 .. 1
BATCH = 2  # with a batch of 1, an output that lost the batch axis could not be told


class Ending:
    """How a model ends: the shape of one example's output, and whether it is probabilities."""

    def __init__(self, model: Any, shape: Shape, dtype: np.dtype):
        """Records one call on examples of `shape`; ShapeError unless each gives an output."""
        with Recording(concrete=False) as recording:
            blank = np.broadcast_to(np.zeros((), dtype), (BATCH, *shape))
            y = model(recording.input(Tensor(blank)))
            if not isinstance(y, Tensor):
                raise ArgumentError(
                    f"fit, evaluate and predict need a model that gives one tensor, got "
                    f"{type(y).__name__}",
                    mend="a training loop with cr.value_and_grad takes any model",
                )
            node = recording.node_of(y)
        if node.shape[:1] != (BATCH,):
            raise ShapeError(
                f"the model must give one output for each example: {BATCH} examples of shape "
                f"{shape} gave {node.shape}"
            )
        self.shape = node.shape[1:]
        self.probabilities = is_normalised(node)


def is_normalised(node: Node) -> bool:
    """Whether `node` is a sigmoid or a softmax, however its elements were moved since."""
    while node.op.kind == "movement" or node.op.name in ("cast", "refloat"):
        node = node.inputs[0]
    if node.op.name != "divide":
        return node.op.name == "sigmoid"
    above, below = node.inputs
    while below.op.kind == "movement":
        below = below.inputs[0]
    return above.op.name == "exp" and below.op.name == "sum" and below.inputs[0] is above


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

    def reads_logits(self, ending: Ending) -> bool:
        """Whether predictions of a model with this end are read as logits."""
        if self.by_name:
            return takes_logits(self.function) and not ending.probabilities
        return bool(getattr(self.function, "from_logits", False))

    def loss(
        self, y_true: Any, y_pred: Tensor, logits: bool, weights: Any = None, total: Any = None
    ) -> Tensor:
        """The scalar loss; ShapeError when a user's function gives something else.

        With `weights`, one for each example, it is the sum over the examples of weight times the
        loss of that example alone, divided by `total`.
        """
        if weights is None:
            return self._plain(y_true, y_pred, logits)

        def alone(y_true: Any, y_pred: Any) -> Tensor:
            return self._plain(expand_dims(y_true), expand_dims(y_pred), logits)

        each: Any = vmap(alone)(y_true, y_pred)
        return sum(each * weights) / total

    def _plain(self, y_true: Any, y_pred: Tensor, logits: bool) -> Tensor:
        if self.by_name and takes_logits(self.function):
            value = self.function(y_true, y_pred, from_logits=logits)
        else:
            value = as_tensor(self.function(y_true, y_pred))
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
            return array.astype(dtype) if array.dtype.kind == "f" else array
        if CHECKS[self.kind].targets == "classes":
            return array  # of any range: they are compared with each other, not looked up
        array = self._shaped(array, output).astype(dtype)
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
                f"{self.name} needs labels of shape {('n', *output[:-1])} for outputs of shape "
                f"{('n', *output)}, got y of shape {y.shape}",
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
            f"{self.name} needs targets shaped like the outputs {('n', *output)}, got y of dtype "
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
