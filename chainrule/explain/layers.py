"""`layer_strip`: one pass over the whole batch, then each layer alone on its first examples.

Read next: `influence.py`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import islice
from numbers import Real
from typing import Any

import numpy as np

from chainrule.compile.jit import jit
from chainrule.core.dtypes import is_float
from chainrule.core.errors import ArgumentError, UnknownNameError
from chainrule.core.node import topological
from chainrule.core.op import Shape
from chainrule.core.recording import Recording, literal
from chainrule.core.tensor import Tensor, as_tensor
from chainrule.core.tree import flatten, tree_map, unflatten
from chainrule.data.batches import check_whole
from chainrule.explain.batch import examples_of, loss_of
from chainrule.explain.gates import Gates, count_gates
from chainrule.explain.spectrum import gram_of, largest_singular, mixes
from chainrule.explain.strip import Layer, Singular, Strip
from chainrule.explain.through_time import Curve, reach
from chainrule.grad.reverse import backward, one_like
from chainrule.grad.scan import scan_op
from chainrule.nn.calls import Call, watched
from chainrule.nn.module import part_of
from chainrule.nn.randomness import random_scope
from chainrule.nn.recurrent import RNN
from chainrule.ops.elementwise import cast
from chainrule.ops.random import key
from chainrule.ops.reduce import sum as summed
from chainrule.train.arrays import Features
from chainrule.train.ending import is_stateful
from chainrule.train.examples import Examples, float_dtype
from chainrule.train.steps import Steps
from chainrule.train.summary import summarise

READ = 512  # examples of the batch at most
SEQUENCES = 4  # of the batch, whose curves over time are drawn
EXAMPLES = 16  # of the batch, whose Jacobians are looked at
COMPILED = 1e9  # operations forward from which a compiled call pays
NUMBERS = 1 << 22  # in the larger of a layer's input and output, for all of these together
POINTS = 24  # of a curve over time


def layer_strip(
    model: Any,
    x: Any,
    y: Any,
    *,
    inside: str = "",
    sample_weight: Any = None,
    training: bool = True,
    tolerance: float = 0.01,
    most: int = 60,
) -> Strip:
    """The strip of a compiled model for the loss of a batch, of which 512 examples are read.

    `x`, `y` and `sample_weight` are as in `fit`. The rows are the layers that the model calls, or
    those that the layer at `inside` calls. With `training` layers run as in a step of `fit`, with
    the random numbers of the model's seed. Singular values are searched to `tolerance`, a part of
    the value, in `most` steps. Nothing of the model changes.

    ArgumentError for a model that is not compiled; UnknownNameError for another `inside`; and the
    errors of `fit` for data.

    >>> from chainrule import Sequential, nn
    >>> layers = [nn.Dense(n, "relu", kernel_initializer="ones") for n in (2, 1)]
    >>> model = Sequential(layers)
    >>> model.compile("sgd", "mse")
    >>> for layer in layer_strip(model, np.ones((4, 4)), np.zeros(4)).layers:
    ...     print(f"{layer.path} {layer.norm:.2f} {layer.singular.value:.2f} {layer.gates}")
    dense 11.31 2.83 Gates(total=8, closed=0)
    dense_1 8.00 1.41 Gates(total=4, closed=0)
    """
    check_whole("most", most, 1)
    if not isinstance(tolerance, Real) or not 0 < tolerance < 1:
        raise ArgumentError(
            f"tolerance is a part of the value, 0 < tolerance < 1, got {tolerance!r}"
        )
    steps, examples = examples_of(model, "layer_strip", x, y, sample_weight)
    count = min(len(examples), READ)
    passed = _Pass(steps, model, training, inside)
    loss, squares, given = passed.run(examples, count)
    look = _Look(key(model.seed), count, tolerance, most)
    norms = [math.sqrt(square) for square in squares]
    rows = []
    for i, call in enumerate(passed.shown):
        after = norms[i + 1] if i + 1 < len(norms) else 0.0
        ratio = norms[i] / after if after else None
        kind, shape = type(call.module).__name__, passed.shapes[i]
        singular, gates, seen = look.layer(call, given[id(call)])
        rows.append(Layer(call.path, kind, shape, norms[i], ratio, singular, gates, seen))
    curves = [
        look.curve(call, given[id(call)]) for call in passed.calls if isinstance(call.module, RNN)
    ]
    return Strip(tuple(rows), tuple(curves), inside, loss, count, training, tolerance)


class _Pass:
    """Forward and backward through the model once: what needs the whole batch.

    `calls` are those of all layers, in loops and branches excepted; those of the strip are
    `shown`, and have outputs of `shapes`.
    """

    def __init__(self, steps: Steps, model: Any, training: bool, inside: str):
        self.steps, self.model = steps, model
        self.training, self.inside = training, inside
        self.calls: list[Call] = []
        self.shown: list[Call] = []
        self.shapes: list[Shape] = []

    def run(self, examples: Examples, count: int) -> tuple[float, list[float], dict[int, list]]:
        """(loss, the squared norm of each adjoint, the arrays that each call was given)."""
        x, y, weights, _ = examples.batch(slice(0, count))
        table = summarise(
            self.model, Features.of(x), float_dtype(self.model), self.steps.names, count
        )
        pays = table.flops * count > COMPILED
        loss, squares, given = (jit(self._walk) if pays else self._walk)(x, y, weights)
        arrays = [[leaf.numpy() for leaf in each] for each in given]
        by_call = {id(call): each for call, each in zip(self.calls, arrays, strict=True)}
        return loss.item(), [square.item() for square in squares], by_call

    def _walk(self, x: Any, y: Any, weights: Any) -> tuple:
        with Recording() as recording, random_scope(key(self.model.seed)), watched() as calls:
            loss = loss_of(self.steps, self.model, (x, y, weights, 0.0), self.training)
            self.calls = [call for call in calls if call.path and _ends(call, recording)]
            self.shown = [call for call in self.calls if _above(call) == self.inside]
            if self.inside and not self.shown:
                known = {_above(call) for call in self.calls} - {""}
                raise UnknownNameError("layer with layers inside", self.inside, known)
            ends = [_ends(call, recording) for call in self.shown]
            self.shapes = [each[0].shape for each in ends]
            adjoints = iter(backward([loss], [one_like(loss)], [y for each in ends for y in each]))
            squares = [_squares(list(islice(adjoints, len(each)))) for each in ends]
            wanted, structure = flatten((loss, squares, [_given(call) for call in self.calls]))
            recording.writes.clear()
        return unflatten(structure, recording.export(wanted))


def _above(call: Call) -> str:
    return call.path.rpartition("/")[0]


def _ends(call: Call, recording: Recording) -> list[Tensor]:
    """The float outputs of a call that were recorded here, not in a loop or a branch."""
    leaves = flatten(call.output)[0]
    there = all(isinstance(leaf, Tensor) and leaf.recording is recording for leaf in leaves)
    return [leaf for leaf in leaves if is_float(leaf.dtype)] if there else []


def _given(call: Call) -> list[Tensor]:
    """The arrays among the arguments of a call."""
    return [as_tensor(leaf) for leaf in flatten((call.inputs, call.options))[0] if _is_array(leaf)]


def _is_array(leaf: Any) -> bool:
    return isinstance(leaf, Tensor | np.ndarray)


def _squares(adjoints: Sequence[Tensor | None]) -> Tensor:
    """The sum of the squares of all, in float64: those of small float32 would be 0."""
    total = literal(value=0, shape=(), dtype="float64")
    for g in adjoints:
        if g is not None:
            wide = cast(g, "float64")
            total = total + summed(wide * wide)
    return total


class _Look:
    """Layers once more, alone, on the first examples of the batch of `count`."""

    def __init__(self, random: Tensor, count: int, tolerance: float, most: int):
        self.random, self.count = random, count
        self.tolerance, self.most = tolerance, most

    def layer(self, call: Call, given: list) -> tuple[Singular | None, Gates | None, int]:
        """(singular value, gates, of how many examples): all where the layer mixes them."""
        for count in dict.fromkeys((self._few(call, given), self.count)):
            recording, inputs, outputs = self._again(call, given, count)
            floats = [x for x in inputs if is_float(x.dtype)]
            gram = gram_of(recording, floats, outputs) if floats else None
            size = sum(x.size for x in floats)
            mixed = any(x.shape[:1] != (count,) for x in floats)
            mixed = mixed or (gram is not None and mixes(gram, count, size))
            if not mixed:
                break
        ends = [recording.node_of(y) for y in outputs]
        gates = count_gates(recording, ends, [recording.node_of(x) for x in inputs])
        if gram is None:
            return None, gates, count
        shape = (1, 1, size) if mixed else (1, count, size // count)
        found = largest_singular(gram, shape, self.tolerance, self.most)
        (value,), (error,) = found.largest, found.errors
        return Singular(float(value), float(error), found.steps, found.converged), gates, count

    def curve(self, call: Call, given: list) -> Curve:
        """The curve over time of a recurrent layer."""
        count = self.count if call.module.stateful else min(self.count, SEQUENCES)
        recording, _, outputs = self._again(call, given, count)
        order = topological([recording.node_of(y) for y in outputs])
        node = next(node for node in order if node.op is scan_op)
        states = len(call.module._state_shapes(1))
        times, found, size = reach(node, recording, states, POINTS, self.tolerance, self.most)
        return Curve(
            call.path,
            type(call.module).__name__,
            node.attrs["holds"].length,
            tuple(times),
            tuple(map(float, found.largest)),
            tuple(map(float, found.errors)),
            size,
            not found.steps,
            found.converged,
            count,
        )

    def _few(self, call: Call, given: list) -> int:
        """How many examples to look at."""
        if is_stateful(call.module):
            return self.count
        outputs = flatten(call.output)[0]
        most = max(int(np.prod(leaf.shape)) for leaf in (*given, *outputs))
        return max(1, min(self.count, EXAMPLES, NUMBERS * self.count // max(most, 1)))

    def _again(
        self, call: Call, given: list, count: int
    ) -> tuple[Recording, list[Tensor], list[Tensor]]:
        """A recording of the call for `count` examples, its inputs and its float outputs."""
        source = iter(given)
        with (
            Recording(concrete=True) as recording,
            random_scope(self.random),
            part_of(_above(call), call.frozen),
        ):

            def opened(leaf: Any) -> Any:
                if not _is_array(leaf):
                    return leaf
                array = next(source)
                cut = array[:count] if array.shape[:1] == (self.count,) else array
                return recording.input(Tensor(cut))

            inputs, options = tree_map(opened, (call.inputs, call.options))
            y = flatten(call.module(*inputs, **options))[0]
            outputs = [recording.inside(leaf) for leaf in y if is_float(leaf.dtype)]
        return recording, [x for x in flatten(inputs)[0] if _is_array(x)], outputs
