"""Line ops: a loop of the op's own over each line of the last axis, run by one thread.

Read next: `product.py`.
"""

from __future__ import annotations

from collections.abc import Sequence

from chainrule.compile.fuse import Operand
from chainrule.compile.kernel import Builder, Value
from chainrule.core.node import Node
from chainrule.core.view import View


class Lines:
    """What `node.op.body` writes for each line; `room` is the buffer that it works in."""

    def __init__(self, k: Builder, node: Node, operand: Operand, buffers: Sequence[str]):
        self.k, self.node, self.view = k, node, operand.view
        self.source, self.made, self.room = buffers

    def units(self) -> int:
        """All lines are one piece of work: they share the room."""
        return 1

    def emit(self, lo: Value, hi: Value) -> None:
        """The function's body."""
        k = self.k
        x, y = k.pointer(self.source, self.view.offset), k.pointer(self.made, 0)
        k.when(k.whole("less", lo, hi), lambda: self._lines(0, x, y))

    def _lines(self, axis: int, x: Value, y: Value) -> None:
        k, shape = self.k, self.node.shape
        if axis == len(shape) - 1:
            step = self.view.strides[axis]

            def place(i: Value) -> Value:
                return k.advance(x, i, step)

            self.node.op.body(k, y, place, shape[axis], k.pointer(self.room, 0))
            return

        def deeper(i: Value) -> None:
            inner = k.advance(y, i, View.whole(shape).strides[axis])
            self._lines(axis + 1, k.advance(x, i, self.view.strides[axis]), inner)

        k.loop(0, shape[axis], 1, [], deeper)
