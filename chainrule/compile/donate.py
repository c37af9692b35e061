"""Donation: which outputs take the memory of an input that the caller gives away.

Read next: `draft.py`.
"""

from __future__ import annotations

from collections.abc import Sequence

from chainrule.compile.fuse import (
    FROM_MEMORY,
    Kernel,
    Resolver,
    aligned,
    in_order,
    is_full,
    spreads_of,
)
from chainrule.compile.gather import ids_of
from chainrule.core.graph import Graph
from chainrule.core.node import Node
from chainrule.core.view import View


def donations(
    graph: Graph, kernels: list[Kernel], resolver: Resolver, donated: Sequence[bool]
) -> tuple[list[Kernel], dict[Node, int]]:
    """The order of `kernels` that makes it safe, and for outputs the number of their donor."""
    ends = {resolver.found[n].node for n in graph.outputs}
    owner = {node: kernel for kernel in kernels for node in kernel.nodes}
    # Whoever reads by ids checks them before they are written by: such a reader comes first.
    stopping = {k for k in kernels if k.host} | set(ids_of(sorted(kernels, key=_puts), resolver))
    readers_of = _readers(kernels, resolver)
    after: dict[Kernel, set[Kernel]] = {}
    chosen: dict[Node, int] = {}
    order, place = kernels, {k: j for j, k in enumerate(kernels)}
    for i, (node, given) in enumerate(zip(graph.inputs, donated, strict=True)):
        readers = readers_of.get(node, {})
        if not given or node in ends:
            continue
        for output in graph.outputs:
            kernel = owner.get(output)
            same = (output.shape, output.dtype) == (node.shape, node.dtype)
            if output in chosen or kernel is None or kernel not in readers or not same:
                continue
            if not (_put_over(node, output, resolver) or _in_step(kernel, node, output, resolver)):
                continue
            # NumPy may raise, ids may lie outside, and then the inputs must be whole.
            first = (stopping | readers.keys()) - {kernel}
            wanted = {**after, kernel: after.get(kernel, set()) | first}
            if any(place[k] > place[kernel] for k in first):
                found = in_order(kernels, wanted, resolver)
                if not found:
                    continue
                order, place = found, {k: j for j, k in enumerate(found)}
            after = wanted
            chosen[output] = i
            break
    return order, chosen


def _readers(kernels: list[Kernel], resolver: Resolver) -> dict[Node, dict[Kernel, None]]:
    """The kernels that read each node, in order."""
    found: dict[Node, dict[Kernel, None]] = {}
    for kernel in kernels:
        for node in kernel.nodes:
            for operand in resolver.operands(node):
                found.setdefault(operand.node, {})[kernel] = None
    return found


def _puts(kernel: Kernel) -> bool:
    return any(spread.over is not None for spread in spreads_of(kernel.nodes[0]))


def _put_over(node: Node, output: Node, resolver: Resolver) -> bool:
    """Whether `output` is `node` but for elements put into it."""
    if not any(spread.over == 0 for spread in spreads_of(output)):
        return False
    first, *others = resolver.operands(output)
    alone = all(operand.node is not node for operand in others)
    return first.node is node and first.view == View.whole(node.shape) and alone


def _in_step(kernel: Kernel, node: Node, output: Node, resolver: Resolver) -> bool:
    """Whether the kernel reads `node` only at the element of `output` it then writes."""
    first = kernel.nodes[0]
    if kernel.host or kernel.reduced or first.op.spread or not is_full(output, kernel):
        return False
    for reader in kernel.nodes:
        for operand in resolver.operands(reader):
            if operand.node is node and (
                reader is kernel.product
                or reader.op.kind in FROM_MEMORY
                or not aligned(reader, operand, kernel)
            ):
                return False
    return True
