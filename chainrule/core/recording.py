"""Recording: while one is active, ops become nodes; otherwise they compute and keep nothing.

Recordings nest (grad inside jit, grad inside grad). The innermost one takes every op; a tensor
from outside enters it as a captured leaf, by identity. When it ends, `export` moves what is
wanted into the next one out: known values as they are, unknown ones by applying their nodes
again there. Read next: `tree.py`.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from chainrule.core.dtypes import is_float
from chainrule.core.errors import GradientError, user_place
from chainrule.core.node import Node, Origin, topological
from chainrule.core.op import Op, Spec, register
from chainrule.core.tensor import State, Tensor, as_tensor

_local = threading.local()

input_op = register(
    Op(
        name="input",
        kind="leaf",
        ref=lambda **attrs: None,  # type: ignore[arg-type]
        infer=lambda shape, dtype, slot: Spec(shape, np.dtype(dtype)),
    )
)
literal = register(
    Op(
        name="literal",
        kind="leaf",
        ref=lambda value, shape, dtype: np.broadcast_to(np.asarray(value, dtype), shape),
        infer=lambda value, shape, dtype: Spec(tuple(shape), np.dtype(dtype)),
    )
)


def _stack() -> list:
    try:
        return _local.stack
    except AttributeError:
        _local.stack = []
        return _local.stack


def current() -> Recording | None:
    """The innermost active recording of this thread, or None."""
    stack = _stack()
    return stack[-1] if stack else None


def bind(op: Op, *args: Any, **attrs: Any) -> Tensor:
    """Apply `op`: compute it when nothing records, otherwise add its node."""
    tensors = [as_tensor(arg) for arg in args]
    recording = current()
    if recording is None:
        op.infer(*tensors, **attrs)
        return Tensor.of(op.ref(*[t.numpy() for t in tensors], **attrs), None, None)
    result = recording.apply(op, tensors, attrs)
    result.weak = bool(tensors) and all(t.weak for t in tensors) and is_float(result.dtype)
    return result


@contextmanager
def paused() -> Any:
    """Compute at once inside the block, whatever records around it."""
    _stack().append(None)
    try:
        yield
    finally:
        _stack().pop()


@contextmanager
def layer_scope(name: str) -> Any:
    """Ops recorded inside carry `name` as one more step of their layer path."""
    path = getattr(_local, "layer", "")
    _local.layer = f"{path}/{name}" if path else name
    try:
        yield _local.layer
    finally:
        _local.layer = path


def layer_path() -> str:
    """The path of the layer being called, '' outside of all."""
    return getattr(_local, "layer", "")


class Recording:
    """The nodes of one recording, interned: the same op of the same inputs is one node.

    `concrete` recordings also compute: values are there to print, branch on and reuse.
    """

    def __init__(self, concrete: bool | None = None):
        outer = current()
        self.concrete: bool = (outer is None or outer.concrete) if concrete is None else concrete
        self.nodes: dict[Any, Node] = {}
        self.values: dict[Node, np.ndarray] = {}
        self.origins: dict[Node, Origin] = {}
        self.sources: dict[Node, Tensor] = {}
        self.captured: dict[int, Node] = {}
        self.writes: dict[int, tuple[State, Tensor]] = {}
        self.origin: Origin | None = None

    def __enter__(self) -> Recording:
        _stack().append(self)
        return self

    def __exit__(self, *exc: Any) -> None:
        popped = _stack().pop()
        assert popped is self

    def input(self, source: Tensor, shape: Sequence[int] | None = None) -> Tensor:
        """A leaf that stands for `source` (of `shape`, when a transform sees it otherwise)."""
        shape = source.shape if shape is None else tuple(shape)
        attrs = {"shape": shape, "dtype": source.dtype.name, "slot": len(self.sources)}
        node = Node(input_op, (), attrs, shape, source.dtype)
        self.sources[node] = source
        self.origins[node] = Origin(None)
        if self.concrete and source.known and shape == source.shape:
            self.values[node] = source._value  # type: ignore[assignment]
        tensor = self.tensor(node)
        tensor.weak = source.weak
        return tensor

    def tensor(self, node: Node) -> Tensor:
        """The tensor of a node of this recording."""
        return Tensor.of(self.values.get(node), node, self)

    def node_of(self, tensor: Tensor) -> Node:
        """The node of `tensor` here; what comes from outside is captured as a leaf."""
        if tensor.recording is self:
            return tensor.node  # type: ignore[return-value]
        if id(tensor) in self.writes:
            return self.node_of(self.writes[id(tensor)][1])
        node = self.captured.get(id(tensor))
        if node is None:
            tensor._about()
            if not tensor.known and tensor.recording not in _stack():
                tensor.numpy()
            made = self.input(written(tensor))
            node = self.captured[id(tensor)] = made.node  # type: ignore[assignment]
            self.sources[node] = tensor  # type: ignore[index]
        return node  # type: ignore[return-value]

    def inside(self, tensor: Tensor) -> Tensor:
        """`tensor` as one of this recording's."""
        return tensor if tensor.recording is self else self.tensor(self.node_of(tensor))

    def apply(
        self,
        op: Op,
        tensors: Sequence[Tensor],
        attrs: dict[str, Any],
        value: np.ndarray | None = None,
        origin: Origin | None = None,
    ) -> Tensor:
        """The tensor of `op(*tensors, **attrs)`: one node for equal calls."""
        inputs = tuple(self.node_of(tensor) for tensor in tensors)
        key = (op, inputs, tuple((name, _key(attrs[name])) for name in sorted(attrs)))
        node = self.nodes.get(key)
        if node is None:
            shape, dtype = op.infer(*inputs, **attrs)
            node = self.nodes[key] = Node(op, inputs, attrs, shape, dtype)
            self.origins[node] = origin or self.origin or Origin(user_place(2), layer_path())
            if value is not None:
                self.values[node] = value
            elif self.concrete and all(source in self.values for source in inputs):
                self.values[node] = op.ref(*[self.values[source] for source in inputs], **attrs)
        return self.tensor(node)

    def export(self, tensors: Iterable[Any]) -> list[Any]:
        """`tensors` as seen outside, after the recording ended; state writes go out too."""
        wanted = list(tensors)
        states = list(self.writes.values())
        nodes = [self.node_of(t) if isinstance(t, Tensor) else None for t in wanted]
        new = [self.node_of(value) for _, value in states]
        found = replay([n for n in nodes if n is not None] + new, self, self.sources)
        for (state, _), node in zip(states, new, strict=True):
            state.renew(found[node])
        return [t if n is None else found[n] for t, n in zip(wanted, nodes, strict=True)]


def written(tensor: Tensor) -> Tensor:
    """A state as the active recordings have renewed it; any other tensor as it is."""
    for recording in reversed(_stack()):
        if recording is not None and id(tensor) in recording.writes:
            return recording.writes[id(tensor)][1]
    return tensor


def replay(
    outputs: Sequence[Node], recording: Recording, sources: dict[Node, Tensor]
) -> dict[Node, Tensor]:
    """Apply the nodes of `recording` that `outputs` need again, where we are now."""
    outer = current()
    found: dict[Node, Tensor] = {}
    if outer is None and all(node in recording.values for node in outputs):
        return {node: Tensor.of(recording.values[node], None, None) for node in outputs}
    for node in topological(outputs):
        if node in sources:
            found[node] = sources[node]
        elif outer is None:
            value = recording.values.get(node)
            found[node] = (
                bind(node.op, *[found[n] for n in node.inputs], **node.attrs)
                if value is None
                else Tensor.of(value, None, None)
            )
        else:
            known = recording.values.get(node) if outer.concrete else None
            inputs = [found[n] for n in node.inputs]
            origin = recording.origins[node]
            found[node] = outer.apply(node.op, inputs, node.attrs, known, origin)
    return found


def _key(value: Any) -> Any:
    """Equal only for what means the same: 1, 1.0, True and -0.0 stay apart."""
    return (type(value), repr(value)) if isinstance(value, bool | int | float) else value


@contextmanager
def record() -> Any:
    """`with cr.record():` keep what is computed inside, so `gradient` and `explain` can read it.

    Values stay visible: print and a debugger work as ever. State is renewed at the end.
    """
    if current() is not None:
        raise GradientError("record() inside a recording: what runs here is recorded already")
    recording = Recording(concrete=True)
    with recording:
        yield recording
    recording.export([])
