r"""Elementwise ops: one block each. The derivative of one is an expression, in full use: it is
the vector-Jacobian product, the forward mode and, differentiated again, the second order.

`deriv` takes the inputs and the output and gives one expression per input: a tensor, a number,
None for no gradient, or a function of nothing where it is costly. Read next: `approximate.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from chainrule.core.dtypes import DTYPES, as_dtype, is_float, scalar_fits
from chainrule.core.errors import ArgumentError, DtypeError, ShapeError
from chainrule.core.op import NO_GRADIENT, Op, Sample, Spec, register, sample
from chainrule.core.recording import literal
from chainrule.core.tensor import Tensor, as_tensor
from chainrule.ops import approximate
from chainrule.ops.move import broadcast_to

KINDS = {"float": "f", "integer": "iu", "number": "fiu", "any": "fiub", "bool": "b"}


def elementwise(
    name: str,
    tex: str,
    *,
    ref: Callable[..., np.ndarray],
    deriv: Any,
    body: Callable[..., Any],
    takes: str = "number",
    gives: str = "",
    conditions: int = 0,
    domain: tuple[float, float] = (-2.0, 2.0),
    samples: Sequence[Sample] = (),
    exact_below: float = np.inf,
    doc: str = "",
) -> Op:
    """Register an elementwise op.

    `takes` is "float", "integer", "number", "bool" or "any"; `gives` is a dtype, or ""
    for the inputs' own; the first `conditions` inputs are bool and take no part in the dtype.
    Without `samples`, two shapes are drawn for each input from `domain`.
    """
    arity = ref.nin if isinstance(ref, np.ufunc) else ref.__code__.co_argcount

    def infer(*inputs: Any, **attrs: Any) -> Spec:
        dtypes = [x.dtype for x in inputs[conditions:]]
        allowed = KINDS[takes]
        if len({x.shape for x in inputs}) > 1 or len(set(dtypes)) > 1:
            raise ShapeError(f"{name} needs equal shapes and dtypes, got {list(inputs)}")
        if dtypes[0].kind not in allowed:
            raise DtypeError(
                f"{name} needs {takes} inputs, got {dtypes[0]}", mend="cr.cast(x, 'float32')"
            )
        dtype = as_dtype(attrs["dtype"]) if "dtype" in attrs else None
        return Spec(inputs[0].shape, dtype or (DTYPES[gives] if gives else dtypes[0]))

    def computed(*arrays: np.ndarray, **attrs: Any) -> np.ndarray:
        with np.errstate(all="ignore"):
            return np.asarray(ref(*arrays, **attrs))

    return register(
        Op(
            name=name,
            kind="elementwise",
            tex=tex,
            ref=computed,
            infer=infer,
            deriv=deriv,
            body=body,
            domain=domain,
            exact_below=exact_below,
            samples=samples or (sample(*[(2, 3)] * arity), sample(*[(1, 3), (2, 1)][:arity])),
            prepare=lambda op, args: together(op, args, conditions),
            doc=doc,
        )
    )


def together(op: Op, args: Sequence[Any], conditions: int = 0) -> list[Tensor]:
    """The arguments as tensors of one dtype and one shape.

    Python numbers take the dtype of the tensors beside them. DtypeError where two tensors
    differ, ShapeError where shapes do not broadcast.
    """
    if len(args) != len(op.samples[0].args):
        raise ArgumentError(f"{op.name} takes {len(op.samples[0].args)} tensors, got {len(args)}")
    tensors = [None if isinstance(x, bool | int | float) else as_tensor(x) for x in args]
    dtype = _meet(op, args[conditions:], tensors[conditions:])
    shapes = [() if t is None else t.shape for t in tensors]
    try:
        shape = np.broadcast_shapes(*shapes)
    except ValueError:
        raise ShapeError(
            f"{op.name} needs shapes that broadcast, got " + " and ".join(map(str, shapes)),
            mend="axes must be equal or 1, counted from the last",
        ) from None
    weak = not all(t is None for t in tensors) and all(t is None or t.weak for t in tensors)
    made = []
    for position, (arg, tensor) in enumerate(zip(args, tensors, strict=True)):
        wanted = DTYPES["bool"] if position < conditions else dtype
        if tensor is None:
            value = arg.item() if isinstance(arg, np.generic) else arg
            tensor = literal(value=value, shape=shape, dtype=wanted.name)
            tensor.weak = weak
        elif tensor.dtype != wanted:
            tensor = cast(tensor, wanted) if tensor.weak else _refuse(op, tensor, wanted)
        made.append(tensor if tensor.shape == shape else broadcast_to(tensor, shape))
    return made


def _wider(dtypes: list[np.dtype]) -> np.dtype:
    """The first of the floats, or where there are none the first: casting to it loses least."""
    return min(dtypes, key=lambda dtype: dtype.kind != "f")


def _meet(op: Op, args: Sequence[Any], tensors: Sequence[Tensor | None]) -> np.dtype:
    strong = [t for t in tensors if t is not None and not t.weak]
    dtypes = list(dict.fromkeys(t.dtype for t in strong))
    if len(dtypes) > 1:
        raise DtypeError(
            f"{op.name} of {' and '.join(map(str, dtypes))}: two dtypes do not mix by themselves",
            mend=f"cr.cast(x, {_wider(dtypes).name!r})",
        )
    numbers = [x for x, t in zip(args, tensors, strict=True) if t is None]
    if not dtypes:
        weak = [t.dtype for t in tensors if t is not None]
        found = weak[0] if weak else np.result_type(*map(type, numbers))
        kept = weak or any(isinstance(x, np.generic) for x in numbers)
        return DTYPES["float32"] if found == np.float64 and not kept else found
    for number in numbers:
        if not scalar_fits(number, dtypes[0]):
            raise DtypeError(
                f"{op.name} of {dtypes[0]} and the number {number!r}: the number does not fit",
                mend="cr.cast(x, 'float32')",
            )
    if len(strong) < len(tensors) - len(numbers) and not is_float(dtypes[0]):
        raise DtypeError(
            f"{op.name} of {dtypes[0]} and a Python float: the number does not fit",
            mend="cr.cast(x, 'float32')",
        )
    return dtypes[0]


def _refuse(op: Op, tensor: Tensor, wanted: np.dtype) -> Tensor:
    raise DtypeError(f"{op.name} needs {wanted} here, got {tensor.dtype}", mend="cr.cast(...)")


add = elementwise(
    "add",
    "#1 + #2",
    ref=np.add,
    deriv=lambda x, z, y: (1, 1),
    body=lambda k, x, z: x + z,
)

subtract = elementwise(
    "subtract",
    "#1 - #2",
    ref=np.subtract,
    deriv=lambda x, z, y: (1, -1),
    body=lambda k, x, z: x - z,
)

multiply = elementwise(
    "multiply",
    r"#1 \cdot #2",
    ref=np.multiply,
    deriv=lambda x, z, y: (z, x),
    body=lambda k, x, z: x * z,
)

divide = elementwise(
    "divide",
    r"\frac{#1}{#2}",
    ref=np.divide,
    deriv=lambda x, z, y: (lambda: 1 / z, lambda: -y / z),
    body=lambda k, x, z: x / z,
    takes="float",
    domain=(0.5, 2.0),
)

negative = elementwise(
    "negative",
    "-#1",
    ref=np.negative,
    deriv=lambda x, y: -1,
    body=lambda k, x: -x,
)

power = elementwise(
    "power",
    "#1^{#2}",
    ref=np.power,
    deriv=lambda x, z, y: (
        lambda: z * x ** _lowered(z),
        lambda: y * log(where(y == 0, 1, x)),  # 0 where y is 0, at x = 0 too
    ),
    body=approximate.power,
    takes="float",
    domain=(0.5, 2.0),
)


def _lowered(z: Tensor) -> Tensor:
    """z - 1, but 0 for z = 0: the slope of x**0 is 0 * x**0, where 0 * x**-1 is NaN at x = 0."""
    if z.node is not None and z.node.op is literal:  # x**2 has the slope 2 * x**1, said so
        value = z.node.attrs["value"]
        return literal(value=value - 1 if value else 0, shape=z.shape, dtype=z.dtype.name)
    return where(equal(z, 0), 0, z - 1)


exp = elementwise(
    "exp",
    "e^{#1}",
    ref=np.exp,
    deriv=lambda x, y: y,
    body=approximate.exp,
    takes="float",
)

log: Op = elementwise(
    "log",
    r"\ln #1",
    ref=np.log,
    deriv=lambda x, y: 1 / x,
    body=approximate.log,
    takes="float",
    domain=(0.2, 3.0),
)

sqrt = elementwise(
    "sqrt",
    r"\sqrt{#1}",
    ref=np.sqrt,
    deriv=lambda x, y: 0.5 / y,
    body=lambda k, x: k.sqrt(x),
    takes="float",
    domain=(0.2, 3.0),
)

tanh = elementwise(
    "tanh",
    r"\tanh(#1)",
    ref=np.tanh,
    deriv=lambda x, y: 1 - y * y,  # y is the output, so nothing is recomputed
    body=approximate.tanh,
    takes="float",
)

sigmoid = elementwise(
    "sigmoid",
    r"\sigma(#1)",
    ref=lambda x: np.where(x >= 0, 1, np.exp(-np.abs(x))) / (1 + np.exp(-np.abs(x))),
    deriv=lambda x, y: y * (1 - y),
    body=approximate.sigmoid,
    takes="float",
)

relu = elementwise(
    "relu",
    r"\max(#1, 0)",
    ref=lambda x: np.maximum(x, 0),
    deriv=lambda x, y: where(greater(y, 0), 1, 0, like=y),  # 0 at the kink
    body=lambda k, x: k.max(x, 0),
)

absolute = elementwise(
    "abs",
    r"\left|#1\right|",
    ref=np.abs,
    deriv=lambda x, y: where(greater(x, 0), 1, where(less(x, 0), -1, 0, like=x)),  # 0 at 0
    body=lambda k, x: k.select(k.less(0, x), x, 0 - x),  # 0 - x is +0.0 for either zero
)

maximum = elementwise(
    "maximum",
    r"\max(#1, #2)",
    ref=np.maximum,
    deriv=lambda x, z, y: (_share(x, z), _share(z, x)),
    body=lambda k, x, z: k.max(x, z),
)


def _share(x: Tensor, z: Tensor) -> Tensor:
    """1 where x is larger, 1/2 at a tie, 0 elsewhere."""
    return where(greater(x, z), 1, where(equal(x, z), 0.5, 0, like=x))


equal = elementwise(
    "equal",
    "#1 = #2",
    ref=np.equal,
    deriv=NO_GRADIENT,
    body=lambda k, x, z: k.equal(x, z),
    takes="any",
    gives="bool",
)

less: Op = elementwise(
    "less",
    "#1 < #2",
    ref=np.less,
    deriv=NO_GRADIENT,
    body=lambda k, x, z: k.less(x, z),
    gives="bool",
)

isfinite = elementwise(
    "isfinite",
    r"\mathrm{finite}(#1)",
    ref=np.isfinite,
    deriv=NO_GRADIENT,
    body=lambda k, x: k.equal(x - x, 0.0),  # inf - inf and NaN - NaN are NaN
    takes="float",
    gives="bool",
)

select = elementwise(
    "where",
    r"\begin{cases} #2 & #1 \\ #3 & \text{else} \end{cases}",
    ref=lambda c, x, z: np.asarray(np.where(c, x, z)),
    deriv=lambda c, x, z, y: (None, lambda: where(c, 1, 0, like=x), lambda: where(c, 0, 1, like=x)),
    body=lambda k, c, x, z: k.select(c, x, z),
    takes="any",
    conditions=1,
    samples=(
        sample(np.array([[True, False, True], [False, True, False]]), (2, 3), (2, 3)),
        sample(np.array([True, False, True]), (2, 3), (2, 1)),
    ),
)

cast_op = elementwise(
    "cast",
    "#1",
    ref=lambda x, dtype: x.astype(dtype),
    deriv=NO_GRADIENT,
    body=lambda k, x, dtype: k.convert(x, dtype),
    takes="any",
    samples=(sample((2, 3), dtype="int32"), sample(np.array([1, 2, 3]), dtype="float32")),
)

shift_op = elementwise(
    "shift_right",
    r"#1 \gg #2",
    ref=lambda x, by: x >> by,
    deriv=NO_GRADIENT,
    body=lambda k, x, by: k.shift_right(x, by),
    takes="integer",
    samples=(sample(np.array([1, 256, 4_000_000_000], np.uint32), by=8),),
    doc="The bits of an unsigned integer moved down.",
)

stop_gradient = elementwise(
    "stop_gradient",
    r"\overline{#1}",
    ref=lambda x: x,
    deriv=lambda x, y: None,
    body=lambda k, x: x,
    takes="any",
    samples=(sample(np.array([1, 2, 3])),),
    doc="The value of x, through which no gradient flows.",
)


def greater(x: Any, z: Any) -> Tensor:
    """x > z, elementwise, bool."""
    return less(z, x)


def where(condition: Any, x: Any, z: Any, like: Tensor | None = None) -> Tensor:
    """x where `condition` (bool) holds, else z.

    Two Python numbers need `like`, whose dtype they take. The branch not taken gets gradient 0.
    """
    if like is not None:
        shape, dtype = as_tensor(condition).shape, like.dtype.name
        x, z = [
            part if isinstance(part, Tensor) else literal(value=part, shape=shape, dtype=dtype)
            for part in (x, z)
        ]
    return select(condition, x, z)


def cast(x: Any, dtype: Any) -> Tensor:
    """`x` in `dtype`; a gradient flows between float dtypes, none through integers."""
    x, wanted = as_tensor(x), as_dtype(dtype)
    if x.dtype == wanted and not x.weak:
        return x
    if is_float(x.dtype) and is_float(wanted):
        y = refloat(x, dtype=wanted.name)
        y.weak = False
        return y
    return cast_op(x, dtype=wanted.name)


def strong(x: Tensor) -> Tensor:
    """A result as its user gets it: what came of Python floats alone is float32."""
    return cast(x, DTYPES["float32"]) if x.weak else x


refloat = elementwise(
    "refloat",
    "#1",
    ref=lambda x, dtype: x.astype(dtype),
    deriv=lambda x, y, dtype: 1,
    body=lambda k, x, dtype: k.convert(x, dtype),
    takes="float",
    samples=(sample((2, 3), dtype="float64"),),
    doc="A cast between float dtypes; its cotangent is cast back.",
)
