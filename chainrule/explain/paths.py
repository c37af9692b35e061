r"""By path: one product for each way through the units, $t \cdot J_1 \cdots J_m \cdot \bar o$.

A path runs from the entry through one unit of each later layer to an output. Their number is the
product of the layers' widths, and in a wide net no few of them hold much of the gradient, so it is
given only where asked for; the coverage says how much the listed ones hold. The largest are found
exactly: the best ending from each unit is known first, so the search never goes astray.
Read next: `chain.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from heapq import heapify, heappop, heappush
from itertools import pairwise
from math import prod
from typing import Any, NamedTuple

import numpy as np

from chainrule.core.errors import ArgumentError
from chainrule.core.node import Node, topological
from chainrule.core.recording import Recording
from chainrule.core.tensor import Tensor
from chainrule.explain.columns import moved_columns
from chainrule.explain.cut import Flow, Terms, reached
from chainrule.explain.explanation import Factor, Others, Part, Partition
from chainrule.explain.subject import Index
from chainrule.grad.control import copy_nodes
from chainrule.grad.forward import forward

MOST = 2**25  # numbers in the Jacobians of all layers, a quarter of a GiB in float64
DEEPEST = 8  # layers that a path may pass


class Ways(NamedTuple):
    """The cuts that all paths pass, in order, and what leads to, between and from them.

    `first` is the tangent of the first cut (examples, units), `between` the Jacobian of each cut
    by the one before (examples, units, units before), `last` the adjoint of the last cut.
    """

    cuts: list[Node]
    first: np.ndarray
    between: list[np.ndarray]
    last: np.ndarray

    def summed(self) -> float:
        """The sum of all paths; `abs` of the arrays gives their mass, `!= 0` their number."""
        end = self.last
        for slopes in reversed(self.between):
            end = np.einsum("nji,nj->ni", slopes, end)
        return float((self.first * end).sum())

    def best_ends(self) -> list[np.ndarray]:
        """For each cut, the largest |product| of the rest of a path from each of its units."""
        found = [np.abs(self.last)]
        for slopes in reversed(self.between):
            found.append((np.abs(slopes) * found[-1][:, :, None]).max(axis=1))
        return found[::-1]


def by_path(
    flow: Flow,
    terms: Sequence[Terms],
    numbers: Mapping[str, int],
    symbol: str,
    index: Index,
    regulariser: float,
    topk: int,
) -> Partition:
    """The `topk` largest paths of entry `index`, whose terms these are, and what the others hold.

    `numbers` are the layers' and `symbol` the entry's in LaTeX. ArgumentError where ways cannot be
    told by units: no layer after the parameter has (examples, units), or one mixes the examples.
    """
    gradient = float(flow.gradient[index])
    ways = _ways(flow, [each.node for each in terms], numbers, index)
    mass = Ways(ways.cuts, *_each(np.abs, ways)).summed()
    nonzero = round(Ways(ways.cuts, *_each(lambda x: (x != 0) * 1.0, ways)).summed())
    if abs(ways.summed() + regulariser - gradient) > 1e-6 * mass + 1e-18:
        raise ArgumentError(
            "by='path': examples meet on the way, as in BatchNormalization in training",
            mend="training=False",
        )
    names = _names(flow, ways.cuts, numbers)
    parts = [_part(ways, names, symbol, *found) for found in _largest(ways, topk)]
    first, *later = ways.cuts
    moved = moved_columns(flow.order, flow.parameter, index)[first]
    width = len(range(*moved.indices(first.shape[1])))
    count = first.shape[0] * width * prod(node.shape[1] for node in later)
    shown = [part.value for part in parts]
    rest = max(0.0, mass - float(np.abs(shown).sum()))
    total = gradient - regulariser - sum(shown)
    others = Others(count - len(parts), total, rest, count - nonzero)
    at = flow.wide.layer(first)
    return Partition(("path",), at, "output", tuple(parts), others, gradient, 0.0, regulariser)


def _each(fn: Callable[..., Any], ways: Ways) -> tuple[np.ndarray, list[np.ndarray], np.ndarray]:
    return fn(ways.first), [fn(slopes) for slopes in ways.between], fn(ways.last)


def _ways(flow: Flow, uses: list[Node], numbers: Mapping[str, int], index: Index) -> Ways:
    ends = [flow.output_of(path) for path in numbers]
    ends += [flow.wide.node(node) for node in flow.subject.outputs]
    later = reached(flow.order, uses)
    found = {n for n in ends if n in later and _is_plain(flow, n)}
    cuts = [n for n in flow.order if n in found and not flow.is_leaky([n], uses)]
    if not 0 < len(cuts) <= DEEPEST:
        raise ArgumentError(
            f"by='path' is for 1 to {DEEPEST} layers of (examples, units) that all ways pass after "
            f"the parameter, got {len(cuts)}"
        )
    size = sum(b.shape[0] * b.shape[1] * a.shape[1] for a, b in pairwise(cuts))
    if size > MOST:
        raise ArgumentError(
            f"by='path' needs Jacobians of {size:,} numbers, more than {MOST:,}",
            mend="fewer examples",
        )
    (terms,) = flow.at_nodes(cuts[:1], index, "unit")
    flow.flow_back(cuts[-1:])
    alive, between = terms.tangent != 0, []
    for a, b in pairwise(cuts):
        between.append(_jacobian(flow, a, b, np.flatnonzero(alive.any(axis=0))))
        alive = np.einsum("nji,ni->nj", between[-1] != 0, alive)
    return Ways(cuts, terms.tangent, between, flow.adjoints[cuts[-1]])


def _is_plain(flow: Flow, node: Node) -> bool:
    whole = len(node.shape) == 2 and flow.examples.get(node) == 0
    return whole and node.shape[0] == flow.subject.examples


def _jacobian(flow: Flow, a: Node, b: Node, units: np.ndarray) -> np.ndarray:
    """Of each example's row of `b` by its row of `a`, for `units` of `a`: 0 for the others."""
    after = reached(flow.order, [a])
    order = [node for node in topological([b], [a]) if node in after]
    reads = [a, *(n for node in order for n in node.inputs if n not in after)]
    with Recording(concrete=True) as own, np.errstate(all="ignore"):
        inside = {n: own.input(Tensor(flow.wide.value(n))) for n in dict.fromkeys(reads)}
        direction = own.input(Tensor(np.zeros(a.shape)))
        copy_nodes([b], inside, own, {})
        (moved,) = forward([inside[b]], [inside[a]], [direction])
        assert moved is not None  # each cut was reached from the one before
        start, end, values = own.node_of(direction), own.node_of(moved), own.values
    order = topological([end])
    after = reached(order, [start])
    moving = [node for node in order if node in after and node is not start]
    found = np.zeros((a.shape[0], b.shape[1], a.shape[1]))
    for i in units:
        values[start] = np.zeros(a.shape)
        values[start][:, i] = 1.0
        for node in moving:
            values[node] = node.op.ref(*[values[n] for n in node.inputs], **node.attrs)
        found[:, :, i] = values[end]
    return found


def _largest(ways: Ways, topk: int) -> list[tuple[int, tuple[int, ...]]]:
    """(example, units) of the largest paths: always the one goes on whose best end is largest."""
    ends = ways.best_ends()
    sizes = np.abs(ways.first) * ends[0]
    open_: list[tuple[float, int, tuple[int, ...], float]] = [
        (-float(sizes[n, i]), int(n), (int(i),), float(ways.first[n, i]))
        for n, i in np.argwhere(sizes)
    ]
    heapify(open_)
    found: list[tuple[int, tuple[int, ...]]] = []
    while open_ and len(found) < topk:
        _, n, units, value = heappop(open_)
        if len(units) == len(ways.cuts):
            found.append((n, units))
            continue
        slopes, end = ways.between[len(units) - 1][n, :, units[-1]], ends[len(units)][n]
        for j in np.flatnonzero(slopes * end):
            further = value * float(slopes[j])
            heappush(open_, (-abs(further) * float(end[j]), n, (*units, int(j)), further))
    return found


def _names(flow: Flow, cuts: Sequence[Node], numbers: Mapping[str, int]) -> list[str]:
    """The LaTeX of each cut: h of its layer, and o where it is the model's output."""
    outputs = {flow.wide.node(node) for node in flow.subject.outputs}
    paths = {flow.output_of(path): number for path, number in numbers.items()}
    return ["o" if node in outputs else f"h^{{({paths[node]})}}" for node in cuts]


def _part(ways: Ways, names: Sequence[str], symbol: str, n: int, units: tuple[int, ...]) -> Part:
    """One path as a part: its factors go from the loss to the parameter."""
    places = [f"{name}_{{{i}}}" for name, i in zip(names, units, strict=True)]
    factors = [Factor(_partial("L", places[-1]), float(ways.last[n, units[-1]]))]
    for k in reversed(range(len(ways.between))):
        value = float(ways.between[k][n, units[k + 1], units[k]])
        factors.append(Factor(_partial(places[k + 1], places[k]), value))
    factors.append(Factor(_partial(places[0], symbol), float(ways.first[n, units[0]])))
    value = prod(factor.value for factor in factors)
    path = "-".join(map(str, units))
    return Part((("example", n), ("path", path)), value, tuple(factors))


def _partial(above: str, below: str) -> str:
    return rf"\frac{{\partial {above}}}{{\partial {below}}}"
