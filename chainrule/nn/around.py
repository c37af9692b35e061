"""Layers around a layer: both ways along time, and at each step. Read next: `losses`."""

from __future__ import annotations

import copy
from typing import Any

from chainrule.core.errors import ArgumentError, ShapeError
from chainrule.core.tensor import Tensor
from chainrule.core.tree import tree_map
from chainrule.nn.checks import needs_axes
from chainrule.nn.module import Module
from chainrule.nn.normalisation import BatchNormalization
from chainrule.nn.recurrent import RNN, SimpleRNN
from chainrule.ops.arrange import concatenate, flip
from chainrule.ops.move import reshape
from chainrule.ops.statistics import any as any_of

MERGES = ("concat", "sum", "mul", "ave", None)


class Bidirectional(Module):
    """A recurrent layer and its twin that reads the steps from the last to the first.

    Their outputs, each at its own step, are joined by `merge_mode`: "concat" along the features,
    "sum", "mul", "ave", or None for both. `layer` is taken as it is configured, and copied: its
    copies are named "forward_..." and "backward_..." and have weights of their own.
    `backward_layer` is given where the way back differs. States (`return_state`,
    `initial_state=`) are those of the way forward, then those back. A step that a mask hides
    gives 0.

    Source: Schuster and Paliwal, "Bidirectional Recurrent Neural Networks", IEEE Transactions on
    Signal Processing 1997.
    """

    sample = dict(args=lambda: (SimpleRNN(2, return_sequences=True, dropout=0.3),), input=(2, 3, 4))

    def __init__(
        self,
        layer: RNN,
        merge_mode: str | None = "concat",
        backward_layer: RNN | None = None,
        name: str | None = None,
    ):
        super().__init__(name)
        if merge_mode not in MERGES:
            raise ArgumentError(
                f"Bidirectional: merge_mode must be one of {MERGES}, got {merge_mode!r}"
            )
        self.merge_mode = merge_mode
        self.forward_layer = _way(layer, "forward")
        self.backward_layer = _way(backward_layer or layer, "backward")
        if backward_layer is None:
            self.backward_layer.go_backwards = not self.forward_layer.go_backwards
        _check_ways(self.forward_layer, self.backward_layer)

    def call(
        self, x: Tensor, initial_state: Any = None, *, training: bool = False, mask: Any = None
    ) -> Any:
        """As the layer gives, of both ways together."""
        ways = self.forward_layer, self.backward_layer
        found, first = [], _halves(initial_state)
        for way, states in zip(ways, first, strict=True):
            y = way(x, initial_state=states, training=training, mask=mask)
            found.append(y if way.return_state else (y,))
        (y, *states), (back, *more) = found
        if self.forward_layer.return_sequences:
            back = flip(back, 1)
        y = self._merged(y, back)
        if not self.forward_layer.return_state:
            return y
        return (*(y if self.merge_mode is None else (y,)), *states, *more)

    def compute_mask(self, x: Any, mask: Any = None) -> Any:
        """The same steps, where all of them are given."""
        return self.forward_layer.compute_mask(x, mask)

    def reset_states(self) -> None:
        """Make the states of both ways zero."""
        self.forward_layer.reset_states()
        self.backward_layer.reset_states()

    def _merged(self, y: Any, back: Any) -> Any:
        if self.merge_mode is None:
            return y, back
        if self.merge_mode == "concat":
            return concatenate((y, back), -1)
        if self.merge_mode == "mul":
            return y * back
        return y + back if self.merge_mode == "sum" else (y + back) * 0.5


def _way(layer: Any, way: str) -> RNN:
    if not isinstance(layer, RNN):
        raise ArgumentError(
            f"Bidirectional needs a recurrent layer, got {layer!r}",
            mend="nn.Bidirectional(nn.LSTM(8))",
        )
    if layer.built:
        raise ArgumentError(
            f"Bidirectional makes two of {layer.name}, which has its weights already",
            mend="give it a layer that is not built yet",
        )
    made = copy.deepcopy(layer)
    made.name = f"{way}_{layer.name.removeprefix(way + '_')}"
    made.zero_output_for_mask = layer.return_sequences
    return made


def _check_ways(forward: RNN, backward: RNN) -> None:
    if forward.go_backwards == backward.go_backwards:
        raise ArgumentError("Bidirectional needs one layer with go_backwards, got two alike")
    for name in ("return_sequences", "return_state", "stateful"):
        if vars(forward)[name] != vars(backward)[name]:
            raise ArgumentError(f"Bidirectional needs {name} to be the same in both layers")


def _halves(states: Any) -> tuple[Any, Any]:
    if states is None:
        return None, None
    if not isinstance(states, tuple) or len(states) % 2:
        raise ArgumentError(
            "Bidirectional needs the initial states of both ways, forward first",
            mend="initial_state=(forward_h, forward_c, backward_h, backward_c) for an LSTM",
        )
    half = len(states) // 2
    return states[:half], states[half:]


class TimeDistributed(Module):
    """`layer` at each step by itself, with the same weights.

    The steps become examples of one large batch: normalisation by batch counts them all.
    A mask (batch, time) goes on to the layers that follow; one with more axes, such as (batch,
    time, words), is what `layer` is given.
    """

    sample = dict(args=lambda: (BatchNormalization(),), input=(2, 3, 4))

    def __init__(self, layer: Module, name: str | None = None):
        super().__init__(name)
        if not isinstance(layer, Module):
            raise ArgumentError(
                f"TimeDistributed needs a layer, got {layer!r}",
                mend="nn.TimeDistributed(nn.Dense(8))",
            )
        self.layer = layer

    def call(self, x: Tensor, *, training: bool = False, mask: Any = None) -> Any:
        """(batch, time, ...) to (batch, time, ...), where the rest is as `layer` makes it."""
        needs_axes(self, x.shape, "(batch, time, ...)", 3, more=True)
        self._check(mask, x.shape)
        given = {}
        if mask is not None and mask.ndim > 2 and self.layer.takes_mask:
            given = {"mask": _joined(mask)}
        y = self.layer(_joined(x), training=training, **given)
        return tree_map(lambda y: _parted(y, x.shape), y)

    def compute_mask(self, x: Any, mask: Any = None) -> Any:
        """The mask that `layer` gives for each step, else which steps have something to show."""
        self._check(mask, x.shape)
        wide = mask is not None and mask.ndim > 2
        inner = self.layer.compute_mask(_joined(x), _joined(mask) if wide else None)
        if inner is not None:
            return _parted(inner, x.shape)
        return any_of(mask, axis=tuple(range(2, mask.ndim))) if wide else mask

    def _check(self, mask: Any, shape: tuple[int, ...]) -> None:
        if mask is not None and mask.shape[:2] != shape[:2]:
            raise ShapeError(
                f"TimeDistributed needs a mask of shape {shape[:2]}, (batch, time), or with more "
                f"axes after these, got {mask.shape}"
            )


def _joined(x: Any) -> Tensor:
    """Batch and time as one axis."""
    return reshape(x, (x.shape[0] * x.shape[1], *x.shape[2:]))


def _parted(y: Any, shape: tuple[int, ...]) -> Tensor:
    return reshape(y, (*shape[:2], *y.shape[1:]))
