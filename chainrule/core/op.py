"""The op record: everything chainrule knows of one operation, closed and checked at import.

The kind of an op states how it reads its inputs, so the transforms and the compiler have one
rule per kind and none per op. Constructors for each kind stand at the top of its file in
`chainrule/ops/`. Read next: `node.py`.

| kind        | each output element reads                    | lowered by                   |
|-------------|----------------------------------------------|------------------------------|
| leaf        | nothing                                      | the compiler itself          |
| elementwise | the same element of every input              | `body(k, *x)`                |
| reduction   | all elements along some axes                 | `body(k, acc, x)`, `initial` |
| movement    | one element elsewhere                        | `lower(view)` or `spread`    |
| window      | elements under a sliding window              | `lower(view)` or `spread`    |
| contraction | a row of one input and a column of another   | `lower`: index letters       |
| index       | elements that another input names            | `lower(view, *shapes)`, or   |
|             |                                              | `spread` that writes there   |
| running     | all elements before it along an axis         | `body(k, acc, x)`, `initial` |
| line        | any elements of its line of the last axis    | `body(k, y, x, places,`      |
|             |                                              | `room)`: a loop it writes    |
| random      | a key and its own position                   | `body(k, key, i)`            |
| control     | whatever the functions it holds read         | their own graphs             |
| host        | anything: NumPy runs it between native parts | nothing                      |
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

Shape = tuple[int, ...]


class Spec(NamedTuple):
    """What is known of a tensor before it is computed."""

    shape: Shape
    dtype: np.dtype


class Sample(NamedTuple):
    """One call that the generic tests make: shapes to draw (or arrays, kept), and attributes."""

    args: tuple
    attrs: dict[str, Any]


def sample(*args: Any, **attrs: Any) -> Sample:
    """A `Sample`; a tuple of ints is a shape to draw from the op's domain."""
    return Sample(args, attrs)


REQUIRED = {
    "leaf": ("ref", "infer"),
    "elementwise": ("ref", "infer", "tex", "deriv", "body", "samples"),
    "reduction": ("ref", "infer", "tex", "vjp", "body", "initial", "samples"),
    "movement": ("ref", "infer", "tex", "vjp", "samples"),
    "window": ("ref", "infer", "tex", "vjp", "samples"),
    "contraction": ("ref", "infer", "tex", "vjp", "lower", "samples"),
    "index": ("ref", "infer", "tex", "vjp", "samples"),
    "running": ("ref", "infer", "tex", "vjp", "body", "initial", "samples"),
    "line": ("ref", "infer", "tex", "vjp", "body", "room", "samples"),
    "random": ("ref", "infer", "tex", "body", "samples"),
    "control": ("ref", "infer", "tex", "vjp"),  # what samples would hold are whole functions
    "host": ("ref", "infer", "tex", "vjp", "samples"),
}

NO_GRADIENT: Any = "no gradient"  # said, not forgotten: an op whose derivative is nowhere needed


@dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class Op:
    """One operation.

    `ref` is its meaning in NumPy; `infer` gives shape and dtype and raises on bad input; `deriv`
    gives one expression per input from (inputs..., output); `vjp` gives one cotangent per input
    from (g, output, inputs...); `linear` lists the inputs the op is linear in, which is its
    forward rule; where it is not linear, `jvp` is. An op is called with Tensors or numbers.
    """

    name: str
    kind: str
    tex: str = ""
    ref: Callable[..., np.ndarray]
    infer: Callable[..., Spec]
    deriv: Any = None
    vjp: Any = None
    jvp: Any = None
    linear: tuple[int, ...] = ()
    batch: Callable[..., Any] | None = None
    body: Any = None
    initial: Any = None
    room: Callable[[int], int] | None = None  # int32 numbers that `body` works in, by the extent
    lower: Any = None
    spread: Any = None
    samples: Sequence[Sample] = ()
    domain: tuple[float, float] = (-2.0, 2.0)
    exact_below: float = np.inf  # machine code gives NaN for inputs of this size and more
    prepare: Callable[..., Sequence[Any]] | None = None
    doc: str = field(default="", compare=False)

    def __call__(self, *args: Any, **attrs: Any) -> Any:
        from chainrule.core.recording import bind  # the record stands below what runs it

        return bind(self, *(self.prepare(self, args) if self.prepare else args), **attrs)

    def __repr__(self) -> str:
        return self.name


OPS: dict[str, Op] = {}


def register(op: Op) -> Op:
    """Put `op` in the table; ImportError says what an incomplete record lacks."""
    if op.kind not in REQUIRED:
        raise ImportError(f"op {op.name}: unknown kind {op.kind!r}; one of {', '.join(REQUIRED)}")
    lacks = [name for name in REQUIRED[op.kind] if getattr(op, name) in (None, "", ())]
    if op.kind not in ("leaf", "elementwise", "random") and not op.linear and op.jvp is None:
        lacks.append("linear or jvp")
    if op.kind in ("movement", "window", "index") and (op.lower is None) == (op.spread is None):
        lacks.append("one of lower and spread")
    if lacks:
        raise ImportError(f"op {op.name} ({op.kind}) lacks {', '.join(lacks)}")
    if op.name in OPS:
        raise ImportError(f"op {op.name} is registered twice")
    OPS[op.name] = op
    return op
