"""Losses of order and likeness: what shall score above what, who shall lie near whom.

Read next: `sequence.py`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from chainrule.core.errors import ShapeError
from chainrule.core.tensor import as_tensor
from chainrule.nn.losses.record import Loss, floats, register, weighted_mean, within
from chainrule.ops.arrange import concatenate
from chainrule.ops.composite import softplus
from chainrule.ops.elementwise import cast, equal, relu, sqrt, where
from chainrule.ops.index import take
from chainrule.ops.linear import contract
from chainrule.ops.logic import not_equal
from chainrule.ops.move import expand_dims
from chainrule.ops.reduce import sum
from chainrule.ops.statistics import logsumexp

HIDDEN = -1e9  # a score that softmax makes 0


def _ref_bpr(y: Any, p: Any) -> Any:
    found = []
    for flags, scores in zip(y, p, strict=True):
        gaps = [a - b for a in scores[flags == 1] for b in scores[flags == 0]]
        found.append(np.mean(np.log1p(np.exp(-np.array(gaps)))) if gaps else 0.0)
    return np.mean(found)


@register(targets="flags", predictions="values", ref=_ref_bpr)
def bpr(y_true: Any, y_pred: Any) -> Any:
    r"""Mean of $-\ln \sigma(s_i - s_j)$ over all pairs of a row with $y_i = 1$ and $y_j = 0$.

    A row (the last axis) holds the scores of one user's items; one without pairs gives 0.

    Source: Rendle et al., "BPR: Bayesian Personalized Ranking from Implicit Feedback", UAI 2009,
    section 4.1.
    """
    gaps = expand_dims(y_pred, -1) - expand_dims(y_pred, -2)
    paired: Any = expand_dims(y_true, -1) * (1.0 - expand_dims(y_true, -2))
    count = sum(paired, (-2, -1))
    total = sum(paired * softplus(gaps * -1.0), (-2, -1))
    return total / where(equal(count, 0.0), 1.0, count)


@dataclass(frozen=True)
class Bpr(Loss):
    """`bpr`."""

    function = staticmethod(bpr)


def _ref_triplet(y: Any, p: Any, margin: float = 1.0) -> Any:
    found = []
    for a in range(len(y)):
        near = [b for b in range(len(y)) if y[b] == y[a] and b != a]
        far = [b for b in range(len(y)) if y[b] != y[a]]
        distance = np.sum((p - p[a]) ** 2, -1)
        each = [max(distance[b] - distance[c] + margin, 0) for b in near for c in far]
        found.append(np.mean(each) if each else 0.0)
    return np.mean(found)


@register(
    targets="classes",
    predictions="values",
    ref=_ref_triplet,
    options=({"margin": 0.3},),
    apart=False,
)
def triplet(y_true: Any, y_pred: Any, margin: float = 1.0) -> Any:
    r"""Mean of $\max(|a - p|^2 - |a - n|^2 + m, 0)$ over all triplets of the batch, by anchor.

    `y_pred` (batch, features) are embeddings, `y_true` (batch,) integer classes; $p$ is another
    example of the anchor's class, $n$ one of another class. An anchor without both gives 0.

    Source: Schroff, Kalenichenko, Philbin, "FaceNet", CVPR 2015, equation 2, over all triplets.
    """
    if y_pred.ndim != 2:
        raise ShapeError(f"triplet needs embeddings (batch, features), got {y_pred.shape}")
    gap = expand_dims(y_pred, 1) - expand_dims(y_pred, 0)
    distance: Any = sum(gap * gap, -1)
    same: Any = cast(equal(expand_dims(y_true, 1), expand_dims(y_true, 0)), y_pred.dtype)
    other = 1.0 - same
    near = same - cast(np.eye(len(y_pred)), y_pred.dtype)
    short = relu(expand_dims(distance, 2) - expand_dims(distance, 1) + margin)
    chosen: Any = expand_dims(near, 2) * expand_dims(other, 1)
    count = sum(chosen, (1, 2))
    return sum(chosen * short, (1, 2)) / where(equal(count, 0.0), 1.0, count)


@dataclass(frozen=True)
class Triplet(Loss):
    """`triplet` with its `margin`."""

    function = staticmethod(triplet)
    margin: float = 1.0


def triplet_margin(
    anchor: Any, positive: Any, negative: Any, margin: float = 1.0, weights: Any = None
) -> Any:
    r"""Mean of $\max(|a - p| - |a - n| + m, 0)$ for triplets that are given, along the last axis.

    Distances are Euclidean, of gaps with 1e-6 added, so that the root has a slope where they are
    0. Source: Balntas et al., "Learning local feature descriptors with triplets", BMVC 2016.
    """
    anchor = floats(anchor, "triplet_margin")

    def distance(other: Any) -> Any:
        gap = anchor - as_tensor(other) + 1e-6
        return sqrt(sum(gap * gap, -1))

    return weighted_mean(relu(distance(positive) - distance(negative) + margin), weights)


def sampled_softmax(
    y_true: Any,
    hidden: Any,
    embeddings: Any,
    sampled: Any,
    bias: Any = None,
    log_expected: Any = None,
    weights: Any = None,
) -> Any:
    r"""Cross-entropy of classes $y$ against themselves and a few `sampled` ones.

    Class $k$ scores $h \cdot E_k + b_k$, with `hidden` (batch, features), `embeddings` (classes,
    features), `bias` (classes,) and `sampled` (samples,) integers. `log_expected` (classes,) is
    the logarithm of how often each class is expected among the samples; it is subtracted, so that
    the gradient tends to that of the whole softmax. A sample that is an example's own class does
    not count for it. Only the rows that are named get a gradient.

    Source: Jean et al., "On Using Very Large Target Vocabulary for Neural Machine Translation",
    ACL 2015, equation 10.
    """
    hidden, table = floats(hidden, "sampled_softmax"), as_tensor(embeddings)
    labels, drawn = within(as_tensor(y_true), table.shape[0]), as_tensor(sampled)
    if hidden.ndim != 2 or labels.shape != hidden.shape[:1] or drawn.ndim != 1:
        raise ShapeError(
            f"sampled_softmax needs classes (batch,), hidden (batch, features) and sampled "
            f"(samples,), got {labels.shape}, {hidden.shape} and {drawn.shape}"
        )
    own: Any = sum(hidden * take(table, labels), -1)
    rest: Any = contract(hidden, take(table, drawn), spec="nf,kf->nk")
    for shift, sign in ((bias, 1.0), (log_expected, -1.0)):
        if shift is not None:
            own = own + take(as_tensor(shift), labels) * sign
            rest = rest + take(as_tensor(shift), drawn) * sign
    rest = where(not_equal(expand_dims(labels, 1), expand_dims(drawn, 0)), rest, HIDDEN)
    scores = concatenate([expand_dims(own, 1), rest], 1)
    return weighted_mean(logsumexp(scores, 1) - own, weights)
