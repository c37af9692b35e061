"""`find_nonfinite`: run a function once more, op by op, and name the first that is not finite.

What runs is what was compiled: the recorded graph after its rewrites, or as it was recorded where
NumPy is the executor. If NumPy finds nothing, each op is run as native code instead, for what the
two round differently. Read next: `chainrule/grad/nonfinite.py`.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from chainrule.compile.program import Program  # with it, the rewrite rules register
from chainrule.compile.runtime import machine
from chainrule.core.dtypes import BUNDLE
from chainrule.core.errors import ArgumentError
from chainrule.core.graph import Graph
from chainrule.core.node import Node, topological
from chainrule.core.recording import Recording, input_op, written
from chainrule.core.tensor import State, as_tensor, weak_tensor
from chainrule.core.tree import LEAF, Structure, flatten, unflatten
from chainrule.grad.cause import finding
from chainrule.grad.custom import inlined
from chainrule.grad.finding import Finding
from chainrule.grad.nonfinite import Compute, Culprit, Run, by_reference, first_nonfinite
from chainrule.rewrite.engine import rewrite_graph


def find_nonfinite(fn: Callable, *args: Any, batch: Sequence[str] = ()) -> Finding | None:
    """The first value in `fn(*args)` that is not finite and reaches its result; None if none does.

    The result may be any tree, gradients too; jitted functions are looked into, and no State is
    renewed. `batch` names the arguments whose first axis is the examples, so that the example is
    named too. ArgumentError for a name that is none, or batches of different lengths.

    >>> import chainrule as cr
    >>> found = find_nonfinite(lambda x: cr.log(x - 1).sum(), np.float32([3, 1, 2]), batch=["x"])
    >>> found.op, found.index, found.example, found.reason
    ('log', (1,), 1, 'log_zero')
    """
    arguments = named_arguments(fn, args)
    labels = {
        id(tensor): f"{name}/{path}"
        for name, value in arguments.items()
        if hasattr(value, "named_parameters")
        for path, tensor in value.named_parameters().items()
    }
    return Replay(fn, arguments, batch, labels, concrete=True).finding


def named_arguments(fn: Callable, args: Sequence[Any]) -> dict[str, Any]:
    """`args` by the names that `fn` has for them."""
    try:
        found = inspect.signature(fn).bind(*args).arguments
    except ValueError:  # no signature: a builtin
        return {f"argument {i}": value for i, value in enumerate(args)}
    named: dict[str, Any] = {}
    for name, value in found.items():
        several = inspect.signature(fn).parameters[name].kind is inspect.Parameter.VAR_POSITIONAL
        named |= {f"{name}[{i}]": x for i, x in enumerate(value)} if several else {name: value}
    return named


class Replay:
    """`fn(*arguments.values())` computed once more; `finding` and `outputs` say what came of it.

    `batch` names arguments whose first axis is the examples, `labels` tensors by their identity;
    a path in an argument's tree is its label otherwise. With `concrete`, the function may look at
    its numbers while it is recorded.
    """

    def __init__(
        self,
        fn: Callable,
        arguments: Mapping[str, Any],
        batch: Sequence[str] = (),
        labels: Mapping[int, str] | None = None,
        concrete: bool = False,
    ):
        missing = [name for name in batch if name not in arguments]
        if missing:
            raise ArgumentError(
                f"batch names {', '.join(missing)}, and the arguments are {', '.join(arguments)}"
            )
        self.labels: list[str] = []
        self.batch: list[int] = []  # the inputs whose first axis is the examples
        self.weights: set[int] = set()
        self.fixed: list[int] = []
        with Recording(concrete) as recording, np.errstate(all="ignore"):
            nodes = self._record(recording, fn, arguments, batch, labels or {})
        graph = Graph(list(recording.sources), nodes, recording.origins)
        tensors = map(written, recording.sources.values())
        self.arrays = [tensor.numpy() for tensor in tensors]
        self.count = self._examples_in_batch()
        run, culprit = self._run(graph)
        self.outputs = run.outputs
        self.finding = self._finding(run, culprit) if culprit else None

    def _record(
        self,
        recording: Recording,
        fn: Callable,
        arguments: Mapping[str, Any],
        batch: Sequence[str],
        labels: Mapping[int, str],
    ) -> list[Node]:
        """The nodes of the results; each input has its label, those that were captured last."""
        trees = []
        for name, value in arguments.items():
            leaves, structure = flatten(value)
            opened = []
            for leaf, path in zip(leaves, _paths(structure, name), strict=True):
                moves = hasattr(leaf, "dtype") or isinstance(leaf, float)
                if moves and not isinstance(leaf, State):
                    if name in batch and np.ndim(leaf):
                        self.batch.append(len(self.labels))
                    self._label(labels.get(id(leaf)), path)
                    leaf = recording.input(weak_tensor(leaf))
                opened.append(leaf)
            trees.append(unflatten(structure, opened))
        ends = [as_tensor(y) for y in flatten(fn(*trees))[0] if hasattr(y, "dtype")]
        nodes = inlined([recording.node_of(y) for y in ends], recording)
        for tensor in list(recording.sources.values())[len(self.labels) :]:
            if id(tensor) not in labels:
                self.fixed.append(len(self.labels))
            self._label(labels.get(id(tensor)), "a captured array")
        return nodes

    def _label(self, known: str | None, path: str) -> None:
        """The label of the next input; what is `known` by its identity is a weight."""
        if known is not None:
            self.weights.add(len(self.labels))
        self.labels.append(known or path)

    def _examples_in_batch(self) -> int:
        counts = {len(self.arrays[i]) for i in self.batch}
        if len(counts) > 1:
            raise ArgumentError(
                f"batch names arrays of different lengths: {', '.join(map(str, sorted(counts)))}"
            )
        return counts.pop() if counts else 0

    def _run(self, graph: Graph) -> tuple[Run, Culprit | None]:
        """The graph computed op by op, by NumPy or else as native code, until a fault shows."""
        native = machine() is not None
        whole = Program(graph, [False] * len(graph.inputs))
        graph = rewrite_graph(graph)[0] if native else graph
        run = Run(graph, self.arrays, by_reference)
        culprit = first_nonfinite(run, self.fixed)
        if culprit is None and native and not all(map(is_finite, whole.run(list(self.arrays)))):
            run = Run(graph, self.arrays, by_native_code())
            culprit = first_nonfinite(run, self.fixed)
        return run, culprit

    def _finding(self, run: Run, culprit: Culprit) -> Finding:
        place = culprit.place
        reason = "weights" if place in self.weights else "data"
        found = finding(culprit, "" if place is None else self.labels[place], reason)
        if not self.batch:
            return found
        return replace(found, examples=tuple(self._examples(run, culprit)), batch=self.count)

    def _examples(self, run: Run, culprit: Culprit) -> list[int]:
        """The examples without which the op would be finite, empty where that is not a few."""
        if culprit.place in self.batch and culprit.bad is not None:
            return _rows(culprit.bad)
        outer = culprit.outermost.node  # of a weight, the op that reads it
        if not {run.graph.inputs[i] for i in self.batch} & {*topological([outer])}:
            return []
        for bad in (culprit.step.bad, culprit.outermost.bad):
            if bad.shape[:1] == (self.count,):
                found = _rows(bad)
                if len(found) == self.count or self._finite_without(run, outer, found):
                    return found
        return self._halved(run, outer)

    def _finite_without(self, run: Run, node: Node, out: Sequence[int], stand_in: int = -1) -> bool:
        """Whether `node` is finite when other examples stand in the places `out` of the batch."""
        if stand_in < 0:
            stand_in = next(i for i in range(self.count) if i not in set(out))
        arrays = list(self.arrays)
        for i in self.batch:
            arrays[i] = arrays[i].copy()
            arrays[i][list(out)] = arrays[i][stand_in]
        graph = Graph(run.graph.inputs, [node], run.graph.origins)
        return all(map(is_finite, Run(graph, arrays, run.compute).outputs))

    def _halved(self, run: Run, node: Node) -> list[int]:
        """The one example without which `node` is finite, found by halving; or none."""
        whole = range(self.count)
        tries = dict.fromkeys((0, self.count - 1, self.count // 2))
        good = next((i for i in tries if self._finite_without(run, node, whole, i)), None)
        if good is None:
            return []
        left: Sequence[int] = whole
        while len(left) > 1:
            halves = left[: len(left) // 2], left[len(left) // 2 :]
            half = next((h for h in halves if self._finite_without(run, node, h, good)), None)
            if half is None:
                return []
            left = half
        return list(left)


def is_finite(value: np.ndarray) -> bool:
    """Whether all elements of an array, or of a bundle of arrays, are finite."""
    if value.dtype == BUNDLE:
        return all(part is None or is_finite(part) for part in value)
    return bool(np.isfinite(value).all())


def _rows(bad: np.ndarray) -> list[int]:
    return [int(i) for i in np.flatnonzero(bad.reshape(len(bad), -1).any(axis=1))]


def _paths(structure: Structure, name: str) -> Iterator[str]:
    """What the user would write for each leaf of a tree that is called `name`."""
    if structure.kind is LEAF:
        yield name
        return
    keys: Sequence[Any] = range(len(structure.children))
    if structure.kind is dict:
        keys = structure.aux
    fields = getattr(structure.kind, "_fields", None)
    plain = structure.kind in (dict, list, tuple)
    for i, (key, child) in enumerate(zip(keys, structure.children, strict=True)):
        path = f"{name}.{fields[i]}" if fields else f"{name}[{key!r}]" if plain else name
        yield from _paths(child, path)


def by_native_code() -> Compute:
    """What computes the value of a node by a native program of that node alone."""
    programs: dict[Node, Program] = {}

    def compute(node: Node, arrays: Sequence[np.ndarray]) -> np.ndarray:
        bundled = BUNDLE in (node.dtype, *(source.dtype for source in node.inputs))
        if bundled or node.op.kind in ("leaf", "host"):
            return by_reference(node, arrays)
        if node not in programs:
            inputs = [_blank(source, slot) for slot, source in enumerate(node.inputs)]
            alone = Node(node.op, tuple(inputs), node.attrs, node.shape, node.dtype)
            programs[node] = Program(Graph(inputs, [alone]), [False] * len(inputs))
        return programs[node].run(list(arrays))[0]

    return compute


def _blank(like: Node, slot: int) -> Node:
    attrs = {"shape": like.shape, "dtype": like.dtype.name, "slot": slot}
    return Node(input_op, (), attrs, like.shape, like.dtype)
