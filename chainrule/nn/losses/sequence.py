"""Losses of sequences that are not aligned with their labels.

Read next: `chainrule/train/optim.py`.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import groupby, product
from typing import Any

import numpy as np

from chainrule.core.errors import ArgumentError, DataError, ShapeError
from chainrule.core.tensor import Tensor, as_tensor
from chainrule.grad.scan import scan
from chainrule.nn.losses.record import EDGE, Loss, register, within
from chainrule.ops.composite import log_softmax
from chainrule.ops.elementwise import cast, equal, less, log, negative, where
from chainrule.ops.index import arange, one_hot
from chainrule.ops.linear import contract
from chainrule.ops.logic import logical_and, logical_not, logical_or, not_equal
from chainrule.ops.move import broadcast_to, expand_dims, pad, reshape
from chainrule.ops.reduce import sum
from chainrule.ops.rounding import clip
from chainrule.ops.smooth import logaddexp
from chainrule.ops.statistics import any, logsumexp

NEVER = -np.inf  # the logarithm of the probability of what cannot be


def _ref_ctc(y: Any, p: Any, from_logits: bool, blank: int = 0) -> Any:
    """The sum over all alignments, one by one."""
    found = []
    for labels, scores in zip(y, p, strict=True):
        shares = np.exp(scores - np.logaddexp.reduce(scores, -1, keepdims=True))
        shares = shares if from_logits else scores
        total = 0.0
        for path in product(range(shares.shape[1]), repeat=len(shares)):
            read = [k for k, _ in groupby(path) if k != blank]
            if read == [k for k in labels if k != blank]:
                total += np.prod(shares[np.arange(len(shares)), path])
        found.append(-np.log(total))
    return np.mean(found)


@register(targets="sequences", ref=_ref_ctc, options=({"blank": 2},))
def ctc(
    y_true: Any, y_pred: Any, from_logits: bool = False, blank: int = 0, lengths: Any = None
) -> Any:
    r"""$-\ln \sum_\pi \prod_t p_{t,\pi_t}$ over all alignments $\pi$ that read as the labels.

    An alignment has one class for each time step; it is read by joining what repeats and then
    leaving out the class `blank`. `y_pred` is (batch, time, classes): probabilities over the
    classes, or with `from_logits` what comes before softmax. `y_true` is (batch, labels), integer
    classes; a shorter one is filled up with `blank` at its end. With `lengths` (batch,), the
    steps from there on do not count.

    Infinite where there is no alignment: where a blank stands before a label, or the steps are
    fewer than the labels and a blank between equal neighbours. A DataError where labels are known.

    Source: Graves et al., "Connectionist Temporal Classification", ICML 2006, equations 6 to 8,
    in logarithms.
    """
    steps, classes = y_pred.shape[1:]
    if not 0 <= blank < classes:
        raise ArgumentError(f"ctc: blank must be one of {classes} classes, got {blank!r}")
    labels = cast(within(y_true, classes), "int64")
    ends = _ends(lengths, y_pred.shape[:2])
    _check_fit(labels, ends, blank)
    logs = log_softmax(y_pred) if from_logits else log(clip(y_pred, EDGE, 1.0 - EDGE))
    states = _with_blanks(labels, blank)
    seen = contract(logs, one_hot(states, classes, logs.dtype), spec="ntc,nsc->tns")
    skips = _skips(states, blank)
    at = arange(states.shape[1])
    score: Any = where(broadcast_to(less(at, 2), states.shape), seen[0], NEVER)

    def onwards(score: Any, step: Any) -> Any:
        t, found = step
        moved = _forward(score, found, skips)
        return where(broadcast_to(less(t, ends), score.shape), moved, score), None

    score, _ = scan(onwards, score, (arange(steps)[1:], seen[1:]))
    last = expand_dims(sum(cast(not_equal(labels, blank), "int64"), 1), 1) * 2
    final = logical_or(equal(at, last), equal(at, last - 1))  # the last blank, the last label
    inside = logical_and(equal(labels[:, :-1], blank), not_equal(labels[:, 1:], blank))
    final = logical_and(final, expand_dims(logical_not(any(inside, 1)), 1))
    return negative(logsumexp(where(final, score, NEVER), 1))


def _ends(lengths: Any, shape: tuple[int, ...]) -> Tensor:
    """(batch, 1): the number of steps of each example."""
    given = as_tensor(np.full(shape[:1], shape[1]) if lengths is None else lengths)
    if given.shape != shape[:1] or given.dtype.kind not in "iu":
        raise ShapeError(
            f"ctc needs an integer length for each of {shape[0]} examples, got "
            f"{given.dtype}{list(given.shape)}"
        )
    if (
        given.known
        and given.size
        and not 1 <= given.numpy().min() <= given.numpy().max() <= shape[1]
    ):
        raise DataError(f"ctc: lengths must lie in 1..{shape[1]}, got {given.numpy()}")
    return expand_dims(cast(given, "int64"), 1)


def _check_fit(labels: Tensor, ends: Tensor, blank: int) -> None:
    """DataError where known labels have a blank inside, or need more steps than there are."""
    if not labels.known or not ends.known:
        return
    for i, (row, end) in enumerate(zip(labels.numpy(), ends.numpy()[:, 0], strict=True)):
        count = int(np.sum(row != blank))
        if (row[:count] == blank).any():
            raise DataError(
                f"ctc: example {i} has blank {blank} before its last label: {row}",
                mend=f"fill up with {blank} at the end only, or another class as blank",
            )
        needed = count + int(np.sum(row[1:count] == row[: max(count - 1, 0)]))
        if needed > end:
            raise DataError(
                f"ctc: example {i} has {count} labels that need {needed} steps, got {end}",
                mend="longer sequences, or fewer labels for each",
            )


def _with_blanks(labels: Tensor, blank: int) -> Tensor:
    """(batch, 2 labels + 1): a blank before each label and after the last."""
    count, width = labels.shape
    apart = pad(reshape(labels - blank, (count, width, 1)), [(0, 0), (0, 0), (1, 0)])
    return pad(reshape(apart, (count, 2 * width)), [(0, 0), (0, 1)]) + blank


def _skips(states: Tensor, blank: int) -> Tensor:
    """Whether a state may follow the last but one: a label may, unless it is the same."""
    before = pad(states, [(0, 0), (2, 0)], blank)[:, : states.shape[1]]
    return logical_and(not_equal(states, blank), not_equal(states, before))


def _forward(score: Tensor, seen: Tensor, skips: Tensor) -> Tensor:
    """The logarithms of the paths to each state, one step on."""
    one, two = (pad(score, [(0, 0), (n, 0)], NEVER)[:, :-n] for n in (1, 2))
    return logaddexp(logaddexp(score, one), where(skips, two, NEVER)) + seen


@dataclass(frozen=True)
class CTC(Loss):
    """`ctc` with its options set."""

    function = staticmethod(ctc)
    from_logits: bool = False
    blank: int = 0
