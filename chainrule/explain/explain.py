r"""`explain`: where a gradient came from, as exact sums over examples, positions, times, units.

Read next: `derivation.py`.
"""

from __future__ import annotations

import math
from itertools import takewhile
from typing import Any, Literal

import numpy as np

from chainrule.core.errors import ArgumentError, GradientError, UnknownNameError
from chainrule.core.node import Node
from chainrule.core.recording import current
from chainrule.core.tensor import Tensor
from chainrule.data.batches import check_whole
from chainrule.explain.asked import partitions_asked
from chainrule.explain.chain import Chains
from chainrule.explain.cut import Flow, within
from chainrule.explain.difference import check_entry
from chainrule.explain.explanation import Entry, Explanation, Label, Part, Partition, Summary
from chainrule.explain.partition import Group, grouped, largest, partition
from chainrule.explain.paths import by_path
from chainrule.explain.subject import (
    Index,
    Subject,
    checked_index,
    subject_of_loss,
    subject_of_model,
)
from chainrule.explain.writing import indexed

FEW = 4  # as many features of an example are shown beside its part
GATES = {"LSTMCell": ("i", "f", "c", "o"), "GRUCell": ("z", "r", "h")}


def explain(
    of: Any,
    x: Any = None,
    y: Any = None,
    parameter: Any = None,
    index: Any = None,
    *,
    by: Any = "auto",
    at: str | None = None,
    topk: int = 5,
    check: Literal["sample", "none"] = "sample",
    training: bool = True,
    sample_weight: Any = None,
    class_weight: Any = None,
    lang: str = "auto",
) -> Explanation:
    r"""Where the gradient of a parameter came from: exact sums with their checks, all in float64.

    `explain(model, x, y, "dense/kernel", index=(0, 1))` is of the loss that the model was compiled
    with, penalties included, for this batch; `training` says whether layers run as in a step of
    `fit`, and weights are as there. `explain(loss, p, index=(0, 1))` is of a recorded loss.

    For an entry, $dL/dw = \sum_k (dL/do_k)(do_k/dw)$ over the places where `w` is used or, for
    "output" and "unit", over the outputs of a later layer: the model's, or that at the path `at`
    (by default the next that has parameters). `by` is one of "example", "position", "time",
    "gate", "lookup", "use", "output", "unit", "path", a tuple of them for a finer sum, or a list of
    such; "auto" takes what suits the layer. "use" tells the calls of a shared layer apart. "path"
    stands alone: a row for each way through the units of the dense layers that follow, few of
    which hold much where these are wide. Each keeps its `topk` largest parts and one row for the
    others. Without `index` the whole tensor is summed up, and its `topk` largest entries listed.

    UnknownNameError, ShapeError or ArgumentError for a path, an index or a `by` that is not there;
    GradientError where the loss does not depend on the parameter.

    >>> import chainrule as cr
    >>> w = cr.Tensor([[1.0], [-2.0]])
    >>> x, y = np.float32([[1, 2], [0, 1]]), np.float32([[1], [0]])
    >>> with cr.record():
    ...     loss = cr.mean((x @ w - y) ** 2)
    >>> found = explain(loss, w, index=(1, 0))
    >>> found.gradient, [part.value for part in found.partitions[0].parts]
    (-10.0, [-8.0, -2.0])
    """
    if current() is not None and not isinstance(of, Tensor):
        raise GradientError("explain was called while something records")
    check_whole("topk", topk, 1)
    if check not in ("sample", "none"):
        raise UnknownNameError("check", check, ("sample", "none"))
    if isinstance(of, Tensor):
        subject, index = _recorded(of, x, y, parameter, index)
    else:
        subject = subject_of_model(of, x, y, parameter, training, sample_weight, class_weight)
    where = None if index is None else checked_index(index, subject.shape, subject.path)
    asked = partitions_asked(by, at, where, subject.layers)
    with np.errstate(all="ignore"):
        flow = Flow(subject)
        checked = check == "sample" and math.isfinite(flow.loss_value)
        if where is not None:
            return _of_entry(flow, where, asked, at, topk, checked, lang)
        return _of_tensor(flow, topk, checked, lang)


def _recorded(loss: Tensor, p: Any, place: Any, parameter: Any, index: Any) -> tuple[Subject, Any]:
    """The subject of a recorded loss, and the index, which may stand right behind the parameter."""
    if parameter is not None or (place is not None and index is not None):
        raise ArgumentError(
            "explain of a recorded loss takes the parameter alone: its batch is recorded",
            mend="cr.explain(loss, model.dense.kernel, index=(0, 1))",
        )
    return subject_of_loss(loss, p), index if place is None else place


def _of_entry(
    flow: Flow,
    index: Index,
    asked: list[tuple[str, ...]] | None,
    at: str | None,
    topk: int,
    check: bool,
    lang: str,
) -> Explanation:
    made = _Entry(flow, index, topk)
    if not math.isfinite(flow.loss_value):
        found = []
    elif asked is None:
        found = made.usual()
    else:
        found = [made.partition(by, at) for by in asked]
    found_check = check_entry(flow, index) if check and math.isfinite(made.gradient) else None
    return _explanation(
        flow,
        made.symbol,
        lang,
        index=index,
        weight=float(flow.wide.value(flow.parameter)[index]),
        gradient=made.gradient,
        check=found_check,
        partitions=tuple(found),
    )


class _Entry:
    """One entry of the parameter: its terms, and the partitions they make."""

    def __init__(self, flow: Flow, index: Index, topk: int):
        self.flow, self.index, self.topk = flow, index, topk
        self.gradient = float(flow.gradient[index])
        self.chains = Chains(flow)
        places = ",".join(map(str, index))
        self.symbol = indexed(self.chains.symbol, places) if places else self.chains.symbol
        terms = flow.at_uses(index)
        wide = [t for t in terms if t.node.shape != ()]
        self.terms = wide if wide and flow.parameter.size > 1 else terms
        kept = {t.node for t in self.terms}
        self.penalty = 0.0 + sum(float(t.values) for t in terms if t.node not in kept)
        self.path = flow.wide.layer(self.terms[0].node)
        axes = {axis for t in self.terms for axis in t.axes}
        self.axes = axes | {name for t in self.terms for name, _ in t.labels}
        self.lookup = any(t.node.op.name == "take" for t in self.terms)

    def usual(self) -> list[Partition]:
        """What suits the parameter: by where it is used, then by what it leads to."""
        if self.lookup:
            names: list[tuple[str, ...]] = [("lookup",)]
            names += [("example",)] if "position" in self.axes else []
        elif "time" in self.axes:
            names = [("time",), ("example",), ("time", "example")]
        elif "position" in self.axes:
            names = [("example",), ("position",), ("example", "position")]
        else:
            names = [("example",)]
        names = [by for by in names if "example" in self.axes or "example" not in by]
        found = [self.partition(by, None) for by in names or [("use",)]]
        forward = all(node.op.name != "custom" for node in self.flow.moved)
        for by in ("unit", "output") if forward else ():
            nodes = self._cut(by, None)
            own = self.flow.output_of(self.path)
            if nodes and nodes != [own] and any(n.shape[-1:] != (1,) for n in nodes):
                made = self.partition((by,), None)
                if len(made.parts) + made.others.count - made.others.zeros > 1:
                    found.append(made)
        return found

    def partition(self, by: tuple[str, ...], at: str | None) -> Partition:
        """One partition; ArgumentError where the parameter's uses have no such axis."""
        if by == ("path",):
            given = self.chains.numbers, self.symbol, self.index, self.penalty, self.topk
            return by_path(self.flow, self.terms, *given)
        later = next((name for name in ("output", "unit") if name in by), None)
        if later:
            nodes = self._cut(later, at)
            if not nodes:
                raise ArgumentError(
                    f"by={later!r}: no layer after {self.path or 'this one'} has units"
                    if at is None
                    else f"at={at!r}: the loss gets nothing of {self.flow.subject.path} from there"
                )
            flow = self.flow
            terms = flow.at_nodes(nodes, self.index, later)
            self._check(by, {later, *(axis for each in terms for axis in each.axes)})
            path = at or ", ".join(_beside(self.path, flow.wide.layer(n)) for n in nodes)
            groups = grouped(terms, (*by, "use"))
            leaky = flow.is_leaky(nodes, [each.node for each in self.terms])
            return partition(
                groups, by, path, "output", self.gradient, self.topk, _plain, self.penalty, leaky
            )
        self._check(by, self.axes - {"unit"} | {"output", "unit"} | self._special())
        return partition(
            self._gated(grouped(self.terms, by), by),
            by,
            self.path,
            "use",
            self.gradient,
            self.topk,
            self._detailed,
            self.penalty,
        )

    def _check(self, by: tuple[str, ...], there: set[str]) -> None:
        for name in by:
            if name not in there | {"use"}:
                raise ArgumentError(
                    f"by={name!r}: {self.flow.subject.path} is not used along such an axis",
                    mend=f"one of {', '.join(sorted(there | {'use'}))}",
                )

    def _special(self) -> set[str]:
        """The axes that are none of a node."""
        lookup = {"lookup"} if self.lookup else set()
        return lookup | ({"gate"} if self._gate() else set())

    def _cut(self, by: str, at: str | None) -> list[Node]:
        """The nodes to cut at: the model's outputs, or the output of a later layer."""
        flow = self.flow
        if at is not None:
            node = flow.output_of(at)
            return [node] if node in flow.moved and node.shape else []
        outputs = [flow.wide.node(node) for node in flow.subject.outputs]
        outputs = [n for n in dict.fromkeys(outputs) if n in flow.moved and len(n.shape) > 1]
        if by == "output":
            return outputs
        for path in dict.fromkeys(_beside(self.path, each) for each in self.chains.numbers):
            node = flow.output_of(path)
            apart = not within(path, self.path) and not within(self.path, path)
            after = node in flow.moved and node is not None and len(node.shape) > 1
            if apart and after and node not in outputs:
                return [node]  # type: ignore[list-item]
        return []

    def _gate(self) -> str:
        """The gate that the entry belongs to, "" where its layer has none."""
        layer = self.flow.subject.layer
        names = next((GATES[c.__name__] for c in type(layer).__mro__ if c.__name__ in GATES), None)
        return names[self.index[-1] // layer.units] if names else ""

    def _gated(self, groups: list[Group], by: tuple[str, ...]) -> list[Group]:
        """An entry of a recurrent kernel belongs to one gate, which is a label of all its parts."""
        label: Label = ("gate", self._gate())
        if "gate" not in by:
            return groups
        return [g._replace(labels=(*g.labels, label)) for g in groups]

    def _detailed(self, group: Group, place: tuple[int, ...], part: Part) -> Part:
        """The part with its chain, where it is one product, and the features of its example."""
        single = group.element(place)
        factors = self.chains.factors(*single, self.symbol) if single else ()
        # A use without the axis asked for, as what a step makes of zeros, is known by its layer.
        labels = part.labels or group.members[0].terms.labels[:1]
        return part._replace(labels=labels, factors=factors, given=self._given(labels))

    def _given(self, labels: tuple[Label, ...]) -> tuple[float, ...]:
        subject = self.flow.subject
        values = [subject.values[n] for n in subject.data if n.op.name == "input"]
        if (
            not values
            or not labels
            or labels[0][0] != "example"
            or values[0].ndim != 2
            or values[0].dtype.kind not in "iuf"
        ):
            return ()
        x = values[0]
        return tuple(x[int(labels[0][1])].tolist()) if x.shape[1] <= FEW else ()


def _beside(own: str, other: str) -> str:
    """The layer of `other` that stands beside `own`: "gru" of "gru/cell", seen from "dense"."""
    parts, mine = other.split("/"), own.split("/")
    shared = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(parts, mine)))
    return "/".join(parts[: shared + 1])


def _plain(group: Group, place: tuple[int, ...], part: Part) -> Part:
    return part


def _of_tensor(flow: Flow, topk: int, check: bool, lang: str) -> Explanation:
    g, w = flow.gradient, flow.wide.value(flow.parameter)
    norm, size = float(np.linalg.norm(g)), float(np.linalg.norm(w))
    finite = g[np.isfinite(g)]
    summary = Summary(
        g.size,
        norm,
        norm / size if size else 0.0,
        float(finite.mean()) if finite.size else 0.0,
        float(finite.min()) if finite.size else 0.0,
        float(finite.max()) if finite.size else 0.0,
        int(np.count_nonzero(g == 0)),
        int(g.size - finite.size),
    )
    entries: list[Entry] = []
    told = math.isfinite(flow.loss_value)
    for flat in largest(np.abs(g).ravel(), topk) if told else ():
        place = tuple(int(i) for i in np.unravel_index(flat, g.shape))
        wanted = check and not entries and math.isfinite(g[place])
        checked = check_entry(flow, place) if wanted else None
        entries.append(Entry(place, float(w[place]), float(g[place]), checked))
    left = g.size - len(entries) if told else 0
    return _explanation(
        flow,
        Chains(flow).symbol,
        lang,
        summary=summary,
        entries=tuple(entries),
        left_out=(("entries", left),) if left else (),
    )


def _explanation(flow: Flow, symbol: str, lang: str, **found: Any) -> Explanation:
    subject = flow.subject
    layer = subject.layer
    facts: dict[str, Any] = {"index": None, "weight": None, "gradient": None} | found
    return Explanation(
        parameter=subject.path,
        symbol=symbol,
        kind="" if layer is None else type(layer).__name__,
        shape=subject.shape,
        dtype=subject.parameter.dtype.name,
        loss=flow.loss_value,
        loss_name=subject.loss_name,
        training=subject.training,
        examples=subject.examples,
        lang=lang,
        trainable=subject.trainable,
        **facts,
    )
