r"""Recurrent layers: a cell, made to run along time. Read next: `around.py`.

$(y_t, s_t) = \text{cell}(x_t, s_{t-1})$, by `scan`. What of a step depends on the input alone is
done before the loop, for all steps in one product.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from chainrule.core.dtypes import DEFAULT, is_float
from chainrule.core.errors import ArgumentError, ShapeError
from chainrule.core.recording import Recording, layer_scope, literal
from chainrule.core.tensor import Tensor
from chainrule.core.tree import flatten
from chainrule.grad.scan import scan
from chainrule.nn.cells import Cell, GRUCell, LSTMCell, SimpleRNNCell, Step
from chainrule.nn.checks import needs_axes, needs_width
from chainrule.nn.inputs import inputs_of
from chainrule.nn.module import Module
from chainrule.nn.signatures import takes_also
from chainrule.ops.arrange import flip, swapaxes
from chainrule.ops.elementwise import cast, greater, where
from chainrule.ops.move import reshape

STEPS = "(batch, time, features)"


class RNN(Module):
    """`cell` along time: the last output, or with `return_sequences` that of each step.

    A cell is a Module with `state_size`, the width of its state or a tuple of one width (or
    shape) for each, and `call(x, states) -> (y, states)`, where `states` is a tuple. It is
    recorded once: what it draws at random is the same in all steps.

    - `return_state` gives (output, *states), the states after the last step.
    - `go_backwards` begins with the last step; outputs stand in the order they are made.
    - `stateful` begins where the call before ended. The batch size is then fixed, and
      `reset_states()` makes the states zero again. No gradient flows from call to call but where
      one recording holds both.
    - A `mask` is bool, (batch, time). A step that it hides leaves the states as they are and
      repeats the output before, or 0 with `zero_output_for_mask`.

    Called as `layer(x, initial_state=(h, c))` it begins with these instead of zeros, or of
    what the cell's `get_initial_state(batch_size)` gives, where it has that.

    >>> from chainrule import nn
    >>> class Sum(nn.Module):
    ...     state_size = 2
    ...     def call(self, x, states):
    ...         total = states[0] + x
    ...         return total, (total,)
    >>> nn.RNN(Sum(), return_sequences=True)(np.float32([[[1, 2], [3, 4], [5, 6]]]))
    Tensor([[[ 1.,  2.],
             [ 4.,  6.],
             [ 9., 12.]]], dtype=float32)
    """

    sample = dict(
        args=lambda: (GRUCell(2, reset_after=False, dropout=0.3, recurrent_dropout=0.2),),
        kwargs=dict(return_sequences=True, go_backwards=True),
        input=(2, 3, 4),
    )
    cell: Any

    def __init__(
        self,
        cell: Module,
        *,
        return_sequences: bool = False,
        return_state: bool = False,
        go_backwards: bool = False,
        stateful: bool = False,
        zero_output_for_mask: bool = False,
        name: str | None = None,
    ):
        super().__init__(name)
        if not isinstance(cell, Module) or not hasattr(cell, "state_size"):
            raise ArgumentError(
                f"{type(self).__name__} needs a cell, a Module with state_size, got {cell!r}",
                mend="nn.RNN(nn.LSTMCell(8)), or a class of your own with state_size and call",
            )
        self.cell = cell
        self.return_sequences, self.return_state = bool(return_sequences), bool(return_state)
        self.go_backwards, self.stateful = bool(go_backwards), bool(stateful)
        self.zero_output_for_mask = bool(zero_output_for_mask)

    def build(self, shape: tuple[int, ...]) -> None:
        """The cell, for one step of `shape`; when stateful the states, for its batch."""
        needs_axes(self, shape, STEPS, 3, more=True)
        batch, _, *features = shape
        with Recording(concrete=False) as recording:
            kind = "int64" if self.reads_positions() else DEFAULT.name
            shapes = [(batch, *features), *self._state_shapes(batch)]
            x, *states = inputs_of(recording, shapes, [kind] + [DEFAULT] * (len(shapes) - 1))
            y, _ = self._checked(self.cell(x, tuple(states)), shapes[1:])
        self.features, self.output_features = tuple(features), y.shape[1:]
        for i, wanted in enumerate(shapes[1:] if self.stateful else ()):
            self.state(f"state_{i}", wanted)

    def call(
        self, x: Tensor, initial_state: Any = None, *, training: bool = False, mask: Any = None
    ) -> Any:
        """(batch, time, features) to (batch, units), or (batch, time, units)."""
        needs_axes(self, x.shape, STEPS, 2 + len(self.features), more=False)
        needs_width(self, x.shape, self.features[-1], "features")
        kinds = [leaf.dtype for leaf in flatten(self.cell)[0] if is_float(leaf.dtype)]
        dtype = kinds[0] if kinds else x.dtype if is_float(x.dtype) else DEFAULT
        x = x if self.reads_positions() else cast(x, dtype)
        states = self._first(x.shape[0], initial_state, dtype)
        z, step = self._prepared(swapaxes(x, 0, 1), training)
        shown = None if mask is None else swapaxes(self._shown(mask, x.shape), 0, 1)
        # The output before is a carry only where somebody reads it.
        held = None
        if mask is not None or not self.return_sequences:
            held = literal(
                value=0, shape=(x.shape[0], *self.output_features), dtype=np.dtype(dtype).name
            )
        body = self._body(step, [state.shape for state in states])
        (held, states), ys = scan(body, (held, states), (z, shown), reverse=self.go_backwards)
        for name, state in zip(self._kept(), states, strict=False):
            setattr(self, name, state)
        y = held
        if self.return_sequences:
            y = swapaxes(flip(ys, 0) if self.go_backwards else ys, 0, 1)
        return (y, *states) if self.return_state else y

    def compute_mask(self, x: Any, mask: Any = None) -> Any:
        """The same steps, where all of them are given."""
        return mask if self.return_sequences else None

    @property
    def batch_size(self) -> int | None:
        """How many sequences a batch has, where a stateful layer was built for that."""
        return next((state.shape[0] for state in self._kept().values()), None)

    def reset_states(self) -> None:
        """Make the states of a stateful layer zero, so that the next call begins anew."""
        if not self.stateful:
            raise ArgumentError(
                f"{self.name}: reset_states needs a stateful layer",
                mend=f"{type(self).__name__}(..., stateful=True)",
            )
        for name, state in self._kept().items():
            setattr(self, name, np.zeros(state.shape, state.dtype))

    def _kept(self) -> dict[str, Tensor]:
        """The states of a stateful layer by attribute; none before it is built."""
        names = [f"state_{i}" for i in range(len(self._state_shapes(1)))]
        return {name: vars(self)[name] for name in names if name in vars(self)}

    def _first(self, batch: int, given: Any, dtype: Any) -> tuple[Tensor, ...]:
        """The states before the first step."""
        shapes, kept = self._state_shapes(batch), tuple(self._kept().values())
        if kept and self.batch_size != batch:
            raise ShapeError(
                f"{type(self).__name__} is stateful and was built for batches of "
                f"{self.batch_size}, got one of {batch}",
                mend=f"batch_size={self.batch_size}, and as many examples as fill whole batches, "
                "or a new layer for the new size",
            )
        make = getattr(self.cell, "get_initial_state", None)
        if given is None and kept:
            given = kept
        elif given is None and make is not None:
            given = make(batch)
        elif given is None:
            name = np.dtype(dtype).name
            given = tuple(literal(value=0, shape=shape, dtype=name) for shape in shapes)
        states = tuple(given) if isinstance(given, tuple | list) else (given,)
        came = [tuple(getattr(state, "shape", ())) for state in states]
        if came != shapes:
            raise ShapeError(
                f"{type(self).__name__} needs states of shape {_listed(shapes)}, got "
                f"{_listed(came)}",
                mend="initial_state=(h, c) for an LSTM, initial_state=h for one state",
            )
        return tuple(cast(state, dtype) for state in states)

    def _state_shapes(self, batch: int) -> list[tuple[int, ...]]:
        sizes = self.cell.state_size
        sizes = sizes if isinstance(sizes, tuple | list) else (sizes,)
        return [(batch, *(size if isinstance(size, tuple | list) else (size,))) for size in sizes]

    def _prepared(self, x: Tensor, training: bool) -> tuple[Any, Step]:
        """(what the steps read of `x`, which has them first; the step)."""
        if not hasattr(self.cell, "prepare"):
            return x, lambda x, states: self.cell(x, states, training=training)
        with layer_scope(self.cell.name):
            z, step = self.cell.prepare(x, training=training)
        return z, layer_scope(self.cell.name)(step)

    def _body(self, step: Step, shapes: list[tuple[int, ...]]) -> Callable:
        """What `scan` repeats: a step, and where the mask hides it nothing."""

        def body(carry: Any, given: Any) -> Any:
            (held, before), (z, shown) = carry, given
            y, states = self._checked(step(z, before), shapes)
            if shown is not None:
                states = tuple(map(partial(_choose, shown), states, before))
                y = _choose(shown, y, 0.0 if self.zero_output_for_mask else held)
            kept = None if held is None else y
            return (kept, states), (y if self.return_sequences else None)

        return body

    def _checked(self, found: Any, shapes: list[tuple[int, ...]]) -> tuple[Any, tuple]:
        who = type(self.cell).__name__
        if not isinstance(found, tuple) or len(found) != 2:
            raise ArgumentError(
                f"{who} must give (y, states), got {type(found).__name__}",
                mend="return y, (h,)",
            )
        y, states = found
        states = tuple(states) if isinstance(states, tuple | list) else (states,)
        came = [state.shape for state in states]
        if came != shapes:
            raise ShapeError(
                f"{who} must give states of the shapes that it took, {_listed(shapes)}, gave "
                f"{_listed(came)}",
                mend="state_size is the width of each state",
            )
        return y, states

    def _shown(self, mask: Any, shape: tuple[int, ...]) -> Any:
        if mask.shape != shape[:2]:
            raise ShapeError(
                f"{type(self).__name__} needs a mask of shape {shape[:2]}, (batch, time), got "
                f"{mask.shape}"
            )
        return mask if mask.dtype.kind == "b" else greater(mask, 0)


def _of(cell: type[Cell]) -> Any:
    """The `__init__` of a layer that makes a `cell` of its own from the arguments of both."""
    own = [name for name in inspect.signature(RNN).parameters if name != "cell"]

    @takes_also(cell.__init__, RNN.__init__, without=("cell",))
    def __init__(self: RNN, *args: Any, **options: Any) -> None:
        mine = {name: options.pop(name) for name in own if name in options}
        RNN.__init__(self, cell(*args, **options), **mine)

    return __init__


class SimpleRNN(RNN):
    """`RNN` of a `SimpleRNNCell`, with the arguments of both."""

    sample = dict(args=(2,), kwargs=dict(dropout=0.3, recurrent_dropout=0.2), input=(2, 3, 4))
    __init__ = _of(SimpleRNNCell)


class LSTM(RNN):
    """`RNN` of an `LSTMCell`, with the arguments of both; its states are h and c."""

    sample = dict(
        args=(2,),
        kwargs=dict(
            dropout=0.3,
            recurrent_dropout=0.2,
            return_sequences=True,
            bias_initializer="random_uniform",
        ),
        input=(2, 3, 4),
    )
    __init__ = _of(LSTMCell)


class GRU(RNN):
    """`RNN` of a `GRUCell`, with the arguments of both."""

    sample = dict(
        args=(2,),
        kwargs=dict(dropout=0.3, recurrent_dropout=0.2, return_sequences=True),
        input=(2, 3, 4),
    )
    __init__ = _of(GRUCell)


def _choose(shown: Any, new: Any, old: Any) -> Any:
    """`new` for the examples whose step is shown."""
    return where(reshape(shown, (-1, *[1] * (new.ndim - 1))), new, old)


def _listed(shapes: list[tuple[int, ...]]) -> str:
    return " and ".join(map(str, shapes))
