r"""The check beside a gradient: a central difference of the loss in float64.

$(L(w + h) - L(w - h)) / 2h$ errs by $O(h^2)$ from the curve and by $\epsilon |L| / h$ from
rounding, and no step $h$ suits all: one is taken after the other until it meets the gradient, and
if none does, the two that agree best have their say, and what they disagree by is how well they
know. Only what the entry can move is computed again, node by node and column by column. Read next:
`explain.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import combinations
from typing import Any, NamedTuple

import numpy as np

from chainrule.core.node import Node, topological
from chainrule.explain.columns import WHOLE, columns_of, moved_columns, partner
from chainrule.explain.cut import Flow, reached
from chainrule.explain.explanation import Check, Mark
from chainrule.explain.subject import Index
from chainrule.ops.elementwise import stop_gradient

STEPS = (1e-5, 1e-6, 1e-4, 1e-7, 1e-3, 1e-2)  # times max(1, |w|), in the order they are tried
OK, NEAR = 1e-6, 1e-3
SURE = 2.0  # times what two differences disagree by: further from both is another number

# What an op chooses by the size of its inputs: where that changes, its derivative jumps.
CHOICES: dict[str, Callable[..., Any]] = {
    "relu": lambda x, **_: x > 0,
    "abs": lambda x, **_: x > 0,
    "maximum": lambda x, z, **_: x > z,
    "minimum": lambda x, z, **_: x > z,
    "clip": lambda x, low, high, **_: (x > low) * 1 + (x > high),
    "floor": lambda x, **_: np.floor(x),
    "ceil": lambda x, **_: np.ceil(x),
    "round": lambda x, **_: np.rint(x),
    "sign": lambda x, **_: np.sign(x),
    "max": lambda x, axis, **_: x == x.max(axis=axis, keepdims=True),
}


class Moved(NamedTuple):
    """What a node reads and makes at one end of the step, in the columns that move."""

    inputs: Sequence[np.ndarray]
    value: np.ndarray


class Tried(NamedTuple):
    """A difference, its step, whether a choice flipped within, and the size of its rounding."""

    difference: float
    step: float
    flips: bool
    noise: float


def check_entry(flow: Flow, index: Index) -> Check:
    """The central difference of entry `index`, and how it compares with the gradient."""
    gradient, weight = float(flow.gradient[index]), float(flow.wide.value(flow.parameter)[index])
    found: list[Tried] = []
    for step in STEPS:
        found.append(_difference(flow, index, step * max(1.0, abs(weight)), step == min(STEPS)))
        check = _check(found[-1], gradient, NEAR * abs(gradient))
        if check.mark == "ok":
            return check
    smooth = [each for each in found if not each.flips]
    best = smooth[0] if smooth else min(found, key=lambda each: each.step)
    doubt = NEAR * abs(gradient)  # of one difference alone
    if len(smooth) > 1:
        pairs = combinations(smooth, 2)
        pair = min(pairs, key=lambda two: _apart(*two) + two[0].noise + two[1].noise)
        best, doubt = min(pair, key=lambda each: each.noise), _apart(*pair)
    check = _check(best, gradient, doubt)
    own = check.mark == "wrong" and any(node.op.name == "custom" for node in flow.moved)
    return check._replace(mark="custom") if own else check


def _apart(one: Tried, other: Tried) -> float:
    return abs(one.difference - other.difference)


def _check(tried: Tried, gradient: float, doubt: float) -> Check:
    size, apart = max(abs(gradient), abs(tried.difference)), abs(tried.difference - gradient)
    tiny = size <= tried.noise * tried.step  # no step of 1 would change a digit of the loss
    mark: Mark = "near" if apart <= SURE * (doubt + tried.noise) else "wrong"
    if apart <= OK * size or ((tiny or not gradient) and apart <= tried.noise):
        mark = "ok"
    elif tried.flips:
        mark = "kink"
    return Check(tried.difference, apart / size if size else 0.0, tried.step, mark)


def _difference(flow: Flow, index: Index, step: float, always: bool) -> Tried:
    """The central difference, and whether some choice is another at the two ends.

    Then it is not worth going on, unless it is `always` wanted, and the difference is not a number.
    """
    noise = 4 * np.finfo(np.float64).eps * abs(flow.loss_value) / step
    values = flow.wide.recording.values
    columns = moved_columns(flow.order, flow.parameter, index)
    sides: tuple[dict[Node, np.ndarray], ...] = ({}, {})
    for side, sign in zip(sides, (1, -1), strict=True):
        moved = values[flow.parameter].copy()
        moved[index] += sign * step
        side[flow.parameter] = columns_of(flow.parameter, 0, moved, columns[flow.parameter])
    order = _moving(flow)
    last = {source: i for i, node in enumerate(order) for source in node.inputs}
    flips = False
    with np.errstate(all="ignore"):
        for i, node in enumerate(order):
            ends = [_moved(node, side, values, columns) for side in sides]
            for side, end in zip(sides, ends, strict=True):
                side[node] = end.value
            flips = flips or _flipped(node, ends)
            if flips and not always:
                return Tried(np.nan, step, flips, noise)
            for source in set(node.inputs):
                if last[source] == i:
                    for side in sides:
                        side.pop(source, None)
    above, below = (float(side.get(flow.loss, flow.loss_value)) for side in sides)
    return Tried((above - below) / (2 * step), step, flips, noise)


def _moving(flow: Flow) -> list[Node]:
    """The nodes that the parameter moves; what `stop_gradient` gives is taken as constant."""
    stops = [node for node in flow.order if node.op is stop_gradient]
    order = topological([flow.loss], stops)
    after = reached(order, [flow.parameter])
    return [node for node in order if node in after and node.inputs]


def _moved(
    node: Node,
    side: Mapping[Node, np.ndarray],
    values: Mapping[Node, np.ndarray],
    columns: Mapping[Node, slice],
) -> Moved:
    """The node's value where it moves; a product of which few columns moved adds their change."""
    moving = [at for at, source in enumerate(node.inputs) if source in side]
    if len(moving) == 1:
        (at,) = moving
        source = node.inputs[at]
        other = partner(node, at, values[node.inputs[at - 1]], columns[source])
        if other is not None:
            change = side[source] - values[source][..., columns[source]]
            pair = (change, other) if at == 0 else (other, change)
            return Moved((), values[node] + node.op.ref(*pair, **node.attrs))
    inputs, movement = [], node.op.kind == "movement"
    for at, source in enumerate(node.inputs):
        if source not in side:
            inputs.append(columns_of(node, at, values[source], columns[node]))
        elif columns[source] == WHOLE or (columns[source] == columns[node] and not movement):
            inputs.append(side[source])
        else:
            whole = values[source].copy()
            whole[..., columns[source]] = side[source]
            inputs.append(whole)
    value = node.op.ref(*inputs, **node.attrs)
    return Moved(inputs, value[..., columns[node]] if movement else value)


def _flipped(node: Node, ends: Sequence[Moved]) -> bool:
    choose = CHOICES.get(node.op.name)
    if node.dtype.kind not in "biu" and choose is None:
        return False
    above, below = [
        end.value if choose is None else choose(*end.inputs, **node.attrs) for end in ends
    ]
    return not np.array_equal(above, below)
