"""A student's expression: Python's syntax, NumPy's names, and nothing that could do harm.

It is parsed, checked node by node against what is allowed here, and worked out by a walk over the
tree; Python never runs it. Length, depth and the size of every result are bounded. Read next:
`student.py`.
"""

from __future__ import annotations

import ast
import math
from collections.abc import Callable, Collection, Mapping
from typing import Any

import numpy as np

from chainrule.core.errors import ArgumentError, UnknownNameError

LONGEST, MOST_NODES, MOST_ELEMENTS = 1000, 200, 10**6


class NotDefined(Exception):
    """The expression has no value: shapes that do not fit. It is then wrong, not misused."""


def sigmoid(x: Any) -> Any:
    """1 / (1 + exp(-x))."""
    return 0.5 * (1 + np.tanh(0.5 * x))


def softmax(x: Any) -> Any:
    """exp(x) / sum(exp(x)) along the last axis."""
    e = np.exp(x - np.max(x, axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)


def _outer(x: Any, z: Any) -> Any:
    _check_size(np.size(x) * np.size(z))
    return np.outer(x, z)


def _einsum(spec: Any, *parts: Any) -> Any:
    sizes: dict[str, int] = {}
    for word, part in zip(str(spec).split("->")[0].split(","), parts, strict=False):
        sizes |= dict(zip(word, np.shape(part), strict=False))
    _check_size(math.prod(sizes.values()))
    return np.einsum(spec, *parts)


FUNCTIONS: dict[str, Callable[..., Any]] = {
    **{
        name: getattr(np, name)
        for name in "abs add cos cosh divide dot exp log log1p matmul max maximum mean minimum "
        "multiply negative ones_like sign sin sinh sqrt square subtract sum tanh tensordot "
        "transpose where zeros_like".split()
    },
    "einsum": _einsum,
    "len": len,
    "outer": _outer,
    "relu": lambda x: np.maximum(x, 0),
    "sigmoid": sigmoid,
    "softmax": softmax,
}
METHODS = ("sum", "mean", "max", "dot", "transpose")
WORDS = {"sum": ("axis", "keepdims"), "mean": ("axis", "keepdims"), "max": ("axis", "keepdims")}
MODULES = ("np", "numpy")
BINARY: dict[type, Callable[[Any, Any], Any]] = {
    ast.Add: np.add,
    ast.Sub: np.subtract,
    ast.Mult: np.multiply,
    ast.Div: np.divide,
    ast.MatMult: np.matmul,
    ast.Pow: np.power,
}
COMPARED: dict[type, Callable[[Any, Any], Any]] = {
    ast.Gt: np.greater,
    ast.GtE: np.greater_equal,
    ast.Lt: np.less,
    ast.LtE: np.less_equal,
    ast.Eq: np.equal,
    ast.NotEq: np.not_equal,
}


def parsed(text: str, names: Collection[str]) -> ast.expr:
    """The tree of an expression that uses only `names`, the functions here, and arithmetic.

    ArgumentError says what is not allowed and at which column; UnknownNameError for a name.
    """
    if not isinstance(text, str) or not text.strip():
        raise ArgumentError("an expression is a text", mend='"x.T @ (delta2 @ W2.T)"')
    if len(text) > LONGEST:
        raise ArgumentError(f"an expression has at most {LONGEST} characters, got {len(text)}")
    try:
        tree = ast.parse(text.strip(), mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        column = f", at column {_column(error, text)}" if isinstance(error, SyntaxError) else ""
        reason = error.msg if isinstance(error, SyntaxError) else str(error)
        raise ArgumentError(f"not an expression: {reason}{column}") from None
    count = sum(1 for _ in ast.walk(tree))
    if count > MOST_NODES:
        raise ArgumentError(f"an expression has at most {MOST_NODES} parts, got {count}")
    _check(tree, names)
    return tree


def _column(error: SyntaxError, text: str) -> int:
    """Where the syntax breaks, counted from 1; behind the last letter where more is needed."""
    inner = text.strip()
    return error.offset if error.offset and error.lineno == 1 else len(inner) + 1


def _check(node: ast.AST, names: Collection[str]) -> None:
    """Raise for what is not allowed, below `node` too."""
    inner: list[ast.AST]
    match node:
        case ast.Constant(value=bool() | None):
            inner = []
        case ast.Constant(value=int() | float() as number) if abs(number) <= 1e6:
            inner = []
        case ast.Name(id=name):
            if name not in names:
                known = [*names, *FUNCTIONS]
                raise UnknownNameError(f"name at column {node.col_offset + 1}:", name, known)
            inner = []
        case ast.BinOp(left=left, op=op, right=right) if type(op) in BINARY:
            inner = [left, right]
        case ast.UnaryOp(op=ast.USub() | ast.UAdd(), operand=operand):
            inner = [operand]
        case ast.Compare(left=left, ops=[op], comparators=[right]) if type(op) in COMPARED:
            inner = [left, right]
        case ast.Tuple(elts=parts):
            inner = list(parts)
        case ast.Attribute(value=value, attr="T" | "shape"):
            inner = [value]
        case ast.Subscript(value=value, slice=index):
            inner = [value, *_index_parts(index)]
        case ast.Call():
            inner = _call_parts(node)
        case _:
            raise _refused(node)
    for each in inner:
        _check(each, names)


def _refused(node: ast.AST) -> ArgumentError:
    column = getattr(node, "col_offset", 0) + 1
    return ArgumentError(
        f"not allowed in an expression: {ast.unparse(node)[:60]!r} at column {column}",
        mend="names of the derivation, numbers, + - * / @ **, .T, sum(..., axis=0), exp, ...",
    )


def _index_parts(index: ast.AST) -> list[ast.AST]:
    """What stands in square brackets: numbers, slices of numbers, None, and tuples of these."""
    parts = index.elts if isinstance(index, ast.Tuple) else [index]
    found: list[ast.AST] = []
    for part in parts:
        if isinstance(part, ast.Slice):
            found += [end for end in (part.lower, part.upper, part.step) if end is not None]
        elif not (isinstance(part, ast.Constant) and part.value is Ellipsis):
            found.append(part)
    return found


def _call_parts(node: ast.Call) -> list[ast.AST]:
    """The arguments of a call of an allowed function or method."""
    name, owner = function_of(node)
    if name is None:
        raise _refused(node)
    words = WORDS.get(name, ())
    if any(word.arg not in words for word in node.keywords):
        raise _refused(node)
    arguments = list(node.args)
    if name == "einsum":
        spec = arguments[0] if arguments else None
        if not (isinstance(spec, ast.Constant) and isinstance(spec.value, str)):
            raise _refused(node)
        arguments = arguments[1:]
    return [*([owner] if owner else []), *arguments, *(word.value for word in node.keywords)]


def function_of(node: ast.Call) -> tuple[str | None, ast.expr | None]:
    """(the function's name, the array whose method it is); None for what is not allowed."""
    match node.func:
        case ast.Name(id=name) if name in FUNCTIONS:
            return name, None
        case ast.Attribute(value=ast.Name(id=module), attr=name) if module in MODULES:
            return (name if name in FUNCTIONS else None), None
        case ast.Attribute(value=value, attr=name) if name in METHODS:
            return name, value
    return None, None


def evaluate(node: ast.expr, names: Mapping[str, Any]) -> Any:
    """The value of a parsed expression; NotDefined where shapes do not fit."""
    try:
        with np.errstate(all="ignore"):
            value = _value(node, names)
            return value if isinstance(value, tuple) else np.asarray(value, float)
    except (ArithmeticError, LookupError, TypeError, ValueError) as error:
        raise NotDefined(str(error)) from None


def _value(node: ast.expr, names: Mapping[str, Any]) -> Any:
    def of(part: ast.expr) -> Any:
        return _value(part, names)

    match node:
        case ast.Constant(value=value):
            return value
        case ast.Name(id=name):
            return names[name]
        case ast.BinOp(left=left, op=op, right=right):
            return _binary(op, of(left), of(right))
        case ast.UnaryOp(op=op, operand=operand):
            return -of(operand) if isinstance(op, ast.USub) else of(operand)
        case ast.Compare(left=left, ops=[op], comparators=[right]):
            return COMPARED[type(op)](of(left), of(right)) * 1.0
        case ast.Tuple(elts=parts):
            return tuple(of(part) for part in parts)
        case ast.Attribute(value=value, attr=name):
            return np.transpose(of(value)) if name == "T" else np.shape(of(value))
        case ast.Subscript(value=value, slice=index):
            return of(value)[_index(index, of)]
        case ast.Call(args=arguments, keywords=words):
            return _called(node, arguments, words, of)
    raise NotDefined(ast.dump(node))


def _binary(op: ast.operator, left: Any, right: Any) -> Any:
    if isinstance(op, ast.MatMult):
        _check_size(np.size(left) * np.shape(right)[-1] if np.ndim(right) else 0)
    else:
        _check_size(math.prod(np.broadcast_shapes(np.shape(left), np.shape(right))))
    return BINARY[type(op)](np.asarray(left, float), np.asarray(right, float))


def _index(index: ast.expr, of: Callable[[ast.expr], Any]) -> Any:
    if isinstance(index, ast.Tuple):
        return tuple(_index(part, of) for part in index.elts)
    if isinstance(index, ast.Slice):
        ends = (index.lower, index.upper, index.step)
        return slice(*(None if end is None else of(end) for end in ends))
    return of(index)


def _called(node: ast.Call, arguments: list, words: list, of: Callable) -> Any:
    name, owner = function_of(node)
    assert name is not None
    given = [arg.value if name == "einsum" and i == 0 else of(arg)
             for i, arg in enumerate(arguments)]  # fmt: skip
    options = {word.arg: of(word.value) for word in words}
    if owner is not None:
        given.insert(0, of(owner))
    arrays = [part for part in given if isinstance(part, np.ndarray)]
    if name in ("dot", "matmul", "tensordot") and len(arrays) == 2:
        shared = max(1, np.shape(arrays[0])[-1]) if np.ndim(arrays[0]) else 1
        _check_size(arrays[0].size * arrays[1].size // shared**2)
    elif name not in ("outer", "einsum"):
        _check_size(math.prod(np.broadcast_shapes(*(each.shape for each in arrays))))
    return FUNCTIONS[name](*given, **options)


def _check_size(elements: int) -> None:
    if elements > MOST_ELEMENTS:
        raise NotDefined(f"a result of {elements} elements")
