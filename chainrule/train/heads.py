"""The heads of a model: for each of its outputs a loss, its share, and metrics.

What `compile` was given for each output follows the model's outputs: a dict those of a dict, by
their names, a tuple or list those of a tuple, by their places; one alone is for all of them.
A model that gives one tensor has one head. Read next: `steps.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from copy import copy
from typing import Any, NamedTuple

import numpy as np

from chainrule.core.errors import ArgumentError, ChainruleError, nearest
from chainrule.core.tensor import Tensor
from chainrule.core.tree import LEAF, Structure, flatten
from chainrule.ops.elementwise import cast
from chainrule.ops.reduce import sum
from chainrule.train.ending import Ending
from chainrule.train.metrics import Metric, find_metrics
from chainrule.train.objective import Objective


class Asked(NamedTuple):
    """What `compile` asked for, each part for all outputs or for each."""

    objective: Any  # Objective
    metrics: Any = []  # list of Metric
    shares: Any = None  # float

    @classmethod
    def read(cls, loss: Any, metrics: Any, loss_weights: Any) -> Asked:
        """The same by its names; UnknownNameError or ArgumentError for what is none."""
        several = isinstance(loss, dict | list | tuple)
        objective = _each(loss, _objective) if several else Objective(loss)
        if not any(isinstance(each, Objective) for each in flatten(objective)[0]):
            raise ArgumentError("no output has a loss", mend='loss={"name": "mse"}')
        return cls(objective, _metrics(metrics), _each(loss_weights, _share))


def _each(given: Any, read: Callable[[Any], Any]) -> Any:
    if isinstance(given, dict):
        return {key: _each(part, read) for key, part in given.items()}
    if isinstance(given, list | tuple):
        return tuple(_each(part, read) for part in given)
    return read(given)


def _objective(given: Any) -> Objective | None:
    return None if given is None else Objective(given)


def _share(given: Any) -> float:
    number = isinstance(given, int | float | np.number) and not isinstance(given, bool)
    if given is not None and not (number and np.isfinite(given)):
        raise ArgumentError(f"loss_weights must hold finite numbers, got {given!r}")
    return 1.0 if given is None else float(given)


def _metrics(given: Any) -> Any:
    """Lists of Metrics: one for all outputs, or in a dict or tuple those of each."""
    if isinstance(given, dict):
        return {key: _metrics(_listed(part)) for key, part in given.items()}
    nested = isinstance(given, list | tuple) and any(
        part is None or isinstance(part, dict | list | tuple) for part in given
    )
    return tuple(_metrics(_listed(part)) for part in given) if nested else list(find_metrics(given))


def _listed(given: Any) -> Any:
    if given is None:
        return []
    return given if isinstance(given, dict | list | tuple) else [given]


class Head(NamedTuple):
    """What is asked of one output."""

    name: str
    objective: Objective | None
    share: float
    metrics: Sequence[Metric]
    logits: bool


class OutputLoss(Metric):
    """The loss of one output beside the sum of all; `share` is its factor in that."""

    def __init__(self, name: str, share: float):
        self.name = name
        self.share = share

    def result(self, *parts: Any) -> float:
        """The weighted sum of the losses by the sum of the weights; 0 where that is 0."""
        return float(parts[0] / parts[1]) if parts[1] else 0.0


class Heads:
    """The losses and metrics of all outputs of a model that ends with `ending`.

    `metrics` are all numbers besides the loss: that of each output, "score_loss", where there are
    several, and then the metrics, "score_mae".
    """

    def __init__(self, ending: Ending, asked: Asked):
        """ArgumentError where what was asked for does not follow the outputs."""
        self.single, structure = ending.single, ending.structure
        objectives = spread("loss", asked.objective, structure)
        shares = spread("loss_weights", asked.shares, structure)
        metrics = spread("metrics", asked.metrics, structure, gaps=True)
        self.heads: list[Head] = []
        for output, objective, share, each in zip(
            ending.outputs, objectives, shares, metrics, strict=True
        ):
            # Metrics for all are not for an output that came without a loss.
            spared = objective is None and isinstance(asked.metrics, list)
            logits = objective.reads_logits(output) if objective else not output.probabilities
            found = [] if spared else [_renamed(metric, output.name) for metric in each or ()]
            share = 1.0 if share is None else share
            self.heads.append(Head(output.name, objective, share, found, logits))
        self.metrics: list[Metric] = [
            OutputLoss(f"{head.name}_loss", head.share)
            for head in self.heads
            if head.objective and not self.single
        ]
        self.metrics += [metric for head in self.heads for metric in head.metrics]
        names = ["loss", *[metric.name for metric in self.metrics]]
        if len(set(names)) < len(names):
            raise ArgumentError(f"each number needs a name of its own, got {', '.join(names)}")

    def judge(self, y: Any, y_pred: Any, weights: Any) -> tuple[Any, list]:
        """(the loss of a batch, the parts of each of `metrics`), recorded."""
        if self.single:
            y, y_pred, weights = (y,), (y_pred,), (weights,)
        else:
            y_pred = flatten(y_pred)[0]
            weights = weights if isinstance(weights, tuple) else (weights,) * len(y_pred)
        loss: Any = None
        losses, parts = [], []
        for head, true, pred, w in zip(self.heads, y, y_pred, weights, strict=True):
            if head.objective is not None:
                value = head.objective.loss(true, pred, head.logits, w)
                losses.append(_summed(value, pred, w))
                value = value if head.share == 1.0 else value * head.share
                loss = value if loss is None else loss + value
            parts += [_parts_of(metric, true, pred, head.logits) for metric in head.metrics]
        return loss, parts if self.single else losses + parts

    def targets(self, y: Any, ending: Ending, dtype: np.dtype) -> Any:
        """`y` as the losses read it: an array, of several outputs a tuple with None in it.

        ArgumentError for a missing target; ShapeError, DtypeError, DataError as the loss says.
        """
        if self.single and isinstance(y, dict | tuple):
            raise ArgumentError(
                f"the model gives one tensor, and y holds several: {_keys(y)}",
                mend="one array y, or a model whose call gives a dict with those keys",
            )
        found = spread("y", y, ending.structure, gaps=True, shared=False)
        made = [
            self._target(head, each, output.shape, dtype)
            for head, each, output in zip(self.heads, found, ending.outputs, strict=True)
        ]
        return made[0] if self.single else tuple(made)

    def _target(self, head: Head, y: Any, shape: tuple[int, ...], dtype: np.dtype) -> Any:
        if head.objective is None and not head.metrics:
            return None
        if y is None:
            raise ArgumentError(
                f"y lacks targets for the output {head.name!r}",
                mend=f"loss={{{head.name!r}: None}} for an output that is not trained on",
            )
        if head.objective is None:
            return y.astype(dtype) if y.dtype.kind == "f" else y
        try:
            return head.objective.targets(y, shape, dtype)
        except ChainruleError as error:
            if head.name:
                error.message = f"output {head.name!r}: {error.message}"
            raise

    def weights(self, given: Any, ending: Ending) -> Any:
        """Weights of examples as `judge` reads them: None, one array, or one for each output."""
        if not isinstance(given, dict | tuple):
            return given
        found = spread("sample_weight", given, ending.structure)
        return found[0] if self.single else tuple(found)


def _summed(value: Any, y_pred: Tensor, weights: Any) -> tuple:
    """The loss of a batch as what adds up over batches: (times its weight, its weight)."""
    total: Any = float(y_pred.shape[0]) if weights is None else cast(sum(weights), "float64")
    return cast(value, "float64") * total, total


def _parts_of(metric: Metric, y_true: Any, y_pred: Any, logits: bool) -> tuple:
    try:
        return metric.parts(y_true, y_pred, logits)
    except ChainruleError as error:
        error.message = f"metric {metric.name}: {error.message}"
        raise


def _renamed(metric: Metric, output: str) -> Metric:
    if not output:
        return metric
    made = copy(metric)
    made.name = f"{output}_{metric.name}"
    return made


def spread(
    what: str, given: Any, outputs: Structure, gaps: bool = False, shared: bool = True
) -> list:
    """What `given` has for each output, from left to right.

    What is no dict or tuple is `shared` by all; with `gaps`, a name may be missing. ArgumentError
    that says which names are missing or unknown.
    """
    if outputs.kind is LEAF:
        if isinstance(given, dict | tuple):
            raise ArgumentError(
                f"{what} holds several ({_keys(given)}) for what is one output of the model"
            )
        return [given]
    if not isinstance(given, dict | tuple):
        if not shared and given is not None:
            raise ArgumentError(
                f"the model gives {_wanted(outputs)}, and {what} is one array",
                mend=f"{what} as a {_kind(outputs)} like the outputs",
            )
        return [given] * outputs.leaves
    parts = _by_name(what, given, outputs, gaps)
    rows = zip(_names(outputs), outputs.children, strict=True)
    return [
        each for name, child in rows for each in spread(what, parts.get(name), child, gaps, shared)
    ]


def _by_name(what: str, given: Any, outputs: Structure, gaps: bool) -> dict:
    """The parts of a dict or tuple, once their names are those of the outputs."""
    gives = f"the model gives {_wanted(outputs)}"
    if isinstance(given, dict) != (outputs.kind is dict):
        raise ArgumentError(
            f"{what} must be a {_kind(outputs)} like the outputs: {gives}, "
            f"got a {type(given).__name__} of {_keys(given)}"
        )
    parts = given if isinstance(given, dict) else dict(enumerate(given))
    names = _names(outputs)
    unknown = [key for key in parts if key not in names]
    if unknown:
        close = nearest(str(unknown[0]), map(str, names))
        raise ArgumentError(f"{what} has {', '.join(map(repr, unknown))}{close}; {gives}")
    missing = [name for name in names if name not in parts]
    if missing and not gaps:
        raise ArgumentError(
            f"{what} lacks {', '.join(map(repr, missing))}; {gives}",
            mend=f"{what}={{{missing[0]!r}: None, ...}} for none" if outputs.kind is dict else "",
        )
    return parts


def _names(outputs: Structure) -> Sequence[Any]:
    return outputs.aux if outputs.kind is dict else range(len(outputs.children))


def _wanted(outputs: Structure) -> str:
    if outputs.kind is dict:
        return "a dict of " + ", ".join(map(repr, outputs.aux))
    return f"a tuple of {len(outputs.children)}"


def _kind(outputs: Structure) -> str:
    return "dict" if outputs.kind is dict else "tuple"


def _keys(given: Any) -> str:
    return ", ".join(map(repr, given)) if isinstance(given, dict) else str(len(given))
