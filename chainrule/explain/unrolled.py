"""A recorded graph computed once more in float64, its loops laid out step by step.

Afterwards every number that a gradient passes on its way is the value of a node: a `scan` has
become its steps, a `cond` the branch it took. Read next: `axes.py`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from chainrule.core.dtypes import BUNDLE, is_float
from chainrule.core.node import Node, Origin, topological
from chainrule.core.op import Op, Spec, register
from chainrule.core.recording import Recording
from chainrule.core.tensor import Tensor
from chainrule.grad.branches import Branches, choose_op
from chainrule.grad.control import Parts, bundle, part, part_op, zeros
from chainrule.grad.scan import Loop, scan_op
from chainrule.ops.arrange import stack
from chainrule.ops.elementwise import cast

WIDE = np.dtype(np.float64)


def _vjp_unstack(g: Parts, y: Tensor, x: Tensor) -> tuple[Tensor]:
    like = Spec(x.shape[1:], x.dtype)
    return (stack([g.found[t] if t in g.found else zeros(like) for t in range(x.shape[0])]),)


# Slices would each send back a gradient of the whole; the parts of a bundle send back their own.
unstack = register(
    Op(
        name="unstack",
        kind="control",
        tex="#1",
        ref=lambda x: bundle(list(x)),
        infer=lambda x: Spec((x.shape[0],), BUNDLE),
        linear=(0,),
        vjp=_vjp_unstack,
        doc="The slices of `x` along its first axis, as a bundle.",
    )
)


class Unrolled:
    """`found` has the tensor of each node that was recorded; `steps` the time step of new ones.

    A node that stands for several steps (it is the same in all) has the first of them.
    """

    def __init__(self, ends: Iterable[Node], values: Mapping[Node, Any], origins: Mapping):
        """`values` are those of the leaves that `ends` need."""
        self.recording = Recording(concrete=True)
        self.steps: dict[Node, int] = {}
        self._step: int | None = None
        with self.recording, np.errstate(all="ignore"):
            self.found = {leaf: self._leaf(value) for leaf, value in values.items()}
            self._lay_out(ends, self.found, origins)
            self.recording.origin = None

    def node(self, recorded: Node) -> Node:
        """The new node of one that was recorded."""
        return self.recording.node_of(self.found[recorded])

    def value(self, node: Node) -> np.ndarray:
        """The float64 value of a new node."""
        return self.recording.values[node]

    def layer(self, node: Node) -> str:
        """The path of the layer that a new node belongs to, "" outside of all."""
        return self.recording.origins[node].layer

    def _leaf(self, value: Any) -> Tensor:
        array = np.asarray(value)
        return self.recording.input(Tensor(array.astype(WIDE) if is_float(array.dtype) else array))

    def _lay_out(self, ends: Iterable[Node], found: dict[Node, Tensor], origins: Mapping) -> None:
        """Apply what `ends` need, from what `found` holds, which takes the results."""
        order = topological(ends, found)
        wanted: dict[Node, set[int]] = {}
        for node in order:
            if node.op is part_op:
                wanted.setdefault(node.inputs[0], set()).add(node.attrs["index"])
        bundles: dict[Node, dict[int, Tensor]] = {}
        for node in order:
            origin = origins.get(node, Origin(None))
            self.recording.origin = origin
            if node.op is part_op and node.inputs[0] in bundles:
                found[node] = bundles[node.inputs[0]][node.attrs["index"]]
                continue
            inputs = [found[source] for source in node.inputs]
            held = node.attrs.get("holds")
            if node.op is scan_op and isinstance(held, Loop):
                bundles[node] = self._loop(held, inputs, wanted.get(node, set()))
            elif node.op is choose_op and isinstance(held, Branches):
                bundles[node] = self._branch(held, inputs, wanted.get(node, set()))
            else:
                found[node] = self._apply(node, inputs, origin)

    def _apply(self, node: Node, inputs: list[Tensor], origin: Origin) -> Tensor:
        random = node.op.kind == "random"  # its bits depend on the dtype, so that is kept
        attrs = dict(node.attrs) if random else {k: _widened(v) for k, v in node.attrs.items()}
        made = self.recording.apply(node.op, inputs, attrs, origin=origin)
        made = cast(made, WIDE) if random and is_float(made.dtype) else made
        if self._step is not None:
            self.steps.setdefault(self.recording.node_of(made), self._step)
        return made

    def _loop(self, loop: Loop, inputs: list[Tensor], wanted: set[int]) -> dict[int, Tensor]:
        carry, xs, constants = loop.split(inputs)
        count = len(loop.finals)
        nodes = {i: loop.node(i) for i in wanted if i >= count}
        ends = [*loop.body.outputs[: loop.carries], *nodes.values()]
        made: dict[int, list[Any]] = {i: [None] * loop.length for i in nodes}
        outer, origin = self._step, self.recording.origin
        rows = [unstack(x) for x in xs]
        for t in loop.times():
            self._step, self.recording.origin = t, origin
            now = [
                part(row, t, Spec(x.shape[1:], x.dtype)) for row, x in zip(rows, xs, strict=True)
            ]
            given = [*carry, *now, *constants]
            inside = dict(zip(loop.body.inputs, given, strict=True))
            self._lay_out(ends, inside, loop.body.origins)
            carry = [inside[node] for node in loop.body.outputs[: loop.carries]]
            for i, node in nodes.items():
                made[i][t] = inside[node]
        self._step, self.recording.origin = outer, origin
        bundle = {i: carry[loop.finals[i]] for i in wanted if i < count}
        return bundle | {i: stack(each) for i, each in made.items()}

    def _branch(self, held: Branches, inputs: list[Tensor], wanted: set[int]) -> dict[int, Tensor]:
        graph = held.graphs[int(inputs[0].numpy())]
        inside = dict(zip(graph.inputs, inputs[1:], strict=True))
        self._lay_out([graph.outputs[i] for i in wanted], inside, graph.origins)
        return {i: inside[graph.outputs[i]] for i in wanted}


def _widened(value: Any) -> Any:
    """A float dtype among the attributes as float64; anything else as it is."""
    if isinstance(value, str | np.dtype) and str(value) in ("float16", "float32"):
        return WIDE.name if isinstance(value, str) else WIDE
    return value
