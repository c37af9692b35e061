"""Before fusion: checkpoints are written out, loops and choices hold only what is read of them.

After this a control node is a loop or a real choice. Its bodies are programs of their own, run
between native segments. Read next: `layout.py`.
"""

from __future__ import annotations

from chainrule.compile.hoist import scanned
from chainrule.core.graph import Graph
from chainrule.core.node import Node
from chainrule.core.recording import Recording
from chainrule.core.tensor import Tensor
from chainrule.grad.branches import Branches, choose_op
from chainrule.grad.control import blank_input, copy_nodes, part, part_op
from chainrule.grad.scan import Loop, scan_op
from chainrule.ops.move import after

BUNDLES = (scan_op, choose_op)


def unfolded(graph: Graph) -> Graph:
    """`graph` with one-way choices written out and bundles narrowed to what is read of them."""
    if not any(node.op in BUNDLES for node in graph.order):
        return graph
    with Recording(concrete=False) as recording:
        found = {node: blank_input(recording, node) for node in graph.inputs}
        inputs = [recording.node_of(x) for x in found.values()]
        _Unfolding(graph, recording, found).run()
        ends = [recording.node_of(found[node]) for node in graph.outputs]
    made = Graph(inputs, ends, recording.origins)
    return unfolded(made) if _one_way(made) else made


def _one_way(graph: Graph) -> bool:
    return any(n.op is choose_op and len(n.attrs["holds"].graphs) == 1 for n in graph.order)


class _Unfolding:
    """One pass over a graph: `found` holds what became of each node."""

    def __init__(self, graph: Graph, recording: Recording, found: dict[Node, Tensor]):
        self.graph, self.recording, self.found = graph, recording, found
        self.written: dict[Node, dict[int, Tensor]] = {}  # of a bundle, what is read of it
        self.wanted: dict[Node, list[int]] = {}
        for node in graph.order:
            if node.op is part_op:
                self.wanted.setdefault(node.inputs[0], []).append(node.attrs["index"])

    def run(self) -> None:
        for node in self.graph.order:
            if node in self.found:
                continue
            origin = self.recording.origin = self.graph.origins.get(node)
            inputs = [self.found[n] for n in node.inputs if n in self.found]
            if node.op in BUNDLES:
                self._bundle(node, inputs)
                continue
            if node.op is part_op:
                self.found[node] = self.written[node.inputs[0]][node.attrs["index"]]
            else:
                self.found[node] = self.recording.apply(node.op, inputs, node.attrs, origin=origin)
        self.recording.origin = None

    def _bundle(self, node: Node, inputs: list[Tensor]) -> None:
        holds = node.attrs["holds"]
        if isinstance(holds, Branches) and len(holds.graphs) == 1:
            self.written[node] = self._write_out(holds, inputs[1:])
            return
        wanted = sorted(set(self.wanted[node]))
        holds, taken = holds.needing(wanted)
        given = [inputs[i] for i in taken]
        if isinstance(holds, Loop):
            self.written[node] = dict(zip(wanted, scanned(holds, given), strict=True))
        else:
            whole = self.recording.apply(node.op, given, {"holds": holds})
            parts = [part(whole, i, holds.like(i)) for i in range(len(wanted))]
            self.written[node] = dict(zip(wanted, parts, strict=True))

    def _write_out(self, holds: Branches, inputs: list[Tensor]) -> dict[int, Tensor]:
        graph, first = holds.graphs[0], holds.again
        if first:  # what is computed again waits for the cotangents, or it would be kept
            inputs = [after(x, inputs[first]) for x in inputs[:first]] + inputs[first:]
        inside = dict(zip(graph.inputs, inputs, strict=True))
        copy_nodes(graph.outputs, inside, self.recording, graph.origins)
        return {i: inside[node] for i, node in enumerate(graph.outputs)}
