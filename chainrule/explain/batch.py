"""A compiled model's batch, checked and read as its losses read it. Read next: `strip.py`."""

from __future__ import annotations

from typing import Any

from chainrule.core.errors import ArgumentError
from chainrule.core.tensor import Tensor
from chainrule.train.examples import Batch, Examples
from chainrule.train.given import Given, feed_of
from chainrule.train.steps import Steps


def examples_of(
    model: Any, who: str, x: Any, y: Any, sample_weight: Any = None, class_weight: Any = None
) -> tuple[Steps, Examples]:
    """The model's functions, and `x` and `y` in its dtype; the model is built if need be.

    ArgumentError for a model that is not compiled or lacks targets; ShapeError, DtypeError or
    DataError for data that it cannot read.
    """
    if not hasattr(model, "_compiled"):
        raise ArgumentError(
            f"{who} needs a compiled model, got {type(model).__name__}",
            mend="a cr.Sequential or cr.Model, its batch and its targets",
        )
    model._compiled(who)
    if x is None or y is None:
        raise ArgumentError(f"{who} needs a batch and its targets", mend=f"{who}(model, x, y)")
    feed = feed_of(Given(x, y, sample_weight, class_weight))
    assert isinstance(feed, Examples)
    return model._examples(feed, len(feed))


def loss_of(steps: Steps, model: Any, batch: Batch, training: bool) -> Tensor:
    """The loss of `model` for a batch with its penalties, layers run as in training or in use."""
    return steps._judge(model, batch, model(batch[0], training=training))[0]
