"""What made a value not finite, by the op and its numbers: `finding` of a culprit.

Read next: `finding.py`, for the sentences.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from chainrule.core.graph import Graph
from chainrule.core.node import Node, Origin
from chainrule.grad.finding import POLES, Finding, Operand
from chainrule.grad.nonfinite import Culprit

ROOTS = ("by_zero", "zero_by_zero", "power_zero", "power_negative", "log_zero", "zero_times_inf")
POLE_AT = {"divide": 1}  # the input that has a pole, where it is not the first
BESIDE = 2  # neighbours shown on either side


def finding(culprit: Culprit, label: str = "", blame: str = "data") -> Finding:
    """What is found at `culprit`; `label` and `blame` are name and reason of a bad input."""
    if culprit.place is not None and culprit.bad is not None:
        return _of_leaf(culprit, label, blame)
    step = culprit.step
    node, origin = step.node, step.run.graph.origins.get(step.node) or Origin(None)
    index = _index(step.bad)
    inputs = tuple(_operand(node, x, index) for x in step.run.of(node.inputs))
    value = float(step.value[index])
    reason, of = _reason(node.op.name, inputs, value), ""
    if origin.gradient:
        of = _forward(culprit, origin)
        reason = "derivative" if of and reason in ROOTS else reason
    return Finding(
        reason=reason,
        op=node.op.name,
        value=value,
        dtype=node.dtype.name,
        shape=node.shape,
        index=index,
        count=int(step.bad.sum()),
        inputs=inputs,
        place=origin.place,
        layer=origin.layer,
        gradient=origin.gradient,
        of=of,
        times=step.run.times,
    )


def _of_leaf(culprit: Culprit, label: str, reason: str) -> Finding:
    """An input that came so; the place is where it is read first."""
    assert culprit.place is not None and culprit.bad is not None
    first = culprit.trail[-1]
    whole = culprit.trail[0].run
    node = whole.graph.inputs[culprit.place]
    origin = first.run.graph.origins.get(first.node) or Origin(None)
    index = _index(culprit.bad)
    return Finding(
        reason=reason,
        op=first.node.op.name,
        value=float(whole.values[node][index]),
        dtype=node.dtype.name,
        shape=node.shape,
        index=index,
        count=int(culprit.bad.sum()),
        place=origin.place,
        layer=origin.layer,
        leaf=label,
    )


def _index(bad: np.ndarray) -> tuple[int, ...]:
    return tuple(int(i) for i in np.unravel_index(int(bad.argmax()), bad.shape))


def _operand(node: Node, x: np.ndarray, index: tuple[int, ...]) -> Operand:
    """What the element at `index` of the node reads of `x`."""
    least, most = (float(x.min()), float(x.max())) if x.size else (np.nan, np.nan)
    if node.op.kind != "elementwise":
        return Operand(None, (), least, most, x.shape)
    beside: tuple[float, ...] = ()
    if index and x.shape[-1] > 1:
        row, at = x[index[:-1]], index[-1]
        near = [i for i in range(at - BESIDE, at + BESIDE + 1) if i != at and 0 <= i < len(row)]
        beside = tuple(float(row[i]) for i in near)
    return Operand(float(x[index]), beside, least, most, x.shape)


def _reason(op: str, inputs: Sequence[Operand], value: float) -> str:
    """The key of `CAUSES` for what an op made of its inputs."""
    known = [x.value for x in inputs]
    given = [x for x in known if x is not None]
    infinite = [x for x in inputs if not np.isfinite([x.least, x.most]).all()]
    if None in known or not given:
        if not infinite:
            return "overflow"
        return "infinite" if np.isinf(value) else "inf_minus_inf"
    if not np.isfinite(given).all():
        pairs = {"multiply": "zero_times_inf", "divide": "inf_by_inf"}
        return "infinite" if np.isinf(value) else pairs.get(op, "inf_minus_inf")
    return _of_numbers(op, given, value)


def _of_numbers(op: str, given: Sequence[float], value: float) -> str:
    x = given[0]
    if op in ("log", "log1p"):
        return "log_zero" if np.isinf(value) else "log_negative"
    if op in ("divide", "remainder") and given[1] == 0:
        return "zero_by_zero" if x == 0 else "by_zero"
    if op == "rsqrt" and x == 0:
        return "by_zero"
    if op in ("sqrt", "rsqrt"):
        return "sqrt_negative"
    if op == "power" and np.isnan(value):
        return "power_negative"
    if op == "power" and x == 0:
        return "power_zero"
    if op in ("exp", "expm1", "sinh", "cosh"):
        return "exp_overflow"
    if op in ("arcsin", "arccos", "arctanh"):
        return "domain"
    if op == "arccosh":
        return "arccosh"
    return "overflow" if np.isinf(value) else "undefined"


def _forward(culprit: Culprit, origin: Origin) -> str:
    """The op whose derivative this is: one of its line that reads what the derivative reads, or
    made it; in a loop, where the two are apart, the only one of its line that has a pole."""
    node, pole = culprit.step.node, POLE_AT.get(culprit.step.node.op.name, 0)
    there: list[Node] = []
    for graph in _graphs(culprit.trail[0].run.graph):
        poles = [n for n in graph.order if n.op.name in POLES and n in graph.origins]
        there += [n for n in poles if _same(graph.origins[n], origin)]
    at = node.inputs[pole] if node.inputs else node
    near = [n for n in there if at in (n, n.inputs[POLE_AT.get(n.op.name, 0)])]
    names = sorted({n.op.name for n in near or there})
    return names[0] if near or len(names) == 1 else ""


def _same(origin: Origin, gradient: Origin) -> bool:
    here = (origin.place, origin.layer) == (gradient.place, gradient.layer)
    return here and not origin.gradient


def _graphs(graph: Graph) -> Iterator[Graph]:
    """A graph and all that its nodes hold."""
    yield graph
    for node in graph.order:
        if "holds" in node.attrs:
            for inner, _ in node.attrs["holds"].graphs_run():
                yield from _graphs(inner)
